"""Texts of like length together."""

import pytest

from invlib.encoders.lengths import by_length


def test_the_longest_come_first_and_equally_long_ones_keep_their_order():
    assert [rows.tolist() for rows in by_length([3, 5, 3, 9, 5], 2)] == [[3, 1], [4, 0], [2]]
    assert by_length([], 2) == []


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size}"):
        by_length([3, 5], batch_size)
