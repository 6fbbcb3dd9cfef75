"""Texts from vectors, a word piece at a step, in batches that finished texts leave.

transformers' `generate` keeps the texts that have ended in the batch until the last one ends, and their share of the
output layer, which is most of a step. Beam search and all options of a search stay with it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

LEAVE = 8  # finished texts leave the batch when they are more than one in so many


@torch.no_grad()
def generate(
    decoder, inputs: dict[str, Tensor], next_piece: Callable[[Tensor, Tensor], Tensor], longest: int, config
) -> Tensor:
    """The word pieces of B texts, (B, at most `longest`) int64, without [CLS]; after the end token anything.

    decoder: one with `step`; inputs: what its `generator` gives for B vectors. next_piece: of n texts of the batch, the
    states (n, n_embd) that the output layer reads, and which of the B texts they are, (n,) int64 -> the next word
    piece of each, (n,) int64. config: has bos_token_id and eos_token_id.
    """
    first = next(iter(inputs.values()))
    texts = torch.arange(len(first), device=first.device)  # of the B, those that are in the batch
    made = torch.full((len(texts), longest + 1), config.eos_token_id, device=first.device)
    made[:, 0] = config.bos_token_id
    cache, ended, at = None, torch.zeros_like(texts, dtype=torch.bool), 0
    while at < longest and not ended.all():
        if LEAVE * int(ended.sum()) > len(ended):
            (stay,) = torch.nonzero(~ended, as_tuple=True)
            texts, ended = texts[stay], ended[stay]
            inputs, cache = {name: value[stay] for name, value in inputs.items()}, decoder.select(cache, stay)
        states, cache = decoder.step(made[texts, at : at + 1], inputs, cache)
        at += 1
        made[texts, at] = next_piece(states, texts)
        ended |= made[texts, at] == config.eos_token_id
    return made[:, 1 : at + 1]
