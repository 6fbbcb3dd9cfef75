"""What an attack gives back, its controls, and what stays unread."""

import numpy as np
import pytest

from invlib.inversion import measure
from invlib.inversion.invert import Chain
from invlib.inversion.measure import Texts, attack, by_kind, chains, controls, figures, indistinct
from invlib.measures.judge import Judge
from invlib.measures.similarity import unit
from invlib.measures.text import token_f1


def test_token_f1_counts_each_piece_as_often_as_it_stands_there():
    found = [(1, 2, 3), (1, 1, 1, 2), (1, 1, 2), (), (9,), ()]
    true = [(3, 2, 1), (1, 2, 2), (1, 1, 3), (1,), (8,), ()]
    assert token_f1(found, true).tolist() == [1.0, pytest.approx(4 / 7), pytest.approx(4 / 6), 0.0, 0.0, 0.0]


@pytest.fixture
def some(tiny_material) -> Texts:
    return Texts.of_split(tiny_material, "test", 6)


def test_the_texts_of_a_split_are_those_of_the_same_sentences(tiny_material, tiny_encoder, sentences, some):
    again = Texts.of(sentences[48:54], tiny_encoder, 16)
    assert again.ids == some.ids and len(some) == 6
    np.testing.assert_allclose(again.vectors, some.vectors, atol=1e-2)


def test_the_true_texts_have_every_figure(inverter, some, tiny_encoder):
    true, other = figures(inverter, some.ids, some, Judge(tiny_encoder, 16), 20), [*some.ids[1:], some.ids[0]]
    assert true["bleu"] == pytest.approx(100) and true["exact"] == true["token_f1"] == 1.0 and true["sure"] == 1.0
    assert true["cosine"] == pytest.approx(1, abs=1e-3) and true["independent_cosine"] == pytest.approx(1, abs=1e-3)
    assert true["exact_low"] < 1 and true["exact_high"] == pytest.approx(1)
    shuffled = figures(inverter, other, some, None, 20)
    assert shuffled["exact"] == 0 and shuffled["cosine"] < true["cosine"] and shuffled["independent_cosine"] is None


def test_an_attack_reads_what_it_is_given(inverter, some):
    quick = Chain(beam=1, rounds=0)
    made, found = attack(inverter, some, quick, batch=4)
    assert len(found) == 6 and made["calls"] == 1 and made["seconds"] > 0 and made["n"] == 6
    turned, others = attack(inverter, some, quick, vectors=np.roll(some.vectors, 1, axis=0))
    assert [one.best for one in others][1:] == [one.best for one in found][:-1]


def test_the_nearest_training_headline_is_a_control(inverter, tiny_material, some):
    train = Texts.of_split(tiny_material, "train", 40)
    rows = controls(inverter, tiny_material, Texts(train.ids[:5], train.vectors[:5]))
    assert rows["nearest training headline"]["exact"] == 1.0  # these are training headlines
    assert rows["no vector: one text for all"]["exact"] <= 0.2
    assert indistinct(train, tiny_material) == 1.0 and 0 <= indistinct(some, tiny_material) < 1


def test_the_control_of_a_perfect_attack_says_another_headline(inverter, tiny_material, some, monkeypatch):
    def perfect(model, z, n=1):
        return [[some.ids[k]] * n for k in measure.nearest(z.cpu().numpy(), some.vectors)[0]]

    monkeypatch.setattr(measure, "propose", perfect)
    row = controls(inverter, tiny_material, some)["another headline's vector"]
    next_one = (unit(some.vectors) * unit(np.roll(some.vectors, -1, axis=0))).sum(1).mean()
    assert row["exact"] == 0 and row["cosine"] == pytest.approx(next_one, abs=1e-2)


def test_the_chains_add_one_part_each():
    made = chains(3)
    assert made["greedy"].beam == 1 and made["greedy"].rounds == 0
    assert made["corrector alone"].children == 0 < made["corrector alone"].width
    assert not made["search alone, black box"].gradient and not made["search alone, white box"].reworded
    assert list(made)[-1] == "search and corrector" and made["search and corrector"] == Chain(rounds=3)


def test_unread_pieces_are_counted_by_kind(inverter, some, monkeypatch):
    monkeypatch.setattr(measure, "FREQUENT", 3)
    counts = np.zeros(inverter.config.vocab_size)
    frequent = sorted({i for ids in some.ids for i in ids})[:3]
    counts[frequent] = 100
    nothing = by_kind([()] * 6, some, inverter, counts)
    everything = by_kind(some.ids, some, inverter, counts)
    assert nothing["found"].max() == 0 and everything["found"].min() == 1
    assert nothing["pieces"].sum() == sum(map(len, some.ids))
    assert set(nothing["kind"]) <= {"the 3 most frequent", "rare: below 10 times", "numbers", "all others"}
    twice = by_kind([ids * 2 for ids in some.ids], some, inverter, counts)  # a piece counts as often as it stands there
    assert twice["found"].min() == 1
    a, b = (int(inverter.encoder.tokenizer.get_vocab()[word]) for word in ("oil", "gold"))
    pair, counts = Texts([(a, a, b, b)], some.vectors[:1]), np.zeros_like(counts)
    counts[[0, 1, 2]], counts[a], counts[b] = 100, 9, 10
    once = by_kind([(a, b, b)], pair, inverter, counts).set_index("kind")["found"]
    assert once.to_dict() == {"rare: below 10 times": 0.5, "all others": 1.0}
