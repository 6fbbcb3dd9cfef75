"""Guided search: its texts are closer to the vector's prefix than greedy ones, made of what the decoder proposed."""

import numpy as np
import pytest
import torch

from invlib.measures.similarity import unit
from invlib.models.packed_ids import PackedIds
from invlib.models.pooling import fit_components
from invlib.probes.guided_search import SAMPLING, guided_search, recombined, repeats

FEW = {"samples": 6, "rounds": 4, "children": 12, "kept": 4}


@pytest.fixture
def packed(float32, tiny_encoder, tiny_material):
    sentence = np.asarray(tiny_material.states["train"].sentence)
    return PackedIds(tiny_encoder, fit_components(sentence, 8), 168, bits=1, max_length=16)


@pytest.fixture
def halves(packed, tiny_material):
    z = packed.encode(list(tiny_material.corpus.splits["test"]["text"])[:12])
    return (z[:6] + z[6:]) / 2


def nearness(model, z, ids):
    embedded = model.encoder.sentence_embedding([text or "." for text in model.text(ids)], 16).numpy()
    return (unit(embedded @ model.components) * unit(z[:, : model.components.shape[1]])).sum(1)


def test_a_guided_text_is_never_farther_from_the_prefix_and_mostly_nearer(packed, halves):
    greedy = nearness(packed, halves, packed.generate_ids(halves))
    guided = nearness(packed, halves, guided_search(packed, halves, **FEW))
    assert (guided >= greedy - 1e-6).all() and guided.mean() > greedy.mean() + 0.04


def test_more_rounds_go_on_from_what_was_found(packed, halves):
    none = nearness(packed, halves, guided_search(packed, halves, **FEW | {"rounds": 0}))
    some = nearness(packed, halves, guided_search(packed, halves, **FEW))
    assert some.mean() > none.mean() + 0.02


def test_a_sentence_that_is_reconstructed_is_left_alone(packed, tiny_material, monkeypatch):
    z, calls = packed.encode(list(tiny_material.corpus.splits["test"]["text"])[:5]), []
    greedy, whole = packed.generate_ids(z), packed.generate_ids
    monkeypatch.setattr(packed, "generate_ids", lambda *a, **k: calls.append(1) or whole(*a, **k))
    assert guided_search(packed, z) == greedy and len(calls) == 1
    assert guided_search(packed, (z + z[::-1]) / 2, samples=3) != greedy and len(calls) == 1 + 1 + 3
    assert guided_search(packed, z[:0]) == []


def test_a_learned_vector_is_searched_by_sampling_the_same_way_again(float32, tiny_model, tiny_material):
    """The texts are closer than the greedy ones too, and the caller's random numbers go on as they were."""
    model = tiny_model("hybrid")
    z = model.encode(list(tiny_material.corpus.splits["test"]["text"])[:4])
    torch.manual_seed(3), np.random.seed(3)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist()
    torch.manual_seed(3), np.random.seed(3)
    first = guided_search(model, z, **FEW)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist()) == expected
    greedy, guided = (nearness(model, z, ids) for ids in (model.generate_ids(z), first))
    assert (guided >= greedy - 1e-6).all() and guided.mean() > greedy.mean() + 0.04
    assert first == guided_search(model, z, **FEW) and len(first) == 4
    c = model.config
    for ids in first:
        assert ids[-1] == c.eos_token_id and len(ids) < c.max_length and c.eos_token_id not in ids[:-1]


def test_a_learned_model_is_sampled_and_every_other_time_under_noise(tiny_model, tiny_material, monkeypatch):
    model, calls = tiny_model("hybrid"), []
    z = model.encode(list(tiny_material.corpus.splits["test"]["text"])[:1])
    whole = model.generate_ids
    monkeypatch.setattr(model, "generate_ids", lambda z, **k: calls.append((z, k)) or whole(z, **k))
    guided_search(model, z, **FEW)
    assert [how for _, how in calls] == [{}, *[SAMPLING] * FEW["samples"]]
    assert [np.array_equal(read, z) for read, _ in calls] == [True, *[True, False] * 3]


def test_a_vector_without_a_prefix_has_no_guide(tiny_model):
    with pytest.raises(ValueError, match="semantic prefix"):
        guided_search(tiny_model("att_pool"), np.zeros((1, 8), dtype=np.float32))


CONTINUES = [k in (11, 21) for k in range(100)]  # 10 11 and 20 21 are words of two pieces
TEXTS = [(1, 10, 11, 2), (20, 21, 3, 4, 5)]


class Throws:
    """Random numbers that choose one way of recombining, and everything else at random."""

    def __init__(self, way):
        self.way, self.rng = way, np.random.default_rng(0)

    def random(self):
        return self.way

    def __getattr__(self, name):
        return getattr(self.rng, name)


@pytest.mark.parametrize(
    ("way", "expected"), [(0.1, (1, 10, 11, 3, 4, 5)), (0.8, (20, 21, 5)), (0.9, (1, 3, 10, 11, 2))]
)
def test_recombined_texts_are_cut_between_words_and_not_too_long(way, expected):
    """The beginning of one and the end of another; a part left out; a part of the other put in."""
    seen, rng = set(), Throws(way)
    for _ in range(600):
        made = recombined(TEXTS, CONTINUES, 6, rng)
        assert len(made) <= 6 and set(made) <= set(TEXTS[0] + TEXTS[1])
        assert all(made[k - 1] == made[k] - 1 for k in range(len(made)) if CONTINUES[made[k]])
        assert not made or made[-1] not in (10, 20)  # no half of a word at the end
        seen.add(made)
    assert expected in seen
    if way == 0.8:
        assert all(len(made) < 6 for made in seen) and (1, 2) in seen and (1, 10, 11, 3, 4, 5) not in seen


def test_a_recombined_text_that_repeats_itself_is_not_scored(packed, halves, monkeypatch):
    monkeypatch.setattr("invlib.probes.guided_search.repeats", lambda row: True)
    drawn = guided_search(packed, halves, **FEW | {"rounds": 0})
    assert guided_search(packed, halves, **FEW) == drawn


def test_an_n_gram_that_occurs_twice_is_a_repetition():
    assert repeats((1, 2, 3, 9, 1, 2, 3)) and repeats((4, 4, 4, 4))
    assert not repeats((1, 2, 9, 1, 2)) and not repeats((1, 2))


@pytest.mark.parametrize(("search", "noisy"), [(None, 6), ({"num_beams": 1}, 3)])
def test_what_cannot_be_sampled_is_read_under_noise_each_time_and_the_rest_every_other_time(
    packed, halves, monkeypatch, search, noisy
):
    """The noise is on the code alone."""
    read, whole = [], packed.generate_ids
    monkeypatch.setattr(packed, "generate_ids", lambda z, **k: read.append(z) or whole(z, **k))
    guided_search(packed, halves[:1], **FEW, search=search)
    moved = [np.abs(z - halves[:1]).max() > 1e-6 for z in read]
    assert len(moved) == 1 + FEW["samples"] and not moved[0] and sum(moved) == noisy
    assert all(np.array_equal(z[:, :8], halves[:1, :8]) for z in read)


def test_the_nearest_texts_go_on(packed, halves, monkeypatch):
    given = []
    monkeypatch.setattr("invlib.probes.guided_search.recombined", lambda texts, *_: given.append(texts) or ())
    guided_search(packed, halves[:1], **FEW)
    cosines = nearness(packed, halves[[0] * len(given[0])], given[0])
    drawn = nearness(packed, halves[:1], guided_search(packed, halves[:1], **FEW | {"rounds": 0}))
    assert 1 < len(given[0]) <= FEW["kept"] and (np.diff(cosines) <= 1e-6).all()
    assert cosines[0] == pytest.approx(drawn[0], abs=1e-6)
