"""Objectives against values computed another way: quantile grids for expectations, numeric suprema,
hand values."""

import math

import pytest
import torch
from conftest import TINY, make_trainer, mostly_slow
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.divergences import DIVERGENCES, js_weighted
from gan_cli.errors import UserError
from gan_cli.games.energy import pulling_away
from gan_cli.losses import (
    FGAN,
    BoundarySeeking,
    Hinge,
    Loss,
    Minimax,
    NonSaturating,
    RelativisticPairing,
)
from gan_cli.networks.layers import Gated, MinibatchDiscrimination, SmoothELU
from gan_cli.networks.mlp import Discriminator

STANDARD = torch.distributions.Normal(0.0, 1.0)


def normal(n: int = 1000) -> Tensor:
    """n draws from N(0, 1), one from each n-th part of its mass: means over them are nearly
    expectations."""
    return STANDARD.icdf(((torch.arange(n) + torch.rand(n)) / n).clamp(1e-7, 1 - 1e-7))[
        torch.randperm(n), None
    ]


def best(loss: Loss, shift: float, scale: float = 1.0, steps: int = 800) -> tuple[float, nn.Module]:
    """The loss of a trained discriminator between N(0, scale^2) and N(shift, scale^2), and the
    discriminator."""
    torch.manual_seed(0)
    D = nn.Sequential(
        nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1), nn.Flatten(0)
    )
    optimizer = torch.optim.Adam(D.parameters(), lr=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss.discriminator(D(scale * normal()), D(shift + scale * normal()))
        value.backward()
        optimizer.step()
        schedule.step()
        seen.append(value.detach())
    return torch.stack(seen[-200:]).mean().item(), D


EXACT = {
    "total_variation": 0.3829,
    "kl": 0.5,
    "reverse_kl": 0.5,
    "pearson": math.e - 1,
    "neyman": math.e - 1,
    "squared_hellinger": 0.2350,
    "jeffrey": 1.0,
    "jensen_shannon": 0.2228,
    "gan": -1.1635,
    "js_weighted": 0.0949,
}
"""D_f(N(0,1), N(1,1)); `js_weighted` at pi = 0.3."""


@pytest.mark.parametrize("name", mostly_slow(EXACT, "kl", "jensen_shannon", "gan"))
def test_every_f_divergence_is_reached_from_below(name: str) -> None:
    # the heavy tail of Pearson's is learnt late
    bound, _ = best(FGAN(name, pi=0.3), 1, steps=2000 if name == "pearson" else 800)  # type: ignore[arg-type]
    assert -bound == pytest.approx(EXACT[name], rel=0.02)


@pytest.mark.parametrize("name", [*DIVERGENCES, "js_weighted"])
def test_conjugates_are_the_numeric_supremum(name: str) -> None:
    """f*(t) = sup over u > 0 of u t - f(u), at t = g(v); and t = f'(u) reaches f(u) + f*(t) = u
    t."""
    row = js_weighted(0.3) if name == "js_weighted" else DIVERGENCES[name]
    v = torch.linspace(-1.9, 3, 15, dtype=torch.double)
    u = torch.logspace(-7, 7, 200_001, dtype=torch.double)
    t = row.activation(v)
    supremum = (u * t[:, None] - row.f(u)).max(dim=1).values
    torch.testing.assert_close(row.conjugate(v), supremum, rtol=1e-6, atol=1e-6)
    assert (t[1:] > t[:-1]).all()


@pytest.mark.parametrize("name", [*DIVERGENCES, "js_weighted"])
def test_the_threshold_is_the_derivative_at_one(name: str) -> None:
    row = js_weighted(0.3) if name == "js_weighted" else DIVERGENCES[name]
    u = torch.tensor([1.0 - 1e-4, 1.0 + 1e-4], dtype=torch.double)
    below, above = row.f(u)
    assert float((above - below) / 2e-4) == pytest.approx(row.threshold, abs=1e-6)


@pytest.mark.parametrize("name", [*DIVERGENCES, "js_weighted"])
def test_large_scores_give_no_nan(name: str) -> None:
    loss = FGAN(name, heuristic=True)  # type: ignore[arg-type]
    score = torch.tensor([-20.0, 0.0, 20.0], requires_grad=True)
    for value in (
        loss.discriminator(score, score),
        loss.generator(score),
        FGAN(name).generator(score),
    ):  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(value, score)
        assert value.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize(("shift", "expected"), [(1, 0.4918), (2, 0.1931)])
def test_relativistic_pairing_reaches_its_closed_form(shift: float, expected: float) -> None:
    value, D = best(RelativisticPairing(), shift)
    assert value == pytest.approx(expected, rel=0.01)
    x = torch.linspace(-1, shift, 50)[:, None]
    slope = ((D(x[1:]) - D(x[:-1])) / (x[1:] - x[:-1])[:, 0]).mean()
    assert slope.item() == pytest.approx(-shift, rel=0.05)  # the logit is log p/q


@pytest.mark.parametrize(
    ("sigma", "expected"),
    mostly_slow([(2.0, 1.3257), (1.0, 1.1635), (0.5, 0.7126), (0.25, 0.1209)], 1.0, 0.25),
)
def test_instance_noise_gives_two_points_a_finite_divergence(sigma: float, expected: float) -> None:
    """Point masses at 0 and 1 with noise: the optimal loss of the first GAN (Arjovsky and Bottou,
    2017)."""
    assert best(Minimax(), 1, sigma)[0] == pytest.approx(expected, rel=0.02)


def test_boundary_seeking_wants_undecided_scores() -> None:
    score = torch.tensor([-2.0, 0.0, 2.0], requires_grad=True)
    loss = BoundarySeeking().generator(score)
    assert loss.item() == pytest.approx(0.5 * 8 / 3)
    loss.backward()
    torch.testing.assert_close(score.grad, score.detach() / 3)


def test_one_sided_label_smoothing() -> None:
    real, fake = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).unbind()
    entropy = nn.functional.binary_cross_entropy_with_logits
    expected = entropy(real, torch.full((50,), 0.9)) + entropy(fake, torch.zeros(50))
    torch.testing.assert_close(NonSaturating(real_label=0.9).discriminator(real, fake), expected)


# --- games with objectives of their own -----------------------------------------------------------


def test_the_pulling_away_term_by_hand() -> None:
    assert pulling_away(torch.eye(4)).item() == 0
    assert pulling_away(torch.ones(5, 3)).item() == pytest.approx(1)
    codes = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])  # squared cosines 1/2, 0, 1/2
    assert pulling_away(codes).item() == pytest.approx(1 / 3)
    assert pulling_away(torch.ones(1, 3)).item() == 0


def test_the_margin_of_ebgan_by_hand() -> None:
    trainer = make_trainer(
        "model=ebgan", "data=points", "model.critic_norm=none", "model.margin=3",
        "model.pulling_away=0.1", *TINY,
    )  # fmt: skip
    game, x = trainer.game, torch.randn(6, 2)
    noise.begin_turn("test")
    with torch.no_grad():
        x_fake = game.G(game.prior(6))  # type: ignore[operator]
        energy = [(game.D(v)[0] - v).norm(dim=1) for v in (x, x_fake)]  # type: ignore[operator]
    noise.begin_turn("test")
    terms = game.discriminator(x)  # type: ignore[operator]
    torch.testing.assert_close(terms["energy"], energy[0].mean())
    torch.testing.assert_close(terms["margin"], (3 - energy[1]).relu().mean())
    assert game.batch_dependencies() == ["the pulling-away term"]
    assert game.generator(x).keys() == {"energy", "pulling_away"}  # type: ignore[operator]


@pytest.mark.parametrize(
    ("start", "real", "fake"), [(0.3, 0.2, 0.05), (0.3, 0.2, 0.5), (0.0, 0.1, 0.9), (1.0, 0.9, 0.1)]
)
def test_the_balance_of_began_by_hand(start: float, real: float, fake: float) -> None:
    """k moves by 0.02 * (0.5 * L(x) - L(G(z))) after the generator's turn and stays in [0, 1]."""
    paper = ("model.critic_norm=none", "model.gain=0.02", "model.balance=0.5")
    game = make_trainer("model=began", "data=points", *paper, *TINY).game
    energies = iter([real, fake, fake])
    game.energy = lambda x: torch.full((len(x),), next(energies)) + 0 * x.sum()  # type: ignore[assignment, method-assign]
    game.score = lambda value, x, x_fake: (value(x), value(x_fake))  # type: ignore[assignment]
    game.k.fill_(start)  # type: ignore[operator, union-attr]
    x = torch.randn(6, 2)
    terms = game.discriminator(x)  # type: ignore[operator]
    assert sum(term.item() for term in terms.values()) == pytest.approx(real - start * fake)
    game.generator(x)  # type: ignore[operator]
    expected = min(1.0, max(0.0, start + 0.02 * (0.5 * real - fake)))
    assert game.k.item() == pytest.approx(expected, abs=1e-6)  # type: ignore[operator, union-attr]


def test_the_wasserstein_end_of_the_loss_sensitive_family() -> None:
    plain = (
        "data=points",
        "model.critic_norm=none",
        "regularizer=weight_clip",
        "model.latent=8",
        *TINY,
    )
    ends = [
        make_trainer(
            "model=loss_sensitive", "model.slope=1", "model.scale=0", "model.prior=normal", *plain
        ),
        make_trainer("model=two_player", "loss=wasserstein", *plain),
    ]
    for trainer in ends:
        trainer.play_round()
    for name, value in ends[1].game.named_parameters():
        torch.testing.assert_close(ends[0].game.get_parameter(name), value)


def test_the_margin_of_the_loss_sensitive_critic_by_hand() -> None:
    game = make_trainer(
        "model=loss_sensitive", "data=points", "model.scale=0.5", "model.critic_norm=none", *TINY
    ).game
    x = torch.randn(6, 2)
    noise.begin_turn("test")
    x_fake = game.G(game.prior(6)).detach()  # type: ignore[operator]
    expected = (0.5 * (x - x_fake).abs().sum(dim=1) + game.D(x_fake) - game.D(x)).relu().mean()  # type: ignore[operator]
    noise.begin_turn("test")
    torch.testing.assert_close(game.discriminator(x)["margin"], expected)  # type: ignore[operator]


def test_a_loss_for_a_game_with_its_own_is_refused() -> None:
    with pytest.raises(UserError, match=r"loss=hinge: model=ebgan has an objective of its own"):
        make_trainer("model=ebgan", "data=points", "loss=hinge")
    with pytest.raises(UserError, match=r"loss=own: model=two_player has no objective of its own"):
        make_trainer("model=gan", "data=points", "loss=own")


# --- layers and norms -----------------------------------------------------------------------------


def test_minibatch_discrimination_by_hand() -> None:
    layer = MinibatchDiscrimination(inputs=2, features=1, inner=2)
    with torch.no_grad():
        layer.project.weight.copy_(torch.eye(2))
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    expected = torch.tensor(
        [math.exp(-2) + math.exp(-3), math.exp(-2) + math.exp(-1), math.exp(-3) + math.exp(-1)]
    )
    torch.testing.assert_close(layer(x), torch.cat([x, expected[:, None]], dim=1))


def test_a_critic_that_compares_samples_scores_real_and_fake_apart() -> None:
    game = make_trainer("model=gan", "data=digits", "network.discriminator.minibatch=3", *TINY).game
    assert game.score.__name__ == "score_apart"  # type: ignore[union-attr]
    assert game.batch_dependencies() == ["minibatch discrimination in D"]


def test_activations_by_hand() -> None:
    x = torch.tensor([[0.3, -1.0, 2.0, 0.5]])
    a, b = x[:, :2], x[:, 2:]
    torch.testing.assert_close(Gated()(x), a.sigmoid() * b.tanh())
    assert SmoothELU()(torch.tensor(50.0)).item() == pytest.approx(50)
    assert SmoothELU()(torch.tensor(-50.0)).item() == pytest.approx(-1)


@pytest.mark.parametrize("data", ["points", "digits"])
def test_spectral_norm_against_the_svd(data: str) -> None:
    # one turn a round: an estimate is one power iteration old
    once = "model.repeat.discriminator=1"
    trainer = make_trainer("model=sngan", f"data={data}", once, *TINY)
    trainer.game.train()
    D = trainer.game.get_submodule("D")
    with torch.no_grad():
        for _ in range(30):
            D(trainer.batches.next()["x"])
    layers = [module for module in D.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert layers
    for _ in range(3):
        for layer in layers:
            largest = torch.linalg.svdvals(layer.weight.flatten(1))[0].item()
            assert largest == pytest.approx(1, abs=0.02)
        trainer.play_round()


def test_a_spectrally_normed_critic_is_1_lipschitz() -> None:
    """The hinge loss between N(0,1) and N(1,1) of any 1-Lipschitz critic is at least 1.3370; of any
    other, 1.2342."""
    losses = {}
    for name in ("none", "spectral"):
        torch.manual_seed(0)
        D = Discriminator((1,), width=64, depth=2, activation="leaky_relu", critic_norm=name)  # type: ignore[arg-type]
        optimizer = torch.optim.Adam(D.parameters(), lr=3e-3, fused=True)
        seen = []
        for _ in range(800):
            optimizer.zero_grad()
            loss = Hinge().discriminator(D(normal(500)), D(1 + normal(500)))
            loss.backward()
            optimizer.step()
            seen.append(loss.detach())
        losses[name] = torch.stack(seen[-100:]).mean().item()
    assert losses["none"] < 1.30
    assert 1.3370 * 0.999 <= losses["spectral"] <= 1.40


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "weight", "spectral"])
def test_every_norm_of_a_critic_of_images(norm: str) -> None:
    trainer = make_trainer(
        "model=gan", "network=dcgan", "data=digits", f"model.critic_norm={norm}", *TINY
    )
    trainer.game.train()
    trainer.play_round()
    assert all(term.isfinite() for terms in trainer.terms.values() for term in terms.values())


def test_instance_norm_of_points_is_refused_in_words() -> None:
    with pytest.raises(UserError, match=r"critic_norm=instance: normalises over pixels"):
        make_trainer("model=gan", "data=points", "model.critic_norm=instance", *TINY)
