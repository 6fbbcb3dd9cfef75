"""The tools of the lab as ipywidgets: a control that changes sets the value of an HTML or Image widget.

`Output` and `interact` are left out: they can hang a headless run. What is wrong with the input is told in words. What
takes longer than about a second shows its progress.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd

from invlib import paths
from invlib.data.files import read_file
from invlib.data.headlines import usable
from invlib.inversion.invert import Chain
from invlib.measures.changed_vectors import with_noise
from invlib.measures.channel import db_of_noise
from invlib.models.codec import Codec, fitting, split
from invlib.models.model import InvertibleSentenceModel
from invlib.models.text_code import TextCode
from invlib.probes.latent import Embedded, Line, Space, decode_along, direction, interpolate, vector_of
from invlib.probes.race import Attempt, race
from invlib.views import lab
from invlib.views.lab_controls import (
    AT_ONCE,
    NAMED,
    WIDE,
    answering,
    choice,
    encode_in_parts,
    lines_field,
    sentences_of,
    slider,
    text_field,
)
from invlib.views.lab_parts import error_html, line_of_text, png
from invlib.views.reconstruction import Cell, compare_texts, table_html

LARGEST = 2000  # texts of an own file that are encoded
BITS = (32, 8, 6, 4, 3, 2)  # of each number of a vector; 32: as it is
WAYS = ("between the two sentences", "noise on the first")


def sentence_box(spaces: Sequence[Space], text: str) -> widgets.VBox:
    """Type a sentence: its vector, what is decoded, and each piece's probability."""
    sentence, space = text_field("sentence", text), choice(spaces)
    image = widgets.Image(format="png", width=1100)

    def work() -> str:
        html = lab.sentence_html(space.value, sentence.value)
        image.value = png(lab.vector_figure(space.value, sentence.value))
        return html

    return answering(work, sentence, space, below=[image])


def line_box(spaces: Sequence[Space], a: str, b: str, steps: int = 21) -> widgets.VBox:
    """Two sentences and a slider along the line between their vectors; all its texts are decoded at once."""
    first, second, space = text_field("first", a), text_field("second", b), choice(spaces)
    step = widgets.IntSlider(value=steps // 2, max=steps - 1, description="step", layout=WIDE, style=NAMED)
    image = widgets.Image(format="png", width=650)

    @lru_cache(maxsize=8)
    def line(name: str, a: str, b: str) -> Line:
        found = interpolate(space.value.model, a, b, steps)
        image.value = png(lab.line_figure({name: found}))
        return found

    def work() -> str:
        found = line(space.value.name, first.value, second.value)
        return lab.step_html(found, step.value, space.value)

    return answering(work, first, second, space, step, below=[image])


def noise_box(spaces: Sequence[Space], text: str, code: TextCode | None = None) -> widgets.VBox:
    """A sentence, noise and bits a number: eight samples around its vector; with a `code`, the sentence's own bits."""
    sentence, space = text_field("sentence", text), choice(spaces)
    level, draw = slider("SNR (dB)", 8.0, -6, 30, 1), widgets.BoundedIntText(description="draw", style=NAMED)

    bits = widgets.SelectionSlider(options=BITS, value=BITS[0], description="bits a number", style=NAMED)

    def work() -> str:
        return lab.samples_html(space.value, sentence.value, level.value, draw.value, code, bits.value)

    return answering(work, sentence, space, level, bits, draw)


def exchange_box(space: Space, a: str, b: str) -> widgets.VBox:
    """Two sentences: each one's prefix with each one's code."""
    first, second = text_field("first", a), text_field("second", b)
    return answering(lambda: lab.exchange_html(space, first.value, second.value), first, second)


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Lines "before | after" as pairs; ValueError names the first line that is none."""
    pairs = []
    for line in sentences_of(text):
        before, bar, after = (part.strip() for part in line.partition("|"))
        if not (before and bar and after):
            raise ValueError(f"{line!r} is no pair; write: before | after")
        pairs.append((before, after))
    return pairs


def direction_box(spaces: Sequence[Space], text: str, pairs: Sequence[tuple[str, str]]) -> widgets.VBox:
    """A sentence, pairs that make a direction, and the strength with which it is added."""
    sentence = text_field("sentence", text)
    examples = lines_field("before | after", "\n".join(" | ".join(pair) for pair in pairs))
    strength = slider("strength", 1.0, -3, 3, 0.25)

    @lru_cache(maxsize=8)
    def directions(text: str) -> list[np.ndarray]:
        return [direction(s.model, pairs_of(text)) for s in spaces]

    def work() -> str:
        found = zip(spaces, directions(examples.value), strict=True)
        rows: list[dict[str, Cell]] = []
        for s, along in found:
            before, after = decode_along(s.model, sentence.value, along, [0, strength.value])
            moved = compare_texts(s.model.encoder, before, after)
            rows.append({"vector": s.name, "strength 0": before, f"strength {strength.value:g}": moved})
        return table_html(rows, legend=True)

    return answering(work, sentence, examples, strength)


def neighbours_box(space: Space, text: str, k: int = 5) -> widgets.VBox:
    """A sentence and its neighbours among the headlines at hand or the texts of an own file; a click goes to one."""
    sentence, file, column = text_field("sentence", text), text_field("own file"), text_field("its column")
    bar = widgets.IntProgress(description="encoding", style=NAMED)
    others = widgets.Select(rows=k, description="go to", layout=WIDE, style=NAMED)

    @lru_cache(maxsize=4)
    def own(path: Path, column: str, changed: int) -> Space:  # changed: when, so that an edited file is read anew
        every = list(dict.fromkeys(row[0] for row in usable(read_file(path, column or None))))
        texts = fitting(space.model, every[:LARGEST])
        if not texts:
            raise ValueError(f"{path} has no text that fits the model: {len(every)} different ones were read")
        label = f"{len(texts)} of {len(every)} different texts in {path.name}"
        return Space(space.name, space.model, Embedded(tuple(texts), encode_in_parts(space.model, texts, bar), label))

    def searched() -> Space:
        name = file.value.strip()
        if not name:
            return space
        path = Path(name).expanduser()
        if not path.is_file():
            raise ValueError(f"{name!r} is no file, seen from {Path.cwd()}; give the path of a CSV, TSV or text file")
        return own(path, column.value.strip(), path.stat().st_mtime_ns)

    def work() -> str:
        where = searched()
        found = where.headlines.nearest(space.model.encode([sentence.value])[0], k)
        others.index, others.options = None, [text for text, _ in found]
        others.index = None  # none is chosen before somebody clicks
        return lab.neighbours_html(where, sentence.value, k)

    def go(change) -> None:
        if change.new is not None and change.new != sentence.value:
            sentence.value = change.new

    others.observe(go, names="value")
    return answering(work, sentence, file, column, above=[sentence, file, column, bar], below=[others])


def beside_box(spaces: Sequence[Space], a: str, b: str) -> widgets.VBox:
    """Several kinds of vector under one slider: the share of the way to another sentence, or noise."""
    first, second, way = text_field("first", a), text_field("second", b), widgets.ToggleButtons(options=WAYS)
    amount = slider("amount", 0.5, 0, 1, 0.05)

    def work() -> str:
        texts, share = [], amount.value
        for space in spaces:
            z = vector_of(space.model, first.value)
            if way.value == WAYS[0]:
                z = (1 - share) * z + share * vector_of(space.model, second.value)
            else:
                z = with_noise(z[None], space.headlines.spread, share)[0]
            texts += space.model.decode(z[None])
        caption = f"{share:.0%} of the way from the first vector to the second"
        if way.value == WAYS[1]:
            caption = f"noise of {share:.2f} standard deviations" + (f", {db_of_noise(share):.0f} dB" if share else "")
        return line_of_text(caption) + lab.beside_html(spaces, texts)

    return answering(work, first, second, way, amount)


def models_box(folders: Mapping[str, Path], text: str) -> widgets.VBox:
    """Two of the saved models, of any run, side by side on one sentence. folders: of the models by name, at least one.

    A model is loaded when it is chosen first.
    """
    names = list(folders)
    pick = [
        widgets.Dropdown(options=names, value=names[min(k, len(names) - 1)], description=f"model {k + 1}", style=NAMED)
        for k in range(2)
    ]
    sentence = text_field("sentence", text)
    loaded = lru_cache(maxsize=4)(InvertibleSentenceModel.from_pretrained)

    def work() -> str:
        return lab.models_html({menu.value: loaded(folders[menu.value]) for menu in pick}, sentence.value)

    return answering(work, *pick, sentence)


def race_box(model, text: str, chain: Chain | None = None) -> widgets.VBox:
    """Type a sentence and start: greedy, re-ranking and corrector on the encoder's own vector of it, round by round."""
    chain = chain or Chain()
    sentence, start = text_field("sentence", text), widgets.Button(description="start")
    bar, shown = widgets.IntProgress(max=chain.rounds + 2, style=NAMED), widgets.HTML(layout=WIDE)

    def run(_=None) -> None:
        attempts: list[Attempt] = []
        bar.value, start.disabled, shown.value = 0, True, ""
        try:
            for attempt in race(model, sentence.value, chain):
                attempts.append(attempt)
                bar.value += 1
                shown.value = lab.race_html(attempts, model.encoder, sentence.value)
            bar.value = bar.max
        except ValueError as error:
            shown.value = error_html(error)
        finally:
            start.disabled = False

    start.on_click(run)
    return widgets.VBox([sentence, widgets.HBox([start, bar]), shown])


def sentences_box(model: Codec, texts: Sequence[str], file: str | Path) -> widgets.VBox:
    """Own sentences, one a line; the button encodes them and saves a CSV with text, decoded text and vector."""
    typed, name = lines_field("sentences", "\n".join(texts)), text_field("file", str(file))
    save, bar = widgets.Button(description="save"), widgets.IntProgress(style=NAMED)
    shown = widgets.HTML(layout=WIDE)

    def run(_=None) -> None:
        try:
            lines, path = sentences_of(typed.value), new_csv(name.value.strip())
            model.encoder.input_ids(lines, model.config.max_length)  # all of them fit, before the first is encoded
            bar.max, bar.value, parts = max(len(lines), 1), 0, []
            for part in split(lines, AT_ONCE) or [[]]:
                parts.append(lab.sentences_table(model, part))
                bar.value += len(part)
            table = pd.concat(parts, ignore_index=True)
            paths.write_csv(path, table)
        except (ValueError, OSError) as error:
            shown.value = error_html(error)
            return
        saved = f"saved {len(table)} sentences with their vectors: {path}"
        shown.value = line_of_text(saved) + lab.sentences_html(table)

    save.on_click(run)
    return widgets.VBox([typed, name, widgets.HBox([save, bar]), shown])


def new_csv(name: str) -> Path:
    """The path of a CSV file that may be written: a new one, or one that was saved here. ValueError for any other."""
    path = Path(name).expanduser()
    if path.suffix.lower() != ".csv":
        raise ValueError(f"{name!r} is no CSV file; give a name that ends in .csv")
    if path.exists() and not path.read_text(encoding="utf-8").startswith("text,decoded,exact"):
        raise ValueError(f"{name!r} exists and holds something else; give another name")
    return path
