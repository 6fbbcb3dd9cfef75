"""Nothing that is read can run: weights are safetensors, nothing is unpickled, and a table's cells are text."""

import ast
import csv
import json
from pathlib import Path

import nbformat
import pytest

from invlib import paths
from invlib.cli import main
from invlib.data.files import read_file
from invlib.models.codec import Decoded
from invlib.models.model import InvertibleSentenceModel

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "<script>alert(1)</script>", "<b>oil</b> & gold", "\t=1"]
UNSAFE_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "read_pickle", "to_pickle", "unsafe_load", "system", "popen"}
SAFE = {"re.compile", "pd.eval"}  # pandas' own grammar of arithmetic, over figures of the package's findings.yaml


def unsafe(source: str) -> list[str]:
    """The calls and imports of a source that could run what is read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            found += [name for name in names if name.split(".")[0] in UNSAFE_IMPORTS]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        last = name.rpartition(".")[2]
        is_method = name.endswith(".eval") and not node.args  # model.eval() is a mode
        if last in UNSAFE_CALLS and name not in SAFE and not is_method:
            found.append(name)
        if name == "torch.load" and options.get("weights_only") != "True" or name == "yaml.load":
            found.append(name)
        found += [f"{key}={options[key]}" for key in ("allow_pickle", "trust_remote_code", "shell") if key in options]
    return found


def test_unsafe_sources_would_be_seen():
    for source in (
        "import pickle", "from joblib import load", "torch.load('a.pt')", "eval(text)", "builtins.exec(text)",
        "np.load(f, allow_pickle=True)", "AutoModel.from_pretrained(n, trust_remote_code=True)", "yaml.load(f)",
    ):  # fmt: skip
        assert len(unsafe(source)) == 1, source
    assert not unsafe("model.eval(); torch.load('a.pt', weights_only=True); re.compile('a')")


@pytest.mark.parametrize("path", sorted(paths.PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(paths.PACKAGE)))
def test_the_package_runs_nothing_that_it_reads(path):
    assert not unsafe(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted(paths.NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_runs_nothing_that_it_reads(path):
    cells = (cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    code = "\n".join(line for cell in cells for line in cell.splitlines() if not line.lstrip().startswith(("%", "!")))
    assert not unsafe(code)


def test_shipped_weights_are_safetensors():
    files = {path for path in (paths.DATA / "models").rglob("*") if path.is_file()}
    assert files and {path.suffix for path in files} == {".json", ".safetensors"}
    for path in files:
        if path.suffix == ".safetensors":
            content = path.read_bytes()
            json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])  # a header, then plain numbers


def test_a_tables_cells_are_text(tmp_path):
    """Read as they stand, with nothing computed or dropped."""
    file = tmp_path / "own.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["Headlines"], *([text] for text in [*FORMULAS, "NA", "None", "null", "1e5"])])
    assert [row.text for row in read_file(file)] == [*FORMULAS, "NA", "None", "null", "1e5"]


def test_decoded_texts_read_back_from_csv_as_they_are(tiny_model, tmp_path, monkeypatch):
    """`invlib decode --output texts.csv` quotes what needs it, and no cell becomes two."""
    texts = [*FORMULAS, 'say "gold", he says', "NA"]
    monkeypatch.chdir(tmp_path)
    tiny_model().save_pretrained("model")
    Path("texts.txt").write_text("oil falls\n" * len(texts))
    main(["encode", "texts.txt", "--model", str(tmp_path / "model"), "--output", "z.npy"])
    decoded = [Decoded(text, -1.0, ("a", "##,"), (0.5, 0.25)) for text in texts]
    monkeypatch.setattr(InvertibleSentenceModel, "decode", lambda *_, **__: decoded)
    main(["decode", "z.npy", "--output", "texts.csv"])
    with Path("texts.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == texts
