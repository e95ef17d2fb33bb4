"""R3GAN: blocks that start as nothing, a penalty at both ends, and the game of one number that it
brings to rest."""

import pytest
import torch
from conftest import TINY, make_trainer, mostly_slow
from torch import Tensor

from gan_cli.errors import UserError
from gan_cli.losses import RelativisticPairing
from gan_cli.networks.resnext import Block, Discriminator, Generator
from gan_cli.regularizers import GradientPenalty


def test_a_block_starts_as_the_identity_and_learns() -> None:
    torch.manual_seed(0)
    block, x = Block(32, blocks=16, expansion=2, group=4), torch.randn(2, 32, 6, 6)
    assert torch.equal(block(x), x)
    assert block.residual[2].groups == 16
    assert block.residual[0].weight.std().item() == pytest.approx((2 / 32) ** 0.5 / 2, rel=0.05)
    block(x).square().sum().backward()
    assert block.residual[4].weight.grad.abs().max() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize("side", [8, 28, 32])
def test_scores_and_images_have_the_size_of_one_at_the_start(side: int) -> None:
    torch.manual_seed(0)
    shape = (3, side, side)
    images = Generator(shape, 64, width=16)(torch.randn(200, 64))
    scores = Discriminator(shape, width=16)(torch.randn(200, *shape))
    assert images.shape == (200, *shape) and scores.shape == (200,)
    assert 0.2 < images.std() < 5
    assert scores.std() < 5


def test_the_penalty_at_both_ends_is_the_sum_of_both() -> None:
    x, x_fake = torch.randn(4, 3), torch.randn(4, 3)

    def D(at: Tensor) -> Tensor:
        return at.pow(3).sum(dim=1)

    both, real, fake = (
        GradientPenalty(weight=0.5, target=0.0, where=where)(D, x, x_fake)["penalty"]  # type: ignore[arg-type]
        for where in ("real_and_fake", "real", "fake")
    )
    torch.testing.assert_close(both, real + fake)
    torch.testing.assert_close(real, 0.5 * (3 * x**2).square().sum(dim=1).mean())


@pytest.mark.parametrize(
    ("gamma", "expected"),
    mostly_slow([(0.0, (0.973, 0.755, 0.584, 0.498)), (1.0, (0.688, 0.355, 0.093, 0.024))], 1.0),
)
def test_the_dirac_gan_comes_to_rest_under_both_penalties(
    gamma: float, expected: tuple[float, ...]
) -> None:
    """D(x) = psi x against a point at theta, real samples at 0; both move at once by SGD of rate
    0.01 from (1, 1).

    |(psi, theta)| after 500, 1000, 2000 and 3000 steps: without penalties a slow spiral, with them
    an exponential one.
    """
    loss = RelativisticPairing()
    penalty = GradientPenalty(weight=max(gamma, 1e-9) / 2, target=0.0, where="real_and_fake")
    psi, theta = (torch.ones((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    seen = {}

    def D(at: Tensor) -> Tensor:
        return psi * at[:, 0]

    for step in range(1, 3001):
        x, x_fake = torch.zeros(1, 1, dtype=torch.float64), theta.view(1, 1)
        to_D = (
            loss.discriminator(D(x), D(x_fake.detach())) + penalty(D, x, x_fake.detach())["penalty"]
        )
        (for_psi,) = torch.autograd.grad(to_D, psi)
        (for_theta,) = torch.autograd.grad(loss.generator(D(x_fake), D(x)), theta)
        with torch.no_grad():
            psi -= 0.01 * for_psi
            theta -= 0.01 * for_theta
        seen[step] = torch.hypot(psi, theta).item()
    assert [seen[step] for step in (500, 1000, 2000, 3000)] == pytest.approx(expected, abs=1e-3)


def test_other_shapes_are_refused_by_its_own_name() -> None:
    with pytest.raises(UserError, match="network=resnext: its generator is for data of the kind"):
        make_trainer("model=r3gan", "data=points", *TINY)
