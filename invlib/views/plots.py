"""Figures: each function draws on an `ax`, names its axes with units, and returns the `ax`."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from invlib import paths
from invlib.measures.metrics import METRICS
from invlib.models.code_layout import layout
from invlib.rows import ROWS

STYLE = Path(__file__).with_name("invlib.mplstyle")
NAMES = {  # columns of a curve or a table -> the label of the axis
    "epoch": "epochs",
    "step": "steps",
    "minutes": "training time (minutes)",
    "train_loss": "training loss (nats per word piece)",
    "validation_loss": "validation loss (nats per word piece)",
    "sent_sim_loss": "sent_sim_loss (1 - cosine)",
    "learning_rate": "learning rate",
} | {metric.name: metric.label for metric in METRICS}
OTHERS = ["C5", "C6"]  # colours of what is no row
MARKERS = "o^Dvp<>*P"
Interval = Sequence[float] | None  # [low, high]; None where it was not measured


def use_style() -> None:
    """The workbook's one style, for every figure from here on; in tables sentences are whole and dollars no formula."""
    plt.style.use(STYLE)
    pd.set_option("display.max_colwidth", 120, "display.max_rows", 100)
    pd.set_option("display.html.use_mathjax", False, "styler.html.mathjax", False)


def literal(text) -> str:
    """A text as matplotlib draws it literally: two dollars would make a formula of the text between them."""
    return str(text).replace("$", r"\$")


def save_figure(fig: Figure, name: str, run: str | Path | None = None) -> Path:
    """`write_png` to <run>/figures/<name>.png."""
    return write_png(fig, paths.run_folder(run) / "figures" / f"{name}.png")


def write_png(fig: Figure, path: Path) -> Path:
    """Write a figure by `paths.renamed`, and return its path."""
    with paths.renamed(path) as partial:
        fig.savefig(partial, format="png", metadata={"Software": None})  # no version in it: same figure, same bytes
    return path


def curve_axes(ax: Axes, curves: pd.DataFrame, column: str, label: str | None = None, x: str = "epoch", **line) -> Axes:
    """One training curve: `column` over `x` ("epoch", "step" or "minutes"), its points marked.

    curves: the frame of `training.train` or of <run>/curves/<name>.csv; points that were not measured are left out.
    """
    if missing := {column, x} - set(curves.columns):
        raise ValueError(f"the curves have no {', '.join(sorted(missing))}; they have {', '.join(curves.columns)}")
    shown = curves[[x, column]].astype(float).dropna()
    ax.plot(shown[x], shown[column], **{"marker": "o", "label": label, **line})
    return label_axes(ax, NAMES.get(x, x), NAMES.get(column, column))


def bars_with_intervals(
    ax: Axes, labels: Sequence[str], values: Sequence[float | None], intervals: Sequence[Interval] | None = None,
    xlabel: str = "", number: str = "{:.3g}", color: str | Sequence[str] | None = None,
) -> Axes:  # fmt: skip
    """Horizontal bars, the first on top, each with its value and its 95 % interval [low, high].

    A value of None was not measured: it has no bar and is labelled so.
    """
    at = np.arange(len(labels))
    heights = [0.0 if v is None else v for v in values]
    ax.barh(at, heights, height=0.62, color=color or "C0")
    ends = _whiskers(ax, at, values, intervals or [None] * len(values))
    for y, value, end in zip(at, values, ends, strict=True):
        text = " not measured" if value is None else " " + number.format(value)
        where = {"xy": (max(end, 0), y), "xytext": (3, 0), "textcoords": "offset points"}
        ax.annotate(text, **where, va="center", ha="left", bbox={"color": "white", "alpha": 0.85, "pad": 0.5})
    ax.set_yticks(at, map(literal, labels))
    ax.invert_yaxis()
    ax.margins(x=0.16)
    ax.grid(False, axis="y")
    return label_axes(ax, xlabel)


def grouped_bars(
    ax: Axes, labels: Sequence[str], groups: Mapping[str, Sequence[float | None]],
    intervals: Mapping[str, Sequence[Interval]] | None = None, xlabel: str = "",
) -> Axes:  # fmt: skip
    """Horizontal bars side by side: for each label one bar a group (say: the model, its shuffled control)."""
    width = 0.8 / max(len(groups), 1)
    at = np.arange(len(labels))
    for k, (name, values) in enumerate(groups.items()):
        place = at + (k - (len(groups) - 1) / 2) * width
        ax.barh(place, [np.nan if v is None else v for v in values], height=0.9 * width, label=literal(name))
        _whiskers(ax, place, values, (intervals or {}).get(name) or [None] * len(labels))
    ax.set_yticks(at, map(literal, labels))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.legend()
    return label_axes(ax, xlabel)


def _whiskers(ax: Axes, at, values, intervals) -> list[float]:
    """Horizontal intervals at the heights `at`; returns where each bar with its whisker ends."""
    ends = []
    for y, value, interval in zip(at, values, intervals, strict=True):
        ends.append(value or 0.0)
        if value is not None and interval is not None:
            ax.plot(interval, [y, y], color="#222222", linewidth=1.6, marker="|", markersize=9)
            ends[-1] = max(value, interval[1])
    return ends


def line_with_band(ax: Axes, x, y, low=None, high=None, label: str | None = None, **line) -> Axes:
    """A line and, where both are given, the band between `low` and `high`, in the same colour."""
    (drawn,) = ax.plot(x, y, label=label, **line)
    if low is not None and high is not None:
        ax.fill_between(x, low, high, color=drawn.get_color(), alpha=0.18, linewidth=0)
    return ax


def accuracy_by_position(
    ax: Axes, table: pd.DataFrame, label: str | None = None, x: str = "position",
    xlabel: str = "position in the headline (word pieces)", **line,
) -> Axes:  # fmt: skip
    """Accuracy over the position (or, with x="length", the headline's length), with its 95 % band.

    table: columns `x`, accuracy and, where measured, low and high; all accuracies from 0 to 1.
    """
    line_with_band(
        ax, table[x], table["accuracy"], table.get("low"), table.get("high"), label, **{"marker": "o", **line}
    )
    ax.set_ylim(0, 1)
    return label_axes(whole_numbers(ax), xlabel, "share of word pieces right")


def heatmap(
    ax: Axes, matrix, xlabels: Sequence[str] | None = None, ylabels: Sequence[str] | None = None,
    label: str = "", number: str | None = "{:.2f}", **image,
) -> Axes:  # fmt: skip
    """A matrix as colours with a named colour bar; `number` writes each value too, None leaves them out."""
    matrix = np.asarray(matrix, dtype=float)
    drawn = ax.imshow(matrix, aspect="auto", **image)
    for axis, names in ((ax.xaxis, xlabels), (ax.yaxis, ylabels)):
        if names is not None:
            axis.set_ticks(range(len(names)), map(literal, names))
    if number:
        for (i, j), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                colour = readable_on(drawn.cmap(drawn.norm(value)))
                ax.text(j, i, number.format(value), ha="center", va="center", color=colour)
    ax.grid(False)
    ax.figure.colorbar(drawn, ax=ax, label=label)
    return ax


def scatter_with_intervals(
    ax: Axes, x: Sequence[float], y: Sequence[float], x_intervals: Sequence[Interval] | None = None,
    y_intervals: Sequence[Interval] | None = None, labels: Sequence[str] | None = None, **points,
) -> Axes:  # fmt: skip
    """Points with 95 % intervals [low, high] along either axis, each named where labels are given."""
    for k, (a, b) in enumerate(zip(x, y, strict=True)):
        if x_intervals is not None and x_intervals[k] is not None:
            ax.plot(x_intervals[k], [b, b], color="#888888", linewidth=1.4, zorder=1)
        if y_intervals is not None and y_intervals[k] is not None:
            ax.plot([a, a], y_intervals[k], color="#888888", linewidth=1.4, zorder=1)
        if labels is not None:
            ax.annotate(literal(labels[k]), (a, b), xytext=(7, 6), textcoords="offset points")
    ax.scatter(x, y, **{"s": 60, "zorder": 2, **points})
    return ax


def code_layout_axes(ax: Axes, pieces: Sequence[str], size: int, places: int) -> Axes:
    """Which of a code's `size` numbers belong to which word piece of a sentence, at most `places` each."""
    piece, _, there = (part[0].numpy() for part in layout(torch.tensor([len(pieces)]), size, places))
    grid = np.full((len(pieces), size), np.nan)
    grid[piece[there], np.flatnonzero(there)] = 1
    ax.imshow(grid, aspect="auto", interpolation="none", cmap="Blues", vmin=0, vmax=1.3)
    ax.set_yticks(range(len(pieces)), map(literal, pieces), fontsize=10)
    ax.grid(False)
    return label_axes(ax, "number of the code")


def series_styles(labels: Sequence[str]) -> list[dict]:
    """A colour for each row (how a label begins), a marker for each model of it; packed_ids has greys."""
    found, colours, others = {}, {name: row.colour for name, row in ROWS.items()}, itertools.cycle(OTHERS)
    members: Counter[str] = Counter()
    for label in dict.fromkeys(labels):
        family = next((name for name in (*ROWS, "packed_ids") if label.startswith(name)), label)
        if family == "packed_ids":
            found[label] = {"color": f"{max(0.75 - 0.2 * members[family], 0):.2f}", "marker": "s"}
        else:
            colours[family] = colours.get(family) or next(others)
            found[label] = {"color": colours[family], "marker": MARKERS[members[family] % len(MARKERS)]}
        members[family] += 1
    return [dict(found[label]) for label in labels]


def exact_match_vs_agreement(ax: Axes, points: pd.DataFrame, names: float | None = None, **style) -> Axes:
    """Exact match against the rank correlation with the encoder: one point a model, named in the legend.

    points: columns label, exact_match, rank_correlation and, where measured, <either>_low and <either>_high.
    names: write each name beside its point as well, to the left from this rank correlation on. style: of all points,
    in place of their own.
    """
    for point, look in zip(points.to_dict("records"), series_styles(points["label"]), strict=True):
        ends = [[point.get(f"{name}_low"), point.get(f"{name}_high")] for name in ("rank_correlation", "exact_match")]
        sideways, upright = ([None if pd.isna(end[0]) else end] for end in ends)
        x, y = point["rank_correlation"], point["exact_match"]
        scatter_with_intervals(ax, [x], [y], sideways, upright, **{**look, "label": literal(point["label"]), **style})
        if names is not None:
            across, ha = (-9, "right") if x > names else (9, "left")
            others = points["exact_match"] - y
            up, va = 0 if ha == "left" else -7, "center"
            if others.between(0, 0.015, "neither").any():  # another name is just above
                up, va = -6, "top"
            elif others.between(-0.015, 0, "neither").any():
                up, va = 6, "bottom"
            look = {"textcoords": "offset points", "va": va, "ha": ha, "fontsize": 12}
            ax.annotate(literal(point["label"]), (x, y), (across, up), **look)
    ax.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    return label_axes(ax, NAMES["rank_correlation"], NAMES["exact_match"])


def side_by_side(points: pd.DataFrame, near: float) -> np.ndarray:
    """Positions on a log axis of points (columns numbers, bits): those of one size and nearly equal bits spread out."""
    at = points["numbers"].to_numpy(float).copy()
    for _, part in points.reset_index(drop=True).sort_values("bits").groupby("numbers"):
        for _, close in part.groupby((part["bits"].diff() > near).cumsum()):
            at[close.index] *= 1.035 ** (np.arange(len(close)) - (len(close) - 1) / 2)
    return at


def bits_by_size(ax: Axes, points: pd.DataFrame, ceiling_bits: float) -> Axes:
    """Recovered bits a headline against the numbers kept for it, the study's systems in one picture.

    points: columns group (learned, searched or control), label, numbers, bits and, where measured, low and high.
    ceiling_bits: all the bits that a headline has.
    Points far below 0, as of another headline's vector, are left out, and the legend names them. Points of one size
    that would overlap are drawn side by side; the ticks are the sizes.
    """
    floor = -0.3 * ceiling_bits
    inside = points[points["bits"] >= floor]
    sizeless = inside["label"].str.replace(r"_\d+", "", n=1, regex=True)  # the size of a learned one is the axis
    shown = inside["label"].where(inside["group"] != "learned", sizeless)
    searched = inside.loc[inside["group"] == "searched", "label"].unique().tolist()
    places = side_by_side(inside, 0.05 * ceiling_bits)
    repeated = shown.duplicated()  # the legend has each name once
    labels = [None if again else literal(name) for name, again in zip(shown, repeated, strict=True)]
    for point, label, look, at in zip(inside.to_dict("records"), labels, series_styles(shown), places, strict=True):
        if point["group"] == "searched":
            look |= {"color": "black", "marker": "D^PX*"[searched.index(point["label"]) % 5]}
        elif point["group"] == "control":
            look |= {"color": "0.55", "marker": "s", "zorder": 1.5}
        interval = [point.get("low"), point.get("high")]
        interval = None if pd.isna(interval[0]) else interval
        scatter_with_intervals(ax, [at], [point["bits"]], None, [interval], s=80, label=label, **look)
    for label in points.loc[points["bits"] < floor, "label"].unique():
        arrow = {"linestyle": "none", "marker": "$\\downarrow$", "markersize": 11, "color": "0.35"}
        ax.plot([], [], label=f"{literal(label)}: far below", **arrow)
    ax.axhline(ceiling_bits, color="0.3", linestyle="--", label=f"all there is: {ceiling_bits:.0f} bits")
    ax.set_ylim(bottom=max(min(ax.get_ylim()[0], -0.04 * ceiling_bits), floor), top=1.15 * ceiling_bits)
    ax.set_xscale("log", base=2)
    sizes = sorted(set(points["numbers"]))
    ax.set_xticks(sizes, sizes, rotation=60)
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return label_axes(ax, "numbers kept for a headline (log scale)", "recovered bits per headline")


def histogram(ax: Axes, values, xlabel: str) -> Axes:
    """Counts of headlines by a value; whole numbers get one bar each."""
    values = np.asarray(values)
    whole = np.issubdtype(values.dtype, np.integer) and len(values) and np.ptp(values) < 200
    ax.hist(values, bins=np.arange(values.min() - 0.5, values.max() + 1.5) if whole else 40, rwidth=0.9)
    return label_axes(ax, xlabel, "headlines")


def shaded_tokens(ax: Axes, rows: Sequence[tuple[Sequence[str], Sequence[float]]], label: str = "", **image) -> Axes:
    """Sentences as rows of word pieces, each piece on a cell as dark as its value (a weight, a probability).

    rows: (word pieces, values) of each sentence; the colour bar is shared.
    """
    columns = max(len(tokens) for tokens, _ in rows)
    grid = np.full((len(rows), columns), np.nan)
    for i, (tokens, values) in enumerate(rows):
        grid[i, : len(tokens)] = values
    drawn = ax.imshow(grid, aspect="auto", **{"cmap": "Blues", "vmin": 0, **image})
    look = {"ha": "center", "va": "center", "rotation": 90, "fontsize": 13 if len(rows) < 5 else 11}
    for i, (tokens, values) in enumerate(rows):
        for j, (token, value) in enumerate(zip(tokens, values, strict=True)):
            ax.text(j, i, literal(token), color=readable_on(drawn.cmap(drawn.norm(value))), **look)
    ax.set_yticks(range(len(rows)), [str(i + 1) for i in range(len(rows))])
    ax.set_xticks(range(0, columns, 2))
    ax.grid(False)
    ax.figure.colorbar(drawn, ax=ax, label=label)
    return label_axes(ax, "position in the headline (word pieces)", "headline")


def readable_on(background: Sequence[float]) -> str:
    """Black or white, whichever is read better on an RGBA colour (relative luminance, ITU-R BT.709)."""
    luminance = float(np.dot(background[:3], (0.2126, 0.7152, 0.0722)))
    return "#111111" if luminance > 0.5 else "white"


def whole_numbers(ax: Axes) -> Axes:
    """Ticks at whole numbers along x: there is no layer 2.5."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def label_axes(ax: Axes, xlabel: str = "", ylabel: str = "") -> Axes:
    """The axes' names, where they are given."""
    ax.set(**{name: text for name, text in (("xlabel", xlabel), ("ylabel", ylabel)) if text})
    return ax
