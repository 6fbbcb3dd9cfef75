"""What a run left behind, to be measured: its models, the settings each was trained with, and their headlines."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from invlib import paths
from invlib.data.at_hand import N_SYNTHETIC, explored
from invlib.encoders.material import Material, load_material
from invlib.models.model import InvertibleSentenceModel
from invlib.rows import ROWS, SIZED, model_name, split_row_name
from invlib.settings import Settings, row_names
from invlib.training.record import TrainingRecord, model_hash, records

# What is taken from the settings that measure
MEASURING = ("scorers", "judge", "n_forced", "n_generate", "n_search", "n_bootstrap")
SHIPPED = "hybrid_384_long"  # the model that the repository carries
INVERTER = "mean_decoder_384_corrector"  # and one of MiniLM's own vectors, whose one pass gets most words, not all
IDENTITY = ("model", "embedding_dim", "variant", "search")  # one object of metrics.json


@dataclass(frozen=True)
class TrainedRun:
    """The models of a run by name in the main table's order, their records and settings, and their material."""

    folder: Path
    models: dict[str, InvertibleSentenceModel]
    records: dict[str, TrainingRecord]
    settings: dict[str, Settings]
    material: Material
    shipped: bool = False  # the models are the repository's: there is no run

    @property
    def source(self) -> str:
        """Whose headlines these are and, where there is no run, whose models: the first lines of a notebook."""
        corpus = self.material.corpus
        headlines = f"headlines from {corpus.source}"
        if corpus.synthetic:
            headlines += ": SYNTHETIC, nothing below is about news"
        if not self.shipped:
            return headlines
        n = sum(len(part) for part in corpus.splits.values())
        seen = "" if corpus.synthetic else "; the models may have been trained on them"
        return (
            f"NO RUN on this machine: models of the REPOSITORY (data/models), {', '.join(self.models)}\n{n} "
            f"{headlines}{seen}"
        )

    def ranked(self, searching: bool = False) -> list[str]:
        """The models by next-token accuracy on the validation headlines, the best first.

        searching: models that generate one word after another come first, since the others have nothing to search.
        """

        def rank(name: str) -> tuple:
            one_pass = self.models[name].config.decoder == "one_pass"
            return searching and one_pass, -(self.records[name].accuracy or 0)  # a corrector's was not measured

        return sorted(self.models, key=rank)

    def table(self) -> pd.DataFrame:
        """Which run, and how each of its models was made."""
        run = "none" if self.shipped else self.folder.name
        rows = [
            (name, run, s.preset, s.encoder, r.seconds / 60, r.steps, r.stopped_by, r.accuracy)
            for name, s, r in ((name, self.settings[name], self.records[name]) for name in self.models)
        ]
        columns = ["model", "run", "preset", "encoder", "minutes", "steps", "stopped by", "validation accuracy"]
        return pd.DataFrame(rows, columns=columns)


def load_run(
    run: str | Path | None, settings: Settings, *, rows=None, encoder: str | None = None, seed: int | None = None
) -> TrainedRun:
    """The trained models of a run (as `paths.find_run` finds it), without no-vector controls and ablations.

    A model keeps the settings it was trained with; `settings` says how it is measured (scorers, judge, n_generate,
    n_search, n_bootstrap) and, where it names one, the data.
    rows, encoder, seed: where given, only models with these. Where nobody names a run or models and none is there, they
    are the repository's (`shipped_run`).
    Raises FileNotFoundError where no run has models, ValueError where none is left, where their settings of the
    corpus differ, or where the headlines are not those that they were trained on.
    """
    if paths.unmade(run, "models") and (rows, encoder, seed) == (None, None, None):
        return shipped_run(settings)
    folder = paths.find_run(run, needs="models")
    found = records(folder)

    def wanted(record: TrainingRecord) -> bool:
        s = record.settings
        of_the_run = s.row != "no_vector" and record.purpose == "study"
        return of_the_run and encoder in (None, s.encoder) and seed in (None, s.seed)

    names = sorted((name for name, record in found.items() if wanted(record)), key=table_order)
    models = {name: InvertibleSentenceModel.from_pretrained(folder / "models" / name) for name in names}
    if rows is not None:
        models = {n: m for n, m in models.items() if n in row_names(settings, m.config.hidden_size)}
    if not models:
        raise ValueError(
            f"no model of {folder.name} has rows={rows}, encoder={encoder}, seed={seed}; "
            f"it holds {', '.join(found) or 'none'}: train with notebooks/03_training.ipynb"
        )
    how = measuring_of(settings)
    own = {name: dataclasses.replace(found[name].settings, **how) for name in models}
    corpora = {(s.data, s.column, s.seed, s.encoder, s.n_headlines, s.max_length) for s in own.values()}
    if len(corpora) > 1:
        raise ValueError(f"the models of {folder.name} share no corpus: {corpora}; give rows, encoder or seed")
    material = load_material(next(iter(own.values())), progress=False)
    here = material.corpus.data_hash
    if strangers := [name for name in models if found[name].identity.data_hash != here]:
        raise ValueError(
            f"{', '.join(strangers)} of {folder.name} were trained on other headlines than these ({here}): what is "
            "tested here may have been trained on; give data= or INVLIB_DATA as that run had it"
        )
    return TrainedRun(folder, models, {name: found[name] for name in models}, own, material)


def measuring_of(settings: Settings) -> dict:
    """What a loaded model takes from the settings that measure; its data only where they name some."""
    keys = MEASURING if settings.data is None else (*MEASURING, "data", "column")
    return {key: getattr(settings, key) for key in keys}


def shipped_run(settings: Settings) -> TrainedRun:
    """The models that come with the repository, on a few headlines: what a notebook shows where there is no run.

    The headlines are those at hand, synthetic ones where there are none (`explored`).
    """
    few = explored(settings, None)
    how = measuring_of(few) | {"n_headlines": min(N_SYNTHETIC, few.n_headlines or N_SYNTHETIC)}
    folders = {name: paths.DATA / "models" / name for name in (SHIPPED, INVERTER)}
    found = {name: TrainingRecord.read(folder) for name, folder in folders.items()}
    own = {name: dataclasses.replace(record.settings, **how) for name, record in found.items()}
    models = {name: InvertibleSentenceModel.from_pretrained(folder) for name, folder in folders.items()}
    return TrainedRun(paths.DATA, models, found, own, load_material(own[SHIPPED], progress=False), shipped=True)


def imperfect(trained: TrainedRun) -> tuple[str, InvertibleSentenceModel]:
    """A model that does not get all words from a vector, which shows what a perfect one can't; and its name.

    It is the repository's inverter, where the encoder is its own; else the run's least accurate that is not one-pass.
    """
    model = InvertibleSentenceModel.from_pretrained(paths.DATA / "models" / INVERTER)
    if model.config.encoder_hash == trained.material.encoder.hash:
        return f"{INVERTER} of the repository", model
    ranked = trained.ranked()
    name = next((n for n in reversed(ranked) if trained.models[n].config.decoder != "one_pass"), ranked[-1])
    return name, trained.models[name]


def trained_hybrids(
    run: str | Path | None, settings: Settings, material: Material
) -> dict[str, InvertibleSentenceModel]:
    """The hybrids of every size that this material can be measured with, by name.

    They are those that the run trained on this split for its tables, and of the repository's own the others, where
    the encoder is the one that they were trained on.
    """
    models, folder = {}, paths.run_folder(run)
    for own in sorted((paths.DATA / "models").glob("hybrid_*")):
        if not (folder / "models" / own.name).exists():
            model = InvertibleSentenceModel.from_pretrained(own)
            if model.config.encoder_hash == material.encoder.hash:
                models[f"{own.name} of the repository"] = model
    found = records(folder, "hybrid_*").items()
    names = [name for name, record in found if record.purpose == "study" and not name.endswith(f"_{SIZED}")]
    return models | of_this_split(folder, names, settings, material)


def sized_models(run: str | Path | None, settings: Settings, material: Material) -> dict[str, InvertibleSentenceModel]:
    """The run's models `<row id>_<D>_sized` of this split, by name: poolings that differ in their D alone."""
    folder = paths.run_folder(run)
    return of_this_split(folder, list(records(folder, f"*_{SIZED}")), settings, material)


def of_this_split(
    folder: Path, names: list[str], settings: Settings, material: Material
) -> dict[str, InvertibleSentenceModel]:
    """Of these models of a run, those that were trained on this split and encoder."""
    places = {name: folder / "models" / name for name in names}
    here = material.corpus.data_hash, material.encoder.hash
    fit = [name for name, place in places.items() if TrainingRecord.read(place).judges(settings, *here)]
    return {name: InvertibleSentenceModel.from_pretrained(places[name]) for name in fit}


def table_order(name: str) -> tuple:
    """Where a model stands in the main table: by row, then D, then variant."""
    row, dim, variant = split_row_name(name)
    return list(ROWS).index(row), dim, variant or ""


def name_of(row: Mapping) -> str:
    """The name of the model that an object of metrics.json measured."""
    return model_name(row["model"], row["embedding_dim"], row.get("variant"))


def inverted(folder: str | Path) -> pd.DataFrame:
    """The whole attack of notebook 12 by the texts it read: index "test headlines", "other domains".

    Of 500 test headlines where a run has them (inverted_500.csv), else of the notebook's.
    """
    tables = Path(folder) / "tables"
    found = pd.read_csv(tables / "12_texts.csv").set_index("attack")
    if (tables / "inverted_500.csv").is_file():
        found.loc["test headlines"] = pd.read_csv(tables / "inverted_500.csv").set_index("attack").loc["test headlines"]
    return found


def update_metrics(run: str | Path | None, rows: list[dict]) -> Path | None:
    """Write rows into the run's metrics.json in the place of those of the same model, D, variant and search.

    Other rows stay, but for those of a model that was trained anew since. What was measured of models that are not
    here stays too: published results that were copied into a run can be gone on with, a row at a time. Where a run
    has neither figures nor models (runs/lab, of a notebook opened by itself), it begins with those of the run whose
    models are read (`paths.find_run`), and does not hide them. Where there is no run at all, nothing is written:
    figures of the repository's models on a few headlines are nobody's results.
    """
    if paths.unmade(run, "models"):
        return None
    file = paths.run_folder(run) / "metrics.json"

    def identity(row: dict) -> tuple:
        return tuple(row.get(key) for key in IDENTITY)

    new = {identity(row) for row in rows}
    try:
        source = paths.find_run(run, needs="models")
    except FileNotFoundError:
        source = file.parent
    hashes: dict[str, str | None]
    hashes = {path.parent.name: model_hash(path.parent) for path in source.glob("models/*/model.safetensors")}
    hashes |= {name_of(row): row.get("model_hash") for row in rows}
    begin = file if file.exists() else source / "metrics.json"
    old = paths.read_json(begin) if begin.exists() else []
    unchanged = [row for row in old if hashes.get(name_of(row), row.get("model_hash")) == row.get("model_hash")]
    kept = [row for row in unchanged if identity(row) not in new]
    return paths.write_json(file, kept + rows)
