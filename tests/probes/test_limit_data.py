"""What 08 measures every system on: the codes' sizes and prefix, and tables that a system's name can be put to."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from invlib.measures.channel import noise_of_db
from invlib.models.arithmetic_code import payload_sizes
from invlib.models.packed_ids import PackedIds
from invlib.probes.efficiency import efficiency
from invlib.probes.limit_data import LAYERS, LimitData
from invlib.probes.robustness import prefix_of_size
from invlib.training.train import train


@pytest.fixture
def shared(float32, tiny_settings, tiny_material, tiny_model):
    return LimitData.of(replace(tiny_settings, n_search=6, seed=3), tiny_material, tiny_model("no_vector"))


def test_a_system_is_measured_on_the_headlines_and_their_bits(shared):
    assert len(shared.test) == 6 and len(shared.train) == 40
    np.testing.assert_array_equal(shared.test_bits, shared.text_code.bits(shared.test.ids()))
    components = prefix_of_size(shared.material, 384)
    packed = PackedIds(shared.material.encoder, components, 384, 1, shared.settings.code_weight, 16)
    table = shared.measured(packed, (None, -6))
    alone = efficiency(packed, shared.test, shared.train, shared.test_bits, (None, -6), n_bootstrap=20, seed=3)
    pd.testing.assert_frame_equal(table, alone.drop(columns="matches"))


def test_packed_ids_are_the_best_of_their_bits_a_number(shared):
    table = shared.packed_ids(384, (None, -6))
    assert table["exact_match"].tolist()[0] == 1 and table["bits_a_number"].tolist() == [1, 1]
    assert set(table["D"]) == {384}


def test_the_arithmetic_code_is_made_for_the_noise_with_or_without_a_prefix(shared):
    code = shared.arithmetic_code(384)(noise_of_db(0))
    assert code.noise == 1 and code.components.shape[1] == prefix_of_size(shared.material, 384).shape[1] > 0
    assert set(shared.arithmetic_code(384)(0.0).sizes) == set(payload_sizes(shared.train_bits))
    bare = shared.arithmetic_code(384, prefix=False)(noise_of_db(0))
    assert bare.code_size == 384 > code.code_size
    assert shared.measured(shared.arithmetic_code(384), (None,))["exact_match"].tolist() == [1]


def test_poolings_are_named_by_their_row_with_their_steps(shared, run, tiny_settings, tiny_material):
    own = replace(tiny_settings, epochs=1, encoder_layers=LAYERS)
    models = {f"{dim}": train(replace(own, embedding_dim=dim), run, tiny_material)[0] for dim in (64, 32)}
    found = shared.poolings(models)
    assert found["D"].tolist() == [32] * 3 + [64] * 3 and set(found["model"]) == {"att_pool"}
    assert set(found["steps"]) == {5} and "matches" not in found
