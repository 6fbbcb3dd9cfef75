"""Does the vector still work as a sentence embedding? Its cosines against the frozen encoder's."""

import numpy as np

from invlib.measures.intervals import PairedDifference

N_HEADLINES = 5000  # the ranks of all their pairs take 1.2 GB


def unit(x: np.ndarray) -> np.ndarray:
    """Rows (N, D) brought to length 1; a row of zeros stays."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def at_most(n: int, *arrays: np.ndarray) -> list[np.ndarray]:
    """The same n rows of each array, drawn with a fixed seed; all of them where they are no more."""
    size = len(arrays[0])
    if size <= n:
        return list(arrays)
    drawn = np.sort(np.random.default_rng(0).choice(size, n, replace=False))
    return [a[drawn] for a in arrays]


def pair_ranks(vectors: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of all pairs' cosines under both: two symmetric (N, N) arrays, mean 0 over the pairs, 0 on the diagonal.

    Vectors that are all the same order nothing: their ranks are all 0. ValueError for fewer than three headlines.
    """
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    if len(vectors) < 3:
        raise ValueError(f"a rank correlation over pairs of headlines needs at least 3 headlines, got {len(vectors)}")
    ranked = []
    for v in (vectors, reference):
        ranks = rankdata(squareform(unit(v) @ unit(v).T, checks=False))  # of the pairs, (N (N - 1) / 2,)
        ranked.append(squareform((ranks - ranks.mean()) * (np.ptp(v, axis=0).max() >= 1e-12)))
    return tuple(ranked)


def correlations(ours: np.ndarray, theirs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation over pairs (i, j), each weighted w_i w_j; weights (N, S) -> (S,).

    Of ranks it is Spearman's. A weight that counts how often a headline was drawn makes it a bootstrap sample's, in
    which a headline drawn twice is no pair with itself. 0 where either side is the same for all pairs.
    """

    def total(x):  # the weighted sum over all pairs of different headlines, (S,)
        return (weights * (x @ weights)).sum(0)

    pairs = np.maximum(weights.sum(0) ** 2 - (weights**2).sum(0), 1)
    a, b = total(ours) / pairs, total(theirs) / pairs
    spread = (total(ours**2) / pairs - a**2) * (total(theirs**2) / pairs - b**2)
    covariance = total(ours * theirs) / pairs - a * b
    return np.divide(covariance, np.sqrt(np.maximum(spread, 0)), out=np.zeros_like(spread), where=spread > 0)


def rank_correlation(vectors: np.ndarray, reference: np.ndarray, n_headlines: int = N_HEADLINES) -> float:
    """Spearman's correlation, over all pairs of headlines, of the vectors' cosines with the encoder's.

    vectors (N, D), reference (N, H), the frozen encoder's sentence embeddings. Of more than `n_headlines` so many are
    drawn with a fixed seed. 0 for a constant vector; ValueError for fewer than three headlines.
    """
    ranks = pair_ranks(*at_most(n_headlines, vectors, reference))
    return float(correlations(*ranks, np.ones((len(ranks[0]), 1)))[0])


def resample_counts(size: int, n: int) -> np.ndarray:
    """How often each headline is drawn in each of n bootstrap samples, (size, n)."""
    return np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), n).T.astype(float)


def rank_correlation_interval(
    vectors: np.ndarray, reference: np.ndarray, n: int = 1000, n_headlines: int = N_HEADLINES
) -> list[float]:
    """95 % interval of `rank_correlation` by resampling headlines, not pairs: [low, high].

    The pairs are ranked once, over all headlines, and a resample reweights these ranks; ranking each resample anew
    gives nearly the same interval and takes a thousand sorts.
    """
    ranks = pair_ranks(*at_most(n_headlines, vectors, reference))
    low, high = np.percentile(correlations(*ranks, resample_counts(len(ranks[0]), n)), [2.5, 97.5])
    return [float(low), float(high)]


def rank_correlation_difference(
    ours: np.ndarray, theirs: np.ndarray, reference: np.ndarray, n: int = 1000
) -> PairedDifference:
    """`rank_correlation` of ours less that of theirs, (N, D) each, of the same headlines, resampled together."""
    ours, theirs, reference = at_most(N_HEADLINES, ours, theirs, reference)
    weights = np.hstack([np.ones((len(ours), 1)), resample_counts(len(ours), n)])
    found = correlations(*pair_ranks(ours, reference), weights) - correlations(*pair_ranks(theirs, reference), weights)
    return PairedDifference(*map(float, (found[0], *np.percentile(found[1:], [2.5, 97.5]))))


def recall_at_k(vectors: np.ndarray, reference: np.ndarray, k: int = 10, n_headlines: int = N_HEADLINES) -> np.ndarray:
    """Share of the encoder's k nearest headlines that are among the vector's k nearest, one entry a headline.

    Of more than `n_headlines` so many are drawn with a fixed seed, and the nearest are looked for among these. Where a
    headline has fewer than k others, k is their number. ValueError for a single headline.
    """
    vectors, reference = at_most(n_headlines, vectors, reference)
    if len(vectors) < 2:
        raise ValueError(f"recall needs at least 2 headlines, got {len(vectors)}")
    k, nearest = min(k, len(vectors) - 1), []
    for v in (vectors, reference):
        cosine = unit(v) @ unit(v).T
        np.fill_diagonal(cosine, -np.inf)
        nearest.append(np.argpartition(cosine, -k, axis=1)[:, -k:])
    return np.array([len(set(a) & set(b)) / k for a, b in zip(*nearest, strict=True)])
