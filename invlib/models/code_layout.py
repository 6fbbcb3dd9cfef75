"""How the numbers of a code are shared out over the word pieces of a sentence, round robin.

With L word pieces, number i of the code belongs to piece i mod L, as its (i // L)-th number, so a short sentence uses
them all. The layout depends on L alone, and the vector holds L too, as angles; several copies of them where noise would
hide it.
"""

import math

import torch
from torch import Tensor


def periods(longest: int) -> list[float]:
    """Of the angles that tell lengths from 1 to `longest` apart: powers of 3, from at least 81 down to 3."""
    return [3.0**k for k in range(20, 0, -1) if k <= 4 or 3 ** (k - 1) < longest]


def length_size(longest: int, copies: int = 1) -> int:
    """How many numbers of the code hold the length: 8 a copy up to 81 word pieces, 10 up to 243."""
    return 2 * len(periods(longest)) * copies


def slot_width(code_size: int, slots: int, numbers_per_piece: int = 0, copies: int = 1) -> int:
    """The width of a code's slots: equal parts, or `numbers_per_piece` where a length and word pieces share it."""
    size = code_size - (length_size(slots, copies) if numbers_per_piece else 0)
    if not 0 < slots <= size or (not numbers_per_piece and size % slots):
        even = slots <= size and not numbers_per_piece
        kind = f"equal slots; choose a divisor of {size}" if even else "slots; give a larger vector"
        raise ValueError(f"{size} numbers can't be cut into {slots} {kind}")
    return numbers_per_piece or size // slots


def length_angles(lengths: Tensor, longest: int, copies: int = 1) -> Tensor:
    """L (...,) -> (..., length_size): cosine and sine of 2 pi L / period, scaled to a mean square of 1."""
    turns = 2 * math.pi * lengths.unsqueeze(-1) / torch.tensor(periods(longest), device=lengths.device)
    return math.sqrt(2) * torch.cat([turns.cos(), turns.sin()] * copies, dim=-1)


def read_length(numbers: Tensor, longest: int, copies: int = 1) -> Tensor:
    """The L from 1 to `longest` whose angles are nearest to the numbers, (B, length_size) -> (B,) int64."""
    table = length_angles(torch.arange(1, longest + 1, device=numbers.device), longest, copies)
    return 1 + torch.cdist(numbers.float(), table).argmin(-1)


def interleave(values: Tensor, lengths: Tensor, size: int) -> Tensor:
    """The code (B, size) of values (B, P, J), each piece's J numbers: what fits, in order, of the first L pieces.

    Where L * J is less than `size` the rest is 0. lengths (B,), at most P.
    """
    piece, place, there = layout(lengths, size, values.shape[2])
    return values.flatten(1).gather(1, piece * values.shape[2] + place) * there


def deinterleave(code: Tensor, lengths: Tensor, pieces: int, places: int) -> Tensor:
    """The values (B, P, J) that `interleave` made a code (B, size) of; 0 where one had no place in it."""
    piece, place, there = layout(lengths, code.shape[1], places)
    values = code.new_zeros(len(code), pieces * places)
    return values.scatter_add(1, piece * places + place, code * there).unflatten(1, (pieces, places))


def layout(lengths: Tensor, size: int, places: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which piece, which of its places, and whether it has that many: each (B, size)."""
    number = torch.arange(size, device=lengths.device)
    piece, place = number % lengths.unsqueeze(1), number // lengths.unsqueeze(1)
    return piece, place.clamp(max=places - 1), place < places
