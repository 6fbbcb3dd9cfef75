"""What comes back from an encoder's own vectors, and what protects them (notebook 12)."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invlib.views import plots, titles

FIGURES = {  # of `inversion.measure.figures`: label and digits
    "token_f1": ("words found, any order (F1)", "{:.2f}"),
    "bleu": ("BLEU", "{:.1f}"),
    "exact": ("headlines exactly right", "{:.2f}"),
}
PLACES = {  # of a point's label: points from it, and the side that it stands on
    "noise": ((-9, 7), "right"),
    "rotation": ((-11, -4), "right"),
}


def attack_bars(attacks: pd.DataFrame, n_controls: int, whose: str) -> Figure:
    """Three panels of bars, a bar an attack, the first n_controls of them grey; the last line is the whole attack.

    attacks: as `inversion.measure.table` gives it: attack, token_f1, bleu, exact; where it has intervals, <figure>_low
    and <figure>_high. whose: headlines, in words.
    """
    fig, axes = plt.subplots(1, len(FIGURES), figsize=(14, 5), layout="constrained", sharey=True)
    colours = ["0.6"] * n_controls + ["C0"] * (len(attacks) - n_controls)
    for ax, (figure, (label, number)) in zip(axes, FIGURES.items(), strict=True):
        ends = [f"{figure}_low", f"{figure}_high"]
        intervals = attacks[ends].values.tolist() if set(ends) <= set(attacks) else None
        plots.bars_with_intervals(ax, attacks["attack"], attacks[figure], intervals, label, number, colours)
    best, control = attacks.iloc[-1], attacks["token_f1"].iloc[:n_controls].max()
    titles.say(
        fig, f"The whole attack gives back {best['exact']:.0%} of the headlines; its F1 of words is "
        f"{best['token_f1']:.2f}, the best control's (grey) {control:.2f} ({whose})",
    )  # fmt: skip
    return fig


def protection(ax: Axes, protected: pd.DataFrame, guess: float) -> Axes:
    """Words that come back against search that is kept, a line a kind of change; guess: words of one text for all.

    protected: as `inversion.protection.compared` gives it: protection, strength, token_f1, recall_at_10. KeyError where
    it lacks the secret rotation or the numbers of 8 bit.
    """
    for k, (kind, part) in enumerate(protected.groupby("protection", sort=False)):
        ax.plot(
            part["recall_at_10"], part["token_f1"], marker=plots.MARKERS[k], color=f"C{k}", label=kind, markersize=9
        )
        place, side = PLACES.get(str(kind), ((8, -13), "left"))
        for line in part.to_dict("records"):
            at = (line["recall_at_10"], line["token_f1"])
            above = str(line["strength"]).endswith("known") and line["strength"] != "unknown"
            words = {"textcoords": "offset points", "fontsize": 11, "color": f"C{k}", "ha": side}
            ax.annotate(str(line["strength"]), at, (0, 34) if above else place, **words)
    ax.axhline(guess, color="0.4", linestyle="--", label="one text for all")
    ax.margins(x=0.09, y=0.16)
    ax.legend(loc="upper left")
    points = protected.set_index(["protection", "strength"])
    secret, byte = points.loc["rotation", "unknown"], points.loc["fewer bits", "8 bit"]
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    titles.say(
        figure, f"A secret rotation leaves a word F1 of {secret['token_f1']:.2f} and {secret['recall_at_10']:.0%} of "
        f"the search, numbers of 8 bit an F1 of {byte['token_f1']:.2f}",
    )  # fmt: skip
    return plots.label_axes(ax, "search that is kept (recall@10)", "text that comes back (words found, F1)")
