"""Rows trained with several seeds: the weights change, the split stays, and a line that is done stays done."""

import os
from dataclasses import replace

import pandas as pd
import pytest

from invlib.device import device
from invlib.measures.intervals import ratio
from invlib.measures.text import teacher_forced
from invlib.models.model import InvertibleSentenceModel
from invlib.probes import seeds as seeds_module
from invlib.probes.seeds import SPREAD, Seeds, main, spread
from invlib.settings import select_row
from invlib.training.record import TrainingRecord, model_hash
from invlib.training.train import train

ROWS = ("mean_decoder_H", "att_pool_32")


@pytest.fixture
def settings(tiny_settings):
    """Two rows, trained for three steps each; of sixteen test sentences five are decoded."""
    own = {"rows": ROWS, "steps": 3, "expanded_size": 128, "n_generate": 5}
    return replace(tiny_settings, **own, given=frozenset({"epochs"}))


@pytest.fixture
def seeds(settings, run, tiny_material):
    return Seeds(settings, run, tiny_material)


@pytest.fixture
def trainings(monkeypatch):
    """trainings[i]: name, seed and material of each model that is asked for."""
    asked, real = [], seeds_module.train

    def noted(own, run, material, purpose):
        asked.append((own.name, own.seed, material))
        return real(own, run, material, purpose)

    monkeypatch.setattr(seeds_module, "train", noted)
    return asked


def test_another_seed_gives_other_weights_on_the_same_split(seeds, settings, run, tiny_material, trainings):
    seeds.measure_all(["att_pool_32"], [0, 1, 2])
    names = [f"att_pool_32_seed_{seed}" for seed in (0, 1, 2)]
    assert [(name, seed) for name, seed, _ in trainings] == list(zip(names, (0, 1, 2), strict=True))
    assert all(material is tiny_material for *_, material in trainings)
    assert len({model_hash(run / "models" / name) for name in names}) == 3
    records = [TrainingRecord.read(run / "models" / name) for name in names]
    assert {record.identity.data_hash for record in records} == {tiny_material.corpus.data_hash}
    assert {record.purpose for record in records} == {"ablation"}  # no table of the study shows them
    same = [record.identity.settings | {"seed": None, "variant": None} for record in records]
    plain = select_row(settings, "att_pool_32").values("data", "model", "training") | {"seed": None}
    assert same == [plain] * 3


def test_the_headlines_are_split_by_the_settings_own_seed(settings, run, monkeypatch, tiny_material):
    asked = []
    monkeypatch.setattr(seeds_module, "load_material", lambda own: asked.append(own.seed) or tiny_material)
    Seeds(replace(settings, seed=7), run).measure_all(["att_pool_32"], [1, 2])
    assert asked == [7]


def test_lines_stand_in_the_order_of_rows_and_seeds_with_their_figures(seeds, settings, tiny_material, run):
    for row, seed in (("att_pool_32", 1), ("mean_decoder_32", 1), ("att_pool_32", 0)):
        assert seeds.measure(row, seed)
    table = pd.read_csv(seeds.file)
    lines = list(zip(table["row"], table["seed"], strict=True))
    assert lines == [("mean_decoder_32", 1), ("att_pool_32", 0), ("att_pool_32", 1)]
    for figure in ("generated_accuracy", "exact_match"):
        value, low, high = (table[f"{figure}{end}"] for end in ("", "_low", "_high"))
        assert ((low <= value) & (value <= high)).all(), figure
    assert set(table["n"]) == {5} and set(table["steps"]) == {3} and table[list(SPREAD)].notna().all(axis=None)
    assert (table["seconds"] > 0).all() and set(table["device"]) == {device().type}
    model = InvertibleSentenceModel.from_pretrained(run / "models" / "att_pool_32_seed_1")
    forced = teacher_forced(model, tiny_material.dataset("test", layers=model.reads_layers), top_k=(1,))
    assert len(forced["tokens"]) == 16  # all test sentences, not those alone that are decoded
    assert table["accuracy"].iloc[2] == pytest.approx(ratio(forced["hits_1"], forced["tokens"]))


def test_a_model_that_the_run_has_is_not_trained_again(seeds, settings, run, tiny_material, trainings):
    plain = select_row(settings, "att_pool_32")
    train(plain, run, tiny_material)
    seeds.measure_all(["att_pool_32"], [0, 1])
    assert [name for name, *_ in trainings] == ["att_pool_32", "att_pool_32_seed_1"]
    assert not (run / "models" / "att_pool_32_seed_0").exists()
    assert TrainingRecord.read(run / "models" / "att_pool_32").purpose == "study"
    more = Seeds(replace(settings, steps=2), run, tiny_material)  # the run's model was trained otherwise: it stays
    assert more.measure("att_pool_32", 0) and trainings[-1][0] == "att_pool_32_seed_0"
    assert TrainingRecord.read(run / "models" / "att_pool_32").steps == 3
    assert pd.read_csv(seeds.file)["steps"].tolist() == [2, 3]


def test_a_line_that_is_done_is_left_until_a_setting_changes(seeds, settings, run, tiny_material, trainings, capsys):
    seeds.measure_all(["att_pool_32"], [1])
    before = seeds.file.read_bytes()
    Seeds(settings, run, tiny_material).measure_all(["att_pool_32"], [1])
    assert seeds.file.read_bytes() == before and len(trainings) == 1
    assert capsys.readouterr().out == "att_pool_32, seed 1: measured\natt_pool_32, seed 1: is there already\n"
    for change in ({"n_generate": 4}, {"n_bootstrap": 21}, {"steps": 2}):
        changed = Seeds(replace(settings, **change), run, tiny_material)
        assert changed.measure("att_pool_32", 1), change
        assert len(pd.read_csv(seeds.file)) == 1


def test_a_key_of_digits_alone_is_known_again(seeds, monkeypatch):
    monkeypatch.setattr(Seeds, "key", lambda self, row, seed: "012345678901")
    assert seeds.measure("att_pool_32", 1) and not seeds.measure("att_pool_32", 1)


def test_a_killed_command_keeps_what_it_has_and_goes_on(seeds, settings, run, tiny_material, monkeypatch):
    begun, real = [], seeds_module.train

    def killed_at_second(own, *more):
        begun.append(own.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(own, *more)

    monkeypatch.setattr(seeds_module, "train", killed_at_second)
    with pytest.raises(KeyboardInterrupt):
        seeds.measure_all(["att_pool_32"], [1, 2])
    assert pd.read_csv(seeds.file)["seed"].tolist() == [1]
    Seeds(settings, run, tiny_material).measure_all(["att_pool_32"], [1, 2])
    assert pd.read_csv(seeds.file)["seed"].tolist() == [1, 2]
    assert begun == ["att_pool_32_seed_1", "att_pool_32_seed_2", "att_pool_32_seed_2"]


def test_every_row_of_the_preset_is_asked_for_where_none_is_named(seeds, monkeypatch):
    asked = []
    monkeypatch.setattr(Seeds, "measure", lambda self, row, seed: asked.append((row, seed)) or True)
    seeds.measure_all()
    assert asked == [(row, seed) for row in ("mean_decoder_32", "att_pool_32") for seed in (0, 1, 2)]


def test_spread_has_the_lowest_and_highest_of_each_row():
    table = pd.DataFrame({"row": ["rnn_8", "rnn_8", "att_pool_8"], "seed": [0, 1, 0], "accuracy": [0.5, 0.25, 0.75]})
    table = table.assign(generated_accuracy=[0.1, 0.3, 0.2], exact_match=[0.0, 0.0, 1.0], rank_correlation=[-0.5, 0, 1])
    found = spread(table).set_index("row")
    assert list(found.index) == ["rnn_8", "att_pool_8"] and found["seeds"].tolist() == [2, 1]
    assert found["accuracy_lowest"].tolist() == [0.25, 0.75] and found["accuracy_highest"].tolist() == [0.5, 0.75]
    ends = [f"{figure}_{end}" for figure in SPREAD[1:] for end in ("lowest", "highest")]
    assert found.loc["rnn_8", ends].tolist() == [0.1, 0.3, 0, 0, -0.5, 0]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--row", "att_pool_32", "--row", "pooled_32"], "unknown row 'pooled_32'; a row is one of rnn, "),
        (["--row", "att_pool_32", "--seed", "-1"], "setting seed is -1; it has to be at least 0"),
    ],
)
def test_what_is_unknown_is_one_line_before_anything_is_trained(
    settings, run, tiny_material, monkeypatch, capsys, trainings, more, said
):
    monkeypatch.setattr(seeds_module, "load_material", lambda own: tiny_material)
    with pytest.raises(SystemExit) as stopped:
        main(["--preset", "smoke", "--run", os.fspath(run), *more])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said in error and error.count("\n") == 1 and not trainings


def test_a_line_that_another_process_wrote_meanwhile_stays(seeds, settings, run, tiny_material, monkeypatch):
    real = seeds_module.train

    def slow(own, *more):
        monkeypatch.setattr(seeds_module, "train", real)
        Seeds(settings, run, tiny_material).measure("mean_decoder_32", 2)
        return real(own, *more)

    monkeypatch.setattr(seeds_module, "train", slow)
    seeds.measure("att_pool_32", 1)
    lines = pd.read_csv(seeds.file)
    assert list(zip(lines["row"], lines["seed"], strict=True)) == [("mean_decoder_32", 2), ("att_pool_32", 1)]


def test_another_split_is_another_line_and_a_control_has_none(seeds, settings, run, tiny_material):
    other = Seeds(replace(settings, seed=5), run, tiny_material)
    assert seeds.key("att_pool_32", 1) != other.key("att_pool_32", 1)
    with pytest.raises(ValueError, match="no_vector_32 has no vector"):
        seeds.settings_of("no_vector_32", 1)
