"""What a run left behind: found, measured as asked, and refused where its headlines are others."""

import dataclasses
import shutil
from types import SimpleNamespace

import pytest

from invlib import paths
from invlib.encoders.frozen import load_encoder
from invlib.evaluation.run_results import (
    INVERTER,
    SHIPPED,
    TrainedRun,
    imperfect,
    load_run,
    sized_models,
    table_order,
    trained_hybrids,
    update_metrics,
)
from invlib.models.model import build_model
from invlib.settings import load_preset, select_row
from invlib.training.record import TrainingRecord, identity_of, model_hash

WORDS = "oil gold wheat steel copper cotton".split()
HEADLINES = [f"{a} {verb} as {b} prices fall" for a in WORDS for b in WORDS for verb in ("rises", "slips") if a != b]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of two untrained models over headlines of a text file, and the settings it was made with."""
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.delenv("INVLIB_RUN", raising=False)
    file = tmp_path / "own.txt"
    file.write_text("\n".join(HEADLINES), encoding="utf-8")
    settings = load_preset("smoke", data=str(file))
    folder = tmp_path / "runs" / "mine"
    for number, name in enumerate(("att_pool_96", "rnn_64", "no_vector_96", "hybrid_96_plain")):
        row = select_row(settings, name)
        build_model(row, load_encoder()).save_pretrained(folder / "models" / name)
        identity = identity_of(row, hash_of(row), load_encoder().hash)
        purpose = "ablation" if name.startswith("hybrid") else "study"
        record = TrainingRecord(
            identity, 1.0, 1.0, "time", 1.0, number / 10, measuring={"preset": "smoke"}, purpose=purpose
        )
        record.write(folder / "models" / name)
    return folder, settings


def hash_of(settings) -> str:
    from invlib.data.headlines import load_headlines

    return load_headlines(settings.data, seed=settings.seed, limit=settings.n_headlines).data_hash


def test_models_in_the_tables_order_measured_as_asked(run):
    folder, settings = run
    loaded = load_run(folder, dataclasses.replace(settings, n_generate=3))
    assert list(loaded.models) == ["rnn_64", "att_pool_96"]  # neither the control nor an ablation
    assert loaded.ranked() == ["rnn_64", "att_pool_96"]
    assert {s.n_generate for s in loaded.settings.values()} == {3}
    assert loaded.settings["rnn_64"].preset == "smoke"
    assert loaded.table()["run"].tolist() == ["mine", "mine"]


def test_a_model_that_is_named_like_an_ablation_is_no_ablation(run):
    """What a model is for stands in its record; its name is the person's choice."""
    folder, settings = run
    shutil.copytree(folder / "models" / "rnn_64", folder / "models" / "rnn_64_plain")
    assert list(load_run(folder, settings).models) == ["rnn_64", "rnn_64_plain", "att_pool_96"]


def test_the_preset_is_the_one_it_was_trained_with(run):
    folder, settings = run
    paths.write_json(folder / "settings.json", {"preset": "study"})
    assert load_run(folder, load_preset("cpu", data=settings.data)).settings["rnn_64"].preset == "smoke"


def test_rows_choose_and_an_unknown_one_is_named(run):
    folder, settings = run
    chosen = load_preset("smoke", data=settings.data, rows="att_pool_96")
    assert list(load_run(folder, chosen, rows="att_pool_96").models) == ["att_pool_96"]
    with pytest.raises(ValueError, match="it holds att_pool_96"):
        load_run(folder, settings, seed=7)


def test_other_headlines_are_refused(run, tmp_path):
    folder, settings = run
    other = tmp_path / "other.txt"
    other.write_text("\n".join(HEADLINES[:-5]), encoding="utf-8")
    with pytest.raises(ValueError, match="trained on other headlines"):
        load_run(folder, dataclasses.replace(settings, data=str(other)))


def test_metrics_are_replaced_kept_or_dropped(run):
    """A row measured anew replaces its old self; one whose model has changed since is dropped; the rest stays.

    So does what was measured of a model that is not in this run's folder.
    """
    folder, _ = run
    here = model_hash(folder / "models" / "rnn_64")

    def row(dim, search, value, weights=here):
        identity = {"model": "rnn", "embedding_dim": dim, "variant": None, "search": search}
        return identity | {"value": value, "model_hash": weights}

    of_this, of_others = [row(64, "greedy", 1), row(64, "beam 5", 2)], [row(32, "greedy", 5, "absent")]
    paths.write_json(folder / "metrics.json", of_this + [row(64, "beam 3", 3, "older")] + of_others)
    file = update_metrics(folder, [row(64, "greedy", 4)])
    assert sorted(r["value"] for r in paths.read_json(file)) == [2, 4, 5]


def test_figures_of_the_run_that_is_read_are_not_hidden_by_a_notebooks_own(run):
    """One notebook opened by itself writes to runs/lab; the next one still finds what the run measured."""
    folder, _ = run
    (paths.RUNS / "last").symlink_to(folder)
    measured = {"model": "rnn", "embedding_dim": 8, "variant": None, "search": "greedy", "model_hash": "a"}
    paths.write_json(folder / "metrics.json", [measured])
    file = update_metrics(None, [measured | {"search": "beam 5"}])
    assert file.parent.name == "lab"
    assert [row["search"] for row in paths.read_json(file)] == ["greedy", "beam 5"]
    assert len(paths.read_json(folder / "metrics.json")) == 1

    shutil.copytree(folder / "models", file.parent / "models")  # models of its own: figures of its own
    file.unlink()
    update_metrics(None, [measured | {"search": "beam 5"}])
    assert [row["search"] for row in paths.read_json(file)] == ["beam 5"]


def test_without_a_run_the_models_are_the_repositorys(run, tmp_path):
    """On the headlines at hand, and what is measured of them is written nowhere; a run that is named is asked for."""
    _, settings = run
    loaded = load_run(None, settings)
    assert loaded.shipped and loaded.ranked() == [SHIPPED, INVERTER]
    assert (
        loaded.source.startswith("NO RUN on this machine") and SHIPPED in loaded.source and "own.txt" in loaded.source
    )
    assert {s.n_generate for s in loaded.settings.values()} == {settings.n_generate}
    assert loaded.table()["run"].tolist() == ["none", "none"]
    name, model = imperfect(loaded)
    assert "of the repository" in name and model.config.row == "mean_decoder"
    assert update_metrics(None, [{"model": "rnn", "embedding_dim": 8, "search": "greedy"}]) is None
    assert not (paths.RUNS / "lab").exists()
    for asked in ({"run": "other"}, {"run": None, "rows": "att_pool_96"}):
        with pytest.raises(FileNotFoundError, match="no run with 'models'"):
            load_run(settings=settings, **asked)


def test_the_imperfect_model_of_another_encoder_is_the_runs_least_accurate(tiny_model, tiny_material):
    models = {"hybrid_96": tiny_model("hybrid"), "att_pool_96": tiny_model("att_pool")}
    accuracy = {"hybrid_96": 0.9, "att_pool_96": 0.4}
    records = {name: SimpleNamespace(accuracy=accuracy[name]) for name in models}
    found = imperfect(TrainedRun(paths.RUNS, models, records, {}, tiny_material))
    assert found == ("att_pool_96", models["att_pool_96"])


def test_table_order_follows_the_main_table():
    names = ["att_pool_768", "att_pool_96", "rnn_768", "cls_decoder_384"]
    assert sorted(names, key=table_order) == ["rnn_768", "cls_decoder_384", "att_pool_96", "att_pool_768"]


def test_hybrids_are_the_repositorys_where_the_encoder_is_its_own_and_the_runs(
    tmp_path, tiny_model, tiny_settings, tiny_material, minilm
):
    here = tiny_material.corpus.data_hash, tiny_material.encoder.hash
    for name, seed in (("hybrid_384", 0), ("hybrid_384_other", 1), ("hybrid_96", 0), ("hybrid_64_sized", 0)):
        tiny_model("hybrid").save_pretrained(tmp_path / "models" / name)
        identity = identity_of(dataclasses.replace(tiny_settings, seed=seed), *here)
        TrainingRecord(identity, 60.0, 1.0, "time", 2.0, 0.5).write(tmp_path / "models" / name)
    assert list(trained_hybrids(tmp_path, tiny_settings, tiny_material)) == ["hybrid_384", "hybrid_96"]  # of this split
    assert list(sized_models(tmp_path, tiny_settings, tiny_material)) == ["hybrid_64_sized"]
    with_minilm = dataclasses.replace(tiny_material, encoder=minilm)
    shipped = trained_hybrids(tmp_path / "none", tiny_settings, with_minilm)
    own = "hybrid_384_long of the repository"
    assert shipped[own].config.embedding_dim == 384 and all(name.endswith("repository") for name in shipped)
    tiny_model("hybrid").save_pretrained(tmp_path / "models" / "hybrid_384_long")
    assert own not in trained_hybrids(tmp_path, tiny_settings, with_minilm)  # the run has one of this name
