"""ProGAN and StyleGAN: their layers by their equations, growth without a jump, styles, noise,
truncation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Command, make_trainer
from torch import Tensor, nn

import gan_cli
from gan_cli.errors import UserError
from gan_cli.games.progressive import Progressive
from gan_cli.games.style import Style
from gan_cli.networks import progressive, style
from gan_cli.networks.layers import MinibatchDeviation
from gan_cli.networks.progressive import (
    EqualConv,
    EqualLinear,
    Growing,
    PixelNorm,
    doubled,
    grown,
    halved,
)
from gan_cli.training.ema import EMA

SHAPE = (3, 32, 32)


def images(n: int = 3) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def generators() -> list[progressive.GrowingGenerator]:
    torch.manual_seed(0)
    return [
        progressive.Generator(SHAPE, 8, width=4).eval(),
        style.Generator(SHAPE, 8, width=4, style=8).eval(),
    ]


def discriminators() -> list[progressive.Discriminator]:
    torch.manual_seed(0)
    return [progressive.Discriminator(SHAPE, width=4), style.Discriminator(SHAPE, width=4)]


# --- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "fan_in", "gain"),
    [
        (EqualConv(64, 64, 3), 64 * 9, 2**0.5),
        (EqualLinear(512, 512), 512, 2**0.5),
        (EqualConv(64, 96, 1, gain=1.0), 64, 1),
    ],
    ids=["convolution", "linear", "colours"],
)
def test_weights_are_stored_at_one_and_used_at_hes_deviation(
    layer: nn.Module, fan_in: int, gain: float
) -> None:
    assert layer.weight.std().item() == pytest.approx(1, abs=0.03)  # type: ignore[union-attr, operator]
    x = torch.zeros(1, *layer.weight.shape[1:2], *([5, 5] if isinstance(layer, nn.Conv2d) else []))  # type: ignore
    # one input: what comes out are the weights as used
    x.view(1, x.shape[1], -1)[0, 0, x[0, 0].numel() // 2] = 1
    out = (layer(x) - layer(torch.zeros_like(x))).flatten()
    used = out[out != 0] if isinstance(layer, nn.Conv2d) else out
    assert used.std().item() == pytest.approx(gain / fan_in**0.5, rel=0.2)


def test_a_slow_layer_starts_as_any_and_learns_slower() -> None:
    torch.manual_seed(0)
    slow = EqualLinear(256, 256, rate=0.01, offset=0.5)
    assert slow.weight.std().item() == pytest.approx(100, rel=0.03)
    assert torch.equal(slow(torch.zeros(1, 256)), torch.full((1, 256), 0.5))
    fast, x = EqualLinear(256, 256), torch.randn(4, 256)
    moved = []
    for layer in (slow, fast):
        before, adam = layer(x).detach(), torch.optim.Adam(layer.parameters(), lr=1e-3)
        layer(x).sum().backward()
        adam.step()
        moved.append((layer(x) - before).norm())
    assert (moved[0] / moved[1]).item() == pytest.approx(0.01, rel=1e-2)


def test_pixel_norm_leaves_a_mean_square_of_one() -> None:
    for shape in ((2, 16), (2, 16, 4, 4)):
        torch.testing.assert_close(
            PixelNorm()(torch.randn(shape)).square().mean(dim=1), torch.ones(2, *shape[2:])
        )


@pytest.mark.parametrize(("n", "size"), [(8, 4), (4, 4), (6, 3), (5, 1), (2, 2), (1, 1)])
def test_the_deviation_of_a_group_is_told_to_each_of_it(n: int, size: int) -> None:
    x = torch.randn(n, 3, 2, 2, generator=torch.Generator().manual_seed(n))
    told = MinibatchDeviation()(x)
    assert torch.equal(told[:, :3], x)
    groups = x.numpy().reshape(size, n // size, -1)
    expected = np.sqrt(groups.var(axis=0) + 1e-8).mean(axis=1)
    np.testing.assert_allclose(told[:, 3].amax(dim=(1, 2)), np.tile(expected, size), rtol=1e-5)
    assert torch.equal(told[:, 3].amin(dim=(1, 2)), told[:, 3].amax(dim=(1, 2)))
    torch.testing.assert_close(
        MinibatchDeviation()(x[:1].expand(4, -1, -1, -1))[:, 3], torch.full((4, 2, 2), 1e-4)
    )


def test_a_style_sets_mean_and_deviation_of_every_map() -> None:
    torch.manual_seed(0)
    layer, w = style.AdaIN(6, 5), torch.randn(4, 5)
    out = layer(3 + 7 * torch.randn(4, 6, 8, 8), w)
    scale, offset = layer.style(w).chunk(2, dim=1)
    torch.testing.assert_close(out.mean(dim=(2, 3)), offset, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        out.std(dim=(2, 3), unbiased=False), (1 + scale).abs(), rtol=1e-4, atol=1e-4
    )


def test_a_blur_keeps_what_is_even_and_takes_what_alternates() -> None:
    blur = progressive.Blur()
    board = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 2, 8, 8)
    assert torch.equal(blur(torch.ones(1, 2, 8, 8))[..., 1:-1, 1:-1], torch.ones(1, 2, 6, 6))
    assert not blur(board)[..., 1:-1, 1:-1].any()


# --- growth ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("G", generators(), ids=["progressive", "style"])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_scale_is_mixed_in_without_a_jump(G: progressive.GrowingGenerator, scale: int) -> None:
    z = torch.randn(2, 8)
    G.grow(scale - 1)
    coarse = G(z)
    G.grow(scale - 1 + 1e-7)
    torch.testing.assert_close(G(z), coarse, rtol=0, atol=1e-5)
    # every pixel repeated
    torch.testing.assert_close(coarse, doubled(halved(coarse, 4 - scale), 4 - scale))
    G.grow(scale)
    fine = G(z)
    G.grow(scale - 1 + 0.25)
    if isinstance(G, progressive.Generator):
        torch.testing.assert_close(
            G.train()(z), 0.75 * _at(G, scale - 1, z) + 0.25 * _at(G, scale, z)
        )
    assert not torch.equal(fine, coarse)


def _at(G: progressive.GrowingGenerator, stage: float, z: Tensor) -> Tensor:
    G.grow(stage)
    return G(z)


@pytest.mark.parametrize("D", discriminators(), ids=["progressive", "style"])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_so_it_is_in_the_discriminator(D: progressive.Discriminator, scale: int) -> None:
    x = images()
    D.grow(scale - 1)
    coarse = D(x)
    # it sees no finer
    torch.testing.assert_close(D(doubled(halved(x, 4 - scale), 4 - scale)), coarse)
    D.grow(scale - 1 + 1e-7)
    torch.testing.assert_close(D(x), coarse, rtol=0, atol=1e-4)
    D.grow(scale)
    assert not torch.allclose(D(x), coarse)


def test_real_images_grow_as_fakes_do() -> None:
    network, x = Growing(4), images()
    assert torch.equal(grown(x, network), x)
    network.grow(1)
    torch.testing.assert_close(grown(x, network), doubled(halved(x, 2), 2))
    network.grow(1.25)
    once = doubled(halved(x))
    torch.testing.assert_close(
        grown(x, network), doubled(0.25 * halved(once) + 0.75 * doubled(halved(once, 2)), 1)
    )


def test_stages_share_the_growth_and_last_to_the_end() -> None:
    game = make_trainer("model=progan", "data=digits", *TINY, "steps=120", "model.growth=0.5").game
    assert isinstance(game, Progressive)
    at = [game.stage(step, 4) for step in (0, 9, 10, 15, 20, 29, 35, 40, 49, 55, 60, 119, 10**6)]
    assert at == [0, 0, 0, 0.5, 1, 1, 1.5, 2, 2, 2.5, 3, 3, 3]
    assert game.stage(10, 1) == 0


def test_a_run_that_grows_is_continued_and_drawn_at_its_stage(
    tmp_path: Path, command: Command
) -> None:
    options = (
        "model=progan",
        "data=digits",
        "batch_size=4",
        "network.width=4",
        "evaluate_every=0",
        "steps=8",
    )
    trainer, other = (make_trainer(*options, "model.growth=1") for _ in range(2))
    for _ in range(6):
        trainer.play_round()
        EMA().after_round(trainer)
    assert trainer.game.G.stage == trainer.ema.get_submodule("G").stage == 0.25  # type: ignore[union-attr]
    other.load_state_dict(trainer.state_dict())
    z = torch.randn(3, 128)
    for game, same in ((trainer.game, other.game), (trainer.ema, other.ema)):
        assert game is not None and same is not None
        torch.testing.assert_close(game.render(z), same.render(z), rtol=0, atol=0)
    code, printed = command(
        "gan-train", *options, "model.growth=1", "steps=6", "model.total=8", "hydra.run.dir=run"
    )
    assert code == 0, printed
    samples = gan_cli.load("run").sample(3)
    torch.testing.assert_close(samples, samples.clamp(-1, 1), rtol=0, atol=0)
    assert gan_cli.load("run").game.get_submodule("G").stage == 0.25


def test_only_what_has_been_grown_learns() -> None:
    trainer = make_trainer("model=progan", "data=digits", *TINY, "steps=100")
    before = {name: value.clone() for name, value in trainer.game.named_parameters()}
    trainer.play_round()
    still = {
        name for name, value in trainer.game.named_parameters() if torch.equal(value, before[name])
    }
    learns = {"G.colours.0", "G.blocks.0", "G.start", "D.colours.0", "D.layers"}
    assert not {name for name in still if name.startswith(tuple(learns))}
    assert {name.rsplit(".", 1)[0] for name in still if name.startswith("G.colours")} == {
        "G.colours.1"
    }


def test_networks_that_do_not_grow_are_refused_or_played_whole() -> None:
    with pytest.raises(UserError, match="does not grow; take network=progressive, or set model"):
        make_trainer("model=progan", "data=digits", "network=dcgan", *TINY)
    make_trainer(
        "model=progan", "data=digits", "network=dcgan", *TINY, "model.growth=0"
    ).play_round()
    with pytest.raises(UserError, match="mixes styles; take network=style"):
        make_trainer("model=stylegan", "data=digits", "network=dcgan", *TINY)


def test_scores_of_real_images_are_held() -> None:
    trainer = make_trainer(
        "model=progan", "data=digits", *TINY, "model.drift=2.0", "model.growth=0"
    )
    game, x = trainer.game, trainer.batches.next()["x"]
    assert isinstance(game, Progressive)
    assert game.discriminator(x)["drift"].item() == pytest.approx(
        2 * game.value(x).square().mean().item()
    )
    assert "drift" not in make_trainer("model=stylegan", "data=digits", *TINY).game.play(
        trainer.game.turns(0)[0], {"x": x}
    )


@pytest.mark.parametrize("D", discriminators(), ids=["progressive", "style"])
def test_second_derivatives_are_right(D: progressive.Discriminator) -> None:
    D = D.double()
    D.grow(0.5)
    x = images(2).double().requires_grad_()
    weight = D.colours[1][0].weight  # type: ignore[index]

    def slope() -> Tensor:
        (gradient,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
        return gradient.square().sum()

    (found,) = torch.autograd.grad(slope(), weight)
    step = torch.zeros_like(weight)
    step[0, 0] = 1e-5
    with torch.no_grad():
        weight += step
        after = slope_of(D, x)
        weight -= 2 * step
        before = slope_of(D, x)
    assert found[0, 0].item() == pytest.approx((after - before) / 2e-5, rel=1e-4)


def slope_of(D: nn.Module, x: Tensor) -> float:
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(D(x).sum(), x)
    return gradient.square().sum().item()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("model", ["progan", "stylegan"])
def test_half_precision_stays_near_float32(model: str, precision: str) -> None:
    half, whole = (
        make_trainer(
            f"model={model}", "data=digits", *TINY, "steps=8", f"hardware.precision={name}"
        )
        for name in (precision, "fp32")
    )
    for trainer in (half, whole):
        trainer.step = 3  # halfway between two scales, where it grows
        trainer.play_round()
    for player, terms in whole.terms.items():
        for name, term in terms.items():
            assert half.terms[player][name].item() == pytest.approx(
                term.item(), rel=0.1, abs=0.05
            ), (player, name)


# --- styles ---------------------------------------------------------------------------------------


def styled(*more: str) -> Style:
    game = make_trainer("model=stylegan", "data=digits", "data.image_size=16", *TINY, *more).game
    assert isinstance(game, Style)
    return game


def test_psi_draws_w_in_towards_its_average() -> None:
    game = styled().eval()
    mapping, z = game.G.mapping, torch.randn(400, 128)
    mapping.average.fill_(0.3)
    w = mapping(z)
    half = mapping.truncated(w, torch.full((400, 1), 0.5))
    torch.testing.assert_close(half.std(dim=0), 0.5 * w.std(dim=0))
    torch.testing.assert_close(half - 0.3, 0.5 * (w - 0.3))
    rows = torch.cat([z[:5], torch.ones(5, 1)], dim=1)
    torch.testing.assert_close(game.render(rows), game.G(z[:5]))
    none = game.render(game.truncated(rows, 0.0))
    torch.testing.assert_close(none, none[:1].expand_as(none))
    assert torch.equal(game.truncated(rows, 0.5)[:, :-1], rows[:, :-1])


def test_the_average_follows_the_batches() -> None:
    mapping = styled().G.mapping.train()
    z, expected = [torch.randn(6, 128) for _ in range(3)], torch.zeros(128)
    for batch in z:
        expected = 0.995 * expected + 0.005 * mapping.layers(batch).mean(dim=0)
        mapping(batch)
    torch.testing.assert_close(mapping.average, expected)
    before = mapping.average.clone()
    mapping.eval()(z[0])
    assert torch.equal(mapping.average, before)


def test_styles_are_mixed_from_some_layer_on(monkeypatch: pytest.MonkeyPatch) -> None:
    game, seen = styled(), []
    monkeypatch.setattr(game.G, "drawn", lambda w: seen.append(w) or torch.zeros(len(w), 1, 16, 16))
    x = torch.zeros(2000, 1, 16, 16)
    torch.manual_seed(0)
    game.train().sample_fakes(x)
    changes = (seen[0][:, 1:] != seen[0][:, :-1]).any(dim=2)
    assert set(changes.sum(dim=1).tolist()) == {0, 1}
    assert changes.any(dim=1).float().mean().item() == pytest.approx(0.9, abs=0.03)
    first = changes.float().argmax(dim=1)[changes.any(dim=1)].bincount() / changes.any(dim=1).sum()
    torch.testing.assert_close(
        first, torch.full((5,), 0.2), rtol=0, atol=0.04
    )  # six layers: after any of the first five
    game.eval().sample_fakes(x)
    assert not (seen[1].shape[1] - game.G.styles) and torch.equal(seen[1][:, 0], seen[1][:, -1])


def test_styles_of_two_samples_are_mixed() -> None:
    game = styled().eval()
    rows = torch.cat([torch.randn(3, 128), torch.ones(3, 1)], dim=1)
    own = game.render(rows)
    for coarse, expected in ((0, own.repeat_interleave(3, dim=0)), (6, own.repeat(3, 1, 1, 1))):
        torch.testing.assert_close(game.mixed(rows, coarse), expected)
    torch.testing.assert_close(game.mixed(rows, 2)[[0, 4, 8]], own)
    assert not torch.allclose(game.mixed(rows, 2)[1], own[0])


def test_noise_differs_in_training_only() -> None:
    game = styled()
    for layer in game.modules():
        if isinstance(layer, style.Noise):
            nn.init.ones_(layer.strength)
    z = torch.randn(1, 128).expand(2, -1)
    one, two = game.eval().G(z)
    assert torch.equal(one, two) and torch.equal(game.G(z)[0], one)
    one, two = game.train().G(z)
    assert not torch.allclose(one, two)


def test_noise_starts_at_no_strength_and_w_is_the_same_from_any_length() -> None:
    game = styled().eval()
    assert not any(
        layer.strength.any() for layer in game.modules() if isinstance(layer, style.Noise)
    )
    z = torch.randn(4, 128)
    torch.testing.assert_close(game.G(3 * z), game.G(z), rtol=1e-3, atol=1e-4)


def test_the_row_that_samples_are_drawn_from_ends_with_psi(
    tmp_path: Path, command: Command
) -> None:
    quick = ("batch_size=4", "network.width=4", "evaluate_every=0", "steps=2", "hydra.run.dir=run")
    code, printed = command(
        "gan-train", "model=dcgan", *quick[:4], "figures=[style_mixing]", "hydra.run.dir=other"
    )
    assert code == 2 and "figures=[style_mixing]: needs a generator of styles" in printed
    code, printed = command(
        "gan-train", "model=stylegan", *quick, "figures=[style_mixing]", "sample_every=2"
    )
    assert list((tmp_path / "run" / "figures").glob("style_mixing*.png"))
    assert code == 0, printed
    for line in (
        ("mode=truncate", "steps=5"),
        ("mode=interpolate",),
        ("mode=npz", "truncation=0", "output=a.npz"),
        ("shifts=[1]", "truncation=0.7"),
        ("mode=npz", "output=b.npz"),
    ):
        code, printed = command("gan-sample", "checkpoint=run", "n=3", *line)
        assert code == 0, printed
    none, all_ = (np.load(tmp_path / name)["samples"] for name in ("a.npz", "b.npz"))
    np.testing.assert_allclose(none, np.broadcast_to(none[:1], none.shape), atol=1e-6)
    assert np.abs(all_[0] - all_[1]).max() > 1e-3
