"""Rows that are trained side by side: which, in which order, how many at once, and what is said of one that fails."""

import signal
import sys
from dataclasses import replace

import pytest

from invlib.evaluation.controls import no_vector_names
from invlib.series import at_once as module
from invlib.series import runner
from invlib.series.at_once import command, train_at_once
from invlib.settings import load_preset, select_row
from invlib.training.record import TrainingRecord
from invlib.training.train import train


@pytest.fixture
def settings(tiny_folder):
    return load_preset("smoke", encoder=tiny_folder, rows="att_pool_96 hybrid_96", data="synthetic", seed=3)


@pytest.fixture
def processes(run, tiny_material, monkeypatch):
    """processes(code): each training is Python that runs this, its name in sys.argv; returns the names as they came."""
    asked = []

    def of(code: str) -> list[str]:
        def instead(settings, name, folder):
            asked.append(name)
            return [sys.executable, "-c", code, name]

        monkeypatch.setattr(module, "command", instead)
        return asked

    monkeypatch.setattr(module, "load_material", lambda settings, progress: tiny_material)
    return of


def test_a_training_is_told_all_that_it_depends_on(settings, tiny_folder, tmp_path):
    told = command(settings, "att_pool_96", tmp_path)
    assert told[1:4] == ["-m", "invlib.training", "--preset"] and told[4:9] == [
        "smoke", "--row", "att_pool_96", "--run", str(tmp_path)
    ]  # fmt: skip
    assert told[9:] == ["--data=synthetic", f"--encoder={tiny_folder}", "--seed=3"]
    assert command(load_preset("smoke"), "att_pool_96", tmp_path)[9:] == []


def test_rows_and_their_controls_are_trained_the_longest_first(settings, run, processes):
    asked, settings = processes("pass"), replace(settings, no_vector_steps=5)
    controls = no_vector_names(settings, list(settings.rows))
    assert train_at_once(settings, ["00", "03"], run, 1) == []
    assert set(asked[:2]) == set(settings.rows) and sorted(asked[2:]) == sorted(controls) and controls
    assert train_at_once(settings, ["00", "04"], run, 1) == [] and len(asked) == 2 + len(controls)


def test_so_many_run_at_once_and_no_more(settings, run, processes):
    """The first two wait for each other, which they would do in vain alone; each counts who runs beside it."""
    mark = run / "begun"
    mark.mkdir()
    code = (
        f"import pathlib, sys, time; folder = pathlib.Path({str(mark)!r}); own = folder / sys.argv[1]; own.touch()\n"
        "end = time.monotonic() + 20\n"
        "while len(list(folder.iterdir())) < 2:\n"
        "    assert time.monotonic() < end; time.sleep(0.01)\n"
        "others = [f for f in folder.iterdir() if f.suffix != '.done' and not f.with_suffix('.done').exists()]\n"
        "assert len(others) <= 2, others\n"
        "time.sleep(0.1); own.with_suffix('.done').touch()"
    )
    asked = processes(code)
    assert train_at_once(settings, ["03"], run, 2) == [] and len(asked) > 2


def test_an_interrupted_one_leaves_no_training_behind(settings, run, processes, monkeypatch):
    processes("import time; time.sleep(600)")
    begun, real = [], module.Training
    monkeypatch.setattr(module, "Training", lambda *args: begun.append(real(*args)) or begun[-1])

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_at_once(settings, ["03"], run, 2)
    assert len(begun) == 2 and all(training.process.returncode == -signal.SIGTERM for training in begun)


def test_one_that_is_killed_is_said_so(settings, run, processes, capsys):
    processes("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert len(train_at_once(settings, ["03"], run, 2)) > 2
    assert "att_pool_96 could not be trained beside the others: killed by SIGKILL" in capsys.readouterr().out


def test_one_that_fails_is_said_and_the_others_go_on(settings, run, processes, capsys):
    asked = processes("import sys; sys.exit('no memory' if sys.argv[1] == 'hybrid_96' else 0)")
    assert train_at_once(settings, ["03"], run, 2) == ["hybrid_96"]
    assert len(asked) >= 3 and "hybrid_96 could not be trained beside the others: no memory" in capsys.readouterr().out
    assert "hybrid_96 failed: no memory" in (run / "log.txt").read_text()


def test_the_runner_trains_before_its_notebooks(run, monkeypatch, tiny_folder):
    order = []
    monkeypatch.setattr(runner, "train_at_once", lambda settings, notebooks, folder, n: order.append([*notebooks, n]))
    monkeypatch.setattr(runner, "run_series", lambda chosen, folder, parameters, resume: order.append("notebooks"))
    told = ["--preset", "smoke", "--run", str(run), "--only", "00", "03", "-p", "data", "synthetic"]
    assert runner.main([*told, "--at-once", "4"]) == 0 and order == [["00", "03", 4], "notebooks"]
    order.clear()
    assert runner.main(told) == 0 and order == ["notebooks"]
    with pytest.raises(SystemExit):
        runner.main([*told, "--at-once", "-1"])


@pytest.mark.slow
def test_what_was_trained_so_is_loaded_by_its_notebook(run, tiny_folder):
    """Two rows and their control in two real processes; another such call has nothing to train."""
    settings = load_preset("smoke", encoder=tiny_folder, rows="att_pool_96 cls_decoder_32", data="synthetic")
    assert train_at_once(settings, ["03"], run, 2) == []
    for name in ("att_pool_96", "cls_decoder_32"):
        assert TrainingRecord.read(run / "models" / name).steps > 0
    written = (run / "log.txt").read_text()
    assert train_at_once(settings, ["03"], run, 2) == []
    for name in ("att_pool_96", "cls_decoder_32"):
        train(select_row(settings, name), run)
    assert (run / "log.txt").read_text() == written
