"""The record of a training, training.json: the one place that writes it, reads it, compares it and migrates it."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch

from invlib import paths
from invlib.device import device
from invlib.settings import MODEL_GROUPS, Settings, with_tuples

FILE = "training.json"
VERSION = 3  # of the file; an older one is migrated when it is read


@dataclass(frozen=True)
class Identity:
    """What a training depends on: its settings, its headlines, and the weights of the encoder that it reads."""

    settings: dict
    data_hash: str
    encoder_hash: str | None = None  # of a language model: of the vocabulary; None in old records: not known

    def same(self, other: "Identity") -> bool:
        """Whether both trainings would give the same model."""
        known = None in (self.encoder_hash, other.encoder_hash) or self.encoder_hash == other.encoder_hash
        return known and self.settings == other.settings and self.data_hash == other.data_hash

    def write(self, file: Path) -> None:
        paths.write_json(file, vars(self) | {"version": VERSION})

    @classmethod
    def read(cls, file: Path) -> "Identity":
        """The identity in a file; ValueError for one that this version does not read."""
        try:
            return cls.of(migrated(paths.read_json(file)))
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{file} is no identity of a training that this version reads: {error}") from error

    @classmethod
    def of(cls, values: dict) -> "Identity":
        """The identity among the values of a file."""
        return cls(**{f.name: values[f.name] for f in dataclasses.fields(cls)})


def identity_of(settings: Settings, data_hash: str, encoder_hash: str) -> Identity:
    """The identity of a model's training, as it is read back from JSON."""
    return Identity(settings.values(*MODEL_GROUPS), data_hash, encoder_hash)


@dataclass(frozen=True)
class TrainingRecord:
    """How one model, or one language model, was trained. What was not written down is None.

    purpose: "study", or "ablation" for a model of the own table of the appendix, 08 or 12, which no other shows.
    stopped_by: "time", "plateau", "epochs" or "steps". threads: of torch, on the CPU. cut_headlines: training headlines
    longer than `max_length`, whose end the model never saw. tokens, parameters: of a language model and its corpus.
    tokens_seen: word pieces that were read in training, padding left out. peak_share: of the card, see `peak_share`.
    """

    identity: Identity
    seconds: float
    epochs: float
    stopped_by: str
    validation_loss: float
    accuracy: float | None
    steps: int | None = None
    measuring: dict = field(default_factory=dict)
    purpose: str = "study"
    sent_sim_seconds: float | None = None
    train_headlines: int | None = None
    random_sentences: int | None = None
    cut_headlines: int | None = None
    tokens: int | None = None
    tokens_seen: int | None = None
    peak_share: float | None = None
    parameters: int | None = None
    threads: int | None = field(default_factory=torch.get_num_threads)
    device: str | None = field(default_factory=lambda: device().type)
    version: int = VERSION

    @property
    def tokens_per_second(self) -> float | None:
        """Word pieces read a second, the time of the evaluations included; None where they were not counted."""
        return self.tokens_seen / self.seconds if self.tokens_seen and self.seconds else None

    @property
    def settings(self) -> Settings:
        """The settings that the model was trained with, and those that it was to be measured with."""
        return Settings(**with_tuples({"preset": "unknown", **self.measuring, **self.identity.settings}))

    def judges(self, settings: Settings, data_hash: str, encoder_hash: str) -> bool:
        """Whether this model may judge others on this material: it was trained on the same split, cut and read alike.

        What was trained on another split may have been trained on the headlines that it is to judge.
        """
        mine = self.identity
        same = all(mine.settings.get(key) == getattr(settings, key) for key in ("seed", "max_length"))
        return same and mine.data_hash == data_hash and mine.encoder_hash in (None, encoder_hash)

    def write(self, folder: str | Path) -> None:
        """Write <folder>/training.json, the last file of a training: where it stands, the model is whole."""
        values = dataclasses.asdict(self)
        paths.write_json(Path(folder) / FILE, values.pop("identity") | values)

    @classmethod
    def read(cls, folder: str | Path) -> "TrainingRecord":
        """The record of a trained model's folder.

        Raises FileNotFoundError where the folder has none, ValueError for a file that is no record.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            raise FileNotFoundError(f"{folder} has no {FILE}: no model was trained to its end there")
        try:
            values = migrated(paths.read_json(file))
            record = cls(Identity.of(values), **{k: v for k, v in values.items() if k not in Identity.__match_args__})
            if "row" in record.identity.settings:
                _ = record.settings  # TypeError for a setting that this version does not know
            return record
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f"{file} is no record of a training that this version reads: {error}") from error

    @classmethod
    def find(cls, folder: str | Path) -> "TrainingRecord | None":
        """`read`, or None where the folder has no record."""
        return cls.read(folder) if (Path(folder) / FILE).is_file() else None


def records(run: str | Path, pattern: str = "*") -> dict[str, TrainingRecord]:
    """The records of a run's models by their names, in the names' order."""
    found = sorted(file.parent for file in Path(run).glob(f"models/{pattern}/{FILE}"))
    return {folder.name: TrainingRecord.read(folder) for folder in found}


def model_hash(folder: str | Path) -> str:
    """12 hex digits over a saved model's weights."""
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()[:12]


# Migrations: an older file becomes one of today

RENAMED = {  # settings of version 1 -> today's names
    "dealt": "numbers_per_piece", "candidates": "sampled_negatives", "neighbours": "hard_negatives",
    "between": "interpolation_noise_share", "halfway": "mixup_share", "added_sentences": "random_sentence_ratio",
    "code_noise": "vector_noise", "twin_minutes": "no_vector_minutes", "table_minutes": "ablation_minutes",
}  # fmt: skip
BEFORE = {  # what a setting meant before it existed, whatever its default is today
    "encoder_layers": ["last"], "queries": 32, "numbers_per_piece": 0, "position_start": True, "prefix_size": None,
    "code_weight": 0.2, "schedule": "plateau", "vector_noise": 0.0, "interpolation_noise_share": 0.0,
    "mixup_share": 0.0, "random_sentence_ratio": 0.0, "hard_negatives": 0, "steps": None, "no_vector_steps": None,
    "column": None, "recombined_ratio": 0.0, "corrected_texts": 8192, "expanded_size": 1024, "length_copies": 1,
    "start_from": None, "strongest_noise": None, "previous_dropout": 0.0,
    "evaluate_every": None, "corrected_passes": 2, "own_hypotheses": 0.15,
}  # fmt: skip
BEFORE_LANGUAGE_MODEL = {"steps": None}  # the same for a language model's settings
OLD_ABLATIONS = (
    "plain", "no_position_start", "last_only", "slots", "own_words", "no_added", "no_noise", "between", "no_prefix",
    "mine",
)  # fmt: skip


def renamed(settings: dict) -> dict:
    """Settings of version 1 under today's names."""
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def from_version_1(values: dict) -> dict:
    """Names of settings; the vocabulary's hash of a language model; the purpose, which the variant decided."""
    values = dict(values)
    settings = renamed(values["settings"])
    is_language_model = "words" in values
    values["settings"] = settings
    values["measuring"] = renamed(values.get("measuring", {}))
    if is_language_model:
        values["encoder_hash"] = values.pop("words")
    values.setdefault("encoder_hash", None)
    values["random_sentences"] = values.pop("added_sentences", None)
    values.pop("published_from", None)
    purpose = "ablation" if settings.get("variant") in OLD_ABLATIONS else "study"
    return {"threads": None, "device": None} | values | {"purpose": purpose, "version": 2}


def from_version_2(values: dict) -> dict:
    """Minutes were the budget of a training, a no-vector control's under a name of its own; now they are a limit."""
    settings, measuring = dict(values["settings"]), dict(values.get("measuring", {}))
    for name in ("ablation_minutes", "lm_minutes"):
        measuring.pop(name, None)
    minutes, steps = settings.pop("no_vector_minutes", None), settings.pop("max_steps", None)
    if settings.get("row") == "no_vector":
        settings |= {"minutes": minutes, "no_vector_steps": steps}
    else:
        settings |= {"steps": steps}
    return values | {"settings": settings, "measuring": measuring, "version": 3}


MIGRATIONS = {1: from_version_1, 2: from_version_2}  # a version -> what makes the next one of it


def migrated(values: dict) -> dict:
    """The values of a record's file as a file of today would hold them; ValueError for one of a newer version."""
    while (version := values.get("version", 1)) != VERSION:
        if version not in MIGRATIONS:
            raise ValueError(f"its version is {version}, and this package knows up to {VERSION}; update invlib")
        values = MIGRATIONS[version](values)
    before = BEFORE if "row" in values["settings"] else BEFORE_LANGUAGE_MODEL
    return values | {"settings": before | values["settings"]}
