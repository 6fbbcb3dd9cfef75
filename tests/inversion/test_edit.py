"""A text that is nearly right is changed in as few places as bring it to its vector."""

import numpy as np
import pytest

from invlib.inversion.candidates import embed
from invlib.inversion.edit import changed, edit
from invlib.inversion.search import ALTERNATIVES


@pytest.fixture
def targets(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_every_change_of_one_piece_is_tried():
    pieces = np.arange(100, 100 + 3 * ALTERNATIVES).reshape(3, ALTERNATIVES)
    pieces[0, 1] = 7  # what stands there
    made = changed((7, 8), pieces)
    assert len(made) == len(set(made)) and (7, 8) not in made
    exchanged = {(i, 8) for i in pieces[0].tolist()} | {(7, i) for i in pieces[1].tolist()}
    put_in = {(100, 7, 8), (7, 7, 8), (7, 108, 8), (7, 109, 8), (7, 8, 116), (7, 8, 117)}
    assert set(made) == (exchanged - {(7, 8)}) | put_in | {(7,), (8,)}
    assert changed((7,), pieces[:2]).count(()) == 0  # no text is emptied


def test_a_text_without_one_or_two_of_its_pieces_gets_them_back(inverter, texts, targets):
    assert edit(inverter, targets, [(*text[:1], *text[2:]) for text in texts], changes=1) == texts
    two = [(*text[:1], *text[3:]) for text in texts]
    found = {n: edit(inverter, targets, two, changes=n) for n in (1, 2)}
    assert not set(found[1]) & set(texts) and set(found[2]) & set(texts)
    once, twice = ((embed(inverter, found[n]) * targets).sum(1) for n in (1, 2))
    assert (twice >= once).all() and (twice > once + 0.005).any()


def test_what_a_change_costs_decides_how_many_there_are(inverter, texts, targets):
    assert edit(inverter, targets, texts) == texts  # nothing is nearer than a text to its own vector
    others = np.roll(targets, 1, axis=0)
    assert edit(inverter, others, texts, cost=1.0) == texts and edit(inverter, others, texts, cost=0.0) != texts
    alone = [edit(inverter, others[k : k + 1], [text])[0] for k, text in enumerate(texts)]
    assert np.mean([a == b for a, b in zip(alone, edit(inverter, others, texts), strict=True)]) > 0.9
