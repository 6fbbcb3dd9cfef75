"""Errors are counted at the true word pieces, and intervals are over headlines."""

import numpy as np
import pandas as pd
import pytest

from invlib.measures.intervals import proportion_interval
from invlib.measures.text import generated_matches
from invlib.probes.error_analysis import (
    FREQUENCY_NAMES,
    LENGTH_NAMES,
    frequency_bins,
    length_bins,
    position_hits,
    share_by,
    what_is_lost,
)


@pytest.fixture
def config(tiny_model):
    return tiny_model("no_vector").config


def test_hits_are_those_of_generated_matches(config):
    end, unknown = config.eos_token_id, config.unk_token_id
    generated = [[5, 6, end], [5, 7, 7, end], [unknown, end]]
    true = [[config.bos_token_id, 5, 6, end], [config.bos_token_id, 5, 6, end], [config.bos_token_id, unknown, end]]
    table = position_hits(generated, true, config)
    assert table.right.tolist() == [1, 1, 1, 1, 0, 0, 0, 1] and table.length.tolist() == [3] * 6 + [2] * 2
    assert table.position.tolist() == [1, 2, 3, 1, 2, 3, 1, 2] and table.piece.tolist()[:2] == [5, 6]
    found = generated_matches(generated, true, config)
    np.testing.assert_array_equal(table.groupby("headline")["right"].sum(), found["right"])


def test_bins_have_their_ends_on_the_left():
    counts = np.array([0, 1, 10, 11, 100, 1000, 1001])
    assert list(frequency_bins(range(7), counts)) == [FREQUENCY_NAMES[k] for k in (0, 1, 1, 2, 2, 3, 4)]
    assert list(length_bins([3, 8, 9, 28, 29])) == [LENGTH_NAMES[k] for k in (0, 0, 1, 4, 5)]


def test_a_share_weighs_its_rows_and_resamples_headlines(config):
    end = config.eos_token_id
    true = [[0, 5, 5, end]] * 6
    generated = [[5, 5, end]] * 3 + [[9, 9, 9, end]] * 3  # whole headlines right or wrong
    table = position_hits(generated, true, config)
    table["met"] = frequency_bins(table["piece"], np.where(np.arange(200) == 5, 3, 0))
    found = share_by(table, "met", n_bootstrap=400).set_index("met")
    assert found.index.tolist() == ["never", "1 to 10"] and found.n.tolist() == [6, 12]
    assert (found.share == 0.5).all() and (found.low < 0.2).all() and (found.high > 0.8).all()


def test_a_share_of_headlines_has_wilsons_interval():
    table = pd.DataFrame({"headline": range(20), "right": [1.0] * 20, "length": ["to 8"] * 10 + ["longer"] * 10})
    found = share_by(table, "length", n_bootstrap=50)
    assert (found.share == 1).all() and (found.high == 1).all()
    assert found.low.tolist() == [proportion_interval(np.ones(10))[0]] * 2


def test_what_is_lost_counts_pieces_and_headlines(config):
    end = config.eos_token_id
    true = [[config.bos_token_id, *pieces, end] for pieces in ([5, 6], [5] * 9, [5] * 7)]  # the last: 8 with its end
    generated = [[5, 7, end], [*[5] * 9, end], [*[5] * 7, end]]
    counts = np.zeros(200)
    counts[[5, 6]] = 2000, 3
    hits, table = what_is_lost(generated, true, counts, config, n_bootstrap=20)
    wrong = hits[hits["right"] == 0]
    assert wrong["piece"].tolist() == [6] and wrong["met in training"].tolist() == ["1 to 10"]
    shares = table.set_index(["by", "group"])["share"]
    assert shares["met in training", "1 to 10"] == 0 and shares["met in training", "more often"] == 1
    assert shares["word pieces", "to 8"] == 0.5 and shares["word pieces", "9 to 12"] == 1
    assert table.columns.tolist() == ["group", "share", "low", "high", "n", "by"]
