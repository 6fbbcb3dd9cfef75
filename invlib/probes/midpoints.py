"""What a system says half way between two headlines, and how evenly it gets from one to the other."""

import numpy as np
import pandas as pd

from invlib.measures.similarity import unit
from invlib.measures.text import token_f1
from invlib.measures.words import repeats_itself, share_new, words
from invlib.probes.card_data import CardData
from invlib.probes.systems import System

POINTS = np.linspace(0, 1, 10)  # of a line, its ends included


def midpoints(system: System, data: CardData) -> pd.DataFrame:
    """The means of `at_half` over the pairs of each kind (`of`), and of `steps` over a quarter of n of them."""
    parts = [pd.DataFrame(columns=["of", "measure"])]
    for kind, pairs in data.pairs.items():
        if len(pairs):
            parts.append(data.means(at_half(system, data, pairs).drop(columns="text"), kind))
            parts.append(data.means(steps(system, data, pairs[: max(2, data.n // 4)]), kind))
    return pd.concat(parts, ignore_index=True)


def at_half(system: System, data: CardData, pairs: np.ndarray) -> pd.DataFrame:
    """The text half way, one row for each of the pairs (P, 2).

    text; bits: bits a word piece over those of the pairs' own headlines, missing for an empty text; by the judge, the
    text's cosine to the midpoint of both ends' embeddings: cosine, beyond_end (less that of the better end) and
    beyond_nearest (less that of the training headline whose embedding is nearest to the midpoint of both ends');
    farther_end: its cosine to the end that it is less like; new_words: share of its content words from neither end;
    repeats: whether it says something twice; empty.
    """
    first, second = ([data.test[k] for k in side] for side in pairs.T)
    (texts,) = system.on_the_way(first, second)
    (nearest,) = data.nearest.on_the_way(first, second)
    a, b, own, retrieved = (data.judge.embed(side) for side in (first, second, texts, nearest))
    middle = unit(a + b)
    cosine = (own * middle).sum(1)
    real = np.mean(data.bits([*first, *second]))
    return pd.DataFrame(
        {
            "text": texts, "bits": data.bits(texts) / real, "cosine": cosine,
            "beyond_end": cosine - np.maximum((a * middle).sum(1), (b * middle).sum(1)),
            "beyond_nearest": cosine - (retrieved * middle).sum(1),
            "farther_end": np.minimum((own * a).sum(1), (own * b).sum(1)),
            "new_words": [share_new(text, ends) for text, *ends in zip(texts, first, second, strict=True)],
            "repeats": [repeats_itself(text) for text in texts],
            "empty": [not text.strip() for text in texts],
        }
    )  # fmt: skip


def steps(system: System, data: CardData, pairs: np.ndarray) -> pd.DataFrame:
    """The largest of the steps between the texts of `POINTS` on the line from one headline to the other, a row a pair.

    step_words: 1 - F1 of two successive texts' words; step_meaning: 1 - their cosine by the judge.
    """
    first, second = ([data.test[k] for k in side] for side in pairs.T)
    line = system.on_the_way(first, second, POINTS)
    in_words, in_meaning = [], []
    for before, after in zip(line, line[1:], strict=False):
        same = np.array([x == y for x, y in zip(before, after, strict=True)])
        in_words.append(1 - token_f1(list(map(words, before)), list(map(words, after))))
        in_meaning.append(1 - data.judge.cosines(before, after))
        in_words[-1][same] = in_meaning[-1][same] = 0
    return pd.DataFrame({"step_words": np.max(in_words, axis=0), "step_meaning": np.max(in_meaning, axis=0)})
