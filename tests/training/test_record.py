"""The record of a training: written, read and compared."""

import dataclasses
import json
import shutil
from dataclasses import replace

import pytest

from invlib import paths
from invlib.settings import MODEL_GROUPS, Settings
from invlib.training.record import TrainingRecord, identity_of, model_hash, records


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
    assert mine == identity_of(replace(tiny_settings, n_generate=3, rows=("rnn_8",)), "abc", "e1")
    others = [identity_of(replace(tiny_settings, dropout=0.5), "abc", "e1")]
    others += [replace(mine, data_hash="abd"), replace(mine, encoder_hash="e2")]
    assert mine not in others


@pytest.mark.parametrize(
    "change, words",
    [
        ({"version": 2}, "its version is 2, and this package reads 3: update invlib"),
        ({"colour": "red"}, "colour"), ({"settings": None}, ""), ({"measuring": {"newer": 1}}, "newer"),
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
        # A setting that is newer has to be written into it: else today's default would be taken for it
        assert set(record.identity.settings) == set(Settings().values(*MODEL_GROUPS))
        assert len(model_hash(paths.DATA / "models" / name)) == 12


def test_a_copied_model_is_the_same_model(tmp_path):
    folder = next((paths.DATA / "models").iterdir())
    shutil.copytree(folder, tmp_path / "copy")
    assert model_hash(folder) == model_hash(tmp_path / "copy")
