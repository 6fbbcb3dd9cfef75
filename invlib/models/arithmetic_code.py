"""The control that engineers would build: compress the text, then protect the bits against the noise. Nothing learned
but a language model, which never sees a vector."""

import math
from collections.abc import Sequence

import numpy as np

from invlib.measures.channel import noise_of_db
from invlib.models.codec import split
from invlib.models.modulation import Modulation
from invlib.models.polar_code import CRC_BITS, LIST_SIZE, PolarCode
from invlib.models.prefixed_code import PrefixedCode
from invlib.models.text_code import TextCode

MOST_BITS = 8  # a number
NO_NOISE = noise_of_db(60)  # what a code for no noise is made for
SIZES = 12  # one more costs a twelfth of the decoding time


def payload_sizes(bits: Sequence[float] | np.ndarray, n: int = SIZES) -> tuple[int, ...]:
    """n sizes in bits for texts like these, in equal ratios: from the 5 % quantile to a tenth more than the longest.

    bits (N,): what each of some training texts costs under the language model.
    """
    sizes = np.geomspace(np.quantile(bits, 0.05), 1.1 * np.max(bits), n)
    return tuple(sorted({math.ceil(size) for size in sizes}))


class ArithmeticCode(PrefixedCode):
    """Sentences to vectors and back by source coding and channel coding, one after the other (Shannon, 1948).

    The prefix and the code's length are as `PrefixedCode` says. The code of a text:

    1. its arithmetic code under a language model: `size` bits, the smallest of `sizes` that can hold it;
    2. a polar code for that size, with a CRC, of as many coded bits as the C numbers hold;
    3. the coded bits, `modulation.bits` of them a number, as levels of equal distance.

    Both codes are made for one `noise`, the standard deviation of normal noise on each number in units of the number's
    own. `sizes` are those of payload_sizes' that C numbers can carry at this noise, and the largest that they carry
    reliably; a text that needs more is cut to that one, and its first words stand. The size is not written down: every
    one is tried, and of the messages whose CRC holds the most probable counts, a size of k bits being 2 ** k messages.
    Where no CRC holds, the most probable of all is taken: below the noise that it was made for, it is another text.
    It has no probabilities.
    """

    def __init__(
        self, text_code: TextCode, encoder, components: np.ndarray, embedding_dim: int, noise: float,
        sizes: Sequence[int], code_weight: float = 0.2, max_length: int = 40, list_size: int = LIST_SIZE,
    ):  # fmt: skip
        super().__init__(encoder, components, embedding_dim, code_weight, max_length)
        if noise < 0 or not sizes or min(sizes) < 1:
            raise ValueError(f"noise {noise}, sizes {sizes}: give noise of at least 0 and sizes of at least one bit")
        self.text_code, self.noise = text_code, max(noise, NO_NOISE)
        n = self.code_size
        able = [Modulation(bits) for bits in range(1, MOST_BITS + 1)]
        able = [m for m in able if n * m.bits > CRC_BITS]
        if not able:
            raise ValueError(f"{n} number has no room for a checksum of {CRC_BITS} bits; give a larger vector")
        carried = [m.channel_bits(n, self.noise) for m in able]
        enough = [k for k, bits in enumerate(carried) if bits >= max(sizes) + CRC_BITS]
        best = enough[0] if enough else int(np.argmax(carried))
        self.modulation = able[best]
        self.reliable = max(1, int(carried[best]) - CRC_BITS)  # bits that a text may have
        most = min(n * self.modulation.capacity(self.noise), n * self.modulation.bits) - CRC_BITS
        fitting = {size for size in sizes if size <= most}
        if max(sizes) > most:
            fitting.add(min(self.reliable, n * self.modulation.bits - CRC_BITS))
        self.sizes = tuple(sorted(fitting))
        # A fixed order, so that a coded bit's place says nothing of how reliable its level is
        self.order = np.random.default_rng(0).permutation(n * self.modulation.bits)
        means = np.tile(self.modulation.means(self.noise), n)[self.order]
        self.codes = {size: PolarCode(size, means, list_size) for size in self.sizes}

    def messages(self, ids: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """The message of each text, (integer, its size in bits); ids with [CLS] and [SEP]."""
        found = []
        for interval in self.text_code.intervals(ids):
            shortest = ((interval.shortest(size), size) for size in self.sizes)
            fitting = ((number, size) for number, size in shortest if number is not None)
            cut = max(size for size in self.sizes if size <= max(self.reliable, self.sizes[0]))
            found.append(next(fitting, (interval.nearest(cut), cut)))
        return found

    def write(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        coded = np.zeros((len(ids), len(self.order)), dtype=np.uint8)
        messages = self.messages(ids)
        for size, code in self.codes.items():
            rows = [k for k, (_, own) in enumerate(messages) if own == size]
            bits = np.array([list(map(int, f"{messages[k][0]:0{size}b}")) for k in rows], dtype=np.uint8)
            if rows:
                coded[np.ix_(np.array(rows), self.order)] = code.encode(bits)
        return self.modulation.numbers(coded)

    def read_messages(self, code: np.ndarray) -> list[tuple[int, int]]:
        """The likeliest message of each noisy code (N, C): (integer, its size in bits)."""
        llr = self.modulation.llr(code.astype(float), self.noise)[:, self.order]
        least, found = np.full((len(code), 2), np.inf), np.zeros((len(code), 2), dtype=object)
        for size, polar in self.codes.items():
            bits, cost, holds = polar.candidates(llr)
            cost = cost + size * math.log(2)
            for way, allowed in enumerate((np.ones_like(holds), holds)):  # whatever the CRC says; where it holds
                costs = np.where(allowed, cost, np.inf)
                best = costs.argmin(1)
                for k in np.flatnonzero(costs.min(1) < least[:, way]):
                    least[k, way] = costs[k, best[k]]
                    found[k, way] = (int("".join(map(str, bits[k, best[k]])), 2), size)
        return [row[1] if row[1] else row[0] for row in found.tolist()]

    def generate_ids(self, z, num_beams: int = 1, batch_size: int = 128) -> list[list[int]]:
        """As `Codec` says; `num_beams` changes nothing."""
        messages = [message for part in split(self.code(z), batch_size) for message in self.read_messages(part)]
        return self.text_code.read(messages)
