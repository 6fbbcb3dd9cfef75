"""The control with nothing learned: its vectors hold the ids as they are, and the encoder's meaning."""

from types import SimpleNamespace

import numpy as np
import pytest

from invlib.data.synthetic import synthetic_headlines
from invlib.measures.similarity import rank_correlation, unit
from invlib.measures.text import generated_matches
from invlib.models.codec import Codec
from invlib.models.packed_ids import BITS, PackedIds
from invlib.models.pooling import fit_components

TEXTS = [
    "oil falls on tariffs",
    "gold",
    "The Fed's Powell says unbelievably longwinded mispronunciations unsettle bondholders",
    "shares of 3 banks slip 4.5% after a 1,200-page report: sources",
]


@pytest.fixture(scope="module")
def headlines():
    return synthetic_headlines(300, seed=3)


@pytest.fixture(scope="module")
def embeddings(minilm, headlines):
    return minilm.sentence_embedding(headlines).numpy()


@pytest.fixture(scope="module")
def packed(minilm, embeddings):
    """packed(D, p, bits, ...) -> PackedIds with the first p components of three hundred headlines."""

    def build(embedding_dim=768, p=256, bits=1, **changes):
        return PackedIds(minilm, fit_components(embeddings, p), embedding_dim, bits, **changes)

    return build


def reference(minilm, texts):
    return minilm.tokenizer(texts)["input_ids"]


# Round trips


@pytest.mark.parametrize("dim, p, bits", [(768, 256, 1), (384, 128, 2), (768, 256, 2), (384, 128, 4), (384, 128, 8)])
def test_what_fits_comes_back_exactly(packed, minilm, dim, p, bits, headlines):
    model = packed(dim, p, bits)
    texts = [*TEXTS, *headlines[:40]]
    z = model.encode(texts)
    assert z.shape == (len(texts), dim) and z.dtype == np.float32
    ids = reference(minilm, texts)
    assert max(map(len, ids)) - 1 <= model.capacity
    assert model.generate_ids(z) == [row[1:] for row in ids]
    assert model.decode(z) == [minilm.tokenizer.decode(row[1:-1]) for row in ids] == model.reconstruct(texts)
    assert generated_matches(model.generate_ids(z), ids, model.config)["exact"].all()


@pytest.mark.parametrize("bits", BITS)
def test_noise_of_a_tenth_of_a_level_does_nothing(packed, bits):
    model = packed(768, 256, bits)
    z = model.encode(TEXTS)
    step = model.scale / model.spread  # from a level to the next
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, z.shape) * step
    assert model.decode(z + noise) == model.decode(z)


def test_copies_are_averaged(packed, minilm, headlines):
    """Noise under which a number alone is read wrong now and then: the copies still give nearly all headlines back."""
    model = packed(768, 256, 2)
    z, ids = model.encode(headlines), [row[1:] for row in reference(minilm, headlines)]
    noisy = z + 0.2 * model.scale * np.random.default_rng(0).standard_normal(z.shape)
    once = model.nearest_ids(noisy[:, 256:] / model.scale, model.capacity).tolist()
    first_copy = np.mean([row[: len(full)] == full for row, full in zip(once, ids, strict=True)])
    averaged = np.mean([row == full for row, full in zip(model.generate_ids(noisy), ids, strict=True)])
    assert averaged > 0.95 and averaged > first_copy + 0.3


def test_neighbouring_levels_differ_in_one_bit_and_are_even_around_zero(packed):
    for bits in BITS:
        model = packed(bits=bits)
        flips = model.gray[1:] ^ model.gray[:-1]
        assert all(int(f).bit_count() == 1 for f in flips) and sorted(model.gray) == list(range(2**bits))
        every = (np.arange(2**bits) - model.middle) / model.spread
        assert np.mean(every**2) == pytest.approx(1) and every.sum() == pytest.approx(0)


# The prefix


def test_the_prefix_has_the_encoders_cosines(packed, headlines, embeddings):
    model = packed(768, 256, 1)
    z = model.encode(headlines)
    np.testing.assert_allclose(np.linalg.norm(z[:, :256], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(z[:, 256:], axis=1), 0.2, atol=1e-5)
    prefix = z[:, :256]
    assert np.abs(prefix @ prefix.T - unit(embeddings) @ unit(embeddings).T).max() < 0.05
    assert rank_correlation(z, embeddings) > 0.95


def test_pack_takes_embeddings_and_ids_that_are_known(packed, minilm):
    model = packed()
    np.testing.assert_array_equal(
        model.pack(minilm.sentence_embedding(TEXTS).numpy(), reference(minilm, TEXTS)), model.encode(TEXTS)
    )


# Limits


def test_a_sentence_too_long_for_the_code_is_cut_at_the_last_whole_id(packed, minilm):
    model = packed(384, 128, 1)
    assert model.capacity == 17
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    (fits, cut), ids = [text.rsplit(" ", 1)[0], text], reference(minilm, [text])[0]
    assert model.generate_ids(model.encode([cut])) == [ids[1:18]]
    assert model.decode(model.encode([fits])) == [fits]
    assert not generated_matches(model.generate_ids(model.encode([cut])), [ids], model.config)["exact"][0]


def test_an_id_outside_the_vocabulary_is_unknown(packed, minilm):
    model = packed()
    assert model.nearest_ids(np.ones((1, 30)), 2).tolist() == [[minilm.unk_token_id] * 2]  # 32 767 has no piece


def test_any_vector_gives_ids_of_the_vocabulary_that_end(packed, minilm):
    model = packed()
    for row in model.generate_ids(np.random.default_rng(0).standard_normal((50, 768))):
        assert 1 <= len(row) < 40 and all(0 <= i < minilm.vocab_size for i in row)
        assert minilm.eos_token_id not in row[:-1]


def test_what_cant_be_encoded_or_decoded_is_an_error(packed):
    for texts in ("oil falls", [""], [None], ["oil " * 45]):
        with pytest.raises(ValueError, match="sentence"):
            packed().encode(texts)
    for bad in (np.zeros((2, 767)), np.full((1, 768), np.nan)):
        with pytest.raises(ValueError, match=r"\(N, 768\).*\(2, 767\)|NaN"):
            packed().decode(bad)


def test_no_sentence_gives_no_vector(packed):
    assert packed().encode([]).shape == (0, 768)
    assert packed().decode(np.zeros((0, 768))) == []


@pytest.mark.parametrize(
    "dim, reason", [(260, "4 numbers of 1 bits have no room for one id of 15 bits"), (200, "leaves none of 200")]
)
def test_a_shape_without_room_is_refused(packed, dim, reason):
    with pytest.raises(ValueError, match=reason):
        packed(dim, 256, 1)


def test_another_encoder_has_other_ids(tiny_encoder, sentences):
    """The bits of an id follow from the vocabulary."""
    model = PackedIds(tiny_encoder, np.zeros((32, 0)), 64, 2, max_length=16)
    assert model.id_bits == (tiny_encoder.vocab_size - 1).bit_length() < 15
    assert model.reconstruct(sentences[:20]) == sentences[:20]


# The interface that probes use


def test_it_is_a_codec_as_a_model_is(packed, minilm, tiny_model):
    model = packed()
    assert isinstance(model, Codec) and isinstance(tiny_model(), Codec)
    z = model.encode(TEXTS)
    dataset = SimpleNamespace(sentence=minilm.sentence_embedding(TEXTS).numpy(), ids=lambda: reference(minilm, TEXTS))
    np.testing.assert_array_equal(model.vectors_of(dataset), z)
    assert model.components.shape == (384, 256)
    assert model.decode(z[::-1]) == model.decode(z)[::-1] == model.decode(z.astype(np.float64)[::-1].tolist())


def test_it_has_no_probabilities_and_no_options_of_a_search(packed):
    z = packed().encode(TEXTS)
    for call in (lambda: packed().decode(z, return_scores=True), lambda: packed().token_probabilities(z, [[5]] * 4)):
        with pytest.raises(ValueError, match="PackedIds has no probabilities"):
            call()
    with pytest.raises(TypeError, match="temperature"):
        packed().decode(z, temperature=0.5)
    with pytest.raises(ValueError, match="batch_size"):
        packed().encode(TEXTS, batch_size=0)
