"""What protects: each change does what it says, and what an attacker undoes comes back."""

import numpy as np
import pytest

from invlib.inversion.invert import Chain
from invlib.inversion.measure import Texts
from invlib.inversion.protection import Protection, compared, found_rotation, kept_search, protections, random_rotation


@pytest.fixture
def plain() -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((120, 32)).astype(np.float32) * np.linspace(2, 0.2, 32)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def named(plain, kind: str) -> dict[str, Protection]:
    return {p.strength: p for p in protections(plain) if p.kind == kind}


def test_noise_has_its_strength_and_is_the_same_again(plain):
    found = named(plain, "noise")
    for level in (0.1, 1.0):
        change = found[f"{level:g} sd"].change
        moved = (change(plain) - plain) / plain.std(0)
        assert moved.std() == pytest.approx(level, rel=0.05)
        assert (change(plain) == change(plain)).all()


def test_bits_leave_so_many_values(plain):
    for bits, p in ((8, "8 bit"), (2, "2 bit"), (1, "1 bit")):
        values = {len(np.unique(column)) for column in named(plain, "fewer bits")[p].change(plain).T}
        assert max(values) <= (2**bits - 1 if bits > 1 else 2)
    coarse, fine = (np.abs(named(plain, "fewer bits")[f"{b} bit"].change(plain) - plain).max() for b in (2, 8))
    assert fine < 0.01 < coarse


def test_a_cut_leaves_so_many_numbers(plain):
    assert not named(plain, "PCA")  # no cut is smaller than 32 numbers
    wide = np.random.default_rng(1).standard_normal((300, 80)).astype(np.float32)
    assert np.linalg.matrix_rank(named(wide, "PCA")["64 numbers"].change(wide), tol=1e-2) == 64
    assert set(named(wide, "PCA")) == {"64 numbers", "32 numbers"}


def test_a_rotation_keeps_all_cosines_and_known_pairs_undo_it(plain):
    rotation = random_rotation(32)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(32), atol=1e-5)
    rotated = named(plain, "rotation")["unknown"]
    np.testing.assert_allclose(rotated.change(plain) @ rotated.change(plain).T, plain @ plain.T, atol=1e-5)
    assert np.abs(rotated.change(plain) - plain).max() > 0.1 and rotated.undo is None
    back = found_rotation(plain[:40], rotated.change(plain[:40]))
    np.testing.assert_allclose(rotated.change(plain[40:]) @ back, plain[40:], atol=1e-4)
    known = named(plain, "rotation")["120 pairs known"]
    np.testing.assert_allclose(known.undo(known.change(plain)), plain, atol=1e-4)


def test_search_is_kept_or_lost(plain):
    assert kept_search(plain * 3, plain) == {"recall_at_10": 1.0, "rank_correlation": pytest.approx(1)}
    lost = kept_search(np.random.default_rng(2).standard_normal(plain.shape).astype(np.float32), plain)
    assert lost["recall_at_10"] < 0.3 and abs(lost["rank_correlation"]) < 0.2


def test_each_protection_is_attacked_as_changed(inverter, tiny_material):
    texts = Texts.of_split(tiny_material, "test", 4)
    flipped = Protection("flipped", "", lambda z: -z)
    undone = Protection("flipped", "undone", lambda z: -z, lambda z: -z)
    none, lost = Protection("none", "", lambda z: z), Protection("one number", "", lambda z: z * (np.arange(32) == 0))
    plain = np.asarray(tiny_material.states["test"].sentence)
    rows = compared(inverter, texts, [none, flipped, undone, lost], plain, Chain(beam=1, rounds=0))
    assert rows["protection"].tolist() == ["none", "flipped", "flipped", "one number"] and (rows["n"] == 4).all()
    assert rows["cosine"][0] == rows["cosine"][2] != rows["cosine"][1]
    assert (rows["recall_at_10"][:3] == 1).all() and rows["rank_correlation"][3] < 0.9 < rows["rank_correlation"][2]
