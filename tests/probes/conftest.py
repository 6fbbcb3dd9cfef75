"""What the card's tests share: its data over the tiny material, and a control that is exact."""

import numpy as np
import pytest

from invlib.models.packed_ids import PackedIds
from invlib.models.pooling import fit_components
from invlib.probes.card_data import CardData
from invlib.probes.systems import of_codec


@pytest.fixture
def card_data(float32, tiny_model, tiny_material):
    """Eight of the sixteen test sentences; the tiny encoder judges itself."""
    return CardData.of(tiny_material, tiny_model("no_vector"), None, n=8, n_bootstrap=20)


@pytest.fixture
def exact(float32, tiny_encoder, tiny_material):
    """`PackedIds` with a prefix of 8 numbers, as a system: it says every sentence exactly."""
    sentence = np.asarray(tiny_material.states["train"].sentence)
    return of_codec(PackedIds(tiny_encoder, fit_components(sentence, 8), 168, bits=1, max_length=16))
