"""The notebooks under nbval: the smoke preset and a temporary run, unless the environment names others.

The exercises' solutions, which a run leaves out, are executed here: one execution of the series tests all of it.
Where INVLIB_DATA names the headlines, no kernel may ask for a host beyond the loopback address.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

MADE = pytest.StashKey[str]()
ASKED = pytest.StashKey[Path]()  # the file that tests/only_loopback writes the hosts to


def pytest_configure(config: pytest.Config) -> None:
    """Name preset and run before the first kernel starts: kernels inherit this process's environment."""
    if not (config.getoption("nbval", False) or config.getoption("nbval_lax", False)):
        return
    os.environ.setdefault("INVLIB_PRESET", "smoke")
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel python3 is this environment's
    if os.environ.get("INVLIB_DATA"):  # nbval runs a notebook in the notebook's folder
        os.environ["INVLIB_DATA"] = os.path.abspath(os.path.expanduser(os.environ["INVLIB_DATA"]))
        config.stash[ASKED] = Path(tempfile.mkdtemp(prefix="invlib-asked-")) / "hosts.txt"
        watch = str(Path(__file__).parent / "tests" / "only_loopback")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (watch, os.environ.get("PYTHONPATH"))))
        os.environ["ASKED_HOSTS"] = str(config.stash[ASKED])
    if "INVLIB_RUN" not in os.environ:
        config.stash[MADE] = os.environ["INVLIB_RUN"] = tempfile.mkdtemp(prefix="invlib-nbval-")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take nbval's mark off the cells that hold a solution."""
    for item in items:
        getattr(item, "options", {}).pop("skip", None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where a kernel asked for a host, even if the notebook took the refusal in silence."""
    asked = session.config.stash.get(ASKED, None)
    if asked and asked.exists():
        print(f"\nwith the headlines at hand these hosts were asked for:\n{asked.read_text(encoding='utf-8')}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what `pytest_configure` made."""
    if ASKED in config.stash:
        shutil.rmtree(config.stash[ASKED].parent, ignore_errors=True)
    folder = config.stash.get(MADE, None)
    if folder:
        os.environ.pop("INVLIB_RUN", None)
        shutil.rmtree(folder, ignore_errors=True)
