"""THE tuple of metrics: where each comes from, how headlines are added up, which interval it has, how it is shown.

Evaluation, tables and figures loop over `METRICS`. A new metric is one entry here and, where it needs a new array with
one entry a headline, one line where evaluation/evaluate.py collects it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from invlib.measures.intervals import bootstrap, paired_difference, proportion_interval, ratio
from invlib.measures.similarity import rank_correlation, rank_correlation_interval
from invlib.measures.text import bleu, bleu_interval


def mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def wilson(_, values: np.ndarray, n: int) -> list[float]:
    return proportion_interval(values)


def resampled_texts(_, decoded: list[str], reference: list[str], n: int) -> list[float]:
    return bleu_interval(decoded, reference, n)


def resampled_ranks(_, vectors: np.ndarray, sentence: np.ndarray, n: int) -> list[float]:
    return rank_correlation_interval(vectors, sentence, n)


@dataclass(frozen=True)
class Metric:
    """One figure of a model.

    of: "teacher_forced" (over the whole split), "generated" (over its first n_generate headlines) or "vectors".
    arrays: the names of the arrays, one entry a headline, of which `total` makes the figure.
    interval: interval(total, *arrays, n=resamples) gives the 95 % interval; None for a figure that has none.
    controlled: whether the controls' figure is shown beside it. about: "text" or "vector", the table it stands in.
    label: of an axis; short: of a table's column. scorer: the key of metrics.json that names the model that scored.
    """

    name: str
    of: str
    arrays: tuple[str, ...]
    total: Callable[..., float]
    label: str
    short: str
    interval: Callable[..., list[float]] | None = bootstrap
    digits: int = 3
    controlled: bool = False
    about: str = "text"
    scorer: str | None = None

    def measure(self, found: dict, n_bootstrap: int) -> tuple[float | None, list[float] | None]:
        """The figure and its 95 % interval from arrays (N,) by name; None where an array was not measured."""
        arrays = [found.get(name) for name in self.arrays]
        if any(array is None for array in arrays):
            return None, None
        interval = self.interval(self.total, *arrays, n=n_bootstrap) if self.interval else None
        return float(self.total(*arrays)), interval


METRICS = (
    Metric(
        "accuracy", "teacher_forced", ("hits_1", "tokens"), ratio, "next-token accuracy, true prefix given",
        "teacher-forced accuracy", controlled=True,
    ),
    Metric(
        "generated_accuracy", "generated", ("right", "positions"), ratio, "token accuracy, generated freely",
        "generated accuracy", controlled=True,
    ),
    Metric(
        "exact_match", "generated", ("exact",), mean, "headlines decoded exactly", "exact match", wilson,
        controlled=True,
    ),
    Metric(
        "token_f1", "generated", ("token_f1",), mean, "word pieces found, in any order (F1)", "pieces found, any order",
        controlled=True,
    ),
    Metric("bleu", "generated", ("decoded", "reference"), bleu, "BLEU", "BLEU", resampled_texts, digits=1),
    Metric(
        "bertscore_f1", "generated", ("bertscore_f1",), mean, "BERTScore F1", "BERTScore", controlled=True,
        scorer="bertscore_model",
    ),
    Metric(
        "paraphrase_similarity", "generated", ("paraphrase_similarity",), mean, "paraphrase similarity", "paraphrase",
        controlled=True, scorer="paraphrase_model",
    ),
    Metric(
        "judged_similarity", "generated", ("judged_similarity",), mean, "similarity of meaning, by the judge",
        "similarity by the judge", controlled=True, scorer="judge",
    ),
    Metric(
        "recovered_bits", "teacher_forced", ("recovered_bits",), mean, "recovered bits per headline", "recovered bits",
        digits=1, about="vector",
    ),
    Metric(
        "rank_correlation", "vectors", ("vectors", "sentence"), rank_correlation, "rank correlation with the encoder",
        "rank correlation with the encoder", resampled_ranks, digits=2, about="vector",
    ),
    Metric(
        "judged_correlation", "vectors", ("vectors", "judged"), rank_correlation, "rank correlation with the judge",
        "rank correlation with the judge", resampled_ranks, digits=2, about="vector", scorer="judge",
    ),
    Metric("recall_at_10", "vectors", ("recall_at_10",), mean, "recall@10 of the encoder's neighbours", "recall@10",
           digits=2, about="vector"),
)  # fmt: skip


def measure(of: str, found: dict, n_bootstrap: int) -> tuple[dict, dict]:
    """All metrics of one kind from arrays with one entry per headline: ({name: figure}, {name: 95 % interval})."""
    figures, ci95 = {}, {}
    for metric in METRICS:
        if metric.of == of:
            figures[metric.name], interval = metric.measure(found, n_bootstrap)
            if interval is not None:
                ci95[metric.name] = interval
    return figures, ci95


def differences(of: str, ours: dict, theirs: dict, n_bootstrap: int) -> dict[str, list[float]]:
    """By how much a model is better than its control, each controlled metric: {name: [difference, low, high]}.

    Paired, for both see the same headlines: see `paired_difference`. Left out is what was not measured.
    """
    return {
        m.name: list(paired_difference(
            tuple(ours[a] for a in m.arrays), tuple(theirs[a] for a in m.arrays), m.total, n_bootstrap
        ))
        for m in METRICS if m.of == of and m.controlled and all(a in part for part in (ours, theirs) for a in m.arrays)
    }  # fmt: skip
