"""Bits as the levels of numbers (pulse-amplitude modulation), and what noisy numbers say of the bits."""

import numpy as np

from invlib.measures.channel import normal_approximation

_NODES, _SHARES = np.polynomial.hermite_e.hermegauss(41)  # for means over a standard normal distribution
_SHARES = _SHARES / _SHARES.sum()
_MEANS = np.concatenate([[0.0], np.geomspace(1e-4, 1e3, 400)])  # of a normal log-likelihood ratio, variance 2 mean
_INFORMATION = 1 - np.logaddexp(0, -(_MEANS[:, None] + np.sqrt(2 * _MEANS)[:, None] * _NODES)) @ _SHARES / np.log(2)


class Modulation:
    """`bits` bits a number: 2 ** bits evenly spaced levels around 0 of mean square 1, Gray-coded.

    Neighbouring levels differ in one bit. One bit a number are antipodal numbers, +1 for 0 and -1 for 1.
    """

    def __init__(self, bits: int):
        self.bits, places = bits, np.arange(2**bits)
        gray = places ^ (places >> 1)
        self.levels = -(places - places.mean()) / places.std()  # from the highest
        self.labels = gray[:, None] >> np.arange(bits)[::-1] & 1  # (2 ** bits, bits): the bits of each level
        self.place_of = np.argsort(gray)

    def numbers(self, bits: np.ndarray) -> np.ndarray:
        """(N, n * bits) of 0 and 1 -> (N, n)."""
        grouped = bits.reshape(len(bits), -1, self.bits).astype(int)
        return self.levels[self.place_of[grouped @ (1 << np.arange(self.bits)[::-1])]]

    def llr(self, numbers: np.ndarray, noise: float) -> np.ndarray:
        """log P(bit 0) / P(bit 1) of noisy numbers, every level equally likely: (N, n) -> (N, n * bits).

        noise: the standard deviation of the normal noise on each number, above 0.
        """
        near = -((numbers[..., None] - self.levels) ** 2) / (2 * noise**2)  # (N, n, 2 ** bits)
        near = np.exp(near - near.max(-1, keepdims=True))
        zero = near @ (1 - self.labels)
        one = near @ self.labels
        return np.log(np.maximum(zero, 1e-300) / np.maximum(one, 1e-300)).reshape(len(numbers), -1)

    def information(self, noise: float) -> np.ndarray:
        """What each bit's log-likelihood ratio says of it, for each level and each of 41 values of the noise, in bits.

        (2 ** bits, 41, bits); its mean over levels and noise is the bit's mutual information.
        """
        noisy = self.levels[:, None] + noise * _NODES
        llr = self.llr(noisy, noise).reshape(*noisy.shape, self.bits)
        return 1 - np.logaddexp(0, -llr * (1 - 2 * self.labels[:, None])) / np.log(2)

    def means(self, noise: float) -> np.ndarray:
        """The mean of the normal log-likelihood ratio that says as much as each bit's does, (bits,)."""
        found = np.einsum("lkb,k->b", self.information(noise), _SHARES) / len(self.levels)
        return np.interp(found, _INFORMATION, _MEANS)

    def capacity(self, noise: float) -> float:
        """Bits that each of very many numbers carries, its bits read one by one."""
        return float(np.einsum("lkb,k->", self.information(noise), _SHARES) / len(self.levels))

    def channel_bits(self, n: int, noise: float) -> float:
        """As `measures.channel.channel_bits`, for numbers with these levels in the place of normal ones."""
        density = self.information(noise).sum(-1)  # of a number
        mean, square = (float((value @ _SHARES).mean()) for value in (density, density**2))
        found = normal_approximation(n, mean, max(square - mean**2, 0.0))
        return min(max(0.0, found), float(n * self.bits))
