"""Guided search: recombined texts come closer to what is searched for, and are cut between words."""

import numpy as np
import pytest

from invlib.probes.guided_search import best_recombined, recombined, repeats

CONTINUES = [k in (11, 21) for k in range(100)]  # 10 11 and 20 21 are words of two pieces
TEXTS = [(1, 10, 11, 2), (20, 21, 3, 4, 5)]


class Throws:
    """Random numbers that choose one way of recombining, and everything else at random."""

    def __init__(self, way):
        self.way, self.rng = way, np.random.default_rng(0)

    def random(self):
        return self.way

    def __getattr__(self, name):
        return getattr(self.rng, name)


@pytest.mark.parametrize(
    ("way", "expected"), [(0.1, (1, 10, 11, 3, 4, 5)), (0.8, (20, 21, 5)), (0.9, (1, 3, 10, 11, 2))]
)
def test_recombined_texts_are_cut_between_words_and_not_too_long(way, expected):
    """The beginning of one and the end of another; a part left out; a part of the other put in."""
    seen, rng = set(), Throws(way)
    for _ in range(600):
        made = recombined(TEXTS, CONTINUES, 6, rng)
        assert len(made) <= 6 and set(made) <= set(TEXTS[0] + TEXTS[1])
        assert all(made[k - 1] == made[k] - 1 for k in range(len(made)) if CONTINUES[made[k]])
        assert not made or made[-1] not in (10, 20)  # no half of a word at the end
        seen.add(made)
    assert expected in seen
    if way == 0.8:
        assert all(len(made) < 6 for made in seen) and (1, 2) in seen and (1, 10, 11, 3, 4, 5) not in seen


def test_an_n_gram_that_occurs_twice_is_a_repetition():
    assert repeats((1, 2, 3, 9, 1, 2, 3)) and repeats((4, 4, 4, 4))
    assert not repeats((1, 2, 9, 1, 2)) and not repeats((1, 2))


WANTED = [(1, 10, 11, 4, 5), (20, 21, 3, 2)]  # neither is a start, both can be recombined from the starts


def likeness(texts, owners):
    """Word pieces that a text has in common with the wanted one, of all in either: 1 for those of the wanted one."""
    pairs = [(set(text), set(WANTED[k])) for text, k in zip(texts, owners, strict=True)]
    return np.array([len(a & b) / len(a | b) for a, b in pairs])


def search(rounds, starts=(set(TEXTS), set(TEXTS)), kept=6, likeness=likeness):
    return best_recombined(starts, likeness, CONTINUES, 6, rounds, kept, 30, np.random.default_rng(0))


def test_more_rounds_come_closer_to_each_vector_and_the_same_way_again():
    none, some = search(0), search(8)
    assert set(none) <= set(TEXTS) and (likeness(none, [0, 1]) < 1).all()
    assert (likeness(some, [0, 1]) == 1).all() and some == search(8)


def test_where_there_is_no_text_none_is_found():
    assert search(2, [set(), {()}]) == [(), ()] and search(2, []) == []


def test_a_recombined_text_that_repeats_itself_is_not_scored(monkeypatch):
    monkeypatch.setattr("invlib.probes.guided_search.repeats", lambda ids: True)
    assert search(8) == search(0)


def test_a_text_is_scored_once_and_the_closest_are_recombined(monkeypatch):
    scored, given = [], []

    def counted(texts, owners):
        scored.extend(zip(texts, owners, strict=True))
        return likeness(texts, owners)

    monkeypatch.setattr(
        "invlib.probes.guided_search.recombined", lambda texts, *rest: given.append(texts) or recombined(texts, *rest)
    )
    search(6, kept=3, likeness=counted)
    assert len(scored) == len(set(scored))
    assert max(map(len, given)) == 3
    for texts in given:
        assert any((np.diff(likeness(texts, [k] * len(texts))) <= 0).all() for k in (0, 1))
