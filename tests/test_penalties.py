"""Every penalty on critics whose gradient is known: w for linear ones, a x for quadratic ones."""

import pytest
import torch
from conftest import TINY, make_trainer
from test_closed_forms import Linear, fit_critic
from torch import Tensor, nn

from gan_cli import noise, registry
from gan_cli.augmentations import InstanceNoise
from gan_cli.config.options import option
from gan_cli.losses import Wasserstein
from gan_cli.regularizers import FiniteDifference, GradientPenalty


class Quadratic(nn.Module):
    """D(x) = a |x|^2 / 2, whose input gradient is a x."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x.flatten(1).square().sum(dim=1) / 2


def named(name: str) -> GradientPenalty:
    """The regularizer that an option of the group describes."""
    built: GradientPenalty = registry.regularizers.build(option("regularizer", name), "regularizer")
    return built


W = torch.tensor([1.0, -2.0, 2.0])  # of length 3, absolute sum 5, largest entry 2


@pytest.mark.parametrize(
    ("name", "steep", "flat"),
    [
        ("gradient_penalty", 10 * (3 - 1) ** 2, 10 * (1 - 0.3) ** 2),
        ("one_sided", 10 * (3 - 1) ** 2, 0),
        ("one_sided_linear", 10 * (3 - 1), 0),
        ("dragan", 10 * (3 - 1) ** 2, 10 * (1 - 0.3) ** 2),
        ("r1", 5 * 3**2, 5 * 0.3**2),
        ("r2", 5 * 3**2, 5 * 0.3**2),
        ("zero_gp", 10 * 3**2, 10 * 0.3**2),
    ],
)
def test_penalties_of_linear_critics(name: str, steep: float, flat: float) -> None:
    x, x_fake = torch.randn(2, 7, 3).unbind()
    for scale, expected in ((1.0, steep), (0.1, flat)):
        penalty = named(name)(Linear(scale * W), x, x_fake)["penalty"]
        assert penalty.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("order", "norm"), [(2, 3.0), (1, 5.0), ("inf", 2.0)])
def test_the_order_of_the_norm(order: float, norm: float) -> None:
    x, x_fake = torch.randn(2, 7, 3).unbind()
    penalty = GradientPenalty(1.0, order=order)(Linear(W), x, x_fake)["penalty"]  # type: ignore[arg-type]
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)


def test_where_a_penalty_looks() -> None:
    """A quadratic critic's slope at x is a |x|: R1 sees real samples, R2 fake ones, the line what
    lies between."""
    x, x_fake = torch.randn(500, 4), torch.zeros(500, 4)
    D, mean = Quadratic(3.0), x.square().sum(dim=1).mean().item()
    assert named("r1")(D, x, x_fake)["penalty"].item() == pytest.approx(5 * 9 * mean, rel=1e-5)
    assert named("r2")(D, x, x_fake)["penalty"].item() == 0
    noise.begin_turn("test")
    between = named("zero_gp")(D, x, x_fake)["penalty"].item()
    assert between == pytest.approx(10 * 9 * mean / 3, rel=0.1)  # the mean of epsilon^2 is 1/3


def test_dragan_stays_near_the_data() -> None:
    """Points around real samples lie within half a deviation of the batch; fakes never enter."""
    x, x_fake = 5 + torch.randn(400, 3), torch.full((400, 3), float("nan"))
    noise.begin_turn("test")
    around = named("dragan")._around_real(x, x_fake)
    moved = (around - x) / (0.5 * x.std())
    assert moved.min() >= 0 and moved.max() <= 1 and moved.max() > 0.9
    ratios = moved[:, 0] / moved[:, 1]  # one alpha a sample, one direction an element
    assert ratios.std() > 0.1


def test_the_finite_difference_of_a_linear_critic() -> None:
    x_fake = torch.randn(50, 3)
    along = x_fake + torch.rand(50, 1) * W / 3
    assert FiniteDifference()(Linear(W), along, x_fake)["penalty"].item() == pytest.approx(
        10 * (3 - 1) ** 2, rel=1e-3
    )
    across = x_fake + torch.tensor([2.0, 1.0, 0.0])  # orthogonal to w: it sees no slope at all
    assert FiniteDifference()(Linear(W), across, x_fake)["penalty"].item() == pytest.approx(
        10, rel=1e-3
    )
    same = FiniteDifference()(Linear(W), x_fake, x_fake)["penalty"]
    assert same.isfinite()


@pytest.mark.slow
def test_the_finite_difference_reaches_the_closed_form_of_the_gradient_penalty() -> None:
    """In one dimension the line is all there is: gap 1.05, though a mean slope between two points
    is less sharp."""
    _, gap, slope = fit_critic(Wasserstein(), FiniteDifference(), 1)
    assert gap == pytest.approx(1.0545, rel=0.03) and slope == pytest.approx(1.05, rel=0.03)


@pytest.mark.slow
def test_one_and_two_sides_differ_where_nothing_is_to_be_told() -> None:
    """Between equal laws a two-sided penalty holds the slope at 1, a one-sided one lets it fall
    (WGAN-GP, app. C)."""
    slopes = {
        name: fit_critic(Wasserstein(), named(name), 0)[2]
        for name in ("gradient_penalty", "one_sided")
    }
    assert slopes["gradient_penalty"] == pytest.approx(1, abs=0.05)
    assert slopes["one_sided"] < 0.9


@pytest.mark.parametrize("repeat", [1, 5])
def test_a_lazy_penalty_is_as_strong_on_average(repeat: int) -> None:
    typed = ("model=two_player", "data=points", f"model.repeat.discriminator={repeat}", *TINY)
    lazy = make_trainer(*typed, "regularizer=r1", "regularizer.every=4").game
    due = [
        turn.due
        for step in range(8)
        for turn in lazy.turns(step)
        if turn.player.name == "discriminator"
    ]
    assert due == [i % 4 == 0 for i in range(8 * repeat)]
    x, x_fake = torch.randn(2, 7, 3).unbind()
    always = named("r1")(Linear(W), x, x_fake)["penalty"]
    now = lazy.regularizer(Linear(W), x, x_fake)["penalty"]  # type: ignore[operator]
    assert now.item() == pytest.approx(4 * always.item())


def test_a_lazy_penalty_is_left_out_between_and_its_last_value_is_logged() -> None:
    trainer = make_trainer(
        "model=two_player", "data=points", "regularizer=r1", "regularizer.every=3", *TINY
    )
    calls = []
    honest = trainer.game.penalty
    trainer.game.penalty = lambda x, x_fake: (calls.append(trainer.game.due), honest(x, x_fake))[1]  # type: ignore[assignment, method-assign]
    seen = []
    for _ in range(6):
        trainer.play_round()
        seen.append(trainer.terms["discriminator"]["penalty"].item())
    assert calls == [True, False, False, True, False, False]
    assert seen[0] == seen[1] == seen[2] != seen[3] == seen[4] == seen[5]
    again = make_trainer(
        "model=two_player", "data=points", "regularizer=r1", "regularizer.every=3", *TINY
    )
    again.load_state_dict(trainer.state_dict())
    assert again.terms["discriminator"]["penalty"].item() == seen[5]


def test_instance_noise_falls_to_zero_over_the_run() -> None:
    typed = (
        "model=gan",
        "data=points",
        "augmentation=instance_noise",
        "augmentation.sigma=0.8",
        "steps=4",
        *TINY,
    )
    trainer = make_trainer(*typed)
    sigmas = []
    for _ in range(5):
        trainer.play_round()
        sigmas.append(trainer.game.T.sigma.item())  # type: ignore[union-attr, operator]
    assert sigmas == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])


def test_instance_noise_is_of_its_deviation_in_training_and_in_evaluation() -> None:
    changed = InstanceNoise(total=10, sigma=0.5)
    for mode in (True, False):
        noise.begin_turn("test")
        y = changed.train(mode)(torch.zeros(2000, 3))
        assert y.std().item() == pytest.approx(0.5, rel=0.05) and abs(y.mean().item()) < 0.02
