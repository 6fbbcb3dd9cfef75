"""Dealing a code's numbers out over a sentence: nothing is lost, and the length can be read through noise."""

import torch

from invlib.models.code_layout import LENGTH_SIZE, deinterleave, interleave, length_angles, read_length


def test_numbers_are_dealt_round_the_table():
    values = torch.arange(24.0).reshape(1, 4, 6)  # piece p's j-th number is 6 p + j
    code = interleave(values, torch.tensor([3]), 8)
    assert code.tolist() == [[0, 6, 12, 1, 7, 13, 2, 8]]  # of three pieces, the fourth has no part in it


def test_what_was_dealt_is_collected_again():
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


def test_gradients_reach_what_was_dealt_and_nothing_else():
    values = torch.randn(1, 4, 6, requires_grad=True)
    interleave(values, torch.tensor([3]), 8).sum().backward()
    assert values.grad.sum() == 8 and values.grad[0, 3].abs().sum() == 0 and values.grad[0, 2].tolist() == [
        1, 1, 0, 0, 0, 0,
    ]  # fmt: skip


def test_a_length_is_read_back_through_noise_of_two_fifths():
    torch.manual_seed(0)
    lengths = torch.arange(1, 41)
    numbers = length_angles(lengths)
    assert numbers.shape == (40, LENGTH_SIZE)
    assert torch.equal(read_length(numbers, 40), lengths)
    many = lengths.repeat(50)
    noise = 0.4 * numbers.std(0, correction=0) * torch.randn(len(many), LENGTH_SIZE)
    assert (read_length(length_angles(many) + noise, 40) == many).float().mean() > 0.98
