"""Noise and quantisation: in the documented units, fitted on the training vectors."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from invlib.measures.changed_vectors import quantized, with_noise
from invlib.measures.intervals import paired_difference, proportion_interval, ratio
from invlib.models.codec import Codec
from invlib.models.packed_ids import PackedIds
from invlib.models.pooling import fit_components
from invlib.probes.efficiency import efficiency
from invlib.probes.robustness import (
    best_per_level,
    decoded_metrics,
    most_exact,
    packed_bits,
    packed_ids_by_bits,
    packed_ids_of_size,
    reconstruction_metrics,
    robustness,
    summary_metrics,
    two_virtues,
)


def test_noise_is_in_each_numbers_standard_deviations_and_seeded():
    z, spread = np.zeros((4000, 3), np.float32), np.array([1.0, 0.1, 5.0])
    moved = with_noise(z, spread, 0.2)
    np.testing.assert_allclose(moved.std(0) / spread, 0.2, rtol=0.05)
    np.testing.assert_array_equal(moved, with_noise(z, spread, 0.2))
    assert (with_noise(z, spread, 0.2, seed=1) != moved).any() and moved.dtype == np.float32
    np.testing.assert_array_equal(with_noise(z, spread, 0.0), z)


def test_bits_are_a_symmetric_scale_for_each_number():
    z = np.array([[0.5, -3.0], [-1.0, 9.0], [0.1, 0.4]], np.float32)
    found = quantized(z, np.array([1.0, 4.0]), 3)  # seven levels: -3 to 3 times a third of the largest
    np.testing.assert_allclose(found, [[2 / 3, -8 / 3], [-1, 4], [0, 0]], atol=1e-6)
    many = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
    largest = np.abs(many).max(0)
    assert np.abs(quantized(many, largest, 8) - many).max() <= 0.5 * largest.max() / 127 + 1e-6
    with pytest.raises(ValueError, match="bits=1"):
        quantized(many, largest, 1)


def test_a_control_that_is_exact_loses_with_noise_only(tiny_encoder, tiny_material):
    sentence = np.asarray(tiny_material.states["train"].sentence)
    packed = PackedIds(tiny_encoder, fit_components(sentence, 8), 160, bits=1, max_length=16)
    table = robustness(
        packed, tiny_material.dataset("test"), tiny_material.dataset("train"), 12, noise=(0.0, 3.0), bits=(4,),
        n_bootstrap=20,
    )  # fmt: skip
    exact = table.exact_match.tolist()
    assert exact[0] == 1 and exact[1] < 0.5 and exact[2] == 1 and (table.n == 12).all()
    assert table.noise.tolist() == [0, 3, 0] and table.bits.isna().tolist() == [True, True, False]
    assert (table.exact_low[0], table.exact_high[0]) == (pytest.approx(12 / (12 + 1.96**2), abs=1e-4), 1)
    assert (table.low <= table.generated_accuracy).all() and (table.generated_accuracy <= table.high).all()


def test_half_of_the_headlines_right_are_a_figure_with_an_interval():
    config = SimpleNamespace(unk_token_id=1, max_length=16)
    found = decoded_metrics([[5, 3], [9, 3]] * 8, [[2, 5, 3]] * 16, config, 200)
    assert found["generated_accuracy"] == 0.75 and 0.55 < found["low"] < 0.7 and 0.8 < found["high"] < 0.95
    assert found["exact_match"] == 0.5 and [found["exact_low"], found["exact_high"]] == proportion_interval([0, 1] * 8)


class Recorded(Codec):
    """A codec whose vectors are given, and that keeps those that it is to decode."""

    def __init__(self, encoder, vectors: dict):
        self.encoder, self.vectors, self.decoded = encoder, vectors, []
        self.config = SimpleNamespace(unk_token_id=encoder.unk_token_id, max_length=16)

    def vectors_of(self, dataset):
        return self.vectors[len(dataset)]

    def generate_ids(self, z, num_beams=1):
        self.decoded.append(z)
        return [[self.encoder.eos_token_id]] * len(z)


def test_noise_is_measured_by_the_training_vectors_and_drawn_by_the_seed(tiny_encoder, tiny_material):
    test, train = (tiny_material.dataset(split, layers=()) for split in ("test", "train"))
    rng = np.random.default_rng(0)
    own, seen = rng.standard_normal((16, 3)), rng.standard_normal((40, 3)) * [1, 0.1, 5]
    codec, spread = Recorded(tiny_encoder, {16: own, 40: seen}), seen.std(0)
    robustness(codec, test, train, noise=(0.5,), bits=(3,), n_bootstrap=5, seed=4)
    efficiency(codec, test, train, np.ones(16), (0,), n_bootstrap=5, seed=4)
    summary_metrics(codec, test, train, noise=0.4, n_bootstrap=5)
    expected = with_noise(own, spread, 0.5, 4), quantized(own, np.abs(seen).max(0), 3), with_noise(own, spread, 1.0, 4)
    for found, z in zip(codec.decoded, (*expected, own, with_noise(own, spread, 0.4)), strict=True):
        np.testing.assert_array_equal(found, z)


def test_packed_ids_by_bits_leave_out_what_has_no_room(tiny_encoder):
    components = np.eye(32, dtype=np.float32)[:, :8]
    id_bits = (tiny_encoder.vocab_size - 1).bit_length()
    made = packed_ids_by_bits(tiny_encoder, components, 8 + id_bits // 2, 0.2, 16)
    assert 1 not in made and all(p.bits == bits and p.prefix == 8 for bits, p in made.items()) and 8 in made
    assert sorted(packed_ids_by_bits(tiny_encoder, components, 160, 0.2, 16)) == [1, 2, 4, 8]


def test_the_best_is_chosen_at_each_level():
    levels = {"noise": [0.0, 0.4, 0.0], "bits": [None, None, 4]}
    tables = {1: [0.9, 0.7, 0.5], 8: [1.0, 0.2, 0.5]}
    best = best_per_level({bits: pd.DataFrame(levels | {"generated_accuracy": a}) for bits, a in tables.items()})
    assert best.generated_accuracy.tolist() == [1.0, 0.7, 0.5] and best.packed_bits.tolist() == [8, 1, 1]
    assert best.noise.tolist() == [0, 0.4, 0] and best.bits.isna().tolist() == [True, True, False]


def test_short_figures_are_those_of_the_longer_ways(tiny_model, tiny_material):
    model, layers = tiny_model("hybrid"), ("word", "last")
    data, train = tiny_material.dataset("test", layers=layers), tiny_material.dataset("train", layers=layers)
    found = summary_metrics(model, data, train, noise=0.4, n_bootstrap=20)
    noisy = robustness(model, data, train, noise=(0.0, 0.4), bits=(), n_bootstrap=20)
    accuracies = [found["generated_accuracy"], found["noisy_accuracy"]]
    np.testing.assert_allclose(accuracies, noisy.generated_accuracy)
    given = reconstruction_metrics(model, model.vectors_of(data), data, 20)
    assert found["exact_match"] == given["exact_match"] and found["exact_match_high"] == given["exact_high"]
    assert found["rank_correlation_low"] <= found["rank_correlation"] <= found["rank_correlation_high"]
    assert found["n"] == 16
    for matches, of in ((found["matches"], "generated_accuracy"), (found["noisy_matches"], "noisy_accuracy")):
        assert len(matches["right"]) == 16 and ratio(matches["right"], matches["positions"]) == found[of]
    clean, noise = noisy.matches
    paired = paired_difference(*((m["right"], m["positions"]) for m in (clean, noise)), ratio, n=20)
    assert paired.difference == pytest.approx(found["generated_accuracy"] - found["noisy_accuracy"])


def test_the_most_exact_of_the_packed_has_the_fewest_bits_that_hold_the_texts(tiny_encoder, tiny_material):
    data, components = tiny_material.dataset("test", layers=()), np.eye(32, dtype=np.float32)[:, :8]
    assert most_exact(packed_ids_by_bits(tiny_encoder, components, 160, 0.2, 16), data).bits == 1
    narrow = 8 + int(data.lengths.max()) * (tiny_encoder.vocab_size - 1).bit_length() // 2  # room at two bits a number
    assert most_exact(packed_ids_by_bits(tiny_encoder, components, narrow, 0.2, 16), data).bits == 2


def test_packed_bits_are_those_of_the_headlines_that_are_exact(tiny_material, tiny_settings):
    """Where all are exact, all of the reference's bits; where no id has room, none."""
    bits = np.linspace(10, 60, len(tiny_material.states["test"]))
    found = packed_bits(tiny_material, 160, bits, tiny_settings)
    assert found["bits"] == pytest.approx(bits[: tiny_settings.n_generate].mean())
    assert found["low"] < found["bits"] < found["high"]
    narrow = packed_bits(tiny_material, 12, bits, tiny_settings)
    assert narrow["bits"] is None or narrow["bits"] < found["bits"]


def test_packed_ids_have_both_virtues(tiny_material, tiny_settings):
    packed = packed_ids_of_size(tiny_material, 160, tiny_settings)
    assert packed[1].prefix == 32  # a third, at most H
    test = tiny_material.dataset("test", 12)
    found = two_virtues(packed[1], test, n_bootstrap=20)
    assert (
        found["n"] == 12 and found["exact_match"] == found["exact_match_high"] == 1 and found["exact_match_low"] > 0.7
    )
    assert found["rank_correlation_low"] <= found["rank_correlation"] <= found["rank_correlation_high"]
    assert found["rank_correlation"] > 0.9
