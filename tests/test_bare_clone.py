"""A bare clone, as somebody gets it who has no headlines, no run and no network: each notebook opens and runs."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from invlib import paths
from invlib.series.notebooks import notebooks_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NAMES = [path.stem for path in notebooks_of(paths.NOTEBOOKS)]
READ = ("04", "05", "06", "07", "08", "09", "10", "11", "12", "ap")  # what they need, a run leaves behind


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """What each notebook printed, and the error that stopped it, by its name."""
    clone, home = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("home")
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=paths.ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip(f"this is no clone: {listed.stderr.strip()}")
    for name in filter(None, listed.stdout.split("\0")):
        if os.path.lexists(paths.ROOT / name) and name != ".venv":
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.ROOT / name, clone / name, follow_symlinks=False)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("INVLIB_", "HF_", "KAGGLE", "XDG_"))}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    more = {"HOME": str(home), "PYTHONPATH": str(clone), "INVLIB_PRESET": "smoke", "MPLBACKEND": "agg"}
    results = home / "results.jsonl"
    command = [sys.executable, str(clone / "tests" / "bare_clone.py"), str(results), *(f"{n}.ipynb" for n in NAMES)]
    done = subprocess.run(
        command, cwd=clone / "notebooks", env=kept | nowhere | more, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    print({line["notebook"]: round(line["seconds"]) for line in lines})
    return {line["notebook"]: line for line in lines}


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_on_a_bare_clone(executed, name):
    found = executed[name]
    assert found["error"] is None
    assert "SYNTHETIC" in found["printed"]
    if name[:2] in READ:
        assert "NO RUN on this machine" in found["printed"][:1500]  # below the table of settings


def test_what_another_run_measured_is_labelled(executed):
    """04's table and 10's picture of the whole study: three lines say what makes them, and whose they are."""
    for name in ("04_metrics", "10_one_step"):
        what, how, whose = executed[name]["printed"].split("NOT MADE HERE")[1].splitlines()[:3]
        assert "no run" in what and "make run" in how and whose.startswith("PUBLISHED")
