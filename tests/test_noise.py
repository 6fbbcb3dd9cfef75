"""What training does to vectors: how much noise, and who is moved how far."""

import torch

from invlib.noise import FARTHEST, perturbed


def vectors(n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    z = torch.randn(n, 3) * torch.tensor([1.0, 0.1, 5.0]) + 7
    return z, torch.arange(n) % 2 == 0


def test_noise_is_in_standard_deviations_of_each_number():
    z, real = vectors()
    moved = perturbed(z, 0.1, 0.0, real) - z
    torch.testing.assert_close(moved.std(0) / z.std(0), torch.full((3,), 0.1), atol=5e-3, rtol=0)


def test_without_noise_nothing_moves():
    z, real = vectors(8)
    assert torch.equal(perturbed(z, 0.0, 0.0, real), z)


def test_only_real_headlines_are_moved_away():
    z, real = vectors()
    far = ((perturbed(z, 0.0, 1.0, real) - z) / z.std(0)).norm(dim=1)
    assert (far[~real] == 0).all() and (far[real] > 0).float().mean() > 0.99


def test_about_that_share_is_moved_and_never_past_the_middle():
    """Without spread noise is nothing, so what moves is mixed: at most FARTHEST of the way to another real one."""
    z = torch.tensor([[0.0], [1.0]]).repeat(2000, 1)
    real = torch.ones(4000, dtype=torch.bool)
    torch.manual_seed(0)
    moved = (perturbed(z, 0.0, 0.4, real) - z).abs()
    assert 0.3 < (moved > 1e-6).float().mean() < 0.45
    fixed = torch.full((4000, 1), 2.0)
    assert torch.equal(perturbed(fixed, 0.0, 1.0, real), fixed) and FARTHEST <= 0.5


def test_the_gradient_reaches_the_vector():
    z, real = vectors(16)
    z.requires_grad_()
    perturbed(z, 0.1, 1.0, real).sum().backward()
    assert (z.grad > 0).all()
