"""What every notebook of the series holds, read from its file, and one executed without the runner."""

import ast
import dataclasses
import importlib
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from invlib import paths
from invlib.presets import read_presets
from invlib.series.notebooks import notebooks_of
from invlib.series.publish import NO_NOTEBOOKS
from invlib.settings import Settings

NOTEBOOKS = {path.stem: paths.read_json(path)["cells"] for path in notebooks_of(paths.NOTEBOOKS)}
KNOWN = {"run"} | {field.name for field in dataclasses.fields(Settings)} - {"given"}
each_notebook = pytest.mark.parametrize("cells", NOTEBOOKS.values(), ids=NOTEBOOKS)


def code(cells: list[dict], tag: str | None = None) -> list[dict]:
    """The code cells, or those with a tag."""
    return [c for c in cells if c["cell_type"] == "code" and (tag is None or tag in c["metadata"].get("tags", []))]


def tree(cells: list[dict]) -> ast.Module:
    return ast.parse("\n".join("".join(cell["source"]) for cell in cells))


@each_notebook
def test_the_parameters_are_settings_that_the_notebook_uses(cells):
    """The runner passes what the cell names: a name that nothing reads would be taken and ignored."""
    (parameters,) = code(cells, "parameters")
    names = {target.id for line in tree([parameters]).body for target in line.targets}
    assert {"preset", "run"} <= names <= KNOWN
    others = tree([cell for cell in code(cells) if cell is not parameters])
    read = {node.id for node in ast.walk(others) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert names <= read


@each_notebook
def test_an_output_is_compared(cells):
    """nbval compares the cells with this tag: at least one in each notebook, with a text that a run has to repeat."""
    compared = code(cells, "nbval-check-output")
    assert compared
    assert all("".join(output.get("text", "")).strip() for cell in compared for output in cell["outputs"] or [{}])


@each_notebook
def test_solutions_are_hidden_and_left_out_of_a_run(cells):
    solutions = code(cells, "solution")
    assert solutions and solutions == code(cells, "skip-execution")
    assert all(cell["metadata"].get("jupyter", {}).get("source_hidden") for cell in solutions)
    exercises = next(k for k, cell in enumerate(cells) if "## Exercises" in "".join(cell["source"]))
    assert all(cells.index(cell) > exercises for cell in solutions)


@each_notebook
def test_what_a_notebook_takes_from_invlib_exists(cells):
    """Names of `from invlib... import`, and attributes of the modules among them, without running a cell."""
    nodes, lost, modules = list(ast.walk(tree(code(cells)))), [], {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "invlib":
            module = importlib.import_module(node.module)
            for name in node.names:
                full = f"{node.module}.{name.name}"
                if hasattr(module, "__path__") and find_spec(full):
                    modules[name.asname or name.name] = importlib.import_module(full)
                elif not hasattr(module, name.name):
                    lost.append(full)
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            if not hasattr(modules[node.value.id], node.attr):
                lost.append(f"{node.value.id}.{node.attr}")
    assert modules and not lost


@each_notebook
def test_the_decks_figures_are_imported(cells):
    """What is typed from the slides is in invlib/data/deck.py alone."""
    names = [node for node in ast.walk(tree(code(cells))) if isinstance(node, ast.Name)]
    assert not [node.id for node in names if isinstance(node.ctx, ast.Store) and node.id.startswith("DECK")]


@each_notebook
def test_no_interval_of_a_share_is_resampled(cells):
    """The bootstrap of a share near 0 or 1 is too narrow: exact matches have `proportion_interval`."""
    calls = [node for node in ast.walk(tree(code(cells))) if isinstance(node, ast.Call)]
    assert not [ast.unparse(call) for call in calls if called(call) == "bootstrap" and "exact" in ast.unparse(call)]


@each_notebook
def test_no_two_intervals_are_compared(cells):
    """Two systems on the same headlines are compared by `paired_difference`, not by whether their intervals overlap."""
    compared = [node for node in ast.walk(tree(code(cells))) if isinstance(node, ast.Compare)]
    ends = [[ast.unparse(side) for side in (node.left, *node.comparators)] for node in compared]
    assert not [sides for sides in ends if any("low" in a for a in sides) and any("high" in b for b in sides)]


def called(call: ast.Call) -> str:
    """The name of a called function, without its module."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


@each_notebook
def test_no_committed_output_is_an_error(cells):
    assert not [o for cell in code(cells) for o in cell["outputs"] if o["output_type"] == "error"]


def test_a_notebook_stays_below_a_megabyte():
    """Pictures are published with few colours, so that a browser and a reader's connection can load a notebook."""
    assert not [path.name for path in paths.NOTEBOOKS.glob("*.ipynb") if path.stat().st_size > 1_000_000]


def is_figure(cell: dict) -> bool:
    return cell["cell_type"] == "code" and any("image/png" in output.get("data", {}) for output in cell["outputs"])


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name != "13_latent_lab"])
def test_a_figure_is_announced_and_explained(name):
    """Before a figure: what to look for; after it: what one sees. Checks and small tables may lie between.

    The lab's sections say what to try and where to look instead; what one sees there is one's own.
    """
    cells = NOTEBOOKS[name]
    marks = [
        kind
        for cell in cells
        for kind in (
            ["figure"] if is_figure(cell) else re.findall("What to look for|What we see", "".join(cell["source"]))
        )
    ]
    places = [k for k, kind in enumerate(marks) if kind == "figure"]
    assert not [k for k in places if k == 0 or marks[k - 1] != "What to look for"], "a figure without what to look for"
    assert not [k for k in places if marks[k + 1 : k + 2] != ["What we see"]], "a figure without what one sees"


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name != "13_latent_lab"])
def test_a_figure_has_words_for_those_who_cannot_see_it(name):
    """The words of figures/README.md, as `alt` in the cell's metadata, from where the HTML has them."""
    page = (paths.FIGURES / "README.md").read_text(encoding="utf-8")
    words = dict(re.findall(r"^\| `(\w+)\.png` \| [^|]* \| (.*) \|$", page, flags=re.MULTILINE))
    for cell in filter(is_figure, NOTEBOOKS[name]):
        (figure,) = re.findall(r'save_figure\(\w+, "(\w+)"', "".join(cell["source"]))
        assert cell["metadata"].get("alt") == words[figure].replace("`", "")


def test_every_picture_is_made_by_a_notebook_or_a_command():
    made = {figure for cells in NOTEBOOKS.values() for cell in code(cells)
            for figure in re.findall(r'save_figure\(\w+, "(\w+)"', "".join(cell["source"]))}  # fmt: skip
    pictures = {path.stem for path in paths.FIGURES.glob("*.png") if not path.stem.startswith(NO_NOTEBOOKS)}
    assert pictures == made


@each_notebook
def test_a_notebook_leads_to_the_map_and_the_glossary(cells):
    assert {"(GLOSSARY.md)", "(README.md)"} <= set(re.findall(r"\([A-Z]+\.md\)", "".join(cells[0]["source"])))


def test_the_map_has_every_notebook_and_the_runners_minutes():
    page = (paths.NOTEBOOKS / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| \[(\w+)\]\(\1\.ipynb\) \|.*\| ([\d.]+) \|", page, flags=re.MULTILINE)
    minutes = read_presets()["runner"]["cpu"]["minutes"]
    assert found == [(name, f"{minutes[name.partition('_')[0]]:g}") for name in NOTEBOOKS]


def test_the_glossary():
    """In alphabetical order, a sentence or two each, and what the notebooks call by these names is in it."""
    page = (paths.NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^- \*\*(.+?)\*\*: (.+?)(?=\n- |\Z)", page, flags=re.MULTILINE | re.DOTALL))
    names = [re.sub(r"[^a-z0-9 ]", "", re.sub("[-_]", " ", name.lower())).strip() for name in entries]
    assert names == sorted(names) and len(set(names)) == len(names)
    assert not [name for name, words in entries.items() if len(words) > 300]
    terms = """
        AttentionPooling, Beam search, BERTScore, Bits per token, Capacity, Code, Corrector, Cosine, Cramming, Entropy,
        Exact match, Greedy search, Hybrid, Interpolation, Inverter, Memory tokens, No-vector control,
        One step, packed_ids, Paired difference, Pooling, Position start, Prefix, Quantisation, Rank correlation,
        Recall@10, Recovered bits, Reference language model, Run, Sampling, Sentence embedding, sent_sim_loss,
        Shuffled control, Slot, Splice by hand, Temperature, Token gain, Top-k, Utilisation, Word piece
    """
    assert {" ".join(term.split()) for term in terms.split(",")} <= set(entries)


@pytest.mark.slow
def test_plain_papermill_trains_a_run(tmp_path):
    """`papermill notebooks/03_training.ipynb out.ipynb --cwd notebooks -p preset ... -p run ...` needs nothing else."""
    run, out = tmp_path / "mine", tmp_path / "out.ipynb"
    parameters = {"preset": "smoke", "run": str(run), "data": "synthetic", "rows": "cls_decoder_H"}
    command = [sys.executable, "-m", "papermill", str(paths.NOTEBOOKS / "03_training.ipynb"), str(out)]
    command += ["--cwd", str(paths.NOTEBOOKS), "--no-progress-bar"]
    command += [word for name, value in parameters.items() for word in ("-p", name, value)]
    environment = {k: v for k, v in os.environ.items() if k not in ("INVLIB_RUN", "INVLIB_PRESET")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=paths.ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (run / "models" / "cls_decoder_384" / "model.safetensors").is_file()
    assert (run / "curves" / "cls_decoder_384.csv").is_file()
