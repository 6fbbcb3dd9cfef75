"""Where things lie, and how a file is written so that it is never found half-written."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file()
# Where `pip install .` put the package, no checkout surrounds it: presets.yaml and the committed texts lie in the
# package itself (in the checkout as links), and runs are written to the working folder.
ROOT = PACKAGE.parent if CHECKOUT else Path.cwd()
NOTEBOOKS = ROOT / "notebooks" if CHECKOUT else PACKAGE
DATA = ROOT / "data" if CHECKOUT else PACKAGE / "data"
FIGURES = ROOT / "figures"
RESULTS = ROOT / "results"
RUNS = ROOT / "runs"


def run_folder(run: str | int | Path | None = None) -> Path:
    """The folder that a run WRITES to: `run`, else INVLIB_RUN, else runs/lab.

    run: a name under runs/ (papermill makes a number of one like 20240607), or a path, in which `~` is the home folder.
    """
    run = os.environ.get("INVLIB_RUN") or "lab" if run in (None, "") else run
    folder = Path(str(run)).expanduser()
    return (RUNS / folder if len(folder.parts) == 1 else folder).resolve()


def find_run(run: str | int | Path | None = None, needs: str = "metrics.json") -> Path:
    """The folder that a notebook READS from: the first that has the file or folder `needs`.

    Looked at in this order: `run`; INVLIB_RUN; runs/lab; runs/last. A `run` or INVLIB_RUN that is named but lacks
    the file is an error, never passed over in silence.
    """
    places = run_places(run)
    for place in [p for p in places if has(p, needs)] or [p for p in places if (p / needs).exists()]:
        return place.resolve()
    raise FileNotFoundError(
        f"no run with {needs!r} in {[str(p) for p in places]}; "
        "run the notebooks before this one (make run), or name a finished run: run = 'last'"
    )


def run_places(run: str | int | Path | None) -> list[Path]:
    """Where a run is read from: the one that is named, by `run` or INVLIB_RUN, else runs/lab and runs/last."""
    return [run_folder(run)] if is_named(run) else [RUNS / "lab", RUNS / "last"]


def has(run: Path, need: str) -> bool:
    """Whether a run's folder has a file or folder; `models`: one that the tables show, no control and no ablation."""
    if need != "models":
        return (run / need).exists()
    records = (read_json(file) for file in sorted(run.glob("models/*/training.json")))
    return any(r.get("purpose", "study") == "study" and r["settings"]["row"] != "no_vector" for r in records)


def unmade(run: str | int | Path | None, *needs: str) -> bool:
    """Whether nobody named a run, and one of `needs` is in none of those that `find_run` looks at.

    Then a notebook that is opened by itself shows what the repository brings, and says so.
    """
    return not is_named(run) and not all(any(has(p, need) for p in run_places(run)) for need in needs)


def is_named(run: str | int | Path | None) -> bool:
    """Whether somebody named a run: by `run`, or by INVLIB_RUN."""
    return bool(run not in (None, "") or os.environ.get("INVLIB_RUN"))


def find_model(name: str | Path, run: str | int | Path | None = None) -> Path:
    """The folder of a saved model: a path (`~` is the home folder), a name in the run's models/, or in data/models.

    Raises FileNotFoundError that lists what exists.
    """
    name = Path(name).expanduser()
    places = [*run_places(run), ROOT, DATA]
    for folder in (name, *(folder for place in places for folder in (place / "models" / name, place / name))):
        if (folder / "config.json").exists():
            return folder.resolve()
    found = sorted({m.parent.name for place in places for m in place.glob("models/*/config.json")})
    remedy = "train one with notebooks/03_training.ipynb or `make train ROW=... PRESET=...`"
    if not CHECKOUT:
        remedy = "give a model's folder; the trained model of the repository is its data/models/hybrid_384_long"
    raise FileNotFoundError(f"no model {str(name)!r}; models that exist: {', '.join(found) or 'none'}; {remedy}")


def saved_models() -> dict[str, Path]:
    """The folder of every saved model of the repository and of the runs here, by its name: `name`, or `run: name`."""
    own = {m.parent.name: m.parent for m in sorted(DATA.glob("models/*/config.json"))}
    found = sorted(RUNS.glob("*/models/*/model.safetensors"))
    return own | {f"{m.parents[2].name}: {m.parent.name}": m.parent for m in found}


@contextmanager
def renamed(path: str | Path) -> Iterator[Path]:
    """A temporary name to write under, renamed to `path` when the block ends: a reader sees the old file or the new.

    The folder is made where it is missing; where the block fails, what it wrote is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text by `renamed`."""
    with renamed(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return Path(path)


def copy_file(source: str | Path, path: str | Path) -> Path:
    """Copy a file by `renamed`."""
    with renamed(path) as partial:
        shutil.copyfile(source, partial)
    return Path(path)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` when the block ends: a reader sees the old or the new.

    For the moment between two renames the old one is .<name>.old; `restore_folder` puts back what a kill left there.
    """
    restore_folder(folder)
    partial, old = (folder.with_name(f".{folder.name}.{end}") for end in ("part", "old"))
    for left in (partial, old):  # by a kill
        shutil.rmtree(left, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def restore_folder(folder: Path) -> None:
    """Undo a `new_folder` that was killed between its two renames."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        os.replace(old, folder)


def write_json(path: str | Path, value) -> Path:
    """`write_text` of JSON; what JSON has no word for (NaN, a tensor) is an error, not a guess."""
    return write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: str | Path, frame) -> Path:
    """`write_text` of a pandas DataFrame, without its index."""
    return write_text(path, frame.to_csv(index=False))


def read_json(path: str | Path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def log_line(run: str | Path | None, text: str) -> None:
    """Append one line, with the time of day, to the run's log.txt; of torchrun's processes the first alone does."""
    from datetime import datetime

    if os.environ.get("RANK", "0") != "0":
        return
    path = run_folder(run) / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        log.write(f"{datetime.now():%H:%M:%S} {text}\n")
