"""Two runs beside each other: each figure that both have, with both intervals, and whether one is the other again."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from invlib import paths
from invlib.evaluation.run_results import IDENTITY, name_of
from invlib.measures.metrics import METRICS
from invlib.series import tables

VERDICTS = ("reproduced", "differs", "not comparable")
CONDITIONS = ("preset", "data_hash", "encoder", "split", "seed")  # equal where figures may be compared; the seed splits
UNPAIRED = (
    "Result files hold no scores headline by headline, so the two runs can't be paired: the intervals are all there "
    "is. 'reproduced' says that they overlap, and not that the figures are equal."
)


def compare(run: str | Path, other: str | Path) -> pd.DataFrame:
    """One row for each figure with a 95 % interval that two runs share: same model, D, variant, search and metric.

    run, other: names under runs/, or folders (runs/last, results/study). Columns: model, search, metric; value, low,
    high; other_value, other_low, other_high; verdict, one of VERDICTS: "reproduced" where the intervals overlap; why,
    the CONDITIONS and scorers that are not the same where it is "not comparable", else "".
    Raises FileNotFoundError where one of the two has no metrics.json.
    """
    ours, theirs = (by_identity(folder) for folder in (run, other))
    shared = [figure for key in ours if key in theirs for figure in figures(ours[key], theirs[key])]
    columns = ["model", "search", "metric", "value", "low", "high", "other_value", "other_low", "other_high"]
    return pd.DataFrame(shared, columns=[*columns, "verdict", "why"])


def by_identity(run: str | Path) -> dict[tuple, dict]:
    rows = tables.load_metrics(paths.run_folder(run)).to_dict("records")
    return {tuple(row[key] for key in IDENTITY): row for row in rows}


def figures(ours: dict, theirs: dict) -> Iterator[tuple]:
    """The figures that two objects of metrics.json share, as rows of `compare`."""
    for metric in METRICS:
        mine, other = ((row.get("ci95") or {}).get(metric.name) for row in (ours, theirs))
        if mine and other:
            why = unequal(ours, theirs, metric.scorer)
            verdict = "reproduced" if mine[0] <= other[1] and other[0] <= mine[1] else "differs"
            values = (ours[metric.name], *mine, theirs[metric.name], *other)
            yield name_of(ours), ours["search"], metric.name, *values, "not comparable" if why else verdict, why


def unequal(ours: dict, theirs: dict, scorer: str | None) -> str:
    """What makes two figures incomparable, in words; empty where nothing does. What nobody recorded is unknown."""
    conditions = [*CONDITIONS, *filter(None, [scorer])]
    pairs = [(name.replace("_", " "), ours.get(name), theirs.get(name)) for name in conditions]
    return ", ".join(f"{name} {a}, not {b}" for name, a, b in pairs if a is None or a != b)


def count_line(compared: pd.DataFrame) -> str:
    """`70 shared figures: reproduced 68, differs 2, not comparable 0`, and what makes those incomparable."""
    counts = ", ".join(f"{verdict} {(compared['verdict'] == verdict).sum()}" for verdict in VERDICTS)
    why = "; ".join(dict.fromkeys(filter(None, compared["why"])))
    return f"{len(compared)} shared figures: {counts}{f' ({why})' if why else ''}"


def report(run: str | Path, other: str | Path) -> str:
    """The comparison as plain text: table, models of one run alone, what intervals can't say, count line."""
    compared, digits = compare(run, other), {metric.name: metric.digits for metric in METRICS}
    shown = pd.DataFrame({
        "model": compared["model"], "search": compared["search"], "metric": compared["metric"],
        **{
            f"{folder} [95 %]": [
                tables.with_interval({row["metric"]: row[value], "ci95": {row["metric"]: (row[low], row[high])}},
                                     row["metric"], digits[row["metric"]])
                for row in compared.to_dict("records")
            ]
            for folder, (value, low, high) in
            ((run, ("value", "low", "high")), (other, ("other_value", "other_low", "other_high")))
        },
        "verdict": compared["verdict"] + compared["why"].map(lambda why: f": {why}" if why else ""),
    })  # fmt: skip
    names = [{name_of(row) for row in by_identity(folder).values()} for folder in (run, other)]
    alone = [
        f"only in {folder}: {', '.join(sorted(left))}"
        for folder, left in ((run, names[0] - names[1]), (other, names[1] - names[0]))
        if left
    ]
    table = shown.to_string(index=False) if len(shown) else ""
    return "\n\n".join(filter(None, (table, "\n".join(alone), UNPAIRED if table else "", count_line(compared))))


def closing_line(folder: Path) -> str:
    """What a series says of its figures beside the published run's; empty where one of the two has none."""
    shown = tables.published()
    if shown is None or not (folder / "metrics.json").is_file():
        return ""
    return f"beside results/{shown.name} (invlib compare): {count_line(compare(folder, shown))}"
