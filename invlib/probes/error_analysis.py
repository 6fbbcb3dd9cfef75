"""Error analysis: accuracy by the frequency of a word piece in training, by length, by domain."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from invlib.measures.intervals import bootstrap, proportion_interval, ratio
from invlib.measures.text import generated_matches

FREQUENCY_EDGES = (-1, 0, 10, 100, 1000, np.inf)  # a word piece's count in the training headlines
FREQUENCY_NAMES = ("never", "1 to 10", "11 to 100", "101 to 1000", "more often")
LENGTHS = (0, 8, 12, 16, 20, 28, np.inf)  # word pieces of a headline, the end token included
LENGTH_NAMES = ("to 8", "9 to 12", "13 to 16", "17 to 20", "21 to 28", "longer")


def position_hits(generated: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], config) -> pd.DataFrame:
    """One row for each true word piece, the end token included: headline, position (from 1), piece, length, right.

    generated: ids without [CLS], reference: ids with [CLS] and [SEP], as `generated_matches` takes them. length:
    the true word pieces of the headline. [UNK] in the reference counts as wrong.
    """
    rows = []
    for k, (ids, full) in enumerate(zip(generated, reference, strict=True)):
        true = list(full)[1:]
        for t, piece in enumerate(true):
            right = t < len(ids) and ids[t] == piece != config.unk_token_id
            rows.append((k, t + 1, piece, len(true), float(right)))
    return pd.DataFrame(rows, columns=["headline", "position", "piece", "length", "right"])


def frequency_bins(pieces: Sequence[int], counts: np.ndarray) -> pd.Categorical:
    """The bin of FREQUENCY_EDGES of each word piece by its count in training; counts (V,)."""
    return pd.cut(np.asarray(counts)[np.asarray(pieces)], FREQUENCY_EDGES, labels=FREQUENCY_NAMES)


def length_bins(lengths: Sequence[int]) -> pd.Categorical:
    """The bin of LENGTHS of each headline by its word pieces."""
    return pd.cut(np.asarray(lengths), LENGTHS, labels=LENGTH_NAMES)


def share_by(table: pd.DataFrame, column: str, n_bootstrap: int = 1000) -> pd.DataFrame:
    """The share of `right`, 0 or 1, for each value of `column`, with its 95 % interval over headlines.

    table: one row a word piece or one a headline, with the column `headline`. Returns `column`, share, low, high and
    n (rows), in the order of the column; groups without a row are left out. Headlines are resampled; where each has
    one row, the interval is `proportion_interval`.
    """
    lines = []
    for name, part in table.groupby(column, observed=True):
        hits, rows = part.groupby("headline")["right"].agg(["sum", "count"]).to_numpy(float).T
        one_each = (rows == 1).all()
        low, high = proportion_interval(hits) if one_each else bootstrap(ratio, hits, rows, n=n_bootstrap)
        lines.append((name, ratio(hits, rows), low, high, len(part)))
    return pd.DataFrame(lines, columns=[column, "share", "low", "high", "n"])


def what_is_lost(
    generated: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], counts: np.ndarray, config,
    n_bootstrap: int = 1000,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Which word pieces and which headlines are wrong: (`position_hits` with the bin "met in training", a table).

    generated, reference: as `generated_matches` takes them; counts (V,) of each piece in training. The table has the
    columns by, group, share, low, high and n: the share of word pieces right by how often they were met in training,
    and the share of headlines decoded exactly by their word pieces.
    """
    hits = position_hits(generated, reference, config)
    hits["met in training"] = frequency_bins(hits["piece"], counts)
    exact = generated_matches(generated, reference, config)["exact"]
    lengths = length_bins([len(ids) - 1 for ids in reference])
    whole = pd.DataFrame({"headline": range(len(exact)), "right": exact, "word pieces": lengths})
    parts = [
        share_by(table, by, n_bootstrap=n_bootstrap).rename(columns={by: "group"}).assign(by=by)
        for by, table in (("met in training", hits), ("word pieces", whole))
    ]
    return hits, pd.concat(parts, ignore_index=True)
