"""Mixup of two headlines: a vector between them, to be decoded to a splice of both."""

from collections.abc import Sequence

import torch
from torch import Tensor

NEAREST, FARTHEST = 0.3, 0.5  # how far a vector is moved to another headline's
OVERLAP = 8  # word pieces that the two parts would share if both headlines were the same
REMEMBERED = 512  # headlines of the last batches, of all lengths; a batch's own are all about as long


def splice(
    first: Sequence[int], second: Sequence[int], longest: int, continues: Sequence[bool], overlap: int = OVERLAP
) -> list[int]:
    """Word pieces of both: the first text to a little beyond its middle, then the second from a little before it.

    They meet near the middle of the shorter one. The second part begins `overlap` positions before the first part ends
    (where it has so many), at the start of a word: continues (V,) tells which pieces continue one. At most `longest`
    pieces; the beginning of the second part is cut where there are more.
    """
    end = min(len(first), min(len(first), len(second)) // 2 + overlap // 2)
    start = max(0, end - overlap, len(second) - (longest - end))
    while start < len(second) and continues[second[start]]:
        start += 1
    return [*first[:end], *second[start:]]


class Mixup:
    """Moves a share of a batch's vectors towards those of earlier headlines, and gives the text to decode there.

    A mixed vector lies `NEAREST` to `FARTHEST` of the way to another headline's; its text is the `splice` of both, the
    nearer one first.
    """

    def __init__(self, continues: Tensor, eos_token_id: int, max_length: int):
        """continues (V,) bool: the word pieces that continue a word, '##s'; max_length: [CLS] and [SEP] included."""
        self.continues, self.eos_token_id, self.max_length = continues.tolist(), eos_token_id, max_length
        self.known: list[tuple[Tensor, list[int]]] = []  # vector, word pieces without [CLS] and [SEP]

    def mix(self, z: Tensor, input_ids: Tensor, attention_mask: Tensor, real: Tensor, share: float):
        """Vectors (B, D) and ids (B, T) -> vectors, input_ids and attention_mask of which `share` of the real is mixed.

        Returns moved (B,) bool too. The other headline's vector is taken as it was, without a gradient.
        """
        lengths = attention_mask.sum(1).tolist()
        rows = [ids[:length] for ids, length in zip(input_ids.tolist(), lengths, strict=True)]
        moved = real & (torch.rand(len(z), device=z.device) < share) & bool(self.known)
        way = NEAREST + (FARTHEST - NEAREST) * torch.rand(len(z), 1, device=z.device)
        others, texts = z.detach().clone(), list(rows)
        for k in moved.nonzero().flatten().tolist():
            others[k], pieces = self.known[int(torch.randint(len(self.known), ()))]
            text = splice(rows[k][1:-1], pieces, self.max_length - 2, self.continues)
            texts[k] = [rows[k][0], *text, self.eos_token_id]
        mixed = torch.where(moved.unsqueeze(1), z + way * (others - z), z)
        kept = [(vector, rows[k][1:-1]) for k, vector in enumerate(z.detach()) if real[k]]
        self.known = (kept + self.known)[:REMEMBERED]
        width = max(map(len, texts))
        ids, mask = (torch.zeros(len(z), width, dtype=torch.int64) for _ in range(2))
        for k, text in enumerate(texts):
            ids[k, : len(text)], mask[k, : len(text)] = torch.tensor(text), 1
        return mixed, ids.to(z.device), mask.to(z.device), moved
