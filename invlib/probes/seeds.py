"""The study's rows trained again with other seeds: the spread over seeds stands beside the interval over headlines.

    python -m invlib.probes.seeds --preset study --run study

writes a line of tables/seeds.csv as soon as it is measured. Killed and started again, it goes on where it was; a line
that stands there with the same settings is left. The seed changes the starting weights, the batches and the random
sentences; the headlines stay split as the settings' own seed splits them.
"""

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from invlib import paths
from invlib.encoders.material import Material, load_material
from invlib.measures.intervals import ratio, with_ends
from invlib.measures.similarity import rank_correlation
from invlib.measures.text import teacher_forced
from invlib.models.model import InvertibleSentenceModel
from invlib.probes.robustness import reconstruction_metrics
from invlib.settings import MODEL_GROUPS, Settings, check, load_preset, row_names, select_row
from invlib.training.record import TrainingRecord, identity_of
from invlib.training.train import train

TABLE = "seeds"
SEEDS = (0, 1, 2)
SPREAD = ("accuracy", "generated_accuracy", "exact_match", "rank_correlation")  # the figures that `spread` is over


class Seeds:
    """The rows of `settings` trained with several seeds on one split, in a run: models, and tables/seeds.csv."""

    def __init__(self, settings: Settings, run: str | Path | None = None, material: Material | None = None):
        self.settings, self.run, self.material = settings, paths.run_folder(run), material or load_material(settings)
        self.rows = row_names(settings, self.material.encoder.hidden_size)
        self.file = self.run / "tables" / f"{TABLE}.csv"

    def settings_of(self, row: str, seed: int) -> Settings:
        """Those of the row with another seed; ValueError for an unknown row, or a seed outside its limits.

        And for a no-vector control: with a seed in its record that is not the split's it could become a reference.
        """
        if row.startswith("no_vector"):
            raise ValueError(f"{row} has no vector; name a model of the study's table")
        own = dataclasses.replace(select_row(self.settings, row), seed=seed)
        check(own)  # before the variant, which presets.yaml does not know
        return dataclasses.replace(own, variant=f"seed_{seed}")

    def settings_of_model(self, row: str, seed: int) -> Settings:
        """`settings_of`, or those of the row's own model where the run has it, trained with this very seed."""
        plain = select_row(self.settings, row)
        record = TrainingRecord.find(self.run / "models" / plain.name) if plain.seed == seed else None
        identity = identity_of(plain, self.material.corpus.data_hash, self.material.encoder.hash)
        return plain if record and record.identity == identity else self.settings_of(row, seed)

    def key(self, row: str, seed: int) -> str:
        """12 hex digits over all that a line's figures depend on."""
        depends = [
            self.settings_of(row, seed).values(*MODEL_GROUPS), self.material.encoder.hash,
            self.settings.seed, self.material.corpus.data_hash, self.settings.n_generate, self.settings.n_bootstrap,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:12]

    def figures(self, model: InvertibleSentenceModel) -> dict[str, Any]:
        """A model on the test headlines: accuracy and the vectors on all, what is generated on the first n_generate."""
        dataset = self.material.dataset("test", layers=model.reads_layers)
        forced = teacher_forced(model, dataset, top_k=(1,))
        z, sentence = forced["sentence_embedding"], np.asarray(self.material.states["test"].sentence)
        own = reconstruction_metrics(model, z[: self.settings.n_generate], dataset, self.settings.n_bootstrap)
        found = {"n": own["n"], "accuracy": ratio(forced["hits_1"], forced["tokens"])}
        found |= with_ends("generated_accuracy", own["generated_accuracy"], own["low"], own["high"])
        found |= with_ends("exact_match", own["exact_match"], own["exact_low"], own["exact_high"])
        return found | {"rank_correlation": rank_correlation(z, sentence)}

    def done(self) -> pd.DataFrame:
        """The table as it is."""
        if not self.file.is_file():
            return pd.DataFrame(columns=["row", "seed", "key"])
        return pd.read_csv(self.file, dtype={"key": str})

    def measure(self, row: str, seed: int) -> bool:
        """Train a row with a seed, measure it and write its line; False where it stands there already."""
        key, table = self.key(row, seed), self.done()
        place = (table["row"] == row) & (table["seed"] == seed)
        if key in set(table.loc[place, "key"]):
            return False
        own = self.settings_of_model(row, seed)
        model, _ = train(own, self.run, self.material, "ablation")
        record = TrainingRecord.read(self.run / "models" / own.name)
        new = {"row": row, "seed": seed, "device": record.device, "steps": record.steps, "epochs": record.epochs}
        new |= {"seconds": record.seconds} | self.figures(model) | {"key": key}
        table = self.done()  # another process may have written meanwhile
        place = (table["row"] == row) & (table["seed"] == seed)
        order = {name: i for i, name in enumerate(self.rows)}
        lines = [*table[~place].to_dict("records"), new]
        lines.sort(key=lambda line: (order.get(line["row"], len(order)), line["row"], line["seed"]))
        paths.write_csv(self.file, pd.DataFrame(lines))
        return True

    def measure_all(self, rows: Sequence[str] = (), seeds: Sequence[int] = SEEDS) -> None:
        """Train and measure these rows, or all of the preset, with each seed; print what comes of each.

        ValueError, before the first is trained, for an unknown row or seed.
        """
        chosen = dataclasses.replace(self.settings, rows=tuple(rows) or self.settings.rows)
        asked = [(row, seed) for row in row_names(chosen, self.material.encoder.hidden_size) for seed in seeds]
        for row, seed in asked:
            self.settings_of(row, seed)
        for row, seed in asked:
            print(f"{row}, seed {seed}: {'measured' if self.measure(row, seed) else 'is there already'}", flush=True)


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """Of the lines of tables/seeds.csv, per row: seeds, their number, and <figure>_lowest and <figure>_highest."""
    ends = {f"{name}_{end}": (name, how) for name in SPREAD for end, how in (("lowest", "min"), ("highest", "max"))}
    return table.groupby("row", sort=False, as_index=False).agg(seeds=("seed", "nunique"), **ends)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m invlib.probes.seeds", description=__doc__)
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--row", action="append", default=[], help="<row id>_<D>, repeatable; default: the preset's")
    parser.add_argument("--seed", action="append", type=int, help="repeatable; default: 0, 1 and 2")
    parser.add_argument("--run", default=None, help="folder or name under runs/")
    parser.add_argument("--data", default=None)
    parser.add_argument("--encoder", default=None, help="minilm, a hub name or a folder")
    args = parser.parse_args(argv)
    try:
        settings = load_preset(args.preset, data=args.data, encoder=args.encoder)
        seeds = Seeds(settings, args.run)
        seeds.measure_all(args.row, args.seed or SEEDS)
        print(spread(seeds.done()).round(3).to_string(index=False))
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
