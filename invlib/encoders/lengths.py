"""Texts of like length together: hardly any padding is computed."""

from collections.abc import Sequence

import numpy as np


def by_length(lengths: Sequence[int] | np.ndarray, batch_size: int) -> list[np.ndarray]:
    """The places of N texts in batches, the longest first, and of equally long ones the first first: int64 arrays.

    lengths (N,): in word pieces. ValueError for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: give at least 1")
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
