"""How far a figure over headlines could move: 95 % intervals of means, ratios, shares and paired differences."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> float:
    """The sum of one array (N,) over that of another: headlines count by their length, not alike."""
    return float(numerator.sum() / denominator.sum())


def bootstrap(statistic: Callable[..., float], *arrays: np.ndarray, n: int = 1000, seed: int = 0) -> list[float]:
    """95 % interval of statistic(*arrays) by resampling headlines (Efron, 1979): [low, high].

    For means and ratios. For the share of headlines that have a property take `proportion_interval`: resampling 100
    headlines of which all have it finds no headline without it, and gives an interval of width zero.
    """
    rng = np.random.default_rng(seed)
    size = len(arrays[0])
    values = []
    for _ in range(n):
        drawn = rng.integers(0, size, size)
        values.append(statistic(*(a[drawn] for a in arrays)))
    low, high = np.percentile(values, [2.5, 97.5])
    return [float(low), float(high)]


def proportion_interval(values: Sequence[float] | np.ndarray) -> list[float]:
    """95 % interval of the share of headlines with a property, by Wilson's score (Wilson, 1927): [low, high].

    values (N,): 0 or 1 (or bool), one entry a headline; ValueError for other values and for no headline. Unlike the
    bootstrap it holds near 0 and 1: 100 of 100 gives [0.963, 1].
    """
    from scipy.stats import binomtest

    values = np.asarray(values, dtype=float)
    if not len(values) or not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"a share needs one 0 or 1 a headline, and got {np.unique(values)[:5].tolist()}: take `bootstrap` for means"
        )
    interval = binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
    return [float(interval.low), float(interval.high)]


def with_ends(name: str, value, low, high) -> dict[str, Any]:
    """A figure and its 95 % interval as three columns: name, name_low, name_high."""
    return {name: value, f"{name}_low": low, f"{name}_high": high}


class PairedDifference(NamedTuple):
    """How much better one system is than another on the same headlines."""

    difference: float  # ours less theirs
    low: float
    high: float  # 95 % interval

    @property
    def clear(self) -> bool:
        """The interval leaves out zero."""
        return self.low > 0 or self.high < 0

    @property
    def words(self) -> str:
        """The difference, its interval and what they say: `+0.031 [+0.012, +0.050]: better`."""
        verdict = "no clear difference" if not self.clear else "better" if self.difference > 0 else "worse"
        return f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]: {verdict}"


def paired_difference(
    ours: np.ndarray | tuple[np.ndarray, ...],
    theirs: np.ndarray | tuple[np.ndarray, ...],
    statistic: Callable[..., float] = np.mean,
    n: int = 1000,
    seed: int = 0,
) -> PairedDifference:
    """statistic(ours) less statistic(theirs), two systems on the SAME headlines, with its 95 % interval.

    A side is an array (N,) for a mean, or a tuple of arrays (N,) for a statistic of several, as (right, positions) for
    `ratio`. Headlines are resampled for both sides together, so what makes a headline hard for both cancels. Compare
    two systems by this, not by whether their own intervals overlap. ValueError where the numbers of headlines differ.
    """
    ours, theirs = (side if isinstance(side, tuple) else (side,) for side in (ours, theirs))
    ours, theirs = ([np.asarray(a, dtype=float) for a in side] for side in (ours, theirs))
    sizes = [len(a) for a in (*ours, *theirs)]
    if len(set(sizes)) > 1 or not sizes[0]:
        raise ValueError(f"a paired difference needs the same headlines on both sides, and got {sizes} of them")

    def difference(*arrays):
        return float(statistic(*arrays[: len(ours)]) - statistic(*arrays[len(ours) :]))

    return PairedDifference(difference(*ours, *theirs), *bootstrap(difference, *ours, *theirs, n=n, seed=seed))
