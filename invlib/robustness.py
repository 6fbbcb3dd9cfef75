"""What a vector bears: noise on its numbers, and fewer bits for each."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from invlib import metrics
from invlib.batches import StatesDataset, in_order

NOISE = (0.0, 0.05, 0.1, 0.2, 0.4)  # standard deviations of each number
BITS = (8, 6, 4, 3, 2)


@torch.no_grad()
def vectors_of(model, dataset: StatesDataset, batch_size: int = 256) -> np.ndarray:
    """The vectors of a data set's sentences, (N, D) float32: of a model, or of `PackedIds`."""
    if hasattr(model, "pack"):
        ids = [dataset.states.input_ids(int(i)) for i in dataset.indices]
        return model.pack(np.asarray(dataset.states.sentence)[dataset.indices], ids)
    model.eval()
    return np.concatenate([model.pool(batch).float().cpu() for batch in in_order(dataset, batch_size, model.device)])


def with_noise(z: np.ndarray, spread: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    """Vectors (N, D) with normal noise of `level` times each number's standard deviation, spread (D,)."""
    noise = np.random.default_rng(seed).standard_normal(z.shape, dtype=np.float32)
    return (z + level * spread * noise).astype(np.float32)


def quantized(z: np.ndarray, largest: np.ndarray, bits: int) -> np.ndarray:
    """Vectors (N, D) as they come back from `bits` bits a number, by a symmetric scale for each.

    largest (D,): each number's largest absolute value over the training split; what lies beyond is cut there.
    """
    if bits < 2:
        raise ValueError(f"bits={bits}: a symmetric scale needs at least 2")
    steps = 2 ** (bits - 1) - 1
    scale = np.maximum(largest, 1e-12) / steps
    return (np.clip(np.rint(z / scale), -steps, steps) * scale).astype(np.float32)


def given_back(model, z: np.ndarray, dataset: StatesDataset, n_bootstrap: int = 1000) -> dict:
    """generated_accuracy and exact_match of the data set's first N headlines from vectors (N, D), with intervals."""
    full = [dataset.states.input_ids(int(i)).tolist() for i in dataset.indices[: len(z)]]
    found = metrics.generated_matches(model.generate_ids(z), full, model.config)
    low, high = metrics.bootstrap(metrics.ratio, found["right"], found["positions"], n=n_bootstrap)
    return {
        "generated_accuracy": metrics.ratio(found["right"], found["positions"]), "low": low, "high": high,
        "exact_match": float(found["exact"].mean()), "n": len(z),
    }  # fmt: skip


def robustness(
    model, dataset: StatesDataset, train: StatesDataset, n: int | None = None,
    noise: Sequence[float] = NOISE, bits: Sequence[int] = BITS, n_bootstrap: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """One row for each noise level and each number of bits, over the first n headlines; spread and scale from `train`.

    Columns noise (standard deviations), bits (NaN: all of them), generated_accuracy, low, high, exact_match, n.
    """
    seen = vectors_of(model, train)
    spread, largest = seen.std(0), np.abs(seen).max(0)
    z = vectors_of(model, dataset)[:n]
    rows = [
        {"noise": k, "bits": None} | given_back(model, with_noise(z, spread, k, seed), dataset, n_bootstrap)
        for k in noise
    ]
    rows += [
        {"noise": 0.0, "bits": b} | given_back(model, quantized(z, largest, b), dataset, n_bootstrap) for b in bits
    ]
    return pd.DataFrame(rows)
