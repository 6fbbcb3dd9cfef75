"""What a decoder's cross-attention reads: memory tokens that are made of the vector."""

import torch
from torch import Tensor, nn

from invlib.models.code_layout import deinterleave, length_size, read_length, slot_width


class Memory(nn.Module):
    """Cuts the vector into K slots and makes each a memory token: (B, D) -> (B, K, n_embd).

    One shared linear layer (none where the slot is as wide as the decoder), and a learned embedding of each of several
    slots. A semantic prefix is not cut: it becomes one memory token before the slots', (B, 1 + K, n_embd). Where
    `expanded_size` is given, what is cut is not the vector, but that many numbers that an MLP makes of it.
    """

    def __init__(self, config):
        super().__init__()
        c, n_embd, code_size = config, config.n_embd, config.expanded_size or config.embedding_dim - config.prefix_size
        self.slots, self.prefix_size, self.numbers_per_piece = c.slots, c.prefix_size, c.numbers_per_piece
        self.length_copies, self.length_size = c.length_copies, length_size(c.slots, c.length_copies)
        width = slot_width(code_size, c.slots, c.numbers_per_piece, c.length_copies)
        self.code_scale = code_size**0.5 / c.code_weight if c.prefix_size else 1.0  # back to a mean square of 1
        self.prefix = nn.Linear(c.prefix_size, n_embd) if c.prefix_size else None
        self.mlp = None
        if c.expanded_size:
            self.mlp = nn.Sequential(nn.Linear(c.embedding_dim, code_size), nn.GELU(), nn.Linear(code_size, code_size))
        self.linear = nn.Identity() if width == n_embd else nn.Linear(width, n_embd)
        self.slot_embeddings = nn.Parameter(torch.empty(c.slots, n_embd).normal_(0, 0.02)) if c.slots > 1 else None

    def forward(self, sentence_embedding: Tensor, more: Tensor | None = None) -> Tensor:
        """more: added to the MLP's first layer, (B, expanded_size)."""
        prefix, code = sentence_embedding.tensor_split([self.prefix_size], dim=1)
        code = self.code_scale * code if self.mlp is None else self.expanded(code, more)
        if self.numbers_per_piece:
            code = code[:, self.length_size :]
            slots = deinterleave(code, self.lengths(sentence_embedding), self.slots, self.numbers_per_piece)
        else:
            slots = code.unflatten(-1, (self.slots, -1))
        memory = self.linear(slots)  # (B, K, n_embd)
        memory = memory if self.slot_embeddings is None else memory + self.slot_embeddings
        if self.prefix is None:
            return memory
        return torch.cat([self.prefix(self.prefix_size**0.5 * prefix).unsqueeze(1), memory], dim=1)

    def lengths(self, sentence_embedding: Tensor) -> Tensor | None:
        """The word pieces of each text, the end token among them, (B,) int64; None where the vector does not tell."""
        if not self.numbers_per_piece:
            return None
        code = self.code_scale * sentence_embedding[:, self.prefix_size :]
        return read_length(code[:, : self.length_size], self.slots, self.length_copies)

    def expanded(self, vector: Tensor, more: Tensor | None) -> Tensor:
        """The MLP of the vector, scaled to a mean square of 1: (B, D) -> (B, expanded_size)."""
        first, *others = self.mlp
        hidden = first(unit_square(vector))
        return nn.Sequential(*others)(hidden if more is None else hidden + more)


def unit_square(vectors: Tensor) -> Tensor:
    """Each vector scaled to a mean square of 1, (B, D); a vector of zeros stays."""
    return nn.functional.normalize(vectors, dim=-1) * vectors.shape[-1] ** 0.5
