"""Interleaving a code's numbers over a sentence: nothing is lost, and the length can be read through noise."""

import pytest
import torch

from invlib.models.code_layout import (
    deinterleave,
    interleave,
    length_angles,
    length_size,
    periods,
    read_length,
    slot_width,
)


def test_a_code_is_cut_into_equal_slots_or_shared_by_pieces():
    assert slot_width(12, 4) == 3 and slot_width(15, 7, 32) == 32
    larger = "give a larger vector"
    for size, slots, most, remedy in (
        (10, 4, 0, "choose a divisor of 10"), (12, 0, 0, "choose a divisor of 12"), (3, 4, 0, larger),
        (0, 4, 0, larger), (14, 7, 32, larger),  # 8 numbers hold the length
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"can't be cut into {slots} .*; {remedy}"):
            slot_width(size, slots, most)


def test_numbers_are_shared_round_robin():
    values = torch.arange(24.0).reshape(1, 4, 6)  # piece p's j-th number is 6 p + j
    code = interleave(values, torch.tensor([3]), 8)
    assert code.tolist() == [[0, 6, 12, 1, 7, 13, 2, 8]]  # of three pieces, the fourth has no part in it


def test_what_was_interleaved_is_collected_again():
    torch.manual_seed(0)
    values, lengths = torch.randn(5, 7, 4), torch.tensor([1, 2, 3, 5, 7])
    code = interleave(values, lengths, 12)
    back = deinterleave(code, lengths, 7, 4)
    for row, (n, found) in enumerate(zip(lengths.tolist(), back, strict=True)):
        kept = [(i % n, i // n) for i in range(12) if i // n < 4]
        expected = torch.zeros(7, 4)
        for piece, place in kept:
            expected[piece, place] = values[row, piece, place]
        assert torch.equal(found, expected) and len(kept) == min(12, 4 * n)


def test_gradients_reach_what_has_a_place_and_nothing_else():
    values = torch.randn(1, 4, 6, requires_grad=True)
    interleave(values, torch.tensor([3]), 8).sum().backward()
    assert values.grad.sum() == 8 and values.grad[0, 3].abs().sum() == 0 and values.grad[0, 2].tolist() == [
        1, 1, 0, 0, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("longest", [39, 81, 127, 511])
def test_a_length_is_read_back_through_noise_of_two_fifths(longest):
    torch.manual_seed(0)
    lengths = torch.arange(1, longest + 1)
    numbers = length_angles(lengths, longest)
    assert numbers.shape == (longest, length_size(longest))
    assert torch.equal(read_length(numbers, longest), lengths)
    many = lengths.repeat(50)
    noise = 0.4 * numbers.std(0, correction=0) * torch.randn(len(many), length_size(longest))
    assert (read_length(length_angles(many, longest) + noise, longest) == many).float().mean() > 0.97


def test_the_angles_cover_the_longest_sentence_and_published_models_keep_theirs():
    assert periods(39) == periods(81) == [81, 27, 9, 3]
    assert periods(82) == periods(243) == [243, 81, 27, 9, 3] and periods(511)[0] == 729
    assert (length_size(39), length_size(127)) == (8, 10)


def test_copies_of_the_length_bear_more_noise():
    torch.manual_seed(0)
    lengths, right = torch.arange(1, 40).repeat(50), []
    for copies in (1, 3):
        numbers = length_angles(lengths, 39, copies)
        assert numbers.shape[1] == length_size(39, copies) == 8 * copies
        noisy = numbers + 0.8 * numbers.std(0) * torch.randn_like(numbers)
        right.append((read_length(noisy, 39, copies) == lengths).float().mean())
    assert right[0] < 0.85 < 0.97 < right[1]
    assert slot_width(39 + 24, 39, 32, copies=3) == 32
    with pytest.raises(ValueError, match="can't be cut"):
        slot_width(39 + 23, 39, 32, copies=3)
