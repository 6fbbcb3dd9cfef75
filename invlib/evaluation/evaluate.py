"""One object of metrics.json: everything that is measured of one model, with intervals and both controls."""

import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from invlib import paths
from invlib.encoders.batches import StatesDataset
from invlib.encoders.material import Material, load_material
from invlib.encoders.token_states import TokenStates
from invlib.evaluation.controls import no_vector_name, reference_folder, references, shuffled_vectors, trained_on
from invlib.measures.intervals import bootstrap, ratio
from invlib.measures.scorers import bertscore, paraphrase_similarity, scorer_names
from invlib.measures.similarity import rank_correlation, rank_correlation_interval, recall_at_k
from invlib.measures.text import TOP_K, bleu, generated_matches, recovered_bits, teacher_forced
from invlib.models.model import InvertibleSentenceModel
from invlib.settings import Settings, device, with_tuples
from invlib.training.record import model_hash
from invlib.training.trainer import keep_freed_memory


def trained_settings(model: InvertibleSentenceModel) -> Settings:
    """The settings that a saved model was trained with."""
    if model.folder is None or not (model.folder / "training.json").exists():
        raise ValueError("this model was not saved by train(); give evaluate(..., settings=...)")
    saved = paths.read_json(model.folder / "training.json")
    return Settings(**with_tuples(saved["settings"] | saved.get("measuring", {"preset": "unknown"})))


@lru_cache(maxsize=16)
def no_vector_teacher_forced(folder: Path, weights: str, states: Path, n: int) -> dict[str, np.ndarray]:
    """`teacher_forced` of a no-vector model over the first n headlines; kept, for every row asks for the same.

    `weights` is the model's hash, so that a model which was trained anew is measured anew.
    """
    model = InvertibleSentenceModel.from_pretrained(folder)
    return teacher_forced(model, StatesDataset(TokenStates(states), range(n), layers=()), top_k=(1,))


def reference_nats(
    run: str | Path, dataset: StatesDataset, settings: Settings, material: Material
) -> tuple[np.ndarray, str]:
    """Cross-entropy of each headline under the run's reference language model, (N,) nats, and the model's hash.

    dataset: one of the material's. FileNotFoundError where the run has none that was trained on this material.
    """
    folder = reference_folder(run, settings, material)
    weights = model_hash(folder)
    return no_vector_teacher_forced(folder, weights, dataset.states.folder, len(dataset))["nats"], weights


def generate_and_score(
    model, vectors: np.ndarray, dataset: StatesDataset, settings: Settings, num_beams: int = 1, **search
) -> dict:
    """What the model says from the vectors (N, D), against the data set's first N headlines, one entry a headline."""
    _ = model.generate_ids(vectors[:2], num_beams=num_beams, **search)  # the first call is slower; it is not timed
    started = time.perf_counter()
    alike = len(vectors) > 1 and not search and (vectors == vectors[:1]).all()  # a constant is decoded once
    ids = model.generate_ids(vectors[:1] if alike else vectors, num_beams=num_beams, **search)
    ids = ids * len(vectors) if alike else ids
    seconds = time.perf_counter() - started
    full = dataset.ids(len(vectors))
    said, reference = model.text(ids), model.text(full)
    return {
        **generated_matches(ids, full, model.config),
        "said": said, "reference": reference, "ids": ids, "reference_ids": full,
        "decode_ms": 1000 * seconds / len(vectors),
        "bertscore_f1": bertscore(said, reference, settings.scorers),
        "paraphrase_similarity": paraphrase_similarity(said, reference, settings.scorers),
    }  # fmt: skip


@lru_cache(maxsize=16)
def no_vector_generation(
    folder: Path, weights: str, states: Path, n_forced: int, n: int, scorers: str, num_beams: int
) -> dict:
    """`spoken` of a no-vector model against the first n headlines; kept likewise."""
    model = InvertibleSentenceModel.from_pretrained(folder)
    vectors = no_vector_teacher_forced(folder, weights, states, n_forced)["sentence_embedding"][:n]
    return generate_and_score(model, vectors, StatesDataset(TokenStates(states)), Settings(scorers=scorers), num_beams)


def generation_metrics(out: dict) -> dict:
    """The sums over headlines of what `spoken` found."""
    return {
        "generated_accuracy": ratio(out["right"], out["positions"]),
        "exact_match": float(out["exact"].mean()),
        "bleu": bleu(out["said"], out["reference"]),
        "bertscore_f1": float(out["bertscore_f1"].mean()),
        "paraphrase_similarity": float(out["paraphrase_similarity"].mean()),
    }


def teacher_forced_metrics(found: dict, reference: np.ndarray | None) -> dict:
    """The sums over headlines of what `teacher_forced` found."""
    bits = None if reference is None else recovered_bits(found["nats"], reference)
    return {
        "accuracy": ratio(found["hits_1"], found["tokens"]),
        "recovered_bits": None if bits is None else float(bits.mean()),
    }


def intervals(found: dict, out: dict, reference: np.ndarray | None, n: int) -> dict[str, list[float]]:
    """95 % intervals, by resampling headlines, of what `teacher_forced` and `spoken` found."""
    ci95 = {
        "accuracy": bootstrap(ratio, found["hits_1"], found["tokens"], n=n),
        "generated_accuracy": bootstrap(ratio, out["right"], out["positions"], n=n),
        "exact_match": bootstrap(np.mean, out["exact"], n=n),
        "bertscore_f1": bootstrap(np.mean, out["bertscore_f1"], n=n),
        "paraphrase_similarity": bootstrap(np.mean, out["paraphrase_similarity"], n=n),
    }
    if reference is not None:
        ci95["recovered_bits"] = bootstrap(np.mean, recovered_bits(found["nats"], reference), n=n)
    return ci95


def semantics(vectors: np.ndarray, sentence: np.ndarray, n_bootstrap: int) -> tuple[dict, dict]:
    """Rank correlation and recall@10 against the frozen encoder, and their intervals; headlines are resampled."""
    if len(vectors) < 12 or np.ptp(vectors, axis=0).max() < 1e-9:
        return {"rank_correlation": None, "recall_at_10": None}, {}
    recall = recall_at_k(vectors, sentence)
    figures = {
        "rank_correlation": rank_correlation(vectors, sentence),
        "recall_at_10": float(recall.mean()),
    }
    return figures, {
        "rank_correlation": rank_correlation_interval(vectors, sentence, n_bootstrap),
        "recall_at_10": bootstrap(lambda r: float(r.mean()), recall, n=n_bootstrap),
    }


def evaluate(
    model: InvertibleSentenceModel, split: str = "test", *, settings: Settings | None = None,
    material: Material | None = None, run: str | Path | None = None, num_beams: int = 1,
) -> dict:  # fmt: skip
    """All figures of one model on one split: an object of metrics.json (keys in results/README.md).

    `run`, a folder or a name under runs/, by default the model's own, is where the no-vector twin and the reference
    language model are looked for, of the same headlines and split; what can't be measured without them is None, never
    0. Accuracy, top-k and recovered bits are over the whole split, what is generated over its first `n_generate`
    headlines. ValueError for an unknown split.
    """
    settings = settings or trained_settings(model)
    material = material or load_material(settings)
    if split not in material.states:
        raise ValueError(f"unknown split {split!r}; choose {', '.join(material.states)}")
    keep_freed_memory()  # the logits over all word pieces come and go by the hundred megabytes
    run = paths.run_folder(run) if run else (model.folder.parent.parent if model.folder else None)
    record = model.folder and model.folder / "training.json"
    training = paths.read_json(record) if record and record.exists() else {}
    dataset = material.dataset(split, layers=model.reads_layers)
    n = min(settings.n_generate or len(dataset), len(dataset))
    found = teacher_forced(model, dataset)
    vectors = found["sentence_embedding"]
    known = run and references(run, settings, material)
    reference, reference_hash = reference_nats(run, dataset, settings, material) if known else (None, None)
    out = generate_and_score(model, vectors[:n], dataset, settings, num_beams)
    meaning, meaning_ci = semantics(vectors, dataset.sentence, settings.n_bootstrap)
    ci95 = {**intervals(found, out, reference, settings.n_bootstrap), **meaning_ci}
    forced = teacher_forced_metrics(found, reference)
    some = out["reference"][:64]
    lengths = [len(ids) for ids in model.encoder.tokenizer(some)["input_ids"]]
    # A headline that was cut, or of unknown words alone, can't be encoded again from its pieces
    texts = [text for text, t in zip(some, lengths, strict=True) if 2 < t <= model.config.max_length]
    started = time.perf_counter()
    model.encode(texts)
    encode_ms = 1000 * (time.perf_counter() - started) / max(len(texts), 1)
    scorer = scorer_names(settings.scorers)
    return {
        "model": settings.row, "embedding_dim": settings.embedding_dim, "variant": settings.variant,
        "search": f"beam {num_beams}" if num_beams > 1 else "greedy", "split": split, "n": n, "n_forced": len(dataset),
        "seed": settings.seed, "preset": settings.preset, "encoder": settings.encoder,
        "encoder_layers": list(model.reads_layers) or None,
        "trainable_parameters": model.n_trainable(),
        "frozen_parameters": material.encoder.n_parameters if model.reads_states else 0,
        "train_seconds": training.get("seconds"), "stopped_by": training.get("stopped_by"),
        "epochs": training.get("epochs"), "model_hash": model_hash(model.folder) if model.folder else None,
        "data_hash": material.corpus.data_hash, "data_source": material.corpus.source, "device": str(device()),
        **forced, "top_k": {str(k): ratio(found[f"hits_{k}"], found["tokens"]) for k in TOP_K},
        **generation_metrics(out),
        "bertscore_model": scorer["bertscore"], "paraphrase_model": scorer["paraphrase"],
        "reference_bits": None if reference is None else float(reference.mean() / np.log(2)),
        "reference_model": reference_hash,
        "utilisation": None if reference is None else forced["recovered_bits"] / settings.embedding_dim,
        "encode_ms": encode_ms if texts else None, "decode_ms": out["decode_ms"], **meaning, "ci95": ci95,
        "controls": control_figures(model, dataset, vectors, n, settings, material, reference, run, num_beams),
    }  # fmt: skip


def control_figures(model, dataset, vectors, n, settings, material, reference, run, num_beams=1) -> dict:
    """Both controls with the same measures: another sentence's vector, and the twin of this material (or None)."""

    def measured(found: dict, out: dict) -> dict:
        ci95 = intervals(found, out, reference, settings.n_bootstrap)
        return {**teacher_forced_metrics(found, reference), **generation_metrics(out), "ci95": ci95}

    swapped = shuffled_vectors(vectors)
    found = teacher_forced(model, dataset, vectors=swapped, top_k=(1,))
    shuffled = measured(found, generate_and_score(model, swapped[:n], dataset, settings, num_beams))
    controls = {"shuffled_vector": shuffled, "no_vector": None}
    folder = run / "models" / no_vector_name(settings) if run else None
    if folder and trained_on(folder, settings, material):
        training = paths.read_json(folder / "training.json")
        twin = folder, model_hash(folder), dataset.states.folder, len(dataset)
        controls["no_vector"] = {
            "model": folder.name,
            "train_seconds": training["seconds"],
            "stopped_by": training["stopped_by"],
            **measured(no_vector_teacher_forced(*twin), no_vector_generation(*twin, n, settings.scorers, num_beams)),
        }
    return controls
