"""What the answers of the lab are made of: lines of HTML, and figures in the workbook's style."""

import io
from html import escape

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invlib.views.plots import STYLE
from invlib.views.reconstruction import NO_FORMULA


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
