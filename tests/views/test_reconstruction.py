"""A reconstruction as HTML: what is marked, what is shaded, and that nothing typed becomes markup or a formula."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from invlib.encoders.frozen import load_encoder
from invlib.measures.text import generated_matches
from invlib.views.reconstruction import (
    Reconstruction,
    compare,
    compare_texts,
    reconstruct_texts,
    reconstruction_box,
    view_html,
    views_table,
)

TEXTS = ["oil falls on tariffs", "wall street rises after weak data"]


@pytest.fixture
def models(tiny_model):
    return {row: tiny_model(row) for row in ("att_pool", "encoder_only")}


def test_marks_right_moved_and_wrong():
    """One word dropped: what follows is the sentence's own, but no longer in its place; the end token counts."""
    found = compare_texts(load_encoder(), "oil falls as tariffs rise", "oil falls tariffs jump")
    assert found.pieces == ("oil", "falls", "tariffs", "jump", "[end]")
    assert found.marks == ("right", "right", "moved", "wrong", "moved")
    assert found.n_right == 2


def test_an_unknown_piece_is_never_right():
    found = compare_texts(load_encoder(), "oil ☃ falls", "oil ☃ falls")
    assert found.pieces[1] == "[UNK]"
    assert found.marks == ("right", "moved", "right", "right")


def test_marks_agree_with_generated_accuracy(models):
    """The pieces marked right are those that the metric counts."""
    for model in models.values():
        found = reconstruct_texts(model, TEXTS)
        ids = model.generate_ids(model.encode(TEXTS))
        full = [model.encoder.tokenizer(text)["input_ids"] for text in TEXTS]
        assert [s.n_right for s in found] == generated_matches(ids, full, model.config)["right"].tolist()


def test_probabilities_are_the_models_own(models):
    for model in models.values():
        found, z = reconstruct_texts(model, TEXTS), model.encode(TEXTS)
        expected = model.token_probabilities(z, model.generate_ids(z))
        assert [len(r.pieces) for r in found] == [len(p) for p in expected]
        for r, probabilities in zip(found, expected, strict=True):
            np.testing.assert_allclose(r.probabilities, probabilities, rtol=1e-6)


def shown(pieces, marks, probabilities=None):
    return Reconstruction("x", "y", pieces, pieces, marks, probabilities)


def test_html_marks_shades_and_glues():
    html = view_html(shown((" tar", "iff", " up"), ("right", "moved", "wrong"), (0.5, 0.25, 1.0)))
    assert ">tar</span><em" in html and ">iff</em> <mark" in html
    assert 'title="wrong, probability 1.00"' in html and "rgba(0,114,178,0.25)" in html
    assert "empty text" in view_html(shown((), ()))


class ByteLevel:
    """An encoder whose tokenizer marks the pieces that start a word, not those that continue one."""

    eos_token_id, unk_token_id = 9, 8
    words = {1: " oil", 2: " tar", 3: "iff", 9: ""}

    def __init__(self):
        self.tokenizer = self

    def __call__(self, text):
        return {"input_ids": [0, 1, 2, 3, 9]}

    def convert_ids_to_tokens(self, ids):
        return [self.words[i].replace(" ", "\u0120") for i in ids]

    def piece_text(self, ids):
        return [self.words[i] for i in ids]


def test_pieces_are_glued_to_words_as_the_encoder_spells_them():
    for encoder in (load_encoder(), ByteLevel()):
        found = compare(encoder, "oil tariff", encoder.tokenizer("oil tariff")["input_ids"][1:], "oil tariff")
        assert re.sub("<[^>]*>", "", view_html(found)) == "oil tariff [end]" and set(found.marks) == {"right"}
    assert found.pieces == ("\u0120oil", "\u0120tar", "iff", "[end]")
    long = compare_texts(load_encoder(), "x", "antidisestablishmentarianism falls")
    assert any(piece.startswith("##") for piece in long.pieces)
    assert re.sub("<[^>]*>", "", view_html(long)) == "antidisestablishmentarianism falls [end]"


def test_everything_is_escaped():
    evil = "<script>alert('x')</script>"
    found = Reconstruction(evil, evil, (evil, evil), (f" {evil}", evil), ("right", "wrong"), (0.5, 0.5))
    for html in (view_html(found), views_table([{evil: evil, "decoded": found}])):
        assert "<script" not in html and "&lt;script&gt;" in html


class Typeset(HTMLParser):
    """The text that MathJax reads: outside of the elements that it is told to leave alone."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        classes = (dict(attrs).get("class") or "").split()
        self.open.append({"tex2jax_ignore", "mathjax_ignore"} <= set(classes))

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        self.text += "" if any(self.open) else data


def test_dollars_are_no_formula(models):
    given = "from $5 million to $7 million"
    assert "$" in Typeset(f"<p>{given}</p>").text
    found = compare_texts(load_encoder(), given, given)
    box = reconstruction_box(models, given)
    for html in (view_html(found), views_table([{"$in$": given, "decoded": found}]), parts(box)[-1].value):
        assert "$" in html and "$" not in Typeset(html).text
    parts(box)[0].value = "$ oil $ " * 40  # too long: the error quotes it
    assert "$" in parts(box)[-1].value and "$" not in Typeset(parts(box)[-1].value).text


def test_views_table_needs_rows():
    with pytest.raises(ValueError, match="no rows"):
        views_table([])


def test_the_legend_names_lines_where_there_are_some():
    without = compare_texts(load_encoder(), "oil falls", "oil rises")
    with_lines = Reconstruction("oil", "oil", ("oil",), ("oil",), ("right",), (0.5,))
    for found, lines in ((without, False), (with_lines, True)):
        html = views_table([{"input": "oil", "decoded": found}])
        assert "marked</mark>: wrong" in html and ("the darker the line" in html) == lines == ("border-bottom" in html)


def parts(box):
    sentence, row, shown = box.children
    return sentence, *row.children, shown


def test_box_decodes_what_is_typed_and_escapes_it(models):
    box = reconstruction_box(models, TEXTS[0], num_beams=2)
    sentence, model, search, button, shown = parts(box)
    first = shown.value
    assert TEXTS[0] in first and "generated pieces are right" in first
    sentence.value = "oil <b>falls</b> & <script>"
    assert "&lt;script&gt;" in shown.value and "<script" not in shown.value and "<b>falls" not in shown.value
    sentence.value = TEXTS[0]
    assert shown.value == first
    model.value, search.value = "encoder_only", 2
    chosen = shown.value
    button.click()
    assert shown.value == chosen
    assert view_html(reconstruct_texts(models["encoder_only"], TEXTS[:1], 2)[0]) in chosen


@pytest.mark.parametrize(("typed", "words"), [("", "is empty"), ("oil " * 60, "at most 16"), ("\u200b<i>", "")])
def test_box_shows_errors_as_text(models, typed, words):
    sentence, *_, shown = parts(reconstruction_box(models, TEXTS[0]))
    sentence.value = typed
    assert words in shown.value and "<i>" not in shown.value
    assert ("not decoded" in shown.value) == bool(words)


def test_box_uses_no_output_widget(models):
    """`Output` and `interact` hang a headless run now and then."""
    import ipywidgets

    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    assert not any(isinstance(w, ipywidgets.Output) for w in walk(reconstruction_box(models, TEXTS[0])))
