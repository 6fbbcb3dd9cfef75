"""What is measured of a model: how much of the sentence the vector gave back, and how surely that is known.

Figures of single headlines come first, as arrays with one entry a headline; `ratio` adds them up and `bootstrap` says
how far the sums could move. evaluation.py puts them together.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from invlib.batches import StatesDataset, in_order

TOP_K = (1, 3, 5, 10, 15, 25, 50, 100)


@torch.no_grad()
def teacher_forced(model, dataset: StatesDataset, vectors=None, top_k: Sequence[int] = TOP_K, batch_size: int = 64):
    """Next-token figures with the true prefix given, one entry a headline.

    `vectors` (N, D) take the place of the model's own (for the shuffled control). Returns a dict of float arrays (N,):
    tokens (labels counted: the first piece and the end token count, padding never), nats (cross-entropy over all
    word pieces, summed), and hits_<k> (labels among the k most likely), and sentence_embedding (N, D).
    """
    model.eval()
    found: dict[str, list] = {
        name: [] for name in ("tokens", "nats", "sentence_embedding", *(f"hits_{k}" for k in top_k))
    }
    for number, batch in enumerate(in_order(dataset, batch_size, model.device)):
        if vectors is not None:
            part = vectors[number * batch_size : number * batch_size + len(batch["input_ids"])]
            batch["sentence_embedding"] = torch.as_tensor(part).to(model.device)
        out = model(**batch)
        with torch.autocast(model.device.type, enabled=False):  # bfloat16 logits tie
            logits = model.logits(out["states"].float())  # (N, V)
        labels = out["labels"]
        nats = F.cross_entropy(logits, labels, reduction="none")
        own = logits.gather(1, labels[:, None])
        if not torch.isfinite(nats).all():
            raise ValueError("the model's cross-entropy is not finite: its weights or its vectors hold NaN or infinity")
        rank = (logits > own).sum(1, dtype=torch.int32)  # word pieces that come before the true one
        level = logits == own
        for i in (level.sum(1, dtype=torch.int32) > 1).nonzero().flatten().tolist():  # ties, which are rare
            rank[i] += level[i, : labels[i]].sum()
        row = torch.arange(len(batch["input_ids"]), device=labels.device)
        row = row.repeat_interleave(batch["attention_mask"].sum(1) - 1)  # the headline of each label
        n = len(batch["input_ids"])

        def add(values, row=row, n=n):
            return torch.zeros(n, device=row.device).index_add_(0, row, values.float()).cpu().numpy()

        found["tokens"].append(add(torch.ones_like(nats)))
        found["nats"].append(add(nats))
        found["sentence_embedding"].append(out["sentence_embedding"].float().cpu().numpy())
        for k in top_k:
            found[f"hits_{k}"].append(add(rank < k))
    return {name: np.concatenate(values) for name, values in found.items()}


def generated_matches(
    said: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], config
) -> dict[str, np.ndarray]:
    """Free-running accuracy by position, one entry a headline.

    said: ids without [CLS], up to and with the end token where there is one; reference: ids with [CLS] and [SEP].
    right: positions at which both have the same piece ([UNK] in the reference counts as wrong); positions: those of
    the longer of the two; exact: all ids equal, end token included (never where the reference holds [UNK] or was cut
    at max_length).
    """
    right, positions, exact = [], [], []
    for ids, full in zip(said, reference, strict=True):
        ids, ref = list(ids), list(full)[1:]
        same = sum(a == b and b != config.unk_token_id for a, b in zip(ids, ref, strict=False))
        cut = len(full) >= config.max_length  # nobody knows whether the sentence ended there
        right.append(same)
        positions.append(max(len(ids), len(ref)))
        exact.append(float(ids == ref and config.unk_token_id not in ref and not cut))
    return {k: np.array(v, dtype=float) for k, v in (("right", right), ("positions", positions), ("exact", exact))}


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> float:
    return float(numerator.sum() / denominator.sum())


def bootstrap(statistic: Callable[..., float], *arrays: np.ndarray, n: int = 1000, seed: int = 0) -> list[float]:
    """95 % interval of statistic(*arrays) by resampling headlines (Efron, 1979): [low, high]."""
    rng = np.random.default_rng(seed)
    size = len(arrays[0])
    values = []
    for _ in range(n):
        drawn = rng.integers(0, size, size)
        values.append(statistic(*(a[drawn] for a in arrays)))
    low, high = np.percentile(values, [2.5, 97.5])
    return [float(low), float(high)]


def bleu(said: Sequence[str], reference: Sequence[str]) -> float:
    """Corpus BLEU by sacrebleu, 0 to 100; both sides in the tokenizer's own spelling."""
    import sacrebleu

    return float(sacrebleu.corpus_bleu(list(said), [list(reference)], tokenize="none", lowercase=True).score)


def recovered_bits(nats: np.ndarray, reference_nats: np.ndarray) -> np.ndarray:
    """Bits of a headline that the vector gave: what the reference language model lacks minus what is still lacking.

    Both are cross-entropies of the headline's tokens in nats, summed, over all word pieces; returns bits a headline.
    """
    return (reference_nats - nats) / math.log(2)


# Semantics: does the vector still work as a sentence embedding?


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def pair_ranks(vectors: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of all pairs' cosines under both: two symmetric (N, N) arrays, mean 0 over the pairs, 0 on the diagonal."""
    from scipy.stats import rankdata

    n, above = len(vectors), np.triu_indices(len(vectors), 1)
    ranked = []
    for v in (vectors, reference):
        ranks = np.zeros((n, n))
        ranks[above] = rankdata((unit(v) @ unit(v).T)[above])
        ranks[above] -= ranks[above].mean()
        ranked.append(ranks + ranks.T)
    return tuple(ranked)


def correlations(ours: np.ndarray, theirs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation over pairs (i, j), each weighted w_i w_j; weights (N, S) -> (S,).

    Of ranks it is Spearman's. A weight that counts how often a headline was drawn makes it a bootstrap sample's, in
    which a headline drawn twice is no pair with itself.
    """

    def total(x):  # the weighted sum over all pairs of different headlines, (S,)
        return (weights * (x @ weights)).sum(0)

    pairs = weights.sum(0) ** 2 - (weights**2).sum(0)
    a, b = total(ours) / pairs, total(theirs) / pairs
    spread = (total(ours**2) / pairs - a**2) * (total(theirs**2) / pairs - b**2)
    return (total(ours * theirs) / pairs - a * b) / np.sqrt(spread)


def rank_correlation(vectors: np.ndarray, reference: np.ndarray) -> float:
    """Spearman's correlation, over all pairs of headlines, of the vectors' cosines with the encoder's.

    vectors (N, D), reference (N, H), the frozen encoder's sentence embeddings.
    """
    if np.ptp(vectors, axis=0).max() < 1e-12:
        return 0.0  # a constant vector orders nothing
    return float(correlations(*pair_ranks(vectors, reference), np.ones((len(vectors), 1)))[0])


def rank_correlation_interval(vectors: np.ndarray, reference: np.ndarray, n: int = 1000, seed: int = 0) -> list[float]:
    """95 % interval of `rank_correlation` by resampling headlines, not pairs: [low, high]."""
    size = len(vectors)
    drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), n).T.astype(float)  # (N, n)
    ranks = pair_ranks(vectors, reference)
    low, high = np.percentile(correlations(*ranks, drawn), [2.5, 97.5])
    return [float(low), float(high)]


def recall_at_k(vectors: np.ndarray, reference: np.ndarray, k: int = 10) -> np.ndarray:
    """Share of the encoder's k nearest headlines that are among the vector's k nearest, one entry a headline."""
    neighbours = []
    for v in (vectors, reference):
        cosine = unit(v) @ unit(v).T
        np.fill_diagonal(cosine, -np.inf)
        neighbours.append(np.argsort(-cosine, axis=1, kind="stable")[:, :k])
    return np.array([len(set(a) & set(b)) / k for a, b in zip(*neighbours, strict=True)])
