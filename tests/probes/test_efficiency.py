"""Bits given back beside those that the channel could carry."""

import numpy as np
import pandas as pd
import pytest

from invlib.measures.channel import channel_bits, noise_of_db
from invlib.models.packed_ids import PackedIds
from invlib.probes.efficiency import best_per_ratio, efficiency


@pytest.fixture
def packed(tiny_encoder):
    return PackedIds(tiny_encoder, np.eye(32, dtype=np.float32)[:, :8], 160, bits=1, max_length=16)


def test_bits_given_back_are_those_of_the_exact_headlines(packed, tiny_material):
    data, train = tiny_material.dataset("test"), tiny_material.dataset("train")
    bits = np.linspace(10, 70, 16)
    table = efficiency(packed, data, train, bits, (None, 6, -12), n=12, n_bootstrap=20)
    assert table.snr_db.tolist() == [np.inf, pytest.approx(6), pytest.approx(-12)] and (table.n == 12).all()
    assert table.exact_match[0] == 1 and table.exact_bits[0] == pytest.approx(bits[:12].mean())
    assert table.exact_match[2] < 0.5 and table.exact_bits[2] < 0.5 * table.exact_bits[0]
    matches = table.matches[1]["exact"]
    assert table.exact_bits[1] == pytest.approx((matches * bits[:12]).mean())
    assert table.channel_bits[1] == channel_bits(160, noise_of_db(6)) and np.isinf(table.channel_bits[0])
    assert table.efficiency[1] == pytest.approx(table.exact_bits[1] / table.channel_bits[1])
    assert table.efficiency[0] == 0 and table.bleu_1[0] == pytest.approx(1) and table.bleu_1[2] < 0.6
    assert (table.exact_bits_low <= table.exact_bits).all() and (table.exact_bits <= table.exact_bits_high).all()


def test_a_code_can_be_chosen_for_each_noise(packed, tiny_material):
    asked = []

    def codec(noise):
        asked.append(noise)
        return packed

    data = tiny_material.dataset("test")
    table = efficiency(codec, data, data, np.ones(16), (None, 3), n_bootstrap=20)
    assert asked == [0, noise_of_db(3)]
    once = efficiency(packed, data, data, np.ones(16), (None, 3), n_bootstrap=20)
    pd.testing.assert_frame_equal(table.drop(columns="matches"), once.drop(columns="matches"))


def test_the_best_is_chosen_at_each_ratio():
    tables = {
        1: pd.DataFrame({"noise": [0.0, 1.0], "exact_bits": [80.0, 0.0], "generated_accuracy": [0.9, 0.4]}),
        4: pd.DataFrame({"noise": [0.0, 1.0], "exact_bits": [90.0, 0.0], "generated_accuracy": [1.0, 0.1]}),
        8: pd.DataFrame({"noise": [0.0, 1.0], "exact_bits": [90.0, 0.0], "generated_accuracy": [1.0, 0.2]}),
    }
    best = best_per_ratio(tables)
    assert best.bits_a_number.tolist() == [4, 1] and best.noise.tolist() == [0, 1]
