"""`python -m invlib.series.publish RUN` copies a run's small results, outputs and figures into the repository."""

import argparse
import base64
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
import pandas as pd
from PIL import Image

from invlib import paths
from invlib.data.duplicates import letters_key
from invlib.models.model import InvertibleSentenceModel
from invlib.series import tables
from invlib.series.notebooks import is_complete, notebooks_of
from invlib.settings import model_name
from invlib.training.record import TrainingRecord

LARGEST_MODEL = 10_000_000  # bytes of a model that the repository carries
QUOTED = 100  # different headlines that a run's published files may quote: they belong to their publishers
HEADLINES = ("input", "headline", "text")  # the columns of a table that hold headlines
DECODED = ("decoded", "generated", "deck")  # and those that hold what a model made of them
CONTROLS = ("no_vector", "shuffled_vector")
CELL_METADATA = ("papermill", "execution", "execution_count", "widgets")
NOTEBOOK_METADATA = ("papermill", "widgets", "invlib")
WIDGET = ("application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json")


def publish(run: str | Path, name: str | None = None) -> tuple[list[Path], list[str]]:
    """Copy a run into results/<name>/, notebooks/ and figures/, and make the tables of the READMEs anew.

    run: a name under runs/ or a folder; name: that of the folder in results/, by default the run's preset.
    results/<name>/ is replaced by a folder that was filled beside it. A run that holds the whole series leaves nothing
    of before. A part of a run (notebooks or metrics.json are missing) leaves the published files that it did not make,
    if they are of the same preset, seed, encoder and headlines. Together they quote QUOTED different headlines at
    most, those of what is kept and of examples.csv first.
    Notebooks and figures belong to README.md's numbers, so only the run that README.md shows brings its own.
    Returns the files written, and sentences on what was kept or removed.
    Raises FileNotFoundError for a run that is not there or holds no result, ValueError for an unfinished or failed
    notebook, one whose code has changed since, or a row that `check_rows` refuses; then nothing is written.
    """
    folder = paths.run_folder(run)
    if not folder.is_dir():
        have = sorted(path.name for path in paths.RUNS.glob("*") if path.is_dir())
        raise FileNotFoundError(f"no run {folder}; runs are {', '.join(have) or 'none yet'}")
    executed = sorted((folder / "notebooks").glob("*.ipynb"))
    measured = (folder / "metrics.json").is_file()
    if bad := [path.name for path in executed if not is_complete(path)]:
        raise ValueError(
            f"not finished in {folder}: {', '.join(bad)}; go on with: python -m invlib.series --resume --run {run}"
        )
    if not executed and not measured:
        raise FileNotFoundError(f"{folder} holds neither executed notebooks nor metrics.json: nothing to publish")
    name = name or _preset(folder)
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"a published run's name has letters, digits, - and _, not {name!r}")
    target = paths.RESULTS / name
    if measured:
        check_rows(folder, target)

    # All texts first, then the writing: a notebook that can't be cleaned stops it before anything has changed.
    sources = {paths.NOTEBOOKS / path.name: path for path in executed}
    texts = {source: nbformat.writes(with_outputs(source, path)) for source, path in sources.items()}
    figures, notes = sorted((folder / "figures").glob("*.png")), []
    shown = tables.published(name if measured else None)
    if shown not in (None, target):
        texts, figures = {}, []
        notes.append(f"README.md shows results/{shown.name}, so notebooks/ and figures/ stay those of that run")
    files = small_files(folder)
    before = {str(path.relative_to(target)): path for path in sorted(target.rglob("*")) if path.is_file()}
    others = sorted(set(before) - set(files))
    whole = measured and {path.name for path in executed} >= {path.name for path in notebooks_of(paths.NOTEBOOKS)}
    kept = others if not whole and made_with(folder) == made_with(target) else []
    removed = [] if kept else others
    old = [path for path in sorted(paths.FIGURES.glob("*.png")) if path.name not in [figure.name for figure in figures]]
    old = old if whole and figures else []
    notes += [f"not made by this part of the run, so kept in results/{name}: {', '.join(kept)}"] if kept else []
    notes += [f"removed in results/{name}: {', '.join(removed)}"] if removed else []
    notes += [f"removed in figures: {', '.join(path.name for path in old)}"] if old else []
    small, quoted = {}, set()
    for file, path in ({file: before[file] for file in kept} | files).items():
        text = path.read_text(encoding="utf-8")
        small[file] = without_paths(quotable(text, quoted) if path.suffix == ".csv" else text, folder)
    replace_folder(target, small)
    written = [target / file for file in files] + [paths.write_text(path, text) for path, text in texts.items()]
    for path in old:
        path.unlink()
    for figure in figures:
        paths.FIGURES.mkdir(exist_ok=True)
        written.append(Path(shutil.copyfile(figure, paths.FIGURES / figure.name)))
    return written + rebuild(), notes


def check_rows(folder: Path, target: Path) -> None:
    """Raise ValueError where a model's figures under greedy search could not be judged or repeated.

    Each has both controls. What is not published yet says after how many steps of training it was measured (null: the
    training did not count them), and its times, with how many threads.
    """
    rows = [row for row in paths.read_json(folder / "metrics.json")
            if row.get("search") in (None, "greedy") and row["model"] != "no_vector"]  # fmt: skip
    before = paths.read_json(target / "metrics.json") if (target / "metrics.json").is_file() else []
    lacking = []
    for row in rows:
        measured = {name: (row.get("controls") or {}).get(name) for name in CONTROLS}
        if row not in before:
            measured |= {"steps": "steps" in row, "threads": row.get("threads")}
        name = model_name(row["model"], row["embedding_dim"], row.get("variant"))
        lacking += [f"{name} {key}" for key, value in measured.items() if not value]
    if lacking:
        raise ValueError(
            f"{folder / 'metrics.json'} lacks {', '.join(lacking)}; train the no-vector controls and "
            f'measure again: make run RUN={folder.name} ARGS="--only 03 04", then publish'
        )


def made_with(folder: Path) -> list | None:
    """What tells whether two folders hold results of one run: preset, seed, encoder, headlines; None: not known."""
    if not (folder / "settings.json").is_file():
        return None
    record = paths.read_json(folder / "settings.json")
    return [record.get(key) for key in ("preset", "seed", "encoder", "data_hash")]


def small_files(folder: Path) -> dict[str, Path]:
    """The files that a run brings into results/, by their names there; what an exercise trained is left out."""
    files = [folder / "metrics.json", folder / "settings.json", folder / "examples.csv"]
    files += [path for part in ("curves", "tables") for path in sorted((folder / part).rglob("*.csv"))]
    return {str(f.relative_to(folder)): f for f in files if f.is_file() and not f.stem.endswith("_mine")}


def replace_folder(target: Path, texts: dict[str, str]) -> None:
    """Put a folder of these files alone in the place of `target`: filled beside it, then renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as place:
        new, old = Path(place, "new"), Path(place, "old")
        for file, text in texts.items():
            paths.write_text(new / file, text)
        if target.exists():
            target.rename(old)
        new.rename(target)


def quotable(text: str, quoted: set[str]) -> str:
    """The text of a CSV file that quotes no headline beyond QUOTED different ones: its row stays, its texts are blank.

    quoted: the headlines that other files quote, as `letters_key` gives them; those of this file are added. A column
    of numbers, which headlines they are, quotes none.
    """
    frame = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str)
    beyond = pd.Series(False, index=frame.index)
    for column in [name for name in frame if name in HEADLINES and not frame[name].str.isdecimal().all()]:
        keys = frame[column].map(letters_key)
        new = [key for key in dict.fromkeys(keys) if key and key not in quoted]
        quoted.update(new[: QUOTED - len(quoted)])
        beyond |= ~keys.isin(quoted | {""})
    if not beyond.any():
        return text
    frame.loc[beyond, [name for name in frame if name in HEADLINES + DECODED]] = ""
    return frame.to_csv(index=False)


def publish_model(run: str | Path, name: str) -> list[Path]:
    """A run's model into data/models/<name>, in half precision, with the record of its training.

    Returns the files written. Raises FileNotFoundError where the run has no such model, ValueError for one that is
    not small: the repository carries it.
    """
    source = paths.run_folder(run) / "models" / name
    if not (source / "training.json").is_file():
        have = sorted(path.parent.name for path in source.parent.glob("*/training.json"))
        raise FileNotFoundError(f"no trained model {name} in {source.parent}; there are {', '.join(have) or 'none'}")
    model = InvertibleSentenceModel.from_pretrained(source)
    size = 2 * sum(tensor.numel() for tensor in model.state_dict().values())
    if size > LARGEST_MODEL:
        raise ValueError(f"{name} takes {size / 1e6:.1f} MB in half precision; at most {LARGEST_MODEL / 1e6:.0f} fit")
    target = paths.DATA / "models" / name
    model.save_pretrained(target, half=True)
    TrainingRecord.read(source).write(target)
    record = target / "training.json"
    paths.write_text(record, without_paths(record.read_text(encoding="utf-8")))
    return sorted(target.iterdir())


def rebuild() -> list[Path]:
    """Make the tables of results/README.md and README.md anew from results/; returns the files written."""
    written = [paths.write_text(paths.RESULTS / "README.md", tables.results_readme())]
    readme, shown = paths.ROOT / "README.md", tables.published()
    if readme.is_file() and shown:
        written.append(paths.write_text(readme, tables.rebuild_readme(readme.read_text(encoding="utf-8"), shown)))
    return written


def with_outputs(source: Path, executed: Path) -> nbformat.NotebookNode:
    """A notebook of the series with the outputs and execution counts of its executed copy, as it is committed.

    Only outputs come from the run, so prose that was mended since stays mended. Left behind are the injected cell,
    papermill's and widgets' metadata, times, widget views and this machine's folders.
    Raises ValueError where the code is no longer what ran.
    """
    if not source.is_file():
        raise ValueError(f"{executed} ran, but {source.name} is not among the notebooks any more")
    notebook, ran = (nbformat.read(path, as_version=4) for path in (source, executed))
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    done = [c for c in ran.cells if c.cell_type == "code" and "injected-parameters" not in c.metadata.get("tags", [])]
    if [cell.source for cell in cells] != [cell.source for cell in done]:
        run = executed.parent.parent.name
        raise ValueError(f"the code of {source.name} has changed since run {run}; run it again: --resume --run {run}")
    for cell in notebook.cells:
        for key in CELL_METADATA:
            cell.metadata.pop(key, None)
    for key in NOTEBOOK_METADATA:
        notebook.metadata.pop(key, None)
    count = 0  # counted anew: the injected cell took a number
    for cell, result in zip(cells, done, strict=True):
        outputs = [output for output in result.outputs if not set(output.get("data", {})) & set(WIDGET)]
        cell.outputs = [_clean_output(output, executed.parent.parent) for output in outputs]
        count += result.execution_count is not None
        cell.execution_count = count if result.execution_count is not None else None
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
    return notebook


def _clean_output(output: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """An output without this machine's folders."""
    if "text" in output:
        output.text = without_paths(output.text, folder)
    for kind, value in output.get("data", {}).items():
        if kind == "image/png":
            output.data[kind] = of_few_colours(value)
        elif isinstance(value, str):
            output.data[kind] = without_paths(value, folder)
    return output


def of_few_colours(picture: str) -> str:
    """A PNG in base64 with 256 colours, where that is smaller: figures have few, and a notebook holds many figures."""
    image, small = Image.open(io.BytesIO(base64.b64decode(picture))), io.BytesIO()
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    found = base64.b64encode(small.getvalue()).decode()
    return found if len(found) < len(picture) else picture


def without_paths(text: str, folder: Path | None = None) -> str:
    """A text without absolute folders of this machine: run and repository as relative names, home as `~`."""
    text = re.sub(re.escape(tempfile.gettempdir()) + r"/ipykernel_\d+/\d+\.py", "cell", text)
    places = [(folder, f"runs/{folder.name}")] if folder else []
    places += [(os.environ.get("INVLIB_DATA"), "$INVLIB_DATA"), (paths.ROOT, "."), (paths.ROOT.parent, "..")]
    places += [(Path.home(), "~")]
    for place, short in places:
        if not place or Path(place).resolve() == Path("/"):
            continue
        for form in dict.fromkeys((str(place), str(Path(place).resolve()))):
            if short == ".":
                text = re.sub(re.escape(form) + r"/(?=[\w.])", "", text)
            text = re.sub(re.escape(form) + r"(?![\w-])", lambda _, short=short: short, text)
    return text


def _preset(folder: Path) -> str:
    """The preset that a run was made with."""
    if not (folder / "settings.json").is_file():
        raise FileNotFoundError(f"{folder} has no settings.json that tells its preset; give the name: --name study")
    return paths.read_json(folder / "settings.json")["preset"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m invlib.series.publish", description=__doc__)
    parser.add_argument("run", nargs="?", help="name under runs/, or a folder; without it the tables alone are made")
    parser.add_argument("--name", help="folder in results/; by default the run's preset")
    parser.add_argument("--model", help="a model of the run, which goes to data/models in half precision; nothing else")
    args = parser.parse_args(argv)
    notes: list[str] = []
    try:
        if args.model and not args.run:
            raise ValueError(f"name the run that has the model {args.model}")
        if args.model:
            written = publish_model(args.run, args.model)
        elif args.run:
            written, notes = publish(args.run, args.name)
        else:
            written = rebuild()
    except (FileNotFoundError, ValueError) as error:
        print(f"invlib.series.publish: {error}", file=sys.stderr)
        return 2
    print(*(path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path for path in written), sep="\n")
    print(*notes, sep="\n", end="\n" if notes else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
