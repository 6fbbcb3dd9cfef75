"""A reconstruction as HTML: what is marked, what is shaded, and that nothing typed becomes markup."""

import numpy as np
import pytest

from invlib.encoders.frozen import load_encoder
from invlib.measures.text import generated_matches
from invlib.models.model import build_model
from invlib.settings import load_preset, select_row
from invlib.views.reconstruction import (
    Reconstruction,
    compare_texts,
    reconstruct_texts,
    reconstruction_box,
    token_probabilities,
    view_html,
    views_table,
)

TEXTS = ["oil falls as tariffs kick in", "wall street rises on economic data, easing trade worries"]


@pytest.fixture(scope="module")
def models():
    settings = load_preset("smoke")
    names = ("att_pool_96", "encoder_only_96")
    return {name: build_model(select_row(settings, name), load_encoder()).eval() for name in names}


def test_marks_right_moved_and_wrong():
    """One word dropped: what follows is the sentence's own, but no longer in its place; the end token counts."""
    said = compare_texts(load_encoder().tokenizer, "oil falls as tariffs rise", "oil falls tariffs jump")
    assert said.pieces == ("oil", "falls", "tariffs", "jump", "[end]")
    assert said.marks == ("right", "right", "moved", "wrong", "moved")
    assert said.n_right == 2


def test_an_unknown_piece_is_never_right():
    said = compare_texts(load_encoder().tokenizer, "oil ☃ falls", "oil ☃ falls")
    assert said.pieces[1] == "[UNK]"
    assert said.marks == ("right", "moved", "right", "right")


def test_marks_agree_with_generated_accuracy(models):
    """The pieces marked right are those that the metric counts."""
    for model in models.values():
        said = reconstruct_texts(model, TEXTS)
        ids = model.generate_ids(model.encode(TEXTS))
        full = [model.encoder.tokenizer(text)["input_ids"] for text in TEXTS]
        assert [s.n_right for s in said] == generated_matches(ids, full, model.config)["right"].tolist()


def test_probabilities_are_the_decoders_own(models):
    """Greedy search says the most probable piece: its probability is the largest of the step, alone or in a batch."""
    for model in models.values():
        z = model.encode(TEXTS)
        said = model.generate_ids(z)
        together = token_probabilities(model, z, said)
        assert [len(p) for p in together] == [len(ids) for ids in said]
        for i in range(len(TEXTS)):
            alone = token_probabilities(model, z[i : i + 1], said[i : i + 1])[0]
            np.testing.assert_allclose(together[i], alone, rtol=1e-3)
            other = [list(said[i][:-1]) + [said[i][-1] + 1]]
            assert token_probabilities(model, z[i : i + 1], other)[0][-1] <= alone[-1]


def test_html_marks_shades_and_glues():
    said = Reconstruction("x", "y", ("tar", "##iff", "up"), ("right", "moved", "wrong"), (0.5, 0.25, 1.0))
    html = view_html(said)
    assert ">tar</span><em" in html and ">iff</em> <mark" in html
    assert 'title="wrong, probability 1.00"' in html and "rgba(0,114,178,0.25)" in html


def test_everything_is_escaped():
    evil = "<script>alert('x')</script>"
    said = Reconstruction(evil, evil, (evil, f"##{evil}"), ("right", "wrong"), (0.5, 0.5))
    for html in (view_html(said), views_table([{evil: evil, "decoded": said}])):
        assert "<script" not in html and "&lt;script&gt;" in html


def test_views_table_needs_rows():
    with pytest.raises(ValueError, match="no rows"):
        views_table([])


def parts(box):
    sentence, row, shown = box.children
    return sentence, *row.children, shown


def test_box_decodes_what_is_typed_and_escapes_it(models):
    box = reconstruction_box(models, TEXTS[0], num_beams=2)
    sentence, model, search, button, shown = parts(box)
    first = shown.value
    assert TEXTS[0] in first and "pieces said are right" in first
    sentence.value = "oil <b>falls</b> & <script>"
    assert "&lt;script&gt;" in shown.value and "<script" not in shown.value and "<b>falls" not in shown.value
    sentence.value = TEXTS[0]
    assert shown.value == first
    model.value, search.value = "encoder_only_96", 2
    chosen = shown.value
    button.click()
    assert shown.value == chosen
    assert view_html(reconstruct_texts(models["encoder_only_96"], TEXTS[:1], 2)[0]) in chosen


@pytest.mark.parametrize(("typed", "words"), [("", "is empty"), ("oil " * 60, "at most 40"), ("\u200b<i>", "")])
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
