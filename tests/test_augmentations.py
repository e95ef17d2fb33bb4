"""What the discriminator sees: real and fake samples changed alike, in ways whose ranges are
known."""

from typing import Any

import pytest
import torch
from conftest import MODELS, TINY, facts, fitting, make_trainer, of_text
from torch import nn

from gan_cli import augmentations, noise
from gan_cli.augmentations import DiffAugment
from gan_cli.errors import UserError


def images(n: int = 200, side: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_colours_change_within_their_ranges() -> None:
    noise.begin_turn("test")
    x = images()
    y = augmentations.color(x)
    brightness = (y - x).mean(dim=(1, 2, 3))
    assert -0.5 <= brightness.min() < -0.45 and 0.45 < brightness.max() <= 0.5
    grey_before, grey = (v.mean(dim=1) - v.mean(dim=(1, 2, 3))[:, None, None] for v in (x, y))
    contrast = (grey / grey_before).flatten(1).median(dim=1).values
    assert 0.5 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5
    spread = (y - y.mean(dim=1, keepdim=True)).flatten(1).norm(dim=1) / (
        x - x.mean(dim=1, keepdim=True)
    ).flatten(1).norm(dim=1)
    saturation = spread / contrast
    assert 0 <= saturation.min() < 0.05 and 1.95 < saturation.max() <= 2.001


def test_images_move_by_whole_pixels_over_zeros() -> None:
    noise.begin_turn("test")
    x = images() + 3  # no value is zero
    y = augmentations.translation(x)
    shifts = set()
    for before, after in zip(x, y, strict=True):
        inside = after[0] != 0
        rows, columns = inside.any(dim=1).nonzero().flatten(), inside.any(dim=0).nonzero().flatten()
        down = int(rows[0]) if rows[0] else int(rows[-1]) - 15
        right = int(columns[0]) if columns[0] else int(columns[-1]) - 15
        expected = torch.zeros_like(before)
        expected[:, max(0, down) : 16 + min(0, down), max(0, right) : 16 + min(0, right)] = before[
            :, max(0, -down) : 16 - max(0, down), max(0, -right) : 16 - max(0, right)
        ]
        assert torch.equal(after, expected)
        shifts.add((down, right))
    assert shifts == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}


@pytest.mark.parametrize("side", [16, 9])
def test_a_square_is_cut_out(side: int) -> None:
    noise.begin_turn("test")
    y = augmentations.cutout(images(side=side) + 3)
    half = int(side * 0.5 + 0.5)
    areas = (y[:, 0] == 0).sum(dim=(1, 2))
    assert areas.max() == half**2 and areas.min() >= (half // 2) ** 2
    assert (y == 0).any(dim=1).eq((y == 0).all(dim=1)).all()


@pytest.mark.parametrize("policy", list(augmentations.POLICIES))
def test_the_generator_learns_through_it(policy: str) -> None:
    """The gradient is that of finite differences."""
    x = images(2, side=6).double().requires_grad_()

    def changed(value: torch.Tensor) -> torch.Tensor:
        noise.begin_turn("test")
        return augmentations.POLICIES[policy](value)

    assert torch.autograd.gradcheck(changed, (x,))
    assert torch.autograd.gradgradcheck(changed, (x,))


def test_it_does_nothing_in_evaluation_and_knows_its_policy() -> None:
    x = images(4)
    assert torch.equal(DiffAugment().eval()(x), x)
    assert torch.equal(DiffAugment([]).train()(x), x)
    noise.begin_turn("test")
    cut = DiffAugment(["cutout"]).train()(x)
    noise.begin_turn("test")
    assert torch.equal(cut, augmentations.cutout(x))


@pytest.mark.parametrize(
    "model", [model for model in MODELS if facts(model)["augments"] and not of_text(model)]
)
def test_the_discriminator_sees_nothing_else(model: str) -> None:
    """In every turn of every game: whatever D is given came out of the augmentation."""
    typed = (
        *fitting(model, "data=digits"),
        "model.warm_up=null",
        "augmentation=diff_augment",
        *TINY,
    )
    trainer = make_trainer(*typed, *LIKENESS.get(model, ()))
    trainer.game.train()
    mark = 12345.0

    def marked(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output * 0 + mark

    seen: list[torch.Tensor] = []
    trainer.game.get_submodule("T").register_forward_hook(marked)
    D: Any = trainer.game.get_submodule("D")
    # one that grows has a first layer a scale
    modules = (D.colours[-1] if hasattr(D, "colours") else D).modules()
    first = next(
        module for module in modules if isinstance(module, nn.Flatten | nn.Linear | nn.Conv2d)
    )
    first.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].detach().flatten(1)[:, :PIXELS])
    )
    trainer.play_round()
    assert seen and all(((x - mark).abs() < 0.01).all() for x in seen)


PIXELS = 64  # what comes behind them are classes and codes
LIKENESS = {"vae_gan": ("model.likeness=pixels",)}
"""What a model compares by D's features is not a judgement of D's."""


def test_an_augmentation_of_samples_does_nothing_for_codes() -> None:
    with pytest.raises(UserError, match="augmentation=diff_augment: model=aae does not use any"):
        make_trainer("model=aae", "data=digits", "augmentation=diff_augment")


def test_what_it_cannot_change_is_refused() -> None:
    with pytest.raises(UserError, match=r"augmentation=diff_augment: changes image, not points"):
        make_trainer("data=points", "augmentation=diff_augment")
    with pytest.raises(UserError, match=r"augmentation\.policy\.0=colour"):
        make_trainer("data=digits", "augmentation=diff_augment", "augmentation.policy=[colour]")
