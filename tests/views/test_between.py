"""Figures of the card: every system has its look, what was not measured has no bar."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from invlib.views.between import (
    NONE,
    bars,
    facts_changed,
    figures_table,
    fragility_curves,
    half_way,
    line_of_texts,
    series_styles,
)


def parts() -> pd.DataFrame:
    rows = [
        (name, "fragility", a, measure, 4, 0.5, 0.4, 0.6)
        for name in ("hybrid_384", "packed_ids_384") for a in ("0.0", "0.5", "0.9")
        for measure in ("bleu", "cosine", "exact")
    ]  # fmt: skip
    rows += [("hybrid_384", "midpoints", kind, "bits", 4, 1.5, 1.2, 1.8) for kind in ("neighbours", "random")]
    rows += [("packed_ids_384", "midpoints", "random", "bits", 0, np.nan, np.nan, np.nan)]
    for name, beyond, changed in (("hybrid_384", -0.1, 0.2), ("splice by hand", 0.1, 0.0)):
        rows += [
            (name, "midpoints", "neighbours", measure, 4, beyond, beyond - 0.05, beyond + 0.05)
            for measure in ("beyond_end", "beyond_nearest")
        ]
        rows += [
            (name, "directions", "all", measure, 4, changed, 0.0, changed) for measure in ("changed", "kept", "both")
        ]
    columns = ["system", "part", "of", "measure", "n", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(judge="mpnet")


def test_learned_systems_differ_in_colour_and_controls_are_grey():
    found = series_styles(["hybrid_384", "att_pool_384", "packed_ids_768", "nearest headline"])
    assert (
        found["hybrid_384"]["color"] != found["att_pool_384"]["color"] and float(found["packed_ids_768"]["color"]) < 1
    )


def test_every_system_of_the_card_has_its_own_look():
    names = ["hybrid_384_noise", "hybrid_384_long", "mean_decoder_384", "packed_ids_384", "packed_ids_768"]
    names += ["arithmetic_code_384", "nearest headline", "recombined headlines"]
    found = series_styles(names)
    assert len({(look["color"], look["marker"]) for look in found.values()}) == len(names)
    assert found["packed_ids_384"]["color"] != found["packed_ids_768"]["color"]


def test_a_text_like_the_one_above_is_a_dash():
    table = line_of_texts({"a": ["x", "x", "y"], "b": ["x", "z", "z"]}, (0, 0.5, 1))
    assert table["a"].tolist() == ["x", NONE, "y"] and table["b"].tolist() == ["x", "z", NONE]
    assert list(table.index) == ["0.00", "0.50", "1.00"]


def test_a_curve_for_each_system_and_the_judge_is_named():
    _, axes = plt.subplots(1, 2)
    fragility_curves(axes, parts())
    assert [len(ax.lines) for ax in axes] == [2, 2] and "mpnet" in axes[1].get_ylabel()
    np.testing.assert_allclose(axes[0].lines[0].get_xdata(), [0.0, 0.5, 0.9])
    plt.close("all")


def test_what_was_not_measured_has_no_bar_and_is_a_dash():
    _, (ax, beside) = plt.subplots(1, 2, sharey=True)
    for one in (ax, beside):
        bars(one, parts(), "midpoints", "bits", "bits", ("neighbours", "random"))
    assert ax.yaxis_inverted()  # the first on top, in both
    widths = [bar.get_width() for bar in ax.patches]
    assert widths[0] == 1.5 and np.isnan(widths[1]) and np.isnan(widths[3])
    table = figures_table(parts(), "midpoints", {"bits": "bits / real"}, ("random",))
    assert table["bits / real"].tolist() == ["1.50 [1.20, 1.80]", NONE]
    plt.close("all")


def title_of(ax) -> str:
    """A title stands at the left, or in the middle where another test has not set the workbook's style."""
    return ax.get_title("left") + ax.get_title()


def test_titles_say_what_the_table_says():
    fig, axes = plt.subplots(1, 3, sharey=True)
    half_way(axes, parts())
    titles = [title_of(ax) for ax in axes]
    assert titles[0] == "Beyond the better headline:\nof neighbours splice by hand"
    assert titles[2] == "Bits at most 1.2:\nof neighbours 0 of 1 systems" and len(fig.legends) == 1
    _, axes = plt.subplots(1, 2)
    facts_changed(axes, parts())
    assert title_of(axes[0]) == "Fact changed: most by\nhybrid_384"
    assert title_of(axes[1]) == "Fact changed, rest kept: most by\nhybrid_384"
    plt.close("all")
