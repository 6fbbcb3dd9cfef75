"""What the smoothness card measures every system on: the same headlines, pairs, judge and language model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from invlib.encoders.frozen import FrozenEncoder
from invlib.encoders.material import Material
from invlib.measures.judge import Judge
from invlib.measures.similarity import unit
from invlib.probes.between_vectors import bits_a_token, column_means, disjoint_pairs
from invlib.probes.systems import System, nearest_headline

NEIGHBOURS = 0.5, 0.8  # cosines between which two headlines are neighbours
SCALE = 300  # training headlines that give each number's mean and standard deviation, and neighbours


@dataclass(frozen=True)
class CardData:
    """n: headlines, and pairs of each kind, that a system is measured on.

    test: headlines as the encoder's tokenizer spells them; train: in lower case; pairs (P, 2) of the test headlines'
    indices, by kind; reference: the reference language model; nearest: the system that every text between two
    headlines is compared with.
    """

    encoder: FrozenEncoder
    max_length: int
    judge: Judge
    judge_name: str
    reference: object
    train: list[str]
    test: list[str]
    pairs: dict[str, np.ndarray]
    nearest: System
    n: int
    n_bootstrap: int = 1000
    seed: int = 0
    asked: int = 2

    @classmethod
    def of(
        cls, material: Material, reference, judge: FrozenEncoder | None, n: int, n_bootstrap: int = 1000, seed: int = 0
    ) -> "CardData":
        """The test and training headlines of a run; without a judge the run's own encoder judges, and the name says so.

        ValueError for fewer than four test headlines.
        """
        encoder, longest = material.encoder, reference.config.max_length

        def whole(row: list[int]) -> bool:  # neither cut nor with a piece that no text has
            return 3 <= len(row) < longest and encoder.unk_token_id not in row

        data = {split: material.dataset(split, layers=()) for split in ("train", "test")}
        ids = {split: part.ids() for split, part in data.items()}
        kept = {split: [k for k, row in enumerate(rows) if whole(row)] for split, rows in ids.items()}
        if len(kept["test"]) < 4:
            raise ValueError(f"{len(kept['test'])} test headlines are too few for two pairs; give at least 4")
        texts, sentence = list(material.corpus.splits["train"]["text"]), unit(data["test"].sentence[kept["test"]])
        pairs = {"neighbours": neighbours(sentence, n, seed), "random": disjoint_pairs(len(sentence), n, seed)}
        compares = Judge(judge or encoder, longest)
        name = compares.name if judge else f"{encoder.name}, which also encodes"
        return cls(
            encoder, longest, compares, name, reference,
            [texts[k].lower() for k in kept["train"]], encoder.text([ids["test"][k] for k in kept["test"]]), pairs,
            nearest_headline(encoder, ids["train"], data["train"].sentence, longest), n, n_bootstrap, seed,
            max(2, n // 10),
        )  # fmt: skip

    @property
    def some(self) -> list[str]:
        """The training headlines that a system's space is known by: `SCALE`, of which a small n takes fewer."""
        return self.train[: min(SCALE, 15 * self.n)]

    def seen(self, system: System) -> np.ndarray:
        """A system's vectors of `some`, (M, D)."""
        return system.encode(self.some)

    def scale(self, system: System) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each number of a system's vectors, (D,) each."""
        z = self.seen(system)
        return z.mean(0), z.std(0)

    def bits(self, texts: Sequence[str]) -> np.ndarray:
        """Bits a word piece of each text under the reference language model, its end included; NaN for an empty one."""
        ids = self.encoder.cut_ids(texts, self.max_length)[0]
        return bits_a_token(self.reference, [row[1:] if len(row) > 2 else [] for row in ids])

    def means(self, table: pd.DataFrame, of: str) -> pd.DataFrame:
        """Each column's mean with its 95 % interval: of, measure, n, mean, low, high; a bool column is a share."""
        return pd.DataFrame(column_means(table, list(table), self.n_bootstrap)).assign(of=of)


def neighbours(sentence: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """At most n pairs (P, 2) of (N, H) embeddings of length 1 with a cosine of `NEIGHBOURS`; each is in one at most."""
    cosine = sentence @ sentence.T
    first, second = np.nonzero(np.triu((cosine >= NEIGHBOURS[0]) & (cosine <= NEIGHBOURS[1]), 1))
    used: set[int] = set()
    pairs: list[tuple[int, int]] = []
    for k in np.random.default_rng(seed).permutation(len(first)):
        pair = int(first[k]), int(second[k])
        if len(pairs) < n and not used & set(pair):
            used.update(pair)
            pairs.append(pair)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
