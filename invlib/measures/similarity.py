"""Does the vector still work as a sentence embedding? Its cosines against the frozen encoder's."""

import numpy as np


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
