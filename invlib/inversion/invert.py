"""Inverting vectors: first texts, re-ranked by re-encoding, then corrected and changed until the encoder agrees."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from invlib.inversion.candidates import Ids, embed, log_probabilities, propose
from invlib.inversion.complement import complements
from invlib.inversion.search import Pieces, changes
from invlib.measures.similarity import unit

ZERO = 1e-12  # a vector without a larger number has no direction
SCORED = 16  # new texts of a vector whose probability is asked in each round: its nearest
SURE = 0.9995  # a text with this cosine to the vector is taken for the text itself


@dataclass(frozen=True)
class Chain:
    """How a vector is inverted; what each part adds is measured in notebook 12. The default is the whole chain.

    beam: first texts by beam search, beside the greedy one; samples: further ones, drawn at `temperature`. Then, for
    `rounds` rounds at most, the `kept` best texts are corrected, `width` ways each (a text once), and changed at
    random, `children` ways each.
    complements: texts for what each of the `kept` best first texts leaves unsaid, which are joined to it; for vectors
    that no single sentence has, as between two (complement.py).
    reworded: further texts of each round, drawn from the decoder out of nothing but the pieces of the best texts, in
    another order: search finds words sooner than their order. gradient: whether the encoder's gradient is asked which
    pieces to try, or the decoder alone. prior: weight of a text's log-probability under the decoder (nats) beside its
    cosine, where texts are ranked: of two that are as near, the likelier. patience: rounds without a better text before
    a vector is left as it is.
    """

    beam: int = 8
    samples: int = 0
    temperature: float = 0.7
    complements: int = 0
    rounds: int = 8
    kept: int = 4
    width: int = 0
    children: int = 24
    reworded: int = 8
    gradient: bool = True
    prior: float = 0.001
    patience: int = 4


@dataclass
class Inverted:
    """What was found for one vector so far.

    cosines of all texts; scores: cosine and prior of those whose probability was asked; calls: texts that the encoder
    read; history: the best text of each round, and its cosine; reached: after each round how far search has come;
    corrected: texts that were corrected. alternatives: the pieces that are tried in each place of a text.
    """

    cosines: dict[Ids, float] = field(default_factory=dict)
    scores: dict[Ids, float] = field(default_factory=dict)
    calls: int = 0
    history: list[tuple[Ids, float]] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    corrected: set[Ids] = field(default_factory=set)
    alternatives: Pieces = field(default_factory=dict, compare=False, repr=False)

    @property
    def best(self) -> Ids:
        """The text of the highest score, or one that is SURE."""
        nearest = max(self.cosines, key=self.cosines.__getitem__)
        return nearest if self.cosines[nearest] >= SURE else max(self.scores, key=self.scores.__getitem__)

    @property
    def cosine(self) -> float:
        return self.cosines[self.best]

    def ranked(self, n: int) -> list[Ids]:
        """The n best texts, the best first: those of the highest scores and of the highest cosines in turn."""
        likely, near = (sorted(by, key=by.__getitem__, reverse=True)[:n] for by in (self.scores, self.cosines))
        return list(dict.fromkeys(text for pair in zip(likely, near, strict=False) for text in pair))[:n]


def invert(model, vectors, chain: Chain | None = None, seed: int = 0) -> list[Inverted]:
    """Vectors (N, H) of the frozen encoder -> what was found for each.

    model: a `mean_decoder`; correction needs one whose decoder is a `CorrectingDecoder`, and is left out for another.
    ValueError for vectors of another width, of length 0, or with NaN or infinity.
    """
    *_, last = rounds(model, vectors, chain, seed)
    return last


@torch.no_grad()
def rounds(model, vectors, chain: Chain | None = None, seed: int = 0) -> Iterator[list[Inverted]]:
    """What was found so far, after the first texts and after each round: `invert` gives the last."""
    chain, rng = chain or Chain(), np.random.default_rng(seed)
    if not chain.beam and not chain.samples:
        raise ValueError("beam=0 and samples=0: give at least one first text")
    model.eval()
    target = check_targets(model, vectors)
    found = [Inverted() for _ in target]
    everything = list(range(len(found)))
    first = first_texts(model, target, chain, rng)
    rank(model, target, found, everything, first, chain.prior)
    if chain.complements:
        best = [inverted.ranked(chain.kept) for inverted in found]
        rank(model, target, found, everything, complements(model, target, best, chain.complements), chain.prior)
    yield found
    corrects = chain.width and model.config.decoder == "correcting"
    for _ in range(chain.rounds if corrects or chain.children or chain.reworded else 0):
        active = [i for i in everything if not finished(found[i], chain)]
        if not active:
            return
        new: list[list[Ids]] = [[] for _ in active]
        if corrects:
            new = corrections(model, target[active], [found[i] for i in active], chain)
        best = [found[i].ranked(chain.kept) for i in active]
        if chain.children:
            joined, known = chain.complements > 0, [found[i].alternatives for i in active]
            more = changes(model, target[active], best, chain.children, chain.gradient, rng, joined, known)
            new = [a + b for a, b in zip(new, more, strict=True)]
        if chain.reworded:
            more = reworded(model, target[active], best, chain, rng)
            new = [a + b for a, b in zip(new, more, strict=True)]
        rank(model, target, found, active, new, chain.prior)
        yield found


def first_texts(model, target: np.ndarray, chain: Chain, rng: np.random.Generator) -> list[list[Ids]]:
    """The texts of the beam, the greedy one, and the samples, for each target (N, H)."""
    z = torch.from_numpy(target).to(model.device)
    first: list[list[Ids]] = propose(model, z) if chain.beam else [[] for _ in target]
    if chain.beam > 1:
        first = [a + b for a, b in zip(first, propose(model, z, n=chain.beam), strict=True)]
    if chain.samples:
        with seeded(rng):
            drawn = propose(model, z, n=chain.samples, temperature=chain.temperature)
        first = [a + b for a, b in zip(first, drawn, strict=True)]
    return first


def corrections(model, target: np.ndarray, found: Sequence[Inverted], chain: Chain) -> list[list[Ids]]:
    """`width` corrections of each of the best texts of each target (N, H) that were not corrected before."""
    pairs = []
    for i, inverted in enumerate(found):
        fresh = [text for text in inverted.ranked(2 * chain.kept) if text not in inverted.corrected][: chain.kept]
        inverted.corrected.update(fresh)
        pairs += [(i, text) for text in fresh]
    new: list[list[Ids]] = [[] for _ in found]
    if pairs:
        z = torch.from_numpy(target[[i for i, _ in pairs]]).to(model.device)
        for (i, _), texts in zip(pairs, propose(model, z, [text for _, text in pairs], n=chain.width), strict=True):
            new[i] += texts
    return new


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """Samples are drawn from torch's global generator: it is seeded inside, and as it was afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**31)))
        yield


def reworded(
    model, target: np.ndarray, best: Sequence[Sequence[Ids]], chain: Chain, rng: np.random.Generator
) -> list[list[Ids]]:
    """Texts drawn for each target (N, H) out of nothing but the pieces of its best texts."""
    z = torch.from_numpy(target).to(model.device)
    pieces = [{i for text in own for i in text} for own in best]
    hypotheses = [own[0] for own in best] if model.config.decoder == "correcting" else None
    with seeded(rng):
        return propose(model, z, hypotheses, n=chain.reworded, temperature=chain.temperature, allowed=pieces)


def rank(
    model, target: np.ndarray, found: list[Inverted], which: Sequence[int], texts: Sequence[Sequence[Ids]], prior: float
) -> None:
    """Add the texts of the vectors `which`, each read by the encoder once; note the best."""
    unread = [
        (i, text)
        for i, own in zip(which, texts, strict=True)
        for text in dict.fromkeys(as_read(model, own))
        if text not in found[i].cosines
    ]
    if unread:
        owners, new = [i for i, _ in unread], [text for _, text in unread]
        cosines = (embed(model, new) * target[owners]).sum(1)
        for (i, text), cosine in zip(unread, cosines.tolist(), strict=True):
            found[i].cosines[text] = cosine
            found[i].calls += 1
        for k, score in scored(model, target[owners], new, owners, cosines, prior).items():
            found[owners[k]].scores[new[k]] = score
    for i in which:
        found[i].history.append((found[i].best, found[i].cosine))
        found[i].reached.append(max(found[i].cosines.values()) + max(found[i].scores.values()))


def scored(
    model, target: np.ndarray, texts: Sequence[Ids], owners: Sequence[int], cosines: np.ndarray, prior: float
) -> dict[int, float]:
    """Cosine and weighted log-probability of each vector's SCORED nearest texts, by the text's number.

    target (N, H) of the vector of each text; owners (N,): the vector's number.
    """
    nearest = pd.Series(cosines).groupby(np.asarray(owners)).nlargest(SCORED).index.get_level_values(-1).to_numpy()
    scores = cosines[nearest]
    if prior:
        scores = scores + prior * log_probabilities(model, target[nearest], [texts[k] for k in nearest])
    return dict(zip(nearest.tolist(), scores.tolist(), strict=True))


def as_read(model, texts: Sequence[Ids]) -> list[Ids]:
    """The word pieces of the texts as the tokenizer splits them: a decoder may write the same text in other pieces."""
    return [tuple(row[1:-1]) for row in model.encoder.cut_ids(model.text(texts), model.config.max_length)[0]]


def finished(inverted: Inverted, chain: Chain) -> bool:
    """Whether a vector's text is sure, or has not become better for `patience` rounds."""
    reached = inverted.reached
    stuck = len(reached) > chain.patience and reached[-1] <= reached[-1 - chain.patience] + 1e-6
    return inverted.history[-1][1] >= SURE or stuck


def check_targets(model, vectors) -> np.ndarray:
    """The vectors at length 1, (N, H) float32."""
    z = model.check_vectors(vectors)
    largest = np.abs(z).max(1, keepdims=True)
    if zero := np.flatnonzero(largest < ZERO).tolist():
        raise ValueError(f"vectors {zero[:5]} are zero: no text has them")
    return unit(z / largest).astype(np.float32)  # first the largest number, whose square has to be finite
