"""Publishing a run: what goes into the repository, what is kept of before, and what is refused."""

import shutil

import nbformat
import pandas as pd
import pytest

from invlib import paths
from invlib.series import publish


def test_publish(repository, finished):
    """Outputs into the notebooks, small files into results/study, figures, and both READMEs' tables."""
    publish.publish("mine")
    notebook = nbformat.read(paths.NOTEBOOKS / "00_a.ipynb", as_version=4)
    nbformat.validate(notebook)
    text = (paths.NOTEBOOKS / "00_a.ipynb").read_text()
    for gone in ("papermill", "widget", "injected", "2026-01-01", "iopub", str(repository.parent), '"invlib"'):
        assert gone not in text
    assert [cell.get("execution_count") for cell in notebook.cells] == [None, 1, 2, None]
    stream, result = notebook.cells[2].outputs
    assert stream.text == "runs/mine/models runs/mine data ../shared\n"
    picture = nbformat.read(finished / "notebooks" / "00_a.ipynb", as_version=4).cells[3].outputs[2].data["image/png"]
    assert result.execution_count == 2 and result.data["image/png"] == picture

    results = {str(p.relative_to(paths.RESULTS)) for p in paths.RESULTS.rglob("*") if p.is_file()}
    small = {"metrics.json", "settings.json", "examples.csv", "curves/att_pool_768.csv"}
    assert results == {f"study/{name}" for name in small} | {"README.md"}
    assert str(repository) not in (paths.RESULTS / "study" / "settings.json").read_text()
    examples = pd.read_csv(paths.RESULTS / "study" / "examples.csv", keep_default_na=False)
    assert len(examples) == 150 and sum(examples["input"] != "") == 100
    assert (paths.FIGURES / "a.png").read_bytes() == b"png"

    readme = (repository / "README.md").read_text()
    assert "old" not in readme and "between" in readme and readme.endswith("end\n")
    assert "0.400 [0.390, 0.410]" in readme and "preset study, seed 0, data hash abc" in readme
    publish.rebuild()
    assert (repository / "README.md").read_text() == readme  # nothing changes where nothing has changed


def test_only_the_run_that_readme_shows_brings_notebooks_and_figures(repository, finished, capsys):
    """Of another run results/<name>/ alone is written, and a line says so; one that takes README over brings its."""
    record = finished / "settings.json"
    record.write_text(record.read_text().replace('"study"', '"cpu"'))
    assert publish.main(["mine"]) == 0
    assert "stay those of that run" not in capsys.readouterr().out
    record.write_text(record.read_text().replace('"cpu"', '"study"'))
    (finished / "figures" / "a.png").write_bytes(b"study's")
    assert publish.main(["mine"]) == 0
    assert (paths.FIGURES / "a.png").read_bytes() == b"study's"

    capsys.readouterr()
    held = [repository / "README.md", paths.NOTEBOOKS / "00_a.ipynb", paths.FIGURES / "a.png"]
    before = [path.read_bytes() for path in held]
    executed = finished / "notebooks" / "00_a.ipynb"
    executed.write_text(executed.read_text().replace("aa==", "bb=="))
    (finished / "figures" / "a.png").write_bytes(b"another's")
    paths.write_json(finished / "metrics.json", paths.read_json(finished / "metrics.json")[1:2])
    assert publish.main(["mine", "--name", "small"]) == 0
    printed = capsys.readouterr().out
    assert "results/small/metrics.json" in printed and "figures/a.png" not in printed
    assert "README.md shows results/study, so notebooks/ and figures/ stay those of that run" in printed
    assert [path.read_bytes() for path in held] == before
    assert "## small" in (paths.RESULTS / "README.md").read_text()


def test_published_files_quote_a_hundred_different_headlines(finished):
    """Over all of them: those of examples.csv under every model, then what the tables have room for."""

    def frame(column, numbers):
        rows = [(f"Headline {i}", model, f"headline {i}") for i in numbers for model in ("rnn", "att_pool")]
        return pd.DataFrame(rows, columns=[column, "model", "decoded"])

    paths.write_csv(finished / "examples.csv", frame("input", range(90)))
    paths.write_csv(finished / "tables" / "06_a.csv", frame("headline", range(85, 150)))
    paths.write_csv(finished / "tables" / "06_b.csv", frame("text", range(200, 300)))
    paths.write_csv(finished / "tables" / "06_c.csv", frame("headlines", range(150)))  # so a count of them is called
    paths.write_csv(finished / "tables" / "06_d.csv", pd.DataFrame({"headline": range(300)}))  # which, not what
    publish.publish("mine")
    study = paths.RESULTS / "study"
    names = {"examples.csv": "input", "tables/06_a.csv": "headline", "tables/06_b.csv": "text"}
    tables = {name: pd.read_csv(study / name, keep_default_na=False) for name in names}
    assert [len(table) for table in tables.values()] == [180, 130, 200]  # no row is lost: a mean can be made again
    shown = [table[names[name]] != "" for name, table in tables.items()]
    assert [sum(some) for some in shown] == [180, 30, 0]
    assert all(((table["decoded"] != "") == some).all() for table, some in zip(tables.values(), shown, strict=True))
    texts = {text for name, column in names.items() for text in tables[name][column]} - {""}
    assert len(texts) == publish.QUOTED
    for name in ("06_c.csv", "06_d.csv"):
        assert (study / "tables" / name).read_bytes() == (finished / "tables" / name).read_bytes()


def test_publishing_keeps_mended_prose(finished):
    """The notebook's own text wins; only outputs come from the run."""
    path = paths.NOTEBOOKS / "00_a.ipynb"
    path.write_text(path.read_text().replace("# A notebook", "# A better title"))
    publish.publish("mine", "other")
    assert "# A better title" in path.read_text() and (paths.RESULTS / "other" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda nb: nb.metadata.pop("invlib"), "not finished"),
        (lambda nb: nb.cells[3].update(source="show(2)"), "has changed since run mine"),
    ],
)
def test_a_notebook_that_is_not_published(finished, change, words):
    """Unfinished (the stamp comes after the last cell), or no longer what ran: an error, and nothing is written."""
    path = finished / "notebooks" / "00_a.ipynb"
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match=words):
        publish.publish("mine")
    assert not paths.RESULTS.exists() and not paths.FIGURES.exists()


def test_publish_rows_alone(finished):
    """A run that has no notebooks yet, and no examples."""
    for path in (finished / "notebooks").iterdir():
        path.unlink()
    (finished / "examples.csv").unlink()
    publish.publish("mine")
    assert (paths.RESULTS / "study" / "metrics.json").is_file()


def test_publish_errors(finished, capsys):
    """A run that is not there is told with those that are; a bad name; a run without results."""
    assert publish.main(["nine"]) == 2
    assert "runs are mine" in capsys.readouterr().err
    with pytest.raises(ValueError, match="published run's name"):
        publish.publish("mine", "../up")
    (paths.RUNS / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="nothing to publish"):
        publish.publish("empty")


def test_a_whole_run_leaves_nothing_of_an_older_publishing(finished, capsys):
    """Tables and curves that the run no longer makes go; an exercise's are never published."""
    paths.write_csv(finished / "tables" / "06_old.csv", pd.DataFrame({"n": [1]}))
    paths.write_csv(finished / "curves" / "hybrid_384_mine.csv", pd.DataFrame({"epoch": [1]}))
    publish.publish("mine")
    study = paths.RESULTS / "study"
    assert (study / "tables" / "06_old.csv").exists() and not (study / "curves" / "hybrid_384_mine.csv").exists()
    (finished / "tables" / "06_old.csv").unlink()
    assert publish.main(["mine"]) == 0
    assert "removed in results/study: tables/06_old.csv" in capsys.readouterr().out
    assert not list((study / "tables").rglob("*"))
    (finished / "figures" / "a.png").rename(finished / "figures" / "b.png")
    _, notes = publish.publish("mine")
    assert "removed in figures: a.png" in notes and [path.name for path in paths.FIGURES.iterdir()] == ["b.png"]
    assert sorted(path.name for path in paths.RESULTS.iterdir()) == ["README.md", "study"]


def test_a_part_of_a_run_keeps_what_it_did_not_make(finished):
    """Of the same preset, seed, encoder and headlines; what another run made is replaced, never mixed."""
    publish.publish("mine")
    (finished / "notebooks" / "00_a.ipynb").unlink()
    (finished / "examples.csv").unlink()
    paths.write_csv(finished / "tables" / "06_new.csv", pd.DataFrame({"text": [f"Another {i}" for i in range(9)]}))
    (paths.FIGURES / "of_before.png").write_bytes(b"png")
    study, (_, notes) = paths.RESULTS / "study", publish.publish("mine")
    assert "not made by this part of the run, so kept in results/study: examples.csv" in notes
    assert (study / "examples.csv").exists() and (paths.FIGURES / "of_before.png").exists()
    blank = pd.read_csv(study / "tables" / "06_new.csv", keep_default_na=False)
    assert blank["text"].tolist() == [""] * 9  # the hundred headlines are those of what is kept
    record = finished / "settings.json"
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    _, notes = publish.publish("mine")
    assert "removed in results/study: examples.csv" in notes and not (study / "examples.csv").exists()


def test_a_row_without_both_controls_is_not_published(finished):
    """Refused with what to do; beam search has none; published rows without threads and steps may stay."""
    rows = paths.read_json(finished / "metrics.json")
    old = [{key: value for key, value in row.items() if key not in ("threads", "steps")} for row in rows]
    paths.write_json(paths.RESULTS / "study" / "metrics.json", old[:2])
    for change, words in (
        ({"controls": {"no_vector": None, "shuffled_vector": {"accuracy": 0.1}}}, "att_pool_384 no_vector; train"),
        ({"controls": None}, "att_pool_384 no_vector, att_pool_384 shuffled_vector; train"),
    ):
        paths.write_json(finished / "metrics.json", [*rows[:2], rows[2] | change])
        with pytest.raises(ValueError, match=words):
            publish.publish("mine")
    paths.write_json(finished / "metrics.json", old[:2] + old[2:3])
    with pytest.raises(ValueError, match="lacks att_pool_384 steps, att_pool_384 threads; .*--only 03 04"):
        publish.publish("mine")
    assert not paths.FIGURES.exists()
    paths.write_json(finished / "metrics.json", old[:2] + rows[2:])
    publish.publish("mine")


def published(repository) -> dict[str, bytes]:
    """Everything in the repository but its runs."""
    files = (path for path in repository.rglob("*") if path.is_file() and paths.RUNS not in path.parents)
    return {str(path.relative_to(repository)): path.read_bytes() for path in files if ".part" not in str(path)}


@pytest.mark.slow
def test_a_publishing_that_is_killed_leaves_whole_folders_and_goes_on(repository, finished, in_child, kills, tmp_path):
    """kill -9 before any write: results/study is the old one or the new one, every other file is whole."""
    publish.publish("mine")
    paths.write_csv(finished / "tables" / "06_new.csv", pd.DataFrame({"n": [1]}))
    (finished / "examples.csv").unlink()
    (finished / "figures" / "a.png").write_bytes(b"another")
    executed = finished / "notebooks" / "00_a.ipynb"
    executed.write_text(executed.read_text().replace("aa==", "bb=="))
    before, safe = published(repository), tmp_path / "before"
    shutil.copytree(repository, safe)

    def again():
        publish.publish("mine")

    places = kills(again, 200)
    after = published(repository)
    assert before.keys() - after.keys() == {"results/study/examples.csv"} and len(places) > 12

    def of_study(files: dict) -> dict:
        return {name: content for name, content in files.items() if name.startswith("results/study/")}

    for place in places:
        shutil.rmtree(repository)
        shutil.copytree(safe, repository)
        assert in_child(again, place)[0] == -9
        found = published(repository)
        between = {
            name.replace("/.study.old/", "/study/"): content for name, content in found.items() if ".old/" in name
        }
        assert (of_study(found) or between) in (of_study(before), of_study(after))
        others = found.items() - of_study(found).items()
        assert all(content in (before.get(name), after.get(name)) for name, content in others if ".old/" not in name)
        again()
        assert published(repository) == after
