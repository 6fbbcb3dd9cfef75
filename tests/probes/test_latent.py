"""Lines, neighbours, exchanges, directions, surroundings and planes of vectors, on tiny models."""

import numpy as np
import pytest

from invlib.probes import latent
from invlib.probes.latent import Embedded, Space

A, B = "oil rises on tariffs", "wall street falls after weak data"


@pytest.fixture
def model(tiny_model):
    return tiny_model("hybrid")


def test_a_line_ends_where_the_sentences_are(model):
    line = latent.interpolate(model, A, B, steps=5)
    assert line.shares.tolist() == [0, 0.25, 0.5, 0.75, 1] and line.vectors.dtype == np.float32
    np.testing.assert_allclose(line.vectors[[0, -1]], model.encode([A, B]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(line.vectors[2], line.vectors[[0, -1]].mean(0), atol=1e-6)
    assert [line.texts[0], line.texts[-1]] == model.decode(line.vectors[[0, -1]])
    assert line.like_first[0] == line.like_second[-1] == 1 and line.changes[0] == 0


def test_the_jump_is_the_largest_change():
    """Packed ids are read digit by digit: between two of them one step changes most."""
    rows = [(1, 2, 3, 9), (1, 2, 3, 9), (1, 5, 3, 9), (7, 6, 5, 9), (7, 6, 4, 9)]

    class Reader:
        def check_vectors(self, z):
            return np.asarray(z, dtype=np.float32)

        def generate_ids(self, z):
            return [list(row) for row in rows]

        def text(self, ids):
            return [str(row) for row in ids]

    line = latent.interpolate(Reader(), np.zeros(2), np.ones(2), steps=5)
    assert line.changes.tolist() == [0, 0, 0.25, 0.75, 0.25] and line.jump == 3
    assert line.like_first.tolist() == [1, 1, 0.75, 0.25, 0.25]
    rows[1:] = rows[:1] * 4
    assert latent.interpolate(Reader(), np.zeros(2), np.ones(2), steps=5).jump is None


def test_a_sentence_stands_for_its_vector(model):
    (z,) = model.encode([A])
    np.testing.assert_array_equal(latent.vector_of(model, A), z)
    np.testing.assert_array_equal(latent.vector_of(model, z), z)
    assert latent.interpolate(model, A, z, steps=2).jump is None
    for wrong, words in ((z[:5], "expected numbers of shape"), ("", "is empty"), (z * np.nan, "NaN")):
        with pytest.raises(ValueError, match=words):
            latent.vector_of(model, wrong)
    with pytest.raises(ValueError, match="steps=1"):
        latent.interpolate(model, A, B, steps=1)


def test_neighbours_by_hand():
    vectors = np.array([[1.0, 0], [0, 2], [3, 3], [-1, 0]])
    indices, cosines = latent.neighbours(vectors, np.array([0.0, 1]), k=2)
    assert indices.tolist() == [1, 2] and cosines.round(3).tolist() == [1, 0.707]
    assert len(latent.neighbours(vectors, np.array([0.0, 1]), k=99)[0]) == 4
    for k, wrong, vector in ((0, vectors, vectors[0]), (1, vectors[:0], vectors[0]), (1, vectors, np.ones(3))):
        with pytest.raises(ValueError, match="give k of at least 1"):
            latent.neighbours(wrong, vector, k)
    assert Embedded(tuple("abcd"), vectors, "x").nearest(np.array([1.0, 0.1])) == [
        ("a", pytest.approx(0.995, abs=1e-3))
    ]


def test_halves_are_exchanged(model):
    table = latent.exchange(model, A, B)
    assert table["prefix"].tolist() == ["first", "second", "first", "second"]
    assert table["code"].tolist() == ["first", "second", "second", "first"]
    assert table["text"][:2].tolist() == model.reconstruct([A, B])
    assert table["like_first"][0] == table["like_second"][1] == 1
    assert table["cosine_first"][0] == pytest.approx(1) and table["cosine_first"][2] > table["cosine_first"][3]


def test_without_a_prefix_there_is_nothing_to_exchange(tiny_model):
    for call in (lambda m: latent.exchange(m, A, B), latent.packed_beside):
        with pytest.raises(ValueError, match="'att_pool' has no semantic prefix; take one"):
            call(tiny_model("att_pool"))


def test_packed_ids_share_the_prefix(model):
    packed, size = latent.packed_beside(model, bits=2), model.components.shape[1]
    np.testing.assert_allclose(packed.encode([A])[:, :size], model.encode([A])[:, :size], atol=1e-2)
    assert packed.config.embedding_dim == model.config.embedding_dim


def test_a_direction_is_the_mean_difference(model):
    pairs = [(A, B), ("gold slips again", "gold gains ground")]
    along = latent.direction(model, pairs)
    z = model.encode([A, B, *pairs[1]])
    np.testing.assert_allclose(along, ((z[1] - z[0]) + (z[3] - z[2])) / 2, atol=1e-6)
    one = latent.direction(model, [(A, B)])
    assert latent.decode_along(model, A, one, [0, 1]) == model.reconstruct([A, B])
    with pytest.raises(ValueError, match="no pairs"):
        latent.direction(model, [])


def test_samples_lie_around_the_vector(model):
    (z,), spread = model.encode([A]), np.full(model.config.embedding_dim, 0.5, dtype=np.float32)
    found = latent.around(model, A, 0.2, spread, n=200, seed=1)
    assert found.vectors.shape == (200, len(z)) and len(found.texts) == 200
    np.testing.assert_allclose(found.vectors.mean(0), z, atol=0.04)
    np.testing.assert_allclose(found.vectors.std(0).mean(), 0.1, rtol=0.02)
    assert found.decibels == pytest.approx(14, abs=0.1)
    again = latent.around(model, z, 0.2, spread, n=200, seed=1)
    np.testing.assert_array_equal(again.vectors, found.vectors)
    assert (latent.around(model, z, 0.2, spread, n=200, seed=2).vectors != found.vectors).any()
    with pytest.raises(ValueError, match="n=0"):
        latent.around(model, A, 0.2, spread, n=0)


def test_alternatives_are_the_likeliest_others(model):
    (z,) = model.encode([A])
    (ids,) = model.generate_ids(z[None])
    (own,) = model.token_probabilities(z[None], [ids])
    others = latent.alternatives(model, z, ids, k=3)
    names = model.encoder.tokenizer.convert_ids_to_tokens(ids)
    assert len(others) == len(ids)
    for name, p, three in zip(names, own, others, strict=True):
        values = [q for _, q in three]
        assert name not in [other for other, _ in three] and values == sorted(values, reverse=True)
        assert p >= values[0] - 1e-6 and p + sum(values) <= 1 + 1e-6  # greedy: none is likelier
    everything = latent.alternatives(model, z, ids, k=10_000)
    assert own[0] + sum(q for _, q in everything[0]) == pytest.approx(1, abs=1e-4)
    assert latent.alternatives(model, z, []) == []


def test_a_plane_holds_what_lies_in_it():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    vectors = 1 + rng.normal(size=(40, 2)) @ axes
    found = latent.plane(vectors)
    assert found.share == pytest.approx(1)
    assert latent.plane(np.array([[2.0, 0, 0], [-2, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 1], [0, 0, -1]])).share == (
        pytest.approx(16 / 18)
    )
    np.testing.assert_allclose(found.vector(*found.points[3]), vectors[3], atol=1e-5)
    with pytest.raises(ValueError, match="at least 3"):
        latent.plane(vectors[:2])


def test_a_space_keeps_what_fits(model, sentences):
    space = Space.of("mine", model, [*sentences[:5], "", "oil " * 60], "test")
    assert space.headlines.texts == tuple(sentences[:5]) and space.headlines.vectors.shape == (5, 64)
    assert space.headlines.spread.shape == (64,)
    with pytest.raises(ValueError, match="1 of the texts fit mine"):
        Space.of("mine", model, [A, ""], "test")
