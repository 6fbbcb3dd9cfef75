"""The part of run_offline.sh that is Python: `unpack` the encoder of a bundle, `collect` what a run made."""

import sys
import tarfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from invlib import paths

ARCHIVES, ARCHIVE = 4, 15_000_000  # at most so many come back, each of so many bytes of files
WEIGHTS = ("models", "language_models", "checkpoints")  # folders of a run whose weights stay on the machine


def from_planes(planes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float32 weights of half-precision ones whose high and low bytes lie apart, as `bundle.in_planes` leaves them."""
    weights = {name: value for name, value in planes.items() if not name.startswith(("high ", "low "))}
    for name in (name.removeprefix("low ") for name in planes if name.startswith("low ")):
        pairs = np.stack([planes[f"low {name}"], planes[f"high {name}"]], axis=-1)
        weights[name] = pairs.view("<f2")[..., 0].astype(np.float32)
    return weights


def unpack(folder: Path) -> None:
    """Put weights that a model loads in the place of each file of planes."""
    for file in folder.rglob("*.planes"):
        save_file(from_planes(load_file(file)), file.with_suffix(".safetensors"), metadata={"format": "pt"})
        file.unlink()


def files_back(run: Path) -> list[Path]:
    """What a run made but for weights, what is wanted most first: results and figures, notebooks, their HTML."""
    files = [file for file in sorted(run.rglob("*")) if file.is_file()]
    files = [file for file in files if file.suffix == ".json" or not {*file.relative_to(run).parts} & {*WEIGHTS}]
    return sorted(files, key=lambda file: (file.suffix == ".html", file.suffix == ".ipynb"))


def collect(run: Path, out: Path) -> list[str]:
    """Write `files_back` into <out>/run-1.tar.gz, ...: at most ARCHIVES, each of at most ARCHIVE bytes of files.

    Each unpacks into a folder of the run's name. Returns the files for which no room was left.
    """
    shares: list[list[Path]] = [[] for _ in range(ARCHIVES)]
    room, left_out = [ARCHIVE] * ARCHIVES, []
    for file in files_back(run):
        size = file.stat().st_size
        place = next((i for i, free in enumerate(room) if size <= free), None)
        if place is None:
            left_out.append(str(file.relative_to(run)))
        else:
            shares[place].append(file)
            room[place] -= size
    out.mkdir(parents=True, exist_ok=True)
    for n, share in enumerate(shares, start=1):
        archive = out / f"run-{n}.tar.gz"
        archive.unlink(missing_ok=True)  # an earlier run's
        if share:
            with paths.renamed(archive) as partial, tarfile.open(partial, "w:gz") as tar:
                for file in share:
                    tar.add(file, f"{run.name}/{file.relative_to(run)}")
    return left_out


def main() -> None:
    match sys.argv[1:]:
        case ["unpack", folder]:
            unpack(Path(folder))
        case ["collect", run, out]:
            left_out = collect(Path(run), Path(out))
            print(f"what came of it is in {out}" + "".join(f"\nno room for {file}" for file in left_out))
        case other:
            sys.exit(f"usage: python -m invlib.series.offline unpack FOLDER | collect RUN OUT, not {' '.join(other)}")


if __name__ == "__main__":
    main()
