"""Cramming: K input vectors of a frozen language model, optimised until it gives a text back.

Kuratov, Arkhipov, Bulatov, Burtsev, "Cramming 1568 Tokens into a Single Vector and Back Again", 2025, arXiv 2502.13063.
Here the first token is trained and scored too, and what free-running greedy search gives back stands beside.
"""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from invlib.language_models.fit_vectors import LEARNING_RATE, STEPS, fit, fit_table, start_vectors
from invlib.language_models.frozen import FrozenLM, padded, token_scores
from invlib.measures.intervals import bootstrap, ratio

PAPER_CAPACITY = {  # tokens in one vector, natural text; the paper's table of models, its first token not scored
    "Pythia-160M": 80, "Pythia-410M": 96, "Pythia-1.4B": 160, "Llama-3.2-1B": 512, "Llama-3.2-3B": 1024,
    "Llama-3.1-8B": 1568,
}  # fmt: skip


def states_after_vectors(lm: FrozenLM, vectors: Tensor, labels: Tensor) -> Tensor:
    """The states that say a text's tokens when vectors (B, K, H) stand before it; labels (B, T) -> (B, T, H).

    The last vector says the first token: no begin token stands between.
    """
    before = lm.embed(labels[:, :-1].clamp(min=0)).to(vectors.dtype)  # (B, T - 1, H)
    return lm.states(torch.cat([vectors, before], 1), labels.shape[1])


def cram(
    lm: FrozenLM, texts: Sequence[str] | Sequence[list[int]], n_vectors: int = 1, *, steps: int = STEPS,
    learning_rate: float = LEARNING_RATE, batch_size: int = 64, seed: int | Sequence[int] = 0, stop: bool = True,
    sampled_negatives: int = 0, progress: bool = True, curve: list | None = None,
) -> tuple[pd.DataFrame, np.ndarray]:  # fmt: skip
    """Each text (a string, or ids with the end token) into `n_vectors` input vectors of its own.

    Returns `fit_table`'s table, one row a text, and the vectors (N, n_vectors, H) float32. batch_size=1 is one text at
    a time. seed: of the start, one for all texts or one for each. stop, sampled_negatives, curve: see `fit`.
    """
    ids = lm.ids(texts)
    check_room(lm, ids, n_vectors)
    found = fit(
        lm, lambda values, labels: states_after_vectors(lm, values, labels), ids,
        start_vectors(lm, ids, n_vectors, seed),
        steps=steps, learning_rate=learning_rate, batch_size=batch_size, stop=stop, sampled_negatives=sampled_negatives,
        progress=progress, name="cramming", curve=curve,
    )  # fmt: skip
    return fit_table(lm, ids, found, read(lm, found["vectors"], ids, batch_size)), found["vectors"]


def check_room(lm: FrozenLM, ids: Sequence[Sequence[int]], n_vectors: int) -> None:
    """ValueError for a text that, with its vectors, is longer than the model's positions."""
    if n_vectors < 1:
        raise ValueError(f"n_vectors={n_vectors}; give at least 1")
    for i, row in enumerate(ids):
        if len(row) + n_vectors - 1 > lm.max_length:
            raise ValueError(
                f"text {i} has {len(row)} tokens; beside {n_vectors} vectors {lm.name!r} has room for "
                f"{lm.max_length + 1 - n_vectors}; shorten it, or take a model of more positions"
            )


def read(lm: FrozenLM, vectors: np.ndarray, ids: Sequence[Sequence[int]], batch_size: int = 64) -> list[list[int]]:
    """Free-running greedy ids from vectors (N, K, H); where no end comes, as many as the text of `ids` has, twice."""
    longest = min(2 * max(map(len, ids)), lm.max_length - vectors.shape[1])
    said = lm.generate_ids(torch.as_tensor(vectors), longest, batch_size)
    return [row[: 2 * len(true)] for row, true in zip(said, ids, strict=True)]


@torch.no_grad()
def score(lm: FrozenLM, vectors: np.ndarray, texts: Sequence[str] | Sequence[list[int]], batch_size: int = 64):
    """What vectors (N, K, H) say of texts, teacher-forced: a table of tokens, nats and correct, one row a text."""
    ids, rows = lm.ids(texts), []
    for k in range(0, len(ids), batch_size):
        part = torch.as_tensor(vectors[k : k + batch_size]).to(lm.device)
        labels = padded(ids[k : k + batch_size], lm.device)
        nats, right = token_scores(lm.head(states_after_vectors(lm, part, labels)), labels)
        rows += zip((labels >= 0).sum(1).tolist(), nats.sum(1).tolist(), right.sum(1).tolist(), strict=True)
    return pd.DataFrame(rows, columns=["tokens", "nats", "correct"])


def held_out(lm: FrozenLM, texts: Sequence[str], n: int, shortest: int = 2, longest: int | None = None) -> list[int]:
    """Which are the first n texts of `shortest` to `longest` tokens, the end token included; fewer where there are not.

    ValueError where there is none.
    """
    found, most = [], longest or lm.max_length
    for k, text in enumerate(texts):
        if len(found) < n and text.strip() and shortest <= len(lm.ids([text])[0]) <= most:
            found.append(k)
    if not found:
        raise ValueError(f"none of {len(texts)} texts has {shortest} to {most} tokens under {lm.name!r}")
    return found


def texts_of_length(
    lm: FrozenLM, texts: Sequence[str], length: int, n: int, seed: int = 0, words: bool = False
) -> list[list[int]]:
    """n texts of `length` tokens each, the end token included: shuffled texts written one after another, and cut.

    words: the texts' different words in random order in the place of the texts, so that no word tells of the next.
    """
    if length < 2:
        raise ValueError(f"length={length}: a text has a piece and the end token at least")
    rng = np.random.default_rng(seed)
    parts = sorted({word for text in texts for word in text.split()}) if words else list(texts)
    stream: list[int] = []
    while len(stream) < n * (length - 1):
        before = len(stream)
        for i in rng.permutation(len(parts)):
            stream += lm.tokenizer(parts[i], add_special_tokens=False)["input_ids"]
            if len(stream) >= n * (length - 1):
                break
        if len(stream) == before:
            raise ValueError("the texts hold no token")
    cut = [stream[k * (length - 1) : (k + 1) * (length - 1)] for k in range(n)]
    return [[*part, lm.eos_token_id] for part in cut]


def by_length(
    lm: FrozenLM, texts: Sequence[str], lengths: Sequence[int], n: int = 16, n_vectors: int = 1, words: bool = False,
    n_bootstrap: int = 1000, seed: int = 0, until: float = 0.0, **options,
) -> pd.DataFrame:  # fmt: skip
    """What comes back of n texts of each length: one row a length, the shortest first.

    until: longer texts are left out after the first length whose accuracy lies below this.

    length, accuracy with low and high (95 % interval), generated_accuracy, exact_match, token_gain,
    information_gain (bits), steps (means over texts), n. options go to `cram`.
    """
    rows = []
    for length in sorted(lengths):
        if rows and rows[-1]["accuracy"] < until:
            break
        made = texts_of_length(lm, texts, length, n, seed, words)
        table, _ = cram(lm, made, n_vectors, seed=seed, **options)
        low, high = bootstrap(np.mean, table.accuracy.to_numpy(), n=n_bootstrap)
        rows.append({
            "length": length, "accuracy": table.accuracy.mean(), "low": low, "high": high,
            "generated_accuracy": ratio(table.right, table.positions), "exact_match": table.exact.mean(),
            "token_gain": table.token_gain.mean(), "information_gain": table.information_gain.mean(),
            "steps": table.steps.mean(), "n": n,
        })  # fmt: skip
    return pd.DataFrame(rows)


def capacity(table: pd.DataFrame, at_least: float = 0.99) -> int:
    """The longest length of `by_length`'s table with a mean accuracy of `at_least`; 0 where there is none."""
    reached = table.length[table.accuracy >= at_least]
    return int(reached.max()) if len(reached) else 0


def batched_speed(
    lm: FrozenLM, texts: Sequence[str] | Sequence[list[int]], n_vectors: int = 1, *, steps: int = 20,
    batch_size: int = 64, n_single: int = 8, sampled_negatives: int = 1000,
) -> dict[str, float]:  # fmt: skip
    """Texts a second in one run, with equal steps and dtype, and how many times those of one text at a time they are.

    Every text has all its steps. single: one at a time, as the published code does it; n_single texts, spread over the
    lengths. batched: side by side, the very same steps. sampled: side by side, the loss over `sampled_negatives`.
    Returns these three, ratio and sampled_ratio against single, and steps.
    """
    ids = sorted(lm.ids(texts), key=len)
    few = [ids[i] for i in np.linspace(0, len(ids) - 1, min(n_single, len(ids))).round().astype(int)]
    speed = {}
    for name, part, size, drawn in (
        ("single", few, 1, 0), ("batched", ids, batch_size, 0), ("sampled", ids, batch_size, sampled_negatives)
    ):  # fmt: skip
        start = start_vectors(lm, part, n_vectors)

        def once(n, part=part, size=size, start=start, drawn=drawn):
            fit(
                lm, lambda values, labels: states_after_vectors(lm, values, labels), part, start,
                steps=n, batch_size=size, stop=False, sampled_negatives=drawn, progress=False,
            )  # fmt: skip

        once(0)  # what only a first step costs is not measured
        started = time.perf_counter()
        once(steps)
        speed[name] = len(part) / (time.perf_counter() - started)
    ratios = {"ratio": speed["batched"] / speed["single"], "sampled_ratio": speed["sampled"] / speed["single"]}
    return {**speed, **ratios, "steps": steps}


def decoding_ms(lm: FrozenLM, vectors: np.ndarray, texts: Sequence[str] | Sequence[list[int]]) -> float:
    """Milliseconds a text that it takes to read vectors (N, K, H) freely, side by side."""
    ids = lm.ids(texts)
    read(lm, vectors[:2], ids[:2])  # the first call is slower; it is not timed
    started = time.perf_counter()
    read(lm, vectors, ids)
    return 1000 * (time.perf_counter() - started) / len(ids)
