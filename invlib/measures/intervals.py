"""Sums over headlines, and how far they could move: 95 % intervals."""

from collections.abc import Callable

import numpy as np


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
