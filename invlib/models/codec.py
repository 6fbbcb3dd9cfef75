"""What every system of the study can do, learned or not: sentences to vectors, and vectors back to sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from invlib.encoders.batches import StatesDataset
from invlib.encoders.frozen import FrozenEncoder

Vectors: TypeAlias = ArrayLike | Tensor  # (N, D): an array, a tensor, a list of lists


@dataclass(frozen=True)
class Decoded:
    """A decoded text with its scores.

    log_probability: of the whole text given its vector, the sum over its pieces, in nats. pieces: its word pieces, the
    end token included where it was generated. probabilities: of each piece given the vector and the pieces before it.
    """

    text: str
    log_probability: float
    pieces: tuple[str, ...]
    probabilities: tuple[float, ...]


class Codec:
    """The interface that evaluation and probes use.

    config: max_length, embedding_dim, and the special ids. components: the PCA (H, p) of the encoder's sentence
    embedding that makes a vector's first p numbers, or None; then config has the code_weight of the others too.
    """

    encoder: FrozenEncoder
    config: Any
    components: np.ndarray | None = None

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Sentences -> (N, D) float32; ValueError for one that is empty or too long."""
        raise NotImplementedError

    def vectors_of(self, dataset: StatesDataset) -> np.ndarray:
        """The vectors of a data set's sentences, (N, D) float32."""
        raise NotImplementedError

    def generate_ids(self, z: Vectors, num_beams: int = 1) -> list[list[int]]:
        """Vectors (N, D) -> word-piece ids of each text, without [CLS], with the end token where it was generated.

        A subclass may take further options of its search.
        """
        raise NotImplementedError

    def token_log_probabilities(self, z: Vectors, ids: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """The log-probability in nats of each piece given the vector and the pieces before it: a tuple a sentence.

        z (N, D); ids: N lists as `generate_ids` gives them. ValueError where there are none.
        """
        raise ValueError(f"{type(self).__name__} has no probabilities: its texts are read, not predicted")

    def token_probabilities(self, z: Vectors, ids: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """The probability of each piece; arguments and errors as `token_log_probabilities`."""
        return [tuple(map(math.exp, row)) for row in self.token_log_probabilities(z, ids)]

    def text(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of word-piece ids, as the encoder's tokenizer spells them."""
        return self.encoder.text(ids)

    @overload
    def decode(
        self, z: Vectors, num_beams: int = 1, return_scores: Literal[False] = False, **search: Any
    ) -> list[str]: ...

    @overload
    def decode(
        self, z: Vectors, num_beams: int = 1, *, return_scores: Literal[True], **search: Any
    ) -> list[Decoded]: ...

    def decode(
        self, z: Vectors, num_beams: int = 1, return_scores: bool = False, **search: Any
    ) -> list[str] | list[Decoded]:
        """Vectors (N, D) -> texts, by greedy search or, with num_beams > 1, beam search.

        return_scores: each text as `Decoded`, its scores teacher-forced, at temperature 1, whatever the search.
        """
        ids = self.generate_ids(z, num_beams=num_beams, **search)
        texts = self.text(ids)
        if not return_scores:
            return texts
        scores, pieces = self.token_log_probabilities(z, ids), self.encoder.tokenizer.convert_ids_to_tokens
        return [
            Decoded(text, sum(score), tuple(pieces(row)), tuple(map(math.exp, score)))
            for text, row, score in zip(texts, ids, scores, strict=True)
        ]

    def reconstruct(self, texts: Sequence[str], num_beams: int = 1) -> list[str]:
        """decode(encode(texts))."""
        return self.decode(self.encode(texts), num_beams=num_beams)

    def check_vectors(self, z: Vectors) -> np.ndarray:
        """The vectors as a (N, D) float32 array; ValueError for a wrong width, no real numbers, NaN or infinity."""
        expected = f"expected numbers of shape (N, {self.config.embedding_dim})"
        try:
            if hasattr(z, "detach"):  # a tensor; numpy has no bfloat16
                z = z.detach().cpu()
                z = (z.float() if z.is_floating_point() else z).numpy()
            found = np.ma.filled(z, np.nan)  # a masked number is none
            if found.dtype.kind not in "fiu":
                raise TypeError(f"got {found.dtype}")
            with np.errstate(over="ignore"):
                z = np.array(found, dtype=np.float32, order="C")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{expected}: {error}") from error
        if z.ndim != 2 or z.shape[1] != self.config.embedding_dim:
            raise ValueError(f"{expected}, got {z.shape}; decode what this model's encode gave")
        if bad := np.flatnonzero(~np.isfinite(z).all(1)).tolist():
            raise ValueError(f"vectors {bad[:5]} hold NaN or infinity; every number must be finite in float32")
        return z


def fitting(model: Codec, texts: Sequence[str]) -> list[str]:
    """The texts that the model can encode: neither empty nor too long for it."""
    ids = model.encoder.tokenizer(list(texts), verbose=False)["input_ids"] if len(texts) else []
    return [text for text, row in zip(texts, ids, strict=True) if 3 <= len(row) <= model.config.max_length]


def split(rows: Any, batch_size: int) -> list:
    """The rows in parts of `batch_size`, the last one smaller; ValueError for a batch size below 1."""
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: give at least 1")
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def until_end(ids: Sequence[int], eos_token_id: int) -> list[int]:
    """The ids up to and with the first end token."""
    ids = list(ids)
    return ids[: ids.index(eos_token_id) + 1] if eos_token_id in ids else ids
