"""README.md's figure: what exactness and agreement prove, and who stands noise; from a run's result files."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invlib import paths
from invlib.evaluation.run_results import inverted, name_of
from invlib.rows import ROWS
from invlib.views import plots

FILES = ("metrics.json", "tables/appendix_meaning.csv", "tables/08_noise.csv", "tables/12_texts.csv")  # of the run
LEARNED, FOR_NOISE, DECK = "hybrid_384_long", "hybrid_384_noise", "att_pool_2560"
COLOURS = {  # a system has one colour in both panels
    "learned": "C0", "packed_ids": "0.45", "arithmetic_code": "0.1",
    "deck": ROWS["att_pool"].colour, "plain": plots.OTHERS[0],
}  # fmt: skip
SIZE = {  # 16:9, legible where it fills a screen of 1280 x 720
    "font.size": 16, "axes.titlesize": 19, "axes.labelsize": 16, "xtick.labelsize": 15, "ytick.labelsize": 15,
    "lines.linewidth": 3, "lines.markersize": 9, "figure.figsize": (12.8, 7.2), "savefig.dpi": 100,
}  # fmt: skip


def lacking(folder: Path) -> list[str]:
    """The files that the figure is drawn from and the folder of a run has not."""
    return [name for name in FILES if not (folder / name).is_file()]


def write(folder: Path) -> Path:
    """Draw both panels from a run's files (or those of results/) into figures/hero.png, and return its path."""
    with plt.style.context([plots.STYLE, SIZE]):
        fig = draw(folder)
        path = plots.write_png(fig, paths.FIGURES / "hero.png")
        plt.close(fig)
    return path


def draw(folder: Path) -> Figure:
    fig, (left, right) = plt.subplots(1, 2, layout="constrained", width_ratios=(1, 1.05))
    exactness(left, systems(folder))
    noise(right, pd.read_csv(folder / "tables" / "08_noise.csv"))
    return fig


def systems(folder: Path) -> pd.DataFrame:
    """One row a point of the left panel: look, label, rank_correlation, exact_match and its low and high."""
    models = {name_of(r): r for r in paths.read_json(folder / "metrics.json") if r.get("search") == "greedy"}
    clean = pd.read_csv(folder / "tables" / "08_noise.csv").query("noise == 0").set_index("model").loc["packed_ids"]
    meaning = pd.read_csv(folder / "tables" / "appendix_meaning.csv").query("model == 'packed_ids' and weight == 0.2")
    plain = inverted(folder).loc["test headlines"]
    rows = [
        (look, label, r["rank_correlation"], r["exact_match"], *r["ci95"]["exact_match"])
        for look, label, r in (
            ("deck", "the deck's best:\natt_pool, D = 2560", models[DECK]),
            ("learned", "learned: hybrid,\nD = 384", models[LEARNED]),
        )
    ]
    exact = ["exact_match", "exact_low", "exact_high"]
    rows.append(
        ("packed_ids", "nothing learned:\npacked ids, D = 384", meaning["rank_correlation"].item(), *clean[exact])
    )
    label = "MiniLM as it stands,\nattacked, D = 384"  # the vector is the encoder's own: it agrees with itself
    rows.append(("plain", label, 1.0, *plain[["exact", "exact_low", "exact_high"]]))
    return pd.DataFrame(rows, columns=["look", "label", "rank_correlation", "exact_match", "low", "high"])


def exactness(ax: Axes, points: pd.DataFrame) -> Axes:
    """Exact match against agreement with the encoder, a named point each."""
    places = {"deck": (-6, 28, "right"), "learned": (-16, -34, "right"), "packed_ids": (-16, 6, "right"),
              "plain": (-14, 18, "right")}  # fmt: skip
    for point in points.itertuples():
        colour, marker = COLOURS[point.look], "s" if point.look == "packed_ids" else "o"
        x, y, side = places[point.look]
        ax.plot([point.rank_correlation] * 2, [point.low, point.high], color=colour, linewidth=2)
        ax.scatter([point.rank_correlation], [point.exact_match], s=170, color=colour, marker=marker, zorder=3)
        ax.annotate(point.label, (point.rank_correlation, point.exact_match), (x, y), textcoords="offset points",
                    ha=side, va="center", color=colour)  # fmt: skip
    ax.set(xlim=(-0.02, 1.06), ylim=(-0.04, 1.1), title="One vector can be exact AND\nsemantic: it takes no learning")
    return plots.label_axes(ax, "agreement with the encoder (rank correlation)", "headlines given back exactly")


def noise(ax: Axes, table: pd.DataFrame) -> Axes:
    """Word pieces given back against the signal-to-noise ratio of each number, a named line a system."""
    levels = sorted(table["snr_db"].unique(), reverse=True)
    systems = {  # look: (name, line, which point is named, where)
        "arithmetic_code": ("arithmetic code", "--", 4, (12, 4, "left")),
        "packed_ids": ("packed ids", ":", 3, (-14, -10, "right")),
        "learned": ("learned:\nhybrid", "-", 5, (-22, 2, "right")),
    }
    for look, (label, style, named, (x, y, side)) in systems.items():
        own = table["model"].str.startswith(FOR_NOISE) if look == "learned" else table["model"] == look
        part = table[own].set_index("snr_db").loc[levels].reset_index()
        values = (part[name] for name in ("generated_accuracy", "low", "high"))
        plots.line_with_band(ax, part.index, *values, color=COLOURS[look], marker="o", linestyle=style)
        ax.annotate(label, (named, part["generated_accuracy"][named]), (x, y), textcoords="offset points", ha=side,
                    color=COLOURS[look])  # fmt: skip
    ax.set_xticks(range(len(levels)), ["none", *(f"{level:.0f}" for level in levels[1:])])
    title = "A hybrid learns to stand noise; an unlearned\ncode, made for each level, stands more"
    ax.set(ylim=(-0.04, 1.1), title=title)
    return plots.label_axes(ax, "signal-to-noise ratio (dB), D = 384; more noise →", "word pieces given back")
