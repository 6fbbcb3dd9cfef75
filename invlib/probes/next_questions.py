"""What a reader asks next (question_table.py), each answered by a small training of as many steps as the others.

    python -m invlib.probes.next_questions --preset study --run study

writes a line of tables/next_questions.csv as soon as it is measured. Killed and started again, it goes on where it was;
a line that stands there with the same settings is left.
"""

import argparse
import dataclasses
import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from invlib import paths
from invlib.encoders.material import Material, encoded, load_material
from invlib.evaluation.controls import find_reference, shuffled_vectors
from invlib.measures.intervals import bootstrap, paired_difference, ratio, with_ends
from invlib.measures.similarity import rank_correlation, rank_correlation_interval
from invlib.measures.text import recovered_bits, teacher_forced
from invlib.models.model import InvertibleSentenceModel
from invlib.probes.question_table import Part, lines
from invlib.probes.robustness import reconstruction_metrics
from invlib.settings import MODEL_GROUPS, Settings, load_preset, select_row
from invlib.training.record import TrainingRecord, model_hash
from invlib.training.train import train

TABLE = "next_questions"
COMMAND = "python -m invlib.probes.next_questions --preset study --run study"
FEWEST = 5  # headlines of a part in a split, below which its lines are not possible


class NotPossible(ValueError):
    """These headlines can't answer; the message says why, in a sentence."""


class Outcome(NamedTuple):
    """A model on its line's test headlines: figures and, per headline, what a paired difference reads."""

    figures: dict[str, Any]
    counted: tuple[np.ndarray, np.ndarray]


class Questions:
    """The questions put to the headlines of `settings`, in a run: models, and tables/next_questions.csv."""

    def __init__(self, settings: Settings, run: str | Path | None = None, material: Material | None = None):
        self.settings, self.run, self.material = settings, paths.run_folder(run), material or load_material(settings)
        self.lines, self.file = lines(settings), self.run / "tables" / f"{TABLE}.csv"
        self.outcomes: dict[tuple[str, str], Outcome] = {}

    # Which headlines

    @cached_property
    def known(self) -> dict[str, list[tuple[str, str]]]:
        """Source and date of each headline of a split, "" where unknown."""
        splits = self.material.corpus.splits.items()
        return {
            split: [(source or "", date or "") for source, date in zip(part["source"], part["date"], strict=True)]
            for split, part in splits
        }

    def places(self, split: str, part: Part, n: int | None = None) -> list[int]:
        """Where the first n of a part's headlines stand in a split, whose order is drawn."""
        known = self.known[split]
        found = [i for i, (source, date) in enumerate(known) if part.has(source, date)][:n]
        if len(found) < (n or FEWEST):
            needs = f"; it takes {part.needs}" if part.needs else ""
            raise NotPossible(
                f"{len(found)} of {len(known)} {split} headlines are {part.words}, and {n or FEWEST} are needed{needs}"
            )
        return found

    def trained_on(self, name: str) -> dict[str, list[int]]:
        """The places of a line's training and validation headlines, as many as its question's other lines have."""
        line = self.lines[self.model_of(name)]
        n = line.n or len(self.places("train", line.question.seen))
        return {"train": self.places("train", line.trained, n), "validation": self.places("validation", line.trained)}

    def tested_on(self, name: str) -> list[int]:
        """The places of a line's test headlines: `n_generate`, or fewer where either part of its question has fewer."""
        line = self.lines[name]
        sizes = [len(self.places("test", part)) for part in (line.question.seen, line.question.unseen)]
        return self.places("test", line.tested, min(*sizes, self.settings.n_generate or min(sizes)))

    # Its model

    def model_of(self, name: str) -> str:
        return self.lines[name].model_of or name

    def settings_of(self, row: str, name: str) -> Settings:
        """Those of the row and of `*_question` in presets.yaml, for so many steps, with what the line changes."""
        own, variant = select_row(self.settings, f"{row}_question"), self.model_of(name)
        steps: dict[str, Any] = {"steps": self.settings.question_steps, "minutes": None, "bertscore_every_epoch": 0}
        return dataclasses.replace(own, variant=f"question_{variant}", **steps | self.lines[variant].changes)

    def model(self, row: str, name: str) -> tuple[InvertibleSentenceModel, Material]:
        """The line's model, trained unless it is there, and the headlines that it was trained on, all test ones too."""
        own = self.settings_of(row, name)
        chosen, material = self.trained_on(name), self.material
        if own.encoder != self.settings.encoder:
            material = encoded(material.corpus, own)
        if any(len(places) < len(material.states[split]) for split, places in chosen.items()):
            material = material.select(chosen)
        return train(own, self.run, material, "ablation")[0], material

    # What comes of it

    @cached_property
    def reference(self) -> Path | None:
        """The folder of the run's reference language model, where it has one."""
        return find_reference(self.run, self.settings, self.material)

    @cached_property
    def reference_nats(self) -> np.ndarray:
        """The cross-entropy of each test headline under it, (N,) nats."""
        assert self.reference is not None
        reference = InvertibleSentenceModel.from_pretrained(self.reference)
        return teacher_forced(reference, self.material.dataset("test", layers=()), top_k=(1,))["nats"]

    def outcome(self, row: str, name: str) -> Outcome:
        """The line's model on its test headlines: the text, its control, the bits, the vector; and its training.

        The rank correlation is with the vectors of the encoder of `settings`, a random encoder's too.
        """
        if (row, name) in self.outcomes:
            return self.outcomes[row, name]
        (model, material), places, n_bootstrap = self.model(row, name), self.tested_on(name), self.settings.n_bootstrap
        dataset = material.select({"test": places}).dataset("test", layers=model.reads_layers)
        forced = teacher_forced(model, dataset, top_k=(1,))
        z, sentence = forced["sentence_embedding"], np.asarray(self.material.states["test"].sentence)[places]
        own = reconstruction_metrics(model, z, dataset, n_bootstrap)
        shuffled = reconstruction_metrics(model, shuffled_vectors(z), dataset, n_bootstrap)
        counted, by_chance = ((m["matches"]["right"], m["matches"]["positions"]) for m in (own, shuffled))
        bits: list[float | None] = [None] * 3
        if self.reference:
            gained = recovered_bits(forced["nats"], self.reference_nats[places])
            bits = [gained.mean(), *bootstrap(np.mean, gained, n=n_bootstrap)]
        record = TrainingRecord.read(self.run / "models" / self.settings_of(row, name).name)
        figures = {"train_headlines": record.train_headlines, "steps": record.steps, "epochs": record.epochs}
        figures |= {"seconds": record.seconds, "sent_sim_weight": record.settings.sent_sim_weight, "n": len(places)}
        figures |= with_ends("generated_accuracy", own["generated_accuracy"], own["low"], own["high"])
        figures |= with_ends("shuffled_accuracy", shuffled["generated_accuracy"], shuffled["low"], shuffled["high"])
        figures["clear_of_shuffled"] = paired_difference(counted, by_chance, ratio, n_bootstrap).low > 0
        figures |= with_ends("exact_match", own["exact_match"], own["exact_low"], own["exact_high"])
        figures |= with_ends("recovered_bits", *bits)
        ends = rank_correlation_interval(z, sentence, n_bootstrap)
        figures |= with_ends("rank_correlation", rank_correlation(z, sentence), *ends)
        self.outcomes[row, name] = Outcome(figures, counted)
        return self.outcomes[row, name]

    def key(self, row: str, name: str) -> str:
        """12 hex digits over all that a line's figures depend on."""
        beside = self.lines[name].beside
        depends = [
            self.settings_of(row, name).values(*MODEL_GROUPS), self.material.encoder.hash,
            self.material.corpus.data_hash, self.trained_on(name), self.tested_on(name), self.settings.n_bootstrap,
            model_hash(self.reference) if self.reference else None, self.key(row, beside) if beside else None,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:12]

    def done(self) -> pd.DataFrame:
        """The table as it is."""
        if not self.file.is_file():
            return pd.DataFrame(columns=["row", "line", "key"])
        return pd.read_csv(self.file, dtype={"key": str})

    def ask(self, row: str, name: str) -> bool:
        """Train and measure a line and write it; False where it stands there already. NotPossible says why not."""
        line, key, table = self.lines[name], self.key(row, name), self.done()
        place = (table["row"] == row) & (table["line"] == name)
        if key in set(table.loc[place, "key"]):
            return False
        found = self.outcome(row, name)
        difference: tuple[float | None, ...] = (None, None, None)
        if line.beside:
            sides = found.counted, self.outcome(row, line.beside).counted
            difference = paired_difference(*sides, ratio, self.settings.n_bootstrap)
        table = self.done()  # another process may have written lines meanwhile
        place = (table["row"] == row) & (table["line"] == name)
        new = {"question": line.question.words, "row": row, "line": name, "changed": line.changed}
        new |= {"compared_with": line.beside} | found.figures | with_ends("difference", *difference) | {"key": key}
        order = [*self.lines]
        found_so_far = [*table[~place].to_dict("records"), new]
        found_so_far.sort(key=lambda old: order.index(old["line"]) if old["line"] in order else len(order))
        paths.write_csv(self.file, pd.DataFrame(found_so_far))
        return True

    def ask_all(self, names: list[str]) -> None:
        """Ask these lines, or all, of each of `question_rows`; print what comes of each, and what is not possible.

        ValueError for an unknown line.
        """
        if unknown := set(names) - set(self.lines):
            raise ValueError(f"unknown line {', '.join(sorted(unknown))}; lines are {', '.join(self.lines)}")
        wanted = {*names, *(self.lines[name].beside for name in names)} if names else set(self.lines)
        not_possible: dict[str, None] = {}  # the same for several lines and rows
        for row in self.settings.question_rows:
            for name, line in self.lines.items():
                if name not in wanted or not (line.every_row or row == self.settings.question_rows[0]):
                    continue
                name_in_words = f"{row}, {line.question.words}, {line.changed}"
                try:
                    print(f"{name_in_words}: {'measured' if self.ask(row, name) else 'is there already'}", flush=True)
                except NotPossible as error:
                    not_possible[f"{line.question.words}: not possible with these headlines: {error}"] = None
        for why in not_possible:
            print(why, flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m invlib.probes.next_questions", description=__doc__)
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--line", action="append", default=[], help="a line of the table, repeatable; default: all")
    parser.add_argument("--row", action="append", help="<row id>_<D>, repeatable; default: the preset's question_rows")
    parser.add_argument("--run", default=None, help="folder or name under runs/")
    parser.add_argument("--data", default=None)
    parser.add_argument("--encoder", default=None, help="minilm, a hub name or a folder")
    args = parser.parse_args(argv)
    rows = args.row and " ".join(args.row)
    try:
        settings = load_preset(args.preset, data=args.data, encoder=args.encoder, question_rows=rows)
        Questions(settings, args.run).ask_all(args.line)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
