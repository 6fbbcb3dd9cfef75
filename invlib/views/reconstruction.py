"""A reconstruction to look at: each generated word piece, whether it is right, and how probable it was.

    view_html(reconstruct_texts(model, ["oil rises as tariffs kick in"])[0])

Everything that comes from a text or a model is escaped before it becomes HTML, and dollars are no formula.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from html import escape

from invlib.encoders.frozen import FrozenEncoder
from invlib.models.codec import Codec

END = "[end]"
NO_FORMULA = 'class="tex2jax_ignore mathjax_ignore"'  # what MathJax 2 (nbconvert) and 3 (JupyterLab) leave alone
STYLES = {  # tag and style of a piece; the tag alone still tells them apart where styles are stripped
    "right": ("span", ""),
    "moved": ("em", "background:#fff3cd;color:#111;"),
    "wrong": ("mark", "background:#f4c7b0;color:#111;font-weight:600;"),
}
LEGEND = (
    "<small>plain: right &nbsp; <em style='background:#fff3cd;color:#111'>italic</em>: a right piece at another "
    "position &nbsp; <mark style='background:#f4c7b0;color:#111;font-weight:600'>marked</mark>: wrong</small>"
)
LEGEND_OF_LINES = "<small> &nbsp; the darker the line below, the more probable the piece (hover for the number)</small>"


@dataclass(frozen=True)
class Reconstruction:
    """What was decoded of one sentence, piece by piece, the end token included.

    pieces: as the tokenizer writes them. shown: as text, with a space in front where a word starts. marks: 'right'
    (same piece at the same position: what generated accuracy counts), 'moved' (a piece of the sentence in its order, at
    another position) or 'wrong'. probabilities: the model's for each piece, given the vector and the pieces before it;
    None where the text came from somewhere else.
    """

    text: str
    decoded: str
    pieces: tuple[str, ...]
    shown: tuple[str, ...]
    marks: tuple[str, ...]
    probabilities: tuple[float, ...] | None = None

    @property
    def n_right(self) -> int:
        return self.marks.count("right")


Cell = str | Reconstruction


def reconstruct_texts(model: Codec, texts: Sequence[str], num_beams: int = 1, **search) -> list[Reconstruction]:
    """Encode sentences, decode their vectors, and compare; ValueError for an empty or over-long sentence.

    `search` goes to `generate_ids`: do_sample, temperature, top_p, ...
    """
    vectors = model.encode(texts)
    generated = model.generate_ids(vectors, num_beams=num_beams, **search)
    parts = zip(texts, generated, model.text(generated), model.token_probabilities(vectors, generated), strict=True)
    return [compare(model.encoder, *part) for part in parts]


def compare_texts(encoder: FrozenEncoder, text: str, decoded: str) -> Reconstruction:
    """The same comparison for a decoded text that came from somewhere else, as the deck's did."""
    return compare(encoder, text, encoder.tokenizer(decoded)["input_ids"][1:], decoded)


def compare(
    encoder: FrozenEncoder, text: str, ids: Sequence[int], decoded: str, probabilities: tuple[float, ...] | None = None
) -> Reconstruction:
    """Generated ids ([CLS] left out, the end token kept where it was generated) against the sentence's own."""
    reference = encoder.tokenizer(text)["input_ids"][1:]
    marks = ["wrong"] * len(ids)
    for block in SequenceMatcher(None, reference, ids, autojunk=False).get_matching_blocks():
        marks[block.b : block.b + block.size] = ["moved"] * block.size
    for k, (own, generated) in enumerate(zip(reference, ids, strict=False)):
        if own == generated != encoder.unk_token_id:  # nobody knows which word an [UNK] stands for
            marks[k] = "right"
    end, names = encoder.eos_token_id, encoder.tokenizer.convert_ids_to_tokens(list(ids))
    pieces = tuple(END if i == end else name for i, name in zip(ids, names, strict=True))
    shown = tuple(f" {END}" if i == end else word for i, word in zip(ids, encoder.piece_text(ids), strict=True))
    return Reconstruction(text, decoded, pieces, shown, tuple(marks), probabilities)


def view_html(reconstruction: Reconstruction) -> str:
    """The decoded pieces as one line of HTML: wrong ones marked, each probability as title and as line below."""
    spans, probabilities = "", reconstruction.probabilities
    for k, (piece, mark) in enumerate(zip(reconstruction.shown, reconstruction.marks, strict=True)):
        (tag, style), title, word = STYLES[mark], mark, piece.removeprefix(" ")
        if probabilities is not None:
            title += f", probability {probabilities[k]:.2f}"
            style += f"border-bottom:3px solid rgba(0,114,178,{probabilities[k]:.2f});"
        space = " " if k and word != piece else ""
        spans += f'{space}<{tag} style="{style}" title="{escape(title)}">{escape(word)}</{tag}>'
    return f"<span {NO_FORMULA}>{spans or '<small>(an empty text)</small>'}</span>"


def table_html(
    rows: Sequence[Mapping[str, Cell]], marked: Sequence[int] = (), legend: bool = False,
    look: str = ";padding:2px 8px;line-height:1.4",
) -> str:  # fmt: skip
    """Rows of {column: text or Reconstruction} as an HTML table; rows `marked` by their number stand out.

    A text is escaped. legend: what the marks mean, and the lines where a reconstruction has probabilities.
    """
    cell = f"style='text-align:left;vertical-align:top{look}'"
    head = "".join(f"<th {cell}>{escape(name)}</th>" for name in rows[0]) if rows else ""
    body = ""
    for k, row in enumerate(rows):
        stands_out = " style='background:#fff3cd;color:#111;font-weight:600'" if k in marked else ""
        shown = [view_html(value) if isinstance(value, Reconstruction) else escape(value) for value in row.values()]
        body += f"<tr{stands_out}>" + "".join(f"<td {cell}>{html}</td>" for html in shown) + "</tr>"
    table = f"<table {NO_FORMULA}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    lines = any(getattr(value, "probabilities", None) is not None for row in rows for value in row.values())
    return table + (LEGEND + LEGEND_OF_LINES * lines) * legend


def views_table(rows: Sequence[Mapping[str, Cell]]) -> str:
    """`table_html` of a notebook, with the legend below."""
    if not rows:
        raise ValueError("no rows to show; give at least one")
    return table_html(rows, legend=True, look="")


def reconstruction_box(models: Mapping[str, Codec], text: str, num_beams: int = 5):
    """An ipywidgets box: type a sentence, pick a model and a search, read what is decoded.

    Errors of the model (an empty or over-long sentence) are shown as text. Only the value of an HTML widget changes:
    `Output` and `interact` can hang a headless run.
    """
    import ipywidgets as widgets

    wide = widgets.Layout(width="95%")
    sentence = widgets.Text(value=text, description="sentence", layout=wide, continuous_update=False)
    model = widgets.Dropdown(options=list(models), description="model")
    searches = [("greedy", 1), (f"beam {num_beams}", num_beams)]
    search = widgets.Dropdown(options=searches, description="search")
    button = widgets.Button(description="decode")
    shown = widgets.HTML(layout=wide)

    def decode(_=None) -> None:
        try:
            found = reconstruct_texts(models[model.value], [sentence.value], search.value)[0]
        except ValueError as error:
            shown.value = f"<b>not decoded:</b> <span {NO_FORMULA}>{escape(str(error))}</span>"
            return
        count = f"{found.n_right} of {len(found.pieces)} generated pieces are right at their position"
        given = f"<p {NO_FORMULA}>{escape(sentence.value)}</p>"
        shown.value = f"{given}<p>{view_html(found)}</p><p>{count}</p>{LEGEND}{LEGEND_OF_LINES}"

    for control in (sentence, model, search):
        control.observe(decode, names="value")
    button.on_click(decode)
    decode()
    return widgets.VBox([sentence, widgets.HBox([model, search, button]), shown])
