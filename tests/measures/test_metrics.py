"""THE tuple of metrics: each figure and its interval, on arrays that can be followed by hand."""

import numpy as np
import pytest

from invlib.measures.metrics import METRICS, differences, measure

FOUND = {
    "right": np.array([3.0, 0.0, 2.0]), "positions": np.array([4.0, 2.0, 2.0]), "exact": np.array([0.0, 0.0, 1.0]),
    "token_f1": np.array([0.5, 0.0, 1.0]),
    "bertscore_f1": np.array([0.5, 0.1, 0.9]), "paraphrase_similarity": np.array([0.6, 0.0, 0.9]),
    "decoded": ["oil falls", "", "gold rises once again"], "reference": ["oil falls", "a", "gold rises once again"],
}  # fmt: skip


def test_names_are_unique_and_complete():
    assert len({m.name for m in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.of in ("teacher_forced", "generated", "vectors") and metric.about in ("text", "vector")
        assert metric.label and metric.short and metric.arrays


def test_generated_figures_are_added_up_over_headlines():
    figures, ci95 = measure("generated", FOUND, 200)
    assert figures["generated_accuracy"] == 5 / 8  # positions, not headlines
    assert figures["exact_match"] == pytest.approx(1 / 3) and figures["bertscore_f1"] == pytest.approx(0.5)
    assert figures["token_f1"] == 0.5
    scored = {"token_f1", "bleu", "bertscore_f1", "paraphrase_similarity"}
    assert set(ci95) == {"generated_accuracy", "exact_match", *scored}
    low, high = ci95["bleu"]
    assert 0 <= low < figures["bleu"] < high


def test_a_share_near_one_has_an_interval_that_reaches_below():
    """100 of 100 is no certainty: the bootstrap would say [1, 1]."""
    _, ci95 = measure("generated", {"exact": np.ones(100)}, 200)
    assert ci95["exact_match"][0] == pytest.approx(0.963, abs=1e-3) and ci95["exact_match"][1] == 1


def test_what_was_not_measured_is_none():
    figures, ci95 = measure("teacher_forced", {"hits_1": np.ones(3), "tokens": np.full(3, 2.0)}, 50)
    assert figures == {"accuracy": 0.5, "recovered_bits": None} and "recovered_bits" not in ci95
    nothing = dict.fromkeys(("rank_correlation", "judged_correlation", "recall_at_10"))
    assert measure("vectors", {}, 50) == (nothing, {})


def test_a_model_and_its_control_are_compared_in_pairs():
    """Headlines differ far more than the two systems do: their own intervals overlap, the paired one is clear."""
    rng = np.random.default_rng(0)
    theirs = rng.uniform(0, 0.9, 60)
    ours = {"bertscore_f1": theirs + 0.02 + rng.normal(0, 0.01, 60)}
    metrics = {name: np.ones(60) for name in ("right", "positions", "exact", "token_f1", "paraphrase_similarity")}
    found = differences("generated", metrics | ours, metrics | {"bertscore_f1": theirs}, 300)
    difference, low, high = found["bertscore_f1"]
    assert 0 < low < difference < high < 0.03
    _, own = measure("generated", ours, 300)
    _, other = measure("generated", {"bertscore_f1": theirs}, 300)
    assert own["bertscore_f1"][0] < other["bertscore_f1"][1]
    assert found["exact_match"] == [0, 0, 0] and "bleu" not in found
