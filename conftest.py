"""The notebooks under nbval: the smoke preset and a temporary run, unless the environment names others.

The exercises' solutions, which a run leaves out, are executed here: one execution of the series tests all of it.
"""

import os
import shutil
import tempfile

import pytest

MADE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Name preset and run before the first kernel starts: kernels inherit this process's environment."""
    if not (config.getoption("nbval", False) or config.getoption("nbval_lax", False)):
        return
    os.environ.setdefault("INVLIB_PRESET", "smoke")
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel python3 is this environment's
    if os.environ.get("INVLIB_DATA"):  # nbval runs a notebook in the notebook's folder
        os.environ["INVLIB_DATA"] = os.path.abspath(os.path.expanduser(os.environ["INVLIB_DATA"]))
    if "INVLIB_RUN" not in os.environ:
        config.stash[MADE] = os.environ["INVLIB_RUN"] = tempfile.mkdtemp(prefix="invlib-nbval-")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take nbval's mark off the cells that hold a solution."""
    for item in items:
        getattr(item, "options", {}).pop("skip", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the temporary run that `pytest_configure` made."""
    folder = config.stash.get(MADE, None)
    if folder:
        os.environ.pop("INVLIB_RUN", None)
        shutil.rmtree(folder, ignore_errors=True)
