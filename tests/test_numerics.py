"""Where float32 ends: saturated scores, flat critics, one sample, one colour; each against
float64."""

from collections.abc import Callable

import pytest
import torch
from conftest import FAMILIES, MODELS, TINY, fitting, make_trainer, mostly_slow, of_text
from torch import Tensor, nn

from gan_cli import noise, registry
from gan_cli.losses import FGAN, Loss
from gan_cli.regularizers import FiniteDifference, GradientPenalty, Regularizer

LOSSES = [name for name in registry.losses.components if name not in ("own", "f_gan")]
SATURATED = [-80.0, -30.0, -1.0, 0.0, 1.0, 30.0, 80.0]
PENALTIES: list[Callable[[], Regularizer]] = [
    GradientPenalty,
    lambda: GradientPenalty(order=1),
    lambda: GradientPenalty(order="inf"),
    lambda: GradientPenalty(sides="one"),
    lambda: GradientPenalty(sides="one", power=1),
    lambda: GradientPenalty(target=0.0, where="real"),
    lambda: GradientPenalty(target=0.0, where="fake"),
    lambda: GradientPenalty(where="around_real"),
    FiniteDifference,
]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("side", ["discriminator", "generator"])
def test_saturated_scores_lose_nothing(name: str, side: str) -> None:
    """Value and gradient at scores of +-80 are those of float64, and finite."""
    loss: Loss = registry.losses.build({"name": name}, "loss")
    found = []
    for kind in (torch.float32, torch.float64):
        real = torch.tensor(SATURATED, dtype=kind, requires_grad=True)
        fake = torch.tensor(SATURATED[::-1], dtype=kind, requires_grad=True)
        value = (
            loss.discriminator(real, fake)
            if side == "discriminator"
            else loss.generator(fake, real)
        )
        gradients = torch.autograd.grad(value, [real, fake], allow_unused=True)
        found.append([value, *(gradient for gradient in gradients if gradient is not None)])
    for single, double in zip(*found, strict=True):
        assert single.isfinite().all()
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "divergence", ["kl", "reverse_kl", "jensen_shannon", "gan", "squared_hellinger"]
)
def test_f_divergences_at_scores_that_their_exponentials_bear(divergence: str) -> None:
    """exp(80) fits into float32; beyond, an f-divergence is infinite and the run says so."""
    loss = FGAN(divergence)  # type: ignore[arg-type]
    found = []
    for kind in (torch.float32, torch.float64):
        scores = torch.tensor([-40.0, -1.0, 0.0, 1.0, 40.0], dtype=kind, requires_grad=True)
        value = loss.discriminator(scores, scores.flip(0))
        found.append([value, *torch.autograd.grad(value, scores)])
    for single, double in zip(*found, strict=True):
        assert single.isfinite().all()
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-6)


class Flat(nn.Module):
    """A critic whose score is the same everywhere, by a weight that may learn."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.flatten(1).sum(dim=1)


@pytest.mark.parametrize("made", PENALTIES, ids=range(len(PENALTIES)))
@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("apart", [1.0, 0.0])
def test_a_penalty_of_a_flat_critic_is_finite_and_that_of_float64(
    made: Callable[[], Regularizer], n: int, apart: float
) -> None:
    """Zero gradient everywhere, one sample, and images that are all the same: norms of zero
    vectors."""
    found = []
    for kind in (torch.float32, torch.float64):
        critic, regularizer = Flat().to(kind), made()
        x = torch.full((n, 1, 4, 4), 0.5, dtype=kind)
        noise.begin_turn("numerics")
        (penalty,) = regularizer(critic, x, x - apart).values()
        (gradient,) = torch.autograd.grad(penalty, critic.weight, allow_unused=True)
        found.append([penalty, torch.zeros(()) if gradient is None else gradient])
    for single, double in zip(*found, strict=True):
        assert single.isfinite().all()
        torch.testing.assert_close(single.double(), double.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "model", mostly_slow([model for model in MODELS if not of_text(model)], *FAMILIES)
)
def test_constant_images_give_no_nan(model: str) -> None:
    """Data of one grey: standard deviations and distances are zero. Three rounds, every weight
    finite."""
    trainer = make_trainer(*fitting(model, "data=digits"), *TINY, "model.warm_up=null")
    for fields in (trainer.batches.dataset.train, trainer.batches.dataset.heldout):
        for name in [key for key in fields if key.startswith("x")]:
            fields[name] = torch.full_like(fields[name], 128)
    trainer.game.train()
    for _ in range(3):
        trainer.play_round()
    for terms in trainer.terms.values():
        assert all(term.isfinite() for term in terms.values())
    assert all(weight.isfinite().all() for weight in trainer.game.parameters())


# --- laws of chance -------------------------------------------------------------------------------


def test_two_shards_draw_independent_numbers() -> None:
    """Rows of one law, and dropout's own: no correlation between two shards over 2000 turns beyond
    chance."""
    drawn: list[list[Tensor]] = [[], []]
    for step in range(2000):
        for shard in (0, 1):
            noise.begin_turn("turn", 0, step, shard=shard, shards=2)
            rows = noise.rows(torch.randn, 2, 8, device=torch.device("cpu")).flatten()
            drawn[shard].append(torch.cat([rows, torch.randn(16)]))
    noise.begin_turn("turn")
    a, b = (torch.stack(part) for part in drawn)
    for numbers in (a, b):
        assert abs(float(numbers.mean())) < 4 / numbers.numel() ** 0.5
        assert float(numbers.var()) == pytest.approx(1, abs=0.03)
    correlations = torch.corrcoef(torch.cat([a, b], dim=1).T)[:32, 32:]
    assert correlations.abs().max() < 5 / 2000**0.5
    assert not torch.equal(a, b)


def test_turns_rounds_and_seeds_draw_independent_numbers() -> None:
    streams = {}
    for name, position in {
        "turn": (0, 0, 1),
        "round": (0, 1, 0),
        "seed": (1, 0, 0),
        "here": (0, 0, 0),
    }.items():
        noise.begin_turn("turn", *position)
        streams[name] = torch.randn(20_000)
    noise.begin_turn("turn")
    correlations = torch.corrcoef(torch.stack([*streams.values()])) - torch.eye(4)
    assert correlations.abs().max() < 4.5 / 20_000**0.5


@pytest.mark.parametrize("saved_at", [1, 2])
def test_turns_are_counted_exactly_across_a_resume(saved_at: int) -> None:
    """Three turns of the critic, one of the generator, a penalty in every second turn: as if it had
    not stopped."""
    typed = (
        "model=wgan_gp",
        "data=points",
        *TINY,
        "model.repeat.discriminator=3",
        "regularizer.every=2",
    )
    counted = []
    for resumed in (False, True):
        trainer, seen = make_trainer(*typed), []
        for step in range(4):
            if resumed and step == saved_at:
                state, trainer = trainer.state_dict(), make_trainer(*typed)
                trainer.load_state_dict(state)
            seen += [(turn.player.name, turn.due) for turn in trainer.game.turns(trainer.step)]
            trainer.play_round()
        counted.append(seen)
    assert counted[0] == counted[1]
    assert [name for name, _ in counted[0]] == [
        "discriminator",
        "discriminator",
        "discriminator",
        "generator",
    ] * 4
    assert [due for name, due in counted[0] if name == "discriminator"] == [True, False] * 6
