"""What training does to vectors: how much noise, and who is moved how far."""

import pytest
import torch

from invlib.training import vector_noise
from invlib.training.vector_noise import FARTHEST, STRONGEST, exchange_pieces, perturb


def vectors(n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    z = torch.randn(n, 3) * torch.tensor([1.0, 0.1, 5.0]) + 7
    return z, torch.arange(n) % 2 == 0


def test_noise_is_in_standard_deviations_of_each_number():
    z, real = vectors()
    moved = perturb(z, 0.1, 0.0, real) - z
    torch.testing.assert_close(moved.std(0) / z.std(0), torch.full((3,), 0.1), atol=5e-3, rtol=0)


def test_a_real_headlines_noise_may_have_any_strength():
    """Drawn evenly up to the strongest: as a whole the root of a third of it. What is made up keeps the least."""
    z, real = vectors()
    moved = (perturb(z, 0.1, 0.0, real, strongest=1.0) - z) / z.std(0)
    assert moved[~real].std() == pytest.approx(0.1, abs=0.005)
    assert moved[real].std() == pytest.approx(((1.0**3 - 0.1**3) / (3 * 0.9)) ** 0.5, abs=0.02)
    strengths = moved[real].abs().mean(1)
    assert strengths.quantile(0.1) < 0.25 < 0.6 < strengths.quantile(0.9)


def test_a_share_of_the_pieces_is_exchanged_for_others_of_the_batch():
    ids = torch.arange(4000).reshape(100, 40)
    mask = (torch.arange(40) < 30).long().expand(100, 40)
    torch.manual_seed(0)
    found = exchange_pieces(ids, mask, 0.2)
    changed = found != ids
    assert 0.18 < changed[:, 1:].float().mean() < 0.22 and not changed[:, 0].any()  # [CLS] stays
    assert set(found[changed].tolist()) <= set(ids[:, 1:30].flatten().tolist())
    assert torch.equal(exchange_pieces(ids, mask, 0.0), ids)


def test_without_noise_nothing_moves():
    z, real = vectors(8)
    assert torch.equal(perturb(z, 0.0, 0.0, real), z)


def test_only_real_headlines_are_moved_away():
    z, real = vectors()
    far = ((perturb(z, 0.0, 1.0, real) - z) / z.std(0)).norm(dim=1)
    assert (far[~real] == 0).all() and (far[real] > 0).float().mean() > 0.99


def test_half_of_that_share_is_mixed_and_never_past_the_middle(monkeypatch):
    """Of zeros and ones: a vector that is mixed with an equal one stays, any other goes FARTHEST of the way at most."""
    monkeypatch.setattr(vector_noise, "STRONGEST", 0.0)
    z = torch.tensor([[0.0], [1.0]]).repeat(2000, 1)
    torch.manual_seed(0)
    moved = (perturb(z, 0.0, 0.4, torch.ones(4000, dtype=torch.bool)) - z).abs()
    assert 0.08 < (moved > 0).float().mean() < 0.12  # a half of 0.4, and of these a half with an equal one
    assert 0.9 * FARTHEST < moved.max() <= FARTHEST <= 0.5


def test_the_other_half_gets_noise_of_every_strength(monkeypatch):
    monkeypatch.setattr(vector_noise, "FARTHEST", 0.0)
    z = torch.tensor([[0.0], [1.0]]).repeat(2000, 1)
    torch.manual_seed(0)
    moved = (perturb(z, 0.0, 0.4, torch.ones(4000, dtype=torch.bool)) - z)[:, 0]
    there = moved != 0
    assert 0.17 < there.float().mean() < 0.23
    strength = STRONGEST * 0.5 / 3**0.5  # of an even draw up to STRONGEST times the spread of a half
    torch.testing.assert_close(moved[there].std(), torch.tensor(strength), atol=0.04, rtol=0)


def test_the_gradient_reaches_the_vector():
    z, real = vectors(16)
    z.requires_grad_()
    perturb(z, 0.1, 1.0, real).sum().backward()
    assert (z.grad == 1).all()  # where it is moved to, and how far, is nothing that it learns
