"""What is published as tables: those of README.md and results/README.md, and the one that a run ends with."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from invlib import paths
from invlib.data.deck import DECK
from invlib.evaluation.run_results import inverted
from invlib.series.tables import (
    MARKS,
    NONE,
    ONE_STEP_NOTE,
    control,
    full_tables,
    label,
    legend,
    load_metrics,
    main_rows,
    marked,
    number,
    published,
    rank,
    settings_of,
    stated,
    with_interval,
)
from invlib.settings import Settings

PROVENANCE = ("preset", "seed", "data_source", "data_hash", "encoder", "scorers", "judge", "device")
CONTROLS = ("packed_ids", "arithmetic_code")  # of 08_noise.csv
ATTACKS = {  # of 12_attacks.csv, as README.md calls them
    "nearest training headline": "nothing inverted: the nearest training headline",
    "greedy": "one pass of the inverter",
    "beam of 8, re-ranked": "eight texts, the nearest counts",
    "search and corrector": "and eight rounds of search and corrector",
}


def results_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """README's table: the models under greedy search, six columns."""
    rows = [
        {
            "model": label(row),
            "D": f"{row['embedding_dim']}",
            "generated accuracy [95 %]": with_interval(row, "generated_accuracy"),
            "exact match": number(row.get("exact_match")),
            "agreement with the encoder": number(row.get("rank_correlation"), 2),
            "recovered bits": marked(row, number(row.get("recovered_bits"), 1), "recovered_bits"),
        }
        for row in main_rows(metrics)
    ]
    return pd.DataFrame(rows)


def unlearned_table(folder: str | Path) -> pd.DataFrame:
    """The two controls whose vectors nothing learns, without noise, as rows of `results_table`; none where 08 has none.

    Agreement is that of the code weight which the models have; it was measured for the packed ids alone.
    """
    files = [Path(folder) / "tables" / name for name in ("08_noise.csv", "appendix_meaning.csv")]
    if not all(file.is_file() for file in files):
        return pd.DataFrame()
    clean, meaning = (pd.read_csv(file) for file in files)
    clean, weight = clean[clean["noise"] == 0].set_index("model"), Settings().code_weight
    agreement = meaning[np.isclose(meaning["weight"], weight)].set_index("model")["rank_correlation"]
    rows = [
        {
            "model": f"control: {name} (n = {row['n']:.0f})",
            "D": f"{row['D']:.0f}",
            "generated accuracy [95 %]": stated(row["generated_accuracy"], row["low"], row["high"]),
            "exact match": number(row["exact_match"]),
            "agreement with the encoder": number(agreement.get(name), 2),
            "recovered bits": NONE,
        }
        for name, row in clean.iterrows()
        if name in CONTROLS
    ]
    return pd.DataFrame(rows)


def deck_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """The deck's figures beside this run's at the same row and D; different scorers have a column each."""
    here = {(row["model"], row["embedding_dim"]): row for row in main_rows(metrics) if not row.get("variant")}
    scorers = {str(row.get("bertscore_model")) for row in here.values() if row.get("bertscore_f1") is not None}
    deck = {(row["model"], row["embedding_dim"]): row for row in DECK.astype(object).to_dict("records")}
    rows = []
    for key in sorted({*deck, *here}, key=lambda key: (rank(key[0]), *key)):
        theirs, ours = deck.get(key, {}), here.get(key, {})
        score, shuffled = (number(r.get("bertscore_f1")) for r in (ours, control(ours, "shuffled_vector")))
        rows.append({
            "model": key[0],
            "D": f"{key[1]}",
            "accuracy, deck": marked(theirs, number(theirs.get("accuracy"))),
            "accuracy, here": marked(ours, number(ours.get("accuracy"))),
            "BERTScore, deck (deberta)": number(theirs.get("bertscore_f1")),
            f"BERTScore, here ({', '.join(sorted(scorers)) or NONE}; its shuffled control)":
                score if NONE in (score, shuffled) else f"{score} ({shuffled})",
        })  # fmt: skip
    return pd.DataFrame(rows)


def examples_table(folder: str | Path) -> pd.DataFrame:
    """The first six inputs of a run's examples.csv, decoded greedily by its first model, the best, and by the deck."""
    frame = pd.read_csv(Path(folder) / "examples.csv", keep_default_na=False)
    best = frame[(frame["search"] == "greedy") & (frame["model"] == frame["model"].iloc[0])].head(6)
    columns = {"input": "input", "decoded": f"decoded by {frame['model'].iloc[0]}", "deck": "decoded by the deck"}
    return best[list(columns)].rename(columns=columns).reset_index(drop=True)


def inversion_table(folder: str | Path) -> pd.DataFrame:
    """README.md's table of what comes back from plain embeddings: a run's attacks, and the whole one on other texts."""
    attacks = pd.read_csv(Path(folder) / "tables" / "12_attacks.csv").set_index("attack")
    texts = inverted(folder)
    rows = [(words, attacks.loc[name]) for name, words in ATTACKS.items()]
    rows += [(f"the same, {name}", texts.loc[name]) for name in texts.index]
    return pd.DataFrame([
        {
            "attack": words, "texts": f"{row['n']:.0f}",
            "words found, any order": f"{row['token_f1']:.2f} [{row['token_f1_low']:.2f}, {row['token_f1_high']:.2f}]",
            "BLEU": f"{row['bleu']:.1f}",
            "exact": f"{row['exact']:.3f} [{row['exact_low']:.3f}, {row['exact_high']:.3f}]",
            "cosine": f"{row['cosine']:.3f}",
        }
        for words, row in rows
    ])  # fmt: skip


def markdown(table: pd.DataFrame) -> str:
    """A table of strings in Markdown; every column that holds numbers alone is right-aligned."""

    def line(cells) -> str:
        return "| " + " | ".join(re.sub(r"\s+", " ", str(cell)).replace("|", "\\|") for cell in cells) + " |"

    numeric = [bool(len(table)) and table[c].map(lambda v: bool(re.match(r"[\d.–-]", str(v)))).all() for c in table]
    aligned = line("---:" if n else "---" for n in numeric)
    return "\n".join([line(table.columns), aligned, *map(line, table.itertuples(index=False))])


def provenance(folder: str | Path) -> str:
    """One line on what made a run's numbers: preset, seed, data, encoder, scorers, judge, device, versions."""
    first: dict = next(iter(load_metrics(folder).to_dict("records")), {})
    record = {key: first.get(key) for key in PROVENANCE} | settings_of(folder) | {"judge": first.get("judge")}
    words = [f"{key.replace('_', ' ')} {record[key]}" for key in PROVENANCE if record.get(key) is not None]
    if record.get("scorers") is not None and record.get("scorers") == record.get("encoder"):
        words.append("the scorer is the encoder itself")
    if record.get("at_once", 1) > 1:
        words.append(f"times with {record['at_once']} processes at once")
    versions = record.get("versions") or {}
    words += [f"{name} {versions[name]}" for name in ("torch", "transformers") if name in versions]
    return ", ".join(words)


def rebuild_readme(text: str, folder: str | Path) -> str:
    """README.md's text with its tables (`<!-- table:NAME --> ... <!-- /table -->`) made anew from a published run."""
    metrics, made = load_metrics(folder), f"*{provenance(folder)}*"
    parts = {
        "results": lambda: (
            markdown(pd.concat([results_table(metrics), unlearned_table(folder)])),
            legend(metrics),
            made,
        ),
        "deck": lambda: (markdown(deck_table(metrics)), ONE_STEP_NOTE, made),
        "examples": lambda: (markdown(examples_table(folder)),),
        "inversion": lambda: (markdown(inversion_table(folder)),),
    }

    def fill(match: re.Match) -> str:
        if match[2] not in parts:
            raise ValueError(f"README.md asks for table {match[2]!r}; tables are {', '.join(parts)}")
        return "\n".join((match[1], "\n\n".join(filter(None, parts[match[2]]())), match[3]))

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
        "of five turns in one sitting, with threads of the CPU (without threads: one turn, one sitting a model, not to "
        "be compared); stopped_by tells what ended the training, and so many steps as a setting repeat it; "
        "tokens_per_second counts the word pieces that training read, without padding, over all of its time, and "
        "peak_share is the part of the card's peak that it used; "
        "better_by is the paired difference to the shuffled control, with its 95 % interval; null was not measured.",
    ]
    for folder in sorted(path.parent for path in paths.RESULTS.glob("*/metrics.json")):
        parts += [f"## {folder.name}", provenance(folder)]
        for title, table in full_tables(load_metrics(folder)).items():
            parts += [f"### {title}", markdown(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def closing_table(folder: str | Path) -> str:
    """What a run ends with, as plain text: its own results, the published ones, and the deck's."""
    shown, parts = published(), []
    for title, place in (
        ("this run", Path(folder)),
        (f"published: results/{shown.name}" if shown else "published", shown),
    ):
        if place and (place / "metrics.json").is_file():
            metrics = load_metrics(place)
            parts.append(f"{title}\n{results_table(metrics).to_string(index=False)}\n{legend(metrics)}".strip())
        else:
            parts.append(f"{title}: no metrics.json")
    deck = DECK.astype(object).where(DECK.notna(), NONE)
    deck["accuracy"] = [marked(row, number(row["accuracy"])) for row in DECK.to_dict("records")]
    deck.columns = ["model", "D", "teacher-forced accuracy", "BERTScore (deberta)"]
    parts.append(f"the deck (BERT base)\n{deck.to_string(index=False)}\n{ONE_STEP_NOTE}")
    return "\n\n".join(parts)
