"""The figures of the talk: large type, few points, the shape of a slide; each is drawn from a run's result files.

A function gets the axes and the folder of a run (or of results/), and returns the axes. FIGURES lists them by name.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from invlib import paths
from invlib.data.deck import DECK_TOP_K
from invlib.evaluation.run_results import name_of
from invlib.measures.text import TOP_K
from invlib.rows import ROWS
from invlib.views import drawings, limits, plots

DECK_ROWS = ("rnn_768", "encoder_only_1568", "cls_decoder_384", "att_pool_768", "att_pool_2560")  # of the talk
TOP_K_MODELS = ("hybrid_384", "att_pool_2560", "att_pool_768", "cls_decoder_384")
LARGE = {  # type for the back row; a drawing 12 wide fills a slide
    "font.size": 16, "axes.titlesize": 17, "axes.labelsize": 16, "xtick.labelsize": 15, "ytick.labelsize": 15,
    "legend.fontsize": 15, "lines.linewidth": 2.8, "lines.markersize": 8, "svg.hashsalt": "talk",
}  # fmt: skip


@dataclass(frozen=True)
class TalkFigure:
    """A figure of the talk.

    draw: called with `panels` axes (one axes where it is 1) and, where it reads files, the folder of a run.
    files: the result files that it reads; none for a drawing of an architecture. models: whose figures it shows.
    size: in inches.
    """

    draw: Callable
    files: tuple[str, ...] = ()
    panels: int = 1
    size: tuple[float, float] = (12.0, 5.2)
    models: tuple[str, ...] = ()


def svg(name: str, folder: str | Path) -> str:
    """The figure `name` of FIGURES as an SVG whose letters are outlines: it looks the same on every machine."""
    figure = FIGURES[name]
    with plt.style.context([plots.STYLE, LARGE]):
        fig, axes = plt.subplots(1, figure.panels, figsize=figure.size, layout="constrained")
        figure.draw(axes, *([Path(folder)] if figure.files else []))
        picture = io.StringIO()
        fig.savefig(picture, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(fig)
    return picture.getvalue()


def table(folder: Path, name: str) -> pd.DataFrame:
    """<folder>/tables/<name>.csv."""
    return pd.read_csv(folder / "tables" / f"{name}.csv")


def greedy_rows(folder: Path) -> dict[str, dict]:
    """The objects of metrics.json under greedy search, by the model's name (att_pool_768)."""
    rows = paths.read_json(folder / "metrics.json")
    return {name_of(row): row for row in rows if row.get("search") in (None, "greedy")}


def colour_of(name: str) -> str:
    """The colour of a model's row; that of what is no row."""
    return next((row.colour for own, row in ROWS.items() if name.startswith(own)), plots.OTHERS[0])


def forgetting(ax: Axes, folder: Path) -> Axes:
    """The RNN by position: with the true prefix, generated, and with another headline's vector."""
    looks = {"true prefix": ("C0", "-"), "generated": ("C1", "-"), "another headline's vector": ("C2", "--")}
    by_position = table(folder, "01_by_position")
    for what, (colour, line) in looks.items():
        part = by_position[by_position["measured"] == what]
        plots.accuracy_by_position(ax, part, color=colour, linestyle=line)
        last = part.iloc[-1]
        place = {"xytext": (14, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
        ax.annotate(
            what.replace("headline's", "headline's\n"), (last["position"], last["accuracy"]), **place, color=colour
        )
    ax.margins(x=0.02)
    return ax


def head_kinds(ax: Axes, folder: Path) -> Axes:
    """Which kinds of word pieces the softmax head reads, after training: 1 is a head that reads all alike."""
    heads = table(folder, "02_head_weights").set_index("head")
    kinds = ["[CLS]", "[SEP]", "word", "continuation (##...)", "number", "punctuation"]
    plots.bars_with_intervals(ax, kinds, heads.iloc[-1][kinds].astype(float).tolist(), number="{:.2f}", color="C3")
    ax.axvline(1, color="black", linestyle="--", linewidth=1.5, zorder=0)
    return plots.label_axes(ax, "weight of a word piece / weight if all were read alike (dashed)")


def flattery(ax: Axes, folder: Path) -> Axes:
    """Teacher-forced and generated accuracy of each model, and what its decoder knows without any vector."""
    rows = greedy_rows(folder)
    names = [*DECK_ROWS, "hybrid_384"]
    groups, intervals = {}, {}
    for label, metric, part in (
        ("teacher-forced", "accuracy", None),
        ("teacher-forced, no vector", "accuracy", "no_vector"),
        ("generated", "generated_accuracy", None),
    ):
        found = [rows[name] if part is None else rows[name]["controls"][part] for name in names]
        groups[label] = [one.get(metric) for one in found]
        intervals[label] = [(one.get("ci95") or {}).get(metric) for one in found]
    plots.grouped_bars(ax, names, groups, intervals, "share of word pieces right")
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3)
    ax.set_xlim(0, 1)
    return ax


def curves(axes: tuple[Axes, Axes], folder: Path) -> tuple[Axes, Axes]:
    """Accuracy and loss of the deck's models over their training time, as the deck draws them."""
    control = pd.read_csv(folder / "curves" / "no_vector_384.csv")
    for ax, column in zip(axes, ("accuracy", "validation_loss"), strict=True):
        for name in DECK_ROWS:
            curve = pd.read_csv(folder / "curves" / f"{name}.csv")
            look = {"color": colour_of(name), "linestyle": "--" if name.endswith("2560") else "-"}
            plots.curve_axes(ax, curve, column, name, x="minutes", markersize=5, **look)
        plots.curve_axes(ax, control, column, "no vector", x="minutes", color="0.5", markersize=5)
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    axes[0].set(ylim=(0, None), ylabel="accuracy (true prefix given)")
    axes[1].set_ylabel("validation loss (nats)")
    return axes


def top_k(ax: Axes, folder: Path) -> Axes:
    """Top-k accuracy of att_pool and hybrid; dotted: the deck's two att_pool models."""
    rows = greedy_rows(folder)
    for name, colour in zip(TOP_K_MODELS, ("C4", "C1", "C3", "C2"), strict=True):
        shares = [rows[name]["top_k"][str(k)] for k in TOP_K]
        ax.plot(range(len(TOP_K)), shares, marker="o", color=colour, label=name)
        if (size := rows[name]["embedding_dim"]) in DECK_TOP_K and name.startswith("att_pool"):
            look = {"marker": "s", "linestyle": ":", "color": colour}
            ax.plot(range(len(TOP_K)), DECK_TOP_K[size], **look, label=f"the deck's att_pool_{size}")
    ax.set_xticks(range(len(TOP_K)), TOP_K)
    ax.set_ylim(top=1.02)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return plots.label_axes(ax, "k: the true piece is among the k likeliest", "share of word pieces")


PLACES = {  # of two_virtues: where a model's name stands, in points from its point
    "rnn_768": (0, 20), "encoder_only_1568": (0, -24), "cls_decoder_384": (60, 20), "att_pool_2560": (-40, 20),
    "hybrid_384": (-14, -16), "hybrid_384_long": (-14, 0),
}  # fmt: skip


def two_virtues(ax: Axes, folder: Path) -> Axes:
    """Exact match against agreement with the encoder; the square: packed ids, nothing learned."""
    rows = greedy_rows(folder)
    for name, place in PLACES.items():
        x, y = rows[name]["rank_correlation"], rows[name]["exact_match"]
        ax.plot(x, y, marker="o", markersize=14, color=colour_of(name), linestyle="none")
        side = "right" if name.startswith("hybrid") else "center"
        ax.annotate(name, (x, y), place, textcoords="offset points", ha=side, va="center")
    packed = table(folder, "07_packed_ids").set_index("D").loc[384]
    x, y = packed["rank_correlation"], packed["exact_match"]
    ax.plot(x, y, marker="s", markersize=13, color="0.55", linestyle="none", zorder=1)
    ax.annotate("packed ids, nothing learned", (x, y), (-14, 14), textcoords="offset points", ha="right", color="0.35")
    ax.set(xlim=(0, 1.08), ylim=(-0.2, 1.12), yticks=np.linspace(0, 1, 6))
    return plots.label_axes(
        ax, "agreement with the encoder (rank correlation of cosines)", "headlines given back exactly"
    )


def limit(axes: tuple[Axes, Axes], folder: Path) -> tuple[Axes, Axes]:
    """Bits given back exactly by size, at two levels of noise: the limit, two controls and learned vectors."""
    sizes = table(folder, "08_sizes")
    whole = sizes["exact_bits"].max()  # of a system that gives every headline back
    shown = sizes[sizes["snr_db"].round().isin([6, 0])]
    limits.by_size(axes, shown, whole)
    axes[0].set_ylabel("bits given back exactly")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return axes


NOISE_MODELS = ("arithmetic_code", "arithmetic_code for 6 dB", "packed_ids", "hybrid_384_noise", "hybrid_384_long")


def noise(ax: Axes, folder: Path) -> Axes:
    """Word pieces that come back under noise: arithmetic codes, packed ids and two learned vectors of the same size."""
    found = table(folder, "08_noise")
    limits.by_noise(ax, found[found["model"].isin(NOISE_MODELS)], "word pieces right")
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


BETWEEN = {  # a system of 11_parts.csv -> what the talk calls it
    "splice by hand": "spliced by hand from both headlines",
    "hybrid_768_meaning, meaning read": "hybrid_768_meaning, its meaning read",
    "arithmetic_code_384": "arithmetic code: says one of the two",
    "recombined headlines": "retrieved headlines, recombined",
    "nearest headline": "the nearest real headline",
    "hybrid_768_meaning": "hybrid_768_meaning, its code read",
    "packed_ids_384": "packed ids",
}


def between(ax: Axes, folder: Path) -> Axes:
    """How near a text half way between two neighbours is to their midpoint, beside one of the two (dashed)."""
    found = table(folder, "11_parts").query("part == 'midpoints' and of == 'neighbours' and measure == 'cosine'")
    lines = found.set_index("system")[["mean", "low", "high"]]
    own = lines.loc[list(BETWEEN)]
    colours = ["C4" if name.startswith("hybrid") else "0.6" for name in BETWEEN]
    ends = own[["low", "high"]].values.tolist()
    plots.bars_with_intervals(ax, list(BETWEEN.values()), own["mean"].tolist(), ends, number="{:.2f}", color=colours)
    ax.axvline(lines.loc["one of the two headlines", "mean"], color="black", linestyle="--", linewidth=1.8)
    return plots.label_axes(ax, "cosine to the midpoint (dashed: one of the two)")


ATTACKS = {  # of 12_attacks.csv, as the talk calls them
    "nearest training headline": "control: nearest training headline",
    "greedy": "one pass of the inverter",
    "beam of 8, re-ranked": "several texts, the nearest counts",
    "search and corrector": "and rounds of search and corrector",
}


def inversion(ax: Axes, folder: Path) -> Axes:
    """The share of a headline's words that an attacker finds in a plain sentence embedding, part by part."""
    found = table(folder, "12_attacks").set_index("attack").loc[list(ATTACKS)]
    ends = found[["token_f1_low", "token_f1_high"]].values.tolist()
    colours = ["0.6"] + ["C4"] * (len(ATTACKS) - 1)
    plots.bars_with_intervals(
        ax, list(ATTACKS.values()), found["token_f1"].tolist(), ends, number="{:.2f}", color=colours
    )
    ax.set_xlim(0, 1)
    return plots.label_axes(ax, "words found, any order (F1)")


def protection(ax: Axes, folder: Path) -> Axes:
    """What each change of the vectors costs the search and the attacker; named are the points that protect."""
    found = table(folder, "12_protection").sort_values("recall_at_10", kind="stable")
    for k, kind in enumerate(("noise", "fewer bits", "PCA", "rotation")):
        part = found[found["protection"] == kind]
        look = {"marker": plots.MARKERS[k], "color": f"C{k}", "linestyle": "none" if kind == "rotation" else "-"}
        ax.plot(part["recall_at_10"], part["token_f1"], label=kind, **look)
        for line in part.to_dict("records"):
            place, side = ((9, -15), "left") if kind != "rotation" else ((-10, 0), "right")
            if kind == "rotation" or line["token_f1"] < 0.55:
                words = {"textcoords": "offset points", "ha": side, "va": "center", "fontsize": 14}
                text = line["strength"].replace("unknown", "not known to the attacker")
                place = (0, 26) if text.endswith("pairs known") else place
                ax.annotate(text, (line["recall_at_10"], line["token_f1"]), place, color=look["color"], **words)
    plain = found[found["protection"] == "none"].iloc[0]
    ax.plot(plain["recall_at_10"], plain["token_f1"], marker="*", color="black", linestyle="none", label="no change")
    ax.set(xlim=(0, 1.06), ylim=(0, 0.9))
    ax.legend(loc="upper left", ncols=2)
    return plots.label_axes(ax, "search that is kept (recall@10)", "words the attacker finds (F1)")


FIGURES: dict[str, TalkFigure] = {
    "flow": TalkFigure(drawings.flow, size=(12, 3.5)),
    "recurrent": TalkFigure(drawings.recurrent, size=(12, 4)),
    "poolings": TalkFigure(drawings.poolings, size=(12, 5)),
    "two_halves": TalkFigure(drawings.two_halves, size=(12, 5)),
    "attack": TalkFigure(drawings.attack, size=(12, 2.4)),
    "forgetting": TalkFigure(forgetting, ("tables/01_by_position.csv",), models=("rnn_768",), size=(12, 4.9)),
    "head_kinds": TalkFigure(head_kinds, ("tables/02_head_weights.csv",), size=(12, 4.4)),
    "flattery": TalkFigure(flattery, ("metrics.json",), models=(*DECK_ROWS, "hybrid_384"), size=(12, 4.7)),
    "curves": TalkFigure(
        curves, (*(f"curves/{name}.csv" for name in DECK_ROWS), "curves/no_vector_384.csv"), models=DECK_ROWS, panels=2
    ),
    "top_k": TalkFigure(top_k, ("metrics.json",), models=TOP_K_MODELS, size=(12, 4.9)),
    "two_virtues": TalkFigure(
        two_virtues, ("metrics.json", "tables/07_packed_ids.csv"), models=tuple(PLACES), size=(12, 4.8)
    ),
    "limit": TalkFigure(limit, ("tables/08_sizes.csv",), panels=2, size=(12, 4.3)),
    "noise": TalkFigure(
        noise, ("tables/08_noise.csv",), models=("hybrid_384_long",), size=(12, 4.3)
    ),
    "between": TalkFigure(between, ("tables/11_parts.csv",), size=(12, 4.1)),
    "inversion": TalkFigure(inversion, ("tables/12_attacks.csv",), size=(12, 2.9)),
    "protection": TalkFigure(protection, ("tables/12_protection.csv",)),
}  # fmt: skip
