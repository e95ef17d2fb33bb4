"""What the discriminator sees: real and fake samples changed alike, in ways whose ranges are
known."""

from typing import Any

import pytest
import torch
from conftest import (
    FAMILIES,
    MODELS,
    TINY,
    compose,
    facts,
    fitting,
    make_trainer,
    mostly_slow,
    of_text,
    written,
)
from torch import nn

from gan_cli import augmentations, noise
from gan_cli.augmentations import DiffAugment
from gan_cli.errors import UserError
from gan_cli.networks.progressive import growing


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
    "model",
    mostly_slow(
        [model for model in MODELS if facts(model)["augments"] and not of_text(model)],
        *FAMILIES,
        "cogan",
        "infogan",
        "gan_cls",
    ),
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
    grows = growing(D)
    modules = (D if grows is None else grows.colours[-1]).modules()
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


# --- adaptive -------------------------------------------------------------------------------------


def pictures(channels: int = 3, side: int = 8, n: int = 400) -> torch.Tensor:
    noise.begin_turn("test")
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def ada(**options: Any) -> augmentations.AdaptiveAugment:
    return augmentations.AdaptiveAugment(**options).train()


def test_nothing_changes_at_probability_zero() -> None:
    for channels in (1, 3, 4):
        x = pictures(channels)
        torch.testing.assert_close(ada(p=0.0)(x), x, atol=1e-5, rtol=0)


def test_whole_pixels_are_only_moved() -> None:
    """Mirrored, turned and moved images hold no value that was not there; as many as p says are
    as they were, but for what every step leaves as it is by chance."""
    x = pictures(side=16)
    for p in (1.0, 0.5):
        moved = ada(p=p, policy=["pixels"])(x)
        few = (part[:40].flatten(1) for part in (moved, x))
        apart = torch.cdist(*(part[:, :, None] for part in few)).amin(dim=2)
        assert apart.max() < 1e-3
        same = (moved - x).abs().amax(dim=(1, 2, 3)) < 1e-3
        # still: not mirrored, not turned, moved by none of -2 to 2 pixels along each side
        still = (1 - p / 2) * (1 - 3 * p / 4) * (1 - p + p / 16)
        assert same.float().mean().item() == pytest.approx(still, abs=0.06)


def test_geometry_keeps_a_linear_ramp_where_it_points() -> None:
    """Of an image whose value is its column, the pixel at the inverse map's place is that of the
    map itself, inside the image."""
    columns = (torch.arange(32) + 0.5) / 16 - 1
    x = columns.expand(64, 1, 32, 32).contiguous()
    inverse = augmentations.geometry(x, torch.tensor(1.0))
    place = torch.stack(torch.meshgrid(columns, columns, indexing="xy"))
    there = torch.einsum("nij,jhw->nihw", inverse[:, :2, :2], place) + inverse[:, :2, 2, None, None]
    inside = (there.abs() < 1 - 1 / 16).all(dim=1)
    found = augmentations.sampled(x, inverse)[:, 0]
    torch.testing.assert_close(found[inside], there[:, 0][inside], atol=1e-4, rtol=0)
    turned = inverse[:, :2, :2].det()  # of scales alone: a turn has 1
    assert (turned.log2() / 2).std().item() == pytest.approx(0.2, abs=0.06)


def test_colours_turn_about_the_axis_of_greys() -> None:
    x = pictures()
    grey = x.mean(dim=1, keepdim=True).expand_as(x)
    one, none = torch.ones(len(x)), torch.zeros(len(x))
    turned = augmentations._colours(none, 2 * torch.pi * one / 3, one)
    # a third of a turn exchanges the three colours
    torch.testing.assert_close(torch.einsum("nij,njhw->nihw", turned, x), x.roll(1, dims=1))
    for strength in (0.0, 2.0):
        stretched = torch.einsum(
            "nij,njhw->nihw", augmentations._colours(none, none, strength * one), x
        )
        torch.testing.assert_close(stretched, grey + strength * (x - grey))
    negative = torch.einsum("nij,njhw->nihw", augmentations._colours(one, none, one), x)
    torch.testing.assert_close(negative, x - 2 * grey)


def test_generators_learn_through_it() -> None:
    x = pictures(n=4).requires_grad_()
    (slope,) = torch.autograd.grad(ada(p=0.8)(x).square().sum(), x)
    assert slope.isfinite().all() and slope.abs().sum() > 0


@pytest.mark.parametrize(("score", "sign"), [(3.0, 1), (-3.0, -1)])
def test_p_follows_the_sign_and_stays_a_probability(score: float, sign: int) -> None:
    follows = ada(p=0.5, target=0.6, images=100)
    seen = []
    for step in range(40):
        follows.begin_round(step)
        seen.append(follows.p.item())
        follows.judged(torch.full((5,), score))
    assert seen[:4] == [0.5] * 4
    assert seen[4] == pytest.approx(0.5 + sign * 4 * 5 / 100)
    assert seen[-1] == (sign + 1) / 2
    kept = ada(p=0.3, target=None)
    for step in range(9):
        kept.begin_round(step)
        kept.judged(torch.full((5,), score))
    assert kept.p.item() == pytest.approx(0.3)


AUGMENTED = [
    model
    for model in MODELS
    if facts(model)["augments"] and not facts(model)["own_objective"] and not of_text(model)
]


@pytest.mark.parametrize("model", mostly_slow(AUGMENTED, *FAMILIES))
def test_it_hears_of_every_discriminator(model: str) -> None:
    """A game that did not say how its D judges would keep p for ever."""
    data = () if written(model).get("data") else ("data=digits",)
    typed = (*fitting(model, *data), *TINY, "augmentation=ada", "augmentation.images=50")
    try:
        trainer = make_trainer(*typed, "++augmentation.target=0.0", "augmentation.p=0.5")
    except UserError as refusal:
        assert str(refusal).startswith("augmentation")
        return
    trainer.game.T.judged(torch.ones(1))
    assert trainer.game.T.batches == 1
    trainer.play_round()
    assert trainer.game.T.batches > 1


def test_a_loss_without_a_middle_is_refused() -> None:
    with pytest.raises(UserError, match=r"augmentation\.target=0\.6: .* loss=wasserstein"):
        compose("model=wgan_gp", "data=digits", "augmentation=ada")
    compose("model=wgan_gp", "data=digits", "augmentation=ada", "augmentation.target=null")
