"""Arithmetic coding of texts under a language model: a likely text is a few bits, an unlikely one many.

A text is a part of the line from 0 to 1: the first word piece takes a share as large as its probability, the second
its share of that, and so on. Every number of the part stands for the text (Rissanen and Langdon, 1979).
"""

import copy
import math
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, cast

import numpy as np
import torch

from invlib.models.codec import split
from invlib.models.model import InvertibleSentenceModel

STEP = 256  # a logit is rounded to 1 / 256 of a nat
PRECISION = 30  # the likeliest piece weighs 2 ** 30, the least likely 1
_WEIGHTS = np.floor(2.0**PRECISION * np.exp(-np.arange(int(PRECISION * math.log(2) * STEP) + 2) / STEP)).astype(int) + 1


class Interval(NamedTuple):
    """The numbers from low / scale to (low + width) / scale, that end left out; exact, of any length in digits."""

    low: int
    width: int
    scale: int

    def part(self, before: int, weight: int, total: int) -> "Interval":
        """Of this interval in `total` parts, `weight` of them, those after the first `before`."""
        return Interval(self.low * total + self.width * before, self.width * weight, self.scale * total)

    @property
    def bits(self) -> float:
        """-log2 of its length."""
        return math.log2(self.scale) - math.log2(self.width)

    def shortest(self, n: int) -> int | None:
        """The first number in it of n binary digits after the point, as an integer; None where there is none."""
        number = -(-self.low * 2**n // self.scale)
        return number if number * self.scale < (self.low + self.width) * 2**n else None

    def nearest(self, n: int) -> int:
        """The number of n binary digits below its middle: it stands for a text that starts with the same pieces."""
        return (2 * self.low + self.width) * 2**n // (2 * self.scale)


WHOLE = Interval(0, 1, 1)


class TextCode:
    """The arithmetic code of a language model, a trained `no_vector` row.

    Both directions need the very same probabilities. So logits are computed in float64, on the CPU, and rounded to
    1 / 256 of a nat; what follows is integers alone. The batch, its padding and the order of the sums change a logit by
    1e-14 at most, and so one rounding in some 1e13: one headline in ten million. ValueError for a model whose decoder
    sees a vector.
    """

    def __init__(self, model: InvertibleSentenceModel):
        if model.config.pooling != "constant":
            raise ValueError(f"{model.config.row} decodes a vector; the code needs a language model, a no_vector row")
        self.config = model.config
        _ = model.encoder  # a model that was loaded has the decoder's words from it
        self.decoder = copy.deepcopy(model.decoder).cpu().double().eval()
        self.vector = model.pooling.constant.cpu().double()
        self._of: dict[tuple[int, ...], Interval] = {}  # of texts that were written before
        self._read: list[tuple[Fraction, Fraction, tuple[int, ...]]] = []  # of texts that were read, in their order

    @torch.no_grad()
    def weights(self, ids: np.ndarray, last: bool = False) -> np.ndarray:
        """Each next piece's weight after the pieces so far, [CLS] first: (B, T) -> (B, T, V) int64, or (B, 1, V)."""
        states = self.decoder.decode_states(self.vector.expand(len(ids), -1), torch.from_numpy(ids))
        logits = self.decoder.vocabulary.logits(states[:, -1:] if last else states).numpy()
        steps = np.rint(logits * STEP).astype(np.int32)
        return _WEIGHTS[np.minimum(steps.max(-1, keepdims=True) - steps, len(_WEIGHTS) - 1)]

    def intervals(self, ids: Sequence[Sequence[int]]) -> list[Interval]:
        """The interval of each text; ids with [CLS] and [SEP]."""
        texts = [tuple(row) for row in ids]
        new = sorted({text for text in texts if text not in self._of}, key=len)
        for part in split(new, 8):
            length = max(map(len, part))
            padded = np.array([[*row, *[self.config.pad_token_id] * (length - len(row))] for row in part])
            weights = self.weights(padded[:, :-1])  # (B, T - 1, V)
            labels = padded[:, 1:, None]
            weight, total = np.take_along_axis(weights, labels, axis=2)[..., 0], weights.sum(-1)
            before = (weights * (np.arange(weights.shape[2]) < labels)).sum(-1)
            for k, row in enumerate(part):
                interval = WHOLE
                for t in range(len(row) - 1):
                    interval = interval.part(int(before[k, t]), int(weight[k, t]), int(total[k, t]))
                self._of[row] = interval
        return [self._of[text] for text in texts]

    def bits(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """What each text costs, (N,) bits; ids with [CLS] and [SEP]."""
        return np.array([interval.bits for interval in self.intervals(ids)])

    def read(self, numbers: Sequence[tuple[int, int]], batch_size: int = 64) -> list[list[int]]:
        """The texts that numbers stand for, as ids without [CLS], up to the end token or the longest text.

        numbers: each as (integer, n), which is integer / 2 ** n. All the numbers of an interval are one text, so an
        interval that was read before is not read again.
        """
        values = [Fraction(number, 2**n) for number, n in numbers]
        for part in split(sorted({v for v in values if self._known(v) is None}), batch_size):
            self._read_new(part)
        return [list(cast(tuple, self._known(value))) for value in values]

    def _known(self, value: Fraction) -> tuple[int, ...] | None:
        k = bisect_right(self._read, value, key=lambda entry: entry[0])
        return self._read[k - 1][2] if k and value < self._read[k - 1][1] else None

    def _read_new(self, values: list[Fraction]) -> None:
        """Read numbers between 0 and 1 piece by piece, all of them together, and keep the intervals of their texts."""
        ids = np.full((len(values), 1), self.config.bos_token_id)
        intervals, active = [WHOLE] * len(values), np.arange(len(values))
        for _ in range(self.config.max_length - 1):
            if not len(active):
                break
            weights = self.weights(ids[active], last=True)[:, 0]
            until = weights.cumsum(-1)
            ids = np.pad(ids, ((0, 0), (0, 1)), constant_values=self.config.pad_token_id)
            for k, sums, own in zip(active, until, weights, strict=True):
                total, (low, width, scale) = int(sums[-1]), intervals[k]
                place = (values[k].numerator * scale - low * values[k].denominator) * total
                piece = int(np.searchsorted(sums, place // (width * values[k].denominator), side="right"))
                intervals[k] = intervals[k].part(int(sums[piece] - own[piece]), int(own[piece]), total)
                ids[k, -1] = piece
            active = active[ids[active, -1] != self.config.eos_token_id]
        found = {}
        for row, (low, width, scale) in zip(ids[:, 1:].tolist(), intervals, strict=True):
            end = row.index(self.config.eos_token_id) + 1 if self.config.eos_token_id in row else len(row)
            found[Fraction(low, scale), Fraction(low + width, scale)] = tuple(row[:end])
        self._read = sorted(self._read + [(low, high, row) for (low, high), row in found.items()])
