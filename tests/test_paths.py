"""Paths: which folder is written and read, and files that are never found half-written."""

import os

import pandas as pd
import pytest

from invlib import paths
from invlib.paths import (
    find_model,
    find_run,
    log_line,
    read_json,
    run_folder,
    unmade,
    write_csv,
    write_json,
    write_text,
)


def put(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("{}")
    return folder.resolve()


def test_a_run_writes_where_it_is_told(run, monkeypatch, tmp_path):
    assert run_folder() == paths.RUNS / "lab"
    monkeypatch.setenv("INVLIB_RUN", str(tmp_path / "elsewhere"))
    assert run_folder() == tmp_path / "elsewhere"
    assert run_folder("mine") == paths.RUNS / "mine"
    assert run_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"


def test_a_runs_name_may_be_a_number_and_its_path_may_begin_at_home(run, monkeypatch, tmp_path):
    """papermill makes a number of `-p run 20240607`; a shell leaves the `~` of RUN=~/mine as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_folder(20240607) == run_folder("20240607") == paths.RUNS / "20240607"
    assert run_folder(0) == paths.RUNS / "0"
    assert run_folder("~/mine") == tmp_path / "mine"
    monkeypatch.setenv("INVLIB_RUN", "~/mine")
    assert run_folder() == tmp_path / "mine"
    put(tmp_path / "mine", "metrics.json")
    assert find_run() == find_run("~/mine") == tmp_path / "mine"
    model = put(tmp_path / "mine" / "models" / "rnn_8", "config.json")
    assert find_model("~/mine/models/rnn_8") == model
    assert find_run(put(paths.RUNS / "7", "metrics.json")) == find_run(7)


def test_a_notebook_reads_lab_before_last(run):
    with pytest.raises(FileNotFoundError, match="metrics.json"):
        find_run()
    last = put(paths.RUNS / "last", "metrics.json")
    (paths.RUNS / "lab").mkdir()
    assert find_run() == last
    assert find_run() != put(paths.RUNS / "lab", "models/rnn_8/config.json")
    lab = put(paths.RUNS / "lab", "metrics.json")
    assert find_run() == lab
    assert find_run("last") == last


def test_a_run_that_is_named_and_lacks_the_file_is_not_passed_over(run, monkeypatch):
    put(paths.RUNS / "lab", "metrics.json")
    with pytest.raises(FileNotFoundError, match="test"):
        find_run("test")
    monkeypatch.setenv("INVLIB_RUN", str(run))
    with pytest.raises(FileNotFoundError, match="test"):
        find_run()


def training(row, purpose):
    return {"settings": {"row": row}, "purpose": purpose}


def test_nothing_is_made_where_nobody_names_a_run_and_none_has_all_that_is_needed(run, monkeypatch):
    assert unmade(None, "models") and not unmade("test", "models")  # a run that is named is asked, and may fail
    put(paths.RUNS / "lab", "metrics.json")
    for name, row, purpose in (("no_vector_8", "no_vector", "study"), ("hybrid_8_plain", "hybrid", "ablation")):
        write_json(paths.RUNS / "lab" / "models" / name / "training.json", training(row, purpose))
    assert unmade(None, "models")  # a control and an ablation, which a notebook may have trained, are no run
    write_json(paths.RUNS / "last" / "models" / "rnn_8" / "training.json", training("rnn", "study"))
    assert find_run(None, "models") == (paths.RUNS / "last").resolve()
    assert not unmade(None, "metrics.json", "models") and unmade(None, "metrics.json", "tables/09_speed.csv")
    monkeypatch.setenv("INVLIB_RUN", str(run))
    assert not unmade(None, "tables/09_speed.csv")


def test_a_model_is_found_by_folder_name_or_in_the_data(run, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    in_run = put(run / "models" / "rnn_8", "config.json")
    in_data = put(tmp_path / "data" / "models" / "att_pool_8", "config.json")
    assert find_model(run / "models" / "rnn_8") == in_run
    assert find_model("rnn_8", run="test") == in_run
    assert find_model("att_pool_8") == in_data
    assert find_model("runs/test/models/rnn_8") == in_run
    with pytest.raises(FileNotFoundError) as error:
        find_model("att_pool_9", run="test")
    assert all(word in str(error.value) for word in ("att_pool_9", "rnn_8", "att_pool_8"))


def test_what_is_written_is_read_back(tmp_path):
    value = {"name": "Müller & Söhne", "n": [1, 2.5, None]}
    assert read_json(write_json(tmp_path / "new" / "a.json", value)) == value
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y, z"]})
    assert pd.read_csv(write_csv(tmp_path / "new" / "a.csv", frame)).equals(frame)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.csv", "a.json"]


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"new": float("nan")})
    with pytest.raises(TypeError):
        write_json(path, {"new": {1, 2}})

    def killed(*_):
        raise OSError("killed before the rename")

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(OSError, match="killed"):
        write_text(path, "half")
    assert read_json(path) == {"old": 1} and list(tmp_path.iterdir()) == [path]


def test_the_log_grows_by_a_line(run):
    log_line(run, "first")
    log_line(run, "second")
    lines = (run / "log.txt").read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["first", "second"]
