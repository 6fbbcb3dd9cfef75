"""What limits the attack of notebook 12: the inverter's loss by texts seen, by its size, and by headlines there are."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invlib import paths
from invlib.views import plots

FILES = {  # curves of results/: file, texts a step, what it is, colour
    "study/curves/mean_decoder_384.csv": (64, "3.8 million parameters, two cores", "0.45"),
    "inversion_h200/curves/first_mean_decoder_384_inverter.csv": (512, "7.5 million, a card", "C0"),
    "inversion_h200/curves/mean_decoder_384_inverter.csv": (3072, "7.5 million, a card: the repository's", "C2"),
    "inversion_h200/curves/first_mean_decoder_384_large.csv": (512, "58.9 million, a card", "C3"),
}
HEADLINES = "inversion_cpu/headlines.csv"  # validation loss by training headlines, in equal steps
LOSS = "validation loss (nats a word piece)"
KINDS = {"headlines": ("headlines alone", "C0", "o"), "recombined": ("and recombined ones", "C3", "s")}


def lacking(results: Path) -> list[str]:
    """The files that the figure is drawn from and results/ has not."""
    return [name for name in (*FILES, HEADLINES) if not (results / name).is_file()]


def write(results: Path) -> Path:
    """Draw both panels from the files of results/ into figures/learning.png, and return its path."""
    with plt.style.context(plots.STYLE):
        fig = draw(results)
        path = plots.write_png(fig, paths.FIGURES / "learning.png")
        plt.close(fig)
    return path


def draw(results: Path) -> Figure:
    fig, (left, right) = plt.subplots(1, 2, figsize=(12.8, 7.2), layout="constrained")
    by_texts(left, results)
    by_headlines(right, pd.read_csv(results / HEADLINES))
    return fig


def by_texts(ax: Axes, results: Path) -> Axes:
    """Validation loss against the texts seen in training, one curve an inverter; its minutes at the end."""
    for name, (batch, label, colour) in FILES.items():
        curve = pd.read_csv(results / name)
        texts = batch * curve["step"] / 1e6
        ax.plot(texts, curve["validation_loss"], color=colour, marker="o", markersize=4, label=label)
        end = curve.iloc[-1]
        ax.annotate(f"{end['minutes']:.1f} min", (texts.iloc[-1], end["validation_loss"]), (8, 3),
                    textcoords="offset points", color=colour)  # fmt: skip
    ax.set(xscale="log", xlim=(0.15, 9))
    ax.set_xticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    ax.minorticks_off()
    ax.legend()
    ax.set_title("More texts help slowly,\na larger inverter at once")
    return plots.label_axes(ax, "texts seen in training (millions)", LOSS)


def by_headlines(ax: Axes, table: pd.DataFrame) -> Axes:
    """Validation loss against the number of training headlines, with and without recombined text."""
    for kind, (label, colour, marker) in KINDS.items():
        part = table[table["kind"] == kind].sort_values("headlines")
        ax.plot(part["headlines"], part["validation_loss"], color=colour, marker=marker, label=label)
    ax.set_xscale("log")
    sizes = sorted(table["headlines"].unique())
    ax.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    ax.minorticks_off()
    ax.legend()
    ax.set_title("More headlines help where there are few,\nand so does recombining them")
    return plots.label_axes(ax, f"training headlines, {table['steps'].iloc[0]:,.0f} steps each", LOSS)
