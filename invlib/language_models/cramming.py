"""Cramming: K input vectors of a frozen language model, optimised until it generates a text from them.

Kuratov, Arkhipov, Bulatov, Burtsev, "Cramming 1568 Tokens into a Single Vector and Back Again", 2025, arXiv 2502.13063.
Unlike there, the first token is trained and scored too, and the tokens of free-running greedy search are scored as well
as those with the true text before them.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from invlib.language_models.fit_vectors import fit, fit_table, start_vectors
from invlib.language_models.frozen import FrozenLM, teacher_forced_scores
from invlib.measures.intervals import bootstrap, ratio

PAPER_CAPACITY = {  # tokens in one vector, natural text; the paper's table of models, its first token not scored
    "Pythia-160M": 80, "Pythia-410M": 96, "Pythia-1.4B": 160, "Llama-3.2-1B": 512, "Llama-3.2-3B": 1024,
    "Llama-3.1-8B": 1568,
}  # fmt: skip


def states_after_vectors(lm: FrozenLM, vectors: Tensor, labels: Tensor) -> Tensor:
    """The states that predict a text's tokens after the vectors (B, K, H); labels (B, T) -> (B, T, H).

    The last vector's state predicts the first token: no begin token stands between.
    """
    before = lm.embed(labels[:, :-1].clamp(min=0)).to(vectors.dtype)  # (B, T - 1, H)
    return lm.states(torch.cat([vectors, before], 1), labels.shape[1])


def cram(
    lm: FrozenLM, texts: Sequence[str] | Sequence[list[int]], n_vectors: int = 1, *, batch_size: int = 64,
    seed: int | Sequence[int] = 0, **options,
) -> tuple[pd.DataFrame, np.ndarray]:  # fmt: skip
    """Fit `n_vectors` input vectors to each text (a string, or ids with the end token).

    seed: of the start, one for all texts or one for each; options (steps, learning_rate, stop, sampled_negatives,
    progress, curve): see `fit`. Returns `fit_table`'s table and the vectors (N, n_vectors, H) float32. ValueError for a
    text that is too long for the model.
    """
    if n_vectors < 1:
        raise ValueError(f"n_vectors={n_vectors}; give at least 1")
    ids, room = lm.ids(texts), lm.max_length + 1 - n_vectors
    if long := [i for i, row in enumerate(ids) if len(row) > room]:
        raise ValueError(
            f"text {long[0]} has {len(ids[long[0]])} tokens; with {n_vectors} vectors {lm.name!r} has room for {room}; "
            "shorten it, or take a model of more positions"
        )
    start = start_vectors(lm, ids, n_vectors, seed)
    found = fit(lm, partial(states_after_vectors, lm), ids, start, batch_size=batch_size, name="cramming", **options)
    return fit_table(lm, ids, found, generate(lm, found["vectors"], ids, batch_size)), found["vectors"]


def generate(lm: FrozenLM, vectors: np.ndarray, ids: Sequence[Sequence[int]], batch_size: int = 64) -> list[list[int]]:
    """Free-running greedy ids from vectors (N, K, H). Without an end token, twice as many as the true text's `ids`."""
    longest = min(2 * max(map(len, ids)), lm.max_length - vectors.shape[1])
    generated = lm.generate_ids(torch.as_tensor(vectors), longest, batch_size)
    return [row[: 2 * len(true)] for row, true in zip(generated, ids, strict=True)]


def score(lm: FrozenLM, vectors: np.ndarray, texts: Sequence[str] | Sequence[list[int]], batch_size: int = 64):
    """`teacher_forced_scores` of texts after vectors (N, K, H): tokens, nats and correct, one line a text."""

    def logits_of(part: slice, labels: Tensor) -> Tensor:
        return lm.head(states_after_vectors(lm, torch.as_tensor(vectors[part]).to(lm.device), labels))

    return teacher_forced_scores(lm.ids(texts), logits_of, lm.device, batch_size)


def select_by_length(
    lm: FrozenLM, texts: Sequence[str], n: int, shortest: int = 2, longest: int | None = None
) -> list[int]:
    """The indices of the first n texts (or fewer) of `shortest` to `longest` tokens, the end token included.

    ValueError where no text has so many.
    """
    found: list[int] = []
    longest = longest or lm.max_length
    for k, text in enumerate(texts):
        if len(found) < n and text.strip() and shortest <= len(lm.ids([text])[0]) <= longest:
            found.append(k)
    if not found:
        raise ValueError(f"none of {len(texts)} texts has {shortest} to {longest} tokens under {lm.name!r}")
    return found


def texts_of_length(
    lm: FrozenLM, texts: Sequence[str], length: int, n: int, seed: int = 0, words: bool = False
) -> list[list[int]]:
    """n texts of `length` tokens each, the end token included: shuffled texts joined to one stream, and cut.

    words: shuffles the texts' different words instead, so that no word helps to predict the next.
    """
    if length < 2:
        raise ValueError(f"length={length}; give at least 2, a piece and the end token")
    rng = np.random.default_rng(seed)
    parts = sorted({word for text in texts for word in text.split()}) if words else list(texts)
    parts = lm.tokenizer(parts, add_special_tokens=False, verbose=False)["input_ids"] if parts else []
    if not any(parts):
        raise ValueError("the texts have no token; give at least one that is not empty")
    stream: list[int] = []
    while len(stream) < n * (length - 1):
        for i in rng.permutation(len(parts)):
            stream += parts[i]
    return [[*stream[k * (length - 1) : (k + 1) * (length - 1)], lm.eos_token_id] for k in range(n)]


def by_length(
    lm: FrozenLM, texts: Sequence[str], lengths: Sequence[int], n: int = 16, n_vectors: int = 1, words: bool = False,
    n_bootstrap: int = 1000, seed: int = 0, until: float = 0.0, **options,
) -> pd.DataFrame:  # fmt: skip
    """How much of n texts of each length is generated again: one line a length, the shortest first.

    until: stops after the first length with an accuracy below this; options: see `cram`.
    Columns: length, accuracy with low and high (95 % interval), generated_accuracy, exact_match, token_gain,
    information_gain (bits) and steps (means over texts), n.
    """
    rows: list[dict] = []
    for length in sorted(lengths):
        if rows and rows[-1]["accuracy"] < until:
            break
        table, _ = cram(lm, texts_of_length(lm, texts, length, n, seed, words), n_vectors, seed=seed, **options)
        low, high = bootstrap(np.mean, table.accuracy.to_numpy(), n=n_bootstrap)
        rows.append({
            "length": length, "accuracy": table.accuracy.mean(), "low": low, "high": high,
            "generated_accuracy": ratio(table.right, table.positions), "exact_match": table.exact.mean(),
            "token_gain": table.token_gain.mean(), "information_gain": table.information_gain.mean(),
            "steps": table.steps.mean(), "n": n,
        })  # fmt: skip
    return pd.DataFrame(rows)


def capacity(table: pd.DataFrame, at_least: float = 0.99) -> int:
    """The longest length in `by_length`'s table with a mean accuracy of `at_least`; 0 where none has it."""
    return int(table.length[table.accuracy >= at_least].to_numpy().max(initial=0))


def batched_speed(
    lm: FrozenLM, texts: Sequence[str] | Sequence[list[int]], *, steps: int = 20, batch_size: int = 64,
    n_single: int = 8, sampled_negatives: int = 1000,
) -> dict[str, float]:  # fmt: skip
    """Texts fitted in a second, one at a time and in a batch, all with `steps` steps and the same dtype.

    single: one text at a time, as the published code does it, measured on n_single texts of all lengths; batched: in
    batches; sampled: in batches, with a loss over `sampled_negatives`. Also ratio and sampled_ratio, both to single,
    and steps.
    """
    ids = sorted(lm.ids(texts), key=len)
    few = [ids[i] for i in np.linspace(0, len(ids) - 1, min(n_single, len(ids))).round().astype(int)]
    runs = {"single": (few, 1, 0), "batched": (ids, batch_size, 0), "sampled": (ids, batch_size, sampled_negatives)}
    speed = {}
    for name, (part, size, negatives) in runs.items():
        start, states_of = start_vectors(lm, part, 1), partial(states_after_vectors, lm)
        options: dict[str, Any] = {"batch_size": size, "stop": False, "sampled_negatives": negatives, "progress": False}
        fit(lm, states_of, part, start, steps=0, **options)  # a warm-up
        started = time.perf_counter()
        fit(lm, states_of, part, start, steps=steps, **options)
        speed[name] = len(part) / (time.perf_counter() - started)
    ratios = {"ratio": speed["batched"] / speed["single"], "sampled_ratio": speed["sampled"] / speed["single"]}
    return {**speed, **ratios, "steps": steps}
