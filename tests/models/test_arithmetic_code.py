"""The control that compresses and then protects: exact where the bits fit, a cliff beyond the noise it was made for."""

from types import SimpleNamespace

import numpy as np
import pytest

from invlib.measures.changed_vectors import with_noise
from invlib.measures.channel import noise_of_db
from invlib.models.arithmetic_code import ArithmeticCode, payload_sizes
from invlib.models.codec import Codec
from invlib.models.packed_ids import PackedIds
from invlib.models.pooling import fit_components
from invlib.models.text_code import TextCode


@pytest.fixture
def text_code(tiny_model):
    return TextCode(tiny_model("no_vector"))


@pytest.fixture
def texts(sentences):
    return sentences[:30]


@pytest.fixture
def ids(tiny_encoder, texts):
    return tiny_encoder.input_ids(texts)


@pytest.fixture
def build(text_code, tiny_encoder, ids):
    """build(D, dB, p, sizes) -> ArithmeticCode with the sizes of the texts."""

    def made(embedding_dim=136, db=10.0, p=8, sizes=None, **more):
        components = np.eye(tiny_encoder.hidden_size, dtype=np.float32)[:, :p]
        sizes = sizes or payload_sizes(text_code.bits(ids), 3)
        return ArithmeticCode(
            text_code, tiny_encoder, components, embedding_dim, noise_of_db(db), sizes, max_length=16, **more
        )

    return made


def exact(model, z, ids):
    return np.mean([found == row[1:] for found, row in zip(model.generate_ids(z), ids, strict=True)])


@pytest.mark.parametrize("dim, db, p", [(136, None, 8), (136, 10, 8), (64, None, 0), (32, None, 8), (200, 6, 32)])
def test_without_noise_what_fits_comes_back_exactly(build, ids, texts, dim, db, p):
    model = build(dim, db, p)
    z = model.encode(texts)
    assert z.shape == (len(texts), dim) and z.dtype == np.float32
    assert exact(model, z, ids) == 1 and model.decode(z) == texts == model.reconstruct(texts)


def test_it_bears_the_noise_that_it_was_made_for_and_then_falls(build, ids, texts):
    model = build(136, 4.0)
    z = model.encode(texts)
    shares = {db: exact(model, with_noise(z, z.std(0), noise_of_db(db)), ids) for db in (6, 4, -6)}
    assert shares[6] == 1 and shares[4] > 0.9 and shares[-6] < 0.1


def test_a_code_for_less_noise_uses_more_levels(build):
    assert build(40, 3.0).modulation.bits < build(40, 15.0).modulation.bits
    assert build(3000, None).modulation.bits == 1  # where there is room, the fewest


def test_it_beats_ids_that_are_written_again_and_again(build, ids, texts, tiny_encoder):
    """At equal size, prefix and noise."""
    coded = build(136, 2.0)
    packed = PackedIds(tiny_encoder, coded.components, 136, 1, max_length=16)
    shares = []
    for model in (coded, packed):
        z = model.encode(texts)
        shares.append(exact(model, with_noise(z, z.std(0), noise_of_db(2)), ids))
    assert shares[0] > shares[1] + 0.3


def test_the_prefix_is_that_of_packed_ids(build, tiny_encoder, texts):
    components = fit_components(tiny_encoder.sentence_embedding(texts).numpy(), 8)
    model = build()
    model.components = components
    z, packed = model.encode(texts), PackedIds(tiny_encoder, components, 136, 1, max_length=16).encode(texts)
    np.testing.assert_array_equal(z[:, :8], packed[:, :8])
    np.testing.assert_allclose(np.linalg.norm(z[:, 8:], axis=1), 0.2, rtol=0.2)


def test_numbers_use_their_whole_power(build, texts):
    """Noise is measured against a number's own spread, so that has to be 1; shortening can leave a number constant."""
    for dim, db in ((136, 4.0), (40, 15.0)):
        model = build(dim, db)
        spread = model.encode(texts)[:, 8:].std(0) / model.scale
        assert np.mean(spread < 0.5) < 0.05 and np.median(spread) == pytest.approx(1, abs=0.1)


def test_a_text_takes_the_smallest_size_that_holds_it(build, text_code, ids):
    model = build(sizes=(20, 40, 60, 90))
    for (number, size), bits in zip(model.messages(ids), text_code.bits(ids), strict=True):
        assert 0 <= number < 2**size
        assert bits < size + 6 and all(smaller < bits + 1 for smaller in model.sizes if smaller < size)


def test_a_text_too_long_is_cut_and_counts_as_wrong(build, text_code, ids):
    """Of a single small size: the shorter texts come back, of the others the first pieces.

    (An interval smaller than the distance of two numbers holds one by luck.)
    """
    size = int(np.median(text_code.bits(ids)))
    model = build(sizes=(size,))
    found = text_code.read(model.messages(ids))
    fits = text_code.bits(ids) <= size - 1
    assert fits.any() and all(a == b[1:] for a, b, ok in zip(found, ids, fits, strict=True) if ok)
    too_long = [(a, b[1:]) for a, b, bits in zip(found, ids, text_code.bits(ids), strict=True) if bits > size + 6]
    assert too_long and all(a != b for a, b in too_long)
    assert np.mean([a[:2] == b[:2] for a, b in too_long]) > 0.8


def test_sizes_are_in_equal_ratios_up_to_more_than_the_longest_text():
    """Else a text of the longest tenth would be protected as badly as the longest one."""
    assert payload_sizes([10.0, *[40.0] * 98, 290.0], 4) == (40, 80, 160, 319)
    sizes = np.array(payload_sizes(np.random.default_rng(0).gamma(9, 12, 400)))
    assert len(sizes) == 12 and (sizes[1:] / sizes[:-1]).max() < 1.25


def test_pure_noise_gives_texts_of_the_vocabulary(build, tiny_encoder):
    model = build()
    for row in model.generate_ids(np.random.default_rng(0).standard_normal((20, 136))):
        assert 1 <= len(row) < 16 and all(0 <= i < tiny_encoder.vocab_size for i in row)


def test_it_is_a_codec(build, tiny_encoder, texts, ids):
    model = build()
    assert isinstance(model, Codec)
    z = model.encode(texts)
    sentence = tiny_encoder.sentence_embedding(texts).numpy()
    dataset = SimpleNamespace(sentence=sentence, ids=lambda: ids)
    np.testing.assert_allclose(model.vectors_of(dataset), z, atol=1e-6)
    with pytest.raises(ValueError, match="ArithmeticCode has no probabilities"):
        model.decode(z, return_scores=True)
    assert model.encode([]).shape == (0, 136) and model.decode(np.zeros((0, 136))) == []
    with pytest.raises(ValueError, match=r"\(N, 136\)"):
        model.decode(z[:, 1:])


def test_what_has_no_room_is_refused(build):
    with pytest.raises(ValueError, match="1 number has no room for a checksum"):
        build(9, 3.0)
    with pytest.raises(ValueError, match="leaves none of 8"):
        build(8, 3.0)
    with pytest.raises(ValueError, match="noise -1"):
        build().__class__(build().text_code, build().encoder, build().components, 136, -1, (8,))
