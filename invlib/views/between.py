"""Figures of the smoothness card, drawn from its parts: a row for each system, part, of and measure."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes

from invlib.evaluation.run_results import INVERTER
from invlib.views import plots

NONE = "–"  # not measured, or as above

LANGUAGE = 1.2  # times a real headline's bits a token: up to there a text is language
LARGE = 0.5  # the noise's share of the variance at which it is as strong as the signal
LEARNED = [*(f"C{k}" for k in range(6)), "indigo", "olive"]  # colours of what learned; C6 is black
CONTROLS = {  # how a control's name begins -> its look, and that of a second size; greys and black: nothing learned
    "packed_ids": (
        {"color": "0.65", "linestyle": "--", "marker": "P"},
        {"color": "0.4", "linestyle": "-.", "marker": "s"},
    ),
    "arithmetic_code": (
        {"color": "black", "linestyle": "-", "marker": "D"},
        {"color": "black", "linestyle": "--", "marker": "d"},
    ),
    "nearest headline": ({"color": "saddlebrown", "linestyle": ":", "marker": "*"},),
    "recombined headlines": ({"color": "peru", "linestyle": ":", "marker": "X"},),
}


def shown(name: str) -> str:
    """A system's name as figures have it: the repository's inverter by what it is."""
    return name.replace(INVERTER, "inverter of MiniLM")


def series_styles(systems: Sequence[str]) -> dict[str, dict]:
    """Colour, line and marker of each system, by name; learned ones have a colour each, controls greys and browns."""
    found: dict[str, dict] = {}
    members: Counter[str] = Counter()
    for name in dict.fromkeys(systems):
        family = next((start for start in CONTROLS if name.startswith(start)), "learned")
        k = members[family]
        if family in CONTROLS:
            found[name] = CONTROLS[family][k % len(CONTROLS[family])]
        else:
            found[name] = {"color": LEARNED[k % len(LEARNED)], "marker": plots.MARKERS[k % len(plots.MARKERS)]}
        members[family] += 1
    return found


def line_of_texts(lines: Mapping[str, Sequence[str]], shares: Sequence[float]) -> pd.DataFrame:
    """Each system's texts on one line as a table, a row a share of the way; a text like the one above it is a dash."""
    shown = {
        name: [text if k == 0 or text != texts[k - 1] else NONE for k, text in enumerate(texts)]
        for name, texts in lines.items()
    }
    return pd.DataFrame(shown, index=pd.Index([f"{share:.2f}" for share in shares], name="share of the way"))


def fragility_curves(axes: Sequence[Axes], parts: pd.DataFrame) -> Sequence[Axes]:
    """BLEU, and the judge's cosine, against the noise's share of the variance: a curve a system.

    The titles say who has most words at `LARGE`, and who has most meaning at the strongest noise.
    """
    curves = parts[parts["part"] == "fragility"].assign(a=lambda table: table["of"].astype(float))
    judge = parts["judge"].iloc[0]
    ylabels = {"bleu": "BLEU against the headline", "cosine": f"cosine to the headline ({judge})"}
    styles = series_styles(curves["system"])
    for ax, (measure, ylabel) in zip(axes, ylabels.items(), strict=True):
        for name, rows in curves[curves["measure"] == measure].groupby("system", sort=False):
            plots.line_with_band(
                ax, rows["a"], rows["mean"], rows["low"], rows["high"], label=shown(name), **styles[name]
            )
        plots.label_axes(ax, "a, the noise's share of the variance", ylabel)
    for ax, a, what, measure in zip(axes, (LARGE, curves["a"].max()), ("words", "meaning"), ylabels, strict=True):
        at = curves[(curves["a"] == a) & (curves["measure"] == measure)].set_index("system")["mean"]
        ax.set_title(f"Most {what} at a = {a}: {shown(at.idxmax())}")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return axes


def half_way(axes: Sequence[Axes], parts: pd.DataFrame) -> Sequence[Axes]:
    """What is decoded half way, three panels: beyond the better headline, beyond the nearest real one, and its bits.

    The titles count the systems that are beyond for neighbours: an interval above 0, or bits of at most `LANGUAGE`.
    """
    labels = {"beyond_end": "cosine to the midpoint,\nless the better headline's"}
    labels |= {"beyond_nearest": "cosine to the midpoint,\nless the nearest real one's"}
    labels |= {"bits": "bits per token,\nover a real headline's"}
    for ax, (measure, label) in zip(axes, labels.items(), strict=True):
        bars(ax, parts, "midpoints", measure, label, ("neighbours", "random"))
        ax.axvline(LANGUAGE if measure == "bits" else 0, color="0.3")
        ax.get_legend().remove()
        near = parts[(parts["of"] == "neighbours") & (parts["part"] == "midpoints") & (parts["measure"] == measure)]
        beyond = near[near["mean"] <= LANGUAGE if measure == "bits" else near["low"] > 0]["system"].tolist()
        who = shown(beyond[0]) if len(beyond) == 1 else f"{len(beyond)} of {len(near)} systems"
        over = {"beyond_end": "Beyond the better headline", "beyond_nearest": "Beyond the nearest real one"}
        ax.set_title(f"{over.get(measure, f'Bits at most {LANGUAGE}')}:\nof neighbours {who}")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return axes


def facts_changed(axes: Sequence[Axes], parts: pd.DataFrame) -> Sequence[Axes]:
    """One fact changed by a direction, two panels: shares of headlines with the fact changed, and the rest kept too.

    The titles say who does it most often.
    """
    panels = (
        ("changed", "Fact changed", "share of headlines with the fact changed"),
        ("both", "Fact changed, rest kept", "fact changed, and .8 of the other words kept"),
    )
    for ax, (measure, title, label) in zip(axes, panels, strict=True):
        bars(ax, parts, "directions", measure, label, ("all",))
        ax.set_xlim(0, 1.25)
        here = parts[(parts["part"] == "directions") & (parts["of"] == "all") & (parts["measure"] == measure)]
        means = here.set_index("system")["mean"]
        best = list(means.index[means == means.max()])
        who = shown(best[0]) if len(best) == 1 else f"{len(best)} systems alike"
        ax.set_title(f"{title}: most by\n{who}")
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
    names = [shown(name) for name in systems]
    if len(of) == 1:
        plots.bars_with_intervals(ax, names, groups[of[0]], intervals[of[0]], xlabel, "{:.2f}")
    else:
        plots.grouped_bars(ax, names, groups, intervals, xlabel)
    ax.set_ylim(len(systems) - 0.5, -0.5)  # the first on top, where axes share it too
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
