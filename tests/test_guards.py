"""Every guard rail, and the wrong result that it prevents."""

import re
from collections.abc import Callable

import pytest
import torch
from conftest import compose, mostly_slow
from torch import nn

from gan_cli.config import guards
from gan_cli.errors import UserError
from gan_cli.losses import Wasserstein
from gan_cli.networks.mlp import Discriminator
from gan_cli.regularizers import GradientPenalty, Regularizer, WeightClip, input_gradient

WGAN_GP = ("model=wgan_gp", "data=points")
REFUSED = [
    (
        (*WGAN_GP, "network.discriminator.squash=sigmoid"),
        "network.discriminator.squash=sigmoid: loss=wasserstein",
    ),
    (
        (*WGAN_GP, "model.critic_norm=batch"),
        "network.critic_norm=batch: regularizer=gradient_penalty",
    ),
    ((*WGAN_GP, "regularizer.clip=0.01"), "regularizer.clip=0.01: clipping holds"),
    ((*WGAN_GP, "regularizer=none"), "regularizer=none: loss=wasserstein has no optimum"),
    (
        (*WGAN_GP, "optimizer.betas=[0.9,0.999]"),
        r"optimizer.betas=\[0.9, 0.999\]: under "
        r"loss=wasserstein",
    ),
    (
        (*WGAN_GP, "optimizer=sgd", "optimizer.momentum=0.9"),
        "optimizer.momentum=0.9: under loss=wasserstein",
    ),
    ((*WGAN_GP, "optimizer.weight_decay=3"), "optimizer.weight_decay=3.0: flattens the critic"),
    ((*WGAN_GP, "optimizer.players.discriminator.weight_decay=3"), "optimizer.weight_decay=3"),
    (
        ("model=gan", "network=resnet_biggan"),
        "network=biggan: its generator takes the class of a sample, and model=two_player",
    ),
    (
        (*WGAN_GP, "data=digits", "augmentation=ada"),
        "augmentation.target=0.6: follows whether D scores real samples as real",
    ),
    (("model=biggan", "network=resnet"), "network=resnet: its discriminator takes no class"),
    (
        ("model=ebgan", "loss=hinge", "data=points"),
        "loss=hinge: model=ebgan has an objective of its own",
    ),
    (("model=gan", "loss=own", "data=points"), "loss=own: model=two_player has no objective"),
    (
        ("model=dcgan", "data=points", "batch_size=1"),
        "batch_size=1: batch norm needs at least two samples",
    ),
    (
        ("model=gan", "data=points", "augmentation=diff_augment"),
        "augmentation=diff_augment: changes image",
    ),
    (
        ("model=aae", "augmentation=diff_augment"),
        "augmentation=diff_augment: model=aae does not use any",
    ),
    (
        ("model=ebgan", "model.critic_norm=none", "network.init=dcgan"),
        "network.init=dcgan: the autoencoder has no norm",
    ),
    (
        ("model=pix2pix", "data=unpaired"),
        "data=unpaired: its images do not belong together, and model=pix2pix learns from pairs",
    ),
    (
        ("model=dragan", "network.init=dcgan"),
        "network.init=dcgan: the discriminator has no norm",
    ),
    (
        ("model=gan", "features=random"),
        "features=random: model=two_player does not use any; set features=none",
    ),
    (
        ("model=gan", "network=dcgan", "data=points"),
        "network=dcgan: its generator is for data of the kind image, and data=points is of the "
        "kind points",
    ),
    (
        ("model=infogan", "network=affine", "model.latent=64", "data=digits"),
        "network.discriminator: has no features, which model=infogan looks at",
    ),
    (
        ("model=progan", "network=dcgan", "data=digits"),
        "network.generator: does not grow",
    ),
    (
        ("model=pix2pix", "network=dcgan"),
        "network=dcgan: its generator starts from noise",
    ),
    (
        ("model=wgan_gp", "network.generator.name=unet", "data=digits"),
        "network.generator.name=unet: its generator starts from an input",
    ),
]
"""Lines that a guard refuses, and what it says. All guards are among them."""


@pytest.mark.parametrize(
    ("line", "said"),
    REFUSED,
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_refused_and_may_be_watched(line: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        compose(*line)
    compose(*line, "guard=warn")


@pytest.mark.parametrize(
    "line",
    [
        WGAN_GP,
        (*WGAN_GP, "optimizer.players.generator.weight_decay=3"),
        (*WGAN_GP, "optimizer.players.generator.betas=[0.9,0.999]"),
        (
            "model=dcgan",
            "data=points",
            "optimizer.betas=[0.9,0.999]",
            "optimizer.weight_decay=0.01",
        ),
    ],
)
def test_what_works_is_not_refused(line: tuple[str, ...]) -> None:
    compose(*line)


OTHERS = [
    ("network=mlp", "network.discriminator.name=dcgan", "data=digits"),
    ("network.critic_norm=batch", "data=digits"),
    ("model=wgan", "data=digits", "network=resnet", "regularizer=none"),
    ("model=sgan", "data=digits", "loss=wasserstein", "regularizer=none"),
    (*WGAN_GP, "optimizer.players.discriminator.betas=[0.9,0.9]"),
    (
        *WGAN_GP,
        "optimizer.players.discriminator={lr: 1e-3, betas: [0.8, 0.9]}",
        "optimizer.betas=[0,0.9]",
    ),
    ("model=dcgan", "data=points", "batch_size=4", "hardware.shards=4"),
    (
        "model=gan",
        "network=mlp_gan",
        "data=points",
        "network.generator.generator_norm=batch",
        "batch_size=1",
    ),
    (*WGAN_GP, "regularizer.clip=0.01", "model.critic_norm=batch"),
    ("model=gan", "data=points", "network=mlp", "network.generator.name=text_resnet"),
]


@pytest.mark.parametrize(
    "line", [*(line for line, _ in REFUSED), *OTHERS], ids=lambda line: " ".join(line)
)
def test_each_remedy_lifts_the_guard_that_names_it(line: tuple[str, ...]) -> None:
    """What stands behind `set` or `take` in the sentence, typed behind the line."""
    config = compose(*line, "guard=warn")
    found = [(guard, sentence) for guard in guards.GUARDS if (sentence := guard(config))]
    for guard, sentence in found:
        remedies = re.findall(r"[a-z_.]+=(?:\[[^]]*\]|[\w.]+(?<!\.))", sentence.rpartition(";")[2])
        assert remedies, sentence
        for remedy in remedies:
            assert guard(compose(*line, "guard=warn", remedy)) is None, f"{sentence} ({remedy})"


def test_every_guard_is_tried() -> None:
    tried = [compose(*line, "guard=warn") for line, _ in REFUSED]
    assert all(any(guard(config) for config in tried) for guard in guards.GUARDS)


# --- what each of them prevents -------------------------------------------------------------------


def critic(*last: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layers = (
        nn.Linear(1, 64),
        nn.Tanh(),
        nn.Linear(64, 64),
        nn.Tanh(),
        nn.Linear(64, 1),
        *last,
        nn.Flatten(0),
    )
    return nn.Sequential(*layers)


def estimate(
    D: nn.Module,
    regularizer: Regularizer,
    steps: int,
    shift: float = 1.0,
    weight_decay: float = 0.0,
) -> float:
    """E D(x) - E D(y) between N(0, 1) and N(shift, 1), whose distance is `shift`, after so many
    steps of the critic."""
    optimizer = torch.optim.Adam(D.parameters(), lr=3e-3, weight_decay=weight_decay)
    gaps = []
    for _ in range(steps):
        real, fake = torch.randn(512, 1), shift + torch.randn(512, 1)
        score, score_fake = D(real), D(fake)
        loss = Wasserstein().discriminator(score, score_fake) + sum(
            regularizer(D, real, fake).values()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        regularizer.project(D)
        gaps.append((score.mean() - score_fake.mean()).item())
    return sum(gaps[-100:]) / 100


def test_a_sigmoid_cannot_tell_a_distance_of_5_from_one_of_10() -> None:
    found = [
        estimate(critic(nn.Sigmoid()), GradientPenalty(0.1), 300, shift) for shift in (5.0, 10.0)
    ]
    assert max(found) <= 1
    plain = [estimate(critic(), GradientPenalty(), 300, shift) for shift in (5.0, 10.0)]
    assert plain[1] > 1.5 * plain[0] > 5


def test_batch_norm_makes_a_gradient_another_samples_affair() -> None:
    """What a penalty would call the gradient of the first sample's score is another one in other
    company."""
    torch.manual_seed(0)
    normed, plain = (Discriminator((2,), width=16, critic_norm=norm) for norm in ("batch", "none"))  # type: ignore[arg-type]
    x, others = torch.randn(8, 2), torch.randn(7, 2)
    company = torch.cat([x[:1], others])
    apart: Callable[[nn.Module], float] = lambda D: float(  # noqa: E731
        (input_gradient(D, x)[0] - input_gradient(D, company)[0]).norm()
        / input_gradient(D, x)[0].norm()
    )
    assert apart(plain) < 1e-5 and apart(normed) > 0.1


def test_clipping_holds_the_slope_far_below_what_the_penalty_asks_for() -> None:
    D = critic()
    regularizer = GradientPenalty(clip=0.01)
    estimate(D, regularizer, 200)
    slope = input_gradient(D, torch.randn(512, 1), create_graph=False).norm(dim=1).mean()
    assert slope < 0.01 and regularizer(D, torch.randn(9, 1), torch.randn(9, 1))["penalty"] > 9


def test_without_a_constraint_the_estimate_has_no_end() -> None:
    D = critic()
    early, late = estimate(D, Regularizer(), 150), estimate(D, Regularizer(), 300)
    assert early > 5 and late > 3 * early
    assert estimate(critic(), WeightClip(), 300) < 0.1


@pytest.mark.parametrize(
    ("decay", "found"), mostly_slow([(0.0, 1.04), (0.1, 1.02), (3.0, 0.86)], 3.0)
)
def test_weight_decay_measures_less_than_the_distance(decay: float, found: float) -> None:
    """A little does little, and is not refused; much does much."""
    assert estimate(critic(), GradientPenalty(), 500, weight_decay=decay) == pytest.approx(
        found, rel=0.03
    )


@pytest.mark.parametrize(("momentum", "low", "high"), [(0.0, 0.9, 2.0), (0.9, 4.0, float("inf"))])
def test_momentum_swings_past_the_generator(momentum: float, low: float, high: float) -> None:
    """A point theta, data at 0, a clipped critic D(x) = psi x: how far the point, at 1 in the
    beginning, is thrown."""
    theta, psi = (torch.tensor([value], requires_grad=True) for value in (1.0, 0.0))
    optimizers = [torch.optim.SGD([value], lr=0.05, momentum=momentum) for value in (psi, theta)]
    farthest = 0.0
    for _ in range(400):
        for optimizer, value, sign in zip(optimizers, (psi, theta), (1, -1), strict=True):
            optimizer.zero_grad()
            (value.grad,) = torch.autograd.grad(sign * psi * theta, value)
            optimizer.step()
            with torch.no_grad():
                psi.clamp_(-1, 1)
        farthest = max(farthest, theta.abs().item())
    assert low < farthest < high


def test_the_variance_of_one_value_is_none() -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        Discriminator((2,), width=4, critic_norm="batch")(torch.randn(1, 2))
