"""Metrics, against examples worked by hand and against what statistics promises."""

import inspect
import math
import tracemalloc
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from invlib.measures import text
from invlib.measures.intervals import bootstrap, paired_difference, proportion_interval, ratio
from invlib.measures.similarity import (
    N_HEADLINES,
    correlations,
    rank_correlation,
    rank_correlation_difference,
    rank_correlation_interval,
    recall_at_k,
)
from invlib.measures.text import bleu, generated_matches, recovered_bits, teacher_forced

CLS, SEP, UNK = 101, 102, 100
CONFIG = SimpleNamespace(unk_token_id=UNK, max_length=8)


@pytest.mark.parametrize(
    "generated, reference, right, positions, exact",
    [
        ([5, 6, 7, SEP], [CLS, 5, 6, 7, SEP], 4, 4, 1),  # all, the end token among them
        ([5, 9, 7, SEP], [CLS, 5, 6, 7, SEP], 3, 4, 0),  # one wrong
        ([5, 6, SEP], [CLS, 5, 6, 7, SEP], 2, 4, 0),  # ended early: of the longer, here the reference
        ([5, 6, 7, 8, SEP], [CLS, 5, 6, 7, SEP], 3, 5, 0),  # ended late: of the longer, here what was generated
        ([5, 6, 7], [CLS, 5, 6, 7, SEP], 3, 4, 0),  # never ended
        ([6, 7, SEP], [CLS, 5, 6, 7, SEP], 0, 4, 0),  # by position: a shift by one loses everything
        ([SEP], [CLS, 5, SEP], 0, 2, 0),  # nothing generated
        ([5, UNK, SEP], [CLS, 5, UNK, SEP], 2, 3, 0),  # [UNK] in the reference is wrong, even if generated
        ([1, 2, 3, 4, 5, 6, SEP], [CLS, 1, 2, 3, 4, 5, 6, SEP], 7, 7, 0),  # as long as max_length: cut, never exact
    ],
)
def test_generated_matches_worked_by_hand(generated, reference, right, positions, exact):
    found = generated_matches([generated], [reference], CONFIG)
    assert (found["right"][0], found["positions"][0], found["exact"][0]) == (right, positions, exact)


def test_generated_accuracy_is_summed_over_headlines():
    found = generated_matches([[5, SEP], [1, 2, 3, SEP]], [[CLS, 5, SEP], [CLS, 9, 9, 9, SEP]], CONFIG)
    assert ratio(found["right"], found["positions"]) == 3 / 6  # not the mean of 2/2 and 1/4
    with pytest.raises(ValueError):
        generated_matches([[5]], [], CONFIG)


@pytest.mark.parametrize("row", ["att_pool", "rnn", "encoder_only", "no_vector"])
def test_teacher_forced_worked_by_hand(tiny_model, tiny_material, row):
    """One headline at a time, without padding, its probabilities written out."""
    model = tiny_model(row)
    with torch.no_grad():
        model.decoder.vocabulary.bias.normal_()
    data = tiny_material.dataset("test", layers=model.reads_layers)
    found = teacher_forced(model, data, top_k=(1, 5), batch_size=5)
    for k in range(len(data)):
        item = data[k]
        ids = torch.tensor(item["input_ids"].astype(np.int64))[None].to(model.device)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if model.reads_states:
            batch["token_embeddings"] = torch.tensor(item["token_embeddings"].astype(np.float32))[None].to(model.device)
        with torch.no_grad():
            z = model.pool(batch)
            p = model.logits(model.decoder.decode_states(z, ids[:, :-1]))[0].softmax(-1)  # (T - 1, V)
        labels = ids[0, 1:].tolist()
        assert found["tokens"][k] == len(labels) == data.lengths[k] - 1
        nats = -sum(math.log(p[t, label]) for t, label in enumerate(labels))
        assert found["nats"][k] == pytest.approx(nats, rel=1e-4)
        assert found["hits_1"][k] == sum(int(p[t].argmax()) == label for t, label in enumerate(labels))
        assert found["hits_5"][k] == sum(label in p[t].topk(5).indices for t, label in enumerate(labels))
        np.testing.assert_allclose(found["sentence_embedding"][k], z[0].cpu().numpy(), atol=1e-5)
    assert found["hits_1"].sum() < found["hits_5"].sum() < found["tokens"].sum()


def test_teacher_forced_with_given_vectors_reads_those(tiny_model, tiny_material):
    model = tiny_model()
    data = tiny_material.dataset("test")
    own = teacher_forced(model, data, batch_size=5)
    again = teacher_forced(model, data, vectors=own["sentence_embedding"], batch_size=7)
    np.testing.assert_allclose(again["nats"], own["nats"], rtol=1e-5)
    swapped = np.roll(own["sentence_embedding"], 1, axis=0)
    other = teacher_forced(model, data, vectors=swapped, batch_size=5)
    np.testing.assert_array_equal(other["sentence_embedding"], swapped)
    assert not np.allclose(other["nats"], own["nats"])


def test_of_equally_likely_pieces_the_vocabularys_first_come_first(tiny_model, tiny_material, monkeypatch):
    model, data = tiny_model(), tiny_material.dataset("test")
    monkeypatch.setattr(model, "logits", lambda states: torch.zeros(len(states), model.config.vocab_size))
    labels = [data[i]["input_ids"][1:] for i in range(len(data))]
    middle = int(np.median(np.concatenate(labels)))
    found = teacher_forced(model, data, top_k=(middle,))
    assert found[f"hits_{middle}"].tolist() == [(ids < middle).sum() for ids in labels]
    assert 0 < found[f"hits_{middle}"].sum() < found["tokens"].sum()


def test_a_cross_entropy_that_is_not_finite_is_refused(tiny_model, tiny_material):
    model, data = tiny_model(), tiny_material.dataset("test")
    with pytest.raises(ValueError, match="not finite"):
        teacher_forced(model, data, vectors=np.full((len(data), 32), np.nan, dtype=np.float32))


def test_recovered_bits_are_positive_where_the_vector_helps():
    nats, reference = np.array([1.0, 8.0, 5.0]), np.array([5.0, 5.0, 5.0])
    np.testing.assert_allclose(recovered_bits(nats, reference), [4 / math.log(2), -3 / math.log(2), 0])
    assert recovered_bits(np.array([0.0]), np.array([10 * math.log(2)]))[0] == pytest.approx(10)


# Intervals


def test_an_interval_holds_the_mean_and_narrows_with_n():
    rng = np.random.default_rng(0)
    widths = []
    for n in (50, 200, 3200):
        sample = rng.normal(3, 1, n)
        low, high = bootstrap(np.mean, sample, n=400)
        assert low < sample.mean() < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.25)  # as the root of n
    assert widths[1] / widths[2] == pytest.approx(4, rel=0.25)
    assert widths[0] == pytest.approx(2 * 1.96 / 50**0.5, rel=0.25)


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(150):
        tokens = rng.integers(3, 20, 60).astype(float)
        right = rng.binomial(tokens.astype(int), 0.4).astype(float)
        low, high = bootstrap(ratio, right, tokens, n=200, seed=seed)
        hits += low <= 0.4 <= high
    assert 0.88 <= hits / 150 <= 0.99


def test_headlines_are_resampled_together():
    a = np.arange(1.0, 40)
    assert bootstrap(ratio, 3 * a, a, n=50) == pytest.approx([3.0, 3.0])
    assert bootstrap(np.mean, a, n=50, seed=4) == bootstrap(np.mean, a, n=50, seed=4)


@pytest.mark.parametrize("share", [0.01, 0.4, 0.99])
def test_a_shares_interval_covers_the_truth_near_zero_and_one_too(share):
    rng = np.random.default_rng(2)

    def coverage(interval):
        found = [interval((rng.random(100) < share).astype(float)) for _ in range(300)]
        return np.mean([low <= share <= high for low, high in found])

    assert coverage(proportion_interval) >= 0.9
    if share != 0.4:
        assert coverage(lambda exact: bootstrap(np.mean, exact, n=200)) < 0.75  # often [1, 1]


def test_a_shares_interval_worked_by_hand():
    assert proportion_interval(np.ones(100)) == pytest.approx([100 / (100 + 1.96**2), 1], abs=1e-5)
    assert proportion_interval([True, False]) == proportion_interval([0, 1])
    for wrong in ([], [0.5, 1], [2, 1], [np.nan, 1]):
        with pytest.raises(ValueError, match="one 0 or 1 a headline"):
            proportion_interval(wrong)


def test_a_paired_difference_is_clear_where_two_intervals_overlap():
    """What makes a headline hard for both systems cancels."""
    rng = np.random.default_rng(3)
    theirs = rng.normal(3, 1, 200)
    ours = theirs + rng.normal(0.05, 0.1, 200)
    assert bootstrap(np.mean, ours)[0] < bootstrap(np.mean, theirs)[1]
    found = paired_difference(ours, theirs)
    assert found.difference == pytest.approx((ours - theirs).mean()) and 0 < found.low < found.difference < found.high
    assert found[1:] == pytest.approx(bootstrap(np.mean, ours - theirs))
    few = paired_difference(ours, theirs, n=50, seed=3)
    assert few[1:] == pytest.approx(bootstrap(np.mean, ours - theirs, n=50, seed=3)) != found[1:]
    assert found.clear and paired_difference(theirs, ours).clear
    assert not paired_difference(ours, ours).clear and paired_difference(ours, ours) == (0, 0, 0)
    assert found.words.endswith(": better") and paired_difference(theirs, ours).words.endswith(": worse")
    assert paired_difference(ours, ours).words == "+0.000 [+0.000, +0.000]: no clear difference"


def test_a_paired_difference_of_ratios_covers_the_truth():
    rng = np.random.default_rng(4)
    hits = 0
    for seed in range(150):
        positions = rng.integers(3, 20, 60)
        ours, theirs = rng.binomial(positions, 0.5), rng.binomial(positions, 0.4)
        found = paired_difference((ours, positions), (theirs, positions), ratio, n=200, seed=seed)
        assert found.difference == pytest.approx(ratio(ours, positions) - ratio(theirs, positions))
        hits += found.low <= 0.1 <= found.high
    assert 0.88 <= hits / 150 <= 0.99
    with pytest.raises(ValueError, match="same headlines.*60, 60, 59"):
        paired_difference((ours, positions), theirs[:59], ratio)


# Texts


def test_bleu():
    texts = ["wall street falls as tariffs kick in", "oil rises on weak data from china"]
    assert bleu(texts, texts) == pytest.approx(100)
    assert bleu([s.upper() for s in texts], texts) == pytest.approx(100)  # the tokenizer is uncased
    assert 0 < bleu(["wall street falls as tariffs end", texts[1]], texts) < 90
    assert bleu(["", ""], texts) == 0
    assert bleu(["u . s . banks fall again"], ["u.s. banks fall again"]) < 60  # as spelled: nothing is split anew
    backwards = [" ".join(text.split()[::-1]) for text in texts]
    assert bleu(backwards, texts, order=1) == pytest.approx(100)  # of single words: their order does not count


# Semantics


def vectors_like(reference: np.ndarray, noise: float, rng) -> np.ndarray:
    return reference + noise * rng.normal(size=reference.shape)


def test_rank_correlation_of_the_same_of_noise_and_of_a_constant():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(60, 16))
    assert rank_correlation(reference, reference) == pytest.approx(1)
    assert rank_correlation(5 * reference, reference) == pytest.approx(1)  # cosines have no length
    some = rank_correlation(vectors_like(reference, 0.5, rng), reference)
    assert 0.5 < some < 0.95
    assert abs(rank_correlation(rng.normal(size=(60, 16)), reference)) < 0.1
    assert rank_correlation(np.ones((60, 16)), reference) == 0


def test_recall_worked_by_hand():
    length_angles = np.deg2rad([0, 10, 25, 90, 100])
    reference = np.stack([np.cos(length_angles), np.sin(length_angles)], 1)
    assert recall_at_k(reference, reference, k=2).tolist() == [1] * 5
    moved = reference[[0, 3, 2, 1, 4]]  # two headlines have changed places
    # nearest two now: 0 -> 2 3, 1 (at 90) -> 4 2, 2 -> 3 0, 3 (at 10) -> 0 2, 4 -> 1 2;
    # the encoder's:   0 -> 1 2, 1 -> 0 2,         2 -> 1 0, 3 -> 4 2,         4 -> 3 2
    assert recall_at_k(moved, reference, k=2).tolist() == [0.5, 0.5, 0.5, 0.5, 0.5]
    assert recall_at_k(moved, reference, k=1).tolist() == [0] * 5  # and none is its own neighbour


def test_a_correlations_interval_is_as_wide_as_the_figure_really_moves():
    """Held against the spread over fresh samples of headlines: pairs share headlines, and are not independent."""
    rng = np.random.default_rng(0)

    def sample():
        reference = rng.normal(size=(100, 8))
        return vectors_like(reference, 0.8, rng), reference

    figures, widths = [], []
    for k in range(150):
        vectors, reference = sample()
        figures.append(rank_correlation(vectors, reference))
        if k < 6:
            low, high = rank_correlation_interval(vectors, reference, n=3000)
            widths.append(high - low)
    assert 0.95 < np.mean(widths) / (2 * 1.96 * np.std(figures)) < 1.35  # 0.8 where each headline counts but once


def test_a_headline_that_is_drawn_twice_is_no_pair_with_itself():
    rng = np.random.default_rng(9)
    ours, theirs = (a + a.T for a in rng.normal(size=(2, 5, 5)))
    for a in (ours, theirs):
        np.fill_diagonal(a, 0)
    drawn = [0, 0, 0, 1, 3, 4]
    pairs = [(i, j) for k, i in enumerate(drawn) for j in drawn[:k] if i != j]
    expected = np.corrcoef([ours[pair] for pair in pairs], [theirs[pair] for pair in pairs])[0, 1]
    counts = np.bincount(drawn, minlength=5).astype(float)[:, None]
    assert correlations(ours, theirs, counts) == pytest.approx([expected])


def test_rank_correlation_is_scipys_over_all_pairs():
    from scipy.spatial.distance import pdist
    from scipy.stats import spearmanr

    rng = np.random.default_rng(5)
    reference = rng.normal(size=(40, 8))
    vectors = vectors_like(reference, 1.0, rng)
    expected = spearmanr(pdist(vectors, "cosine"), pdist(reference, "cosine")).statistic
    assert rank_correlation(vectors, reference) == pytest.approx(expected, abs=1e-12)
    assert rank_correlation(vectors, reference, n_headlines=40) == rank_correlation(vectors, reference)


def test_too_few_headlines_are_refused_and_constant_vectors_order_nothing():
    rng = np.random.default_rng(6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for correlation in (rank_correlation, rank_correlation_interval):
            for n in (1, 2):
                with pytest.raises(ValueError, match=f"at least 3 headlines, got {n}"):
                    correlation(rng.normal(size=(n, 4)), rng.normal(size=(n, 4)))
        for size in (3, 40):  # of three headlines some resamples hold a single one
            constant, reference = np.ones((size, 4)), rng.normal(size=(size, 4))
            for ours, theirs in ((constant, reference), (reference, constant)):
                assert rank_correlation(ours, theirs) == 0 and rank_correlation_interval(ours, theirs) == [0, 0]
            low, high = rank_correlation_interval(vectors_like(reference, 0.1, rng), reference)
            assert -1 <= low <= high <= 1 + 1e-9
        with pytest.raises(ValueError, match="at least 2 headlines, got 1"):
            recall_at_k(np.ones((1, 4)), np.ones((1, 4)))
        assert recall_at_k(reference[:5], reference[:5], k=10).tolist() == [1] * 5  # all four others


def test_a_difference_of_rank_correlations_is_paired():
    rng = np.random.default_rng(8)
    reference = rng.normal(size=(80, 8))
    theirs = vectors_like(reference, 0.8, rng)
    ours = vectors_like(theirs, 0.1, rng) + 0.08 * reference  # nearly theirs, and a little closer to the reference
    found = rank_correlation_difference(ours, theirs, reference)
    assert found.difference == pytest.approx(rank_correlation(ours, reference) - rank_correlation(theirs, reference))
    assert found.clear and 0 < found.low < found.difference < found.high
    own, other = (rank_correlation_interval(vectors, reference) for vectors in (ours, theirs))
    assert own[0] < other[1]  # their own intervals overlap
    assert rank_correlation_difference(theirs, theirs, reference) == (0, 0, 0)


def test_a_large_corpus_takes_no_more_memory_than_the_cap_allows():
    """Of 10 000 headlines one matrix of all pairs takes 800 MB."""
    rng = np.random.default_rng(7)
    reference = rng.normal(size=(10_000, 8))
    vectors = vectors_like(reference, 0.8, rng)
    for function in (rank_correlation, rank_correlation_interval, recall_at_k):
        assert inspect.signature(function).parameters["n_headlines"].default == N_HEADLINES == 5000
        tracemalloc.start()
        found = function(vectors, reference, n_headlines=500)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 50e6 and found == pytest.approx(function(vectors, reference, n_headlines=500))
    assert len(found) == 500
    few = rank_correlation(vectors, reference, n_headlines=500)
    low, high = rank_correlation_interval(vectors, reference, n_headlines=500)
    assert low < few < high and few == pytest.approx(rank_correlation(vectors[:1500], reference[:1500]), abs=0.03)


def test_the_teacher_forced_pass_reads_texts_of_like_length_together_and_a_few_labels_at_once(
    tiny_model, tiny_material, monkeypatch
):
    """With given vectors the encoder's states are not read at all."""
    model, data = tiny_model(), tiny_material.dataset("test")
    whole = teacher_forced(model, data, batch_size=4)
    batches, labels, forward, logits = [], [], model.forward, model.logits
    monkeypatch.setattr(model, "forward", lambda **batch: batches.append(batch) or forward(**batch))
    monkeypatch.setattr(model, "logits", lambda states: labels.append(len(states)) or logits(states))
    monkeypatch.setattr(text, "LABELS", 5)
    again = teacher_forced(model, data, vectors=whole["sentence_embedding"], batch_size=4)
    for name, values in whole.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-5, err_msg=name)
    lengths = [length for batch in batches for length in batch["attention_mask"].sum(1).tolist()]
    assert lengths == sorted(lengths, reverse=True) and sorted(lengths) == sorted(data.lengths.tolist())
    assert max(labels) == 5 and sum(labels) == whole["tokens"].sum()
    assert not any("token_embeddings" in batch for batch in batches)
