"""`python -m invlib.series.student_copies` writes the notebooks for a class: no outputs, no solutions, empty cells."""

import argparse
import os
import re
import sys
from pathlib import Path

import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell

from invlib import paths
from invlib.series import findings, tables

SOLUTION = "solution"  # the tag of a cell that students don't get
ANSWER = "# Your answer\n"
TEXTS = ("GLOSSARY.md", "README.md")  # that the notebooks lead to


def read_exercises() -> dict[str, list[dict]]:
    """notebooks/exercises.yaml: by the name of the notebook, an entry for each of its solution cells."""
    return yaml.safe_load((paths.NOTEBOOKS / "exercises.yaml").read_text(encoding="utf-8"))


def student_copy(book: nbformat.NotebookNode, exercises: list[dict]) -> nbformat.NotebookNode:
    """A copy of a notebook without outputs, each solution replaced by its minutes, difficulty, check and an empty cell.

    ValueError where the notebook has not as many solutions as `exercises`, LookupError for a check without its figures.
    """
    copy, cells, left = nbformat.from_dict(book), [], list(exercises)
    solutions = sum(SOLUTION in cell.metadata.get("tags", []) for cell in copy.cells)
    if solutions != len(exercises):
        raise ValueError(f"{solutions} solutions, and {len(exercises)} entries in notebooks/exercises.yaml")
    for cell in copy.cells:
        if SOLUTION in cell.metadata.get("tags", []):
            cells += [new_markdown_cell(hint(left.pop(0)), id=f"{cell.id}-check"), new_code_cell(ANSWER, id=cell.id)]
            continue
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cells.append(cell)
    copy.cells = cells
    return copy


def hint(exercise: dict) -> str:
    """What stands above an empty cell: `*10 minutes, easy.* Check: ...`."""
    check = exercise | {"text": exercise["check"], "figures": exercise.get("figures", {})}
    text = findings.stated(tables.published() or paths.RESULTS, check)
    return f"*{exercise['minutes']} minutes, {exercise['difficulty']}.* Check: {text}"


def write_copies(folder: Path) -> list[Path]:
    """Write a student copy of every notebook, and the texts beside, into `folder`; returns the files.

    The folder is handed out alone: a link to what is not in it keeps its words and leads nowhere. Raises as
    `student_copy` does.
    """
    exercises, copies = read_exercises(), {}
    names = {path.name for path in paths.NOTEBOOKS.glob("*.ipynb")} | {*TEXTS}

    def unlinked(text: str) -> str:
        return re.sub(r"\[([^]]+)\]\(([^)#:\s]+)\)", lambda link: link[0] if link[2] in names else link[1], text)

    for name in sorted(names - {*TEXTS}):
        path = paths.NOTEBOOKS / name
        try:
            copy = student_copy(nbformat.read(path, as_version=4), exercises.get(path.stem, []))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        for cell in copy.cells:
            if cell.cell_type == "markdown":
                cell.source = unlinked(cell.source)
        copies[name] = nbformat.writes(copy) + "\n"
    copies |= {name: unlinked((paths.NOTEBOOKS / name).read_text(encoding="utf-8")) for name in TEXTS}
    return [paths.write_text(folder / name, text) for name, text in copies.items()]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m invlib.series.student_copies", description=__doc__)
    parser.add_argument("--output", type=Path, default=paths.ROOT / "build" / "class", help="default: build/class")
    try:
        written = write_copies(parser.parse_args(argv).output)
    except (ValueError, LookupError, OSError) as error:
        print(f"invlib.series.student_copies: {error}", file=sys.stderr)
        return 2
    print(*map(os.path.relpath, written), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
