"""What the tests of tables and publishing share: a small repository, and a finished run in it."""

import nbformat
import pandas as pd
import pytest

from invlib import paths

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
PIXEL = (  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


CONTROLS = {"no_vector": {"generated_accuracy": 0.02}, "shuffled_vector": {"generated_accuracy": 0.03}}


def row(model: str, dim: int, **more) -> dict:
    """One object of metrics.json, the rest of its keys missing."""
    values = {"model": model, "embedding_dim": dim, "variant": None, "search": "greedy", "threads": 2, "steps": 100}
    return values | {"controls": CONTROLS} | more


METRICS = [
    row("att_pool", 768, accuracy=0.5, generated_accuracy=0.4, exact_match=0.1, recovered_bits=60.04, train_seconds=90,
        rank_correlation=0.6, ci95={"generated_accuracy": [0.39, 0.41]}, bertscore_f1=0.7, bertscore_model="minilm",
        controls=CONTROLS | {"shuffled_vector": {"generated_accuracy": 0.05, "bertscore_f1": 0.31,
                                                 "ci95": {"generated_accuracy": [0.04, 0.06]}}}),
    row("att_pool", 768, search="beam_5", generated_accuracy=0.45, bertscore_model="minilm", controls={}),
    row("att_pool", 384, generated_accuracy=0.3, stopped_by="time", bertscore_model="minilm"),
    row("rnn", 768, generated_accuracy=0.05, ci95={"generated_accuracy": [0.04, 0.06]}, bertscore_model="minilm",
        rank_correlation=None,
        controls=CONTROLS | {"shuffled_vector": {"generated_accuracy": 0.05,
                                                 "ci95": {"generated_accuracy": [0.04, 0.06]}}}),
    row("no_vector", 768, generated_accuracy=0.02, bertscore_model="minilm", controls={}),
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
