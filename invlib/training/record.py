"""What is known of a training: its settings, its data, how it ended."""

import dataclasses
import hashlib
import json
from pathlib import Path

from invlib import paths
from invlib.settings import Settings


def model_hash(folder: str | Path) -> str:
    """12 hex digits over a saved model's weights."""
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()[:12]


# Settings that say how a model is measured, or where a value came from: no model depends on them
ABOUT_MEASURING = (
    "n_generate", "n_search", "n_bootstrap", "preset", "scorers", "bertscore_every_epoch", "ablation_minutes",
    "ablations", "language_model", "lm_widths", "lm_minutes", "n_fitted", "fitting_steps",
)  # fmt: skip


def is_trained(folder: Path, settings: Settings, data_hash: str, encoder_hash: str) -> bool:
    """Whether a model with exactly these settings, headlines and encoder was trained to its end in this folder."""
    if not (folder / "training.json").exists():
        return False
    return same_training(paths.read_json(folder / "training.json"), settings, data_hash, encoder_hash)


def same_training(record: dict, settings: Settings, data_hash: str, encoder_hash: str) -> bool:
    """Whether a record of a training, ended or begun, is of exactly these settings, headlines and encoder's weights."""
    # A setting that is newer than the record stands in it as its default: what was done before it existed
    same = (
        training_fields(Settings()) | record["settings"] == training_fields(settings)
        and record["data_hash"] == data_hash
    )
    return same and record.get("encoder_hash", encoder_hash) == encoder_hash  # older records have none


def training_fields(settings: Settings) -> dict:
    """The settings that a trained model depends on, as JSON gives them back."""
    values = {k: v for k, v in dataclasses.asdict(settings).items() if k not in (*ABOUT_MEASURING, "rows")}
    return json.loads(json.dumps(values))
