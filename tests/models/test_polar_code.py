"""Polar codes and levels: exact without noise, near the limit with it, worthless without the frozen bits."""

import numpy as np
import pytest

from invlib.measures.channel import channel_bits, noise_of_db
from invlib.models.modulation import Modulation
from invlib.models.polar_code import CRC_BITS, PolarCode, checksum, reliabilities, transform

RNG = np.random.default_rng(0)


def errors(size, n, db, tries=200, bits=1, list_size=16):
    """The share of messages that are read wrong, of `tries` over n noisy numbers."""
    noise, modulation, rng = noise_of_db(db), Modulation(bits), np.random.default_rng(1)
    code = PolarCode(size, np.tile(modulation.means(noise), n), list_size)
    sent = rng.integers(0, 2, (tries, size))
    numbers = modulation.numbers(code.encode(sent))
    assert numbers.shape == (tries, n)
    found, cost, holds = code.candidates(modulation.llr(numbers + noise * rng.standard_normal(numbers.shape), noise))
    best = np.where(holds, cost, cost + 1e6).argmin(1)
    return (found[np.arange(tries), best] != sent).any(1).mean()


def test_the_transform_by_hand():
    """u F for two bits is (u0 + u1, u1); twice it is nothing."""
    assert transform(np.array([[0, 1], [1, 0], [1, 1]])).tolist() == [[1, 1], [1, 0], [0, 1]]
    u = RNG.integers(0, 2, (5, 64))
    np.testing.assert_array_equal(transform(transform(u)), u)


def test_the_checksum_finds_a_flipped_bit():
    message = RNG.integers(0, 2, (1, 40))
    flipped = message ^ np.eye(40, dtype=int)
    assert checksum(message).shape == (1, CRC_BITS)
    assert (checksum(flipped) != checksum(message)).any(1).all()
    assert not checksum(np.zeros((1, 40), dtype=int)).any()


def test_reliabilities_polarise_and_keep_their_sum_of_information():
    """For a coded bit that is certain or lost nothing is approximate; else the first input is worst, the last best."""
    np.testing.assert_allclose(reliabilities(np.array([0.0, 0, 0, 0])), 0, atol=1e-6)
    found = reliabilities(np.full(64, 2.0))
    assert found[0] == found.min() < 1e-3 and found[-1] == found.max() == pytest.approx(128)
    lost, known = reliabilities(np.array([0.0, 7.0]))
    assert lost == pytest.approx(0, abs=1e-6) and known == pytest.approx(7)


@pytest.mark.parametrize("n, size", [(32, 8), (85, 40), (100, 20), (256, 100)])
def test_without_noise_every_message_comes_back(n, size):
    assert errors(size, n, 30, tries=50) == 0


def test_it_comes_near_the_limit():
    """At 0 dB: four fifths of what 256 numbers can carry arrive, and a fifth more than that does not."""
    limit = channel_bits(256, 1.0)
    assert errors(int(0.8 * limit), 256, 0) <= 0.02
    assert errors(int(1.3 * limit), 256, 0) > 0.5


def test_four_levels_carry_more_than_two_where_noise_is_low():
    size = int(0.8 * Modulation(2).channel_bits(100, noise_of_db(12)))
    assert size > 100 and errors(size, 100, 12, bits=2) <= 0.05


def test_a_longer_list_is_better():
    assert errors(80, 128, 3, list_size=16) < errors(80, 128, 3, list_size=1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="60 message bits and 8 of checksum do not fit into 64"):
        PolarCode(60, np.ones(64))


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_levels_are_even_and_neighbours_differ_in_one_bit(bits):
    m = Modulation(bits)
    assert np.mean(m.levels**2) == pytest.approx(1) and m.levels.sum() == pytest.approx(0)
    assert (np.abs(np.diff(m.labels, axis=0)).sum(1) == 1).all()
    sent = RNG.integers(0, 2, (3, 7 * bits))
    noisy = m.numbers(sent) + RNG.uniform(-0.4, 0.4, (3, 7)) * np.abs(np.diff(m.levels)[0])
    np.testing.assert_array_equal(m.llr(noisy, 0.1) < 0, sent)


def test_levels_carry_less_than_normal_numbers_and_antipodal_ones_what_is_known():
    assert Modulation(1).capacity(1.0) == pytest.approx(0.4860, abs=1e-3)  # of an antipodal number at 0 dB
    assert Modulation(1).capacity(1e-3) == pytest.approx(1) and Modulation(3).capacity(1e-3) == pytest.approx(3)
    for db in (0, 6, 12):
        carried = [Modulation(bits).channel_bits(256, noise_of_db(db)) for bits in (1, 2, 3)]
        assert 0 < max(carried) < channel_bits(256, noise_of_db(db))


def test_one_bit_is_the_log_likelihood_ratio_by_hand():
    """+1 and -1 under noise s: 2 y / s ** 2."""
    np.testing.assert_allclose(Modulation(1).llr(np.array([[0.3, -2.0]]), 0.5), [[2.4, -16.0]])
