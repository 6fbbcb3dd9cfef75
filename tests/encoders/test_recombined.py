"""Recombined sentences: new ones in each epoch, of whole words, never too long; and the set that training reads."""

import random
from collections import Counter

import numpy as np
import pytest

from invlib.encoders import recombined as module
from invlib.encoders.recombined import Recombined, words_of

LONG_WORDS = ["gold dab rises", "cabba falls", "oil jabcac slips again", "uber jab copper gains ground on cab"]


@pytest.fixture
def real(tiny_encoder, tiny_material):
    """The training sentences, and four with words of several pieces."""
    return [*tiny_material.dataset("train", layers=()).ids(), *tiny_encoder.input_ids(LONG_WORDS)]


@pytest.fixture
def build(real, tiny_encoder):
    """build(n, seed, longest) -> so many sentences an epoch."""
    return lambda n=300, seed=0, longest=16: Recombined(real, tiny_encoder, n, seed, longest)


def all_ids(made: Recombined) -> list[list[int]]:
    return [made.ids(k) for k in range(len(made))]


def test_seed_epoch_and_place_decide_a_sentence(build):
    made, again = build(), build()
    first = all_ids(made)
    assert [again.ids(k) for k in reversed(range(300))] == first[::-1]  # in whatever order they are read
    assert len({tuple(ids) for ids in first}) > 200
    made.set_epoch(1)
    second = all_ids(made)
    assert np.mean([a == b for a, b in zip(first, second, strict=True)]) < 0.3
    made.set_epoch(0)
    assert all_ids(made) == first != all_ids(build(seed=1))


@pytest.mark.parametrize("longest", [3, 5, 9, 16])
def test_a_sentence_is_never_too_long_nor_empty(build, tiny_encoder, longest):
    for ids in all_ids(build(longest=longest)):
        assert 3 <= len(ids) <= longest
        assert (ids[0], ids[-1]) == (tiny_encoder.bos_token_id, tiny_encoder.eos_token_id)


def test_no_word_is_cut(build, monkeypatch):
    """Without exchanged words, each word of a new sentence is a whole word of a real one, where it had to end too."""
    monkeypatch.setattr(module, "UNCHANGED", 1.0)
    for longest in (7, 16):
        made = build(longest=longest)
        assert max(map(len, made.distinct)) == 6  # jabcac, which does not always fit
        for ids in all_ids(made):
            assert set(words_of(ids[1:-1], made.continues)) <= set(made.distinct)


def test_every_piece_is_an_ordinary_one_and_may_come(build, real, tiny_encoder):
    ordinary = set(tiny_encoder.ordinary_pieces().tolist())
    found = {i for ids in all_ids(build(2000)) for i in ids[1:-1]}
    assert found <= ordinary
    assert found - {i for ids in real for i in ids} and len(found) > 0.9 * len(ordinary)


def test_most_sentences_begin_as_a_real_one_and_few_are_real(build, real):
    made = all_ids(build(1000))
    assert 0.6 < np.mean([ids[1] == real[k % len(real)][1] for k, ids in enumerate(made)]) < 0.98
    own = np.mean([ids == real[k % len(real)] for k, ids in enumerate(made)])
    assert 0.03 < own < 0.3  # as they are


def test_an_item_has_no_states_and_its_length_is_about_known(build, real):
    made = build(100)
    assert len(made) == len(made.lengths) == 100
    assert made.lengths[:50].tolist() == [len(real[k % len(real)]) for k in range(50)]
    item = made[7]
    assert set(item) == {"input_ids", "real"} and not item["real"]
    assert item["input_ids"].dtype == np.int32 and item["input_ids"].tolist() == made.ids(7)


# A near text


def test_a_disturbed_text_keeps_most_of_its_words(build, tiny_encoder):
    made, rng = build(longest=16), random.Random(0)
    text = tiny_encoder.input_ids(["the old central bank holds steady before the vote on tariffs"])[0][1:-1]
    found = [made.disturbed(text, rng) for _ in range(500)]
    assert all(len(ids) <= 14 for ids in found)
    shared = [(Counter(ids) & Counter(text)).total() / len(text) for ids in found]
    assert 0.7 < np.mean(shared) < 0.95
    assert np.mean([share == 1 and ids != text for share, ids in zip(shared, found, strict=True)]) > 0.1  # moved alone
    assert 0.05 < np.mean([ids == text for ids in found]) < 0.5
    assert len({len(ids) for ids in found}) > 2  # words are left out and put in
    assert [made.disturbed(text, r) for r in (random.Random(3),) * 2] != [text, text]
    assert made.disturbed(text, random.Random(3)) == made.disturbed(text, random.Random(3))


def test_a_disturbed_text_is_cut_to_what_fits(build, tiny_encoder):
    made, rng = build(longest=6), random.Random(0)
    text = tiny_encoder.input_ids(["gold rises on strong demand for steel"])[0][1:-1]
    assert all(len(made.disturbed(text, rng)) <= 4 for _ in range(100))
    assert made.disturbed([], rng) == []


# The training set


def test_a_training_set_is_its_parts_one_after_another(tiny_material, run):
    dataset = tiny_material.training_set((), 0.5, 2.0, 0, 12)
    assert [len(part) for part in dataset.datasets] == [40, 20, 80] and len(dataset.lengths) == len(dataset) == 140
    assert [dataset[k]["real"] for k in (0, 39, 40, 59, 60, 139)] == [True, True, False, False, False, False]
    assert ["reference" in dataset[k] for k in (39, 59, 60)] == [True, True, False]
    assert all(len(dataset[k]["input_ids"]) == dataset.lengths[k] for k in range(60))
    assert max(len(dataset[k]["input_ids"]) for k in range(60, 140)) <= 12

    def read(ks):
        return [dataset[k]["input_ids"].tolist() for k in ks]

    before, added = read(range(60)), read(range(60, 140))
    dataset.set_epoch(1)
    assert read(range(60)) == before and read(range(60, 140)) != added  # these alone are new in each epoch


def test_a_training_set_without_added_sentences_has_one_part(tiny_material):
    dataset = tiny_material.training_set(("last",), 0.0, 0.0, 0, 16)
    assert len(dataset.datasets) == 1 and len(dataset) == 40
    assert dataset[3]["token_embeddings"].shape[1] == 32
