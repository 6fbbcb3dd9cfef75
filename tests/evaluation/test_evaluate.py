"""One object of metrics.json: every key that the design lists, and null for what was not measured."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from invlib import paths
from invlib.encoders.material import Material
from invlib.encoders.token_states import token_states
from invlib.evaluation import evaluate as module
from invlib.evaluation.evaluate import evaluate, generate_and_score, prepare, time_models
from invlib.measures.intervals import ratio
from invlib.measures.similarity import rank_correlation, unit
from invlib.measures.text import teacher_forced
from invlib.models.model import InvertibleSentenceModel
from invlib.settings import select_row
from invlib.training import trainer
from invlib.training.record import TrainingRecord, model_hash
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
    """A run with an att_pool that has learned its sixteen test sentences, and its no-vector control."""
    run = tmp_path_factory.mktemp("evaluated")
    learned = Material(
        tiny_material.corpus, tiny_material.encoder, {**tiny_material.states, "train": tiny_material.states["test"]}
    )
    settings = replace(
        tiny_settings, epochs=20, stop_patience=20, sent_sim_weight=0.0, batch_size=4, learning_rate=6e-3
    )
    model, _ = train(settings, run, replace(learned, states={**learned.states, "validation": learned.states["test"]}))
    train(select_row(replace(settings, epochs=3), "no_vector_96"), run, tiny_material)
    return run, model, settings


def evaluated(model, settings, material, run=None, split="test", num_beams=1) -> dict:
    return evaluate(model, prepare(settings, [settings], run, material, split, num_beams))


@pytest.fixture(scope="module")
def row(trained, tiny_material):
    run, model, settings = trained
    return evaluated(model, settings, tiny_material, run)


def test_it_has_every_key_and_json_can_hold_it(row):
    assert set(KEYS) <= set(row)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["model"] == "att_pool" and row["embedding_dim"] == 32 and row["variant"] is None
    assert row["split"] == "test" and row["search"] == "greedy" and row["n"] == 12 and row["seed"] == 0
    assert row["bertscore_model"] == row["paraphrase_model"] == "minilm"
    assert list(row["top_k"]) == ["1", "3", "5", "10", "15", "25", "50", "100"]
    assert list(row["top_k"].values()) == sorted(row["top_k"].values()) and row["top_k"]["1"] == row["accuracy"]
    assert row["train_seconds"] > 0 and row["steps"] == 80 and row["train_threads"] == torch.get_num_threads()
    assert row["tokens_per_second"] > 0 and (row["peak_share"] is None or torch.cuda.is_available())
    assert row["encode_ms"] is row["decode_ms"] is None  # times are of one sitting: time_models


def test_times_are_the_median_of_one_sitting(trained, tiny_model, tiny_material, monkeypatch):
    """After a warm-up, in turns; the threads stand beside them."""
    run, model, settings = trained
    measuring = prepare(settings, [settings], run, tiny_material)
    order, now = [], iter(range(10_000))
    models = {"att_pool": model, "rnn": tiny_model("rnn")}
    for name, each in models.items():
        monkeypatch.setattr(each, "encode", lambda texts, name=name: order.append(name) or [0] * len(texts))
        monkeypatch.setattr(each, "generate_ids", lambda z, **_: [])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(now))
    found = time_models(models, measuring)
    assert order == ["att_pool", "rnn"] * (module.REPEATS + 1)
    assert found["rnn"] == {
        "encode_ms": pytest.approx(1000 / 16), "decode_ms": pytest.approx(1000 / 16),
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def test_a_second_encoder_judges_texts_and_vectors(trained, tiny_material, tiny_folder):
    """Of decoded text and headline, and of the vectors' cosines with its own."""
    run, model, settings = trained
    settings = replace(settings, judge=tiny_folder)
    measuring = prepare(settings, [settings], run, tiny_material)
    row = evaluate(model, measuring)
    data = tiny_material.dataset("test")
    headlines, vectors = model.text(data.ids()), model.vectors_of(data)
    own = unit(measuring.judge.encoder.sentence_embedding(headlines, settings.max_length).numpy())
    decoded = unit(measuring.judge.encoder.sentence_embedding(model.decode(vectors), settings.max_length).numpy())
    assert row["judge"] == Path(tiny_folder).name
    assert row["judged_similarity"] == pytest.approx((own * decoded).sum(1)[: row["n"]].mean(), abs=1e-3)
    assert row["judged_correlation"] == pytest.approx(rank_correlation(vectors, own), abs=1e-3)
    low, high = row["ci95"]["judged_similarity"]
    assert low <= row["judged_similarity"] <= high and "judged_correlation" in row["ci95"]
    wrong = row["controls"]["shuffled_vector"]
    assert wrong["judged_similarity"] < low and wrong["better_by"]["judged_similarity"][1] > 0


def test_without_a_judge_nothing_is_said_of_it(row):
    assert row["judge"] is row["judged_similarity"] is row["judged_correlation"] is None
    assert "judged_similarity" not in row["controls"]["shuffled_vector"]["better_by"]


def test_fewer_headlines_are_measured_where_the_settings_say_so(trained, row, tiny_material):
    """The first of the split, under the same reference; as many at least as are decoded freely."""
    run, model, settings = trained
    n = len(tiny_material.states["test"]) - 2
    fewer = prepare(replace(settings, n_forced=n, n_generate=3), [settings], run, tiny_material)
    found = evaluate(model, fewer)
    assert (found["n_forced"], found["n"], len(fewer.reference_nats)) == (n, 3, n) and row["n_forced"] == n + 2
    first = teacher_forced(model, tiny_material.dataset("test", n, model.reads_layers))
    assert found["accuracy"] == pytest.approx(ratio(first["hits_1"], first["tokens"])) != row["accuracy"]
    assert found["controls"]["no_vector"]["accuracy"] != row["controls"]["no_vector"]["accuracy"]
    more = prepare(replace(settings, n_forced=2, n_generate=n), [settings], run, tiny_material)
    assert (more.n_forced, more.n) == (n, n)


def test_all_models_of_a_run_share_what_is_prepared(trained, tiny_material, monkeypatch):
    """One reference, one control, each loaded once: evaluate() fetches nothing."""
    run, model, settings = trained
    measuring = prepare(settings, [settings, settings], run, tiny_material)
    for name in ("load_material", "find_reference"):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("fetched again"))
    monkeypatch.setattr(InvertibleSentenceModel, "from_pretrained", lambda *_: pytest.fail("loaded again"))
    monkeypatch.setattr(module, "no_vector", lambda *_: pytest.fail("the control is measured again"))
    first, again = evaluate(model, measuring), evaluate(model, measuring)
    assert first == again and first["controls"]["no_vector"]["model"] == "no_vector_96"


def test_figures_lie_within_their_intervals(row):
    assert set(MEASURES) <= set(row["ci95"])
    for name, (low, high) in row["ci95"].items():
        assert low <= row[name] + 1e-9 and row[name] <= high + 1e-9, name
    n, exact = row["n"], row["exact_match"]
    expected = binomtest(round(exact * n), n).proportion_ci(method="wilson")
    assert row["ci95"]["exact_match"] == pytest.approx([expected.low, expected.high])


def test_the_figures_are_those_of_the_model(row, trained, tiny_material, sentences):
    run, model, settings = trained
    data = tiny_material.dataset("test")
    found = teacher_forced(model, data)
    assert row["accuracy"] == pytest.approx(found["hits_1"].sum() / found["tokens"].sum())
    decoded, texts = model.reconstruct(sentences[48:60]), sentences[48:60]
    assert row["exact_match"] == pytest.approx(np.mean([a == b for a, b in zip(decoded, texts, strict=True)]), abs=0.1)
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
    better = controls["shuffled_vector"]["better_by"]
    assert all(better[name][1] > 0 for name in ("accuracy", "generated_accuracy", "exact_match"))
    assert row["recovered_bits"] > 0
    assert controls["no_vector"]["recovered_bits"] == pytest.approx(0, abs=1e-4)  # it is its own reference
    assert row["reference_model"] == model_hash(trained[0] / "models" / "no_vector_96")


def test_the_references_bits_do_not_depend_on_how_it_was_got(row, trained, tiny_material, tmp_path, monkeypatch):
    """Loaded from its folder or fresh from training (in bfloat16, which the Trainer wraps), they are the same."""
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
    run, model, settings = trained
    monkeypatch.setattr(paths, "RUNS", run.parent)
    named = evaluated(model, settings, tiny_material, run.name)
    assert named["controls"]["no_vector"] == row["controls"]["no_vector"]
    assert named["reference_model"] == row["reference_model"] is not None


@pytest.mark.parametrize("of", ["data_hash", "seed"])
def test_what_was_trained_on_other_headlines_is_no_reference_and_no_control(trained, tiny_material, tmp_path, of):
    """It may have been trained on the headlines that it would judge."""
    run, model, settings = trained
    copy = shutil.copytree(run, tmp_path / "run")
    file = copy / "models" / "no_vector_96" / "training.json"
    record = paths.read_json(file)
    changed = {"data_hash": "other"} if of == "data_hash" else {"settings": record["settings"] | {"seed": 1}}
    paths.write_json(file, record | changed)
    row = evaluated(model, settings, tiny_material, copy)
    assert row["reference_model"] is row["recovered_bits"] is row["controls"]["no_vector"] is None
    paths.write_json(file, record)
    assert evaluated(model, settings, tiny_material, copy)["controls"]["no_vector"]["model"] == "no_vector_96"


def test_a_model_that_was_saved_elsewhere_is_measured_as_well(trained, tiny_material, tmp_path):
    _, model, settings = trained
    model.save_pretrained(tmp_path / "mine")
    loaded = InvertibleSentenceModel.from_pretrained(tmp_path / "mine")
    row = evaluated(loaded, settings, tiny_material)
    assert row["train_seconds"] is None and row["exact_match"] > 0.5


def test_a_damaged_reference_is_an_error_and_no_missing_one(trained, tiny_material, tmp_path):
    run, model, settings = trained
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "models" / "no_vector_96" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no_vector_96.*holds no weights"):
        evaluated(model, settings, tiny_material, copy)


def test_what_was_not_measured_is_null_and_never_zero(tiny_model, tiny_settings, tiny_material, run):
    """A model of no run: no reference, no control, no training."""
    row = evaluated(tiny_model("rnn"), replace(tiny_settings, row="rnn"), tiny_material)
    for name in ("recovered_bits", "reference_bits", "utilisation", "train_seconds", "encoder_layers", "variant"):
        assert row[name] is None, name
    assert row["controls"]["no_vector"] is None and row["controls"]["shuffled_vector"]["recovered_bits"] is None
    assert "recovered_bits" not in row["ci95"]
    row = evaluated(tiny_model("no_vector"), replace(tiny_settings, row="no_vector"), tiny_material, run)
    assert row["rank_correlation"] is None and row["recall_at_10"] is None  # a constant orders nothing
    with pytest.raises(ValueError, match="was not saved by train"):
        evaluate(tiny_model())


def test_another_split_and_another_search(trained, tiny_material, monkeypatch):
    """The model's own texts, its shuffled control's and the no-vector control's are found by that search."""
    run, model, settings = trained
    asked, generate = [], InvertibleSentenceModel.generate_ids

    def generated(self, z, num_beams=1, **more):
        asked.append(num_beams)
        return generate(self, z, num_beams=num_beams, **more)

    monkeypatch.setattr(InvertibleSentenceModel, "generate_ids", generated)
    row = evaluated(model, settings, tiny_material, run, "validation", 3)
    assert (row["split"], row["search"], row["n"]) == ("validation", "beam 3", 8) and asked == [3, 3, 3]
    with pytest.raises(ValueError, match="unknown split 'tset'; choose train, validation, test"):
        evaluated(model, settings, tiny_material, run, "tset")


def test_one_model_by_itself_is_measured_with_its_own_settings(row, trained, tiny_material, monkeypatch):
    """evaluate(model, split=...): its record has the settings, its folder the run."""
    run, model, settings = trained
    monkeypatch.setattr(module, "load_material", lambda s: tiny_material if s == settings else pytest.fail("others"))
    assert TrainingRecord.read(model.folder).settings == settings  # preset and how to measure included
    assert evaluate(model) == row
    assert evaluate(model, split="validation")["split"] == "validation"


def test_a_headline_that_was_cut_or_has_no_known_word_stops_nothing(
    tiny_model, tiny_settings, tiny_material, run, tmp_path
):
    """Own data may hold both: the cut one is never exact, the unknown one never right."""
    texts = ["oil " * 30, "zzz", "gold falls", "uber rises", *tiny_material.corpus.splits["test"]["text"][:9]]
    states = token_states(tiny_material.encoder, texts, 16, cache=tmp_path, progress=False)
    material = replace(tiny_material, states={"test": states})
    model, measuring = tiny_model(), prepare(tiny_settings, [tiny_settings], None, material)
    assert evaluate(model, measuring)["n"] == 12
    assert time_models({"mine": model}, measuring)["mine"]["encode_ms"] > 0
    states = token_states(tiny_material.encoder, ["☃ " * 13] * 12, 16, cache=tmp_path, progress=False)
    unknown = prepare(tiny_settings, [tiny_settings], None, replace(material, states={"test": states}))
    times = time_models({"mine": model}, unknown)["mine"]
    assert times["encode_ms"] is times["decode_ms"] is None  # nothing was timed


def test_what_is_decoded_from_given_vectors_is_compared_with_the_first_headlines(trained, tiny_material):
    run, model, settings = trained
    data = tiny_material.dataset("test")
    vectors = teacher_forced(model, data)["sentence_embedding"]
    out = generate_and_score(model, vectors[:5], data, settings)
    assert out["reference"] == tiny_material.corpus.splits["test"]["text"][:5]
    assert len(out["decoded"]) == len(out["right"]) == len(out["bertscore_f1"]) == 5
    np.testing.assert_array_equal(
        out["exact"] == 1, [a == b for a, b in zip(out["decoded"], out["reference"], strict=True)]
    )


def test_a_settings_file_of_a_run_names_its_model(trained):
    run, model, _ = trained
    assert paths.read_json(run / "models" / "att_pool_32" / "training.json")["settings"]["row"] == "att_pool"
    assert model.folder == run / "models" / "att_pool_32"
