"""The runner, on a series of tiny notebooks."""

import json
import os
from pathlib import Path

import nbformat
import pytest
import torch
import yaml

from invlib import paths
from invlib.data import sources
from invlib.series import notebooks, preflight, runner
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
        "cpu": {"rows": ["rnn_8"]},
        "runner": {"cpu": {"minutes": {"00": 1, "01": 2}, "disk_gb": 0}},
    }
    (paths.NOTEBOOKS / "presets.yaml").write_text(yaml.safe_dump(presets))
    first = notebook(
        WRITE + "(folder / 'first.txt').write_text(f'{preset} {seed}')", skip="(folder / 'solved').touch()"
    )
    second = notebook(WRITE + "print((folder / 'first.txt').read_text())")
    nbformat.write(first, paths.NOTEBOOKS / "00_first.ipynb")
    nbformat.write(second, paths.NOTEBOOKS / "01_second.ipynb")
    monkeypatch.setattr(preflight, "preflight", lambda *_: [preflight.Check("data", True, "here")])
    return tmp_path


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
    assert "01_second done" in (folder / "log.txt").read_text()
    said = capsys.readouterr().out
    assert "about 3 minutes" in said
    assert next(line for line in said.splitlines() if line.startswith("00_first")).endswith("s  first.txt")
    assert "this run" in said and "published" in said and "0.552" in said


def test_a_failure_stops_and_resume_goes_on(workbook, capsys):
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


def test_a_part_of_the_series(workbook, capsys):
    """A part alone never moves runs/last; afterwards it is run in the run that is there."""
    assert runner.main(["--preset", "cpu", "--only", "00"]) == 0
    assert "\n1 notebook, about 1 minute;" in capsys.readouterr().out
    assert not (paths.RUNS / "last").exists()
    (made,) = paths.RUNS.iterdir()
    assert runner.main(["--run", made.name, "--from", "01_second"]) == 0
    assert (paths.RUNS / "last").resolve() == made.resolve()  # now the series is whole
    assert runner.main(["--only", "01"]) == 0
    assert [p for p in paths.RUNS.iterdir() if not p.is_symlink()] == [made]
    assert runner.main(["--preset", "smoke", "--run", made.name]) == 2
    assert "made with preset cpu" in capsys.readouterr().err


def test_a_part_made_otherwise_does_not_mix_two_runs(workbook, capsys):
    """Told, with the way out, and the run stays what it is; what the run has anyway may be said again."""
    assert runner.main(["--preset", "cpu", "-p", "seed", "3"]) == 0
    last = (paths.RUNS / "last").resolve()
    before = {path: path.read_bytes() for path in last.rglob("*") if path.is_file()}
    for argv, words in (
        (["-p", "seed", "4"], "was made with seed 3, not seed 4"),
        (["-p", "rows", "rnn_16"], "was made with rows ['rnn_8'], not rows ['rnn_16']"),
        (["--preset", "smoke", "--run", "last"], "was made with preset cpu, not smoke"),
    ):
        for part in (["--only", "00"], ["--from", "01"]):
            assert runner.main([*part, *argv]) == 2
            error = capsys.readouterr().err
            assert words in error and "give another --run" in error
    assert {path: path.read_bytes() for path in last.rglob("*") if path.is_file()} == before

    args = runner.arguments(["--only", "00", "-p", "seed", "3", "-p", "rows", "rnn_8"])
    *_, folder, _, parameters = runner.prepare(args)
    assert folder == last and parameters == {"preset": "cpu", "seed": 3}  # as its executed notebooks are stamped
    *_, folder, _, parameters = runner.prepare(runner.arguments(["--only", "00", "-p", "seed", "4", "--run", "new"]))
    assert folder == paths.RUNS / "new" and parameters["seed"] == 4


def test_smoke_is_temporary_and_solutions_run(workbook, monkeypatch):
    """smoke and --solutions write to a temporary folder; solutions are executed when asked for."""
    monkeypatch.setattr(runner.tempfile, "mkdtemp", lambda prefix: str(workbook / "temporary"))
    assert runner.main(["--preset", "smoke", "--solutions", "--only", "00"]) == 0
    assert (workbook / "temporary" / "solved").exists()
    assert not paths.RUNS.exists()


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

    monkeypatch.setattr(runner, "execute", interrupted)
    assert runner.main(["--preset", "cpu", "--run", "mine"]) == 130
    assert "--resume --run mine" in capsys.readouterr().err
    assert (paths.RUNS / "mine" / "settings.json").is_file()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--preset", "cpuu"], "unknown preset 'cpuu'"),
        (["--only", "09"], "unknown notebook '09'; the series has 00_first, 01_second"),
        (["-p", "sed", "1"], "unknown parameter 'sed'; parameters are data"),
        (["-p", "preset", "cpu"], "give it as --preset"),
        (["-p", "seed", "one"], "seed is a whole number"),
        (["-p", "rows", "rnn"], "unknown row 'rnn'"),
        (["--resume"], "nothing to resume"),
    ],
)
def test_bad_arguments(workbook, capsys, argv, words):
    """Each is told with the choices, status 2, and nothing is written."""
    assert runner.main(argv) == 2
    assert words in capsys.readouterr().err
    assert not paths.RUNS.exists()


def test_a_parameter_that_reaches_no_notebook(workbook, capsys):
    """papermill would only warn."""
    replace("01_second.ipynb", "print(preset)", parameters='preset = "auto"')
    assert runner.main(["--preset", "cpu", "-p", "seed", "1"]) == 2
    assert "01_second.ipynb has no parameter seed; its parameters cell has preset" in capsys.readouterr().err


def test_a_parameter_that_only_some_notebooks_have(workbook, capsys, monkeypatch):
    """`language_model` reaches those that have it; where none has it, it is an error."""
    argv = ["--preset", "cpu", "-p", "language_model", "some/model"]
    assert runner.main(argv) == 2
    assert "no notebook of these has the parameter language_model" in capsys.readouterr().err
    told = PARAMETERS + "\nlanguage_model = None"
    replace("01_second.ipynb", "print(language_model)", parameters=told)
    assert runner.main(argv) == 0
    (folder,) = [path for path in paths.RUNS.iterdir() if path.name != "last"]
    assert "some/model" in (folder / "notebooks" / "01_second.ipynb").read_text()
    first = paths.read_json(folder / "notebooks" / "00_first.ipynb")
    assert "some/model" not in str(first["cells"])
    monkeypatch.chdir(workbook)
    (workbook / "pythia").mkdir()  # a folder is meant from here, and notebooks run elsewhere
    assert runner.parse_parameters([("language_model", "pythia")])["language_model"] == str(workbook / "pythia")


def test_a_language_model_is_looked_for_where_a_notebook_reads_one(workbook, monkeypatch):
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
    said = capsys.readouterr()
    assert "-> get some" in said.out and "-> free some" in said.out and "missing: data, disk" in said.err
    assert not paths.RUNS.exists()


def test_environment_is_put_back(monkeypatch):
    """Variables for kernels are gone afterwards; one CUDA card where none was chosen; INVLIB_DATA made absolute."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("INVLIB_DATA", "somewhere")
    with notebooks.environment(INVLIB_RUN="here"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0" and os.environ["INVLIB_RUN"] == "here"
        assert os.environ["INVLIB_DATA"] == os.path.abspath("somewhere")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ and os.environ["INVLIB_DATA"] == "somewhere"


def test_what_a_notebook_produced():
    """New and changed files, models by name, folders by count."""
    before = {"metrics.json": 1, "old.csv": 1}
    after = {
        "metrics.json": 2,
        "old.csv": 1,
        "models/att_pool_768/config.json": 1,
        "models/att_pool_768/x": 1,
        "curves/a.csv": 1,
        "curves/b.csv": 1,
    }
    assert runner.produced(before, after) == "curves/ (2), metrics.json, models/att_pool_768"


def test_data_check(tmp_path, monkeypatch):
    """The four sources in order, and what each lacks."""
    monkeypatch.setattr(preflight, "DATA", tmp_path)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setattr(preflight, "reachable", lambda _: False)
    monkeypatch.setenv("INVLIB_DATA", str(tmp_path / "none"))
    assert "is not a folder" in preflight.check_data(None, "cpu", True).found
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "reuters_headlines.csv").write_text("Headlines,Time\nWall Street falls,today\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("INVLIB_DATA", "~/home")
    assert preflight.check_data(None, "cpu", True).ok
    with notebooks.environment():
        assert os.environ["INVLIB_DATA"] == str(tmp_path / "home")
    monkeypatch.delenv("INVLIB_DATA")
    assert not preflight.check_data(None, "study", False).ok
    assert "SYNTHETIC" in preflight.check_data(None, "cpu", True).found
    assert preflight.check_data("synthetic", "study", False).ok
    assert not preflight.check_data(str(tmp_path / "no.csv"), "cpu", True).ok
    monkeypatch.setattr(preflight, "reachable", lambda _: True)
    assert "will be downloaded" in preflight.check_data(None, "study", False).found
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "cnbc_headlines.csv").write_text("Headlines,Time\nWall Street falls,today\n")
    assert preflight.check_data(None, "study", False).found == "data/raw: cnbc_headlines.csv"
    (tmp_path / "own.csv").write_text("title\nWall Street falls\n")
    check = preflight.check_data(str(tmp_path / "own.csv"), "study", False)
    assert not check.ok and "has no column 'Headlines'" in check.found
    (tmp_path / "own.tsv").write_text("Time\tTitle\ntoday\tWall Street falls\n")
    assert "its columns are 'Time', 'Title'" in preflight.check_data(str(tmp_path / "own.tsv"), "study", False).found


def test_a_download_that_kagglehub_holds_is_found_without_a_network(tmp_path, monkeypatch):
    """By kagglehub's own places and marks; one that was broken off, or whose files are gone, is none."""
    from kagglehub import cache, handle

    monkeypatch.setattr(preflight, "DATA", tmp_path)
    monkeypatch.setattr(preflight, "reachable", lambda _: False)
    monkeypatch.delenv("INVLIB_DATA", raising=False)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    held = handle.DatasetHandle(*sources.KAGGLE.split("/"), 5)
    for path in (None, "cnbc_headlines.csv"):  # of a single file the rest is not there
        cache.Cache().mark_as_complete(held, path)
    assert not preflight.check_data(None, "study", False).ok
    folder = Path(cache.get_cached_path(held))
    folder.mkdir(parents=True)
    assert "holds no CSV file" in preflight.check_data(None, "study", False).found
    (folder / "cnbc_headlines.csv").write_text("Headlines,Time\nWall Street falls,today\n")
    check = preflight.check_data(None, "study", False)
    assert check.ok and check.found == f"{sources.KAGGLE}, downloaded earlier by kagglehub: cnbc_headlines.csv"

    monkeypatch.setenv("KAGGLEHUB_CACHE", "")  # set to nothing is not set, here as where the data is read
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "kaggle").rename(tmp_path / "kagglehub")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "kagglehub").rename(tmp_path / ".cache" / "kagglehub")
    assert preflight.check_data(None, "study", False).ok and sources.kaggle_cached().is_dir()


def test_model_check(tmp_path, monkeypatch):
    """Embedded, a local folder, the hub; a hub that does not answer is told with the way out."""
    monkeypatch.setattr(preflight, "reachable", lambda _: False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert preflight.check_model("encoder", "minilm").ok
    assert "no config.json" in preflight.check_model("encoder", str(tmp_path)).found
    (tmp_path / "config.json").touch()
    assert preflight.check_model("encoder", str(tmp_path)).ok
    assert not preflight.check_model("encoder", str(tmp_path / "none")).ok
    for name in ("a/b/c", "my model", "owner/model!"):
        assert "no model of the hub can have that name" in preflight.check_model("encoder", name).found
    check = preflight.check_model("bertscore", "nobody/has-this-model")
    assert not check.ok and "-p scorers minilm" in check.remedy
    lacking = [check for check in preflight.preflight(load_preset("deck"), tmp_path) if check.name == "language model"]
    assert not lacking[0].ok and "-p language_model own" in lacking[0].remedy
    assert "language model" not in [check.name for check in preflight.preflight(load_preset("cpu"), tmp_path)]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in preflight.check_model("encoder", "nobody/has-this-model").found


def test_device_check(monkeypatch):
    """A preset that needs a GPU, and a card that torch can't use."""
    monkeypatch.setattr(preflight, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(preflight, "idle_card", lambda: None)
    assert preflight.check_device("cpu").ok and not preflight.check_device("gpu").ok
    monkeypatch.setattr(preflight, "idle_card", lambda: "NVIDIA Tesla")
    monkeypatch.setattr(torch.version, "cuda", None)
    check = preflight.check_device("cpu")
    assert check.ok and "NVIDIA Tesla" in check.found and "built without CUDA" in check.remedy


def test_disk_check(tmp_path):
    """A folder that is not there yet is measured where it will be made."""
    assert preflight.check_disk(tmp_path / "a" / "b", 0).ok
    assert not preflight.check_disk(tmp_path, 1e9).ok


def test_a_host_that_does_not_answer():
    """A name that can't exist is given up at once."""
    assert not preflight.reachable("https://no-such-host.invalid", seconds=2)
