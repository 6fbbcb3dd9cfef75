"""The decoder's words: the embeddings that it reads and the output layer that it writes with, in one."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

WORD_EMBEDDINGS = ("encoder", "own")
FEW = 8  # word pieces whose logits are computed once more


class TiedVocabulary(nn.Module):
    """Word embeddings and output layer in one: logits = project(states) @ E^T + bias.

    'encoder': E is the frozen encoder's table (V, H) seen through a learned projection, and no weight of the
    checkpoint; 'own': E is learned, (V, n_embd), the deck's way (tied as in Press & Wolf, 2017).
    """

    def __init__(self, kind: str, config):
        super().__init__()
        self.kind, vocab_size, n_embd = kind, config.vocab_size, config.n_embd
        if kind == "encoder":
            self.register_buffer("table", torch.zeros(vocab_size, config.hidden_size), persistent=False)
            self.to_decoder = nn.Linear(config.hidden_size, n_embd)
            self.to_table = nn.Linear(n_embd, config.hidden_size)
        else:
            # Small, as an output layer has to start, and read at sqrt(n_embd) times that (Vaswani et al., "Attention Is
            # All You Need", 2017, section 3.4): an LSTM would not hear 0.02
            self.weight = nn.Parameter(torch.empty(vocab_size, n_embd).normal_(0, n_embd**-0.5))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def set_table(self, word_embeddings: Tensor) -> None:
        """Give the frozen table, (V, H); it is scaled to unit variance."""
        if self.kind == "encoder":
            table = word_embeddings.detach().float()
            self.table = (table / table.std()).to(self.bias)

    @torch.no_grad()
    def start_at_frequencies(self, counts: Tensor) -> None:
        """Start the bias at each word piece's log-frequency, counts (V,); else the first steps learn just that.

        They would push an LSTM encoder's vector all one way, until it is saturated.
        """
        smoothed = counts.to(self.bias) + 0.1  # a piece that never occurred stays possible
        self.bias.copy_((smoothed / smoothed.sum()).log())

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids (B, T) -> embeddings (B, T, n_embd)."""
        if self.kind == "own":
            return nn.functional.embedding(input_ids, self.weight) * self.weight.shape[1] ** 0.5
        return self.to_decoder(nn.functional.embedding(input_ids, self.table))

    @property
    def rows(self) -> Tensor:
        """E, a row for each word piece."""
        return self.weight if self.kind == "own" else self.table

    def project(self, states: Tensor) -> Tensor:
        """What the rows are multiplied by, as wide as they are."""
        # Of states and table the states are scaled, which are smaller: the table has V rows
        return states if self.kind == "own" else self.to_table(states) / self.table.shape[-1] ** 0.5

    def logits(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        """states (..., n_embd) -> logits (..., V), or (..., C) for the C word pieces in `candidates`."""
        table, bias = self.rows, self.bias
        if candidates is not None:
            table, bias = table[candidates], bias[candidates]
        states = self.project(states)
        return nn.functional.linear(states, table.to(states.dtype), bias.to(states.dtype))

    def rounded(self) -> "Rounded":
        """What `likeliest` takes to compute most logits in bfloat16."""
        return Rounded(self.rows.bfloat16(), self.rows.norm(dim=-1).max(), self.bias.abs().max())

    def likeliest(self, states: Tensor, rounded: "Rounded | None" = None) -> Tensor:
        """The word piece of each state's largest logit, the first of equal ones: (B, n_embd) float32 -> (B,) int64.

        With `rounded` all logits are computed in bfloat16, and the few largest once more in float32; where rounding may
        have hidden a larger one from these few, all are. The result is the same.
        """
        if rounded is None:
            return self.logits(states).argmax(-1)
        read = self.project(states)
        rough = nn.functional.linear(read.bfloat16(), rounded.rows, self.bias.bfloat16())
        top, pieces = rough.topk(min(FEW, rough.shape[-1]), dim=-1)
        pieces, top = pieces.sort(dim=-1).values, top.float()
        exact = (self.rows[pieces] @ read.unsqueeze(-1)).squeeze(-1) + self.bias[pieces]
        found = pieces.gather(1, exact.argmax(-1, keepdim=True)).squeeze(1)
        # Rounding changes a number by 2^-9 of it at most: both factors of a product, the bias, the sum
        error = 2**-8 * (read.norm(dim=-1) * rounded.longest + rounded.bias + top[:, 0].abs())
        unsure = top[:, 0] - top[:, -1] <= 2 * error
        if unsure.any():
            found[unsure] = self.logits(states[unsure]).argmax(-1)
        return found


class Rounded(NamedTuple):
    """The rows of a vocabulary in bfloat16, (V, H); the length of the longest, and the largest bias, float32."""

    rows: Tensor
    longest: Tensor
    bias: Tensor
