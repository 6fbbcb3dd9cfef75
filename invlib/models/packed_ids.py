"""The control with nothing learned: a semantic prefix, then the word-piece ids written into the vector's numbers."""

from collections.abc import Sequence

import numpy as np

from invlib.encoders.frozen import FrozenEncoder
from invlib.models.codec import until_end
from invlib.models.prefixed_code import PrefixedCode

BITS = (1, 2, 4, 8)  # a number, that the study compares


def to_bits(values: np.ndarray, n: int) -> np.ndarray:
    """(...,) -> (..., n), most significant first."""
    return values[..., None] >> np.arange(n)[::-1] & 1


def from_bits(bits: np.ndarray) -> np.ndarray:
    """`to_bits` undone: (..., n) -> (...,)."""
    return bits @ (1 << np.arange(bits.shape[-1])[::-1])


class PackedIds(PrefixedCode):
    """Sentences to vectors and back without a model. It has no probabilities.

    The prefix and the code's length are as `PrefixedCode` says. The code holds the ids after [CLS], end token included,
    each in as many bits as the vocabulary needs (15 for 30 522 pieces), `bits` of them a number. A number has 2 ** bits
    evenly spaced levels around 0, Gray-coded: neighbours differ in one bit. The ids are written again and again until
    the code is full, and decoding averages the copies. Of a sentence that doesn't fit, the first ids stand.
    """

    def __init__(
        self, encoder: FrozenEncoder, components: np.ndarray, embedding_dim: int, bits: int, code_weight: float = 0.2,
        max_length: int = 40,
    ):  # fmt: skip
        super().__init__(encoder, components, embedding_dim, code_weight, max_length)
        self.bits = bits
        self.id_bits = (encoder.vocab_size - 1).bit_length()
        self.capacity = min(self.code_size * bits // self.id_bits, max_length - 1)  # ids that fit
        if self.capacity < 1:
            raise ValueError(f"{self.code_size} numbers of {bits} bits have no room for one id of {self.id_bits} bits")
        levels = np.arange(2**bits)
        self.gray = levels ^ (levels >> 1)  # (2 ** bits,): the bits that a level stands for
        self.level_of = np.argsort(self.gray)
        self.middle, self.spread = levels.mean(), levels.std()

    def numbers(self, ids: np.ndarray) -> np.ndarray:
        """One copy of the ids: (N, L) -> (N, P) of root mean square 1, P = L * id_bits / bits rounded up."""
        bits = to_bits(ids, self.id_bits).reshape(len(ids), -1)
        bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % self.bits))).reshape(len(ids), -1, self.bits)
        return (self.level_of[from_bits(bits)] - self.middle) / self.spread

    def nearest_ids(self, numbers: np.ndarray, length: int) -> np.ndarray:
        """The first `length` ids of the nearest levels, [UNK] for what is no id: (N, P) -> (N, length)."""
        levels = np.clip(np.rint(numbers * self.spread + self.middle), 0, 2**self.bits - 1).astype(int)
        bits = to_bits(self.gray[levels], self.bits).reshape(len(numbers), -1)[:, : length * self.id_bits]
        ids = from_bits(bits.reshape(len(numbers), length, self.id_bits))
        return np.where(ids < self.encoder.vocab_size, ids, self.config.unk_token_id)

    def write(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        once = (self.numbers(np.array([full[1 : 1 + self.capacity]]))[0] for full in ids)
        return np.stack([np.resize(one, self.code_size) for one in once])

    def generate_ids(self, z, num_beams: int = 1) -> list[list[int]]:
        """As `Codec` says; `num_beams` changes nothing.

        For each length that the sentence may have, the copies are averaged, read, and written again with the end
        token in its place; the length of the smallest misfit is taken.
        """
        code = self.code(z)
        if not len(code):
            return []
        end, n = self.config.eos_token_id, self.code_size
        found = self.nearest_ids(code, self.capacity)  # no end token: a sentence that was cut
        least = np.full(len(code), np.inf)
        if self.capacity < self.config.max_length - 1:
            again = self.numbers(found)
            least = 4 * ((code[:, : again.shape[1]] - again) ** 2).sum(1) + self.id_bits / self.bits
        for length in range(1, self.capacity + 1):
            size = -(-length * self.id_bits // self.bits)
            place = np.arange(n) % size  # where in the copy each number stands
            copies = np.pad(code, ((0, 0), (0, -n % size))).reshape(len(code), -1, size)
            ids = self.nearest_ids(copies.sum(1) / np.bincount(place), length)
            ids[:, -1] = end
            # A longer copy is averaged over fewer, so it takes noise for ids: its misfit weighs more, up to 4 times. Of
            # the exponents 0 to 3 this one gives most back of noisy validation headlines
            misfit = ((code - self.numbers(ids)[:, place]) ** 2).sum(1) * (1 + size / n) ** 2
            better = (misfit < least) & ~(ids[:, :-1] == end).any(1)
            least[better] = misfit[better]
            found[better, :length] = ids[better]
        return [until_end(row, end) for row in found.tolist()]
