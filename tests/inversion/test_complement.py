"""Texts for what a text leaves unsaid: the other end of a vector that lies between two."""

import numpy as np
import pytest
import torch

from invlib.inversion import complement
from invlib.inversion.complement import complements, reflection
from invlib.inversion.invert import Chain, invert
from invlib.inversion.search import MOVE, rearranged
from invlib.measures.similarity import unit


def test_the_reflection_of_one_end_at_the_middle_is_the_other_end():
    rng = np.random.default_rng(0)
    a, b = (unit(rng.normal(size=(5, 8))) for _ in range(2))
    found = reflection(a, unit(a + b))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, b, atol=1e-6)


def test_the_unsaid_is_joined_to_the_text(inverter, texts, vectors, monkeypatch):
    """The decoder is asked for the other end, and its text is put before and after the first, and halved."""
    a, b = unit(vectors[:3]), unit(vectors[3:6])
    asked = []

    def propose(model, z, n):
        asked.append((z, n))
        return [[texts[3 + k]] for k in range(3)]

    monkeypatch.setattr(complement, "propose", propose)
    found = complements(inverter, unit(a + b).astype(np.float32), [[text] for text in texts[:3]], 1)
    torch.testing.assert_close(asked[0][0].cpu(), torch.from_numpy(b.astype(np.float32)), atol=1e-4, rtol=0)
    longest = inverter.config.max_length - 2
    for k, made in enumerate(found):
        own, other = texts[k], texts[3 + k]
        assert (*own, *other)[:longest] in made and len(made) == 5 and max(map(len, made)) <= longest
        assert any(text[: len(other)] == other for text in made)
        assert (*own[: len(own) // 2], *other[len(other) // 2 :]) in made


def test_an_empty_text_has_no_complement(inverter, vectors):
    assert complements(inverter, unit(vectors[:2]).astype(np.float32), [[()], []], 2) == [[], []]


def test_between_two_sentences_complements_are_nearer(inverter, texts, vectors):
    pairs = np.arange(16).reshape(8, 2)
    middle = unit(unit(vectors[pairs[:, 0]]) + unit(vectors[pairs[:, 1]]))
    quick = {"beam": 4, "rounds": 0, "kept": 2}
    plain, joined = (invert(inverter, middle, Chain(**quick, complements=n)) for n in (0, 2))
    assert np.mean([one.cosine for one in joined]) > np.mean([one.cosine for one in plain])
    assert all(set(p.cosines) <= set(j.cosines) for p, j in zip(plain, joined, strict=True))


@pytest.mark.parametrize("joined", [False, True])
def test_texts_that_cross_may_grow_where_they_are_joined(joined):
    text, other = tuple(range(1, 5)), tuple(range(11, 15))
    rng, continues = np.random.default_rng(0), np.zeros(20, dtype=bool)
    made = [rearranged(text, 0, MOVE, [other], continues, rng, joined) for _ in range(200)]
    assert {len(new) for new in made} == ({4} if not joined else set(range(2, 9)))
    assert (text + other in made) == joined
