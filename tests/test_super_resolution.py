"""Enlarged images: the networks, the phases of the game, the scores."""

import pytest
import torch
from conftest import make_trainer
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli.data.pairs import Pairs
from gan_cli.errors import UserError
from gan_cli.metrics.super_resolution import SuperResolution, luma
from gan_cli.networks.super_resolution import Generator

SMALL = (
    "data.of=digits", "data.factor=2", "network.generator.width=4", "network.generator.blocks=1",
    "network.discriminator.width=4", "network.discriminator.halvings=2", "batch_size=6",
)  # fmt: skip
NONE = torch.empty(1, 0)


def bicubic(x: Tensor, ratio: int) -> Tensor:
    return interpolate(x, scale_factor=ratio, mode="bicubic", align_corners=False)


# --- data -----------------------------------------------------------------------------------------


def test_inputs_are_smaller_images() -> None:
    data = Pairs(make="downscaled", factor=4)
    assert data.spec.shape == (3, 32, 32) and data.spec.fields["x_a"].shape == (3, 8, 8)
    x, x_a = (data.train[name][:50].float() for name in ("x", "x_a"))
    blocks = x.unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(-1, -2))
    assert (blocks - x_a).abs().mean() < 5  # of 256: bicubic weights are nearly those of blocks


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_it_starts_as_bicubic_interpolation_at_any_sides(ratio: int) -> None:
    torch.manual_seed(0)
    G = Generator((3, 8 * ratio, 8 * ratio), (3, 8, 8), width=8, blocks=2)
    x = 1.6 * torch.rand(1, 3, 5, 9) - 0.8
    made = G(x, NONE)
    assert made.shape == (1, 3, 5 * ratio, 9 * ratio)
    assert (made - bicubic(x, ratio).clamp(-1, 1)).abs().max() < 0.1
    assert made.abs().max() <= 1


def test_channels_become_pixels_in_their_order() -> None:
    G = Generator((1, 4, 4), (1, 2, 2), width=1, blocks=0)
    shuffle = next(layer for layer in G.enlarge if isinstance(layer, torch.nn.PixelShuffle))
    told = shuffle(torch.arange(4.0).view(1, 4, 1, 1))
    assert told.flatten().tolist() == [0, 1, 2, 3] and told.shape == (1, 1, 2, 2)


@pytest.mark.parametrize(
    ("shape", "inputs", "latent"),
    [((3, 24, 24), (3, 8, 8), 0), ((3, 32, 16), (3, 8, 8), 0), ((3, 32, 32), (3, 8, 8), 2)],
)
def test_what_cannot_be_enlarged_is_refused(
    shape: tuple[int, ...], inputs: tuple[int, ...], latent: int
) -> None:
    with pytest.raises(UserError, match="enlarges images 2, 4 or 8 times"):
        Generator(shape, inputs, latent)
    with pytest.raises(UserError, match="residual=true: adds to an input of 3 channels"):
        Generator((3, 32, 32), (1, 8, 8))


# --- the game -------------------------------------------------------------------------------------


def test_the_generator_learns_alone_before_the_game() -> None:
    phases = (
        "model.phases=[{name: content, rounds: 2, turns: {content: 1}},"
        "{name: game, turns: {discriminator: 1, generator: 1}}]"
    )
    trainer = make_trainer("model=srgan", *SMALL, phases)
    game = trainer.game
    assert [[turn.player.name for turn in game.turns(step)] for step in (1, 2)] == [
        ["content"], ["discriminator", "generator"],
    ]  # fmt: skip

    batch = trainer.batches.next()
    made = game.sample_fakes(batch["x"], batch["x_a"])
    error = (made - batch["x"]).square().mean()
    terms = {turn.player.name: game.play(turn, batch) for turn in game.turns(0) + game.turns(2)}
    torch.testing.assert_close(terms["content"], {"l2": error})
    # D sees images without what they were made of
    told = torch.nn.functional.softplus(-game.D(made)).mean()
    torch.testing.assert_close(terms["generator"], {"l2": error, "adversarial": 1e-3 * told})


def test_the_network_without_a_game_never_plays_one() -> None:
    trainer = make_trainer("model=srresnet", *SMALL)
    before = [weight.clone() for weight in trainer.game.D.parameters()]
    for _ in range(3):
        trainer.play_round()
    assert {turn.player.name for turn in trainer.game.turns(1000)} == {"content"}
    assert all(map(torch.equal, before, trainer.game.D.parameters()))


def test_pairs_of_two_sizes_are_judged_at_the_larger_one() -> None:
    trainer = make_trainer("model=srgan", *SMALL, "model.judged=pairs")
    batch = trainer.batches.next()
    enlarged = batch["x_a"].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    game = trainer.game
    game.eval()
    wanted = game.D(torch.cat([batch["x"], enlarged], dim=1))
    torch.testing.assert_close(game.value(batch["x"], batch["x_a"]), wanted)


# --- scores ---------------------------------------------------------------------------------------


def test_luma_of_colours_whose_luma_is_known() -> None:
    shades = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [1, -1, -1]]).view(3, 3, 1, 1)
    assert luma(shades).flatten().tolist() == pytest.approx([16, 235, 16 + 65.481])
    assert float(luma(torch.ones(1, 1, 1, 1))) == pytest.approx(235)


def test_scores_of_images_whose_scores_are_known() -> None:
    data = Pairs(make="downscaled", factor=4)
    metric = SuperResolution(data, torch.device("cpu"), n=50)
    fields = data.decode({name: values[:50] for name, values in data.heldout.items()})

    def scores(samples: Tensor) -> dict[str, float]:
        return metric.compute([metric.extract_pairs(samples, fields)])

    truth = scores(fields["x"])
    assert truth["psnr_y"] > 100 and truth["ssim_y"] == pytest.approx(1)
    assert truth["sharpness_y"] == pytest.approx(1)

    same = scores(bicubic(fields["x_a"], 4))
    for name in ("psnr_y", "ssim_y", "sharpness_y"):
        assert same[name] == pytest.approx(same[f"{name}_bicubic"], rel=2e-2)

    # of 255: a shade that is 10 bytes off in the middle; what is off at the border does not count
    grey = {"x": torch.zeros(4, 1, 32, 32), "x_a": torch.zeros(4, 1, 8, 8)}
    shifted = torch.full((4, 1, 32, 32), 10 / 127.5)
    shifted[..., :4, :] = 1
    off = metric.compute([metric.extract_pairs(shifted, grey)])
    step = 10 * (65.481 + 128.553 + 24.966) / 255
    assert off["psnr_y"] == pytest.approx(20 * torch.tensor(255 / step).log10().item(), abs=1e-3)
