"""The limit: the published formula, the figures that the study rests on, and decibels."""

import math

import pytest

from invlib.measures.channel import capacity, channel_bits, db_of_noise, noise_of_db

FIGURES = {32: (7, 15, 26, 44), 64: (19, 36, 58, 95), 128: (44, 80, 126, 198), 384: (156, 264, 404, 622)}


@pytest.mark.parametrize("n", FIGURES)
def test_bits_at_one_per_cent_block_error(n):
    found = [channel_bits(n, noise_of_db(db)) for db in (0, 3, 6, 10)]
    assert found == pytest.approx(FIGURES[n], abs=1)


def test_decibels_by_hand():
    assert noise_of_db(0) == 1 and noise_of_db(20) == pytest.approx(0.1) and noise_of_db(None) == 0
    assert db_of_noise(0.5) == pytest.approx(6.02, abs=0.01) and db_of_noise(0) == math.inf
    assert all(noise_of_db(db_of_noise(noise)) == pytest.approx(noise) for noise in (0.1, 0.7, 1.4))


def test_more_numbers_less_noise_and_more_errors_carry_more():
    assert capacity(1.0) == 0.5 and capacity(0) == math.inf == channel_bits(10, 0)
    assert channel_bits(128, 0.5) < 128 * capacity(0.5)
    assert channel_bits(128, 0.5) < channel_bits(129, 0.5) < channel_bits(129, 0.4)
    assert channel_bits(128, 0.5, 0.01) < channel_bits(128, 0.5, 0.1)
    assert channel_bits(1, 3.0) == 0
    # of very many numbers each carries its capacity
    assert channel_bits(10**8, 0.5) / 10**8 == pytest.approx(capacity(0.5), rel=1e-3)


def test_what_is_no_channel_is_refused():
    for wrong in ((0, 1.0), (8, -1.0), (8, 1.0, 0.0)):
        with pytest.raises(ValueError, match="give n of at least 1"):
            channel_bits(*wrong)
    with pytest.raises(ValueError, match="no standard deviation"):
        db_of_noise(-0.1)
