"""A reconstruction to look at: each word piece that a model said, whether it is right, and how sure the model was.

    view_html(reconstruct_texts(model, ["oil rises as tariffs kick in"])[0])

Everything that comes from a text or a model is escaped before it becomes HTML.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from html import escape

import torch

from invlib.models.model import InvertibleSentenceModel

END = "[end]"
STYLES = {  # tag and style of a piece; the tag alone still tells them apart where styles are stripped
    "right": ("span", ""),
    "moved": ("em", "background:#fff3cd;color:#111;"),
    "wrong": ("mark", "background:#f4c7b0;color:#111;font-weight:600;"),
}
LEGEND = (
    "<small>plain: right &nbsp; <em style='background:#fff3cd;color:#111'>italic</em>: a right piece at another "
    "position &nbsp; <mark style='background:#f4c7b0;color:#111;font-weight:600'>marked</mark>: wrong &nbsp; "
    "the darker the line below, the more probable the model held the piece (hover for the number)</small>"
)


@dataclass(frozen=True)
class Reconstruction:
    """What was said of one sentence, piece by piece, the end token included.

    marks: 'right' (same piece at the same position: what generated accuracy counts), 'moved' (a piece of the sentence
    in its order, at another position) or 'wrong'. probabilities: the model's for each piece, given the vector and the
    pieces before it; None where the text came from somewhere else.
    """

    text: str
    decoded: str
    pieces: tuple[str, ...]
    marks: tuple[str, ...]
    probabilities: tuple[float, ...] | None = None

    @property
    def n_right(self) -> int:
        return self.marks.count("right")


def reconstruct_texts(
    model: InvertibleSentenceModel, texts: Sequence[str], num_beams: int = 1, **search
) -> list[Reconstruction]:
    """Encode sentences, decode their vectors, and compare; ValueError for an empty or over-long sentence.

    `search` goes to `generate_ids`: do_sample, temperature, top_p, ...
    """
    vectors = model.encode(texts)
    said = model.generate_ids(vectors, num_beams=num_beams, **search)
    sure = token_probabilities(model, vectors, said)
    tokenizer = model.encoder.tokenizer
    return [
        compare(tokenizer, text, ids, decoded, probabilities)
        for text, ids, decoded, probabilities in zip(texts, said, model.text(said), sure, strict=True)
    ]


def compare_texts(tokenizer, text: str, decoded: str) -> Reconstruction:
    """The same comparison for a decoded text that came from somewhere else, as the deck's did."""
    return compare(tokenizer, text, tokenizer(decoded)["input_ids"][1:], decoded)


def compare(tokenizer, text: str, ids: Sequence[int], decoded: str, probabilities=None) -> Reconstruction:
    """The said ids ([CLS] left out, the end token kept where it was said) against the sentence's own."""
    reference = tokenizer(text)["input_ids"][1:]
    marks = ["wrong"] * len(ids)
    for block in SequenceMatcher(None, reference, ids, autojunk=False).get_matching_blocks():
        for j in range(block.b, block.b + block.size):
            marks[j] = "moved"
    for j, (own, said) in enumerate(zip(reference, ids, strict=False)):
        if own == said and own != tokenizer.unk_token_id:  # nobody knows which word an [UNK] stands for
            marks[j] = "right"
    names = zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)
    pieces = [END if i == tokenizer.sep_token_id else name for i, name in names]
    return Reconstruction(text, decoded, tuple(pieces), tuple(marks), probabilities)


@torch.no_grad()
def token_probabilities(
    model: InvertibleSentenceModel, vectors, said: Sequence[Sequence[int]]
) -> list[tuple[float, ...]]:
    """The probability of each said piece given the vector and the pieces said before it: one tuple a sentence.

    vectors (N, D); said: N lists of ids as `generate_ids` gives them.
    """
    c = model.config
    longest = 1 + max(map(len, said))
    input_ids = torch.full((len(said), longest), c.pad_token_id)
    attention_mask = torch.zeros_like(input_ids)
    for i, ids in enumerate(said):
        input_ids[i, : len(ids) + 1] = torch.tensor([c.bos_token_id, *ids])
        attention_mask[i, : len(ids) + 1] = 1
    batch = {"input_ids": input_ids.to(model.device), "attention_mask": attention_mask.to(model.device)}
    output = model(**batch, sentence_embedding=model.check_vectors(vectors))
    probabilities = model.logits(output["states"]).float().softmax(-1)  # (all said pieces, V)
    chosen = probabilities.gather(1, output["labels"][:, None]).flatten().cpu()
    return [tuple(part.tolist()) for part in chosen.split([len(ids) for ids in said])]


def view_html(said: Reconstruction) -> str:
    """The decoded pieces as one line of HTML: wrong ones marked, each probability as title and as line below."""
    spans = []
    for k, (piece, mark) in enumerate(zip(said.pieces, said.marks, strict=True)):
        tag, style = STYLES[mark]
        title = mark
        if said.probabilities is not None:
            p = said.probabilities[k]
            title += f", probability {p:.2f}"
            style += f"border-bottom:3px solid rgba(0,114,178,{p:.2f});"
        word, glued = (piece[2:], True) if piece.startswith("##") else (piece, False)
        space = "" if glued or k == 0 else " "
        spans.append(f'{space}<{tag} style="{style}" title="{escape(title)}">{escape(word)}</{tag}>')
    return "".join(spans) or "<small>(nothing was said)</small>"


def views_table(rows: Sequence[Mapping[str, "str | Reconstruction"]]) -> str:
    """Rows of {column: text or Reconstruction} as an HTML table with the legend below; a text is escaped."""
    if not rows:
        raise ValueError("no rows to show; give at least one")
    cell = "style='text-align:left;vertical-align:top'"
    head = "".join(f"<th {cell}>{escape(name)}</th>" for name in rows[0])
    body = ""
    for row in rows:
        shown = [view_html(value) if isinstance(value, Reconstruction) else escape(value) for value in row.values()]
        body += "<tr>" + "".join(f"<td {cell}>{html}</td>" for html in shown) + "</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{LEGEND}"


def reconstruction_box(models: Mapping[str, InvertibleSentenceModel], text: str, num_beams: int = 5):
    """An ipywidgets box: type a sentence, pick a model and a search, read what comes back.

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
            said = reconstruct_texts(models[model.value], [sentence.value], search.value)[0]
        except ValueError as error:
            shown.value = f"<b>not decoded:</b> {escape(str(error))}"
            return
        count = f"{said.n_right} of {len(said.pieces)} pieces said are right at their position"
        shown.value = f"<p>{escape(sentence.value)}</p><p>{view_html(said)}</p><p>{count}</p>{LEGEND}"

    for control in (sentence, model, search):
        control.observe(decode, names="value")
    button.on_click(decode)
    decode()
    return widgets.VBox([sentence, widgets.HBox([model, search, button]), shown])
