"""One vector, read twice: its code where that can be trusted, its meaning where not.

A hybrid's code says a headline word by word, and nothing between two headlines. Where its prefix is the encoder's
whole sentence embedding, the prefix can be inverted as that is (invert.py). Which half speaks, three signs decide: the
decoder's own doubt, for one that was trained with noise of every strength knows how sure it is; the code's length, for
all codes are written with the same; and whether the code's text means what the prefix means.
"""

from collections.abc import Sequence

import numpy as np

from invlib.inversion.invert import Chain, invert
from invlib.measures.similarity import unit
from invlib.models.codec import Codec

TRUSTED = 0.5  # mean probability of a text's pieces from which on the code is taken at its word
MIXED = 0.93  # a code of less than this length is no headline's: noise makes codes longer, and a mixture is shorter
AGREES = 0.9  # cosine of a text's embedding to the prefix from which on a mixed code is taken at its word all the same
BETWEEN = Chain(complements=4, prior=0.0005)


class MeaningReader(Codec):
    """A hybrid with the encoder's whole embedding as its prefix, and an inverter for that encoder.

    model: the hybrid; inverter: a `mean_decoder`; chain: how a prefix is inverted. inverted (N,) bool: of the vectors
    that were decoded last, which of them by their prefix. ValueError where the prefix is a part of the embedding alone,
    or the two have different encoders.
    """

    components: np.ndarray  # (H, H), never None

    def __init__(self, model, inverter, chain: Chain = BETWEEN, trusted: float = TRUSTED):
        if model.components is None or model.components.shape[0] != model.components.shape[1]:
            size = "none" if model.components is None else f"of {model.components.shape[1]} numbers"
            raise ValueError(f"{model.config.row} has a prefix {size}: its meaning is the encoder's whole embedding")
        if model.encoder.hash != inverter.encoder.hash:
            raise ValueError(
                f"the vectors are made with {model.encoder.name!r}, the inverter inverts {inverter.encoder.name!r}"
            )
        self.model, self.inverter, self.chain, self.trusted = model, inverter, chain, trusted
        self.encoder, self.config, self.components = model.encoder, model.config, model.components
        self.inverted = np.zeros(0, dtype=bool)

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        return self.model.encode(texts, batch_size)

    def vectors_of(self, dataset) -> np.ndarray:
        return self.model.vectors_of(dataset)

    def token_log_probabilities(self, z, ids: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        return self.model.token_log_probabilities(z, ids)

    def trust(self, z, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """The geometric mean of the probabilities of each text's pieces, given its vector: (N,), 0 for an empty one."""
        trust, filled = np.zeros(len(ids)), [k for k, row in enumerate(ids) if row]
        found = self.model.token_log_probabilities(self.check_vectors(z)[filled], [ids[k] for k in filled])
        trust[filled] = [np.exp(np.mean(row)) for row in found]
        return trust

    def agreement(self, prefix: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """The cosine of each text's embedding to its prefix (N, H), as embeddings: (N,), 0 for an empty text."""
        found, filled = np.zeros(len(texts)), [k for k, text in enumerate(texts) if text.strip()]
        if filled:
            own = self.encoder.sentence_embedding([texts[k] for k in filled], self.config.max_length).numpy()
            found[filled] = (unit(own) * unit(prefix[filled])).sum(1)
        return found

    def generate_ids(self, z, num_beams: int = 1, seed: int = 0, **search) -> list[list[int]]:
        """As `Codec` says; num_beams and search are for reading the code."""
        z, size = self.check_vectors(z), len(self.components)
        ids = self.model.generate_ids(z, num_beams=num_beams, **search)
        prefix, length = z[:, :size] @ self.components.T, np.linalg.norm(z[:, size:], axis=1) / self.config.code_weight
        agreement = self.agreement(prefix, self.text(ids))
        self.inverted = (self.trust(z, ids) < self.trusted) | ((length < MIXED) & (agreement < AGREES))
        which = np.flatnonzero(self.inverted)
        if len(which):
            found = invert(self.inverter, prefix[which], self.chain, seed)
            for k, one in zip(which, found, strict=True):
                if one.cosine > agreement[k]:
                    ids[k] = [*one.best, self.config.eos_token_id]
        return ids
