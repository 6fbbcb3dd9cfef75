"""Vectors that are moved by noise, or kept in few bits."""

import numpy as np


def with_noise(z: np.ndarray, spread: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    """Vectors (N, D) with normal noise of `level` times each number's standard deviation, spread (D,)."""
    noise = np.random.default_rng(seed).standard_normal(z.shape, dtype=np.float32)
    return (z + level * spread * noise).astype(np.float32)


def blended_with_noise(z: np.ndarray, mean: np.ndarray, spread: np.ndarray, a: float, seed: int = 0) -> np.ndarray:
    """Vectors (N, D) of which a share `a` of each number's variance is noise: sqrt(1 - a) z + sqrt(a) e.

    z and e are in units of each number's standard deviation around its mean, mean and spread (D,), which stay as they
    are (SONAR: Duquenne et al., 2023). The signal-to-noise ratio is (1 - a) / a. ValueError for a outside [0, 1].
    """
    if not 0 <= a <= 1:
        raise ValueError(f"a={a}: the noise's share of the variance lies between 0 and 1")
    noise = np.random.default_rng(seed).standard_normal(z.shape, dtype=np.float32)
    return (mean + np.sqrt(1 - a) * (z - mean) + np.sqrt(a) * spread * noise).astype(np.float32)


def quantized(z: np.ndarray, largest: np.ndarray, bits: int) -> np.ndarray:
    """Vectors (N, D) rounded to what `bits` bits a number can hold, by a symmetric scale for each number.

    largest (D,): each number's largest absolute value over the training split; what lies beyond is cut there.
    """
    if bits < 2:
        raise ValueError(f"bits={bits}: a symmetric scale needs at least 2")
    steps = 2 ** (bits - 1) - 1
    scale = np.maximum(largest, 1e-12) / steps
    return (np.clip(np.rint(z / scale), -steps, steps) * scale).astype(np.float32)
