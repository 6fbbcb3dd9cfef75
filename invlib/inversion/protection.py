"""What protects sentence embeddings: they are changed before anybody gets them, then attacked and searched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from invlib.inversion.invert import Chain, invert
from invlib.inversion.measure import Texts, figures
from invlib.measures.changed_vectors import quantized, with_noise
from invlib.measures.similarity import rank_correlation, recall_at_k, unit
from invlib.models.pooling import fit_components

KNOWN_PAIRS = 500  # texts of which an attacker has the vector both ways
Change = Callable[[np.ndarray], np.ndarray]  # (N, H) -> (N, H)


@dataclass(frozen=True)
class Protection:
    """kind and strength; change: what is done to vectors (N, H); undo: what an attacker who knows of it does."""

    kind: str
    strength: str
    change: Change
    undo: Change | None = None


def protections(train: np.ndarray, seed: int = 0) -> list[Protection]:
    """The protections that are compared; spread, scales, components and mean come from training embeddings (N, H)."""
    train = np.asarray(train, dtype=np.float32)
    spread, largest = train.std(0), np.abs(train).max(0)

    def noise(level: float) -> Change:
        return lambda z: with_noise(z, spread, level, seed)

    def bits(n: int) -> Change:
        if n == 1:  # the sign alone, at the number's mean size
            return lambda z: (np.where(z >= 0, 1, -1) * np.abs(train).mean(0)).astype(np.float32)
        return lambda z: quantized(z, largest, n)

    def cut(size: int) -> Change:
        components = fit_components(train, size)
        return lambda z: (z @ components @ components.T).astype(np.float32)

    rotation = random_rotation(train.shape[1], seed)
    known = train[:KNOWN_PAIRS]

    def rotated(z: np.ndarray) -> np.ndarray:
        return (z @ rotation).astype(np.float32)

    back = found_rotation(known, rotated(known))
    return [
        Protection("none", "", lambda z: z),
        *(Protection("noise", f"{level:g} sd", noise(level)) for level in (0.1, 0.25, 0.5, 1.0, 1.5)),
        *(Protection("fewer bits", f"{n} bit", bits(n)) for n in (8, 4, 2, 1)),
        *(Protection("PCA", f"{size} numbers", cut(size)) for size in (256, 128, 64, 32) if size < train.shape[1]),
        Protection("rotation", "unknown", rotated),
        Protection("rotation", f"{len(known)} pairs known", rotated, lambda z: (z @ back).astype(np.float32)),
    ]


def compared(
    model, texts: Texts, changes: Sequence[Protection], plain: np.ndarray, chain: Chain | None = None
) -> pd.DataFrame:
    """What an attack reads of the texts' changed vectors, and how well changed vectors still search.

    plain: the embeddings (N, H) that are searched. One row a protection: protection, strength, the attack's figures,
    recall_at_10, rank_correlation. The attacker knows the texts' kind and the encoder, and undoes what can be undone.
    """
    given = [p.change(texts.vectors) for p in changes]
    given = [z if p.undo is None else p.undo(z) for p, z in zip(changes, given, strict=True)]
    found = [one.best for one in invert(model, np.concatenate(given), chain)]
    rows = []
    for k, p in enumerate(changes):
        own = figures(model, found[k * len(texts) : (k + 1) * len(texts)], texts)
        rows.append({"protection": p.kind, "strength": p.strength} | own | kept_search(p.change(plain), plain))
    return pd.DataFrame(rows).drop(columns=["independent_cosine", "sure"])


def random_rotation(size: int, seed: int = 0) -> np.ndarray:
    """A random orthogonal matrix (size, size): cosines between rotated vectors stay as they are."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def found_rotation(plain: np.ndarray, rotated: np.ndarray) -> np.ndarray:
    """The orthogonal matrix that takes rotated vectors back, from pairs (N, H) that an attacker knows: Procrustes.

    Schönemann, "A generalized solution of the orthogonal Procrustes problem", 1966.
    """
    u, _, v = np.linalg.svd(rotated.T @ plain)
    return (u @ v).astype(np.float32)


def kept_search(changed: np.ndarray, plain: np.ndarray) -> dict[str, float]:
    """How well changed vectors still search as plain ones do, (N, H) each: recall_at_10 and rank_correlation."""
    changed, plain = unit(changed), unit(plain)
    return {
        "recall_at_10": float(recall_at_k(changed, plain).mean()),
        "rank_correlation": rank_correlation(changed, plain, 1000),
    }
