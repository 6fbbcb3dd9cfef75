"""One vector, read by its code or by its meaning: the decoder's doubt decides."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from invlib.inversion.candidates import embed
from invlib.inversion.edit import edit
from invlib.inversion.invert import Chain, invert
from invlib.inversion.meaning import MeaningReader
from invlib.measures.similarity import unit
from invlib.models.model import build_model
from invlib.models.pooling import fit_components
from invlib.models.prefixed_code import PrefixedCode

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
    size, mixture = len(reader.components), (b + c) / 2
    louder = np.concatenate([a[:size], 2 * a[size:]])  # as noise makes it
    trusts([0.9] * 4)
    agreeing = np.stack([-a, -a, -mixture, mixture])
    monkeypatch.setattr(MeaningReader, "again", lambda self, texts: agreeing)
    reader.generate_ids(np.stack([a, louder, mixture, mixture]))
    length = np.linalg.norm(mixture[size:]) / hybrid.config.code_weight
    assert length < 0.93 and reader.inverted.tolist() == [False, False, True, False]


def test_the_text_that_is_nearer_to_the_meaning_is_taken(hybrid, inverter, texts, trusts, monkeypatch):
    reader = MeaningReader(hybrid, inverter, QUICK)
    z = reader.encode(inverter.text(texts[:2]))
    trusts([0.1, 0.1])
    monkeypatch.setattr(MeaningReader, "again", lambda self, texts: z * [[1], [-1]])
    found, own = reader.generate_ids(z), hybrid.generate_ids(z)
    assert found[0] == own[0] and found[1] != own[1]


class Said(PrefixedCode):
    """A code without a doubt, which says the texts that it was given."""

    def __init__(self, encoder, texts):
        super().__init__(encoder, np.eye(32, dtype=np.float32), 40, 0.2, 40)
        self.said = {text: np.eye(8)[k % 8] * np.sqrt(8) for k, text in enumerate(texts)}

    def write(self, ids):
        return np.stack([self.said.get(tuple(row[1:-1]), np.ones(8)) for row in ids])

    def generate_ids(self, z, num_beams=1):
        known = np.stack(list(self.said.values()))
        nearest = (self.code(z) @ known.T).argmax(1)
        return [[*list(self.said)[k], self.config.eos_token_id] for k in nearest]


def test_where_the_prefix_alone_was_moved_the_text_is_edited(inverter, texts, vectors):
    """Towards the moved meaning; noise on all numbers, and a text's own vector, leave the code its word."""
    model = Said(inverter.encoder, texts[:8])
    reader, edited = MeaningReader(model, inverter, QUICK), []
    own = reader.encode(inverter.text(texts[:8]))
    moved = own.copy()
    moved[:, :32] = 0.6 * own[:, :32] + 0.8 * np.roll(own[:, :32], 1, axis=0)
    noisy = own + np.random.default_rng(0).normal(size=own.shape) * np.r_[[0.05] * 32, [0.04] * 8]
    both = moved.copy()
    both[:, 39] += 0.1  # a number of the code, as a direction of words in the same place moves it
    for z in (own, noisy.astype(np.float32), both, moved):
        found = reader.generate_ids(z)
        edited.append(int(reader.edited.sum()))
        assert not reader.inverted.any() and (edited[-1] > 0 or found == model.generate_ids(z))
    assert edited == [0, 0, 8, 8]
    said = [tuple(row[:-1]) for row in found]
    target = unit(moved[:, :32])
    assert said == edit(inverter, target, texts[:8])
    assert ((embed(inverter, said) - embed(inverter, texts[:8])) * target).sum(1).min() > 0.005


def test_what_a_text_has_for_a_vector_and_an_empty_one_none(hybrid, inverter, texts):
    reader = MeaningReader(hybrid, inverter)
    said = inverter.text(texts[:2])
    expected = np.insert(reader.encode(said), 1, 0, axis=0)
    np.testing.assert_allclose(reader.again([said[0], " ", said[1]]), expected, atol=1e-5)


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
