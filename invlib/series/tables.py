"""A run's results: read from its files, or from the published run, and written as text with intervals and marks."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from invlib import paths
from invlib.measures.intervals import with_ends
from invlib.measures.metrics import METRICS
from invlib.rows import ROWS, model_name

NONE = "–"  # not measured
ORDER = ("study", "gpu", "deck", "cpu")  # which published run README.md shows: the first of these that exists
LIMITS = ("steps", "time")  # what stopped a training that might still have become better
TIME_MARK, CONTROL_MARK, ONE_STEP_MARK, REFERENCE_MARK = "†", "‡", "§", "¶"
MARKS = {
    TIME_MARK: "stopped by its limit, in steps or minutes, before its plateau",
    CONTROL_MARK: "not clearly better than its shuffled control: the figure does not count",
    ONE_STEP_MARK: "not teacher-forced: all positions in one step",
    REFERENCE_MARK: "under another reference language model than the other models",
}
ONE_STEP_NOTE = f"{ONE_STEP_MARK} {MARKS[ONE_STEP_MARK]}"


def load_metrics(folder: str | Path) -> pd.DataFrame:
    """metrics.json of a run or a folder of results/: one row per model, embedding_dim and search, in the table's order.

    Keys that some objects lack are None. other_reference: whether recovered_bits are under another reference language
    model than most. FileNotFoundError where the folder has no such file.
    """
    path = Path(folder) / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"no metrics.json in {folder}; notebooks/04_metrics.ipynb writes it")

    rows = sorted(paths.read_json(path), key=lambda row: (
        rank(row["model"]), row["model"], row["embedding_dim"], row.get("variant") or "", row.get("search") or ""
    ))  # fmt: skip
    references = [row["reference_model"] for row in rows if row.get("reference_model")]
    usual = max(references, key=references.count, default=None)
    rows = [row | {"other_reference": row.get("reference_model") not in (None, usual)} for row in rows]
    keys = dict.fromkeys([key for row in rows for key in row] + ["variant", "search"])
    return pd.DataFrame([keys | row for row in rows], columns=list(keys), dtype=object)


def settings_of(folder: str | Path) -> dict:
    """settings.json of a run or a folder of results/; empty where it has none."""
    path = Path(folder) / "settings.json"
    return paths.read_json(path) if path.is_file() else {}


def rank(row_id: str) -> int:
    """Where a model of this row is shown; what the study's table does not know comes last."""
    return list(ROWS).index(row_id) if row_id in ROWS else len(ROWS)


def published() -> Path | None:
    """The published run that README.md shows, or None where nothing is published yet."""
    names = {path.parent.name for path in paths.RESULTS.glob("*/metrics.json")}
    return next((paths.RESULTS / name for name in (*ORDER, *sorted(names)) if name in names), None)


class Results(NamedTuple):
    """folder: of result files; note: three lines that say where they are another run's, else empty."""

    folder: Path
    note: str


def find_results(run: str | int | Path | None, *needs: str) -> Results:
    """Where the file `needs` is: in the run (as `paths.find_run` looks), or in the published run where none is there.

    Several: each has to be in some run, or all are the published run's. A run that somebody named is never passed over:
    FileNotFoundError where it lacks one.
    """
    whole = published()
    if not paths.unmade(run, *needs) or whole is None or not all((whole / need).is_file() for need in needs):
        return Results([paths.find_run(run, need) for need in needs][0], "")
    note = (
        f"NOT MADE HERE: no run on this machine has {', '.join(needs)}.\n"
        "To make it: `make run` in a terminal, or the notebooks from 01 on, in order.\n"
        f"PUBLISHED figures instead, of the run {whole.name!r} (results/{whole.name}): other models, real headlines.\n"
    )
    return Results(whole, note)


def read_table(run: str | int | Path | None, name: str) -> tuple[pd.DataFrame, str]:
    """tables/<name>.csv of the run, or of the published run; and the note of `find_results`."""
    found = find_results(run, file := f"tables/{name}.csv")
    return pd.read_csv(found.folder / file), found.note


def own_or_published(run: str | int | Path | None, name: str) -> tuple[pd.DataFrame | None, str]:
    """tables/<name>.csv of this run, of models that its preset does not train; else the published run's; else None.

    And a line that says whose it is where it is not the run's own.
    """
    own, whole = paths.run_folder(run) / "tables" / f"{name}.csv", published()
    if own.is_file():
        return pd.read_csv(own), ""
    if whole and (whole / "tables" / own.name).is_file():
        note = f"this run has no {name}: PUBLISHED figures instead, of the run {whole.name!r} (results/{whole.name})\n"
        return pd.read_csv(whole / "tables" / own.name), note
    return None, f"this run has no {name}, and no published run has one yet: it is not shown\n"


def main_rows(metrics: pd.DataFrame) -> list[dict]:
    """The models of the main table: greedy search, without the no-vector models, which are controls."""
    rows = metrics.to_dict("records")
    return [row for row in rows if row.get("search") in (None, "greedy") and not row["model"].startswith("no_vector")]


def virtues(folder: str | Path, published: Path | None = None) -> pd.DataFrame:
    """The two virtues of a run's models under greedy search: label, exact_match and rank_correlation, with _low, _high.

    published: a folder whose models are added where the run lacks them, labelled so. What lacks either is left out.
    """
    lines: list[dict] = []
    places = {"": Path(folder)}
    if published and published.name != Path(folder).name:
        places[", published"] = published
    for words, place in places.items():
        known = {line["label"] for line in lines}
        for row in main_rows(load_metrics(place)):
            name = model_name(row["model"], row["embedding_dim"], row.get("variant"))
            line: dict = {"label": name + words}
            ends = row.get("ci95") or {}
            for key in ("exact_match", "rank_correlation"):
                line |= with_ends(key, row[key], *(ends.get(key) or (None, None)))
            if name not in known and not pd.isna([row["exact_match"], row["rank_correlation"]]).any():
                lines.append(line)
    return pd.DataFrame(lines)


def control(row: dict, name: str) -> dict:
    """The metrics of one control of a model; empty where it was not measured."""
    return (row.get("controls") or {}).get(name) or {}


def clear_of_control(row: dict, metric: str = "generated_accuracy") -> bool | None:
    """Whether a model is better than its shuffled control on the same headlines; None where it was not measured.

    The paired difference decides; where a file has none, the two intervals, which must not overlap.
    """
    shuffled = control(row, "shuffled_vector")
    if paired := (shuffled.get("better_by") or {}).get(metric):
        return paired[1] > 0
    low = ((row.get("ci95") or {}).get(metric) or [None])[0]
    high = ((shuffled.get("ci95") or {}).get(metric) or [None])[-1]
    return None if low is None or high is None else low > high


def cut_too_early(row: dict) -> bool:
    """Whether a time limit cut a training so early that nothing can be read from the model.

    It is not above its shuffled control, or worse than the reference language model, which sees no vector.
    """
    bits = row.get("recovered_bits")
    worse = bits is not None and not pd.isna(bits) and bits < 0
    return row.get("stopped_by") == "time" and (worse or clear_of_control(row) is False)


def too_early(folder: str | Path) -> list[str]:
    """The names of a run's models that a time limit cut too early; none where it has no metrics.json."""
    metrics = load_metrics(folder) if (Path(folder) / "metrics.json").is_file() else pd.DataFrame()
    rows = [row for row in metrics.to_dict("records") if cut_too_early(row)]
    return list(dict.fromkeys(model_name(row["model"], row["embedding_dim"], row["variant"]) for row in rows))


def label(row: dict) -> str:
    """A model's name with its variant and its marks; in words that a time limit cut it too early."""
    marks = TIME_MARK if row.get("stopped_by") in LIMITS else ""
    marks += CONTROL_MARK if clear_of_control(row) is False else ""
    name = row["model"] + (f" ({row['variant']})" if row.get("variant") else "")
    return name + (", cut too early to mean anything" if cut_too_early(row) else "") + (f" {marks}" if marks else "")


def marked(row: dict, text: str, metric: str = "accuracy") -> str:
    """A value as text, marked where it is an accuracy without a true prefix, or bits under another reference."""
    one_step = metric == "accuracy" and "encoder_only" in (row.get("model"), row.get("variant"))
    other = metric == "recovered_bits" and row.get("other_reference")
    mark = ONE_STEP_MARK if one_step else REFERENCE_MARK if other else ""
    return f"{text} {mark}" if mark and text != NONE else text


def number(value, digits: int = 3) -> str:
    """A value with so many digits after the point; a dash for what was not measured."""
    return NONE if value is None or pd.isna(value) else f"{value:.{digits}f}"


def millions(value) -> str:
    """A count of parameters, in millions."""
    return NONE if value is None or pd.isna(value) else f"{value / 1e6:.1f} M"


def with_interval(row: dict, metric: str, digits: int = 3) -> str:
    """A value with its 95 % interval, where it has one: `0.502 [0.495, 0.510]`."""
    value, bounds = number(row.get(metric), digits), (row.get("ci95") or {}).get(metric)
    return value if value == NONE or not bounds else f"{value} [{', '.join(number(b, digits) for b in bounds)}]"


def stated(value, low=None, high=None, digits: int = 3) -> str:
    """`with_interval` of a value whose interval is at hand."""
    return with_interval({"value": value, "ci95": {"value": (low, high)}}, "value", digits)


def legend(metrics: pd.DataFrame) -> str:
    """What the marks of a table mean; empty where it has none."""
    labels = " ".join(label(row) + marked(row, "", "recovered_bits") for row in metrics.to_dict("records"))
    return "; ".join(f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in labels)


SPEED = {"tokens_per_second": ("tokens a second", 0), "peak_share": ("share of the card's peak", 3)}  # of training


def full_tables(metrics: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """results/README.md's tables of one run, by title: the text, its controls, the vector, the cost."""
    rows = metrics.to_dict("records")
    speed = {key: shown for key, shown in SPEED.items() if key in metrics and metrics[key].notna().any()}
    scorers = {m.scorer: next((row[m.scorer] for row in rows if row.get(m.scorer)), NONE) for m in METRICS if m.scorer}
    parts: dict[str, list[dict]] = {"The text": [], "Its controls": [], "The vector": [], "The cost": []}
    for row in rows:
        name = {"model": label(row), "D": f"{row['embedding_dim']}", "search": row.get("search") or NONE}
        top_k, seconds = row.get("top_k") or {}, row.get("train_seconds")
        text, vector = (
            {
                m.short + (f" ({row.get(m.scorer) or scorers[m.scorer]})" if m.scorer else ""):
                    marked(row, with_interval(row, m.name, m.digits), m.name)
                for m in METRICS
                if m.about == about and (m.scorer != "judge" or any(other.get("judge") for other in rows))
            }
            for about in ("text", "vector")
        )  # fmt: skip
        text |= {"top 10": number(top_k.get("10")), "headlines": str(row.get("n") or NONE)}
        controls = {
            f"{key}, {m.short}": marked(row, with_interval(control(row, key), m.name), m.name)
            for key in ("no_vector", "shuffled_vector")
            for m in METRICS
            if m.controlled and any(m.name in control(other, key) for other in rows)
        }
        vector["reference's bits"] = number(row.get("reference_bits"), 1)
        vector["bits per number"] = number(row.get("utilisation"))
        cost = {
            "trained": millions(row.get("trainable_parameters")),
            "frozen": millions(row.get("frozen_parameters")),
            "encoder layers": ", ".join(map(str, row.get("encoder_layers") or [NONE])),
            "minutes": number(None if seconds is None else seconds / 60, 1),
            "steps": number(row.get("steps"), 0),
            **{title: number(row.get(key), digits) for key, (title, digits) in speed.items()},
            "encode, ms": number(row.get("encode_ms"), 1),
            "decode, ms": number(row.get("decode_ms"), 1),
            "threads": number(row.get("threads"), 0),
            "headlines": text["headlines"],
        }
        for part, values in zip(parts.values(), (text, controls, vector, cost), strict=True):
            part.append(name | values)
    tables = {title: pd.DataFrame(lines).fillna(NONE) for title, lines in parts.items()}
    return {title: table for title, table in tables.items() if table.shape[1] > 3}
