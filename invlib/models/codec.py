"""What every system of the study can do, learned or not: sentences to vectors, and vectors back to sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from invlib.encoders.batches import StatesDataset
from invlib.encoders.frozen import FrozenEncoder


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
    """The interface that evaluation and probes use. A subclass gives `encode`, `vectors_of` and `generate_ids`.

    config: max_length, embedding_dim, and the special ids. components: the PCA (H, p) float32 that makes the first p
    numbers of a vector of the encoder's sentence embedding; None where a vector has no such prefix.
    """

    config: Any
    encoder: FrozenEncoder
    components: np.ndarray | None = None

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Sentences -> (N, D) float32. ValueError for an empty sentence or one that is too long."""
        raise NotImplementedError

    def vectors_of(self, dataset: StatesDataset) -> np.ndarray:
        """The vectors of a data set's sentences, (N, D) float32."""
        raise NotImplementedError

    def generate_ids(self, z, num_beams: int = 1, **search) -> list[list[int]]:
        """Vectors (N, D) -> word-piece ids of each text: without [CLS], with the end token where it was generated."""
        raise NotImplementedError

    def token_log_probabilities(self, z, ids: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """The log-probability in nats of each piece given the vector and the pieces before it: a tuple a sentence.

        z (N, D); ids: N lists as `generate_ids` gives them. ValueError for a codec without probabilities.
        """
        raise ValueError(f"{type(self).__name__} has no probabilities: its texts are read, not predicted")

    def token_probabilities(self, z, ids: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """The probability of each piece; arguments and errors as `token_log_probabilities`."""
        return [tuple(map(math.exp, row)) for row in self.token_log_probabilities(z, ids)]

    def text(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of word-piece ids, as the encoder's tokenizer spells them."""
        return self.encoder.text(ids)

    def decode(self, z, num_beams: int = 1, return_scores: bool = False, **search) -> list[str] | list[Decoded]:
        """Vectors (N, D) -> texts, by greedy search or, with num_beams > 1, beam search.

        return_scores: give each text as `Decoded`, with its log-probability and that of each piece; both are those of
        the model without search: teacher-forced, at temperature 1. `search` as in `generate_ids`.
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

    def check_vectors(self, z) -> np.ndarray:
        """The vectors as a (N, D) float32 array; ValueError for a wrong width or shape, NaN or infinity."""
        size = self.config.embedding_dim
        try:
            z = z.detach().cpu().float().numpy() if hasattr(z, "detach") else np.array(z, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected an array of numbers (N, {size}): {error}") from error
        if z.ndim != 2 or z.shape[1] != size:
            raise ValueError(
                f"expected vectors of shape (N, {size}), got {z.shape}; decode what this model's encode gave"
            )
        if bad := np.flatnonzero(~np.isfinite(z).all(1)).tolist():
            raise ValueError(f"vectors {bad[:5]} hold NaN or infinity; every number must be finite")
        return np.ascontiguousarray(z)


def check_batch_size(batch_size: int) -> None:
    """ValueError for a batch size below 1."""
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: give at least 1")


def until_end(ids: Sequence[int], eos_token_id: int) -> list[int]:
    """The ids up to and with the first end token."""
    ids = list(ids)
    return ids[: ids.index(eos_token_id) + 1] if eos_token_id in ids else ids
