"""Between vectors: what is measured is what the docstrings say."""

import datasets
import numpy as np
import pandas as pd
import pytest

from invlib.measures.similarity import unit
from invlib.measures.text import teacher_forced
from invlib.models.packed_ids import PackedIds
from invlib.models.pooling import fit_components
from invlib.probes.between_vectors import (
    bits_a_token,
    column_means,
    disjoint_pairs,
    one_word_changed,
    random_pairs,
    relative_distance,
    share_differing,
    sts_spearman,
    words_exchanged,
)


@pytest.fixture
def packed(tiny_encoder, tiny_material):
    sentence = np.asarray(tiny_material.states["train"].sentence)
    return PackedIds(tiny_encoder, fit_components(sentence, 8), 168, bits=1, max_length=16)


def test_bits_a_token_are_the_reference_models_cross_entropy(tiny_model, tiny_material):
    reference, data = tiny_model("no_vector"), tiny_material.dataset("test", layers=())
    found = teacher_forced(reference, data, top_k=(1,))
    ids = [data[k]["input_ids"][1:].tolist() for k in range(len(data))]
    bits = bits_a_token(reference, ids)
    np.testing.assert_allclose(bits, found["nats"] / found["tokens"] / np.log(2), rtol=1e-5)
    assert np.isnan(bits_a_token(reference, [[], ids[0]])[0])


def test_a_pair_is_of_two_different_ones():
    pairs = random_pairs(3, 500)
    assert pairs.shape == (500, 2) and (pairs[:, 0] != pairs[:, 1]).all() and set(pairs.ravel()) == {0, 1, 2}
    with pytest.raises(ValueError, match="at least 2 sentences.*got 1"):
        random_pairs(1, 5)


def test_disjoint_pairs_use_each_once():
    pairs = disjoint_pairs(7)
    assert pairs.shape == (3, 2) and len(set(pairs.ravel())) == 6
    assert disjoint_pairs(7, 2).tolist() == pairs[:2].tolist()


def test_exchanged_words_are_the_same_words(tiny_encoder):
    texts = ["oil falls again", "gold", "oil oil", "copper slips again on weak data " * 4, "gold rises"]
    kept, exchanged = words_exchanged(tiny_encoder, texts, longest=16)
    assert kept == ["oil falls again", "gold rises"]  # one word, twice the same, too long: left out
    for before, after in zip(kept, exchanged, strict=True):
        assert sorted(before.split()) == sorted(after.split())
        assert sum(x != y for x, y in zip(before.split(), after.split(), strict=True)) == 2


def test_distance_is_in_units_of_two_sentences():
    rng = np.random.default_rng(0)
    z, other = rng.standard_normal((2, 400, 50))
    np.testing.assert_allclose(relative_distance(z, other).mean(), 1, atol=0.02)
    np.testing.assert_allclose(relative_distance(10 * z, 10 * z + 1), relative_distance(z, z + 0.1))
    assert relative_distance(z, z).max() == 0


def test_means_leave_out_what_is_not_there():
    table = pd.DataFrame({"a": [1.0, 3.0, None], "b": [None, None, None]})
    first, second = column_means(table, ["a", "b"], n_bootstrap=50)
    assert first["mean"] == 2 and 1 <= first["low"] <= first["high"] <= 3 and first["n"] == 2
    assert second == {"measure": "b", "mean": None, "low": None, "high": None, "n": 0}


def test_a_column_of_yes_and_no_is_a_share_and_has_wilsons_interval():
    table = pd.DataFrame({"empty": [False] * 100, "further": [0.0] * 100})
    share, difference = column_means(table, ["empty", "further"], n_bootstrap=50)
    assert share["mean"] == 0 and share["low"] == 0 and share["high"] == pytest.approx(0.037, abs=1e-3)
    assert (difference["low"], difference["high"]) == (0, 0)


def test_one_word_changed_changes_as_much_in_a_control_that_is_exact(packed, tiny_material):
    texts = tiny_material.corpus.splits["train"]["text"]
    table = one_word_changed(packed, texts)
    assert 10 < len(table) <= len(texts)
    for row in table.itertuples():
        before, after = row.text.split(), row.changed.split()
        assert len(before) == len(after) and sum(x != y for x, y in zip(before, after, strict=True)) == 1
    of_another = [not set(row.changed.split()) <= set(row.text.split()) for row in table.itertuples()]
    assert np.mean(of_another) > 0.5  # the word comes from another text, which may hold it too
    np.testing.assert_allclose(table.tokens_in, table.tokens_out)
    assert table.distance.between(0.01, 2).all() and table.cosine.lt(1).all()


def test_one_text_has_no_other_to_take_a_word_of(packed):
    with pytest.raises(ValueError, match="at least 2 texts, got 1"):
        one_word_changed(packed, ["a single headline"])


def test_differing_counts_the_longer_ones_positions():
    assert (
        share_differing([1, 2, 3], [1, 2, 3]) == 0
        and share_differing([1, 2], [1, 3, 4, 5]) == 0.75
        and share_differing([], []) == 0
    )


def test_sts_asks_no_host_for_pairs_that_are_not_here(tiny_model, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", None)
    assert sts_spearman(tiny_model("hybrid")) is None


def test_sts_is_spearmans_correlation_with_peoples_scores(packed, monkeypatch, tiny_material, tmp_path):
    texts = list(tiny_material.corpus.splits["train"]["text"])
    first, second = texts[:12], texts[1:13]
    a, b = packed.encode(first), packed.encode(second)
    scores = (unit(a) * unit(b)).sum(1) ** 3
    made = datasets.Dataset.from_dict({"sentence1": first, "sentence2": second, "score": scores})
    folder = tmp_path / "sentence-transformers___stsb" / "default" / "0.0.0"
    made.save_to_disk(folder)  # in the format of the cache, under another name
    next(folder.glob("*.arrow")).rename(folder / "stsb-test.arrow")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    assert sts_spearman(packed) == pytest.approx(1.0)
