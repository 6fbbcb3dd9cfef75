"""The parts of a slide as HTML. A part of talk.yaml is one of these:

- text: Markdown, with placeholders and formulas.
- cell: NOTEBOOK/CELL of a committed notebook; show: its text, its code (first, last: how the lines begin that are
  shown first and last) or its output.
- drawing: a figure of invlib/views/talk.py, drawn from the result files.
- picture: a file of figures/, with its alt text.
- table: a CSV file of a run, metrics.json, or a table of README.md (results, deck, examples, inversion); rows: the rows
  that are shown, {column: [values]}; columns: [column, heading, format] each; names: other words for a cell's.
"""

import base64
import html
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import nbformat
import pandas as pd
from matplotlib import mathtext
from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from invlib import paths
from invlib.series import findings, readme_tables, tables
from invlib.series.notebooks import notebooks_of
from invlib.series.slides.talk import Slide, TalkError
from invlib.views import talk as views

LONGEST_CODE = 12  # lines
README_TABLES = {
    "results": lambda folder: readme_tables.results_table(tables.load_metrics(folder)),
    "deck": lambda folder: readme_tables.deck_table(tables.load_metrics(folder)),
    "examples": readme_tables.examples_table,
    "inversion": readme_tables.inversion_table,
}


@dataclass(frozen=True)
class Part:
    """A part as HTML, and the files that it is made from."""

    html: str
    files: tuple[str, ...] = ()


def build_part(slide: Slide, part: dict, folder: Path) -> Part:
    """One part of a slide; TalkError where something that it names is missing."""
    for kind, build in KINDS.items():
        if kind in part:
            try:
                return build(slide, part, folder)
            except TalkError:
                raise
            except (LookupError, OSError, ValueError) as error:
                raise TalkError(f"{slide.name}, {kind} {str(part[kind])[:60]!r}: {error}") from error
    raise TalkError(f"{slide.name}: a part is one of {', '.join(KINDS)}, not {', '.join(part) or 'empty'}")


# ---- text


class Renderer(IPythonRenderer):
    """nbconvert's Markdown; a formula is a picture of outlines, so it needs no font and no script."""

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{formula(body, 26)}</span>'

    def inline_math(self, body: str) -> str:
        return formula(body, 19)


def markdown(text: str) -> str:
    """Markdown as HTML."""
    renderer = Renderer(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(text)


@cache
def formula(tex: str, points: float) -> str:
    """A TeX formula (what matplotlib knows of TeX) as an <img> that stands on the line of the text."""
    picture, tex = io.StringIO(), " ".join(tex.split())
    with mpl.rc_context({"mathtext.fontset": "stix", "font.size": points, "svg.hashsalt": "formula"}):
        prop = mpl.font_manager.FontProperties(size=points)
        try:
            depth = mathtext.math_to_image(f"${tex}$", picture, prop, dpi=96, format="svg")
        except ValueError as error:
            raise ValueError(f"matplotlib can't set the formula {tex!r}: {str(error).splitlines()[-1]}") from error
    style = f"vertical-align:-{depth:.0f}px"
    drawn = re.sub(r"<metadata>.*?</metadata>", "", picture.getvalue(), flags=re.DOTALL)  # it has the time of day
    return image(drawn.encode(), "svg+xml", tex, style)


def image(data: bytes, kind: str, alt: str, style: str = "") -> str:
    """An <img> that holds its picture."""
    look = f' style="{style}"' if style else ""
    source = base64.b64encode(data).decode()
    return f'<img src="data:image/{kind};base64,{source}" alt="{html.escape(alt, quote=True)}"{look}>'


def text_part(slide: Slide, part: dict, folder: Path) -> Part:
    return Part(f'<div class="text">{markdown(slide.filled(part["text"]))}</div>')


# ---- cells


def find_cell(where: str) -> nbformat.NotebookNode:
    """The cell NOTEBOOK/CELL; LookupError lists what there is."""
    notebook, _, cell_id = where.partition("/")
    books = {path.stem: path for path in notebooks_of(paths.NOTEBOOKS)}
    if notebook not in books:
        raise LookupError(f"no notebook {notebook!r}; there are {', '.join(books)}")
    cells = {cell["id"]: cell for cell in nbformat.read(books[notebook], as_version=4).cells}
    if cell_id not in cells:
        raise LookupError(f"{notebook} has no cell {cell_id!r}; it has {', '.join(cells)}")
    return cells[cell_id]


def cell_part(slide: Slide, part: dict, folder: Path) -> Part:
    cell, show = find_cell(part["cell"]), part.get("show")
    shows: dict[str, Callable] = {"text": cell_text, "code": cell_code, "output": cell_output}
    if show not in shows:
        raise ValueError(f"show is one of {', '.join(shows)}, not {show!r}")
    return Part(shows[show](cell, part), (f"notebooks/{part['cell'].partition('/')[0]}.ipynb",))


def cell_text(cell, part: dict) -> str:
    return f'<div class="text">{markdown("".join(cell.source))}</div>'


def cell_code(cell, part: dict) -> str:
    """The cell's code, or its lines from the one that begins with `first` to the one that begins with `last`."""
    lines = cell.source.splitlines()

    def place(key: str, default: int) -> int:
        if key not in part:
            return default
        found = [k for k, line in enumerate(lines) if line.strip().startswith(part[key])]
        if len(found) != 1:
            raise LookupError(f"{len(found)} lines of the cell begin with {part[key]!r}; one is needed")
        return found[0]

    shown = lines[place("first", 0) : place("last", len(lines) - 1) + 1]
    if not 0 < len(shown) <= LONGEST_CODE:
        raise ValueError(f"{len(shown)} lines of code; a slide has 1 to {LONGEST_CODE}")
    code = Highlight2HTML()("\n".join(shown))
    return f'<div class="code">{code}</div>'


def cell_output(cell, part: dict) -> str:
    """The cell's picture, table or printed text, whichever it has first in this order."""
    data = [output.get("data", {}) for output in cell.get("outputs", [])]
    for kinds in data:
        if "image/png" in kinds:
            picture = base64.b64decode(kinds["image/png"])
            return f'<div class="figure">{image(picture, "png", part["alt"])}</div>'
    for kinds in data:
        if "text/html" in kinds:
            return f'<div class="table">{kinds["text/html"]}</div>'
    printed = "".join(output.get("text", "") for output in cell.get("outputs", []))
    if not printed:
        raise LookupError("the cell has no output; publish a run first")
    return f'<div class="code"><pre>{html.escape(printed)}</pre></div>'


# ---- figures


def drawing_part(slide: Slide, part: dict, folder: Path) -> Part:
    name = part["drawing"]
    if name not in views.FIGURES:
        raise LookupError(f"invlib/views/talk.py has no such figure; it has {', '.join(views.FIGURES)}")
    figure = views.FIGURES[name]
    if missing := [file for file in figure.files if not (folder / file).is_file()]:
        raise LookupError(f"{folder.name} has no {', '.join(missing)}")
    alt = part.get("alt") or (figure.draw.__doc__ or name).strip().splitlines()[0].replace("`", "")
    shown = image(views.svg(name, folder).encode(), "svg+xml", alt)
    return Part(f'<div class="figure">{shown}{unfinished(figure.models, folder)}</div>', figure.files)


def unfinished(models: tuple[str, ...], folder: Path) -> str:
    """Which of these models their limit stopped before their plateau, as a line; empty where none was."""
    if not models:
        return ""
    rows = views.greedy_rows(folder)
    cut = [name for name in models if rows[name].get("stopped_by") in tables.LIMITS]
    whose = "every trained model here" if len(cut) == len(models) else ", ".join(cut)
    return f'<p class="legend">{whose}: {tables.MARKS[tables.TIME_MARK]}</p>' if cut else ""


def picture_part(slide: Slide, part: dict, folder: Path) -> Part:
    file = paths.FIGURES / part["picture"]
    if not file.is_file():
        raise LookupError(f"there is no {file.relative_to(paths.ROOT)}")
    shown = image(file.read_bytes(), "png", part["alt"])
    return Part(f'<div class="figure">{shown}</div>', (f"figures/{file.name}",))


# ---- tables


def table_part(slide: Slide, part: dict, folder: Path) -> Part:
    file = part["table"]
    frame = README_TABLES[file](folder) if file in README_TABLES else findings.load_table(folder, file)
    bare = frame.map(findings.unmarked)
    for column, wanted in part.get("rows", {}).items():
        if column not in frame:
            raise LookupError(f"no column {column!r}; there are {', '.join(frame)}")
        wanted = wanted if isinstance(wanted, list) else [wanted]
        places = [[k for k in bare.index if findings.matches(bare.loc[k, column], value)] for value in wanted]
        if missing := [value for value, found in zip(wanted, places, strict=True) if not found]:
            raise LookupError(f"no row with {column} {missing}; there are {bare[column].drop_duplicates().tolist()}")
        frame = frame.loc[[k for found in places for k in found]]
        bare = bare.loc[frame.index]
    shown, names = {}, part.get("names", {})
    for column, heading, *form in part.get("columns") or [[name, name] for name in frame]:
        if column not in frame:
            raise LookupError(f"no column {column!r}; there are {', '.join(frame)}")
        shown[heading] = [cell(value, form[0] if form else "", names) for value in frame[column]]
    table = pd.DataFrame(shown)
    note = legend(table)
    files = ("metrics.json",) if file in ("results", "deck") else () if file in README_TABLES else (file,)
    files = {"examples": ("examples.csv",), "inversion": ("tables/12_attacks.csv", "tables/12_texts.csv")}.get(
        file, files
    )
    style = f' style="font-size:{part["size"]}px"' if "size" in part else ""
    return Part(f'<div class="table"{style}>{markdown(readme_tables.markdown(table))}{note}</div>', files)


def cell(value, form: str, names: dict) -> str:
    """A value of a table as text; a dash for what was not measured."""
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return tables.NONE
    if not isinstance(value, str):
        return format(value, form)
    bare = findings.unmarked(value)
    marked = value.replace(bare, names.get(bare, bare)) if bare else value
    return re.sub(rf" (?=[{''.join(tables.MARKS)}])", "&nbsp;", marked)  # a mark stays with its word


def legend(table: pd.DataFrame) -> str:
    """What the marks in a table mean."""
    text = table.to_csv()
    marks = [f"{mark} {meaning}" for mark, meaning in tables.MARKS.items() if mark in text]
    return f'<p class="legend">{html.escape("; ".join(marks))}</p>' if marks else ""


KINDS: dict[str, Callable[[Slide, dict, Path], Part]] = {
    "text": text_part, "cell": cell_part, "drawing": drawing_part, "picture": picture_part, "table": table_part,
}  # fmt: skip
