"""One vector, read twice: its code where that can be trusted, its meaning where not.

A hybrid's code says a headline word by word, and nothing between two headlines. Where its prefix is the encoder's
whole sentence embedding, the prefix can be inverted as that is (invert.py). Which half speaks, signs decide: the
decoder's own doubt, for one that was trained with noise of every strength knows how sure it is; the code's length, for
all codes are written with the same; and whether the code's text means what the prefix means. Where it does not, and
the code is that text's own, the prefix alone was moved: then the text is edited (edit.py) until it means that.
"""

from collections.abc import Sequence

import numpy as np

from invlib.inversion.edit import edit
from invlib.inversion.invert import Chain, invert
from invlib.measures.similarity import unit
from invlib.models.codec import Codec
from invlib.models.prefixed_code import PrefixedCode

TRUSTED = 0.5  # mean probability of a text's pieces from which on the code is taken at its word
MIXED = 0.93  # a code of less than this length is no headline's: noise makes codes longer, and a mixture is shorter
AGREES = 0.9  # cosine of a text's embedding to the prefix from which on a mixed code is taken at its word all the same
# A prefix was moved where it is farther from its text's own than the code is, by this ratio, and by more than rounding.
# Chosen on validation headlines: noise of 3 to 10 dB moves both alike (95 % below 1.4), a direction the prefix 3 times
# as far or more. The code's distance is that of its median number: a direction of words in one place moves few.
MOVED, ROUNDING = 2.0, 0.05
NORMAL = 1.4826  # standard deviations of a normal distribution in the median of its absolute values
BETWEEN = Chain(complements=4, prior=0.0005)


class MeaningReader(Codec):
    """A vector with the encoder's whole embedding as its prefix, read with an inverter for that encoder.

    model: a hybrid, or a control with such a prefix, whose code is never in doubt; inverter: a `mean_decoder`; chain:
    how a prefix is inverted. inverted, edited (N,) bool: of the vectors that were decoded last, those whose prefix was
    inverted, and those whose text was edited. ValueError where the prefix is a part of the embedding alone, or the two
    have different encoders.
    """

    components: np.ndarray  # (H, H), never None

    def __init__(self, model, inverter, chain: Chain = BETWEEN):
        if model.components is None or model.components.shape[0] != model.components.shape[1]:
            size = "none" if model.components is None else f"of {model.components.shape[1]} numbers"
            raise ValueError(f"this model has a prefix {size}: its meaning is the encoder's whole embedding")
        if model.encoder.hash != inverter.encoder.hash:
            raise ValueError(
                f"the vectors are made with {model.encoder.name!r}, the inverter inverts {inverter.encoder.name!r}"
            )
        self.model, self.inverter, self.chain = model, inverter, chain
        self.encoder, self.config, self.components = model.encoder, model.config, model.components
        self.inverted = self.edited = np.zeros(0, dtype=bool)

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        return self.model.encode(texts, batch_size)

    def vectors_of(self, dataset) -> np.ndarray:
        return self.model.vectors_of(dataset)

    def token_log_probabilities(self, z, ids: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        return self.model.token_log_probabilities(z, ids)

    def trust(self, z, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """The geometric mean of the probabilities of each text's pieces, given its vector: (N,), 0 for an empty one.

        1 where the model has no probabilities.
        """
        if isinstance(self.model, PrefixedCode):
            return np.ones(len(ids))
        trust, filled = np.zeros(len(ids)), [k for k, row in enumerate(ids) if row]
        found = self.model.token_log_probabilities(self.check_vectors(z)[filled], [ids[k] for k in filled])
        trust[filled] = [np.exp(np.mean(row)) for row in found]
        return trust

    def halves(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (N, D) -> their prefix as an embedding (N, H), and their code (N, D - H); both of length about 1."""
        size = len(self.components)
        return z[:, :size] @ self.components.T, z[:, size:] / self.config.code_weight

    def again(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors that texts have, (N, D); those of an empty text are 0, a long text's are of its beginning."""
        z = np.zeros((len(texts), self.config.embedding_dim), np.float32)
        filled = [k for k, text in enumerate(texts) if text.strip()]
        if filled:
            ids, _ = self.encoder.cut_ids([texts[k] for k in filled], self.config.max_length)
            z[filled] = self.model.encode(self.encoder.text(ids))
        return z

    def generate_ids(self, z, num_beams: int = 1, seed: int = 0, **search) -> list[list[int]]:
        """As `Codec` says; num_beams and search are for reading the code."""
        z = self.check_vectors(z)
        ids = self.model.generate_ids(z, num_beams=num_beams, **search)
        (prefix, code), (own_prefix, own_code) = self.halves(z), self.halves(self.again(self.text(ids)))
        agreement = (unit(prefix) * unit(own_prefix)).sum(1)
        mixed = (np.linalg.norm(code, axis=1) < MIXED) & (agreement < AGREES)
        self.inverted = (self.trust(z, ids) < TRUSTED) | mixed
        off_prefix = np.linalg.norm(prefix - own_prefix, axis=1)
        off_code = NORMAL * np.median(np.abs(code - own_code), axis=1) * np.sqrt(code.shape[1])
        self.edited = ~self.inverted & (off_prefix > np.maximum(MOVED * off_code, ROUNDING))
        if (which := np.flatnonzero(self.inverted)).size:
            for k, one in zip(which, invert(self.inverter, prefix[which], self.chain, seed), strict=True):
                if one.cosine > agreement[k]:
                    ids[k] = [*one.best, self.config.eos_token_id]
        if (which := np.flatnonzero(self.edited)).size:
            texts = [tuple(i for i in ids[k] if i != self.config.eos_token_id) for k in which]
            for k, text in zip(which, edit(self.inverter, unit(prefix[which]), texts), strict=True):
                ids[k] = [*text, self.config.eos_token_id]
        return ids
