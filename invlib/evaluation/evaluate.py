"""One object of metrics.json: everything that is measured of one model, with intervals and both controls.

`Measuring` holds what all models of a run share: prepared once, by `prepare`. `evaluate` only measures.
"""

import dataclasses
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from invlib.device import device
from invlib.encoders.batches import StatesDataset
from invlib.encoders.frozen import load_encoder
from invlib.encoders.material import Material, load_material
from invlib.evaluation.controls import find_reference, no_vector_name, shuffled_vectors
from invlib.measures.intervals import ratio
from invlib.measures.judge import Judge
from invlib.measures.metrics import differences, measure
from invlib.measures.scorers import bertscore, paraphrase_similarity, scorer_names
from invlib.measures.similarity import recall_at_k
from invlib.measures.text import TOP_K, generated_matches, recovered_bits, teacher_forced, token_f1
from invlib.measures.timing import REPEATS
from invlib.models.codec import Codec, fitting
from invlib.models.model import InvertibleSentenceModel
from invlib.settings import Settings
from invlib.training.record import TrainingRecord, model_hash

TIMED = 64  # headlines that are timed


@dataclass(frozen=True)
class Measuring:
    """What all models of a run are measured with, on one split and by one search.

    n_forced: headlines that are measured, the first of the split, None = all; n: those that are decoded freely too, the
    first of these. reference_nats (n_forced,): each headline's cross-entropy under the run's reference language model,
    and the model's hash; None where the run has none. no_vector: the figures of the no-vector controls by name,
    measured once for all models; one whose control is not among them has None. judge: a second encoder that compares
    texts, and headlines with each other; None where the settings name none.
    """

    material: Material
    settings: Settings
    split: str
    n: int
    num_beams: int = 1
    reference_nats: np.ndarray | None = None
    reference_hash: str | None = None
    no_vector: dict[str, dict] = field(default_factory=dict)
    judge: Judge | None = None
    n_forced: int | None = None

    def dataset(self, model: InvertibleSentenceModel) -> StatesDataset:
        """The headlines with the encoder's layers that this model reads."""
        return self.material.dataset(self.split, self.n_forced, layers=model.reads_layers)

    @property
    def search(self) -> str:
        return f"beam {self.num_beams}" if self.num_beams > 1 else "greedy"


def prepare(
    settings: Settings, models: Iterable[Settings], run: str | Path | None, material: Material,
    split: str = "test", num_beams: int = 1,
) -> Measuring:  # fmt: skip
    """Find and measure what the models of a run share: the reference language model and their no-vector controls.

    settings: how is measured (n_forced, n_generate, n_bootstrap, scorers, judge); models: those of the models to be
    measured; run: the folder that has the controls, or None. ValueError for an unknown split.
    """
    if split not in material.states:
        raise ValueError(f"unknown split {split!r}; choose {', '.join(material.states)}")
    size = len(material.states[split])
    n = min(settings.n_generate or size, size)
    n_forced = min(max(settings.n_forced or size, n), size)
    judge = Judge(load_encoder(settings.judge), settings.max_length) if settings.judge else None
    measuring = Measuring(material, settings, split, n, num_beams, judge=judge, n_forced=n_forced)
    reference = None if run is None else find_reference(run, settings, material)
    if reference is None:  # no control either: the reference is one of the run's no-vector models
        return measuring
    names, found = dict.fromkeys(map(no_vector_name, models)), {}
    for name in dict.fromkeys([reference.name, *names]):  # each model is loaded and measured once
        record = TrainingRecord.find(reference.parent / name)
        if record and record.judges(settings, material.corpus.data_hash, material.encoder.hash):
            model = InvertibleSentenceModel.from_pretrained(reference.parent / name)
            forced = teacher_forced(model, measuring.dataset(model), top_k=(1,))
            if name == reference.name:
                nats, weights = forced["nats"], model_hash(reference)
                measuring = dataclasses.replace(measuring, reference_nats=nats, reference_hash=weights)
            if name in names:
                found[name] = no_vector(model, record, forced, measuring)
    return dataclasses.replace(measuring, no_vector=found)


def generate_and_score(
    model: Codec, vectors: np.ndarray, dataset: StatesDataset, settings: Settings, num_beams: int = 1,
    judge: Judge | None = None, **search: Any,
) -> dict:  # fmt: skip
    """What the model decodes from the vectors (N, D), against the data set's first N headlines, one entry a headline.

    Arrays right, positions, exact, token_f1, bertscore_f1, paraphrase_similarity and, with a judge, judged_similarity;
    lists decoded and reference (texts), ids and reference_ids. `search` goes to `generate_ids`.
    """
    constant = len(vectors) > 1 and not search and (vectors == vectors[:1]).all()  # a constant is decoded once
    ids = model.generate_ids(vectors[:1] if constant else vectors, num_beams=num_beams, **search)
    ids = ids * len(vectors) if constant else ids
    full = dataset.ids(len(vectors))
    decoded, reference = model.text(ids), model.text(full)
    marks = (model.config.bos_token_id, model.config.eos_token_id)
    found, true = ([[i for i in row if i not in marks] for row in rows] for rows in (ids, full))
    return {
        **generated_matches(ids, full, model.config), "token_f1": token_f1(found, true),
        "decoded": decoded, "reference": reference, "ids": ids, "reference_ids": full,
        "bertscore_f1": bertscore(decoded, reference, settings.scorers),
        "paraphrase_similarity": paraphrase_similarity(decoded, reference, settings.scorers),
        **({"judged_similarity": judge.cosines(decoded, reference)} if judge else {}),
    }  # fmt: skip


def text_metrics(forced: dict, generated: dict, reference_nats: np.ndarray | None, n_bootstrap: int) -> dict:
    """The metrics of `teacher_forced`'s and `generate_and_score`'s arrays, with ci95 {metric: [low, high]}."""
    if reference_nats is not None:
        forced = forced | {"recovered_bits": recovered_bits(forced["nats"], reference_nats)}
    a, ci95_a = measure("teacher_forced", forced, n_bootstrap)
    b, ci95_b = measure("generated", generated, n_bootstrap)
    return {**a, **b, "ci95": ci95_a | ci95_b}


def vector_arrays(vectors: np.ndarray, sentence: np.ndarray, judged: np.ndarray | None = None) -> dict:
    """The arrays of the metrics of vectors (N, D) beside the encoder's own (N, H); none for too few, or a constant.

    judged (N, H'): the judge's embeddings of the same headlines.
    """
    if len(vectors) < 12 or np.ptp(vectors, axis=0).max() < 1e-9:
        return {}
    found = {"vectors": vectors, "sentence": sentence, "recall_at_10": recall_at_k(vectors, sentence)}
    return found if judged is None else found | {"judged": judged}


def evaluate(
    model: InvertibleSentenceModel, measuring: Measuring | None = None, *, split: str = "test", num_beams: int = 1
) -> dict:
    """All figures of one model: an object of metrics.json (keys in results/README.md).

    measuring: what `prepare` found for a whole run. Without it, everything is looked for beside this one model: its own
    settings, their headlines, and the controls in the run that it lies in; `split` and `num_beams` count then alone.
    What can't be measured is None, never 0. Accuracy, top-k and recovered bits are over the first `n_forced` headlines
    of the split, what is generated over its first `n_generate`. Times are None: `time_models` measures all models in
    one sitting.
    """
    record = TrainingRecord.find(model.folder) if model.folder else None
    if measuring is None:
        measuring = measuring_of(model, record, split, num_beams)
    m, material = measuring, measuring.material
    dataset = m.dataset(model)
    forced = teacher_forced(model, dataset)
    vectors = forced["sentence_embedding"]
    generated = generate_and_score(model, vectors[: m.n], dataset, m.settings, m.num_beams, m.judge)
    own = text_metrics(forced, generated, m.reference_nats, m.settings.n_bootstrap)
    judged = m.judge.embed(model.text(dataset.ids())) if m.judge else None
    meaning, meaning_ci = measure("vectors", vector_arrays(vectors, dataset.sentence, judged), m.settings.n_bootstrap)
    own["ci95"] |= meaning_ci
    settings = record.settings if record else m.settings
    scorer = scorer_names(m.settings.scorers)
    bits = None if m.reference_nats is None else float(m.reference_nats.mean() / np.log(2))
    return {
        "model": settings.row, "embedding_dim": settings.embedding_dim, "variant": settings.variant,
        "search": m.search, "split": m.split, "n": m.n, "n_forced": len(dataset),
        "seed": settings.seed, "preset": settings.preset, "encoder": settings.encoder,
        "sentence_pooling": material.encoder.sentence_pooling,
        "encoder_layers": list(model.reads_layers) or None,
        "trainable_parameters": model.n_trainable(),
        "frozen_parameters": material.encoder.n_parameters if model.reads_states or model.reads_sentence else 0,
        "train_seconds": record and record.seconds, "stopped_by": record and record.stopped_by,
        "epochs": record and record.epochs, "steps": record and record.steps,
        "train_threads": record and record.threads,
        "tokens_per_second": record and record.tokens_per_second, "peak_share": record and record.peak_share,
        "model_hash": model_hash(model.folder) if model.folder else None,
        "data_hash": material.corpus.data_hash, "data_source": material.corpus.source, "device": str(device()),
        **own, **meaning,
        "top_k": {str(k): ratio(forced[f"hits_{k}"], forced["tokens"]) for k in TOP_K},
        "judge": m.judge and m.judge.name,
        "bertscore_model": scorer["bertscore"], "paraphrase_model": scorer["paraphrase"],
        "reference_bits": bits, "reference_model": m.reference_hash,
        "utilisation": None if bits is None else own["recovered_bits"] / settings.embedding_dim,
        "encode_ms": None, "decode_ms": None, "threads": None,
        "controls": {
            "shuffled_vector": shuffled_vector(model, dataset, forced, generated, m),
            "no_vector": m.no_vector.get(no_vector_name(settings)),
        },
    }  # fmt: skip


def measuring_of(
    model: InvertibleSentenceModel, record: TrainingRecord | None, split: str, num_beams: int
) -> Measuring:
    """What a single model is measured with: its own settings, and the controls of the run that it lies in."""
    if record is None or model.folder is None:
        raise ValueError("this model was not saved by train(); give evaluate(model, prepare(...))")
    settings = record.settings
    run = model.folder.parent.parent
    return prepare(settings, [settings], run, load_material(settings), split, num_beams)


def shuffled_vector(
    model: InvertibleSentenceModel, dataset: StatesDataset, ours: dict, generated: dict, m: Measuring
) -> dict:
    """The control with the same measures: the trained model, given another sentence's vector.

    ours, generated: the model's own arrays. better_by: the paired differences, {metric: [difference, low, high]}.
    """
    shuffled, n = shuffled_vectors(ours["sentence_embedding"]), m.settings.n_bootstrap
    forced = teacher_forced(model, dataset, vectors=shuffled, top_k=(1,))
    decoded = generate_and_score(model, shuffled[: m.n], dataset, m.settings, m.num_beams, m.judge)
    better = differences("teacher_forced", ours, forced, n) | differences("generated", generated, decoded, n)
    return text_metrics(forced, decoded, m.reference_nats, n) | {"better_by": better}


def no_vector(model: InvertibleSentenceModel, record: TrainingRecord, forced: dict, m: Measuring) -> dict:
    """The control with the same measures: a decoder of the same shape, trained on a constant vector."""
    vectors = forced["sentence_embedding"][: m.n]
    decoded = generate_and_score(model, vectors, m.dataset(model), m.settings, m.num_beams, m.judge)
    about = {"model": record.settings.name, "train_seconds": record.seconds, "stopped_by": record.stopped_by}
    return about | text_metrics(forced, decoded, m.reference_nats, m.settings.n_bootstrap)


def time_models(models: dict[str, InvertibleSentenceModel], measuring: Measuring) -> dict[str, dict]:
    """Milliseconds per headline to encode and to decode, of several models in one sitting, by name.

    Each is called once before, and the median of REPEATS turns counts; the models take turns, so that a busy moment of
    the machine meets all of them. threads: of torch, on the CPU. None where no headline can be encoded again.
    """
    m = measuring
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in models}
    for turn in range(REPEATS + 1):
        for name, model in models.items():
            texts = fitting(model, model.text(m.dataset(model).ids(TIMED)))  # '[UNK]' or a cut word may grow
            started = time.perf_counter()
            vectors = model.encode(texts)
            encoded = time.perf_counter()
            model.generate_ids(vectors, num_beams=m.num_beams)
            ended = time.perf_counter()
            if turn and texts:
                seconds[name][0].append((encoded - started) / len(texts))
                seconds[name][1].append((ended - encoded) / len(texts))

    def milliseconds(times: list[float]) -> float | None:
        return 1000 * statistics.median(times) if times else None

    return {
        name: {
            "encode_ms": milliseconds(encode), "decode_ms": milliseconds(decode), "threads": torch.get_num_threads()
        }
        for name, (encode, decode) in seconds.items()
    }  # fmt: skip
