"""Who decides what is decoded: the parts of a vector that has a semantic prefix, set to zero or exchanged."""

import numpy as np
import pandas as pd

from invlib.measures.text import token_f1
from invlib.measures.words import words
from invlib.probes.between_vectors import disjoint_pairs
from invlib.probes.card_data import CardData
from invlib.probes.interventions import operated
from invlib.probes.systems import System

MADE = {  # what is done, in the card's words -> one of INTERVENTIONS
    "prefix zeroed": "prefix set to zero",
    "code zeroed": "code set to zero",
    "another's prefix": "another's prefix",
}


def interventions(system: System, data: CardData) -> pd.DataFrame:
    """What n test headlines' vectors say when a part is set to zero, or is another headline's (`of`).

    Measures, of the text against the headline whose prefix it has and against the one whose code: exact_prefix and
    exact_code, shares of equal texts; words_prefix and words_code, F1 of the words; cosine_prefix and cosine_code, by
    the judge. Where a part is zero, both are the same headline. ValueError for a system without a prefix.
    """
    if not system.prefix:
        raise ValueError("this system's vectors have no semantic prefix, so there are no parts to exchange")
    pairs = disjoint_pairs(len(data.test), (data.n + 1) // 2, data.seed)
    first, second = ([data.test[k] for k in side] for side in np.concatenate([pairs, pairs[:, ::-1]]).T)
    z = system.encode(first)
    other = np.roll(z, len(pairs), axis=0)  # the second one's
    lines = []
    made = {name: operated(z, other, system.prefix, intervention) for name, intervention in MADE.items()}
    decoded = system.decode(np.concatenate(list(made.values())))
    for k, name in enumerate(made):
        found, table = decoded[k * len(first) : (k + 1) * len(first)], pd.DataFrame(index=range(len(first)))
        for part, owners in (("prefix", second if name == "another's prefix" else first), ("code", first)):
            table[f"exact_{part}"] = [a == b for a, b in zip(found, owners, strict=True)]
            table[f"words_{part}"] = token_f1(list(map(words, found)), list(map(words, owners)))
            table[f"cosine_{part}"] = data.judge.cosines(found, owners)
        lines.append(data.means(table, name))
    return pd.concat(lines, ignore_index=True)
