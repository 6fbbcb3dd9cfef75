"""How many bits noisy numbers can carry: the physical limit beside which every model's noise figures stand.

A vector of n numbers, each with normal noise, is n uses of an additive white Gaussian noise channel. Noise is given in
standard deviations of a number (1 = as strong as the numbers themselves), or as signal-to-noise ratio in decibels:
SNR = 1 / noise ** 2, dB = 10 log10 SNR.
"""

import math

import numpy as np
from scipy.special import ndtri

BLOCK_ERROR = 0.01  # of a hundred vectors one may be read wrong


def noise_of_db(db: float | None) -> float:
    """The noise, in standard deviations of a number, of a signal-to-noise ratio in decibels; None: no noise, 0."""
    return 0.0 if db is None else 10 ** (-db / 20)


def db_of_noise(noise: float) -> float:
    """The signal-to-noise ratio in decibels of a noise in standard deviations; infinite where there is none."""
    if noise < 0:
        raise ValueError(f"noise {noise} is no standard deviation: give 0 or more")
    return math.inf if noise == 0 else 20 * math.log10(1 / noise)


def capacity(noise: float) -> float:
    """Bits that each of very many numbers carries: 0.5 log2(1 + SNR) (Shannon, 1948); infinite without noise."""
    return math.inf if noise == 0 else 0.5 * math.log2(1 + noise**-2)


def dispersion(noise: float) -> float:
    """The variance in bits ** 2 of what one number carries: SNR (SNR + 2) / (2 (SNR + 1) ** 2) (log2 e) ** 2.

    Polyanskiy, Poor and Verdu, "Channel Coding Rate in the Finite Blocklength Regime" (2010), equation 293.
    """
    power = noise**-2
    return power * (power + 2) / (2 * (power + 1) ** 2) * math.log2(math.e) ** 2


def channel_bits(n: int, noise: float, block_error: float = BLOCK_ERROR) -> float:
    """Bits that a vector of n numbers can carry when it may be read wrong in a share `block_error` of cases.

    The normal approximation n C - sqrt(n V) Q^-1(block_error) + 0.5 log2 n (Polyanskiy, Poor and Verdu, 2010, equation
    296), at least 0; infinite without noise. noise: in standard deviations of a number.
    """
    if n < 1 or noise < 0 or not 0 < block_error < 1:
        raise ValueError(
            f"n={n}, noise={noise}, block_error={block_error}: give n of at least 1, noise of at least 0, and a share "
            "between 0 and 1"
        )
    if noise == 0:
        return math.inf
    return max(0.0, normal_approximation(n, capacity(noise), dispersion(noise), block_error))


def normal_approximation(n: int, mean: float, variance: float, block_error: float = BLOCK_ERROR) -> float:
    """n * mean - sqrt(n * variance) * Q^-1(block_error) + 0.5 log2 n, in bits.

    mean, variance: of what one number carries, in bits and bits ** 2.
    """
    return float(n * mean + np.sqrt(n * variance) * ndtri(block_error) + 0.5 * math.log2(n))
