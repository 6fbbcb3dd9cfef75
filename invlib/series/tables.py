"""The results as tables: README.md's, results/README.md's and the one that a run ends with. Numbers come from files."""

import re
from pathlib import Path

import pandas as pd

from invlib import paths
from invlib.data.deck import DECK
from invlib.measures.metrics import METRICS, Metric
from invlib.rows import ROWS

NONE = "–"  # not measured
ORDER = ("study", "gpu", "deck", "cpu")  # which published run README.md shows: the first of these that exists
PROVENANCE = ("preset", "seed", "data_source", "data_hash", "encoder", "scorers", "device")
TIME_MARK, CONTROL_MARK, ONE_STEP_MARK, REFERENCE_MARK = "†", "‡", "§", "¶"
MARKS = {
    TIME_MARK: "stopped by its time limit before its plateau",
    CONTROL_MARK: "not clearly better than its shuffled control: the figure does not count",
    ONE_STEP_MARK: "not teacher-forced: all positions in one step",
    REFERENCE_MARK: "under another reference language model than the other models",
}
ONE_STEP_NOTE = f"{ONE_STEP_MARK} {MARKS[ONE_STEP_MARK]}"


def load_metrics(folder: str | Path) -> pd.DataFrame:
    """metrics.json of a run or a folder of results/: one row per model, embedding_dim and search, in the table's order.

    Keys that some objects lack are None. Raises FileNotFoundError where there is no such file.
    """
    path = Path(folder) / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"no metrics.json in {folder}; notebooks/04_metrics.ipynb writes it")
    objects = paths.read_json(path)
    keys = dict.fromkeys([key for row in objects for key in row] + ["variant", "search"])

    def place(row: dict) -> tuple:
        name = row["model"], row["embedding_dim"], str(row.get("variant") or ""), str(row.get("search") or "")
        return rank(row["model"]), *name

    rows = [[row.get(key) for key in keys] for row in sorted(objects, key=place)]
    return pd.DataFrame(rows, columns=list(keys), dtype=object)


def rank(row_id: str) -> int:
    """Where a row stands in the tables; what the study's table does not know comes last."""
    return list(ROWS).index(row_id) if row_id in ROWS else len(ROWS)


def published(more: str | None = None) -> Path | None:
    """The published run that README.md shows, or None where nothing is published yet.

    more: the name of one that is taken as published too, before it is.
    """
    names = {path.parent.name for path in paths.RESULTS.glob("*/metrics.json")} | ({more} if more else set())
    return next((paths.RESULTS / name for name in (*ORDER, *sorted(names)) if name in names), None)


def results_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """README's table: the models under greedy search, six columns, as strings."""
    usual = usual_reference(metrics)
    rows = [
        {
            "model": label(row),
            "D": f"{row['embedding_dim']}",
            "generated accuracy [95 %]": with_interval(row, "generated_accuracy"),
            "exact match": number(row.get("exact_match")),
            "agreement with the encoder": number(row.get("rank_correlation"), 2),
            "recovered bits": number(row.get("recovered_bits"), 1) + reference_mark(row, usual),
        }
        for row in main_rows(metrics)
    ]
    return pd.DataFrame(rows)


def deck_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """The deck's figures beside this run's at the same row and D, as strings; what one of them lacks is a dash.

    The accuracies are teacher-forced but for those marked; the BERTScores come from different scorers, a column each.
    """
    here = {(row["model"], row["embedding_dim"]): row for row in main_rows(metrics) if not row.get("variant")}
    scorers = {str(row.get("bertscore_model")) for row in here.values() if row.get("bertscore_f1") is not None}
    ours = f"BERTScore, here ({', '.join(sorted(scorers)) or NONE}; its shuffled control)"
    deck = {(row["model"], row["embedding_dim"]): row for row in DECK.astype(object).to_dict("records")}
    rows = [
        {
            "model": key[0],
            "D": f"{key[1]}",
            "accuracy, deck": marked(deck.get(key, {}), number(deck.get(key, {}).get("accuracy"))),
            "accuracy, here": marked(here.get(key, {}), number(here.get(key, {}).get("accuracy"))),
            "BERTScore, deck (deberta)": number(deck.get(key, {}).get("bertscore_f1")),
            ours: beside_control(here.get(key, {}), "bertscore_f1"),
        }
        for key in sorted({*deck, *here}, key=lambda key: (rank(key[0]), *key))
    ]
    return pd.DataFrame(rows)


def full_tables(metrics: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """results/README.md's tables of one run, by title, as strings: the text, its controls, the vector, the cost."""
    rows = metrics.to_dict("records")
    usual = usual_reference(metrics)
    parts: dict[str, list[dict]] = {"The text": [], "Its controls": [], "The vector": [], "The cost": []}
    for row in rows:
        name = {"model": label(row), "D": f"{row['embedding_dim']}", "search": row.get("search") or NONE}
        top_k, seconds = row.get("top_k") or {}, row.get("train_seconds")
        scorer = {"bertscore_f1": row.get("bertscore_model"), "paraphrase_similarity": row.get("paraphrase_model")}
        text = {
            m.short + (f" ({scorer[m.name] or NONE})" if m.name in scorer else ""): shown(row, m)
            for m in METRICS if m.about == "text"
        }  # fmt: skip
        text |= {"top 10": number(top_k.get("10", top_k.get(10))), "headlines": str(row.get("n") or NONE)}
        controls = {
            f"{key}, {m.short}": marked(row, with_interval(control(row, key), m.name), m.name)
            for key in ("no_vector", "shuffled_vector")
            for m in METRICS
            if m.controlled and any(m.name in control(other, key) for other in rows)
        }
        vector = {m.short: shown(row, m) for m in METRICS if m.about == "vector"}
        vector["recovered bits"] += reference_mark(row, usual)
        vector |= {
            "reference's bits": number(row.get("reference_bits"), 1),
            "bits per number": number(row.get("utilisation"), 3),
        }
        cost = {
            "trained": millions(row.get("trainable_parameters")),
            "frozen": millions(row.get("frozen_parameters")),
            "encoder layers": ", ".join(map(str, row.get("encoder_layers") or [NONE])),
            "minutes": number(None if seconds is None else seconds / 60, 1),
            "steps": number(row.get("steps"), 0),
            "encode, ms": number(row.get("encode_ms"), 1),
            "decode, ms": number(row.get("decode_ms"), 1),
            "threads": number(row.get("threads"), 0),
            "headlines": str(row.get("n") or NONE),
        }
        for part, values in zip(parts.values(), (text, controls, vector, cost), strict=True):
            part.append(name | values)
    tables = {title: pd.DataFrame(lines).fillna(NONE) for title, lines in parts.items()}
    return {title: table for title, table in tables.items() if table.shape[1] > 3}


def shown(row: dict, metric: Metric) -> str:
    """A metric of a model as text, with its interval and its marks."""
    return marked(row, with_interval(row, metric.name, metric.digits), metric.name)


def examples_table(folder: str | Path, n: int = 6) -> pd.DataFrame:
    """The first `n` inputs of a run's examples.csv (columns model, search, input, decoded and the deck's own, `deck`).

    One column per model of greedy search would be too wide: the file's first model is shown, which is the best by
    validation accuracy.
    """
    frame = pd.read_csv(Path(folder) / "examples.csv", keep_default_na=False)
    if "search" in frame:
        frame = frame[frame["search"] == "greedy"]
    frame = frame[frame["input"].isin(frame["input"].drop_duplicates().head(n))]
    name = frame["model"].iloc[0]
    best = frame[frame["model"] == name]
    table = pd.DataFrame({"input": best["input"], f"decoded by {name}": best["decoded"]})
    if "deck" in best:
        table["decoded by the deck"] = best["deck"]
    return table.reset_index(drop=True)


def main_rows(metrics: pd.DataFrame) -> list[dict]:
    """The models of the main table: greedy search, without the no-vector models, which are controls."""
    rows = metrics.to_dict("records")
    return [row for row in rows if row.get("search") in (None, "greedy") and not row["model"].startswith("no_vector")]


def control(row: dict, name: str) -> dict:
    """The metrics of one control of a row; empty where it was not measured."""
    return (row.get("controls") or {}).get(name) or {}


def clear_of_control(row: dict, metric: str = "generated_accuracy") -> bool | None:
    """Whether a model is better than its shuffled control on the same headlines; None where it was not measured.

    The paired difference decides. Files from before it was measured have the two intervals alone: then a model is
    better where they do not overlap, which asks for more.
    """
    shuffled = control(row, "shuffled_vector")
    if paired := (shuffled.get("better_by") or {}).get(metric):
        return paired[1] > 0
    low = ((row.get("ci95") or {}).get(metric) or [None])[0]
    high = ((shuffled.get("ci95") or {}).get(metric) or [None])[-1]
    return None if low is None or high is None else low > high


def label(row: dict) -> str:
    """A row's name with its variant and its marks."""
    marks = TIME_MARK if row.get("stopped_by") == "time" else ""
    marks += CONTROL_MARK if clear_of_control(row) is False else ""
    return row["model"] + (f" ({row['variant']})" if row.get("variant") else "") + (f" {marks}" if marks else "")


def number(value, digits: int = 3) -> str:
    """A value with so many digits after the point; a dash for what was not measured."""
    return NONE if value is None or pd.isna(value) else f"{value:.{digits}f}"


def usual_reference(metrics: pd.DataFrame) -> str | None:
    """The hash of the reference language model that most rows' recovered bits are under, under greedy search."""
    known = pd.Series([row["reference_model"] for row in main_rows(metrics) if row.get("reference_model")], dtype=str)
    return known.mode().iloc[0] if len(known) else None


def reference_mark(row: dict, usual: str | None) -> str:
    """A mark where a row's recovered bits are under another reference than `usual`."""
    return f" {REFERENCE_MARK}" if row.get("reference_model") not in (None, usual) else ""


def marked(row: dict, text: str, metric: str = "accuracy") -> str:
    """A value as text, with a mark where it is the accuracy of a model that is given no prefix, true or not."""
    one_step = metric == "accuracy" and "encoder_only" in (row.get("model"), row.get("variant"))
    return f"{text} {ONE_STEP_MARK}" if one_step and text != NONE else text


def millions(value) -> str:
    """A count of parameters, in millions."""
    return NONE if value is None or pd.isna(value) else f"{value / 1e6:.1f} M"


def with_interval(row: dict, metric: str, digits: int = 3) -> str:
    """A value with its 95 % interval, where it has one: `0.502 [0.495, 0.510]`."""
    bounds = (row.get("ci95") or {}).get(metric)
    value = number(row.get(metric), digits)
    if value == NONE or not bounds:
        return value
    return f"{value} [{number(bounds[0], digits)}, {number(bounds[1], digits)}]"


def beside_control(row: dict, metric: str) -> str:
    """A value and, in parentheses, what the shuffled control has: `0.700 (0.310)`."""
    value, shuffled = number(row.get(metric)), number(control(row, "shuffled_vector").get(metric))
    return value if NONE in (value, shuffled) else f"{value} ({shuffled})"


def markdown(table: pd.DataFrame) -> str:
    """A table of strings in Markdown; every column after the first two is right-aligned where it holds numbers."""

    def escape(text) -> str:
        return re.sub(r"\s+", " ", str(text)).replace("|", "\\|")

    numeric = [bool(len(table)) and table[c].map(lambda v: bool(re.match(r"[\d.–-]", str(v)))).all() for c in table]
    lines = [list(map(escape, table.columns)), ["---:" if n else "---" for n in numeric]]
    lines += [list(map(escape, row)) for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def legend(metrics: pd.DataFrame) -> str:
    """What the marks of a table mean; empty where it has none."""
    rows, usual = metrics.to_dict("records"), usual_reference(metrics)
    labels = " ".join(label(row) + reference_mark(row, usual) for row in rows)
    return "; ".join(f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in labels)


def provenance(folder: str | Path) -> str:
    """One line on what made a run's numbers: preset, seed, data, encoder, scorers, device, versions."""
    first = next(iter(load_metrics(folder).to_dict("records")), {})  # the data stands beside every number
    path = Path(folder) / "settings.json"
    record = {key: first.get(key) for key in PROVENANCE} | (paths.read_json(path) if path.is_file() else {})
    words = [f"{key.replace('_', ' ')} {record[key]}" for key in PROVENANCE if record.get(key) is not None]
    if record.get("scorers") is not None and record.get("scorers") == record.get("encoder"):
        words.append("the scorer is the encoder itself")
    versions = record.get("versions") or {}
    words += [f"{name} {versions[name]}" for name in ("torch", "transformers") if name in versions]
    return ", ".join(words)


def section(name: str, folder: str | Path) -> str:
    """What stands between README.md's `<!-- table:NAME -->` and `<!-- /table -->`; ValueError for an unknown NAME."""
    if name == "examples":
        return markdown(examples_table(folder))
    makers = {"results": results_table, "deck": deck_table}
    if name not in makers:
        raise ValueError(f"README.md asks for table {name!r}; tables are {', '.join([*makers, 'examples'])}")
    metrics = load_metrics(folder)
    notes = legend(metrics) if name == "results" else ONE_STEP_NOTE
    return "\n\n".join(part for part in (markdown(makers[name](metrics)), notes, f"*{provenance(folder)}*") if part)


def rebuild_readme(text: str, folder: str | Path) -> str:
    """README.md's text with the tables between its markers made anew from a published run; the rest stays as it is."""

    def fill(match: re.Match) -> str:
        return f"{match[1]}\n{section(match[2], folder)}\n{match[3]}"

    return re.sub(r"(<!-- table:(\w+) -->)\n.*?(<!-- /table -->)", fill, text, flags=re.DOTALL)


def results_readme() -> str:
    """results/README.md: every published run's full tables, with controls, intervals and cost."""
    parts = [
        "# Results",
        "Made by `make publish` from each run's metrics.json. Test split; 95 % intervals in brackets: Wilson for exact "
        f"match, bootstrap over headlines for the rest; {NONE} was not measured; "
        f"{'; '.join(f'{mark} {meaning}' for mark, meaning in MARKS.items())}. "
        "`no_vector` is a decoder of the same shape trained on a constant vector, `shuffled_vector` the trained model "
        "with another headline's vector.",
        "In metrics.json accuracy, top_k and recovered_bits (of reference_bits, under the reference language model "
        "reference_model) are over the n_forced headlines of the split, what is generated over its first n; "
        "utilisation is recovered bits per number of the vector; encode_ms and decode_ms are per headline, the median "
        "of five turns in one sitting, with threads of the CPU; stopped_by tells what ended the training, and "
        "max_steps = steps repeats it; better_by is the paired difference to the shuffled control, with its 95 % "
        "interval; null is what was not measured.",
    ]
    for folder in sorted(path.parent for path in paths.RESULTS.glob("*/metrics.json")):
        parts += [f"## {folder.name}", provenance(folder)]
        for title, table in full_tables(load_metrics(folder)).items():
            parts += [f"### {title}", markdown(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def closing_table(folder: str | Path) -> str:
    """What a run ends with, as plain text: its own results, the published ones, and the deck's."""
    shown = published()
    parts = []
    places = {"this run": Path(folder), f"published: results/{shown.name}" if shown else "published": shown}
    for title, place in places.items():
        if place is None or not (place / "metrics.json").is_file():
            parts.append(f"{title}: no metrics.json")
            continue
        metrics = load_metrics(place)
        parts.append("\n".join(filter(None, (title, results_table(metrics).to_string(index=False), legend(metrics)))))
    deck = DECK.astype(object).where(DECK.notna(), NONE)
    deck["accuracy"] = [marked(row, number(row["accuracy"])) for row in DECK.to_dict("records")]
    deck.columns = ["model", "D", "teacher-forced accuracy", "BERTScore (deberta)"]
    parts.append(f"the deck (BERT base)\n{deck.to_string(index=False)}\n{ONE_STEP_NOTE}")
    return "\n\n".join(parts)
