"""Losses and penalties against closed forms and finite differences."""

import pytest
import torch
from conftest import mostly_slow
from torch import Tensor, nn

from gan_cli.data.points import Points
from gan_cli.losses import Hinge, LeastSquares, Loss, Minimax, NonSaturating, Wasserstein
from gan_cli.networks.mlp import Discriminator
from gan_cli.regularizers import (
    GradientPenalty,
    Regularizer,
    WeightClip,
    input_gradient,
    on_the_line,
)


def fit_critic(loss: Loss, regularizer: Regularizer, shift: float) -> tuple[float, float, float]:
    """Train a critic between N(0, 1) and N(shift, 1): mean loss, gap and slope over the last 250 of
    1250 steps."""
    torch.manual_seed(0)
    D = nn.Sequential(
        nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1), nn.Flatten(0)
    )
    optimizer = torch.optim.Adam(D.parameters(), lr=3e-3, fused=True)
    seen = []
    for step in range(1250):
        optimizer.param_groups[0]["lr"] = 3e-3 if step < 600 else 3e-4
        real, fake = torch.randn(1024, 1), shift + torch.randn(1024, 1)
        score, score_fake = D(real), D(fake)
        adversarial = loss.discriminator(score, score_fake)
        optimizer.zero_grad()
        (adversarial + sum(regularizer(D, real, fake).values())).backward()
        optimizer.step()
        if step >= 1000:
            slope = input_gradient(D, on_the_line(real, fake), create_graph=False).abs().mean()
            seen.append(
                torch.stack(
                    [adversarial.detach(), (score.mean() - score_fake.mean()).detach(), slope]
                )
            )
    return tuple(torch.stack(seen).mean(dim=0).tolist())  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("loss", "shift", "expected"),
    [
        (Minimax(), 1, 1.1635),
        *mostly_slow([(Hinge(), 1, 1.2342), (LeastSquares(), 1, 0.1990)]),
        *mostly_slow(
            [(NonSaturating(), 2, 0.7126), (Hinge(), 2, 0.6346), (LeastSquares(), 2, 0.1124)]
        ),
    ],
)
def test_a_discriminator_reaches_its_closed_form(loss: Loss, shift: float, expected: float) -> None:
    assert fit_critic(loss, Regularizer(), shift)[0] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("shift", "gap", "slope"), mostly_slow([(1, 1.0545, 1.05), (2, 2.2103, 1.10)], 1)
)
def test_wgan_gp_reaches_its_closed_form(shift: float, gap: float, slope: float) -> None:
    _, found_gap, found_slope = fit_critic(Wasserstein(), GradientPenalty(), shift)
    assert found_gap == pytest.approx(gap, rel=0.03)
    assert found_slope == pytest.approx(slope, rel=0.03)


def test_values_at_an_undecided_discriminator() -> None:
    undecided, half = torch.zeros(7), torch.full((7,), 0.5)
    log2 = torch.log(torch.tensor(2.0))
    # V = -log 4 at D = 1/2
    torch.testing.assert_close(Minimax().discriminator(undecided, undecided), 2 * log2)
    torch.testing.assert_close(Minimax().generator(undecided), -log2)
    torch.testing.assert_close(NonSaturating().generator(undecided), log2)
    torch.testing.assert_close(LeastSquares().discriminator(half, half), torch.tensor(0.25))
    torch.testing.assert_close(LeastSquares().generator(half), torch.tensor(0.125))
    torch.testing.assert_close(
        LeastSquares(-1, 1, 0).discriminator(undecided, undecided), torch.tensor(1.0)
    )
    torch.testing.assert_close(Hinge().discriminator(undecided, undecided), torch.tensor(2.0))


def test_minimax_saturates_by_the_odds_of_the_discriminator() -> None:
    score = torch.linspace(-8, 3, 12, requires_grad=True)
    (saturating,) = torch.autograd.grad(Minimax().generator(score), score)
    (strong,) = torch.autograd.grad(NonSaturating().generator(score), score)
    # D / (1 - D) = exp(logit)
    torch.testing.assert_close(saturating / strong, score.detach().exp())


class Linear(nn.Module):
    """D(x) = w.x, whose input gradient is w everywhere."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 5, 5), (4, 7), (1, 2, 3, 4)])
@pytest.mark.parametrize("n", [1, 5])
def test_the_penalty_of_a_linear_critic(shape: tuple[int, ...], n: int) -> None:
    torch.manual_seed(1)
    x, x_fake = torch.randn(2, n, *shape).unbind()
    D = Linear(torch.randn(x[0].numel()))
    expected = 10 * (D.w.norm() - 1) ** 2
    torch.testing.assert_close(GradientPenalty(10.0)(D, x, x_fake)["penalty"], expected)


def test_the_penalty_does_not_depend_on_the_batch_size() -> None:
    D = Linear(torch.arange(1.0, 5.0))
    values = [
        GradientPenalty()(D, torch.randn(n, 4), torch.randn(n, 4))["penalty"] for n in (1, 3, 64)
    ]
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(values[0], values[2])


def test_interpolates_have_one_epsilon_a_sample_and_lie_on_the_line() -> None:
    torch.manual_seed(2)
    x, x_fake = torch.randn(6, 3, 4, 4), torch.randn(6, 3, 4, 4)
    epsilon = ((on_the_line(x, x_fake) - x_fake) / (x - x_fake)).flatten(1)
    torch.testing.assert_close(epsilon, epsilon[:, :1].expand_as(epsilon), atol=1e-3, rtol=1e-3)
    assert epsilon.min() >= -1e-3 and epsilon.max() <= 1 + 1e-3
    assert len(epsilon[:, 0].unique()) == 6


def test_the_gradient_of_the_penalty_by_finite_differences() -> None:
    torch.manual_seed(3)
    D = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)
    ).double()
    x, x_fake = torch.randn(2, 4, 3, 2, 2, dtype=torch.double).unbind()
    names = [name for name, _ in D.named_parameters()]

    def penalty(*weights: Tensor) -> Tensor:
        torch.manual_seed(4)  # the same epsilons each time
        networks = torch.func.functional_call
        bound = dict(zip(names, weights, strict=True))

        class Bound(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return networks(D, bound, (x,))

        return GradientPenalty(10.0)(Bound(), x, x_fake)["penalty"]

    weights = [weight.detach().requires_grad_() for weight in D.parameters()]
    assert torch.autograd.gradcheck(penalty, [*weights[:-1], weights[-1]], atol=1e-6)


def test_the_penalty_of_a_flat_critic_has_no_nan() -> None:
    D = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1), nn.Flatten(0))
    nn.init.zeros_(D[2].weight)
    penalty = GradientPenalty()(D, torch.randn(4, 2), torch.randn(4, 2))["penalty"]
    penalty.backward()
    assert penalty.item() == pytest.approx(10.0)
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in D.parameters())


@pytest.mark.slow
def test_clipping_drives_the_weights_to_the_bound_and_the_estimate_to_another_scale() -> None:
    """A clipped critic between the swiss roll and itself with noise: W1 is 0.606, this network's
    estimate about 0.0025, and most weights lie at the bound (papers of 2017: figure 1b of
    WGAN-GP)."""
    torch.manual_seed(0)
    x = Points("swiss_roll", size=20_000).train["x"]
    D = Discriminator((2,), width=128, depth=3)
    optimizer = torch.optim.RMSprop(D.parameters(), lr=5e-5)
    for _ in range(2000):
        real = x[torch.randint(len(x), (256,))]
        fake = x[torch.randint(len(x), (256,))] + torch.randn(256, 2)
        optimizer.zero_grad()
        Wasserstein().discriminator(D(real), D(fake)).backward()
        optimizer.step()
        WeightClip(0.01).project(D)
    weights = torch.cat([weight.detach().flatten().abs() for weight in D.parameters()])
    with torch.no_grad():
        gap = -Wasserstein().discriminator(D(x), D(x + torch.randn_like(x)))
    assert gap.item() == pytest.approx(0.0025, rel=0.2)
    assert (weights > 0.0099).float().mean() > 0.85


def test_clipping_holds_every_weight() -> None:
    D = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    WeightClip(0.01).project(D)
    assert max(weight.abs().max().item() for weight in D.parameters()) <= 0.01
