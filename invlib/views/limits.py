"""Figures of the limits of noisy vectors: what D numbers can carry, and what codes and learned vectors make of them."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from invlib.data.published import DEEPSC_BLEU_1, DEEPSC_NUMBERS_A_WORD
from invlib.measures.channel import channel_bits, noise_of_db
from invlib.views import plots

DIMS = np.unique(np.geomspace(16, 1024, 60).astype(int))
LEVELS = 10, 6, 3, 0, -3  # dB
MOST = 100_000  # numbers, that a search for the fewest stops at
NO_NOISE = 14  # where it stands on the axis of dB
HALF = 0.5  # of the headlines
NONE = "–"  # where there is no such figure
CONTROLS = {  # greys and black: nothing learned
    "packed_ids": {"color": "0.5", "marker": "P", "linestyle": "--"},
    "arithmetic_code": {"color": "black", "marker": "D"},
    "arithmetic_code for 6 dB": {"color": "black", "marker": "v", "linestyle": "-."},
    "arithmetic_code, no prefix": {"color": "black", "marker": "d", "linestyle": ":"},
}
MEASURES = {  # of `by_noise`: the label of the axis, and the columns of the value and its interval
    "headlines exactly right": ("exact_match", "exact_low", "exact_high"),
    "word pieces right": ("generated_accuracy", "low", "high"),
}


def series_styles(models: Sequence[str]) -> dict[str, dict]:
    """Colour, marker and line of each model, by name; learned ones have a colour each, and none of the limit's."""
    learned = [name for name in dict.fromkeys(models) if name not in CONTROLS]
    own = {name: {"color": f"C{1 + k % 5}", "marker": "os^"[k % 3]} for k, name in enumerate(learned)}
    return CONTROLS | own


def level(db: float) -> str:
    """A level of noise in words: `6 dB`, or `no noise` where the ratio is infinite."""
    return f"{db:.0f} dB" if np.isfinite(db) else "no noise"


def enough(db: float, bits: float) -> int:
    """The fewest numbers that carry so many bits at this noise, by the limit."""
    sizes = range(DIMS[0], MOST)
    return sizes[bisect_left(sizes, bits, key=lambda dim: channel_bits(dim, noise_of_db(db)))]


def limit(ax: Axes, reference_bits: np.ndarray) -> Axes:
    """The bits that D noisy numbers can carry, a line a level of noise, and those that headlines (N,) cost."""
    mean = reference_bits.mean()
    low, high = np.quantile(reference_bits, [0.05, 0.95])
    ax.axhspan(low, high, color="0.88", zorder=0)
    ax.annotate("headlines, 5 to 95 %", (DIMS[0], high), (8, -8), textcoords="offset points", va="top", color="0.3")
    for k, db in enumerate(LEVELS):
        bits = np.array([channel_bits(dim, noise_of_db(db)) for dim in DIMS])
        ax.plot(DIMS, bits, color=f"C{k}", label=f"{db} dB (noise {noise_of_db(db):.2f})")
        at = enough(db, mean), mean
        ax.plot(*at, marker="o", color=f"C{k}")
        ax.annotate(f"{at[0]}", at, (8, -12), textcoords="offset points", color=f"C{k}")
    ax.axhline(mean, color="0.3", linestyle=":", linewidth=1.6)
    ax.set(xscale="log", xlim=(DIMS[0], DIMS[-1]), ylim=(0, 2.5 * mean))
    ax.set_xticks([16, 64, 256, 1024], ["16", "64", "256", "1024"])
    ax.minorticks_off()
    few, many = enough(LEVELS[1], mean), enough(0, mean)
    ax.set_title(f"The mean headline's {mean:.0f} bits need {few} numbers at {LEVELS[1]} dB, {many} at 0 dB")
    ax.legend(loc="upper left")
    return plots.label_axes(ax, "D, numbers in the vector", "bits at 1 % block error")


def by_size(axes: Sequence[Axes], sizes: pd.DataFrame, mean_bits: float) -> Sequence[Axes]:
    """Bits given back exactly against D, an axes a level of noise (in the table's order), beside the limit.

    sizes: rows of `efficiency` with the column model; mean_bits: what a headline costs.
    """
    styles = series_styles(sizes["model"])
    for ax, (db, part) in zip(axes, sizes.groupby("snr_db", sort=False), strict=True):
        if np.isfinite(db):
            ax.plot(
                DIMS, [channel_bits(dim, noise_of_db(db)) for dim in DIMS], color="C0", linewidth=3, label="the limit"
            )
        ax.axhline(mean_bits, color="C0", linestyle=":", label="the mean headline")
        for name, rows in part.groupby("model", sort=False):
            alone = {} if name in CONTROLS else {"linestyle": "none", "markersize": 9}
            y, low, high = (rows[key] for key in ("exact_bits", "exact_bits_low", "exact_bits_high"))
            label = name.replace(" of the repository", "")
            plots.line_with_band(ax, rows["D"], y, low, high, label, **styles[name] | alone)
        ax.set(xscale="log", title=level(db), xlim=(26, 900))
        ax.set(ylim=(-3, 1.6 * mean_bits))
        plots.label_axes(ax, "D").set_xticks([32, 128, 256, 768], ["32", "128", "256", "768"])
        ax.minorticks_off()
    return axes


def smallest_sizes(sizes: pd.DataFrame) -> pd.DataFrame:
    """The smallest D at which half of the headlines are exact, as text: a row a model of `by_size`, a column a level.

    A dash where that is so at no measured D.
    """
    half = sizes[sizes["exact_match"] >= HALF].groupby(["model", "snr_db"])["D"].min().map(str).unstack()
    table = half.reindex(index=sizes["model"].unique(), columns=sizes["snr_db"].unique()).astype(object)
    named = table.fillna(NONE).rename(columns=level)
    return named.rename_axis(index=None, columns="half of the headlines exact from D")


def size_title(sizes: pd.DataFrame, db: float) -> str:
    """From which D on each control of `by_size` gives half of the headlines back at this noise, as a title."""
    near = sizes[np.isclose(sizes["snr_db"], db) & (sizes["exact_match"] >= HALF) & sizes["model"].isin(CONTROLS)]
    found = [f"{name} from D = {rows['D'].min()}" for name, rows in near.groupby("model")]
    return f"Half of the headlines exact at {db:.0f} dB: {', '.join(found) or 'no control at these sizes'}"


def by_pooling(ax: Axes, poolings: pd.DataFrame, sizes: pd.DataFrame, ylabel: str) -> Axes:
    """One of `MEASURES` against D without noise: learned poolings of equal training, and the controls of `by_size`.

    poolings: rows of `efficiency` with the column model; sizes: as in `by_size`.
    """
    every = pd.concat([poolings, sizes[sizes["model"].isin(CONTROLS)]], ignore_index=True)
    clean, styles = every[np.isinf(every["snr_db"])], series_styles(poolings["model"])
    for name, rows in clean.groupby("model", sort=False):
        y, low, high = (rows[key] for key in MEASURES[ylabel])
        plots.line_with_band(ax, rows["D"], y, low, high, name, **styles[name])
    dims = sorted(set(clean["D"]))
    ax.set(xscale="log", ylim=(-0.02, 1.02))
    ax.set_xticks(dims, list(map(str, dims)))
    ax.minorticks_off()
    return plots.label_axes(ax, "D, numbers in the vector", ylabel)


def pooling_title(poolings: pd.DataFrame) -> str:
    """What the best and the worst of `by_pooling` give back in as many numbers, the most that both have, as a title."""
    clean = poolings[np.isinf(poolings["snr_db"])]
    shared = set.intersection(*(set(rows["D"]) for _, rows in clean.groupby("model")))
    if not shared:
        return "Poolings of equal training"
    share = clean[clean["D"] == max(shared)].set_index("model")["generated_accuracy"].sort_values()
    ends = " and ".join(f"{name} {share[name]:.0%}" for name in dict.fromkeys([share.index[-1], share.index[0]]))
    steps = ", ".join(f"{n:.0f}" for n in sorted(set(clean["steps"])))
    return f"Word pieces right in {max(shared)} numbers after {steps} steps: {ends}"


def half_exact(noisy: pd.DataFrame) -> pd.DataFrame:
    """Of each model the noise, in dB, at which half of the headlines are exact, between the measured levels.

    Columns model and "dB at which half of the headlines are exact"; NaN where more or fewer are, at all levels.
    """
    lines = []
    for name, rows in noisy[np.isfinite(noisy["snr_db"])].sort_values("snr_db").groupby("model", sort=False):
        above, below = rows["exact_match"].max() >= HALF, rows["exact_match"].min() < HALF
        db = np.interp(HALF, rows["exact_match"], rows["snr_db"]) if above and below else np.nan
        lines.append({"model": name, "dB at which half of the headlines are exact": db})
    return pd.DataFrame(lines)


def half_title(noisy: pd.DataFrame) -> str:
    """Down to which noise arithmetic_code and the best learned model give half of the headlines back, as a title."""
    half = half_exact(noisy).set_index("model").squeeze("columns").dropna()
    learned = half[~half.index.isin(CONTROLS)].sort_values()
    shown = [*half.index.intersection(["arithmetic_code"]), *learned.index[:1]]
    found = [f"{name} down to {half[name]:.1f} dB" for name in shown]
    return f"Half of the headlines exact: {', '.join(found) or 'at no measured noise'}"


def noise_table(noisy: pd.DataFrame) -> pd.DataFrame:
    """The rows of `by_noise` as a reader sees them, by their noise, with DeepSC's figure in a column of its own."""
    other = f"BLEU-1 of DeepSC: other text, {DEEPSC_NUMBERS_A_WORD} numbers a word"

    def number(value: float | None) -> str:
        return NONE if value is None else f"{value:.3f}"

    return pd.DataFrame(
        {
            "noise": level(row["snr_db"]),
            "model": row["model"],
            "exact [95 %]": f"{row['exact_match']:.3f} [{row['exact_low']:.3f}, {row['exact_high']:.3f}]",
            "word pieces": number(row["generated_accuracy"]),
            "BLEU-1": number(row["bleu_1"]),
            "bits given back / limit": number(row["efficiency"] if np.isfinite(row["snr_db"]) else None),
            other: number(DEEPSC_BLEU_1.get(round(row["snr_db"], 3))),
        }
        for row in noisy.sort_values("noise", kind="stable").to_dict("records")
    )


def by_noise(ax: Axes, noisy: pd.DataFrame, ylabel: str) -> Axes:
    """One of `MEASURES` against the signal-to-noise ratio, a curve a model of `efficiency`'s rows."""
    styles = series_styles(noisy["model"])
    for name, rows in noisy.groupby("model", sort=False):
        y, low, high = (rows[key] for key in MEASURES[ylabel])
        plots.line_with_band(ax, rows["snr_db"].replace(np.inf, NO_NOISE), y, low, high, name, **styles[name])
    ax.set_xticks([-3, 0, 3, 6, 10, NO_NOISE], ["-3", "0", "3", "6", "10", "none"])
    return plots.label_axes(ax, "signal-to-noise ratio (dB)", ylabel)


def headlines_that_fit(ax: Axes, reference_bits: np.ndarray, dim: int) -> Axes:
    """The limit's line among the curves of exact headlines: the share of headlines (N,) whose bits D numbers carry."""
    levels = np.linspace(-3, 10, 53)
    fits = [(reference_bits <= channel_bits(dim, noise_of_db(db))).mean() for db in levels]
    ax.plot(levels, fits, color="C0", linewidth=3, zorder=0, label="the limit: headlines that fit")
    return ax
