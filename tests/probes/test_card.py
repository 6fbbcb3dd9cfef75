"""The smoothness card: each part measures what it says, on systems whose answer is known."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from invlib.encoders.token_states import token_states
from invlib.measures.changed_vectors import blended_with_noise
from invlib.measures.text import bleu, bleu_interval
from invlib.probes import facts
from invlib.probes.card import CARD, COLUMNS, card, card_parts, card_table, neighbours_lengths
from invlib.probes.card_data import CardData, Judge, neighbours
from invlib.probes.card_interventions import interventions
from invlib.probes.fragility import fragility
from invlib.probes.midpoints import at_half, midpoints, steps
from invlib.probes.systems import OneEnd, SpliceByHand, System


def mean(table: pd.DataFrame, of: str, measure: str) -> float:
    (value,) = table[(table["of"] == of) & (table["measure"] == measure)]["mean"]
    return value


def test_blended_noise_keeps_each_numbers_mean_and_variance():
    rng = np.random.default_rng(0)
    z = (3 + 5 * rng.standard_normal((4000, 3))).astype(np.float32)
    mixed = blended_with_noise(z, z.mean(0), z.std(0), 0.7)
    np.testing.assert_allclose([mixed.mean(), mixed.std()], [3, 5], rtol=0.05)
    correlation = np.corrcoef(mixed[:, 0], z[:, 0])[0, 1]
    assert correlation == pytest.approx(np.sqrt(0.3), abs=0.05)
    np.testing.assert_allclose(blended_with_noise(z, z.mean(0), z.std(0), 0.0), z, atol=1e-5)
    with pytest.raises(ValueError, match="a=1.5"):
        blended_with_noise(z, z.mean(0), z.std(0), 1.5)


def test_bleus_interval_holds_bleu_and_is_its_when_all_texts_are_alike():
    true = ["oil rises on tariffs again", "gold falls after weak data", "the dollar slips again on data"]
    found = ["oil rises on tariffs", *true[1:]]  # a word too short
    low, high = bleu_interval(found, true, 100)
    assert low <= bleu(found, true) <= high and low < high
    alike = found[:1] * 3, true[:1] * 3
    assert bleu_interval(*alike, 20) == pytest.approx([bleu(*alike)] * 2)


def test_neighbours_have_the_cosines_and_each_is_in_one_pair():
    angles = np.deg2rad([0, 45, 50, 90, 95, 180, 182])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    pairs = neighbours(vectors, 10)
    cosines = (vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(1)
    assert len(pairs) == 2 and len(set(pairs.ravel())) == 4 and ((cosines >= 0.5) & (cosines <= 0.8)).all()
    assert neighbours(vectors, 1).shape == (1, 2) and neighbours(vectors[:1], 5).shape == (0, 2)


def test_the_judge_reads_each_text_once_and_gives_nothing_to_silence(tiny_encoder, monkeypatch):
    judge, read = Judge(tiny_encoder, 16), []
    whole = tiny_encoder.sentence_embedding
    monkeypatch.setattr(tiny_encoder, "sentence_embedding", lambda texts, *a: read.extend(texts) or whole(texts, *a))
    assert judge.cosines(["oil falls", " "], ["oil falls", "gold"]).tolist() == pytest.approx([1, 0], abs=1e-3)
    judge.embed(["gold", "oil falls"])
    assert sorted(read) == ["gold", "oil falls"]


def test_data_is_what_every_system_can_read(card_data, tiny_encoder):
    assert card_data.judge_name.endswith("which also encodes") and len(card_data.test) == 16
    assert len(card_data.pairs["random"]) == 8 and set(card_data.pairs) == {"neighbours", "random"}
    assert np.isnan(card_data.bits(["", "oil falls"])).tolist() == [True, False]


def test_without_noise_an_exact_control_is_exact_and_noise_breaks_it(exact, card_data):
    table = fragility(exact, card_data, levels=(0.0, 0.9))
    assert mean(table, "0.0", "exact") == 1 and mean(table, "0.0", "bleu") == pytest.approx(100)
    assert mean(table, "0.0", "cosine") == pytest.approx(1, abs=1e-3)
    assert mean(table, "0.9", "exact") < 0.5 and mean(table, "0.9", "bleu") < 60
    other = fragility(exact, dataclasses.replace(card_data, seed=1), levels=(0.9,))
    assert mean(other, "0.9", "cosine") != mean(table, "0.9", "cosine")  # other noise
    assert (table["n"] == 8).all() and (table["low"] <= table["mean"] + 1e-6).all()


def test_a_headline_itself_is_neither_new_nor_beyond_itself(card_data):
    table = midpoints(OneEnd(), card_data)
    for measure in ("beyond_end", "new_words", "empty"):
        assert mean(table, "random", measure) == pytest.approx(0, abs=1e-4)
    assert mean(table, "random", "bits") == pytest.approx(1, abs=0.3)
    assert set(table["measure"]) >= {"cosine", "beyond_nearest", "farther_end", "repeats", "step_words", "step_meaning"}


def test_the_nearest_headline_is_not_beyond_itself(card_data):
    half = at_half(card_data.nearest, card_data, card_data.pairs["random"])
    np.testing.assert_allclose(half["beyond_nearest"], 0, atol=1e-6)
    assert len(half) == 8 and half["cosine"].between(-1, 1.001).all()


def test_the_farther_end_of_a_headline_is_the_other_one(card_data):
    pairs = card_data.pairs["random"]
    first, second = ([card_data.test[k] for k in side] for side in pairs.T)
    half = at_half(OneEnd(), card_data, pairs)
    np.testing.assert_allclose(half["farther_end"], card_data.judge.cosines(first, second), atol=1e-6)
    assert half["farther_end"].max() < 0.999


def test_the_largest_step_is_the_whole_way_in_one_jump_and_half_in_two(card_data):
    pairs = card_data.pairs["random"][:4]
    once = steps(OneEnd(), card_data, pairs)
    twice = steps(SpliceByHand(encoder=card_data.encoder, max_length=16), card_data, pairs)
    assert (once["step_words"] > 0.2).all() and (once["step_words"] <= 1).all()
    assert twice["step_words"].mean() < once["step_words"].mean()

    @dataclasses.dataclass(frozen=True)
    class Mute(System):
        def on_the_way(self, first, second, shares=(0.5,)):
            return [[""] * len(first) for _ in shares]

    assert (steps(Mute(None, None), card_data, pairs) == 0).all(axis=None)  # nothing changes


def test_a_word_is_swapped_once_and_whole():
    assert facts.swapped("oil rises as gold surprises", "rises", "falls") == "oil falls as gold surprises"
    assert facts.swapped("10 of 100 rise", "10", "20") == "20 of 100 rise"
    assert facts.swapped("oil rises and falls", "rises", "falls") is None  # both
    assert facts.swapped("oil rises, gold rises", "rises", "falls") is None and facts.swapped("oil", "a", "b") is None


class Bag:
    """A system whose vector counts words: a direction from one word to another changes exactly that word."""

    def __init__(self, texts):
        self.words = sorted({word for text in texts for word in text.split()} | {"rises", "falls", "gold", "oil"})

    def encode(self, texts):
        return np.array([[text.split().count(word) for word in self.words] for text in texts], dtype=np.float32)

    def decode(self, z):
        return [" ".join(word for word, k in zip(self.words, row, strict=True) for _ in range(round(k))) for row in z]


def test_a_direction_changes_the_fact_and_keeps_the_rest(card_data):
    bag = Bag(card_data.test + card_data.train)
    table = facts.directions(System(bag.encode, bag.decode), card_data)
    assert mean(table, "all", "changed") == mean(table, "all", "kept") == mean(table, "all", "both") == 1
    stubborn = facts.directions(System(bag.encode, lambda z: ["oil rises"] * len(z)), card_data)
    assert mean(stubborn, "all", "changed") == 0 and mean(stubborn, "all", "kept") < 1
    both = facts.directions(System(bag.encode, lambda z: ["oil rises and falls"] * len(z)), card_data)
    assert mean(both, "all", "changed") == 0  # the first word is still there
    untaught = dataclasses.replace(card_data, train=["gold gains"] * 9)
    assert facts.moved(System(bag.encode, bag.decode), untaught, "direction").empty  # test headlines teach nothing
    moved = facts.moved(System(bag.encode, bag.decode), card_data, "direction")
    assert {"rises"} <= set(moved["word"]) and all("falls" in text.split() for text in moved["found"])


def test_hard_negatives_are_told_apart_by_their_distance(card_data):
    bag = Bag(card_data.test + card_data.train)
    far = System(lambda texts: 10 * bag.encode(texts), None)
    same = System(lambda texts: np.array([[len(text.split()), 1.0] for text in texts]), None)
    found = {name: facts.hard_negatives(system, card_data) for name, system in (("far", far), ("same", same))}
    assert mean(found["same"], "all", "told_apart") == 0.5 and mean(found["same"], "all", "cosine") == 1
    assert 0.5 < mean(found["far"], "all", "told_apart") <= 1 and mean(found["far"], "all", "distance") > 0
    plain = facts.hard_negatives(card_data.nearest, card_data)
    assert mean(plain, "all", "told_apart") == pytest.approx(mean(plain, "all", "told_apart_plain"))
    assert mean(found["far"], "all", "told_apart_plain") == pytest.approx(mean(plain, "all", "told_apart_plain"))


def test_told_apart_is_how_often_the_right_one_is_named(card_data):
    """Played twenty thousand times: noise on one of two vectors, and the nearer of the two is named."""
    rng = np.random.default_rng(0)
    known = {text: rng.normal(size=3) * [1, 0.1, 5] for text in dict.fromkeys([*card_data.some, "a", "b"])}
    system = System(lambda texts: np.array([known[text] for text in texts]))
    found = facts.separations(system, card_data, ["a"], ["b"])["told_apart"][0]
    mean_, spread = card_data.scale(system)
    heard = blended_with_noise(np.tile(known["a"], (20_000, 1)), mean_, spread, facts.NOISE)
    a, b = ((mean_ + np.sqrt(1 - facts.NOISE) * (known[text] - mean_) - heard) / spread for text in ("a", "b"))
    assert 0.55 < found < 0.95
    assert found == pytest.approx((np.linalg.norm(a, axis=1) < np.linalg.norm(b, axis=1)).mean(), abs=0.01)


def test_where_the_prefix_says_everything_it_is_the_prefixs_headline(card_data):
    """Two numbers, each the headline's place: the first is the prefix, and alone is read."""
    places = {text: k + 1 for k, text in enumerate(card_data.test)}
    system = System(
        lambda texts: np.array([[places[text]] * 2 for text in texts], np.float32),
        lambda z: [["", *card_data.test][int(x)] for x in z[:, 0]], prefix=1,
    )  # fmt: skip
    table = interventions(system, card_data)
    assert mean(table, "another's prefix", "exact_prefix") == 1 and mean(table, "another's prefix", "exact_code") == 0
    assert mean(table, "code zeroed", "exact_code") == 1 and mean(table, "prefix zeroed", "exact_prefix") == 0


def test_in_packed_ids_the_code_says_everything(exact, card_data):
    table = interventions(exact, card_data)
    for of in ("prefix zeroed", "another's prefix"):
        assert mean(table, of, "exact_code") == 1 == mean(table, of, "words_code")
    assert mean(table, "another's prefix", "exact_prefix") == 0 and (table["n"] == 8).all()
    assert mean(table, "code zeroed", "exact_code") == 0
    with pytest.raises(ValueError, match="no semantic prefix"):
        interventions(card_data.nearest, card_data)


def test_neighbours_by_length_alone_have_no_difference(card_data):
    data = dataclasses.replace(card_data, train=["a", "a b", "a b c d e"] * 12)
    angle = {1: 0.0, 2: 0.5, 5: 1.0}

    def by_length(texts):
        angles = np.array([angle[len(text.split())] for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    assert mean(neighbours_lengths(System(by_length, None), data), "all", "ratio") == 0
    three = dataclasses.replace(data, train=["a", "a b", "a b c d e"])  # all others are near; it is no neighbour itself
    assert mean(neighbours_lengths(System(by_length, None), three), "all", "ratio") == pytest.approx(1)
    rng = np.random.default_rng(0)
    blind = System(lambda texts: rng.standard_normal((len(texts), 8)), None)
    assert mean(neighbours_lengths(blind, data), "all", "ratio") == pytest.approx(1, abs=0.25)


def test_the_card_is_one_row_of_at_most_fourteen_columns(exact, card_data):
    parts = {"packed": card_parts(exact, card_data), "splice": card_parts(OneEnd(), card_data)}
    assert set(parts["packed"]["part"]) == {
        "fragility", "midpoints", "directions", "hard_negatives", "interventions", "lengths"
    }  # fmt: skip
    assert set(parts["splice"]["part"]) == {"midpoints"} and list(parts["packed"])[:7] == COLUMNS
    slow = card_parts(dataclasses.replace(exact, costly=True), card_data)
    assert set(slow["part"]) == {"midpoints", "directions"}
    table = card_table(parts)
    assert list(table) == ["system", *CARD] and len(table.columns) <= 14 and list(table["system"]) == list(parts)
    assert card(parts["packed"])["exact"] == 1 and np.isnan(card(parts["splice"])["exact"])
    known = {tuple(row) for row in parts["packed"][["part", "of", "measure"]].itertuples(index=False)}
    of_neighbours = {where for where in CARD.values() if where[1] == "neighbours"}  # the tiny encoder may have none
    assert set(CARD.values()) - of_neighbours <= known


def test_a_headline_that_is_cut_or_has_an_unknown_piece_is_left_out(tiny_model, tiny_material, sentences, tmp_path):
    texts = ["☃ falls", "oil " * 30, *sentences[48:56]]
    encoder = tiny_material.encoder
    states = {
        "train": tiny_material.states["train"],
        "test": token_states(encoder, texts, 16, tmp_path, progress=False),
    }
    data = CardData.of(dataclasses.replace(tiny_material, states=states), tiny_model("no_vector"), None, n=4)
    assert data.test == sentences[48:56]


def test_too_few_headlines_are_no_card(tiny_model, tiny_material):
    few = {split: tiny_material.dataset(split, 3, layers=()) for split in ("train", "test")}
    material = SimpleNamespace(
        encoder=tiny_material.encoder, corpus=tiny_material.corpus, dataset=lambda split, layers: few[split]
    )
    with pytest.raises(ValueError, match="3 test headlines are too few"):
        CardData.of(material, tiny_model("no_vector"), None, n=2)
