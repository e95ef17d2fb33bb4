"""StyleGAN2 in closed form: modulated convolutions, path lengths, classes in the mapping."""

from typing import cast

import pytest
import torch
from conftest import TINY, make_trainer
from torch import Tensor
from torch.nn.functional import conv2d

from gan_cli import noise
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.games.style import Style2
from gan_cli.networks import style2
from gan_cli.training.rendering import at_rest


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def game_of(*overrides: str) -> Game:
    return make_trainer("data=digits", *TINY, *overrides).game


def test_modulated_is_each_samples_own_convolution() -> None:
    layer = style2.ModulatedConv(3, 4, 3, width=5)
    x, w = torch.randn(6, 3, 8, 8), torch.randn(6, 5)
    own = layer.style(w)[:, None, :, None, None] * layer.weight * layer.scale
    own = own * (own.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    wanted = torch.cat([conv2d(x[i, None], own[i], padding=1) for i in range(6)])
    torch.testing.assert_close(layer(x, w), wanted)


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_demodulated_maps_have_variance_one(strength: float) -> None:
    layer = style2.ModulatedConv(16, 8, 3, width=5)
    x, w = torch.randn(64, 16, 16, 16), strength * torch.randn(64, 5)
    inside = layer(x, w)[..., 1:-1, 1:-1]
    assert inside.var().item() == pytest.approx(1.0, rel=0.02)
    plain = style2.ModulatedConv(16, 8, 3, width=5, demodulate=False)
    assert plain(x, 10 * w).var() > 20 * plain(x, torch.zeros_like(w)).var() * strength**2


@pytest.mark.parametrize("row", [style2.SMOOTH, style2.PLAIN])
def test_what_is_even_stays_even_where_the_side_doubles(row: tuple[int, ...]) -> None:
    layer = style2.ModulatedConv(1, 1, 3, width=2, demodulate=False, finer=row)
    w = torch.zeros(1, 2)  # where the style is 1
    doubled = layer(torch.ones(1, 1, 8, 8), w)
    assert doubled.shape == (1, 1, 16, 16)
    wanted = (layer.weight.sum() * layer.scale).expand(1, 1, 10, 10)
    torch.testing.assert_close(doubled[..., 3:-3, 3:-3], wanted)


def test_path_lengths_are_those_of_the_jacobian() -> None:
    game = cast(Style2, game_of("model=stylegan2").double())
    game.G.eval()  # the same noise in each call
    vars(game.G)["bounded"] = False
    w = torch.randn(3, game.G.styles, 128, dtype=torch.double)

    noise.begin_turn("path")
    found = game.path_lengths(w)
    noise.begin_turn("path")
    shape = game.G.drawn(w).shape
    y = noise.rows(torch.randn, *shape, device=w.device) / (shape[2] * shape[3]) ** 0.5
    for i in range(3):
        J = torch.autograd.functional.jacobian(lambda v: game.G.drawn(v[None])[0], w[i])
        along = torch.einsum("chw,chwls->ls", y[i].to(J), cast(Tensor, J))
        wanted = along.square().sum(dim=1).mean().sqrt()
        assert found[i].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_slope_of_the_path_term_is_right() -> None:
    """Of a weight of the synthesis, and of one of the mapping, which made the styles."""
    game = cast(Style2, game_of("model=stylegan2").double())
    game.G.eval()
    game.path_mean.fill_(0.3)
    z = torch.randn(2, game.prior.latent, dtype=torch.double)

    def term() -> Tensor:
        noise.begin_turn("path")
        w = game.G.mapping(z)[:, None].expand(-1, game.G.styles, -1)
        return (game.path_lengths(w) - game.path_mean).square().mean()

    weights = dict(game.G.named_parameters())
    for name in ("layers.1.convolution.weight", "mapping.layers.1.weight"):
        weight = weights[name]
        (slope,) = torch.autograd.grad(term(), weight)
        step = torch.zeros_like(weight)
        step.view(-1)[3] = 1e-4
        moved = []
        for factor in (1, -2, 1):
            with torch.no_grad():
                weight.add_(step, alpha=factor)
            moved.append(term().item())
        after, before, _ = moved
        assert slope.view(-1)[3].item() == pytest.approx((after - before) / 2e-4, rel=1e-3)


def test_the_path_term_is_due_in_every_fourth_turn_and_its_mean_is_saved() -> None:
    trainer = make_trainer("data=digits", "model=stylegan2", *TINY)
    due = []
    for _ in range(5):
        trainer.terms = {}
        trainer.play_round()
        due.append("path_length" in trainer.terms["generator"])
    assert due == [True, False, False, False, True]
    mean = trainer.game.state_dict()["path_mean"].item()
    assert mean > 0
    off = make_trainer("data=digits", "model=stylegan2", "model.path_length=0", *TINY)
    off.play_round()
    assert "path_length" not in off.terms["generator"]


@pytest.mark.parametrize("model", ["stylegan_conditional", "stylegan2_conditional"])
def test_the_class_reaches_every_layer(model: str) -> None:
    game = game_of(f"model={model}")
    rows = game.latents(1, torch.Generator().manual_seed(0)).repeat(2, 1)
    rows = game.of_class(rows, torch.tensor([3, 7]))
    styles: list[Tensor] = []
    parts = [part for name, part in game.get_submodule("G").named_modules() if name[-5:] == "style"]
    hooks = [part.register_forward_hook(lambda m, i, out: styles.append(out)) for part in parts]
    with torch.no_grad(), at_rest(game):
        first, second = game.render(rows)
        assert not torch.equal(first, second)
        still = game.render(game.truncated(rows, 0.0))
    for hook in hooks:
        hook.remove()
    assert len(styles) >= 2 * len(parts) > 0
    for told in styles[: len(parts)]:
        assert not torch.allclose(told[0], told[1])
    assert torch.equal(still[0], still[1])  # the average is one of all classes


def test_a_generator_without_styles_is_refused() -> None:
    with pytest.raises(UserError, match=r"network\.generator: .* take network=style or style2"):
        make_trainer("model=stylegan2", "data=digits", "network=dcgan", *TINY)
