"""Whatever makes vectors of sentences and texts of vectors, under one interface: models, codes and controls alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from invlib.encoders.frozen import FrozenEncoder
from invlib.inversion.invert import Chain, invert
from invlib.measures.similarity import unit
from invlib.models.codec import Codec, split
from invlib.probes.guided_search import best_recombined

RETRIEVED = 12  # nearest headlines that are recombined
OVERLAP = 8  # word pieces that the two parts of a splice would share if both headlines were the same


def no_vectors(*_) -> NoReturn:
    raise ValueError("this system sees both sentences, and has no vectors to encode or decode")


@dataclass(frozen=True)
class System:
    """encode: sentences -> (N, D) float32; decode: vectors (N, D) -> texts. Some have neither, and see both sentences.

    prefix: of the D numbers, the first so many that are a semantic prefix. costly: a text takes seconds.
    """

    encode: Callable[[Sequence[str]], np.ndarray] = no_vectors
    decode: Callable[[np.ndarray], list[str]] = no_vectors
    prefix: int = 0
    costly: bool = False

    @property
    def has_vectors(self) -> bool:
        return self.encode is not no_vectors

    def on_the_way(
        self, first: Sequence[str], second: Sequence[str], shares: Sequence[float] | np.ndarray = (0.5,)
    ) -> list[list[str]]:
        """The texts at each share of the straight line from one sentence's vector to another's: a list a share."""
        a, b = self.encode(first), self.encode(second)
        texts = self.decode(np.concatenate([(1 - share) * a + share * b for share in shares]).astype(np.float32))
        return [texts[k * len(a) : (k + 1) * len(a)] for k in range(len(shares))]


def splice(
    first: Sequence[int], second: Sequence[int], longest: int, continues: Sequence[bool], overlap: int = OVERLAP
) -> list[int]:
    """Word pieces of both: the first text to a little beyond its middle, then the second from a little before it.

    They meet near the middle of the shorter one. The second part begins `overlap` positions before the first part ends
    (where it has so many), at the start of a word: continues (V,) tells which pieces continue one. At most `longest`
    pieces; the beginning of the second part is cut where there are more.
    """
    end = min(len(first), min(len(first), len(second)) // 2 + overlap // 2)
    start = max(0, end - overlap, len(second) - (longest - end))
    while start < len(second) and continues[second[start]]:
        start += 1
    return [*first[:end], *second[start:]]


@dataclass(frozen=True)
class SpliceByHand(System):
    """Sees both sentences and no vector: near the middle of the way it says the `splice` of both, else the nearer."""

    encoder: FrozenEncoder | None = None
    max_length: int = 40

    def on_the_way(self, first, second, shares=(0.5,)):
        continues, longest = self.encoder.continues_word().tolist(), self.max_length - 2
        ids = (self.encoder.cut_ids(side, self.max_length)[0] for side in (first, second))
        spliced = [splice(a[1:-1], b[1:-1], longest, continues) for a, b in zip(*ids, strict=True)]
        middle = self.encoder.text(spliced)
        return [list(first) if share < 0.25 else list(second) if share > 0.75 else middle for share in shares]


@dataclass(frozen=True)
class OneEnd(System):
    """Sees both sentences and no vector: it says the nearer one. What a real headline gets where a text is judged."""

    def on_the_way(self, first, second, shares=(0.5,)):
        return [list(first) if share <= 0.5 else list(second) for share in shares]


def remembering(encode: Callable[[Sequence[str]], np.ndarray]) -> Callable[[Sequence[str]], np.ndarray]:
    """The same `encode`, which reads each sentence once: the parts of a card ask for the same headlines again."""
    known: dict[str, np.ndarray] = {}

    def remembered(texts: Sequence[str]) -> np.ndarray:
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, encode(new), strict=True))
        return np.stack([known[text] for text in texts])

    return remembered


def of_codec(model: Codec, to_length_1: bool = False) -> System:
    """A model or a code of the study, decoded greedily.

    to_length_1: vectors are brought to length 1 before they are decoded, for one that never saw another length.
    """
    decode = (lambda z: model.decode(unit(z))) if to_length_1 else model.decode
    return System(remembering(model.encode), decode, 0 if model.components is None else model.components.shape[1])


def with_chain(model, chain: Chain) -> System:
    """A `mean_decoder` whose texts are found by the chain of notebook 12: re-ranked, searched for and corrected."""

    def decode(z: np.ndarray) -> list[str]:
        found = [one for part in split(z, 64) for one in invert(model, part, chain)]
        return model.text([one.best for one in found])

    return System(remembering(model.encode), decode, costly=True)


def plain(encoder: FrozenEncoder, max_length: int) -> Callable[[Sequence[str]], np.ndarray]:
    """The encoder's own sentence embedding of length 1, as the `encode` of a system."""
    return remembering(lambda texts: unit(encoder.sentence_embedding(list(texts), max_length).numpy()))


def nearest_headline(encoder: FrozenEncoder, ids: Sequence[Sequence[int]], sentence: np.ndarray, max_length: int):
    """The system that says the known headline whose embedding has the largest cosine to the vector.

    ids: of the known headlines, [CLS] and [SEP] included; sentence (N, H) their embeddings.
    """
    known = unit(np.asarray(sentence, dtype=np.float32))

    def decode(z: np.ndarray) -> list[str]:
        return encoder.text([ids[k] for k in (unit(z) @ known.T).argmax(1)])

    return System(plain(encoder, max_length), decode)


def recombined_headlines(
    encoder: FrozenEncoder, ids: Sequence[Sequence[int]], sentence: np.ndarray, max_length: int,
    rounds: int = 8, children: int = 40, seed: int = 0,
) -> System:  # fmt: skip
    """The system that recombines the `RETRIEVED` nearest known headlines, guided by the encoder: nothing is learned.

    ids and sentence as in `nearest_headline`; rounds and children as in `best_recombined`.
    """
    known = unit(np.asarray(sentence, dtype=np.float32))
    continues = encoder.continues_word().tolist()

    def decode(z: np.ndarray) -> list[str]:
        target, rng = unit(z), np.random.default_rng(seed)
        nearest = np.argsort(-(target @ known.T), axis=1, kind="stable")[:, :RETRIEVED]
        starts = [{tuple(ids[k][1:-1]) for k in row} for row in nearest]

        def cosines(texts, owners):
            embedded = encoder.sentence_embedding(encoder.text(texts), max_length).numpy()
            return (unit(embedded) * target[owners]).sum(1)

        how = {"rounds": rounds, "kept": RETRIEVED, "children": children}
        return encoder.text(best_recombined(starts, cosines, continues, max_length - 2, rng=rng, **how))

    return System(plain(encoder, max_length), decode, costly=True)
