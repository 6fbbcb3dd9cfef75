"""The folders of invlib: each imports only from those before it, and the face costs nothing."""

import ast
import gc
import importlib
import re
import subprocess
import sys

import pytest

from invlib import paths

ORDER = (
    "paths", "rows", "device", "presets", "fields", "settings", "data", "encoders", "measures", "models", "training",
    "evaluation", "inversion", "probes", "language_models", "views", "series", "cli",
)  # fmt: skip


def test_a_folder_imports_only_from_those_before_it():
    package = paths.ROOT / "invlib"
    seen = set()
    for file in package.rglob("*.py"):
        place = file.relative_to(package).with_suffix("").parts[0]
        if place == "__init__":
            continue
        seen.add(place)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "invlib":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            targets = [name.split(".")[1] for name in names if name.startswith("invlib.")]
            back = [t for t in targets if t in ORDER and ORDER.index(t) > ORDER.index(place)]
            assert not back, f"{file.relative_to(package)} imports from {back}, which stands after {place}"
    assert seen == set(ORDER)


def test_no_source_file_is_hidden_from_git():
    """An ignore rule, a local one too, would keep a module out of every clone while all works here."""
    if not (paths.ROOT / ".git").exists():
        pytest.skip("no git checkout")
    command = ["git", "-C", paths.ROOT, "ls-files", "--others", "--ignored", "--exclude-standard", "invlib", "tests"]
    hidden = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert not [file for file in hidden if file.endswith((".py", ".yaml", ".sh", ".css"))]


def test_the_order_is_told_as_it_is():
    """In CONTRIBUTING.md that of files and folders, in the package's first lines that of folders."""
    import invlib

    page = (paths.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = page.partition("imports only from those before it:")[2].partition("(")[0]
    assert tuple(re.findall(r"`(\w+)`", told)) == ORDER
    flow = invlib.__doc__.partition("order of the flow: ")[2].partition(".")[0]
    assert re.findall(r"\w+", flow) == [name for name in ORDER if (paths.ROOT / "invlib" / name).is_dir()]


def test_the_face_loads_what_is_asked_for():
    import invlib

    assert invlib.load_preset.__module__ == "invlib.settings" and callable(invlib.train)
    assert {"InvertibleSentenceModel", "evaluate"} <= set(dir(invlib))


def test_garbage_collection_pauses_while_the_face_is_imported(monkeypatch):
    import invlib

    true, during = importlib.import_module, []
    monkeypatch.setattr(importlib, "import_module", lambda name: during.append(gc.isenabled()) or true(name))
    assert callable(invlib.load_preset) and during == [False] and gc.isenabled()


def test_encoding_and_decoding_import_no_more_than_they_need():
    """Of what the workbook uses elsewhere, and what takes seconds."""
    code = (
        "import sys, invlib.cli; from invlib import InvertibleSentenceModel as Model\n"
        "model = Model.from_pretrained('hybrid_384_long'); model.decode(model.encode(['oil falls']))\n"
        "names = ('sentence_transformers', 'datasets', 'pandas', 'sklearn', 'matplotlib', 'bert_score', 'pyarrow')\n"
        "sys.exit(', '.join(name for name in names if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_costs_nothing_at_import():
    code = "import sys, invlib; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT).returncode == 0
