"""The runner, on a series of tiny notebooks."""

import json
import os
import shutil
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from invlib import paths
from invlib.series import duration, execution, notebooks, preflight, readme_tables, runner
from invlib.settings import load_preset

PARAMETERS = 'preset = "auto"\nrun = None\ndata = None\nencoder = None\nscorers = None\nrows = None\nseed = None'
WRITE = "import os, pathlib\nfolder = pathlib.Path(os.environ['INVLIB_RUN'])\n"


def notebook(*sources: str, parameters: str = PARAMETERS, skip: str = "") -> nbformat.NotebookNode:
    """A notebook with a parameters cell, these code cells, and one that runs leave out."""
    cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    if skip:
        cells.append(nbformat.v4.new_code_cell(skip, metadata={"tags": ["skip-execution", "nbval-skip"]}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.fixture
def workbook(tmp_path, monkeypatch):
    """A repository of two notebooks and two presets; every check passes."""
    for name in ("NOTEBOOKS", "RUNS", "RESULTS", "DATA"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    for name in ("INVLIB_RUN", "INVLIB_PRESET", "INVLIB_DATA"):
        monkeypatch.delenv(name, raising=False)
    paths.NOTEBOOKS.mkdir()
    presets = {
        "smoke": {"rows": ["rnn_8"]},
        "cpu": {"rows": ["rnn_8"], "steps": 600},
        "runner": {"cpu": {"minutes": {"00": 1, "01": 2}, "disk_gb": 0}, "smoke": {"minutes": {"01": 1}}},
    }
    (paths.NOTEBOOKS / "presets.yaml").write_text(yaml.safe_dump(presets))
    first = notebook(
        WRITE + "(folder / 'first.txt').write_text(f'{preset} {seed}')", skip="(folder / 'solved').touch()"
    )
    second = notebook(WRITE + "print((folder / 'first.txt').read_text())")
    nbformat.write(first, paths.NOTEBOOKS / "00_first.ipynb")
    nbformat.write(second, paths.NOTEBOOKS / "01_second.ipynb")
    monkeypatch.setattr(preflight, "preflight", lambda *_: [preflight.Check("data", True, "here")])
    monkeypatch.setattr(duration, "known", lambda *_: {"hidden_size": 8, "seconds": {"rnn_8": 0.1}})
    monkeypatch.setattr(runner, "load_corpus", lambda _: SimpleNamespace(data_hash="0123456789ab"))
    return tmp_path


@pytest.fixture
def without_kernels(monkeypatch):
    """without_kernels(): from here on cells are executed in this process; a kernel each takes seconds."""

    def execute_notebook(source, target, parameters, **_):
        content = parameterize_notebook(load_notebook_node(source), parameters)
        names: dict = {}
        cells = [c for c in content.cells if "skip-execution" not in c.metadata.tags]
        for number, cell in enumerate(cells, start=1):
            exec(cell.source, names)
            cell.execution_count = number
        nbformat.write(content, target)

    return lambda: monkeypatch.setattr("papermill.execute_notebook", execute_notebook)


def replace(name: str, *sources: str, **more) -> None:
    """Put another notebook in the place of one of the series."""
    nbformat.write(notebook(*sources, **more), paths.NOTEBOOKS / name)


def test_a_whole_series(workbook, capsys):
    """Both notebooks, their HTML, log and settings; a line each; runs/last; the three parts of the closing table."""
    assert runner.main(["--preset", "cpu", "-p", "seed", "3"]) == 0
    folder = paths.RUNS / "last"
    assert folder.is_symlink() and folder.resolve().name.endswith("_cpu")
    assert (folder / "first.txt").read_text() == "cpu 3"
    assert not (folder / "solved").exists()
    assert sorted(p.name for p in (folder / "notebooks").iterdir()) == [
        "00_first.html", "00_first.ipynb", "01_second.html", "01_second.ipynb",
    ]  # fmt: skip
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["preset"] == "cpu" and settings["seed"] == 3 and "torch" in settings["versions"]
    assert settings["data_hash"] == "0123456789ab"  # no model was trained; publishing compares it
    assert "01_second done" in (folder / "log.txt").read_text()
    timings = pd.read_csv(folder / "timings.csv").set_index("step")
    assert list(timings.index) == ["00_first", "01_second"] and (timings["seconds"] < 600).all()
    assert timings["largest_gb"].between(0.02, 64).all()  # a kernel takes more than nothing
    assert runner.main(["--preset", "cpu", "--run", str(folder.resolve()), "--only", "01", "-p", "seed", "3"]) == 0
    assert list(pd.read_csv(folder / "timings.csv")["step"]) == ["00_first", "01_second"]
    printed = capsys.readouterr().out
    assert "notebooks: 2, about 4 min, 1 of them for training, timed here; progress" in printed
    assert next(line for line in printed.splitlines() if line.startswith("00_first")).endswith("s  first.txt")
    assert "this run" in printed and "published" in printed and "0.552" in printed


def test_a_series_ends_with_its_figures_beside_the_published_ones(workbook, capsys, without_kernels):
    """As many as are reproduced, and why the others can't be compared."""
    without_kernels()
    row = {"model": "rnn", "embedding_dim": 8, "search": "greedy", "exact_match": 0.5, "ci95": {"exact_match": [0, 1]}}
    row |= {"preset": "cpu", "data_hash": "a", "encoder": "minilm", "split": "test", "seed": 0}
    replace("01_second.ipynb", WRITE + f"(folder / 'metrics.json').write_text('{json.dumps([row])}')")
    paths.write_json(paths.RESULTS / "study" / "metrics.json", [row | {"preset": "study"}])
    assert runner.main(["--preset", "cpu"]) == 0
    assert (
        "beside results/study (invlib compare): 1 shared figures: reproduced 0, differs 0, not comparable 1 "
        "(preset cpu, not study)\n"
    ) in capsys.readouterr().out


def test_a_failure_stops_and_resume_goes_on(workbook, capsys, without_kernels):
    """The failing cell and its error are told, runs/last stays away, and --resume leaves out what is done."""
    replace("01_second.ipynb", "nothing = 1", "the_cell = 1 / 0")
    assert runner.main(["--preset", "cpu", "--run", "mine"]) == 1
    error = capsys.readouterr().err
    assert "the_cell = 1 / 0" in error and "ZeroDivisionError: division by zero" in error
    assert "--resume --run mine" in error
    assert not (paths.RUNS / "last").exists()
    folder = paths.RUNS / "mine"
    assert notebooks.is_complete(folder / "notebooks" / "00_first.ipynb")
    assert not notebooks.is_complete(folder / "notebooks" / "01_second.ipynb")

    without_kernels()
    replace("01_second.ipynb", "print('mended')")
    (folder / "first.txt").unlink()
    assert runner.main(["--resume"]) == 0
    assert "done before" in capsys.readouterr().out
    assert not (folder / "first.txt").exists()
    assert (paths.RUNS / "last").resolve() == folder.resolve()

    replace("00_first.ipynb", WRITE + "(folder / 'first.txt').write_text('new code')")
    assert runner.main(["--resume", "--run", "mine"]) == 0
    assert (folder / "first.txt").read_text() == "new code"

    presets = yaml.safe_load((paths.NOTEBOOKS / "presets.yaml").read_text())
    presets["cpu"]["batch_size"] = 16  # the values changed: what was made with the old ones is made again
    (paths.NOTEBOOKS / "presets.yaml").write_text(yaml.safe_dump(presets))
    (folder / "first.txt").unlink()
    assert runner.main(["--resume", "--run", "mine"]) == 0
    assert (folder / "first.txt").exists()


def test_a_part_of_the_series(workbook, capsys, without_kernels):
    """A part alone never moves runs/last; afterwards it is run in the run that is there."""
    without_kernels()
    assert runner.main(["--preset", "cpu", "--only", "00"]) == 0
    assert "notebooks: 1, about 1 min;" in capsys.readouterr().out
    assert not (paths.RUNS / "last").exists()
    (made,) = paths.RUNS.iterdir()
    assert runner.main(["--run", made.name, "--from", "01_second"]) == 0
    assert (paths.RUNS / "last").resolve() == made.resolve()  # now the series is whole
    assert runner.main(["--only", "01"]) == 0
    assert [p for p in paths.RUNS.iterdir() if not p.is_symlink()] == [made]
    assert runner.main(["--preset", "smoke", "--run", made.name]) == 2
    assert "made with preset cpu" in capsys.readouterr().err


def test_a_part_made_otherwise_does_not_mix_two_runs(workbook, capsys, without_kernels):
    """Told, with the way out, and the run stays what it is; what the run has anyway may be given again."""
    without_kernels()
    assert runner.main(["--preset", "cpu", "-p", "seed", "3"]) == 0
    last = (paths.RUNS / "last").resolve()
    before = {path: path.read_bytes() for path in last.rglob("*") if path.is_file()}
    for argv, words in (
        (["-p", "seed", "4"], "was made with seed 3, not seed 4"),
        (["-p", "rows", "rnn_16"], "was made with rows ['rnn_8'], not rows ['rnn_16']"),
        (["--preset", "smoke", "--run", "last"], "was made with preset cpu, not preset smoke"),
    ):
        for part in (["--only", "00"], ["--from", "01"]):
            assert runner.main([*part, *argv]) == 2
            error = capsys.readouterr().err
            assert words in error and "give another --run" in error
    assert {path: path.read_bytes() for path in last.rglob("*") if path.is_file()} == before

    args = runner.arguments(["--only", "00", "-p", "seed", "3", "-p", "rows", "rnn_8"])
    *_, folder, _, parameters = runner.plan_run(args)
    assert folder == last and parameters == {"preset": "cpu", "seed": 3}  # as its executed notebooks are stamped
    *_, folder, _, parameters = runner.plan_run(runner.arguments(["--only", "00", "-p", "seed", "4", "--run", "new"]))
    assert folder == paths.RUNS / "new" and parameters["seed"] == 4


def test_smoke_is_temporary(workbook, monkeypatch, capsys, without_kernels):
    """smoke writes to a temporary folder, and leaves the exercises' solutions out as every run does."""
    without_kernels()
    monkeypatch.setattr(runner.tempfile, "mkdtemp", lambda prefix: str(workbook / "temporary"))
    assert runner.main(["--preset", "smoke", "--only", "00"]) == 0
    assert "notebooks: 1, about 0 min, and 1 of a time not known yet" in capsys.readouterr().out
    assert (workbook / "temporary" / "first.txt").exists() and not (workbook / "temporary" / "solved").exists()
    assert not paths.RUNS.exists()


def test_a_run_that_cant_be_written_is_an_error_and_starts_nothing(workbook, capsys):
    paths.RUNS.write_text("a file in the place of the folder")
    assert runner.main(["--preset", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "Not a directory" in error or "File exists" in error
    assert f"What was done is in {paths.RUNS}" in error


@pytest.mark.slow
def test_real_notebooks_run_under_the_runner(tmp_path, capsys):
    """The others run under nbval; here papermill injects the parameters, and the executed copies are kept."""
    assert (
        runner.main(["--preset", "smoke", "--run", str(tmp_path), "--only", "00", "02", "-p", "data", "synthetic"]) == 0
    )
    for name in ("00_data_exploration", "02_attention_pooling"):
        assert notebooks.is_complete(tmp_path / "notebooks" / f"{name}.ipynb")
        assert (tmp_path / "notebooks" / f"{name}.html").is_file()
    assert (tmp_path / "tables" / "00_funnel.csv").is_file()


def test_a_kernel_that_dies(workbook, capsys):
    """Told with the cell that killed it."""
    replace("00_first.ipynb", "import os", "os._exit(1)")
    assert runner.main(["--preset", "cpu", "--run", "mine"]) == 1
    error = capsys.readouterr().err
    assert "os._exit(1)" in error and "kernel died" in error


def test_an_interrupt(workbook, monkeypatch, capsys):
    """What was done stays, the status is 130, and the way on is told."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "execute", interrupted)
    assert runner.main(["--preset", "cpu", "--run", "mine"]) == 130
    assert "--resume --run mine" in capsys.readouterr().err
    assert (paths.RUNS / "mine" / "settings.json").is_file()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--preset", "cpuu"], "unknown preset 'cpuu'"),
        (["--only", "09"], "unknown notebook '09'; the series has 00_first, 01_second"),
        (["-p", "sed", "1"], "no notebook of these has the parameter sed; parameters are data, encoder"),
        (["-p", "preset", "cpu"], "preset has an option of its own: give it as --preset cpu"),
        (["-p", "run", "20240607"], "run has an option of its own: give it as --run 20240607"),
        (["-p", "seed", "one"], "setting seed is 'one'"),
        (["-p", "rows", "rnn"], "unknown row 'rnn'"),
        (["--resume"], "nothing to resume"),
    ],
)
def test_bad_arguments(workbook, capsys, argv, words):
    """Each is told with the choices, status 2, and nothing is written."""
    assert runner.main(argv) == 2
    assert words in capsys.readouterr().err
    assert not paths.RUNS.exists()


def test_a_notebook_gets_the_parameters_that_it_names(workbook, capsys, without_kernels):
    """One that stands in no notebook is an error, for papermill would only warn."""
    without_kernels()
    argv = ["--preset", "cpu", "-p", "language_model", "some/model", "-p", "seed", "1"]
    assert runner.main(argv) == 2
    assert "no notebook of these has the parameter language_model; parameters are data" in capsys.readouterr().err
    replace("01_second.ipynb", "print(language_model)", parameters='preset = "auto"\nlanguage_model = None')
    assert runner.main(argv) == 0
    folder = (paths.RUNS / "last").resolve()
    for name, given, lacks in (("00_first", "seed = 1", "some/model"), ("01_second", '"some/model"', "seed")):
        cells = paths.read_json(folder / "notebooks" / f"{name}.ipynb")["cells"]
        injected = "".join(cells[1]["source"])
        assert given in injected and lacks not in injected
    assert runner.main(["--only", "00"]) == 0  # the run's other parameters are no error where a part lacks them
    assert runner.main(["--resume", "--run", folder.name, "-p", "language_model", "another"]) == 0
    assert capsys.readouterr().out.count("done before") == 1  # 00 does not read it
    assert runner.main(["--only", "00", "-p", "language_model", "x"]) == 2


def test_a_folder_is_meant_from_where_the_command_is_given(workbook, monkeypatch):
    monkeypatch.chdir(workbook)
    (workbook / "pythia").mkdir()
    assert runner.parse_parameters([("language_model", "pythia")])["language_model"] == str(workbook / "pythia")


def test_a_language_model_is_looked_for_where_a_notebook_reads_one(workbook, monkeypatch, without_kernels):
    without_kernels()
    asked = []
    monkeypatch.setattr(preflight, "preflight", lambda *given: asked.append(given[-1]) or [])
    assert runner.main(["--preset", "cpu", "--run", "a"]) == 0
    replace("01_second.ipynb", "1", parameters=PARAMETERS + "\nlanguage_model = None")
    assert runner.main(["--preset", "cpu", "--run", "b"]) == 0
    assert asked == [False, True]


def test_what_is_missing_is_told_at_once(workbook, monkeypatch, capsys):
    """All of it, with what to do, before anything starts."""
    found = [preflight.Check("data", False, "none", "get some"), preflight.Check("disk", False, "full", "free some")]
    monkeypatch.setattr(preflight, "preflight", lambda *_: found)
    assert runner.main(["--preset", "cpu"]) == 2
    shown = capsys.readouterr()
    assert "-> get some" in shown.out and "-> free some" in shown.out and "missing: data, disk" in shown.err
    assert not paths.RUNS.exists()


def test_a_row_that_cant_be_timed_is_told_before_a_notebook_starts(workbook, monkeypatch, capsys):
    def wrong(*_):
        raise ValueError("no vector of 7 numbers")

    monkeypatch.setattr(duration, "known", wrong)
    assert runner.main(["--preset", "cpu", "--run", "mine"]) == 2
    assert "invlib.series: no vector of 7 numbers" in capsys.readouterr().err
    assert not (paths.RUNS / "mine" / "notebooks").exists()


def test_environment_is_put_back(monkeypatch):
    """Variables for kernels are gone afterwards; one CUDA card where none was chosen; INVLIB_DATA made absolute."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("INVLIB_DATA", "somewhere")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    with notebooks.environment(INVLIB_RUN="here"):
        assert os.environ["MALLOC_TRIM_THRESHOLD_"] == "1" and os.environ["MALLOC_MMAP_THRESHOLD_"] == str(2**30)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0" and os.environ["INVLIB_RUN"] == "here"
        assert os.environ["INVLIB_DATA"] == os.path.abspath("somewhere")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ and os.environ["INVLIB_DATA"] == "somewhere"


def test_what_a_notebook_produced(tmp_path):
    """New and changed files; folders by the number of what is in them, a model being one thing."""
    for name in (
        "old.csv",
        "metrics.json",
        "models/a_768/x",
        "models/a_768/y",
        "curves/a.csv",
        "curves/b.csv",
        "log.txt",
    ):
        paths.write_text(tmp_path / name, "")
    os.utime(tmp_path / "old.csv", (0, 0))
    assert execution.produced(tmp_path, start=1) == "curves (2), metrics.json, models (1)"


def test_a_run_s_headlines_are_those_of_its_tables(tmp_path, monkeypatch):
    """A small training on a part of the headlines does not make the run one of other headlines."""
    found = {
        name: SimpleNamespace(identity=SimpleNamespace(data_hash=data), purpose=purpose)
        for name, data, purpose in (("a", "of all", "study"), ("b", "of a part", "ablation"))
    }
    monkeypatch.setattr(runner, "records", lambda folder: found)
    runner.write_settings(tmp_path, load_preset("smoke"), {"preset": "smoke"}, at_once=3)
    assert json.loads((tmp_path / "settings.json").read_text())["data_hash"] == "of all"
    (tmp_path / "metrics.json").write_text("[]")
    assert ", times with 3 processes at once, torch" in readme_tables.provenance(tmp_path)
    runner.write_settings(tmp_path, load_preset("smoke"), {"preset": "smoke"})
    assert "at once" not in readme_tables.provenance(tmp_path)


def test_the_appendix_comes_last_and_is_named_by_its_first_word(workbook):
    nbformat.write(notebook("x = 1"), paths.NOTEBOOKS / "appendix_more.ipynb")
    nbformat.write(notebook("x = 1"), paths.NOTEBOOKS / "draft.ipynb")
    series = notebooks.notebooks_of(paths.NOTEBOOKS)
    assert [notebooks.number_of(path) for path in series] == ["00", "01", "appendix"]
    for name in ("appendix", "appendix_more", "notebooks/appendix_more.ipynb"):
        assert notebooks.pick(series, [name]) == series[2:]
    assert notebooks.pick(series, start="01") == series[1:]


@pytest.mark.slow
def test_a_series_that_is_killed_goes_on(workbook, without_kernels, in_child, kills):
    """kill -9 before any write: --resume ends with the files of a run that nobody killed; nothing is done twice."""
    without_kernels()
    folder = paths.RUNS / "mine"
    replace("00_first.ipynb", WRITE + "print('x', file=(folder / 'first.txt').open('a'))")

    def series():
        assert runner.main(["--preset", "cpu", "--run", "mine", "--resume"]) == 0

    def left() -> dict:
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        told = ("log.txt", "timings.csv")  # how it went, not what it made
        made = {name: path for name, path in files.items() if ".part" not in name and name not in told}
        found = {name: len(path.read_bytes()) for name, path in made.items()}
        done = [notebooks.is_complete(path) for path in sorted((folder / "notebooks").glob("*.ipynb"))]
        return found | {"complete": done, "last": (paths.RUNS / "last").resolve()}

    places = kills(series, 24)
    whole = left()
    assert len(places) > 8 and whole["complete"] == [True, True]
    for place in places:
        shutil.rmtree(paths.RUNS)
        assert in_child(series, place)[0] == -9
        begun = notebooks.is_complete(folder / "notebooks" / "00_first.ipynb")
        assert in_child(series)[0] == 0
        if begun:
            assert (folder / "first.txt").read_text() == "x\n"
        (folder / "first.txt").write_text("x\n")
        assert left() == whole
