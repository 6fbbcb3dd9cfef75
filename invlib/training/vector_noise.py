"""Noise on the vectors in training, so that a vector that is a little off still decodes to nearly its text."""

import torch
from torch import Tensor

STRONGEST = 1.2  # noise of a headline that is moved away from its vector, in standard deviations
FARTHEST = 0.5  # of the way to another headline's vector


def exchange_pieces(input_ids: Tensor, attention_mask: Tensor, share: float) -> Tensor:
    """The ids (B, T) with a share of the pieces after [CLS] exchanged for others of the batch, as a decoder errs."""
    pieces = input_ids[:, 1:][attention_mask[:, 1:].bool()]
    others = pieces[torch.randint(len(pieces), input_ids.shape, device=input_ids.device)]
    exchanged = torch.rand(input_ids.shape, device=input_ids.device) < share
    exchanged[:, 0] = False
    return torch.where(exchanged, others, input_ids)


def perturb(z: Tensor, noise: float, far: float, real: Tensor, strongest: float | None = None) -> Tensor:
    """Vectors (B, D) with noise of `noise` standard deviations of each number over the batch.

    strongest: the noise of each real headline is drawn evenly between `noise` and this, None = it is `noise`.
    A share `far` of the real headlines, `real` (B,) bool, is moved farther: half of them get noise of up to STRONGEST
    standard deviations, the others up to FARTHEST of another real headline's vector. The text to decode stays the
    headline itself, so where the vector holds too little the decoder learns to generate what is likely.
    """
    spread = z.detach().std(0, correction=0)
    level = torch.full((len(z), 1), noise, device=z.device)
    if strongest is not None:
        level = level + (strongest - noise) * torch.rand_like(level) * real.unsqueeze(1)
    if far:
        moved = real & (torch.rand(len(z), device=z.device) < far)
        mixed = moved & (torch.rand(len(z), device=z.device) < 0.5)
        strong = noise + (STRONGEST - noise) * torch.rand(len(z), 1, device=z.device)
        level = torch.where((moved & ~mixed).unsqueeze(1), strong, level)
        way = FARTHEST * torch.rand(len(z), 1, device=z.device) * mixed.unsqueeze(1)
        among = real.nonzero().flatten()
        other = torch.arange(len(z), device=z.device)
        other[among] = among[torch.randperm(len(among), device=z.device)]
        z = z + way * (z[other] - z).detach()
    return z + level * spread * torch.randn_like(z)
