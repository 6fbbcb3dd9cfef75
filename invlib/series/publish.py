"""`python -m invlib.series.publish RUN` copies a run's small results, outputs and figures into the repository."""

import argparse
import base64
import io
import json
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
from invlib.series.notebooks import is_complete
from invlib.settings import split_row_name

LARGEST_MODEL = 10_000_000  # bytes of a model that the repository carries
QUOTED = 100  # different headlines that a run's published files may quote: they belong to their publishers
HEADLINES = ("input", "headline", "text")  # the columns of a table that hold headlines
CELL_METADATA = ("papermill", "execution", "execution_count", "widgets")
NOTEBOOK_METADATA = ("papermill", "widgets", "invlib")
WIDGET = ("application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json")


def publish(run: str | Path, name: str | None = None) -> list[Path]:
    """Copy a run into results/<name>/, notebooks/ and figures/, and make the tables of the READMEs anew.

    run: a name under runs/ or a folder; name: that of the folder in results/, by default the run's preset.
    Notebooks and figures stand beside README.md's numbers, so only the run that README.md shows brings its own; of
    another one results/<name>/ alone is written. A run of some notebooks or rows alone publishes those. The files in
    results/<name>/ quote QUOTED different headlines at most, those of examples.csv first; further rows are left out.
    Returns the files written.
    Raises FileNotFoundError for a run that is not there or holds no result, ValueError for an unfinished or failed
    notebook, or one whose code has changed since; then nothing is written.
    """
    folder = paths.run_folder(run)
    if not folder.is_dir():
        have = sorted(path.name for path in paths.RUNS.glob("*") if path.is_dir())
        raise FileNotFoundError(f"no run {folder}; runs are {', '.join(have) or 'none yet'}")
    executed = sorted((folder / "notebooks").glob("*.ipynb"))
    if bad := [path.name for path in executed if not is_complete(path)]:
        raise ValueError(
            f"not finished in {folder}: {', '.join(bad)}; go on with: python -m invlib.series --resume --run {run}"
        )
    if not executed and not (folder / "metrics.json").is_file():
        raise FileNotFoundError(f"{folder} holds neither executed notebooks nor metrics.json: nothing to publish")
    name = name or _preset(folder)
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"a published run's name has letters, digits, - and _, not {name!r}")

    # All texts first, then the writing: a notebook that can't be cleaned stops it before anything has changed.
    sources = {paths.NOTEBOOKS / path.name: path for path in executed}
    texts = {source: nbformat.writes(with_outputs(source, path)) for source, path in sources.items()}
    target = paths.RESULTS / name
    figures = sorted((folder / "figures").glob("*.png"))
    if tables.published(name if (folder / "metrics.json").is_file() else None) not in (None, target):
        texts, figures = {}, []
    small = [folder / "metrics.json", folder / "settings.json", folder / "examples.csv"]
    small += [path for part in ("curves", "tables") for path in sorted((folder / part).rglob("*.csv"))]
    quoted: set[str] = set()
    for file in small:
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            text = quotable(text, quoted) if file.suffix == ".csv" else text
            texts[target / file.relative_to(folder)] = without_paths(text, folder)
    written = [paths.write_text(path, text) for path, text in texts.items()]
    for figure in figures:
        paths.FIGURES.mkdir(exist_ok=True)
        written.append(Path(shutil.copyfile(figure, paths.FIGURES / figure.name)))
    return written + rebuild()


def quotable(text: str, quoted: set[str]) -> str:
    """The text of a CSV file without the rows of headlines that would be more than QUOTED different ones.

    quoted: the headlines that other files quote, as `letters_key` gives them; those of this file are added. A column
    of numbers, which headlines they are, quotes none.
    """
    frame = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str)
    kept = frame
    for column in [name for name in frame if name in HEADLINES and not frame[name].str.isdecimal().all()]:
        keys = kept[column].map(letters_key)
        new = [key for key in dict.fromkeys(keys) if key not in quoted]
        quoted.update(new[: QUOTED - len(quoted)])
        kept = kept[keys.isin(quoted)]
    return text if len(kept) == len(frame) else kept.to_csv(index=False)


def publish_model(run: str | Path, name: str) -> list[Path]:
    """A run's model into data/models/<row id>_<D>, in half precision, with what is known of its training.

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
    row, dim, _ = split_row_name(name)
    target = paths.DATA / "models" / f"{row}_{dim}"
    model.save_pretrained(target, half=True)
    training = paths.read_json(source / "training.json") | {"published_from": name}
    paths.write_text(target / "training.json", without_paths(json.dumps(training, indent=1) + "\n"))
    return [target / file for file in ("config.json", "model.safetensors", "training.json")]


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
    try:
        if args.model and not args.run:
            raise ValueError(f"name the run that has the model {args.model}")
        if args.model:
            written = publish_model(args.run, args.model)
        else:
            written = publish(args.run, args.name) if args.run else rebuild()
    except (FileNotFoundError, ValueError) as error:
        print(f"invlib.series.publish: {error}", file=sys.stderr)
        return 2
    for path in written:
        print(path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path)
    shown = tables.published()
    if args.run and not args.model and shown and not any(path.is_relative_to(shown) for path in written):
        print(f"README.md shows results/{shown.name}, so notebooks/ and figures/ stay those of that run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
