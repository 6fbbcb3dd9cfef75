"""What the boxes of the lab are made of: their controls, and an answer that shows an error in words."""

from collections.abc import Callable, Sequence

import ipywidgets as widgets
import numpy as np

from invlib.models.codec import Codec, split
from invlib.probes.latent import Space
from invlib.views.lab_parts import error_html

AT_ONCE = 32  # sentences that are encoded between two steps of a progress bar
WIDE = widgets.Layout(width="95%")
NAMED = {"description_width": "110px"}


def text_field(name: str, value: str = "") -> widgets.Text:
    return widgets.Text(value=value, description=name, layout=WIDE, style=NAMED, continuous_update=False)


def lines_field(name: str, value: str) -> widgets.Textarea:
    return widgets.Textarea(
        value=value, description=name, rows=5, layout=WIDE, style=NAMED, continuous_update=False
    )  # fmt: skip


def slider(name: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        value=value, min=low, max=high, step=step, description=name, layout=WIDE, style=NAMED, continuous_update=False
    )


def choice(spaces: Sequence[Space]) -> widgets.Dropdown:
    return widgets.Dropdown(options=[(s.name, s) for s in spaces], description="vector", style=NAMED)


def answering(
    work: Callable[[], str], *controls: widgets.Widget, above: Sequence[widgets.Widget] = (), below: Sequence = ()
) -> widgets.VBox:
    """A box that shows what `work` returns, now and whenever a control changes; what it finds wrong, in words.

    above, below: what stands there in the box; above are the controls, where nothing else is given.
    """
    shown = widgets.HTML(layout=WIDE)

    def answer(_=None) -> None:
        try:
            shown.value = work()
        except (ValueError, OSError) as error:
            shown.value = error_html(error)

    for control in controls:
        control.observe(answer, names="value")
    answer()
    return widgets.VBox([*(above or controls), shown, *below])


def sentences_of(text: str) -> list[str]:
    """The lines of a text that hold one."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def encode_in_parts(model: Codec, texts: Sequence[str], bar: widgets.IntProgress) -> np.ndarray:
    """`encode` with a progress bar, (N, D)."""
    bar.max, bar.value, parts = max(len(texts), 1), 0, []
    for part in split(list(texts), AT_ONCE):
        parts.append(model.encode(part))
        bar.value += len(part)
    return np.concatenate(parts) if parts else model.encode([])
