"""The judge: an encoder that compares texts, and where it is an independent one, has made none of the vectors."""

from collections.abc import Sequence

import numpy as np

from invlib.encoders.frozen import FrozenEncoder
from invlib.measures.similarity import unit


class Judge:
    """An encoder that compares texts; each text is read once."""

    def __init__(self, encoder: FrozenEncoder, max_length: int):
        self.encoder, self.max_length = encoder, max_length
        self.name = str(encoder.name).rstrip("/").rpartition("/")[2]  # of a folder the last part
        self._known: dict[str, np.ndarray] = {}

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The texts' embeddings of length 1, (N, H) float32; zeros for an empty text, whose cosine is 0 to all."""
        new = sorted({text for text in texts if text.strip()} - set(self._known))
        if new:
            vectors = unit(self.encoder.sentence_embedding(new, self.max_length).numpy())
            self._known |= dict(zip(new, vectors, strict=True))
        nothing = np.zeros(self.encoder.hidden_size, dtype=np.float32)
        return np.stack([self._known.get(text, nothing) for text in texts])

    def cosines(self, texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
        """Of each pair of texts, (N,)."""
        return (self.embed(texts) * self.embed(others)).sum(1)
