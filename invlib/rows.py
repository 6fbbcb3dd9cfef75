"""THE table of rows: every model of the study, what it is made of, and how it is shown. It imports nothing of invlib.

A row's id stands in its name, `<row id>_<D>`; the order of this table is the order of every table and figure.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One model of the study.

    pooling: the `kind` of a class in models/pooling.py; decoder: that of a class in models/decoders.py.
    reads: what the pooling reads, "states" (the frozen encoder's), "sentence" (its own embedding), "ids" or "nothing".
    fitted: whether the pooling has a `fit`, which training calls once on the training headlines.
    slots: the setting that says how many memory tokens the vector is cut into, "slots" or "queries".
    no_vector: which no-vector control belongs to it: "shared" (one for all of the same decoder) or "own".
    colour: of its family in figures, a colour of the style's cycle.
    """

    pooling: str
    decoder: str
    colour: str
    reads: str = "states"
    fitted: bool = False
    slots: str = "slots"
    no_vector: str = "shared"


ROWS: dict[str, Row] = {
    "rnn": Row("rnn", "lstm", "C0", reads="ids", no_vector="own"),
    "encoder_only": Row("attention", "one_pass", "C1", no_vector="own"),
    "cls_decoder": Row("cls", "transformer", "C2"),
    "mean_decoder": Row("sentence", "transformer", "C7", reads="sentence"),
    "att_pool": Row("attention", "transformer", "C3"),
    "multi_query": Row("multi_query", "transformer", "C5", slots="queries"),
    "hybrid": Row("hybrid", "transformer", "C4", fitted=True, slots="queries"),
    "no_vector": Row("constant", "transformer", "C6", reads="nothing"),
}

SIZED = "sized"  # the variant of the poolings that 08 compares at every size, and no other table shows
ABLATIONS = {  # variants that the appendix trains for its own table, and what is changed in each
    "plain": "nothing: the whole design",
    "no_position_start": "queries start anywhere",
    "last_only": "word embeddings not read",
    "slots": "even slots, whatever the length",
    "own_words": "the decoder learns its own words",
    "no_added": "no added sentences",
    "no_noise": "no noise in training",
    "between": "training between the vectors too",
    "no_prefix": "code alone, no prefix",
    "mine": "your variant",
}


def model_name(row: str, embedding_dim: int, variant: str | None = None) -> str:
    """The name of a model: `<row id>_<D>`, with `_<variant>` where there are several."""
    return f"{row}_{embedding_dim}" + (f"_{variant}" if variant else "")


def split_row_name(name: str) -> tuple[str, int | str, str | None]:
    """'att_pool_768' -> ('att_pool', 768, None); the dimension may be H, the encoder's hidden size."""
    match = re.fullmatch(rf"({'|'.join(ROWS)})_(\d+|H)(?:_(\w+))?", name)
    if not match:
        raise ValueError(f"unknown row {name!r}; a row is one of {', '.join(ROWS)}, then _ and its D: att_pool_768")
    row, dim, variant = match.groups()
    return row, dim if dim == "H" else int(dim), variant
