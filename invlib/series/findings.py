"""What each notebook and README.md say: the sentences of notebooks/findings.yaml, with the published run's figures.

A notebook shows its own in the cell with the tag `findings`; README.md, and a notebook's prose, in blocks
`<!-- findings:NAME --> ... <!-- /findings -->`, which publishing fills.

A sentence names its figures as [file, row, column]; a fourth word joins the values of several rows. A string in the
place of the list is a formula over the figures before it. `holds` is a formula too: what the sentence says has to be
true of its own figures, or it is not shown.
"""

import re
import string
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import yaml

from invlib import paths
from invlib.evaluation.run_results import name_of
from invlib.series import tables
from invlib.series.notebooks import notebooks_of

TAG = "findings"  # of the cell that shows the sentences
BLOCK = re.compile(r"(<!-- findings:(\w+) -->)\n.*?(<!-- /findings -->)", flags=re.DOTALL)
JOINED: dict[str, Callable] = {"max": max, "min": min, "mean": np.mean, "count": len}


class Unsupported(LookupError):
    """A sentence can't be shown: a figure is missing, or what it says is not true of the figures."""


def read_findings() -> dict[str, list[dict]]:
    """The sentences of notebooks/findings.yaml, by the name of their notebook (03_training)."""
    return yaml.safe_load((paths.NOTEBOOKS / "findings.yaml").read_text(encoding="utf-8"))


def load_table(folder: Path, file: str) -> pd.DataFrame:
    """A result file without its marks (†); metrics.json has a row per model and search, its `name`, dotted columns."""
    path = folder / file
    if not path.is_file():
        raise Unsupported(f"{folder.name} has no {file}")
    if path.suffix == ".json":
        return pd.DataFrame([{"name": name_of(row), **flat(row)} for row in paths.read_json(path)])
    return pd.read_csv(path).rename(columns=unmarked).map(unmarked)


def unmarked(value):
    return value.rstrip(" " + "".join(tables.MARKS)) if isinstance(value, str) else value


def flat(row: dict, before: str = "") -> dict:
    """Nested keys joined by dots; the two ends of an interval are its `low` and `high`."""
    found: dict = {}
    for key, value in row.items():
        value = dict(zip(("low", "high"), value, strict=True)) if before.endswith("ci95.") and value else value
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def matches(value, wanted) -> bool:
    """Whether a cell has the wanted value; in a text, * stands for any letters."""
    if isinstance(wanted, str):
        return isinstance(value, str) and (value == wanted or fnmatchcase(value, wanted))
    return not isinstance(value, str) and bool(np.isclose(value, wanted))


def figure(folder: Path, file: str, row: dict, column: str, joined: str | None = None):
    """One figure of a run's file: of the row with these values, or, `joined`, of several rows."""
    table = load_table(folder, file)
    where = f"{file} of {folder.name}"

    def column_of(name: str) -> str:
        found = [own for own in table if matches(own, name)]
        if len(found) != 1:
            raise Unsupported(f"{where} has {len(found)} columns {name!r}; its columns are {', '.join(table)}")
        return found[0]

    for key, wanted in row.items():
        table = table[[matches(value, wanted) for value in table[column_of(key)]]]
    values = table[column_of(column)].dropna()
    if joined and len(values):
        return JOINED[joined](values)
    if len(values) != 1:
        wanted = ", ".join(f"{key} {value!r}" for key, value in row.items()) or "no condition"
        raise Unsupported(f"{where} has {len(values)} values of {column!r} in rows with {wanted}; one is needed")
    return values.iloc[0]


def formula(text: str, figures: dict):
    return pd.eval(text, local_dict=figures, engine="python")


def figures_of(folder: Path, finding: dict) -> dict:
    """All figures of a sentence from a run's files; Unsupported where one is missing."""
    figures: dict = {}
    for name, where in finding["figures"].items():
        figures[name] = formula(where, figures) if isinstance(where, str) else figure(folder, *where)
    return figures


def holds(finding: dict, figures: dict) -> bool:
    return bool(formula(finding["holds"], figures)) if "holds" in finding else True


def stated(folder: Path, finding: dict) -> str:
    """The sentence with a run's figures; Unsupported where one is missing, or the figures say otherwise."""
    figures = figures_of(folder, finding)
    if not holds(finding, figures):
        raise Unsupported(f"{folder.name} does not support '{finding['text'][:60]}...': not {finding['holds']}")
    return finding["text"].strip().format(**figures)


def beside(folder: Path, finding: dict) -> str | None:
    """The same figures of a reader's run, in the order of the sentence; None where it lacks one."""
    try:
        figures = figures_of(folder, finding)
    except Unsupported:
        return None
    written = [(name, spec) for _, name, spec, _ in string.Formatter().parse(finding["text"]) if name]
    line = ", ".join(format(figures[name], spec or "") for name, spec in written)
    return f"*This run: {line}{'' if holds(finding, figures) else '; here the sentence does not hold'}.*"


def markdown(notebook: str, run: str | Path | None = None) -> str:
    """What the notebook found, as Markdown: the published run's figures, below them the reader's own where they exist.

    notebook: its name, 03_training; run: the reader's, as in the notebook's parameters. Where nothing is published
    beside the package (it was installed without a checkout), one line says so.
    """
    folder = tables.published()
    if folder is None:
        return f"*The published figures are in the folder `results` of the repository; {paths.RESULTS} has none.*"
    own, found = paths.run_folder(run), read_findings()[notebook]
    lines, compared = [], False
    for finding in found:
        try:
            lines.append(f"- {stated(folder, finding)}")
        except Unsupported:
            continue
        if own != folder and own.is_dir() and (line := beside(own, finding)):
            lines[-1] += f"  \n  {line}"
            compared = True
    whose = f"below each, those of this run, `{own.name}`, in the same order" if compared else "not of yours"
    lines = [f"Figures of **the published run `{folder.name}`**; {whose}:", "", *lines]
    if left_out := len(found) - len(lines) + 2:
        lines += ["", f"*Left out, because the published run does not support them: {left_out} of {len(found)}.*"]
    return "\n".join(lines)


def fill_blocks(text: str, folder: Path) -> str:
    """A Markdown text whose blocks hold the sentences of a published run.

    What the run does not support is left out, as in a notebook's cell; KeyError for a name that findings.yaml lacks.
    """

    def fill(match: re.Match) -> str:
        sentences = []
        for finding in read_findings()[match[2]]:
            with suppress(Unsupported):
                sentences.append(stated(folder, finding))
        listed = sentences if len(sentences) == 1 else [f"- {sentence}" for sentence in sentences]
        return "\n".join((match[1], *listed, match[3]))

    return BLOCK.sub(fill, text)


def names_of_blocks(text: str) -> list[str]:
    """The names of a Markdown text's blocks, in order."""
    return [match[2] for match in BLOCK.finditer(text)]


def unsupported() -> list[str]:
    """Why sentences of README.md and of the notebooks in the repository are left out; empty where all hold."""
    reasons: list[str] = []
    if (folder := tables.published()) is None:
        return reasons
    readme = paths.ROOT / "README.md"
    names = names_of_blocks(readme.read_text(encoding="utf-8")) if readme.is_file() else []
    for path, book in shown():
        names += [path.stem, *(name for cell in prose(book) for name in names_of_blocks(cell.source))]
    for name in names:
        for finding in read_findings()[name]:
            try:
                stated(folder, finding)
            except Unsupported as reason:
                reasons.append(f"{name}: {reason}")
    return reasons


def prose(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in book.cells if cell.cell_type == "markdown"]


def shown() -> list[tuple[Path, nbformat.NotebookNode]]:
    """The notebooks of the repository that show findings."""
    books = [(path, nbformat.read(path, as_version=4)) for path in notebooks_of(paths.NOTEBOOKS)]
    return [(path, book) for path, book in books if any(TAG in c.metadata.get("tags", []) for c in book.cells)]


def refresh() -> list[Path]:
    """Write the published run's sentences into outputs and blocks of the notebooks; returns those that changed."""
    written, folder = [], tables.published()
    for path, book in shown():
        before = nbformat.writes(book)
        for cell in book.cells:
            if TAG in cell.metadata.get("tags", []):
                cell.outputs = [output(markdown(path.stem, folder), cell.execution_count)]
        if folder:
            for cell in prose(book):
                cell.source = fill_blocks(cell.source, folder)
        if nbformat.writes(book) != before:
            written.append(paths.write_text(path, nbformat.writes(book) + "\n"))
    return written


def output(text: str, count: int | None) -> nbformat.NotebookNode:
    data = {"text/markdown": text, "text/plain": "<IPython.core.display.Markdown object>"}
    return nbformat.v4.new_output("execute_result", data, execution_count=count)
