"""What the answers of the lab are made of: tables and lines of HTML, and figures in the workbook's style."""

import io
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invlib.views.plots import STYLE
from invlib.views.reconstruction import NO_FORMULA, Reconstruction, legend_of, view_html

Cell = str | Reconstruction


def table_html(rows: Sequence[Mapping[str, Cell]], marked: Sequence[int] = (), legend: bool = False) -> str:
    """Rows of {column: text or Reconstruction} as an HTML table; rows `marked` by their number stand out."""
    cell = "style='text-align:left;vertical-align:top;padding:2px 8px;line-height:1.4'"
    head = "".join(f"<th {cell}>{escape(name)}</th>" for name in rows[0]) if rows else ""
    body = ""
    for k, row in enumerate(rows):
        look = " style='background:#fff3cd;color:#111;font-weight:600'" if k in marked else ""
        shown = [view_html(value) if isinstance(value, Reconstruction) else escape(value) for value in row.values()]
        body += f"<tr{look}>" + "".join(f"<td {cell}>{html}</td>" for html in shown) + "</tr>"
    table = f"<table {NO_FORMULA}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return table + (legend_of(rows) if legend else "")


def line_of_text(text: str) -> str:
    """A sentence about what is shown, as a paragraph."""
    return f"<p {NO_FORMULA}>{escape(text)}</p>"


def error_html(error: Exception) -> str:
    """What was wrong with the input, in words."""
    return f"<b>no answer:</b> <span {NO_FORMULA}>{escape(str(error))}</span>"


def png(fig: Figure) -> bytes:
    """A figure as an Image widget shows it."""
    picture = io.BytesIO()
    with plt.style.context(STYLE):
        fig.savefig(picture, format="png")
    return picture.getvalue()


def figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure in the workbook's style that pyplot does not keep, and its axes side by side."""
    with plt.style.context(STYLE):
        fig, axes = plt.subplots(1, columns, figsize=(width, height), squeeze=False)
    plt.close(fig)  # a notebook shows it where it is displayed, and not once more at the end of the cell
    return fig, list(axes[0])
