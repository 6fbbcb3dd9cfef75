"""Controls: what a decoder says that never saw the sentence, and the study's ONE reference language model."""

from pathlib import Path

import numpy as np

from invlib import paths
from invlib.encoders.material import Material
from invlib.models.model import InvertibleSentenceModel
from invlib.settings import Settings, select_row
from invlib.training.record import model_hash

NO_VECTOR_SLOT = 24  # numbers of a twin's slot: a constant carries nothing, so any width would do


def no_vector_name(settings: Settings) -> str:
    """The no-vector twin of a row: a decoder of the same shape, trained on a constant vector.

    A constant carries nothing however wide it is, so the rows that share a Transformer decoder share one twin; where
    the decoder is as wide as the vector (n_embd = 0) each D has its own.
    """
    if settings.row in ("rnn", "encoder_only"):
        return f"no_vector_{settings.embedding_dim}_{settings.row}"
    return f"no_vector_{settings.embedding_dim if not settings.n_embd else NO_VECTOR_SLOT * settings.slots}"


def no_vector_names(settings: Settings, rows: list[str]) -> list[str]:
    """The twins that these rows need, each once, in the rows' order."""
    return list(dict.fromkeys(no_vector_name(select_row(settings, row)) for row in rows))


def trained_on(folder: Path, settings: Settings, material: Material) -> bool:
    """Whether a model was trained to its end there on this material: these headlines, split, cut and read alike.

    What was trained on another split may have been trained on the headlines that it is to judge.
    """
    if not (folder / "training.json").exists():
        return False
    record = paths.read_json(folder / "training.json")
    same = all(record["settings"][key] == getattr(settings, key) for key in ("seed", "max_length"))
    read_alike = record.get("encoder_hash", material.encoder.hash) == material.encoder.hash  # older records have none
    return same and read_alike and record["data_hash"] == material.corpus.data_hash


def references(run: str | Path, settings: Settings, material: Material) -> list[Path]:
    """The folders of a run's no-vector models that were trained on this material, in the order of their names."""
    found = sorted(file.parent for file in paths.run_folder(run).glob("models/no_vector_*/training.json"))
    return [folder for folder in found if trained_on(folder, settings, material)]


def reference_folder(run: str | Path, settings: Settings, material: Material) -> Path:
    """Where a run has its reference language model: the no-vector model of the lowest validation loss.

    FileNotFoundError where the run has none that was trained on this material.
    """
    found = references(run, settings, material)
    if not found:
        raise FileNotFoundError(
            f"no no_vector model of these headlines, seed {settings.seed} and max_length {settings.max_length} in "
            f"{paths.run_folder(run)}/models; train one: make train ROW=no_vector_384 RUN=..."
        )
    return min(found, key=lambda folder: paths.read_json(folder / "training.json")["validation_loss"])


def reference_model(run: str | Path, settings: Settings, material: Material) -> tuple[InvertibleSentenceModel, str]:
    """The reference language model of a run and its hash; FileNotFoundError where the run has none."""
    folder = reference_folder(run, settings, material)
    return InvertibleSentenceModel.from_pretrained(folder), model_hash(folder)


def shuffled_vectors(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Another sentence's vector for each: (N, D) -> (N, D), none in its place."""
    n = len(vectors)
    if n < 2:
        raise ValueError(f"{n} vector can't be swapped; give at least 2")
    order = np.random.default_rng(seed).permutation(n)
    swapped = np.empty_like(vectors)
    swapped[order] = vectors[np.roll(order, 1)]
    return swapped
