"""What the controls without a learned vector share: a semantic prefix, then numbers that a text is written into."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from invlib.encoders.batches import StatesDataset
from invlib.encoders.frozen import FrozenEncoder
from invlib.measures.similarity import unit
from invlib.models.codec import Codec


class PrefixedCode(Codec):
    """A vector of D numbers: the first p are a prefix, the other C = D - p, the code, are the subclass's.

    The prefix is the encoder's sentence embedding times `components` (H, p), scaled to length 1; the code is of length
    about `code_weight`. A subclass has `write` (ids -> code) and `generate_ids`.
    """

    def __init__(
        self, encoder: FrozenEncoder, components: np.ndarray, embedding_dim: int, code_weight: float, max_length: int
    ):
        self.encoder, self.components = encoder, components
        self.prefix = components.shape[1]
        self.code_size = embedding_dim - self.prefix
        if self.code_size < 1:
            raise ValueError(f"a prefix of {self.prefix} numbers leaves none of {embedding_dim} for the code")
        special = {f"{name}_token_id": getattr(encoder, f"{name}_token_id") for name in ("bos", "eos", "pad", "unk")}
        size = {"embedding_dim": embedding_dim, "max_length": max_length, "code_weight": code_weight}
        self.config = SimpleNamespace(**size, **special)
        self.scale = code_weight / np.sqrt(self.code_size)

    def write(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """The code of N texts, (N, C), of root mean square about 1; ids with [CLS] and [SEP]."""
        raise NotImplementedError

    def code(self, z) -> np.ndarray:
        """The code of vectors (N, D) as `write` gave it, (N, C) float32; errors as `check_vectors`."""
        return self.check_vectors(z)[:, self.prefix :] / self.scale

    def pack(self, sentence_embeddings: np.ndarray, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Sentence embeddings (N, H) and their ids, [CLS] and [SEP] included -> vectors (N, D) float32."""
        z = np.zeros((len(ids), self.config.embedding_dim), dtype=np.float32)
        if len(ids):
            z[:, : self.prefix] = unit(sentence_embeddings @ self.components)
            z[:, self.prefix :] = self.scale * self.write(ids)
        return z

    def vectors_of(self, dataset: StatesDataset) -> np.ndarray:
        return self.pack(dataset.sentence, dataset.ids())

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        length = self.config.max_length
        ids = self.encoder.input_ids(texts, length)
        return self.pack(self.encoder.sentence_embedding(texts, length, batch_size).numpy(), ids)
