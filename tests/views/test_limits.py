"""Figures of 08: each model has its look, titles come from the tables, the limit's line is the channel's."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from invlib.measures.channel import channel_bits, noise_of_db
from invlib.views import limits


def noisy() -> pd.DataFrame:
    exact = {"hybrid_384_noise": (1.0, 0.6, 0.2), "arithmetic_code": (1.0, 1.0, 0.4), "packed_ids": (1.0, 0.7, 0.7)}
    rows = [
        (name, db, 384, share, share, share, share, share, share, 100 * share, 90 * share, 100 * share)
        for name, shares in exact.items() for db, share in zip((np.inf, 6.0, 0.0), shares, strict=True)
    ]  # fmt: skip
    columns = ["model", "snr_db", "D", *limits.MEASURES["headlines exactly right"]]
    columns += [*limits.MEASURES["word pieces right"], "exact_bits", "exact_bits_low", "exact_bits_high"]
    return pd.DataFrame(rows, columns=columns)


def test_the_fewest_numbers_are_those_of_the_channel():
    found = limits.enough(0, 100)
    assert channel_bits(found, 1.0) >= 100 > channel_bits(found - 1, 1.0)
    assert limits.enough(6, 100) < found  # less noise, fewer numbers


def test_half_of_the_headlines_lies_between_measured_levels():
    half = limits.half_exact(noisy()).set_index("model").squeeze()
    assert half["hybrid_384_noise"] == pytest.approx(4.5) and half["arithmetic_code"] == pytest.approx(1.0)
    assert np.isnan(half["packed_ids"])  # more than half at every level
    title = limits.half_title(noisy())
    assert "arithmetic_code down to 1.0 dB" in title and "hybrid_384_noise down to 4.5 dB" in title


def test_titles_say_so_where_nothing_is_half_exact():
    nothing = noisy().assign(exact_match=0.1)
    assert "at no measured noise" in limits.half_title(nothing)
    assert "no control" in limits.size_title(nothing, 6)
    assert limits.size_title(noisy(), 6).endswith("arithmetic_code from D = 384, packed_ids from D = 384")


def test_the_smallest_size_that_gives_half_back():
    both = pd.concat([noisy().assign(D=384), noisy().assign(D=128)])
    table = limits.smallest_sizes(both)
    assert table.columns.tolist() == ["no noise", "6 dB", "0 dB"]
    assert table.loc["arithmetic_code"].tolist() == ["128", "128", limits.NONE]
    assert set(limits.smallest_sizes(noisy().assign(exact_match=0.1)).to_numpy().flat) == {limits.NONE}


def test_a_reader_sees_each_level_and_deepsc_apart():
    rows = noisy().assign(noise=noisy()["snr_db"].map(noise_of_db), bleu_1=0.25, efficiency=0.125)
    table = limits.noise_table(rows)
    assert table["noise"].tolist() == ["no noise"] * 3 + ["6 dB"] * 3 + ["0 dB"] * 3
    assert table["exact [95 %]"].tolist()[3] == "0.600 [0.600, 0.600]"
    assert table["bits given back / limit"].tolist()[2:4] == [limits.NONE, "0.125"]  # no noise, no limit
    assert table.iloc[:, -1].tolist()[2::3] == [limits.NONE, "0.885", "0.610"] and "other text" in table.columns[-1]


def test_every_model_has_its_look_and_none_has_the_limits_colour():
    learned = [f"hybrid_{k}" for k in range(5)]
    found = limits.series_styles([*learned, *limits.CONTROLS])
    assert len({str(look) for look in found.values()}) == len(found)
    assert "C0" not in {look["color"] for look in found.values()}


def title_of(ax) -> str:
    """A title stands at the left, or in the middle where another test has not set the workbook's style."""
    return ax.get_title("left") + ax.get_title()


def test_a_panel_a_level_and_a_curve_a_model():
    _, axes = plt.subplots(1, 3)
    limits.by_size(axes, noisy(), 100)
    assert [title_of(ax) for ax in axes] == ["no noise", "6 dB", "0 dB"]
    assert [len(ax.lines) for ax in axes] == [
        4,
        5,
        5,
    ]  # the limit, where there is noise; the mean headline; three models
    _, ax = plt.subplots()
    limits.by_noise(ax, noisy(), "word pieces right")
    assert len(ax.lines) == 3 and list(ax.lines[0].get_xdata()) == [limits.NO_NOISE, 6, 0]
    limits.headlines_that_fit(ax, np.array([0.0, 1e9]), 384)
    assert set(ax.lines[-1].get_ydata()) == {0.5}
    limits.limit(ax := plt.subplots()[1], np.array([90.0, 110.0]))
    assert f"{limits.enough(0, 100)} at 0 dB" in title_of(ax) and noise_of_db(0) == 1
    plt.close("all")


def test_poolings_stand_beside_the_controls_at_each_size():
    columns = {"snr_db": np.inf, "steps": 7, "exact_match": 0.5, "exact_low": 0.4, "exact_high": 0.6}
    rows = [("hybrid", 64, 0.7), ("hybrid", 128, 0.9), ("att_pool", 32, 0.1), ("att_pool", 128, 0.25)]
    found = pd.DataFrame(rows, columns=["model", "D", "generated_accuracy"]).assign(**columns, low=0.0, high=1.0)
    noise = found.assign(snr_db=6.0, generated_accuracy=0.0)
    _, ax = plt.subplots()
    limits.by_pooling(ax, pd.concat([found, noise]), noisy(), "word pieces right")
    lines = {line.get_label(): line.get_ydata().tolist() for line in ax.lines}
    assert lines["hybrid"] == [0.7, 0.9] and lines["att_pool"] == [0.1, 0.25] and lines["packed_ids"] == [1.0]
    assert "hybrid_384_noise" not in lines  # it had another training
    title = "Word pieces right in 128 numbers after 7 steps: hybrid 90% and att_pool 25%"
    assert limits.pooling_title(pd.concat([found, noise])) == title
    apart = found[(found["D"] == 64) | (found["D"] == 32)]
    assert limits.pooling_title(apart) == "Poolings of equal training"
