"""The result tables, and publishing a run."""

import json

import nbformat
import pandas as pd
import pytest

from invlib import paths
from invlib.series import publish, tables

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
PIXEL = (  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def row(model: str, dim: int, **more) -> dict:
    """One object of metrics.json, the rest of its keys missing."""
    return {"model": model, "embedding_dim": dim, "variant": None, "search": "greedy"} | more


METRICS = [
    row("att_pool", 768, accuracy=0.5, generated_accuracy=0.4, exact_match=0.1, recovered_bits=60.04, train_seconds=90,
        rank_correlation=0.6, ci95={"generated_accuracy": [0.39, 0.41]}, bertscore_f1=0.7, bertscore_model="minilm",
        controls={"shuffled_vector": {"generated_accuracy": 0.05, "bertscore_f1": 0.31,
                                      "ci95": {"generated_accuracy": [0.04, 0.06]}}}),
    row("att_pool", 768, search="beam_5", generated_accuracy=0.45, bertscore_model="minilm"),
    row("att_pool", 384, generated_accuracy=0.3, stopped_by="time", bertscore_model="minilm"),
    row("rnn", 768, generated_accuracy=0.05, ci95={"generated_accuracy": [0.04, 0.06]}, bertscore_model="minilm",
        rank_correlation=None,
        controls={"shuffled_vector": {"generated_accuracy": 0.05, "ci95": {"generated_accuracy": [0.04, 0.06]}}}),
    row("no_vector", 768, generated_accuracy=0.02, bertscore_model="minilm"),
]  # fmt: skip


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository beside its data, with one notebook and a README.md."""
    root = tmp_path / "somewhere" / "repository"
    monkeypatch.setattr(paths, "ROOT", root)
    for name in ("NOTEBOOKS", "RUNS", "RESULTS", "FIGURES"):
        monkeypatch.setattr(paths, name, root / name.lower())
    monkeypatch.delenv("INVLIB_RUN", raising=False)
    paths.NOTEBOOKS.mkdir(parents=True)
    cells = [
        nbformat.v4.new_markdown_cell("# A notebook"),
        nbformat.v4.new_code_cell("preset = None", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("show()"),
        nbformat.v4.new_code_cell("solution()", metadata={"tags": ["skip-execution", "nbval-skip"]}),
    ]
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), paths.NOTEBOOKS / "00_a.ipynb"
    )
    readme = (
        "# Title\n<!-- table:results -->\nold\n<!-- /table -->\nbetween\n<!-- table:deck -->\n<!-- /table -->\nend\n"
    )
    (root / "README.md").write_text(readme)
    return root


@pytest.fixture
def finished(repository):
    """A finished run of that notebook, as papermill leaves it."""
    folder = paths.RUNS / "mine"
    notebook = nbformat.read(paths.NOTEBOOKS / "00_a.ipynb", as_version=4)
    widget = nbformat.v4.new_output(
        "display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "HBox()"}
    )
    text = f"{folder}/models {folder} {repository}/data {repository.parent}/shared\n"
    result = nbformat.v4.new_output(
        "execute_result", {"text/plain": f"'{folder}'", "image/png": PIXEL}, execution_count=3
    )
    notebook.cells[1].execution_count = 1
    notebook.cells.insert(
        2, nbformat.v4.new_code_cell("run = 'x'", metadata={"tags": ["injected-parameters"]}, execution_count=2)
    )
    shown = notebook.cells[3]
    shown.outputs, shown.execution_count = [nbformat.v4.new_output("stream", text=text), widget, result], 3
    for cell in notebook.cells:
        cell.metadata["papermill"] = {"start_time": "2026-01-01", "status": "completed"}
        cell.metadata["execution"] = {"iopub.status.busy": "2026-01-01"}
    notebook.metadata |= {"papermill": {"input_path": str(folder)}, "widgets": {"state": {}}, "invlib": {"source": "x"}}
    paths.write_text(folder / "notebooks" / "00_a.ipynb", nbformat.writes(notebook))
    paths.write_json(folder / "metrics.json", METRICS)
    paths.write_json(
        folder / "settings.json", {"preset": "study", "seed": 0, "data_hash": "abc", "data": str(repository)}
    )
    paths.write_csv(folder / "curves" / "att_pool_768.csv", pd.DataFrame({"epoch": [1]}))
    paths.write_csv(folder / "examples.csv", pd.DataFrame({"input": [f"headline {i}" for i in range(150)]}))
    (folder / "figures").mkdir()
    (folder / "figures" / "a.png").write_bytes(b"png")
    (folder / "models" / "att_pool_768").mkdir(parents=True)
    (folder / "models" / "att_pool_768" / "model.safetensors").write_bytes(b"weights")
    return folder


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
    assert result.execution_count == 2 and result.data["image/png"] == PIXEL

    results = {str(p.relative_to(paths.RESULTS)) for p in paths.RESULTS.rglob("*") if p.is_file()}
    small = {"metrics.json", "settings.json", "examples.csv", "curves/att_pool_768.csv"}
    assert results == {f"study/{name}" for name in small} | {"README.md"}
    assert str(repository) not in (paths.RESULTS / "study" / "settings.json").read_text()
    assert len(pd.read_csv(paths.RESULTS / "study" / "examples.csv")) == 100
    assert (paths.FIGURES / "a.png").read_bytes() == b"png"

    readme = (repository / "README.md").read_text()
    assert "old" not in readme and "between" in readme and readme.endswith("end\n")
    assert "0.400 [0.390, 0.410]" in readme and "preset study, seed 0, data hash abc" in readme
    publish.rebuild()
    assert (repository / "README.md").read_text() == readme  # nothing changes where nothing has changed


def test_only_the_run_that_readme_shows_brings_notebooks_and_figures(repository, finished, capsys):
    """Of another run results/<name>/ alone is written, and that is said; one that takes README over brings its own."""
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
    paths.write_json(finished / "metrics.json", METRICS[:1])
    assert publish.main(["mine", "--name", "small"]) == 0
    said = capsys.readouterr().out
    assert "results/small/metrics.json" in said and "figures/a.png" not in said
    assert "README.md shows results/study, so notebooks/ and figures/ stay those of that run" in said
    assert [path.read_bytes() for path in held] == before
    assert "## small" in (paths.RESULTS / "README.md").read_text()


def test_published_files_quote_a_hundred_different_headlines(finished):
    """Over all of them: those of examples.csv under every model, then what the tables have room for."""

    def frame(column, numbers):
        rows = [(f"Headline {i}", model) for i in numbers for model in ("rnn", "att_pool")]
        return pd.DataFrame(rows, columns=[column, "model"])

    paths.write_csv(finished / "examples.csv", frame("input", range(90)))
    paths.write_csv(finished / "tables" / "06_a.csv", frame("headline", range(85, 150)))
    paths.write_csv(finished / "tables" / "06_b.csv", frame("text", range(200, 300)))
    paths.write_csv(finished / "tables" / "06_c.csv", frame("headlines", range(150)))  # so a count of them is called
    paths.write_csv(finished / "tables" / "06_d.csv", pd.DataFrame({"headline": range(300)}))  # which, not what
    publish.publish("mine")
    study = paths.RESULTS / "study"
    names = {"examples.csv": "input", "tables/06_a.csv": "headline", "tables/06_b.csv": "text"}
    tables = {name: pd.read_csv(study / name) for name in names}
    assert [len(table) for table in tables.values()] == [180, 30, 0]
    assert len({text for name, column in names.items() for text in tables[name][column]}) == publish.QUOTED
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
        (lambda nb: nb.cells[3].update(execution_count=None), "not finished"),
        (lambda nb: nb.cells[3].outputs.append(nbformat.v4.new_output("error", ename="E")), "not finished"),
        (lambda nb: nb.cells[3].update(source="show(2)"), "has changed since run mine"),
    ],
)
def test_a_notebook_that_is_not_published(finished, change, words):
    """Unfinished, failed, or no longer what ran: an error, and nothing is written."""
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


def test_results_table(finished):
    """Six columns; the baseline first, D rising; beam and no-vector twins elsewhere; marks; dashes."""
    metrics = tables.load_metrics(finished)
    table = tables.results_table(metrics)
    assert table.shape[1] == 6
    assert list(zip(table["model"], table["D"], strict=True)) == [
        ("rnn ‡", "768"), ("att_pool †", "384"), ("att_pool", "768"),
    ]  # fmt: skip
    assert list(table.iloc[2, 2:]) == ["0.400 [0.390, 0.410]", "0.100", "0.60", "60.0"]
    assert table.iloc[0]["agreement with the encoder"] == "–"
    assert "†" in tables.legend(metrics) and "‡" in tables.legend(metrics)


def test_deck_table(finished):
    """Each BERTScore in a column of its scorer; what only one side has is a dash on the other."""
    table = tables.deck_table(tables.load_metrics(finished)).set_index(["model", "D"])
    assert list(table.loc[("att_pool", "768")]) == ["0.502", "0.500", "0.650", "0.700 (0.310)"]
    assert list(table.loc[("att_pool", "2560")]) == ["0.552", "–", "0.675", "–"]
    assert "BERTScore, here (minilm; its shuffled control)" in table.columns and table.shape[1] <= 6


def test_an_accuracy_that_is_not_teacher_forced_is_marked(finished):
    """encoder_only reads all positions in one step: wherever its accuracy stands beside teacher-forced ones."""
    metric = {"accuracy": 0.185, "ci95": {"accuracy": [0.181, 0.188]}}
    one_step = row("encoder_only", 1568, **metric, top_k={"10": 0.5}, controls={"shuffled_vector": metric})
    paths.write_json(finished / "metrics.json", [*METRICS, one_step])
    metrics = tables.load_metrics(finished)
    deck = tables.deck_table(metrics).set_index("model")
    assert list(deck.loc["encoder_only"][["accuracy, deck", "accuracy, here"]]) == ["0.357 §", "0.185 §"]
    full = tables.full_tables(metrics)
    text = full["The text"].set_index("model").loc["encoder_only"]
    assert text["teacher-forced accuracy"] == "0.185 [0.181, 0.188] §" and text["top 10"] == "0.500"
    assert "0.185 [0.181, 0.188] §" in full["Its controls"].to_string()
    for table in (deck, *full.values()):
        rows = table.reset_index().astype(str).agg(" ".join, axis=1)
        assert all("encoder_only" in line for line in rows if "§" in line)
    assert "§" not in tables.results_table(metrics).to_string() + tables.legend(metrics)
    note = "§ not teacher-forced: all positions in one step"
    assert note in tables.section("deck", finished) and note not in tables.section("results", finished)
    assert "0.357 §" in tables.closing_table(finished) and note in tables.closing_table(finished)


def test_full_tables(finished):
    """Every search and the controls with their intervals."""
    full = tables.full_tables(tables.load_metrics(finished))
    assert list(full["The text"]["search"]).count("beam_5") == 1
    assert "0.050 [0.040, 0.060]" in full["Its controls"].to_string()
    assert full["The cost"]["minutes"].tolist().count("1.5") == 1


def test_examples_table(tmp_path):
    """Six inputs under the model that gives most back exactly, beside the deck's; bars don't break the table."""
    frame = pd.DataFrame(
        {
            "model": ["att_pool_768", "rnn_768"] * 7,
            "search": "greedy",
            "input": [f"a | {i // 2}" for i in range(14)],
            "decoded": [f"a | {i // 2}" if i % 2 == 0 else "the" for i in range(14)],
            "deck": "b",
        }
    )
    paths.write_csv(tmp_path / "examples.csv", frame)
    table = tables.examples_table(tmp_path)
    assert table.shape == (6, 3) and table.columns[1] == "decoded by att_pool_768"
    assert "a \\| 0" in tables.markdown(table)


def test_closing_table_without_results(repository, tmp_path):
    """A run without metrics and nothing published: said, and the deck still stands there."""
    said = tables.closing_table(tmp_path)
    assert said.count("no metrics.json") == 2 and "0.675" in said


def test_unknown_table(finished):
    """README.md asks for a table that there is none of."""
    with pytest.raises(ValueError, match="table 'resluts'; tables are results, deck, examples"):
        tables.rebuild_readme("<!-- table:resluts -->\n<!-- /table -->", finished)


def test_metrics_are_json_of_none(finished):
    """What was not measured comes back as None, not as NaN."""
    loaded = tables.load_metrics(finished)
    assert loaded.loc[0, "rank_correlation"] is None and loaded.loc[0, "accuracy"] is None
    assert len(json.loads((finished / "metrics.json").read_text())) == len(loaded)


def test_recovered_bits_under_another_reference_are_marked():
    """Rows that were measured beside another reference language model say so, and the legend tells what it means."""
    row = {"model": "att_pool", "variant": None, "search": "greedy", "recovered_bits": 50.0}
    rows = [row | {"embedding_dim": d, "reference_model": "later" if d == 3 else "first"} for d in (1, 2, 3)]
    metrics = pd.DataFrame(rows, dtype=object)
    assert tables.results_table(metrics)["recovered bits"].tolist() == ["50.0", "50.0", "50.0 ¶"]
    assert "¶" in tables.legend(metrics) and "¶" not in tables.legend(metrics.head(2))
    assert tables.full_tables(metrics)["The vector"]["recovered bits"].tolist()[2].endswith("¶")
