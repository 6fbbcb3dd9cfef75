"""The smoothness card: what lies between, around and beside a system's vectors, in one row.

    data = CardData.of(material, reference, judge, n=100)
    parts = card_parts(of_codec(model), data)
    card_table({"hybrid_384_long": parts, ...})

Each part is a function of a system and the data, and gives means with 95 % intervals.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd

from invlib.measures.similarity import unit
from invlib.measures.words import words
from invlib.probes.card_data import CardData
from invlib.probes.card_interventions import interventions
from invlib.probes.facts import directions, hard_negatives
from invlib.probes.fragility import fragility
from invlib.probes.midpoints import midpoints
from invlib.probes.systems import System

NEAREST = 10
COLUMNS = ["part", "of", "measure", "n", "mean", "low", "high"]
CARD = {  # a column of the card -> part, of, measure
    "exact": ("fragility", "0.0", "exact"),
    "BLEU, half noise": ("fragility", "0.5", "bleu"),
    "meaning, half noise": ("fragility", "0.5", "cosine"),
    "bits / real": ("midpoints", "neighbours", "bits"),
    "beyond the better end": ("midpoints", "neighbours", "beyond_end"),
    "beyond the nearest headline": ("midpoints", "neighbours", "beyond_nearest"),
    "the same, random pairs": ("midpoints", "random", "beyond_nearest"),
    "new words": ("midpoints", "neighbours", "new_words"),
    "repeats": ("midpoints", "neighbours", "repeats"),
    "largest step": ("midpoints", "neighbours", "step_meaning"),
    "fact changed": ("directions", "all", "changed"),
    "changed, .8 kept": ("directions", "all", "both"),
    "told apart": ("hard_negatives", "all", "told_apart"),
}


def neighbours_lengths(system: System, data: CardData) -> pd.DataFrame:
    """How much neighbours go by length: ratio, one measure, of all of `data.some` (`of`: "all").

    The difference in words between a headline and its ten nearest by cosine, over the mean difference to all others;
    1: a vector knows nothing of the length; 0: neighbours are all as long.
    """
    z, lengths = unit(data.seen(system)), np.array([len(words(text)) for text in data.some])
    differences, cosine = np.abs(lengths[:, None] - lengths), z @ z.T
    np.fill_diagonal(cosine, -np.inf)
    k = min(NEAREST, len(z) - 1)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    near, every = np.take_along_axis(differences, nearest, axis=1).mean(1), differences.sum() / (len(z) - 1) / len(z)
    return data.means(pd.DataFrame({"ratio": near / max(every, 1e-12)}), "all")


def card_parts(system: System, data: CardData) -> pd.DataFrame:
    """Every part of the card that a system can have, in one table: part, of, measure, n, mean, low, high (95 %).

    What needs vectors is left out for a system without, and interventions for one without a prefix; of one that takes
    seconds a text only what lies half way, and along a direction, is measured.
    """
    parts = {"midpoints": midpoints}
    if system.has_vectors:
        parts["directions"] = directions
    if system.has_vectors and not system.costly:
        parts |= {"fragility": fragility, "hard_negatives": hard_negatives, "lengths": neighbours_lengths}
    if system.prefix and not system.costly:
        parts["interventions"] = interventions
    every = [measure(system, data).assign(part=name) for name, measure in parts.items()]
    return pd.concat(every, ignore_index=True)[COLUMNS].assign(judge=data.judge_name)


def smaller(data: CardData, n: int) -> CardData:
    """The same for a system that takes seconds a text: n headlines, three times as many pairs, and as many facts."""
    return dataclasses.replace(data, n=n, pairs={kind: pairs[: 3 * n] for kind, pairs in data.pairs.items()})


def card(parts: pd.DataFrame) -> dict[str, float]:
    """The summary of `card_parts`: the figure of each column of `CARD`, NaN where it was not measured."""
    figures = parts.set_index(["part", "of", "measure"])["mean"].to_dict()
    return {name: figures.get(where, np.nan) for name, where in CARD.items()}


def card_table(systems: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a system, from its `card_parts`: column system, then those of `CARD`."""
    return pd.DataFrame([{"system": name} | card(parts) for name, parts in systems.items()])
