"""What installs the workbook and calls it: pyproject.toml, constraints, environment.yml, Makefile, CI, conftest."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from invlib.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"] + EXTRAS["test"]]
CONSTRAINTS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def make(*arguments: str, cwd=ROOT) -> subprocess.CompletedProcess:
    """Call make, without what an outer make hands down."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, env=inherited)


def test_environment_yml_installs_what_pyproject_lists():
    """conda gives Python and pip; everything else comes from pyproject.toml at the versions of constraints.txt."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    python, pip, inner = environment["dependencies"]
    assert pip == "pip" and inner == {"pip": ["-c constraints.txt", "-e .[test]"]}
    name, version = python.split("=")
    assert name == "python" and SpecifierSet(PROJECT["requires-python"]).contains(f"{version}.0")
    assert "test" in EXTRAS


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_every_dependency_is_pinned_within_its_bounds(requirement):
    """A constraint for each, exact, and one that the lower bound admits."""
    pins = [c for c in CONSTRAINTS if canonicalize_name(c.name) == canonicalize_name(requirement.name)]
    assert pins, f"{requirement.name} is not in constraints.txt"
    for pin in pins:
        (exact,) = pin.specifier
        assert exact.operator == "==" and requirement.specifier.contains(exact.version)


def test_constraints_name_no_machine():
    """No local builds, hashes, addresses or CUDA packages: the same file serves every platform."""
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"==\S*\+|--hash|://|--index|^(nvidia|cuda|triton)", text, flags=re.MULTILINE)


def test_every_import_is_declared():
    """What the package imports is in pyproject.toml's one list, or in the standard library."""
    declared = {canonicalize_name(requirement.name) for requirement in REQUIREMENTS}
    owners = packages_distributions()
    for path in sorted((ROOT / "invlib").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level}
        third = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"invlib"}
        missing = {name for name in third if not declared & {canonicalize_name(o) for o in owners.get(name, [])}}
        assert not missing, f"{path.name} imports {missing}, which pyproject.toml does not list"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """The environment variables of a Python that sees the wheel as it is installed, and no checkout."""
    place = tmp_path_factory.mktemp("wheel")
    source, site = place / "source", place / "site"
    unwanted = shutil.ignore_patterns("__pycache__", "models", "raw", "*.ipynb")
    for name in ("invlib", "notebooks", "data"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=unwanted if name != "invlib" else None)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", place, source], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", site, *place.glob("*.whl")], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INVLIB_")}
    return kept | {"PYTHONPATH": str(site), "PATH": f"{site / 'bin'}:{os.environ['PATH']}"}


def test_an_installed_package_brings_its_presets_and_texts(installed, tmp_path):
    """From another folder; each file stands in git once, and as a file in the wheel; runs go to the working folder."""
    code = """
from pathlib import Path
from invlib import load_preset, paths
from invlib.data.headlines import load_headlines, other_domains
from invlib.series import findings
assert not paths.CHECKOUT and paths.RUNS == Path.cwd() / "runs", paths.RUNS
assert load_preset("smoke", row="att_pool", embedding_dim=96).n_embd == 64
assert len(other_domains("test")) == 100 and load_headlines("synthetic", limit=50).synthetic
assert "published figures are in" in findings.markdown("03_training") and "03_training" in findings.read_findings()
assert not any(path.is_symlink() for path in paths.PACKAGE.rglob("*"))
try:
    paths.find_model("hybrid_384_long")
except FileNotFoundError as error:
    assert "data/models/hybrid_384_long" in str(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=installed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for link in ("presets.yaml", "findings.yaml", "data/synthetic_grammar.yaml", "data/other_domains.csv"):
        assert (ROOT / "invlib" / link).is_symlink() and (ROOT / "invlib" / link).is_file()


def test_an_installed_package_brings_what_the_slides_are_made_of(installed, tmp_path):
    """reveal.js, its licences and the type; the talk itself needs the notebooks and results of a clone."""
    code = """
from invlib.series.slides import page
assert "Source Sans Pro" in page.styles() and "Reveal" in page.script("reveal.js")
assert all((place / "LICENSE").is_file() for place in (page.REVEAL, page.REVEAL / "fonts"))
"""
    for arguments, status in ((["-c", code], 0), (["-m", "invlib.series.slides"], 2)):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
    assert "the results are in a clone of the repository" in done.stderr


def test_an_installed_command_encodes(installed, tmp_path, tiny_model):
    tiny_model().save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("gold rises\noil falls\n")
    for arguments in ("--help", "encode texts.txt --model model --output vectors.npy"):
        command = ["invlib", *arguments.split()]
        done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "vectors.npy").is_file() and (tmp_path / "vectors.json").is_file()


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_help_lists_every_command():
    """`make` and `make help` list each target, and need no Python for it."""
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY:(.*)$", makefile, flags=re.MULTILINE)[1].split()
    for arguments in ([], ["help"]):
        answer = make(*arguments, "PYTHON=/no/such/python")
        assert answer.returncode == 0, answer.stderr
        listed = {line.split()[0] for line in answer.stdout.splitlines() if line.startswith("  ")}
        assert listed == set(targets)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_tells_what_it_lacks(tmp_path):
    """A Python that is too old or not there, a run that is not named."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    answer = make("env", f"PYTHON={old}", cwd=tmp_path)
    assert answer.returncode != 0 and "needs Python 3.11 or later" in answer.stderr and "python3.9" in answer.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_says_what_it_installs_before_it_does(tmp_path):
    """In one line, since pip is quiet for minutes; a stand-in for Python makes an environment with itself in it."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh
case "$*" in
    -I*) exit 1 ;;
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip install"*) touch asked ;;
esac
""")
    python.chmod(0o755)
    answer = make("env", f"PYTHON={python}", cwd=tmp_path)
    assert answer.returncode == 0 and (tmp_path / "asked").exists(), answer.stderr
    (line,) = answer.stdout.splitlines()
    assert all(words in line for words in ("invlib and its packages into .venv", "GB of disk", "some minutes"))
    assert "Installing" not in make("env", f"PYTHON={python}", cwd=tmp_path).stdout


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize("status, used", [(0, '"{}" -m pytest'), (1, ".venv/bin/python -m pytest")])
def test_an_environment_in_which_this_checkout_is_installed_is_used(tmp_path, status, used):
    """A stand-in for Python answers whether invlib is installed with its exit status."""
    python = tmp_path / "my python"
    python.write_text(f"#!/bin/sh\nexit {status}\n")
    python.chmod(0o755)
    answer = make("-n", "test", f"PYTHON={python}")
    assert answer.returncode == 0, answer.stderr
    assert used.format(python) in answer.stdout
    assert ("pip install" in answer.stdout) <= (status == 1)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize("user, allowed", [(0, True), (1000, False)])
def test_the_lab_starts_for_root_too(tmp_path, monkeypatch, user, allowed):
    """JupyterLab wants root to say so; nobody else does, and nobody loses the loopback address or the token."""
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "id").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    answer = make("-n", "lab", f"PYTHON={sys.executable}")
    assert answer.returncode == 0, answer.stderr
    command = next(line for line in answer.stdout.splitlines() if "jupyterlab" in line)
    assert ("--allow-root" in command.split()) == allowed
    assert "--ServerApp.ip=127.0.0.1" in command and "token" not in command.lower()
    assert "--ServerApp.root_dir=. " in command and "/lab/tree/notebooks" in command  # README.md and data/ are seen too


def test_continuous_integration_calls_make():
    """The workflow and .ci/run run the same commands."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert {"run": "make test"} in steps
    assert any(step.get("with", {}).get("python-version") == "3.11" for step in steps)
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK) and "make test test-all" in script.read_text()
    assert subprocess.run(["bash", "-n", script]).returncode == 0


class Config:
    """As much of pytest's Config as conftest.py reads."""

    def __init__(self, **options):
        self.options, self.stash = options, pytest.Stash()

    def getoption(self, name, default=None):
        """The value of an option."""
        return self.options.get(name, default)


def root_conftest():
    """The repository's conftest.py as a module of its own."""
    spec = importlib.util.spec_from_file_location("root_conftest", ROOT / "conftest.py")
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    return conftest


def test_conftest_names_preset_and_run_for_nbval(monkeypatch):
    """Under nbval alone, and only where the environment names none; the temporary run is removed."""
    conftest = root_conftest()
    for name in ("INVLIB_RUN", "INVLIB_PRESET", "INVLIB_DATA", "JUPYTER_PREFER_ENV_PATH"):
        monkeypatch.setenv(name, "x")  # so that monkeypatch puts back what conftest sets
        monkeypatch.delenv(name)

    conftest.pytest_configure(Config())
    assert "INVLIB_PRESET" not in os.environ and "INVLIB_RUN" not in os.environ

    config = Config(nbval_lax=True)
    conftest.pytest_configure(config)
    folder = os.environ["INVLIB_RUN"]
    assert os.environ["INVLIB_PRESET"] == "smoke" and os.path.isdir(folder)
    conftest.pytest_unconfigure(config)
    assert not os.path.exists(folder) and "INVLIB_RUN" not in os.environ

    monkeypatch.setenv("INVLIB_RUN", "mine")
    monkeypatch.setenv("INVLIB_PRESET", "cpu")
    conftest.pytest_configure(Config(nbval=True))
    assert (os.environ["INVLIB_RUN"], os.environ["INVLIB_PRESET"]) == ("mine", "cpu")


ASKS = """
import socket
for host in {hosts}:
    try:
        socket.create_connection((host, 9), 1)
    except OSError as error:
        print(host, error)
"""


@pytest.mark.parametrize("far", [["192.0.2.1", "example.invalid"], []], ids=["two hosts", "none"])
def test_a_kernel_that_asks_for_a_host_fails_the_notebooks(monkeypatch, tmp_path, far):
    """Beyond the loopback address, where the headlines are at hand; the refusal alone could pass in silence."""
    conftest = root_conftest()
    changed = {"INVLIB_RUN": "mine", "INVLIB_PRESET": "smoke", "INVLIB_DATA": str(tmp_path), "ASKED_HOSTS": "x"}
    for name, value in (changed | {"PYTHONPATH": "", "JUPYTER_PREFER_ENV_PATH": "1"}).items():
        monkeypatch.setenv(name, value)
    config = Config(nbval_lax=True)
    conftest.pytest_configure(config)
    asking = [sys.executable, "-c", ASKS.format(hosts=[*far, "127.0.0.1", "::1", "localhost"])]
    told = subprocess.run(asking, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[0] for line in told if "only the loopback address" in line] == far
    session = SimpleNamespace(config=config, exitstatus=0)
    conftest.pytest_sessionfinish(session)
    assert session.exitstatus == bool(far)
    conftest.pytest_unconfigure(config)
    assert not os.path.exists(os.environ["ASKED_HOSTS"])


def test_solutions_are_executed_under_nbval():
    """A run leaves them out; the mark is nbval's own."""
    conftest = root_conftest()
    cells = [SimpleNamespace(options={"skip": True, "check": False}), SimpleNamespace(options={}), SimpleNamespace()]
    conftest.pytest_collection_modifyitems(cells)
    assert [getattr(cell, "options", None) for cell in cells] == [{"check": False}, {}, None]
