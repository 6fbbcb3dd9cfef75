"""The record of a training, training.json: the one place that writes it, reads it and compares it."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch

from invlib import paths
from invlib.device import device
from invlib.settings import MODEL_GROUPS, Settings, with_tuples

FILE = "training.json"
VERSION = 3  # of the file; no other is read


@dataclass(frozen=True)
class Identity:
    """What a training depends on: its settings, its headlines, and the weights of the encoder that it reads.

    Two trainings of equal identity give the same model.
    """

    settings: dict
    data_hash: str
    encoder_hash: str  # of a language model: of the vocabulary

    def write(self, file: Path) -> None:
        paths.write_json(file, vars(self) | {"version": VERSION})

    @classmethod
    def read(cls, file: Path) -> "Identity":
        """The identity in a file; ValueError for one that this version does not read."""
        try:
            return cls.of(of_this_version(paths.read_json(file)))
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
        same = all(mine.settings[key] == getattr(settings, key) for key in ("seed", "max_length"))
        return same and (mine.data_hash, mine.encoder_hash) == (data_hash, encoder_hash)

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
            values = of_this_version(paths.read_json(file))
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


def of_this_version(values: dict) -> dict:
    """The values of a record's file; ValueError for a file of another version of this package."""
    if (version := values.get("version")) != VERSION:
        what = "update invlib, or train the model again"
        raise ValueError(f"its version is {version}, and this package reads {VERSION}: {what}")
    return values


def model_hash(folder: str | Path) -> str:
    """12 hex digits over a saved model's weights."""
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()[:12]
