"""An error-correcting code for few bits: polar codes (Arikan, 2009), decoded by lists (Tal and Vardy, 2015).

A word of 2 ** m input bits u becomes the coded bits x = u F, F the m-th Kronecker power of [[1, 0], [1, 1]]. The input
bits are then read one after another, and most are either nearly certain or nearly lost: the former carry the message,
the others are frozen to 0.
"""

import numpy as np

CRC = 0b1_1001_1011  # x^8 + x^7 + x^4 + x^3 + x + 1 (Koopman's 0xCD): a checksum of 8 bits
CRC_BITS = CRC.bit_length() - 1
LIST_SIZE = 16  # paths that are kept
CERTAIN = 1e3  # log-likelihood ratio of a bit that is known


def transform(bits: np.ndarray) -> np.ndarray:
    """u F modulo 2, (..., 2 ** m); it is its own inverse."""
    x, size = np.array(bits, dtype=np.uint8), bits.shape[-1]
    half = 1
    while half < size:
        pairs = x.reshape(*x.shape[:-1], -1, 2, half)
        pairs[..., 0, :] ^= pairs[..., 1, :]
        half *= 2
    return x


def checksum(bits: np.ndarray) -> np.ndarray:
    """The CRC of each row of bits, (..., k) -> (..., CRC_BITS)."""
    taps = np.array([CRC >> k & 1 for k in range(CRC_BITS - 1, -1, -1)], dtype=np.uint8)
    state = np.zeros((*bits.shape[:-1], CRC_BITS), dtype=np.uint8)
    for k in range(bits.shape[-1]):
        carry = state[..., :1] ^ bits[..., k, None].astype(np.uint8)
        state = np.concatenate([state[..., 1:], np.zeros_like(carry)], axis=-1) ^ carry * taps
    return state


# How reliable each input bit is, by density evolution in the Gaussian approximation

_MEANS = np.concatenate([[0.0], np.geomspace(1e-7, 4 * CERTAIN, 4000)])


def _log_phi(mean: np.ndarray) -> np.ndarray:
    """ln phi of a normal log-likelihood ratio's mean (Chung, Richardson and Urbanke, 2001): 0 at 0, then falling."""
    x = np.maximum(mean, 1e-12)
    small = np.where(mean > 0, -0.4527 * x**0.86 + 0.0218 * np.minimum(1, x / 0.03), 0.0)
    large = 0.5 * np.log(np.pi / x) - x / 4 + np.log1p(-10 / (7 * np.maximum(x, 9)))
    return np.where(x < 10, np.minimum(small, 0), large)


_LOG_PHI = np.minimum.accumulate(_log_phi(_MEANS))


def reliabilities(means: np.ndarray) -> np.ndarray:
    """Each input bit's mean log-likelihood ratio, given those before it, from those of the coded bits, (2 ** m,)."""
    means = np.asarray(means, dtype=float)[None]  # (nodes, size of a node)
    while means.shape[1] > 1:
        a, b = np.split(means, 2, axis=1)
        la, lb = (np.interp(part, _MEANS, _LOG_PHI) for part in (a, b))
        either = np.logaddexp(la, lb + np.log1p(-np.minimum(np.exp(la), 1 - 1e-16)))  # 1 - (1 - phi a) (1 - phi b)
        worse = np.interp(-either, -_LOG_PHI, _MEANS)
        means = np.stack([np.minimum(worse, np.minimum(a, b)), a + b], axis=1).reshape(-1, a.shape[1])
    return means[:, 0]


class PolarCode:
    """`size` message bits in `length` coded bits, of which each has a mean log-likelihood ratio, means (length,).

    The message has a CRC behind it. 2 ** m, the next power of 2, is cut to `length` in one of two ways, whichever
    promises fewer errors: shortened (the coded bits left out are 0, and the receiver knows it) or punctured (it knows
    nothing of them); both leave out places in bit-reversed order. ValueError for a message that does not fit.
    """

    def __init__(self, size: int, means: np.ndarray, list_size: int = LIST_SIZE):
        self.size, self.length, self.list_size = size, len(means), list_size
        coded = size + CRC_BITS
        if size < 1 or coded > self.length:
            raise ValueError(f"{size} message bits and {CRC_BITS} of checksum do not fit into {self.length} coded bits")
        m = (self.length - 1).bit_length()
        order = np.array([int(f"{k:0{m}b}"[::-1], 2) if m else 0 for k in range(2**m)])  # bit-reversed
        ways = {}
        for shortened in (True, False):
            left_out = order[self.length :] if shortened else order[: 2**m - self.length]
            sent = np.setdiff1d(np.arange(2**m), left_out)
            full = np.full(2**m, CERTAIN if shortened else 0.0)
            full[sent] = means
            found = reliabilities(full)
            if shortened:
                found[left_out] = -1.0  # frozen, so that these coded bits are 0
            information = np.sort(np.argsort(-found, kind="stable")[:coded])
            weakest = found[information]
            ways[shortened] = (np.exp(-weakest / 4).sum(), sent, information)
        self.shortened = ways[True][0] <= ways[False][0]
        _, self.sent, self.information = ways[self.shortened]
        self.frozen = np.ones(2**m, dtype=bool)
        self.frozen[self.information] = False

    def encode(self, message: np.ndarray) -> np.ndarray:
        """Messages (N, size) of 0 and 1 -> coded bits (N, length)."""
        u = np.zeros((len(message), len(self.frozen)), dtype=np.uint8)
        u[:, self.information] = np.concatenate([message, checksum(message)], axis=1)
        return transform(u)[:, self.sent]

    def candidates(self, llr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The likeliest messages that a list decoder finds.

        llr (N, length): log P(bit 0) / P(bit 1) of each coded bit. Returns messages (N, L, size), their cost (N, L):
        -log of the coded bits' probability, in nats, and whether the checksum of each holds, (N, L).
        """
        full = np.full((len(llr), 1, len(self.frozen)), CERTAIN if self.shortened else 0.0)
        full[:, 0, self.sent] = llr
        full = np.repeat(full, self.list_size, axis=1)
        metric = np.full(full.shape[:2], np.inf)
        metric[:, 0] = 0
        x, order, metric = self._read(full, metric, 0)
        u = transform(x)[..., self.information]
        message, check = u[..., : self.size], u[..., self.size :]
        sent = x[..., self.sent]
        cost = np.logaddexp(0, np.where(sent == 1, llr[:, None], -llr[:, None])).sum(-1)
        cost[np.isinf(metric)] = np.inf  # fewer paths than the list has places
        return message, cost, (checksum(message) == check).all(-1)

    def _read(self, llr: np.ndarray, metric: np.ndarray, start: int):
        """Successive cancellation of one node: llr (N, L, size of the node) of the input bits from `start` on.

        Returns the node's coded bits (N, L, size), for each path which one of before it goes on with (N, L), and the
        paths' metrics.
        """
        size = llr.shape[2]
        n, paths = metric.shape
        if self.frozen[start : start + size].all():
            metric = metric + np.logaddexp(0, -llr).sum(-1) if size == 1 else metric + np.maximum(0, -llr).sum(-1)
            return np.zeros(llr.shape, dtype=np.uint8), np.broadcast_to(np.arange(paths), (n, paths)), metric
        if size == 1:
            both = np.concatenate([metric + np.logaddexp(0, -llr[..., 0]), metric + np.logaddexp(0, llr[..., 0])], 1)
            best = np.argsort(both, axis=1, kind="stable")[:, :paths]
            return (best // paths).astype(np.uint8)[..., None], best % paths, np.take_along_axis(both, best, axis=1)
        a, b = llr[..., : size // 2], llr[..., size // 2 :]
        left, first, metric = self._read(np.sign(a) * np.sign(b) * np.minimum(abs(a), abs(b)), metric, start)
        a, b = _take(a, first), _take(b, first)
        right, second, metric = self._read(b + np.where(left == 1, -a, a), metric, start + size // 2)
        left = _take(left, second)
        return np.concatenate([left ^ right, right], axis=2), np.take_along_axis(first, second, axis=1), metric


def _take(values: np.ndarray, paths: np.ndarray) -> np.ndarray:
    """The values (N, L, size) of the paths (N, L)."""
    return np.take_along_axis(values, paths[..., None], axis=1)
