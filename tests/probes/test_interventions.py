"""Surgery on two halves: what is done to the vectors, and whose text is counted."""

import numpy as np
import pytest

from invlib.models.packed_ids import PackedIds
from invlib.models.pooling import fit_components
from invlib.probes.interventions import INTERVENTIONS, embedded, interventions, operated


@pytest.fixture
def packed(tiny_encoder, tiny_material):
    components = fit_components(np.asarray(tiny_material.states["train"].sentence), 8)
    return PackedIds(tiny_encoder, components, 160, bits=1, max_length=16)


@pytest.fixture
def table(packed, tiny_material):
    test = tiny_material.dataset("test", 12)
    return interventions(packed, packed.vectors_of(test), test.ids(), test.sentence, 20).set_index("intervention")


def test_each_half_is_taken_from_where_the_table_says():
    z = np.arange(3 * 160, dtype=np.float32).reshape(3, 160)
    for name, (prefix, code) in INTERVENTIONS.items():
        found = operated(z, z[::-1], 8, name)
        sources = {"own": z[0], "other": z[2], None: np.zeros(160)}
        np.testing.assert_array_equal(found[0], np.r_[sources[prefix][:8], sources[code][8:]])
    np.testing.assert_array_equal(z.ravel(), np.arange(3 * 160))


def test_digits_are_read_from_the_code_alone(table):
    """packed_ids gives the code's owner back whatever the prefix says; the figures must say so."""
    assert list(table.index) == list(INTERVENTIONS) and (table["n"] == 12).all()
    for name in ("nothing", "prefix set to zero", "another's prefix"):
        line = table.loc[name]
        assert line["exact_own"] == line["pieces_own"] == 1 and line["exact_other"] == 0 < line["exact_own_low"] < 1
        assert line["cosine_own"] == pytest.approx(1, abs=1e-3) and line["cosine_other"] < 0.999
    swapped = table.loc["another's code"]
    assert swapped["exact_other"] == swapped["pieces_other"] == 1 and swapped["exact_own"] == 0
    assert swapped["cosine_other"] == pytest.approx(1, abs=1e-3)
    assert table.loc["code set to zero", "exact_own"] == 0


def test_what_is_given_is_checked(packed, tiny_model, tiny_material):
    with pytest.raises(ValueError, match="unknown intervention 'both'; choose from nothing"):
        operated(np.zeros((2, 160)), np.zeros((2, 160)), 8, "both")
    two = tiny_material.dataset("test", 2)
    with pytest.raises(ValueError, match="no semantic prefix"):
        interventions(tiny_model("att_pool"), np.zeros((2, 32)), two.ids(), two.sentence)
    test = tiny_material.dataset("test", 1)
    with pytest.raises(ValueError, match="at least 2"):
        interventions(packed, packed.vectors_of(test), test.ids(), test.sentence)


def test_an_empty_text_has_no_direction(packed):
    found = embedded(packed, ["oil rises", "", "  "])
    assert np.linalg.norm(found, axis=1).round(3).tolist() == [1, 0, 0]
