"""Controls: no vector, another sentence's vector, and the study's ONE reference language model."""

from pathlib import Path

import numpy as np

from invlib import paths
from invlib.encoders.material import Material
from invlib.measures.text import teacher_forced
from invlib.models.model import InvertibleSentenceModel
from invlib.rows import ROWS, model_name
from invlib.settings import Settings, select_row
from invlib.training.record import TrainingRecord, model_hash, records
from invlib.training.train import train

SHIPPED = paths.DATA / "models" / "no_vector_384"  # the repository's language model
NO_VECTOR_SLOT = 24  # numbers of a slot of a no-vector control: a constant carries nothing, so any width would do


def no_vector_name(settings: Settings) -> str:
    """The name of a model's no-vector control: a decoder of the same shape, trained on a constant vector.

    A constant carries nothing however wide it is, so the models that share a Transformer decoder share one control;
    where the decoder is as wide as the vector (n_embd = 0) each D has its own.
    """
    _ = settings.name  # a ValueError where they name no model
    assert settings.row is not None and settings.embedding_dim is not None
    if ROWS[settings.row].no_vector == "own":
        return model_name("no_vector", settings.embedding_dim, settings.row)
    return model_name("no_vector", NO_VECTOR_SLOT * settings.slots if settings.n_embd else settings.embedding_dim)


def no_vector_names(settings: Settings, rows: list[str]) -> list[str]:
    """The no-vector controls that these models need, each once, in the models' order."""
    return list(dict.fromkeys(no_vector_name(select_row(settings, row)) for row in rows))


def find_reference(run: str | Path | None, settings: Settings, material: Material) -> Path | None:
    """The folder of a run's reference language model: its no-vector model of the lowest validation loss.

    None where the run has none that was trained on this material.
    """
    folder = paths.run_folder(run)
    found = {
        name: record.validation_loss
        for name, record in records(folder, "no_vector_*").items()
        if record.judges(settings, material.corpus.data_hash, material.encoder.hash)
    }
    return folder / "models" / min(found, key=found.__getitem__) if found else None


def reference_model(
    run: str | Path | None, settings: Settings, material: Material
) -> tuple[InvertibleSentenceModel, str]:
    """The reference language model of a run and its hash; FileNotFoundError where the run has none."""
    folder = find_reference(run, settings, material)
    if folder is None:
        raise FileNotFoundError(
            f"no no_vector model of these headlines, seed {settings.seed} and max_length {settings.max_length} in "
            f"{paths.run_folder(run)}/models; train one: make train ROW=no_vector_384 RUN=..."
        )
    return InvertibleSentenceModel.from_pretrained(folder), model_hash(folder)


def language_model(
    run: str | Path | None, settings: Settings, material: Material
) -> tuple[InvertibleSentenceModel, str]:
    """A language model of these headlines, and whose it is, for a measurement that can't do without one.

    It is the run's reference, else the repository's where that was trained on this very split, or where there is no run
    and the headlines are synthetic; else a no-vector model is trained now, for `no_vector_steps`, and is the run's.
    """
    if find_reference(run, settings, material):
        return reference_model(run, settings, material)[0], "this run's"
    if record := TrainingRecord.find(SHIPPED):
        if record.judges(settings, material.corpus.data_hash, material.encoder.hash):
            return InvertibleSentenceModel.from_pretrained(SHIPPED), "the repository's"
        if (
            paths.unmade(run, "models")
            and material.corpus.synthetic
            and material.encoder.hash == record.identity.encoder_hash
        ):
            return InvertibleSentenceModel.from_pretrained(SHIPPED), "the repository's, trained on real headlines"
    dim = NO_VECTOR_SLOT * settings.slots if settings.n_embd else material.encoder.hidden_size
    return train(select_row(settings, model_name("no_vector", dim)), run, material)[0], "trained here"


def reference_nats(run: str | Path, split: str, settings: Settings, material: Material) -> tuple[np.ndarray, str]:
    """Cross-entropy of each of a split's headlines under the reference language model, (N,) nats, and its hash."""
    model, weights = reference_model(run, settings, material)
    return teacher_forced(model, material.dataset(split, layers=()), top_k=(1,))["nats"], weights


def shuffled_vectors(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Another sentence's vector for each: (N, D) -> (N, D), none in its place."""
    n = len(vectors)
    if n < 2:
        raise ValueError(f"{n} vector can't be swapped; give at least 2")
    order = np.random.default_rng(seed).permutation(n)
    swapped = np.empty_like(vectors)
    swapped[order] = vectors[np.roll(order, 1)]
    return swapped
