"""The folders of invlib: each imports only from those before it, and the face costs nothing."""

import ast
import gc
import importlib
import subprocess
import sys

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
                parts = node.module.split(".")
                targets = parts[1:2] or [alias.name for alias in node.names]
                back = [t for t in targets if ORDER.index(t) > ORDER.index(place)]
                assert not back, f"{file.relative_to(package)} imports from {back}, which stands after {place}"
    assert seen == set(ORDER)


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
