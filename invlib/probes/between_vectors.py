"""What is decoded between two vectors, and how a vector and its text move with a change of the sentence."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from invlib.measures.intervals import bootstrap, proportion_interval
from invlib.measures.similarity import unit


def bits_a_token(reference, ids: Sequence[Sequence[int]]) -> np.ndarray:
    """Cross-entropy of texts under the reference language model, bits a token, one entry a text.

    ids: word pieces of each text without [CLS], as `generate_ids` gives them; a generated end token counts. NaN for an
    empty text.
    """
    found, filled = np.full(len(ids), np.nan), [k for k, row in enumerate(ids) if len(row)]
    z = reference.pooling.constant.expand(len(filled), -1)
    nats = reference.token_log_probabilities(z, [ids[k] for k in filled])
    found[filled] = [-np.mean(row) / np.log(2) for row in nats]
    return found


def random_pairs(n: int, size: int, seed: int = 0) -> np.ndarray:
    """`size` pairs of two different ones of n, (size, 2) int64."""
    if n < 2:
        raise ValueError(f"need at least 2 sentences for a pair, got {n}")
    rng = np.random.default_rng(seed)
    first = rng.integers(n, size=size)
    return np.stack([first, (first + rng.integers(1, n, size=size)) % n], axis=1)


def disjoint_pairs(n: int, size: int | None = None, seed: int = 0) -> np.ndarray:
    """Pairs of n in which each occurs once at most, (size, 2); None = as many as possible: n // 2."""
    pairs = np.random.default_rng(seed).permutation(n)[: n // 2 * 2].reshape(-1, 2)
    return pairs[:size]


def relative_distance(before: np.ndarray, after: np.ndarray, seed: int = 0) -> np.ndarray:
    """How far each vector moves, (N,), in units of the mean distance between two of `before`; both (N, D)."""
    pairs = random_pairs(len(before), 2000, seed)
    usual = np.linalg.norm(before[pairs[:, 0]] - before[pairs[:, 1]], axis=1).mean()
    return np.linalg.norm(after - before, axis=1) / usual


def words_exchanged(encoder, texts: Sequence[str], longest: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """(texts, the same with two of their words exchanged), without those that stay the same or are too long."""
    rng, exchanged = np.random.default_rng(seed), []
    for words in map(str.split, texts):
        if len(words) > 1:
            a, b = rng.choice(len(words), size=2, replace=False)
            words[a], words[b] = words[b], words[a]
        exchanged.append(" ".join(words))
    kept, _ = changed_and_fitting(encoder, texts, exchanged, longest)
    return [texts[k] for k in kept], [exchanged[k] for k in kept]


def changed_and_fitting(encoder, texts: Sequence[str], changed: Sequence[str], longest: int) -> tuple[list, list]:
    """(indices of the texts whose word pieces change and are at most `longest`, the ids of both sides)"""
    ids = [encoder.tokenizer(list(side))["input_ids"] for side in (texts, changed)]
    return [k for k, (x, y) in enumerate(zip(*ids, strict=True)) if max(len(x), len(y)) <= longest and x != y], ids


def column_means(table: pd.DataFrame, columns: Sequence[str], n_bootstrap: int = 1000) -> list[dict]:
    """One row for each column: measure, mean, low, high (95 %), n; NaN is left out.

    A bool column is a share, and gets `proportion_interval`; any other is resampled by rows.
    """
    lines = []
    for column in columns:
        values = table[column].dropna()
        mean = low = high = None
        if len(values):
            share = values.dtype == bool
            values = values.to_numpy(float)
            mean = values.mean()
            low, high = proportion_interval(values) if share else bootstrap(np.mean, values, n=n_bootstrap)
        lines.append({"measure": column, "mean": mean, "low": low, "high": high, "n": len(values)})
    return lines


def one_word_changed(model, texts: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Each text with one of its words replaced by a word of another text, and the effect of it, one row a text.

    Columns: text, changed; distance, how far the vector moves in units of the mean distance between two of the texts'
    vectors; cosine of the two vectors; tokens_in and tokens_out, the share of positions at which the word pieces
    differ before the vector and after it. Texts that do not fit the model after the change are left out. ValueError for
    fewer than two texts.
    """
    if len(texts) < 2:
        raise ValueError(f"need at least 2 texts, got {len(texts)}: a word is replaced by another text's")
    rng = np.random.default_rng(seed)
    encoder, longest = model.encoder, model.config.max_length
    words = [text.split() for text in texts]
    changed = []
    for k, own in enumerate(words):
        other = words[(k + int(rng.integers(1, len(words)))) % len(words)]
        place = int(rng.integers(len(own)))
        changed.append(" ".join([*own[:place], other[int(rng.integers(len(other)))], *own[place + 1 :]]))
    kept, ids = changed_and_fitting(encoder, texts, changed, longest)
    texts, changed = [texts[k] for k in kept], [changed[k] for k in kept]
    before, after = model.encode(texts), model.encode(changed)
    generated = [model.generate_ids(side) for side in (before, after)]
    return pd.DataFrame(
        {
            "text": texts, "changed": changed, "distance": relative_distance(before, after, seed),
            "cosine": (unit(before) * unit(after)).sum(1),
            "tokens_in": [share_differing(ids[0][k][1:], ids[1][k][1:]) for k in kept],
            "tokens_out": [share_differing(x, y) for x, y in zip(*generated, strict=True)],
        }
    )  # fmt: skip


def share_differing(a: Sequence[int], b: Sequence[int]) -> float:
    """Share of positions, of the longer one, at which two lists of ids differ."""
    longer = max(len(a), len(b))
    return 1 - sum(x == y for x, y in zip(a, b, strict=False)) / longer if longer else 0.0


GET_STS = "python -c \"from datasets import load_dataset; load_dataset('sentence-transformers/stsb')\""


def sts_spearman(model) -> float | None:
    """Spearman's correlation of the vectors' cosines with people's judgement on STS-B's test pairs.

    None where the pairs are not in the cache of `datasets`: no host is asked for them. `GET_STS` puts them there.
    Cer et al., "SemEval-2017 Task 1", 2017.
    """
    from datasets import Dataset, config
    from scipy.stats import spearmanr

    files = sorted(Path(config.HF_DATASETS_CACHE).glob("sentence-transformers___stsb/**/*-test.arrow"))
    if not files:
        return None
    pairs = Dataset.from_file(str(files[-1]))
    fits = [
        k for k, (a, b) in enumerate(zip(pairs["sentence1"], pairs["sentence2"], strict=True))
        if max(map(len, model.encoder.tokenizer([a, b])["input_ids"])) <= model.config.max_length
    ]  # fmt: skip
    a, b = (model.encode([pairs[side][k] for k in fits]) for side in ("sentence1", "sentence2"))
    return float(spearmanr((unit(a) * unit(b)).sum(1), [pairs["score"][k] for k in fits]).statistic)
