"""SPADE: what a norm does to a map of one label, the networks, the terms of the game."""

from pathlib import Path

import pytest
import torch
from conftest import Command, make_trainer
from test_label_maps import street
from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.networks import translation
from gan_cli.networks.spade import Discriminator, Generator, Spade

NONE = torch.empty(1, 0)


def flat(label: int, labels: int = 4, side: int = 16) -> Tensor:
    """A map of one label everywhere."""
    maps = torch.zeros(1, labels, side, side)
    maps[:, label] = 1
    return maps


def test_a_plain_norm_washes_a_flat_map_away_and_spade_does_not() -> None:
    """Figure 3 of the paper: a convolution of a constant is constant, and instance norm makes it
    zero."""
    torch.manual_seed(0)
    plain = translation.Generator((3, 16, 16), (4, 16, 16), width=8).down[:2]  # instance norm
    washed = [plain(flat(label)) for label in range(4)]
    for other in washed[1:]:
        torch.testing.assert_close(other, washed[0], atol=1e-5, rtol=0)

    told = Spade(8, 4, hidden=8, norm_name="instance")
    x = torch.randn(1, 8, 16, 16)
    shown = [told(x, flat(label)) for label in range(4)]
    assert min(float((other - shown[0]).abs().mean()) for other in shown[1:]) > 0.05
    G = Generator((3, 16, 16), (4, 16, 16), width=4).eval()
    images = [G(flat(label), NONE) for label in range(4)]
    assert min(float((other - images[0]).abs().mean()) for other in images[1:]) > 0.01


@pytest.mark.parametrize("norm_name", ["batch", "instance"])
def test_without_scale_and_offset_it_is_the_norm(norm_name: str) -> None:
    told = Spade(6, 4, hidden=8, norm_name=norm_name)
    for layer in (told.gamma, told.beta):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    x = 3 + 2 * torch.randn(4, 6, 8, 8)
    normed = told(x, torch.rand(4, 4, 16, 16))
    over = (0, 2, 3) if norm_name == "batch" else (2, 3)
    assert normed.mean(dim=over).abs().max() < 1e-5
    assert (normed.std(dim=over, unbiased=False) - 1).abs().max() < 1e-3


def test_a_map_stays_one_hot_at_every_scale() -> None:
    maps = nn.functional.one_hot(torch.randint(4, (2, 16, 16)), 4).movedim(3, 1).float()
    for side in (4, 8):
        small = nn.functional.interpolate(maps, size=(side, side), mode="nearest")
        assert set(small.unique().tolist()) == {0, 1}
        assert torch.equal(small.sum(dim=1), torch.ones(2, side, side))


def test_sides_that_it_cannot_make_are_refused() -> None:
    with pytest.raises(UserError, match="network=spade: makes squares of 8, 16, 32"):
        Generator((3, 24, 24), (4, 24, 24))
    G = Generator((3, 8, 8), (4, 8, 8), latent=5, width=2)
    assert G(flat(1, side=8), torch.randn(1, 5)).shape == (1, 3, 8, 8)
    assert G.multiple == 0


def test_it_takes_larger_maps_too() -> None:
    """What is far from the edges is what it makes of the part alone."""
    torch.manual_seed(0)
    G = Generator((3, 8, 8), (4, 8, 8), width=2, hidden=4).eval()
    assert G.multiple == 2
    maps = nn.functional.one_hot(torch.randint(4, (1, 60, 80)), 4).movedim(3, 1).float()
    whole, part = G(maps, NONE), G(maps[..., 10:50, 20:70], NONE)
    assert whole.shape == (1, 3, 60, 80)
    torch.testing.assert_close(whole[..., 26:34, 36:54], part[..., 16:24, 16:34])


def test_a_discriminator_tells_its_layers_at_every_scale() -> None:
    D = Discriminator((5, 32, 32), width=4, scales=2, halvings=2).eval()
    x = torch.randn(2, 5, 32, 32)
    found = D.layers(x)
    assert [len(scale) for scale in found] == [4, 4]
    assert torch.equal(D(x), torch.cat([scale[-1].flatten(1) for scale in found], dim=1))
    assert found[0][0].shape[2] > found[1][0].shape[2]


def test_the_terms_are_those_of_the_paper(tmp_path: Path) -> None:
    folder = street(tmp_path)
    trainer = make_trainer(
        "model=spade", "data=pairs", f"data.folder={folder / 'photos'}", "data.labels=3",
        f"data.inputs={folder / 'maps'}", "data.image_size=16", "data.heldout=0.3",
        "network.width=4", "network.discriminator.width=4", "batch_size=4", "model.matching=7",
    )  # fmt: skip
    game, batch = trainer.game.eval(), trainer.batches.next()
    x, x_a = batch["x"], batch["x_a"]
    assert x_a.shape == (4, 3, 16, 16)
    made = game.G(x_a, torch.empty(4, 0))
    terms = game.generator(x, x_a)
    torch.testing.assert_close(terms["adversarial"], -game.D(torch.cat([made, x_a], dim=1)).mean())
    gaps = [
        (mine - true).abs().mean()
        for scale, other in zip(
            game.D.layers(torch.cat([made, x_a], dim=1)),
            game.D.layers(torch.cat([x, x_a], dim=1)), strict=True,
        )
        for mine, true in zip(scale[:-1], other[:-1], strict=True)
    ]  # fmt: skip
    torch.testing.assert_close(terms["matching"], 7 * torch.stack(gaps).mean())
    real, fake = (game.D(torch.cat([images, x_a], dim=1)) for images in (x, made))
    told = game.discriminator(x, x_a)["adversarial"]
    torch.testing.assert_close(told, (1 - real).relu().mean() + (1 + fake).relu().mean())


# --- styles ---------------------------------------------------------------------------------------

STYLED = ("model=gaugan", "model.latent=5", "network.width=4", "batch_size=4")


def test_the_style_of_an_image_is_a_code() -> None:
    """What G learns from is made of the style of the true image, and samples of one at random."""
    game = make_trainer(*STYLED).game.eval()
    x, x_a = torch.rand(4, 3, 32, 32), torch.rand(4, 1, 32, 32)
    assert game.encode(x).shape == (4, 5)
    torch.testing.assert_close(game.reconstruct(x, x_a), game.G(x_a, game.encode(x)))
    one, other = (game.render(torch.full((4, 5), z), x_a) for z in (-1.0, 1.0))
    assert not torch.equal(one, other)

    terms = game.generator(x, x_a)
    mean, logvar = game.E(x).chunk(2, dim=1)
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(dim=1).mean()
    torch.testing.assert_close(terms["kl"], 0.05 * kl)


@pytest.mark.slow
def test_an_image_comes_back_in_its_own_style(command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, printed = command(
        "gan-train", *STYLED, "steps=1", "evaluate_every=0", f"hydra.run.dir={run}"
    )
    assert code == 0, printed
    code, printed = command("gan-sample", str(run), "mode=reconstruct", "n=4", "output=s.png")
    assert code == 0 and "4 held-out samples" in printed


def test_styles_need_a_latent() -> None:
    with pytest.raises(UserError, match=r"model\.latent=0: is the width of the code of a style"):
        make_trainer("model=gaugan", "model.latent=0")
