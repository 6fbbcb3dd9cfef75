"""Trainings and notebooks side by side: which, in which order, how many at once, and what is said of one that fails."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from invlib import paths
from invlib.evaluation.controls import no_vector_names
from invlib.series import at_once as module
from invlib.series import execution, runner
from invlib.series.at_once import command, train_at_once
from invlib.series.execution import run_series
from invlib.series.notebooks import READS, NotebookFailed, is_complete, notebooks_of, number_of, waits
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
        (run / "training_instead.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", f"{run}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

        def instead(settings, name, folder):
            asked.append(name)
            return ["training_instead", name]

        monkeypatch.setattr(module, "command", instead)
        return asked

    monkeypatch.setattr(module, "load_material", lambda settings, progress: tiny_material)
    return of


def test_a_training_is_told_all_that_it_depends_on(settings, tiny_folder, tmp_path):
    told = command(settings, "att_pool_96", tmp_path)
    assert told[:6] == ["invlib.training", "--preset", "smoke", "--row", "att_pool_96", "--run"]
    assert told[6:] == [str(tmp_path), "--data=synthetic", f"--encoder={tiny_folder}", "--seed=3"]
    assert command(load_preset("smoke"), "att_pool_96", tmp_path)[7:] == []


def test_rows_and_their_controls_are_trained_the_longest_first(settings, run, processes):
    asked, settings = processes("pass"), replace(settings, no_vector_steps=5)
    controls = no_vector_names(settings, list(settings.rows))
    assert train_at_once(settings, ["00", "03"], run, 1) == []
    assert set(asked[:2]) == set(settings.rows) and sorted(asked[2:]) == sorted(controls) and controls
    assert pd.read_csv(run / "timings.csv")["step"].tolist() == ["trainings side by side"]
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
    """One that does not leave when it is asked is killed."""
    mark = run / "begun"
    mark.mkdir()
    processes(
        f"import pathlib, signal, sys, time\nif sys.argv[1] == 'hybrid_96':\n    signal.signal(signal.SIGTERM, "
        f"signal.SIG_IGN)\n(pathlib.Path({str(mark)!r}) / sys.argv[1]).touch()\ntime.sleep(600)"
    )
    monkeypatch.setattr(module, "PATIENCE", 3)
    begun, real, sleep = [], module.Job, time.sleep
    monkeypatch.setattr(module, "Job", lambda *args: begun.append(real(*args)) or begun[-1])

    def interrupt(seconds):
        if len(list(mark.iterdir())) == 2:
            monkeypatch.setattr(module.time, "sleep", sleep)
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(module.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_at_once(settings, ["03"], run, 2)
    assert sorted(job.process.returncode for job in begun) == [-signal.SIGKILL, 128 + signal.SIGTERM]


def test_what_runs_ends_with_the_process_that_started_it(tmp_path):
    """Even where that is killed: nothing goes on writing into a run that somebody starts again."""
    (tmp_path / "endless.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)")
    (tmp_path / "parent.py").write_text(
        "import os, subprocess, sys\n"
        "told = [sys.executable, '-m', 'invlib.series.child', 'endless']\n"
        "child = subprocess.Popen(told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "print(child.stdout.readline(), flush=True)\nos.kill(os.getpid(), 9)"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    told = [sys.executable, str(tmp_path / "parent.py")]
    pid = int(subprocess.run(told, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE).stdout)
    end = time.monotonic() + 20
    while running(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


def running(pid: int) -> bool:
    """Whether a process runs; one that ended, and that nobody waited for, does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


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
    """Side by side where the preset or the command says so; a preset's number is never above that of the cores."""
    order = []
    failed: list[str] = []
    monkeypatch.setattr(
        runner, "train_at_once", lambda settings, notebooks, folder, n: order.append([*notebooks, n]) or failed
    )
    monkeypatch.setattr(
        runner, "run_series", lambda chosen, folder, parameters, resume, n, trained: order.append((n, trained))
    )
    told = ["--preset", "smoke", "--run", str(run), "--only", "00", "03", "-p", "data", "synthetic"]
    for more, threads, preset, expected in (
        (["--at-once", "4"], 2, 1, [["00", "03", 4], (4, True)]), ([], 2, 1, [(1, False)]),
        ([], 2, 2, [["00", "03", 2], (2, True)]), ([], 1, 2, [(1, False)]), (["--at-once", "1"], 2, 2, [(1, False)]),
    ):  # fmt: skip
        order.clear()
        monkeypatch.setattr(runner.torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(runner, "read_presets", lambda preset=preset: {"runner": {"smoke": {"at_once": preset}}})
        assert runner.main([*told, *more]) == 0 and order == expected
    failed.append("att_pool_96")
    assert runner.main([*told, "--at-once", "2"]) == 0 and order[-1] == (2, False)
    with pytest.raises(SystemExit):
        runner.main([*told, "--at-once", "-1"])


# Notebooks


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """notebooks(NN_name=code): their paths; what is executed of each is this Python, with the run's folder."""

    def of(**code: str) -> list[Path]:
        for name, lines in code.items():
            (tmp_path / f"module_{name}.py").write_text(
                "import pathlib, sys, time\nrun = pathlib.Path(sys.argv[1])\n" + lines
            )
        return [tmp_path / f"{name}.ipynb" for name in code]

    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    real = execution.Job
    monkeypatch.setattr(
        execution, "Job", lambda words, threads: real([f"module_{Path(words[1]).stem}", words[2]], threads)
    )
    monkeypatch.setattr(execution, "stamp", lambda notebook, parameters: {})
    return of


def test_no_notebook_begins_before_what_it_reads(run, notebooks, capsys):
    """04 waits for 03 and 03 for 01, however many may run; 00, which nobody reads, goes on beside them."""
    made = "time.sleep(0.3)\n(run / 'tables' / '{0}_made').touch()"
    read = "assert (run / 'tables' / '{0}_made').exists()\n" + made
    late = "end = time.monotonic() + 30\nwhile '04_metrics done' not in (run / 'log.txt').read_text():\n"
    late += "    assert time.monotonic() < end; time.sleep(0.01)\n"
    (run / "tables").mkdir()
    chosen = notebooks(**{
        "00_first": late + made.format("00"), "01_rnn": made.format("01"),
        "03_training": read.replace("{0}", "01", 1).format("03"),
        "04_metrics": read.replace("{0}", "03", 1).format("04"),
    })  # fmt: skip
    run_series(chosen, run, {}, at_once=4)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["01_rnn", "03_training", "04_metrics", "00_first"]
    assert all(line.endswith("s  tables (1)") for line in lines)
    assert pd.read_csv(run / "timings.csv")["step"].tolist() == sorted(path.stem for path in chosen)


def test_where_one_fails_the_others_end(run, notebooks, capsys):
    failing = (
        "import time\nwhile not (run / 'here').exists(): time.sleep(0.01)\nsys.exit('this cell\\n\\nNameError: x')"
    )
    chosen = notebooks(**{
        "00_first": "(run / 'here').touch()\ntime.sleep(600)\n(run / 'done').touch()",
        "01_rnn": failing, "03_training": "(run / 'never').touch()",
    })  # fmt: skip
    with pytest.raises(NotebookFailed, match="^this cell\n\nNameError: x$"):
        run_series(chosen, run, {}, at_once=4)
    assert (
        "failed: NameError: x" in capsys.readouterr().out
        and "01_rnn failed: NameError" in (run / "log.txt").read_text()
    )
    assert (run / "here").exists() and not (run / "never").exists() and not (run / "done").exists()


def test_every_notebook_of_the_series_says_what_it_reads():
    """Of those before it, and of what these read; one that nobody knows waits for all."""
    numbers = [number_of(path) for path in notebooks_of(paths.NOTEBOOKS)]
    assert list(READS) == numbers
    for number, read in READS.items():
        assert all(other == "models" or numbers.index(other) < numbers.index(number) for other in read)
    first, training, metrics = (Path(f"{number}_x.ipynb") for number in ("01", "03", "04"))
    assert waits(metrics, [training]) and waits(metrics, [first]) and waits(training, [first])
    assert not waits(metrics, [first, training], trained=True) and not waits(training, [metrics])
    assert waits(Path("09_x.ipynb"), [training], trained=True)  # its language models
    new, newer = Path("14_new.ipynb"), Path("15_newer.ipynb")
    assert waits(new, [Path("00_a.ipynb")]) and not waits(new, []) and not waits(new, [newer]) and waits(newer, [new])


def test_the_error_of_a_notebook_is_that_of_its_kernel(run, tmp_path):
    """As where notebooks run one after another: the cell and the reason, without a line more."""
    cells = [nbformat.v4.new_code_cell("import warnings\nwarnings.warn('beside')\nprint(missing)")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    failing = tmp_path / "00_first.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), failing)
    with pytest.raises(NotebookFailed) as one_after_another:
        run_series([failing], run, {"preset": "smoke"})
    with pytest.raises(NotebookFailed) as side_by_side:
        run_series([failing], run, {"preset": "smoke"}, at_once=2)
    assert str(side_by_side.value) == str(one_after_another.value) and "print(missing)" in str(side_by_side.value)


def test_what_others_wait_for_begins_first_and_then_what_takes_longest():
    series = notebooks_of(paths.NOTEBOOKS)
    found = [number_of(path) for path in execution.urgent_first(series, {"preset": "cpu"})]
    assert sorted(found) == sorted(map(number_of, series)) and set(found[:2]) == {"03", "04"}
    assert found.index("12") < found.index("13") and found.index("10") < found.index("06")
    assert execution.urgent_first(series[:3], {}) == series[:3]


@pytest.mark.slow
def test_real_notebooks_side_by_side(tmp_path, monkeypatch, capsys):
    told = ["--preset", "smoke", "--run", str(tmp_path), "--only", "00", "02", "-p", "data", "synthetic"]
    assert runner.main([*told, "--at-once", "2"]) == 0
    for name in ("00_data_exploration", "02_attention_pooling"):
        assert is_complete(tmp_path / "notebooks" / f"{name}.ipynb")
        assert (tmp_path / "notebooks" / f"{name}.html").is_file()
    assert {"00_funnel.csv", "02_order.csv"} <= {path.name for path in (tmp_path / "tables").iterdir()}
    assert runner.main([*told, "--at-once", "2", "--resume"]) == 0 and capsys.readouterr().out.count("done before") == 2


@pytest.mark.slow
def test_what_was_trained_so_is_loaded_by_its_notebook(run, tiny_folder):
    """Two rows and their control in two real processes; another such call has nothing to train."""
    settings = load_preset("smoke", encoder=tiny_folder, rows="att_pool_96 cls_decoder_32", data="synthetic")
    assert train_at_once(settings, ["03"], run, 2) == []
    for name in ("att_pool_96", "cls_decoder_32"):
        assert TrainingRecord.read(run / "models" / name).steps > 0
    written, timings = (run / "log.txt").read_text(), (run / "timings.csv").read_text()
    assert train_at_once(settings, ["03"], run, 2) == []
    for name in ("att_pool_96", "cls_decoder_32"):
        train(select_row(settings, name), run)
    assert (run / "log.txt").read_text() == written and (run / "timings.csv").read_text() == timings
