"""Controls: what a decoder says that never saw the sentence, and the study's ONE reference language model."""

import hashlib
from pathlib import Path

import numpy as np

from invlib import paths
from invlib.model import InvertibleSentenceModel
from invlib.settings import Settings, select_row

NO_VECTOR = "models/no_vector_*/training.json"  # in a run's folder: those trained to the end
TWIN_SLOT = 24  # numbers of a twin's slot: a constant carries nothing, so any width would do


def twin_name(settings: Settings) -> str:
    """The no-vector twin of a row: a decoder of the same shape, trained on a constant vector.

    A constant carries nothing however wide it is, so the rows that share a Transformer decoder share one twin; where
    the decoder is as wide as the vector (n_embd = 0) each D has its own.
    """
    if settings.row in ("rnn", "encoder_only"):
        return f"no_vector_{settings.embedding_dim}_{settings.row}"
    return f"no_vector_{settings.embedding_dim if not settings.n_embd else TWIN_SLOT * settings.slots}"


def twin_names(settings: Settings, rows: list[str]) -> list[str]:
    """The twins that these rows need, each once, in the rows' order."""
    return list(dict.fromkeys(twin_name(select_row(settings, row)) for row in rows))


def model_hash(folder: str | Path) -> str:
    """12 hex digits over a saved model's weights."""
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()[:12]


def trained_on(folder: Path, settings: Settings, data_hash: str) -> bool:
    """Whether a model was trained to its end there on these headlines, split and read as `settings` say.

    What was trained on another split may have been trained on the headlines that it is to judge.
    """
    if not (folder / "training.json").exists():
        return False
    record = paths.read_json(folder / "training.json")
    same = all(record["settings"][key] == getattr(settings, key) for key in ("seed", "encoder", "n_headlines"))
    return same and record["data_hash"] == data_hash


def has_reference(run: str | Path, settings: Settings, data_hash: str) -> bool:
    """Whether the run has a no-vector model of these headlines and this split, so that `reference_folder` finds one."""
    return any(trained_on(file.parent, settings, data_hash) for file in paths.run_folder(run).glob(NO_VECTOR))


def reference_folder(run: str | Path, settings: Settings | None = None, data_hash: str | None = None) -> Path:
    """Where a run has its reference language model: the no-vector model of the lowest validation loss.

    settings and data_hash: where given, of those that were trained on these headlines, split so. FileNotFoundError
    where the run has none.
    """
    run = paths.run_folder(run)
    found = sorted(run.glob(NO_VECTOR))
    if settings is not None:
        found = [file for file in found if trained_on(file.parent, settings, data_hash)]
    if not found:
        raise FileNotFoundError(f"no no_vector model in {run}/models; train one: make train ROW=no_vector_384 RUN=...")
    return min(found, key=lambda f: paths.read_json(f)["validation_loss"]).parent


def reference_model(run: str | Path) -> tuple[InvertibleSentenceModel, str]:
    """The reference language model of a run and its hash; FileNotFoundError where the run has none."""
    folder = reference_folder(run)
    return InvertibleSentenceModel.from_pretrained(folder), model_hash(folder)


def swapped_vectors(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Another sentence's vector for each: (N, D) -> (N, D), none in its place."""
    n = len(vectors)
    if n < 2:
        raise ValueError(f"{n} vector can't be swapped; give at least 2")
    order = np.random.default_rng(seed).permutation(n)
    swapped = np.empty_like(vectors)
    swapped[order] = vectors[np.roll(order, 1)]
    return swapped
