"""One object of metrics.json: every key that the design lists, and null for what was not measured."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from invlib import paths
from invlib.encoders.material import Material
from invlib.encoders.token_states import token_states
from invlib.evaluation.evaluate import evaluate, generate_and_score, trained_settings
from invlib.measures.text import teacher_forced
from invlib.models.model import InvertibleSentenceModel
from invlib.settings import select_row
from invlib.training import trainer
from invlib.training.record import model_hash
from invlib.training.train import train

KEYS = (
    "model, embedding_dim, variant, search, split, n, seed, preset, encoder, encoder_layers, trainable_parameters, "
    "frozen_parameters, train_seconds, accuracy, top_k, generated_accuracy, exact_match, bleu, bertscore_f1, "
    "bertscore_model, paraphrase_similarity, paraphrase_model, recovered_bits, reference_bits, utilisation, "
    "encode_ms, decode_ms, rank_correlation, recall_at_10, ci95, controls"
).split(", ")
MEASURES = ("accuracy", "generated_accuracy", "exact_match", "bertscore_f1", "paraphrase_similarity", "recovered_bits")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_settings, tiny_material):
    """A run with an att_pool that has learned its sixteen test sentences, and its no-vector twin."""
    run = tmp_path_factory.mktemp("evaluated")
    learned = Material(
        tiny_material.corpus, tiny_material.encoder, {**tiny_material.states, "train": tiny_material.states["test"]}
    )
    settings = replace(
        tiny_settings, epochs=20, stop_patience=20, sent_sim_weight=0.0, batch_size=4, learning_rate=6e-3
    )
    model, _ = train(settings, run, replace(learned, states={**learned.states, "validation": learned.states["test"]}))
    twin = select_row(replace(settings, epochs=3), "no_vector_96")
    train(twin, run, tiny_material)
    return run, model, settings


@pytest.fixture(scope="module")
def row(trained, tiny_material):
    run, model, _ = trained
    return evaluate(model, material=tiny_material)


def test_it_has_every_key_and_json_can_hold_it(row):
    assert set(KEYS) <= set(row)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["model"] == "att_pool" and row["embedding_dim"] == 32 and row["variant"] is None
    assert row["split"] == "test" and row["search"] == "greedy" and row["n"] == 12 and row["seed"] == 0
    assert row["bertscore_model"] == row["paraphrase_model"] == "minilm"
    assert list(row["top_k"]) == ["1", "3", "5", "10", "15", "25", "50", "100"]
    assert list(row["top_k"].values()) == sorted(row["top_k"].values()) and row["top_k"]["1"] == row["accuracy"]
    assert row["train_seconds"] > 0 and row["encode_ms"] > 0 and row["decode_ms"] > 0


def test_figures_lie_within_their_intervals(row):
    assert set(MEASURES) <= set(row["ci95"])
    for name, (low, high) in row["ci95"].items():
        assert low <= row[name] + 1e-9 and row[name] <= high + 1e-9, name


def test_the_figures_are_those_of_the_model(row, trained, tiny_material, sentences):
    run, model, settings = trained
    data = tiny_material.dataset("test")
    found = teacher_forced(model, data)
    assert row["accuracy"] == pytest.approx(found["hits_1"].sum() / found["tokens"].sum())
    said, texts = model.reconstruct(sentences[48:60]), sentences[48:60]
    assert row["exact_match"] == pytest.approx(np.mean([a == b for a, b in zip(said, texts, strict=True)]), abs=0.1)
    assert row["exact_match"] > 0.5 and row["generated_accuracy"] > 0.7
    assert row["trainable_parameters"] == model.n_trainable()
    assert row["frozen_parameters"] == tiny_material.encoder.n_parameters
    assert row["utilisation"] == pytest.approx(row["recovered_bits"] / 32)


def test_the_vector_beats_both_controls(row, trained, tiny_material):
    controls = row["controls"]
    for name in ("shuffled_vector", "no_vector"):
        assert controls[name]["generated_accuracy"] < row["ci95"]["generated_accuracy"][0], name
        assert controls[name]["recovered_bits"] < row["ci95"]["recovered_bits"][0], name
        assert {"accuracy", "bertscore_f1", "paraphrase_similarity", "bleu", "exact_match"} <= set(controls[name])
    assert controls["no_vector"]["model"] == "no_vector_96"
    assert row["recovered_bits"] > 0
    assert controls["no_vector"]["recovered_bits"] == pytest.approx(0, abs=1e-4)  # it is its own reference
    assert row["reference_model"] == model_hash(trained[0] / "models" / "no_vector_96")


def test_the_references_bits_do_not_depend_on_how_it_was_got(row, trained, tiny_material, tmp_path, monkeypatch):
    """Loaded from its folder or fresh from training (in bfloat16, which the Trainer wraps), a model says the same."""
    monkeypatch.setattr(trainer, "precision", lambda where: torch.bfloat16)
    settings = select_row(replace(trained[2], epochs=1), "no_vector_96")
    fresh, _ = train(settings, tmp_path, tiny_material)
    loaded = InvertibleSentenceModel.from_pretrained(tmp_path / "models" / "no_vector_96")
    loaded.use_encoder(tiny_material.encoder)
    data = tiny_material.dataset("test", layers=())
    nats, same = (teacher_forced(model, data)["nats"] for model in (fresh, loaded))
    np.testing.assert_allclose(nats, same, rtol=1e-5)
    nats = teacher_forced(InvertibleSentenceModel.from_pretrained(trained[0] / "models" / "no_vector_96"), data)["nats"]
    assert row["reference_bits"] == pytest.approx(nats.mean() / np.log(2), rel=1e-5)


def test_a_run_may_be_named(row, trained, tiny_material, monkeypatch):
    """Twin and reference are found as by the run's folder, not passed over in silence."""
    run, model, _ = trained
    monkeypatch.setattr(paths, "RUNS", run.parent)
    named = evaluate(model, material=tiny_material, run=run.name)
    assert named["controls"]["no_vector"] == row["controls"]["no_vector"]
    assert named["reference_model"] == row["reference_model"] is not None


@pytest.mark.parametrize("of", ["data_hash", "seed"])
def test_what_was_trained_on_other_headlines_is_no_reference_and_no_twin(trained, tiny_material, tmp_path, of):
    """It may have been trained on the headlines that it would judge."""
    run, model, _ = trained
    copy = shutil.copytree(run, tmp_path / "run")
    file = copy / "models" / "no_vector_96" / "training.json"
    record = paths.read_json(file)
    changed = {"data_hash": "other"} if of == "data_hash" else {"settings": record["settings"] | {"seed": 1}}
    paths.write_json(file, record | changed)
    row = evaluate(model, material=tiny_material, run=copy)
    assert row["reference_model"] is row["recovered_bits"] is row["controls"]["no_vector"] is None
    paths.write_json(file, record)
    assert evaluate(model, material=tiny_material, run=copy)["controls"]["no_vector"]["model"] == "no_vector_96"


def test_a_model_that_was_saved_elsewhere_is_measured_as_well(trained, tiny_material, tmp_path):
    _, model, settings = trained
    model.save_pretrained(tmp_path / "mine")
    loaded = InvertibleSentenceModel.from_pretrained(tmp_path / "mine")
    row = evaluate(loaded, settings=settings, material=tiny_material)
    assert row["train_seconds"] is None and row["exact_match"] > 0.5


def test_a_damaged_reference_is_an_error_and_no_missing_one(trained, tiny_material, tmp_path):
    run, model, _ = trained
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "models" / "no_vector_96" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        evaluate(model, material=tiny_material, run=copy)


def test_what_was_not_measured_is_null_and_never_zero(tiny_model, tiny_settings, tiny_material, run):
    """A model of no run: no reference, no twin, no training."""
    row = evaluate(tiny_model("rnn"), settings=replace(tiny_settings, row="rnn"), material=tiny_material)
    for name in ("recovered_bits", "reference_bits", "utilisation", "train_seconds", "encoder_layers", "variant"):
        assert row[name] is None, name
    assert row["controls"]["no_vector"] is None and row["controls"]["shuffled_vector"]["recovered_bits"] is None
    assert "recovered_bits" not in row["ci95"]
    row = evaluate(
        tiny_model("no_vector"), settings=replace(tiny_settings, row="no_vector"), material=tiny_material, run=run
    )
    assert row["rank_correlation"] is None and row["recall_at_10"] is None  # a constant orders nothing
    with pytest.raises(ValueError, match="settings="):
        evaluate(tiny_model(), material=tiny_material)


def test_another_split_and_another_search(trained, tiny_material):
    run, model, settings = trained
    row = evaluate(model, split="validation", material=tiny_material, num_beams=3, run=run)
    assert (row["split"], row["search"], row["n"]) == ("validation", "beam 3", 8)
    assert trained_settings(model) == settings  # preset and how to measure included
    with pytest.raises(ValueError, match="unknown split 'tset'; choose train, validation, test"):
        evaluate(model, split="tset", material=tiny_material)


def test_a_twin_that_rows_share_speaks_once_for_all(row, trained, tiny_material, monkeypatch):
    _, model, settings = trained
    decoded = []
    generate_ids = type(model).generate_ids
    monkeypatch.setattr(
        type(model), "generate_ids", lambda self, z, **how: decoded.append(self.folder) or generate_ids(self, z, **how)
    )
    again = evaluate(model, material=tiny_material)
    assert set(decoded) == {model.folder}
    assert again["controls"]["no_vector"] == row["controls"]["no_vector"]


def test_a_headline_that_was_cut_or_has_no_known_word_stops_nothing(
    tiny_model, tiny_settings, tiny_material, run, tmp_path
):
    """Own data may hold both: the cut one is never exact, the unknown one never right."""
    texts = ["oil " * 30, "zzz", "gold falls", "uber rises", *tiny_material.corpus.splits["test"]["text"][:9]]
    states = token_states(tiny_material.encoder, texts, 16, cache=tmp_path, progress=False)
    material = replace(tiny_material, states={"test": states})
    row = evaluate(tiny_model(), settings=tiny_settings, material=material)
    assert row["n"] == 12 and row["encode_ms"] > 0


def test_what_is_said_of_given_vectors_is_compared_with_the_first_headlines(trained, tiny_material):
    run, model, settings = trained
    data = tiny_material.dataset("test")
    vectors = teacher_forced(model, data)["sentence_embedding"]
    out = generate_and_score(model, vectors[:5], data, settings)
    assert out["reference"] == tiny_material.corpus.splits["test"]["text"][:5]
    assert len(out["said"]) == len(out["right"]) == len(out["bertscore_f1"]) == 5
    np.testing.assert_array_equal(
        out["exact"] == 1, [a == b for a, b in zip(out["said"], out["reference"], strict=True)]
    )


def test_a_settings_file_of_a_run_names_its_model(trained):
    run, model, _ = trained
    assert paths.read_json(run / "models" / "att_pool_32" / "training.json")["settings"]["row"] == "att_pool"
    assert model.folder == run / "models" / "att_pool_32"
