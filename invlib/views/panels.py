"""Figures of 05 and 07 in several parts: searches by time, errors by group, the two virtues and their corner."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from invlib.views import plots

LEAST = 10  # of a group, that a share is drawn for
CORNER = 0.84, 0.95  # exact match and rank correlation, from which on the corner is drawn once more


def searches(ax: Axes, table: pd.DataFrame) -> Axes:
    """Accuracy against time, a colour a model and a marker a search.

    table: columns model, search, decode_ms, generated_accuracy, low, high.
    """
    models, kinds = table["model"].unique().tolist(), table["search"].unique().tolist()
    for line in table.to_dict("records"):
        color, marker = f"C{models.index(line['model'])}", "osD^v"[kinds.index(line["search"])]
        at, interval = ([line["decode_ms"]], [line["generated_accuracy"]]), [line["low"], line["high"]]
        plots.scatter_with_intervals(ax, *at, None, [interval], color=color, marker=marker)
    of_models = [Line2D([], [], color=f"C{k}", linewidth=5, label=plots.literal(name)) for k, name in enumerate(models)]
    of_kinds = [
        Line2D([], [], color="0.3", linestyle="", marker=m, label=name) for m, name in zip("osD^v", kinds, strict=False)
    ]
    ax.figure.legend(handles=of_models + of_kinds, loc="outside right center")
    ax.set_xscale("log")
    ax.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator(), major_formatter="{x:g}")
    return ax


def large_groups(lost: pd.DataFrame) -> pd.DataFrame:
    """The groups of `what_is_lost` of at least `LEAST` members, and the largest of each kind whatever its size."""
    return lost[(lost["n"] >= LEAST) | (lost["n"] == lost.groupby("by")["n"].transform("max"))]


def errors(axes: Sequence[Axes], shown: pd.DataFrame, xlabels: Sequence[str]) -> None:
    """What is wrong, in per cent with 95 % intervals, an axes a kind of group; shown: of `large_groups`."""
    for ax, (by, part), xlabel in zip(axes, shown.groupby("by", sort=False), xlabels, strict=True):
        labels = [f"{group} (n = {n:,})" for group, n in zip(part["group"], part["n"], strict=True)]
        wrong = (100 * (1 - part["share"])).tolist()
        ends = (100 * (1 - part[["high", "low"]])).to_numpy().tolist()
        plots.bars_with_intervals(ax, labels, wrong, ends, xlabel, "{:.1f} %").set_xlim(left=0)
        ax.set_ylabel(by)


def virtues(points: pd.DataFrame) -> Figure:
    """Exact match against agreement; beside it the upper right corner, where a learned model is in it, with names.

    points: as `plots.exact_match_vs_agreement` takes them; those whose label begins with packed_ids are larger.
    """
    packed = points["label"].str.startswith("packed_ids")
    corner = ((points["exact_match"] > CORNER[0]) & (points["rank_correlation"] > CORNER[1])).any()
    fig, axes = plt.subplots(1, 1 + corner, figsize=(13, 7.3), squeeze=False, layout="constrained")
    for k, ax in enumerate(axes.flat):
        plots.exact_match_vs_agreement(ax, points[packed], s=110)
        plots.exact_match_vs_agreement(ax, points[~packed], names=0.99 if k else None)
    if corner:
        axes[0, 1].set(xlim=(CORNER[1], 1.004), ylim=(CORNER[0], 1.015), ylabel="", title="the corner, larger")
        axes[0, 0].indicate_inset_zoom(axes[0, 1])
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=11)
    return fig
