"""Surgery on vectors of two halves: what is decoded when the prefix or the code is missing, or another headline's."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from invlib.measures.intervals import bootstrap, proportion_interval, ratio, with_ends
from invlib.measures.similarity import unit
from invlib.measures.text import generated_matches
from invlib.models.codec import Codec
from invlib.probes.latent import prefix_of

INTERVENTIONS = {  # what is done -> whose prefix and whose code the decoder gets; None: zeros
    "nothing": ("own", "own"),
    "prefix set to zero": (None, "own"),
    "another's prefix": ("other", "own"),
    "another's code": ("own", "other"),
    "code set to zero": ("own", None),
}


def operated(z: np.ndarray, other: np.ndarray, size: int, intervention: str) -> np.ndarray:
    """Vectors (N, D) after one of INTERVENTIONS, (N, D). other (N, D): each one's other; size: numbers of the prefix.

    ValueError for an unknown intervention.
    """
    if intervention not in INTERVENTIONS:
        raise ValueError(f"unknown intervention {intervention!r}; choose from {', '.join(INTERVENTIONS)}")
    sources = {"own": z, "other": other, None: np.zeros_like(z)}
    prefix, code = (sources[whose] for whose in INTERVENTIONS[intervention])
    return np.concatenate([prefix[:, :size], code[:, size:]], axis=1)


def interventions(
    model: Codec, z: np.ndarray, ids: Sequence[Sequence[int]], sentence: np.ndarray, n_bootstrap: int = 1000
) -> pd.DataFrame:
    """Who decides what is decoded: one row for each of INTERVENTIONS.

    z (N, D): the headlines' vectors; ids: their word pieces, [CLS] and [SEP] included; sentence (N, H): the encoder's
    own embeddings of them. A headline's other is the next; the last's, the first. ValueError for fewer than two
    headlines and for a model without a prefix.

    Columns: intervention; for `own`, the headline that the vector was made of, and for `other`, the one whose half it
    was given (the next headline where none was): exact_<whose>, the share of headlines that are decoded exactly, and
    pieces_<whose>, the share of positions right, each with _low and _high (95 %); cosine_<whose>, the mean cosine of
    the decoded text's embedding to that headline's; n.
    """
    if len(z) < 2:
        raise ValueError(f"{len(z)} headlines: give at least 2, each is the other of one")
    size, z, whose = prefix_of(model), model.check_vectors(z), {"own": 0, "other": -1}
    references = {name: [*ids[-shift:], *ids[:-shift]] for name, shift in whose.items()}
    embeddings = {name: unit(np.roll(sentence, shift, axis=0)) for name, shift in whose.items()}
    rows = []
    for name in INTERVENTIONS:
        generated = model.generate_ids(operated(z, np.roll(z, -1, axis=0), size, name))
        decoded = embedded(model, model.text(generated))
        row: dict = {"intervention": name}
        for side in whose:
            found = generated_matches(generated, references[side], model.config)
            counted = found["right"], found["positions"]
            row |= with_ends(f"exact_{side}", found["exact"].mean(), *proportion_interval(found["exact"]))
            row |= with_ends(f"pieces_{side}", ratio(*counted), *bootstrap(ratio, *counted, n=n_bootstrap))
            row[f"cosine_{side}"] = float((decoded * embeddings[side]).sum(1).mean())
        rows.append(row | {"n": len(z)})
    return pd.DataFrame(rows)


def embedded(model: Codec, texts: Sequence[str]) -> np.ndarray:
    """The encoder's own embeddings of texts, of length 1: (N, H); zeros for an empty text."""
    found = np.zeros((len(texts), model.encoder.hidden_size), dtype=np.float32)
    if filled := [k for k, text in enumerate(texts) if text.strip()]:
        own = model.encoder.sentence_embedding([texts[k] for k in filled], model.config.max_length)
        found[filled] = unit(own.numpy())
    return found
