"""`python -m invlib.series.publish RUN` copies a run's small results, outputs and figures into the repository."""

import argparse
import base64
import io
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import pandas as pd
from PIL import Image

from invlib import paths
from invlib.data.duplicates import letters_key
from invlib.evaluation.run_results import name_of
from invlib.models.model import InvertibleSentenceModel
from invlib.series import findings, readme_tables, tables
from invlib.series.notebooks import is_complete, notebooks_of
from invlib.training.record import FILE, TrainingRecord
from invlib.views import hero, learning

NO_NOTEBOOKS = ("slides_", "hero", "lab", "learning")  # how the figures begin that are no notebook's
LARGEST_MODEL = 15_000_000  # bytes of a model that the repository carries
QUOTED = 100  # different headlines that a run's published files may quote: they belong to their publishers
HEADLINES = ("input", "headline", "text")  # the columns of a table that hold headlines
DECODED = ("decoded", "generated", "deck")  # and those that hold what a model made of them
SAME_RUN = ("preset", "seed", "encoder", "data_hash")  # equal in settings.json: results of one run
METADATA = ("papermill", "widgets", "invlib", "execution", "execution_count")  # of notebooks and cells: a run's own
WIDGETS = {"application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"}


def publish(run: str | Path, name: str | None = None) -> tuple[list[Path], list[str]]:
    """Copy a run into results/<name>/, notebooks/ and figures/, and make the tables of the READMEs anew.

    run: a name under runs/ or a folder; name: that of the folder in results/, by default the run's preset.
    A whole run leaves nothing of before in results/<name>/. A part of one (notebooks or metrics.json are missing)
    leaves what it did not make, where that is of the SAME_RUN. Together they quote QUOTED different headlines at most,
    those of what is kept and of examples.csv first. Only the run that README.md shows brings notebooks and figures.
    Returns the files written, and sentences on what was kept or removed. Raises FileNotFoundError for a run without
    results, ValueError for an unfinished notebook, one whose code has changed since, or a model that `check_rows`
    refuses; then nothing is written.
    """
    folder = paths.run_folder(run)
    executed, measured = sorted((folder / "notebooks").glob("*.ipynb")), (folder / "metrics.json").is_file()
    if not executed and not measured:
        have = sorted(path.name for path in paths.RUNS.glob("*") if path.is_dir())
        raise FileNotFoundError(f"{folder} holds neither executed notebooks nor metrics.json: nothing to publish; "
                                f"runs are {', '.join(have) or 'none yet'}")  # fmt: skip
    if bad := [path.name for path in executed if not is_complete(path)]:
        raise ValueError(f"not finished in {folder}: {', '.join(bad)}; go on with: python -m invlib.series --resume "
                         f"--run {run}")  # fmt: skip
    made = tables.settings_of(folder)
    name = name or made.get("preset", "")
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"a published run's name has letters, digits, - and _, not {name!r}; give one: --name study")
    target = paths.RESULTS / name
    paths.restore_folder(target)
    if measured:
        check_rows(folder, target)

    # All texts first, then the writing: a notebook that can't be cleaned stops it before anything has changed.
    texts = {paths.NOTEBOOKS / path.name: with_outputs(paths.NOTEBOOKS / path.name, path, folder) for path in executed}
    figures = {path.name: path for path in sorted((folder / "figures").glob("*.png"))}
    whole = measured and {path.name for path in executed} >= {path.name for path in notebooks_of(paths.NOTEBOOKS)}
    files, old = small_files(folder), tables.settings_of(target)
    others = {str(path.relative_to(target)): path for path in sorted(target.rglob("*")) if path.is_file()}
    others = {file: path for file, path in others.items() if file not in files}
    kept = others if not whole and all(made.get(key) == old.get(key) for key in SAME_RUN) else {}
    small: dict[str, str] = {}
    quoted: set[str] = set()
    for file, path in (kept | files).items():
        text = path.read_text(encoding="utf-8")
        small[file] = without_paths(quotable(text, quoted) if path.suffix == ".csv" else text, folder)
    with paths.new_folder(target) as new:
        for file, text in small.items():
            paths.write_text(new / file, text)
    written, notes = [target / file for file in small], []
    if (shown := tables.published()) not in (None, target):
        texts, figures = {}, {}
        notes.append(f"README.md shows results/{shown.name}, so notebooks/ and figures/ stay those of that run")
    old_figures = [path for path in sorted(paths.FIGURES.glob("*.png")) if not path.name.startswith(NO_NOTEBOOKS)]
    gone = [path for path in old_figures if whole and figures and path.name not in figures]
    for path in gone:
        path.unlink()
    paths.FIGURES.mkdir(exist_ok=True)
    written += [paths.copy_file(path, paths.FIGURES / figure) for figure, path in figures.items()]
    written += [paths.write_text(path, text) for path, text in texts.items()]
    changes = {
        f"not made by this part of the run, so kept in results/{name}": kept,
        f"removed in results/{name}": () if kept else others,
        "removed in figures": [path.name for path in gone],
    }
    notes += [f"{words}: {', '.join(names)}" for words, names in changes.items() if names]
    written = list(dict.fromkeys(written + rebuild()))
    if shown and (missing := hero.lacking(shown)):
        notes.append(f"figures/hero.png stays as it was: results/{shown.name} lacks {', '.join(missing)}")
    return written, notes + [f"left out of README.md or a notebook: {reason}" for reason in findings.unsupported()]


def check_rows(folder: Path, target: Path) -> None:
    """ValueError for a model without both controls or, not published yet, threads (of its times) or training steps."""
    before = paths.read_json(target / "metrics.json") if (target / "metrics.json").is_file() else []
    lacking = []
    for row in paths.read_json(folder / "metrics.json"):
        if row.get("search") in (None, "greedy") and row["model"] != "no_vector":
            measured = {key: (row.get("controls") or {}).get(key) for key in ("no_vector", "shuffled_vector")}
            if row not in before:
                measured |= {"steps": "steps" in row, "threads": row.get("threads")}  # null: training counted none
            lacking += [f"{name_of(row)} {key}" for key, value in measured.items() if not value]
    if lacking:
        raise ValueError(
            f"{folder / 'metrics.json'} lacks {', '.join(lacking)}; train the no-vector controls and "
            f'measure again: make run RUN={folder.name} ARGS="--only 03 04", then publish'
        )


def small_files(folder: Path) -> dict[str, Path]:
    """The files that a run brings into results/, by their names there; what an exercise trained is left out."""
    files = [folder / name for name in ("metrics.json", "settings.json", "examples.csv", "timings.csv")]
    files += [path for part in ("curves", "tables") for path in sorted((folder / part).rglob("*.csv"))]
    return {str(f.relative_to(folder)): f for f in files if f.is_file() and not f.stem.endswith("_mine")}


def quotable(text: str, quoted: set[str]) -> str:
    """The text of a CSV file that quotes no headline beyond QUOTED different ones: its row stays, its texts are blank.

    quoted: the headlines that other files quote, as `letters_key` gives them; those of this file are added.
    """
    frame = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str)
    beyond = pd.Series(False, index=frame.index)
    for column in [c for c in frame if c in HEADLINES and not frame[c].str.isdecimal().all()]:  # or it holds numbers
        keys = frame[column].map(letters_key)
        new = [key for key in dict.fromkeys(keys) if key and key not in quoted]
        quoted.update(new[: QUOTED - len(quoted)])
        beyond |= ~keys.isin(quoted | {""})
    if not beyond.any():
        return text
    frame.loc[beyond, [name for name in frame if name in HEADLINES + DECODED]] = ""
    return frame.to_csv(index=False)


def publish_model(run: str | Path, name: str) -> list[Path]:
    """A run's model into data/models/<name>, in half precision, with the record of its training; the files written.

    Raises FileNotFoundError where the run has no such model, ValueError for one above LARGEST_MODEL.
    """
    source, target = paths.run_folder(run) / "models" / name, paths.DATA / "models" / name
    model, record = InvertibleSentenceModel.from_pretrained(source, run), TrainingRecord.read(source)
    size = 2 * sum(tensor.numel() for tensor in model.state_dict().values())
    if size > LARGEST_MODEL:
        raise ValueError(f"{name} takes {size / 1e6:.1f} MB in half precision; at most {LARGEST_MODEL / 1e6:.0f} fit")
    with paths.new_folder(target) as new:
        model.save_pretrained(new, half=True)
        record.write(new)
        file = new / FILE
        paths.write_text(file, without_paths(file.read_text(encoding="utf-8")))
    return sorted(target.iterdir())


def rebuild() -> list[Path]:
    """Make README.md's tables and sentences, the figures of result files and the notebooks' findings anew."""
    written = [paths.write_text(paths.RESULTS / "README.md", readme_tables.results_readme())]
    readme, shown = paths.ROOT / "README.md", tables.published()
    if readme.is_file() and shown:
        text = findings.fill_blocks(readme_tables.rebuild_readme(readme.read_text(encoding="utf-8"), shown), shown)
        written.append(paths.write_text(readme, text))
    if shown and not hero.lacking(shown):
        written.append(hero.write(shown))
    if not learning.lacking(paths.RESULTS):
        written.append(learning.write(paths.RESULTS))
    return written + (findings.refresh() if shown else [])


def with_outputs(source: Path, executed: Path, folder: Path) -> str:
    """A notebook of the series with the outputs and execution counts of its executed copy, as it is committed.

    Prose that was mended since stays mended. Left behind are the injected cell, papermill's and widgets' metadata,
    times, widget views and this machine's folders. Raises ValueError where the code is no longer what ran.
    """
    notebook, ran = (nbformat.read(path, as_version=4) for path in (source, executed))
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    done = [c for c in ran.cells if c.cell_type == "code" and "injected-parameters" not in c.metadata.get("tags", [])]
    if [cell.source for cell in cells] != [cell.source for cell in done]:
        raise ValueError(f"the code of {source.name} has changed since run {folder.name}; go on with it: --resume")
    for part in (notebook, *notebook.cells):
        part.metadata = {key: value for key, value in part.metadata.items() if key not in METADATA}
    count = 0  # counted anew: the injected cell took a number
    for cell, result in zip(cells, done, strict=True):
        count += result.execution_count is not None
        cell.execution_count = count if result.execution_count is not None else None
        cell.outputs = [output for output in result.outputs if not WIDGETS & set(output.get("data", {}))]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            if "text" in output:
                output.text = without_paths(output.text, folder)
            for kind, value in output.get("data", {}).items():
                if isinstance(value, str):
                    output.data[kind] = of_few_colours(value) if kind == "image/png" else without_paths(value, folder)
    return nbformat.writes(notebook) + "\n"


def of_few_colours(picture: str) -> str:
    """A PNG in base64 with 256 colours, where that is smaller: figures have few, and a notebook holds many figures."""
    image, small = Image.open(io.BytesIO(base64.b64decode(picture))), io.BytesIO()
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    return min(base64.b64encode(small.getvalue()).decode(), picture, key=len)


def without_paths(text: str, folder: Path | None = None) -> str:
    """A text without absolute folders of this machine: run and repository as relative names, home as `~`."""
    text = re.sub(re.escape(tempfile.gettempdir()) + r"/ipykernel_\d+/\d+\.py", "cell", text)
    places: list[tuple[str | Path | None, str]] = [(folder, f"runs/{folder.name}")] if folder else []
    places += [(os.environ.get("INVLIB_DATA"), "$INVLIB_DATA"), (paths.ROOT, "."), (paths.ROOT.parent, "..")]
    for place, short in [*places, (Path.home(), "~")]:
        for form in sorted({str(place), str(Path(place).resolve())} - {"/"}) if place else []:
            if short == ".":
                text = re.sub(re.escape(form) + r"/(?=[\w.])", "", text)
            text = re.sub(re.escape(form) + r"(?![\w-])", short, text)
    return text


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m invlib.series.publish", description=__doc__)
    parser.add_argument("run", nargs="?", help="name under runs/, or a folder; without it the tables alone are made")
    parser.add_argument("--name", help="folder in results/; by default the run's preset")
    parser.add_argument("--model", help="a model of the run, which goes to data/models in half precision; nothing else")
    args = parser.parse_args(argv)
    if args.model and not args.run:
        parser.error(f"name the run that has the model {args.model}")
    notes: list[str] = []
    try:
        if args.model:
            written = publish_model(args.run, args.model)
        else:
            written, notes = publish(args.run, args.name) if args.run else (rebuild(), notes)
    except (FileNotFoundError, ValueError) as error:
        print(f"invlib.series.publish: {error}", file=sys.stderr)
        return 2
    print(*map(os.path.relpath, written), *notes, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
