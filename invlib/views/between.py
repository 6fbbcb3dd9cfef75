"""Figures of the smoothness card, drawn from its parts: a row for each system, part, of and measure."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes

from invlib.views import plots

NONE = "–"  # not measured, or as above

CONTROLS = {  # how a control's name begins -> its look; greys and black: nothing learned
    "packed_ids": {"color": "0.55", "linestyle": "--", "marker": "P"},
    "arithmetic_code": {"color": "black", "linestyle": "-", "marker": "D"},
    "nearest headline": {"color": "saddlebrown", "linestyle": ":", "marker": "*"},
    "recombined headlines": {"color": "peru", "linestyle": ":", "marker": "X"},
}


def looks(systems: Sequence[str]) -> dict[str, dict]:
    """Colour, line and marker of each system, by name; learned ones have a colour each."""
    found: dict[str, dict] = {}
    for name in dict.fromkeys(systems):
        control = next((look for start, look in CONTROLS.items() if name.startswith(start)), None)
        k = len(found)
        found[name] = control or {"color": f"C{k % 10}", "marker": plots.MARKERS[k % len(plots.MARKERS)]}
    return found


def line_of_texts(lines: Mapping[str, Sequence[str]], shares: Sequence[float]) -> pd.DataFrame:
    """Each system's texts on one line as a table, a row a share of the way; a text like the one above it is a dash."""
    shown = {
        name: [text if k == 0 or text != texts[k - 1] else NONE for k, text in enumerate(texts)]
        for name, texts in lines.items()
    }
    return pd.DataFrame(shown, index=pd.Index([f"{share:.2f}" for share in shares], name="share of the way"))


def fragility_curves(axes: Sequence[Axes], parts: pd.DataFrame) -> Sequence[Axes]:
    """BLEU, and the judge's cosine, against the noise's share of the variance: a curve a system."""
    curves = parts[parts["part"] == "fragility"].assign(a=lambda table: table["of"].astype(float))
    judge = parts["judge"].iloc[0]
    ylabels = {"bleu": "BLEU against the headline", "cosine": f"cosine to the headline\n({judge})"}
    styles = looks(curves["system"])
    for ax, (measure, ylabel) in zip(axes, ylabels.items(), strict=True):
        for name, rows in curves[curves["measure"] == measure].groupby("system", sort=False):
            plots.line_with_band(ax, rows["a"], rows["mean"], rows["low"], rows["high"], label=name, **styles[name])
        plots.label_axes(ax, "a, the noise's share of the variance", ylabel)
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return axes


def bars(ax: Axes, parts: pd.DataFrame, part: str, measure: str, xlabel: str, of: Sequence[str]) -> Axes:
    """One measure of a part as bars: for each system that has it one a kind of `of`."""
    table = parts[(parts["part"] == part) & (parts["measure"] == measure) & parts["of"].isin(of)]
    systems = list(dict.fromkeys(table["system"]))
    by = table.set_index(["of", "system"])[["mean", "low", "high"]]
    groups, intervals = {}, {}
    for kind in of:
        rows = [by.loc[kind, name] if (kind, name) in by.index else None for name in systems]
        known = [row if row is not None and pd.notna(row["mean"]) else None for row in rows]
        groups[kind] = [None if row is None else float(row["mean"]) for row in known]
        intervals[kind] = [None if row is None else [row["low"], row["high"]] for row in known]
    plots.grouped_bars(ax, systems, groups, intervals, xlabel)
    ax.set_ylim(len(systems) - 0.5, -0.5)  # the first on top, where axes share it too
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5)).set_visible(len(of) > 1)
    return ax


def figures_table(parts: pd.DataFrame, part: str, measures: Mapping[str, str], of: Sequence[str]) -> pd.DataFrame:
    """Measures of a part as text with their intervals: a row a system and kind, a column a measure under its name."""
    table = parts[(parts["part"] == part) & parts["measure"].isin(list(measures)) & parts["of"].isin(of)]
    texts = [
        NONE if pd.isna(mean) else f"{mean:.2f} [{low:.2f}, {high:.2f}]"
        for mean, low, high in table[["mean", "low", "high"]].to_numpy(float)
    ]
    named = table.assign(text=texts, measure=table["measure"].map(measures))
    wide = named.pivot(index=["system", "of"], columns="measure", values="text")
    order = list(dict.fromkeys(zip(named["system"], named["of"], strict=True)))
    return wide.loc[order, list(measures.values())].rename_axis(columns=None)
