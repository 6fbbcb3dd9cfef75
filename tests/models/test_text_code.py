"""Arithmetic coding: likely texts are few bits, every text comes back, and both directions agree to the last bit."""

import math

import numpy as np
import pytest

from invlib.measures.text import teacher_forced
from invlib.models.text_code import WHOLE, Interval, TextCode


@pytest.fixture
def text_code(tiny_model):
    return TextCode(tiny_model("no_vector"))


@pytest.fixture
def texts(tiny_encoder, sentences):
    return tiny_encoder.input_ids(sentences[:30])


def messages(intervals):
    sizes = [math.ceil(interval.bits) + 1 for interval in intervals]
    return [(interval.shortest(size), size) for interval, size in zip(intervals, sizes, strict=True)]


def test_an_interval_by_hand():
    """a : b = 3 : 1, and the text 'ba': of the last quarter the first three quarters."""
    ba = WHOLE.part(3, 1, 4).part(0, 3, 4)
    assert (ba.low / ba.scale, ba.width / ba.scale) == (12 / 16, 3 / 16) and ba.bits == -math.log2(3 / 16)
    assert ba.shortest(1) is None  # 0.1 is 1 / 2
    assert ba.shortest(2) == 0b11 and ba.shortest(5) == 0b11000
    assert Interval(1, 1, 3).shortest(1) == 1 and Interval(1, 1, 3).shortest(2) == 0b10
    assert ba.nearest(4) == 0b1101  # of the middle, 27 / 32


def test_every_text_comes_back_in_as_many_bits_as_its_cross_entropy(text_code, texts, tiny_model, tiny_material):
    assert text_code.read(messages(text_code.intervals(texts))) == [row[1:] for row in texts]
    data = tiny_material.dataset("test", layers=())
    nats = teacher_forced(tiny_model("no_vector"), data, top_k=(1,))["nats"]
    np.testing.assert_allclose(text_code.bits(data.ids()), nats / math.log(2), rtol=1e-3)


def test_the_batch_changes_nothing(text_code, texts, tiny_model):
    """Alone, in another order and beside longer texts: the same intervals, to the last digit."""
    together = text_code.intervals(texts)
    one_by_one = TextCode(tiny_model("no_vector"))
    assert [one_by_one.intervals([row])[0] for row in texts[::-1]] == together[::-1]
    # piece by piece, as a text is read, the weights are those of the whole text at once
    row = np.array([max(texts, key=len)])
    whole = text_code.weights(row[:, :-1])
    for t in range(1, row.shape[1]):
        np.testing.assert_array_equal(text_code.weights(row[:, :t], last=True)[0, 0], whole[0, t - 1])


def test_logits_differ_by_far_less_than_they_are_rounded(text_code, texts):
    """What rounding rests on: float64 all the way, in every layer of the decoder."""
    import torch

    ids = torch.tensor([max(texts, key=len)])
    vector = text_code.vector.expand(1, -1)
    with torch.no_grad():
        whole = text_code.decoder.decode_states(vector, ids)
        part = text_code.decoder.decode_states(vector, ids[:, :4])
    assert whole.dtype == torch.float64 and (whole[:, :4] - part).abs().max() < 1e-12


def test_an_interval_is_read_once(text_code, texts, monkeypatch):
    sent = messages(text_code.intervals(texts))
    first = text_code.read(sent)
    monkeypatch.setattr(text_code, "weights", None)
    assert text_code.read(sent[::-1]) == first[::-1]
    assert text_code.read([(number << 5, size + 5) for number, size in sent]) == first  # the same numbers, longer


def test_any_number_is_a_text(text_code):
    found = text_code.read([(k, 6) for k in range(64)])
    end, longest = text_code.config.eos_token_id, text_code.config.max_length - 1
    assert all(1 <= len(row) <= longest and end not in row[:-1] for row in found)
    assert text_code.read([]) == []


def test_a_cut_number_starts_as_its_text_does(text_code, texts):
    row = max(texts, key=len)
    (interval,) = text_code.intervals([row])
    (found,) = text_code.read([(interval.nearest(n := int(interval.bits) // 2), n)])
    assert found != row[1:] and found[: len(row) // 3] == row[1 : 1 + len(row) // 3]


def test_it_needs_a_language_model(tiny_model):
    with pytest.raises(ValueError, match="att_pool decodes a vector; the code needs a language model"):
        TextCode(tiny_model("att_pool"))


def test_a_language_model_that_is_an_lstm(tiny_model, texts):
    code = TextCode(tiny_model("no_vector", variant="rnn"))
    assert code.read(messages(code.intervals(texts[:6]))) == [row[1:] for row in texts[:6]]
