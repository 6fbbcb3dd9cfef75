"""One forward pass predicts the whole text, from the text's e and an m that is its own or shared by all."""

import numpy as np
import pytest
import torch

from invlib.language_models.one_step import LAYOUTS, e_positions, one_step, predict

TEXTS = ["oil rises", "gold falls on tariffs", "copper gains ground", "uber holds steady before the vote"]
QUIET = {"progress": False, "length": 12}


@pytest.mark.parametrize(
    "layout, expected",
    [("first", "emmmm emmm"), ("halves", "eeemm eemm"), ("alternating", "ememe emem"), ("alone", "eeeee eeee")],
)
def test_layouts(layout, expected):
    found = e_positions(layout, torch.tensor([5, 4]), 5)
    drawn = ["".join("e" if k else "m" for k in row[:n]) for row, n in zip(found.tolist(), (5, 4), strict=True)]
    assert drawn == expected.split()
    assert layout in LAYOUTS
    with pytest.raises(ValueError, match="unknown layout 'last'; choose one of first, halves"):
        e_positions("last", torch.tensor([5]), 5)


@pytest.fixture(scope="module")
def learned(tiny_lm):
    return one_step(tiny_lm, TEXTS, steps=3000, **QUIET)


def test_e_and_m_predict_every_text_in_one_pass(learned, tiny_lm, monkeypatch):
    table, e, m = learned
    assert e.shape == m.shape == (4, 128) and (table.kept_numbers == 256).all()
    assert table.generated.tolist() == TEXTS and (table.exact == 1).all() and (table.accuracy == 1).all()
    assert table.steps.between(1, 2999).all()
    calls, body = [], type(tiny_lm.model.base_model)
    real = body.forward
    monkeypatch.setattr(body, "forward", lambda *a, **o: calls.append(1) or real(*a, **o))
    assert predict(tiny_lm, e, m, "first", 12) == tiny_lm.ids(TEXTS)
    assert len(calls) == 1


def test_both_vectors_are_needed(learned, tiny_lm):
    _, e, m = learned
    true = tiny_lm.ids(TEXTS)
    assert all(a != b for a, b in zip(predict(tiny_lm, np.roll(e, 1, 0), m, "first", 12), true, strict=True))
    assert all(a != b for a, b in zip(predict(tiny_lm, e, np.roll(m, 1, 0), "first", 12), true, strict=True))


def test_a_text_ends_at_its_first_end_token(learned, tiny_lm):
    _, e, m = learned
    whole = predict(tiny_lm, e, m, "first", 30)
    assert whole == tiny_lm.ids(TEXTS)
    assert predict(tiny_lm, e, m, "first", 2) == [row[:2] for row in whole]  # no end among them: N tokens
    assert predict(tiny_lm, e, m, "first", [2, 12, 12, 3]) == [whole[0][:2], whole[1], whole[2], whole[3][:3]]


def test_one_vector_alone_predicts_one_token_at_every_position(tiny_lm):
    table, e, m = one_step(tiny_lm, TEXTS, "alone", steps=5, **QUIET)
    assert (table.kept_numbers == 128).all() and (table.exact == 0).all()
    assert all(len(set(row)) == 1 for row in predict(tiny_lm, e, m, "alone", 12))


def test_a_shared_m_is_not_kept_with_each_text(tiny_lm):
    table, e, m = one_step(tiny_lm, TEXTS[:3], shared=True, steps=3000, batch_size=2, **QUIET)
    assert m.shape == (128,) and (table.kept_numbers == 128).all() and (table.exact == 1).all()
    assert predict(tiny_lm, e, m, "first", 12) == tiny_lm.ids(TEXTS[:3])
    held_out, own, given = one_step(tiny_lm, TEXTS[3:], m=m, steps=60, **QUIET)
    assert (held_out.kept_numbers == 128).all() and np.array_equal(given, m) and own.shape == (1, 128)
    start, _, _ = one_step(tiny_lm, TEXTS[3:], m=m, steps=0, **QUIET)
    assert held_out.nats[0] < start.nats[0]


@pytest.mark.parametrize("layout", ["first", "halves"])
def test_a_text_does_not_depend_on_the_rest_of_its_batch(sharp_lm, layout):
    table, e, m = one_step(sharp_lm, TEXTS, layout, steps=40, progress=False, length=None)
    for i, text in enumerate(TEXTS):
        one, e_one, m_one = one_step(sharp_lm, [text], layout, steps=40, progress=False, length=None)
        assert one.steps[0] == table.steps[i] and one.kept_numbers[0] == 257  # its length is kept too
        np.testing.assert_allclose(e_one[0], e[i], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(m_one[0], m[i], rtol=1e-6, atol=1e-9)


def test_options_that_exclude_each_other_are_named(tiny_lm):
    m = np.zeros(128, dtype=np.float32)
    for options, message in (
        ({"shared": True, "m": m}, "choose one"), ({"layout": "alone", "shared": True}, "has no m"),
        ({"layout": "alone", "m": m}, "has no m"), ({"length": 2}, "longest text has"), ({"length": 65}, "65"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            one_step(tiny_lm, TEXTS, progress=False, **options)
