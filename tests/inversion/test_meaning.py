"""One vector, read by its code or by its meaning: the decoder's doubt decides."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from invlib.inversion.invert import Chain, invert
from invlib.inversion.meaning import MeaningReader
from invlib.models.model import build_model
from invlib.models.pooling import fit_components

QUICK = Chain(beam=2, rounds=1, kept=1, children=2, reworded=0, complements=1)


@pytest.fixture(scope="module")
def hybrid(tiny_settings, tiny_encoder, tiny_material):
    settings = replace(
        tiny_settings, row="hybrid", embedding_dim=96, prefix_size=32, queries=8, encoder_layers=("word", "last")
    )
    model = build_model(settings, tiny_encoder).eval()
    model.pooling.fit(np.asarray(tiny_material.states["train"].sentence))
    return model


@pytest.fixture
def trusts(monkeypatch):
    """Sets how far each text is trusted."""

    def set_to(values):
        monkeypatch.setattr(MeaningReader, "trust", lambda self, z, ids: np.array(values))

    return set_to


def test_a_trusted_code_is_taken_at_its_word(hybrid, inverter, texts, trusts):
    reader = MeaningReader(hybrid, inverter, QUICK)
    z = reader.encode(inverter.text(texts[:2]))
    trusts([0.9, 0.6])
    assert reader.generate_ids(z) == hybrid.generate_ids(z) and not reader.inverted.any()


def test_of_any_other_vector_the_meaning_is_inverted(hybrid, inverter, texts, vectors, trusts):
    """As the encoder's own embedding is; the first of three vectors keeps its code's text."""
    reader = MeaningReader(hybrid, inverter, QUICK)
    z = reader.encode(inverter.text(texts[:3]))
    trusts([0.9, 0.1, 0.2])
    found = reader.generate_ids(z)
    assert found[0] == hybrid.generate_ids(z)[0] and reader.inverted.tolist() == [False, True, True]
    expected = [[*one.best, reader.config.eos_token_id] for one in invert(inverter, vectors[1:3], QUICK)]
    assert found[1:] == expected and reader.decode(z)[1:] == reader.text(expected)


def test_a_code_that_is_too_short_is_a_mixture_unless_its_text_agrees(hybrid, inverter, texts, trusts, monkeypatch):
    reader = MeaningReader(hybrid, inverter, QUICK)
    a, b, c = reader.encode(inverter.text(texts[:3]))
    size = len(reader.components)
    louder = np.concatenate([a[:size], 2 * a[size:]])  # as noise makes it
    trusts([0.9] * 4)
    monkeypatch.setattr(MeaningReader, "agreement", lambda self, prefix, texts: np.array([0.1, 0.1, 0.1, 0.95]))
    reader.generate_ids(np.stack([a, louder, (b + c) / 2, (b + c) / 2]))
    length = np.linalg.norm((b + c)[size:] / 2) / hybrid.config.code_weight
    assert length < 0.93 and reader.inverted.tolist() == [False, False, True, False]


def test_the_text_that_is_nearer_to_the_meaning_is_taken(hybrid, inverter, texts, trusts, monkeypatch):
    reader = MeaningReader(hybrid, inverter, QUICK)
    z = reader.encode(inverter.text(texts[:2]))
    trusts([0.1, 0.1])
    monkeypatch.setattr(MeaningReader, "agreement", lambda self, prefix, texts: np.array([2.0, -2.0]))
    found, own = reader.generate_ids(z), hybrid.generate_ids(z)
    assert found[0] == own[0] and found[1] != own[1]


def test_agreement_is_the_cosine_to_the_prefix(hybrid, inverter, texts, vectors):
    reader = MeaningReader(hybrid, inverter)
    said = inverter.text(texts[:2])
    prefix = reader.encode(said)[:, : len(reader.components)] @ reader.components.T
    np.testing.assert_allclose(reader.agreement(prefix, [*said]), [1, 1], atol=1e-4)
    assert reader.agreement(prefix[:1], [" "]).tolist() == [0.0]


def test_trust_is_the_mean_probability_of_a_texts_pieces(hybrid, inverter, texts):
    reader = MeaningReader(hybrid, inverter)
    z = reader.encode(inverter.text(texts[:2]))
    ids = hybrid.generate_ids(z)
    rows = hybrid.token_probabilities(z, ids)
    expected = [np.prod(row) ** (1 / len(row)) for row in rows]
    np.testing.assert_allclose(reader.trust(z, ids), expected, rtol=1e-5)
    assert reader.trust(z[:1], [[]]).tolist() == [0.0]


def test_what_has_no_whole_meaning_is_refused(hybrid, inverter, tiny_settings, tiny_encoder):
    half = replace(tiny_settings, row="hybrid", embedding_dim=96, prefix_size=16, queries=8, encoder_layers=("last",))
    for settings, size in ((half, "of 16 numbers"), (tiny_settings, "none")):
        with pytest.raises(ValueError, match=f"prefix {size}"):
            MeaningReader(build_model(settings, tiny_encoder), inverter)
    own, another = (SimpleNamespace(encoder=SimpleNamespace(hash=h, name=h), components=np.eye(4)) for h in "ab")
    with pytest.raises(ValueError, match="made with 'a', the inverter inverts 'b'"):
        MeaningReader(own, another)


def test_a_whole_prefix_is_a_rotation(tiny_material):
    components = fit_components(np.asarray(tiny_material.states["train"].sentence), 32)
    np.testing.assert_allclose(components @ components.T, np.eye(32), atol=1e-5)
