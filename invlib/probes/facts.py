"""One fact of a headline changed: as a direction that is added to a vector, and as a hard negative beside it."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtr

from invlib.measures.similarity import unit
from invlib.measures.text import token_f1
from invlib.measures.words import words
from invlib.probes.card_data import CardData
from invlib.probes.systems import System

FACTS = {  # kind -> (word of a headline, the word in its place)
    "direction": (("rises", "falls"), ("fall", "rise"), ("beats", "misses"), ("higher", "lower")),
    "company": (("boeing", "airbus"), ("apple", "amazon"), ("tesla", "uber")),
    "number": (("2019", "2020"), ("two", "three"), ("10", "20")),
}
LEARNED_FROM = 24  # training headlines that give a direction
FEWEST = 2  # of them, below which there is none
NOISE = 0.9  # share of the variance that is noise, at which two vectors are to be told apart: -10 dB


def swapped(text: str, word: str, other: str) -> str | None:
    """The text with a word in another's place; None where it does not hold the word once, or holds the other too."""
    if words(text).count(word) != 1 or other in words(text):
        return None
    return re.sub(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", other, text)


def pairs_of(texts: Sequence[str], word: str, other: str, n: int) -> tuple[list[str], list[str]]:
    """The first n texts that hold a word, and the same with another in its place."""
    found = [(text, new) for text in texts if (new := swapped(text, word, other)) is not None][:n]
    return [text for text, _ in found], [new for _, new in found]


def directions(system: System, data: CardData) -> pd.DataFrame:
    """Facts changed by adding a direction, over test headlines: of each kind of `FACTS`, and of "all" (`of`).

    Measures: changed and kept of `moved`, and both: changed with at least .8 of the other words kept.
    """
    table = pd.concat([moved(system, data, kind) for kind in FACTS], ignore_index=True)
    kinds = {"all": table} | dict(list(table.groupby("kind", sort=False)))
    measured = [data.means(part[["changed", "kept", "both"]], kind) for kind, part in kinds.items()]
    return pd.concat(measured, ignore_index=True)


def moved(system: System, data: CardData, kind: str) -> pd.DataFrame:
    """Each test headline that holds the first word of a fact, its vector moved to the second's, and decoded.

    The direction is the mean, over training headlines with the first word, of the vector of the headline with the
    second word in its place less its own (Mikolov et al., 2013); it is added once. At most `data.asked` headlines a
    fact. Columns kind, word, other, text, found; changed: whether the found text holds the second
    word and no longer the first; kept: F1 of all other words; both.
    """
    asked, vectors = [], []
    for word, other in FACTS[kind]:
        before, after = pairs_of(data.train, word, other, LEARNED_FROM)
        texts, _ = pairs_of(data.test, word, other, data.asked)
        if len(before) < FEWEST or not texts:
            continue
        along = (system.encode(after) - system.encode(before)).mean(0)
        asked += [(word, other, text) for text in texts]
        vectors.append(system.encode(texts) + along)
    rows = []
    decoded = system.decode(np.concatenate(vectors).astype(np.float32)) if asked else []
    for (word, other, text), found in zip(asked, decoded, strict=True):
        own, kept = words(found), f1_without(words(text), words(found), {word, other})
        changed = other in own and word not in own
        rows.append((kind, word, other, text, found, changed, kept, changed and kept >= 0.8))
    table = pd.DataFrame(rows, columns=["kind", "word", "other", "text", "found", "changed", "kept", "both"])
    return table.astype({"changed": bool, "kept": float, "both": bool})


def f1_without(text: Sequence[str], found: Sequence[str], left_out: set[str]) -> float:
    """F1 of two texts' words, each as often as it stands there, without some words."""
    a, b = ([word for word in side if word not in left_out] for side in (text, found))
    return float(token_f1([a], [b])[0])


def hard_negatives(system: System, data: CardData) -> pd.DataFrame:
    """Test headlines beside the same with one fact swapped, either word for the other: of each kind and "all" (`of`).

    Measures: cosine of the two vectors; distance, over that from the headline to the nearest of `data.some`;
    told_apart: how often somebody who knows both vectors, and gets one of them with noise as in `fragility`, a being
    `NOISE`, names the right one; told_apart_plain: the same with the encoder's own embeddings. Two vectors that are d
    standard deviations apart are told apart with probability Phi(sqrt((1 - a) / a) d / 2).
    """
    found = []
    for kind, facts in FACTS.items():
        both_ways = [*facts, *((other, word) for word, other in facts)]
        for word, other in both_ways:
            texts, changed = pairs_of(data.test, word, other, data.asked)
            found += [(kind, *pair) for pair in zip(texts, changed, strict=True)]
    table = pd.DataFrame(found, columns=["kind", "text", "changed"])
    measures = ["cosine", "distance", "told_apart", "told_apart_plain"]
    if len(table):
        own = separations(system, data, list(table["text"]), list(table["changed"]))
        plain = separations(data.nearest, data, list(table["text"]), list(table["changed"]))
        table = table.assign(**own, told_apart_plain=plain["told_apart"])
    else:
        table = table.assign(**dict.fromkeys(measures, 0.0))
    kinds = {"all": table} | dict(list(table.groupby("kind", sort=False)))
    return pd.concat([data.means(part[measures], kind) for kind, part in kinds.items()], ignore_index=True)


def separations(system: System, data: CardData, texts: list[str], changed: list[str]) -> dict[str, np.ndarray]:
    """cosine, distance and told_apart of each pair of texts, (N,), as `hard_negatives` says."""
    z, negative, others = system.encode(texts), system.encode(changed), data.seen(system)
    nearest = np.linalg.norm(z[:, None] - others[None], axis=2).min(1)
    _, spread = data.scale(system)
    apart = np.linalg.norm(((z - negative) / np.maximum(spread, 1e-12))[:, spread > 1e-6], axis=1)
    return {
        "cosine": (unit(z) * unit(negative)).sum(1),
        "distance": np.linalg.norm(z - negative, axis=1) / np.maximum(nearest, 1e-12),
        "told_apart": ndtr(np.sqrt((1 - NOISE) / NOISE) * apart / 2),
    }
