"""What lies in the space of the vectors: lines, directions, exchanges, neighbours, surroundings and a plane.

    line = interpolate(model, "oil rises on tariffs", "gold falls after weak data")
    print(line.texts[line.jump])

A sentence stands for its vector wherever one is asked for. Any `Codec` will do, learned or not, if no other is named.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from invlib.measures.changed_vectors import with_noise
from invlib.measures.channel import db_of_noise
from invlib.measures.similarity import unit
from invlib.models.codec import Codec, fitting
from invlib.models.packed_ids import PackedIds
from invlib.probes.between_vectors import share_differing

Given = str | np.ndarray  # a sentence, or a vector (D,)


def vector_of(model: Codec, given: Given) -> np.ndarray:
    """A sentence's vector, or the vector that is given: (D,) float32. ValueError as `encode` and `check_vectors`."""
    if isinstance(given, str):
        return model.encode([given])[0]
    return model.check_vectors(np.asarray(given)[None])[0]


def cosines(vectors: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Of each of (N, D) with one vector (D,): (N,). 0 for a vector of length 0."""
    return unit(vectors) @ unit(vector[None])[0]


def neighbours(vectors: np.ndarray, vector: np.ndarray, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The k of (N, D) with the largest cosine to a vector (D,), the nearest first: indices (k,) int64, cosines (k,).

    All N of them where k is more. ValueError for k below 1, for no vectors, and for another width.
    """
    vectors, vector = np.asarray(vectors), np.asarray(vector)
    if k < 1 or vectors.ndim != 2 or not len(vectors) or vector.shape != vectors.shape[1:]:
        given = f"k={k}, vectors {vectors.shape}, vector {vector.shape}"
        raise ValueError(f"{given}; give k of at least 1, vectors (N, D) with N of at least 1, and a vector (D,)")
    found = cosines(vectors, vector)
    order = np.argsort(-found, kind="stable")[:k]
    return order, found[order]


@dataclass(frozen=True)
class Embedded:
    """Texts with their vectors (N, D), in one order. label: where they come from, in words."""

    texts: tuple[str, ...]
    vectors: np.ndarray
    label: str

    @property
    def spread(self) -> np.ndarray:
        """Each number's standard deviation over the texts, (D,)."""
        return self.vectors.std(0)

    def nearest(self, vector: np.ndarray, k: int = 1) -> list[tuple[str, float]]:
        """The k texts whose vectors have the largest cosine to a vector (D,), each with its cosine."""
        return [(self.texts[i], float(c)) for i, c in zip(*neighbours(self.vectors, vector, k), strict=True)]


@dataclass(frozen=True)
class Space:
    """A model's vectors with headlines in them, under a name."""

    name: str
    model: Codec
    headlines: Embedded

    @classmethod
    def of(cls, name: str, model: Codec, texts: Sequence[str], label: str) -> "Space":
        """The texts that fit the model, encoded; ValueError for fewer than three: their spread means nothing."""
        texts = fitting(model, texts)
        if len(texts) < 3:
            raise ValueError(f"{label}: {len(texts)} of the texts fit {name}; give at least 3")
        return cls(name, model, Embedded(tuple(texts), model.encode(texts), label))


# One vector after another


@dataclass(frozen=True)
class Line:
    """What is decoded on the straight line from one vector to another, in S steps.

    shares (S,): from 0 at the first vector to 1 at the second. vectors (S, D); ids and texts as decoded. like_first and
    like_second (S,): share of positions, of the longer text, with the same word piece as the text decoded at that end.
    changes (S,): share of positions at which the text differs from the step before; 0 at the first.
    """

    shares: np.ndarray
    vectors: np.ndarray
    ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    like_first: np.ndarray
    like_second: np.ndarray
    changes: np.ndarray

    @property
    def jump(self) -> int | None:
        """The step whose text differs most from the one before, the first of equals; None where none differs."""
        return int(self.changes.argmax()) if self.changes.any() else None


def interpolate(model: Codec, a: Given, b: Given, steps: int = 21) -> Line:
    """The texts on the straight line from a to b, decoded greedily. ValueError for fewer than two steps."""
    if steps < 2:
        raise ValueError(f"steps={steps}: give at least 2, the two ends")
    shares = np.linspace(0, 1, steps)
    first, second = vector_of(model, a), vector_of(model, b)
    vectors = ((1 - shares[:, None]) * first + shares[:, None] * second).astype(np.float32)
    ids = model.generate_ids(vectors)
    like_a, like_b = (np.array([1 - share_differing(end, row) for row in ids]) for end in (ids[0], ids[-1]))
    changes = np.array([0.0, *(share_differing(*two) for two in zip(ids, ids[1:], strict=False))])
    return Line(shares, vectors, tuple(map(tuple, ids)), tuple(model.text(ids)), like_a, like_b, changes)


def direction(model: Codec, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """The mean over pairs of sentences of the second's vector less the first's, (D,) float32.

    Mikolov et al., "Linguistic Regularities in Continuous Space Word Representations", 2013. ValueError for no pair.
    """
    if not pairs:
        raise ValueError("no pairs of sentences; give at least one, (before, after)")
    before, after = zip(*pairs, strict=True)
    return (model.encode(after) - model.encode(before)).mean(0)


def decode_along(model: Codec, a: Given, along: np.ndarray, strengths: Sequence[float]) -> list[str]:
    """The texts of a's vector plus each strength times a direction (D,); at strength 1 the mean difference is added."""
    vectors = vector_of(model, a) + np.asarray(strengths, dtype=np.float32)[:, None] * along
    return model.decode(vectors.astype(np.float32))


# Two vectors, each in two halves


def prefix_of(model: Codec) -> int:
    """How many numbers a vector's semantic prefix has; ValueError for a model without one."""
    if model.components is None:
        name = getattr(model.config, "row", type(model).__name__)
        raise ValueError(f"the vector of {name!r} has no semantic prefix; take one that has, as hybrid_384_long")
    return model.components.shape[1]


def exchange(model: Codec, a: Given, b: Given) -> pd.DataFrame:
    """Each sentence's prefix with each one's code, decoded: four rows; ValueError for a model without a prefix.

    Columns: prefix and code, whose they are ("first" or "second"); text; like_first and like_second, the share of
    positions with the word piece of the text decoded from that vector; cosine_first and cosine_second, of the vectors.
    """
    size, ends = prefix_of(model), {"first": vector_of(model, a), "second": vector_of(model, b)}
    owners = [("first", "first"), ("second", "second"), ("first", "second"), ("second", "first")]
    vectors = np.stack([np.concatenate([ends[p][:size], ends[c][size:]]) for p, c in owners])
    ids = model.generate_ids(vectors)
    table = pd.DataFrame(owners, columns=["prefix", "code"]).assign(text=model.text(ids))
    for k, name in enumerate(ends):
        table[f"like_{name}"] = [1 - share_differing(ids[k], row) for row in ids]
    for name, end in ends.items():
        table[f"cosine_{name}"] = cosines(vectors, end)
    return table


def packed_beside(model: Codec, bits: int = 2) -> PackedIds:
    """`PackedIds` with the model's own prefix, size and weight of the code: the control with nothing learned."""
    prefix_of(model)
    c = model.config
    assert model.components is not None  # or prefix_of had raised
    return PackedIds(model.encoder, model.components, c.embedding_dim, bits, c.code_weight, c.max_length)


# What surrounds a vector


@dataclass(frozen=True)
class Samples:
    """Vectors (n, D) around one, and their texts. noise: in standard deviations; decibels: the same, as a ratio."""

    vectors: np.ndarray
    texts: tuple[str, ...]
    noise: float
    decibels: float


def around(model: Codec, z: Given, noise: float, spread: np.ndarray, n: int = 8, seed: int = 0) -> Samples:
    """n vectors around one: normal noise of `noise` times each number's standard deviation, spread (D,), added.

    ValueError for noise that is not above 0, and for n below 1.
    """
    if n < 1:
        raise ValueError(f"n={n}: give at least one sample")
    decibels = db_of_noise(noise)
    vectors = with_noise(np.repeat(vector_of(model, z)[None], n, axis=0), spread, noise, seed)
    return Samples(vectors, tuple(model.decode(vectors)), noise, decibels)


@torch.no_grad()
def alternatives(model, z: Given, ids: Sequence[int], k: int = 5) -> list[list[tuple[str, float]]]:
    """For each word piece of a text, the k likeliest others in its place, each with its probability.

    ids: a text's pieces as `generate_ids` gives them; the pieces before each place are the text's own. model: an
    `InvertibleSentenceModel`.
    """
    if not len(ids):
        return []
    vector = torch.from_numpy(vector_of(model, z)[None]).to(model.device, model.dtype)
    batch = {name: x.to(model.device) for name, x in model.encoder.pad([[model.config.bos_token_id, *ids]]).items()}
    logits = model.logits(model(**batch, sentence_embedding=vector)["states"]).float()
    probabilities = logits.softmax(-1)  # (pieces, V)
    probabilities[torch.arange(len(ids)), torch.tensor(list(ids))] = -1.0  # the piece itself is no other
    best, which = probabilities.topk(min(k, probabilities.shape[1] - 1))
    names = model.encoder.tokenizer.convert_ids_to_tokens
    return [list(zip(names(row), p, strict=True)) for row, p in zip(which.tolist(), best.tolist(), strict=True)]


# All vectors seen from afar


@dataclass(frozen=True)
class Plane:
    """The plane of most variance: mean (D,), axes (2, D) of length 1, points (N, 2); share of the variance in it."""

    mean: np.ndarray
    axes: np.ndarray
    points: np.ndarray
    share: float

    def vector(self, x: float, y: float) -> np.ndarray:
        """The vector (D,) float32 that lies in the plane at a point."""
        return (self.mean + x * self.axes[0] + y * self.axes[1]).astype(np.float32)


def plane(vectors: np.ndarray) -> Plane:
    """The first two principal components of vectors (N, D); ValueError for fewer than three."""
    if len(vectors) < 3:
        raise ValueError(f"{len(vectors)} vectors; a plane needs at least 3")
    mean = vectors.mean(0)
    _, sizes, axes = np.linalg.svd(vectors - mean, full_matrices=False)
    axes = axes[:2] * np.where(axes[:2, :1] < 0, -1, 1)  # the same vectors always give the same map
    return Plane(mean, axes, (vectors - mean) @ axes.T, float((sizes[:2] ** 2).sum() / (sizes**2).sum()))
