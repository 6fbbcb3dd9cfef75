"""The record of a training: written, read, compared, and migrated from older versions by named steps."""

import dataclasses
import json
import shutil
from dataclasses import replace

import pytest

from invlib import paths
from invlib.settings import MODEL_GROUPS, Settings
from invlib.training.record import (
    BEFORE,
    RENAMED,
    VERSION,
    Identity,
    TrainingRecord,
    identity_of,
    migrated,
    model_hash,
    records,
)

OLD = {  # training.json of version 1
    "settings": {"seed": 0, "row": "hybrid", "embedding_dim": 64, "variant": "no_noise", "dealt": 32, "candidates": 9},
    "measuring": {"preset": "study", "table_minutes": 3, "n_generate": 7},
    "seconds": 60.0, "epochs": 2.0, "stopped_by": "time", "validation_loss": 0.5, "accuracy": 0.9,
    "data_hash": "abc", "added_sentences": 4, "published_from": "hybrid_64_no_noise",
}  # fmt: skip


def made(settings: Settings, **more) -> TrainingRecord:
    return TrainingRecord(identity_of(settings, "abc", "e1"), 60.0, 2.0, "epochs", 0.5, 0.9, **more)


def test_what_is_written_is_read(tmp_path, tiny_settings):
    record = made(tiny_settings, measuring=tiny_settings.values("run", "measuring", "language_model"), steps=10)
    record.write(tmp_path)
    assert TrainingRecord.read(tmp_path) == record == TrainingRecord.find(tmp_path)
    assert record.settings == tiny_settings
    assert TrainingRecord.find(tmp_path / "nowhere") is None
    with pytest.raises(FileNotFoundError, match="no model was trained to its end there"):
        TrainingRecord.read(tmp_path / "nowhere")


def test_a_model_depends_on_the_settings_of_data_model_and_training(tiny_settings):
    kept = tiny_settings.values(*MODEL_GROUPS)
    assert json.loads(json.dumps(kept)) == kept
    measuring = {"rows", "n_generate", "n_search", "n_bootstrap", "preset", "scorers", "bertscore_every_epoch", "given"}
    measuring |= {"own_inverter", "limit_sizes", "n_inverted", "inversion_rounds", "judge", "n_card", "n_card_searched"}
    measuring |= {"n_card_models", "question_rows", "question_steps", "question_sizes", "n_forced"}
    others = {"ablation_steps", "ablations", "language_model", "lm_widths", "lm_steps", "n_fitted", "fitting_steps"}
    assert set(kept) == {f.name for f in dataclasses.fields(tiny_settings)} - measuring - others
    mine = identity_of(tiny_settings, "abc", "e1")
    assert mine.same(identity_of(replace(tiny_settings, n_generate=3, rows=("rnn_8",)), "abc", "e1"))
    assert not mine.same(identity_of(replace(tiny_settings, dropout=0.5), "abc", "e1"))
    assert not mine.same(replace(mine, data_hash="abd")) and not mine.same(replace(mine, encoder_hash="e2"))
    assert mine.same(replace(mine, encoder_hash=None))  # a record from before that was written down


def test_a_record_of_version_1_is_migrated_by_name(tmp_path):
    paths.write_json(tmp_path / "training.json", OLD)
    record = TrainingRecord.read(tmp_path)
    assert record.version == VERSION and record.purpose == "ablation" and record.random_sentences == 4
    assert record.threads is None and record.steps is None  # nobody wrote them down
    s = record.settings
    assert (s.numbers_per_piece, s.sampled_negatives, s.preset) == (32, 9, "study")
    assert (s.encoder_layers, s.schedule, s.steps) == (("last",), "plateau", None)  # what was done before they were
    assert set(RENAMED.values()) - {"no_vector_minutes", "ablation_minutes"} <= set(Settings().values())


@pytest.mark.parametrize(
    "row, limits", [("att_pool", (15, 7, None)), ("no_vector", (5, None, 7))], ids=["a model", "a no-vector control"]
)
def test_a_record_of_version_2_had_minutes_for_its_budget(tmp_path, tiny_settings, row, limits):
    """They are the limit that it was trained under; the steps that it was to repeat are its steps."""
    old = {"minutes": 15, "no_vector_minutes": 5, "max_steps": 7, "row": row}
    made(tiny_settings, measuring={"preset": "study", "ablation_minutes": 3, "lm_minutes": 15}).write(tmp_path)
    values = paths.read_json(tmp_path / "training.json") | {"version": 2}
    values["settings"] = {k: v for k, v in values["settings"].items() if not k.endswith("steps")} | old
    paths.write_json(tmp_path / "training.json", values)
    record = TrainingRecord.read(tmp_path)
    s = record.settings
    assert (s.minutes, s.steps, s.no_vector_steps, s.ablation_steps) == (*limits, None) and record.version == VERSION
    assert record.identity.settings.keys() == tiny_settings.values(*MODEL_GROUPS).keys()


def test_a_setting_that_is_newer_than_a_record_means_what_was_done_before(tiny_settings, tmp_path):
    """Whatever its default is today: else a published model would be trained again, or compared wrongly."""
    made(tiny_settings).write(tmp_path)
    values = paths.read_json(tmp_path / "training.json")
    for name in BEFORE:
        values["settings"].pop(name)
    paths.write_json(tmp_path / "training.json", values)
    assert TrainingRecord.read(tmp_path).identity.settings == tiny_settings.values(*MODEL_GROUPS) | BEFORE


def test_a_language_model_keeps_its_own_settings():
    values = migrated({"settings": {"width": 64}, "data_hash": "abc", "words": "w1", "seconds": 1.0})
    assert Identity.of(values) == Identity({"width": 64, "steps": None}, "abc", "w1")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"version": 99}, "knows up to 3; update invlib"), ({"colour": "red"}, "colour"), ({"settings": None}, ""),
        ({"measuring": {"newer": 1}}, "newer"),
    ],
)  # fmt: skip
def test_what_is_no_record_is_named(tmp_path, tiny_settings, change, words):
    made(tiny_settings).write(tmp_path)
    paths.write_json(tmp_path / "training.json", paths.read_json(tmp_path / "training.json") | change)
    with pytest.raises(ValueError, match=f"is no record of a training.*{words}"):
        TrainingRecord.read(tmp_path)


def test_only_a_model_of_the_same_split_may_judge(tiny_settings):
    record = made(tiny_settings)
    assert record.judges(replace(tiny_settings, dropout=0.5), "abc", "e1")
    assert not record.judges(replace(tiny_settings, seed=1), "abc", "e1")
    assert not record.judges(replace(tiny_settings, max_length=12), "abc", "e1")
    assert not record.judges(tiny_settings, "abd", "e1") and not record.judges(tiny_settings, "abc", "e2")


def test_the_records_of_a_run(tmp_path, tiny_settings):
    for name in ("rnn_8", "no_vector_8"):
        (tmp_path / "models" / name).mkdir(parents=True)
        made(tiny_settings).write(tmp_path / "models" / name)
    (tmp_path / "models" / "unfinished").mkdir()
    assert list(records(tmp_path)) == ["no_vector_8", "rnn_8"] and list(records(tmp_path, "rnn*")) == ["rnn_8"]


def test_every_committed_model_has_a_record_and_its_weights():
    found = records(paths.DATA)
    assert found
    for name, record in found.items():
        assert record.settings.name == name  # a model is published as what it is
        # A setting that is newer has its old meaning in BEFORE; else today's default would be taken for it
        assert set(record.identity.settings) == set(Settings().values(*MODEL_GROUPS))
        assert len(model_hash(paths.DATA / "models" / name)) == 12


def test_a_copied_model_is_the_same_model(tmp_path):
    folder = next((paths.DATA / "models").iterdir())
    shutil.copytree(folder, tmp_path / "copy")
    assert model_hash(folder) == model_hash(tmp_path / "copy")
