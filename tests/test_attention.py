"""Self-attention: what it is by its equations, where it stands, and that it is learnt."""

import pytest
import torch
from conftest import TINY, compose, make_trainer
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, scaled_dot_product_attention

from gan_cli.errors import UserError
from gan_cli.networks.attention import SelfAttention, attending
from gan_cli.networks.resnet import Discriminator, Generator


@pytest.fixture
def layer() -> SelfAttention:
    torch.manual_seed(0)
    made = SelfAttention(16)
    nn.init.ones_(made.gamma)
    return made


def maps(n: int = 2) -> Tensor:
    return torch.randn(n, 16, 6, 8, generator=torch.Generator().manual_seed(1))


def test_it_starts_as_the_identity() -> None:
    x = maps()
    assert torch.equal(SelfAttention(16)(x), x)


def test_every_pixel_shares_out_one(layer: SelfAttention) -> None:
    weights = layer.weights(maps())
    assert weights.shape == (2, 48, 12) and weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 48))


def test_it_is_dot_product_attention_without_a_scale(layer: SelfAttention) -> None:
    x = maps()
    query, key, value = layer.query(x), max_pool2d(layer.key(x), 2), max_pool2d(layer.value(x), 2)
    rows = [part.flatten(2).transpose(1, 2) for part in (query, key, value)]
    mixed = scaled_dot_product_attention(*rows, scale=1.0).transpose(1, 2).unflatten(2, (6, 8))
    torch.testing.assert_close(layer(x), x + layer.out(mixed))


def test_it_does_not_know_where_a_pixel_is(layer: SelfAttention) -> None:
    """Whole windows of the pooling, moved elsewhere, give the same, moved elsewhere."""
    x = maps()
    moved = x.unflatten(3, (4, 2))[:, :, :, [2, 0, 3, 1]].flatten(3)
    torch.testing.assert_close(
        layer(moved), layer(x).unflatten(3, (4, 2))[:, :, :, [2, 0, 3, 1]].flatten(3)
    )


def test_each_sample_sees_itself_alone(layer: SelfAttention) -> None:
    x = maps(3)
    torch.testing.assert_close(layer(x)[1:2], layer(x[1:2]))


def test_its_second_derivatives_are_right(layer: SelfAttention) -> None:
    x = maps(1)[:, :, :2, :2].double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda at: layer.double()(at).square().sum(), x)


def side(network: nn.Module, shape: tuple[int, ...]) -> list[int]:
    """The sides of the maps that attend, in a forward of one sample."""
    seen: list[int] = []
    for module in network.modules():
        if isinstance(module, SelfAttention):
            module.register_forward_hook(
                lambda module, inputs, output: seen.append(inputs[0].shape[-1])
            )
    network.eval()(torch.zeros(1, *shape))
    return seen


@pytest.mark.parametrize(
    ("size", "attention", "generator", "discriminator"),
    [
        (32, 0, [], []),
        (32, 16, [16], [16]),
        (32, 32, [32], [16]),
        (64, 20, [16], [16]),
        (8, 32, [8], [4]),
    ],
)
def test_it_stands_at_the_largest_maps_of_at_most_that_side(
    size: int, attention: int, generator: list[int], discriminator: list[int]
) -> None:
    shape = (1, size, size)
    assert side(Generator(shape, 4, width=8, attention=attention), (4,)) == generator
    assert side(Discriminator(shape, width=8, attention=attention), shape) == discriminator


def test_maps_that_are_all_larger_are_named() -> None:
    with pytest.raises(
        UserError,
        match=r"network.attention=3: the smallest feature maps have "
        r"side 4; take that\.",
    ):
        attending([nn.Identity()], [4], 3, [8])
    with pytest.raises(UserError, match=r"network.attention"):
        make_trainer("model=sagan", "data=digits", *TINY, "network.attention=3")


def test_the_model_is_that_of_the_paper() -> None:
    config = compose("model=sagan", "data=digits", "network.width=8", "optimizer=adam_sagan")
    rates = {who: config["optimizer"]["players"].get(who, {}).get("lr", config["optimizer"]["lr"])
             for who in ("discriminator", "generator")}  # fmt: skip
    assert rates == {"discriminator": 4e-4, "generator": 1e-4} and config["loss"]["name"] == "hinge"
    trainer = make_trainer("model=sagan", "data=digits", *TINY)
    for name in ("G", "D"):
        layers = [
            m
            for m in trainer.game.get_submodule(name).modules()
            if isinstance(m, nn.Linear | nn.Conv2d)
        ]
        assert all(hasattr(layer, "parametrizations") for layer in layers)
    before = [m.gamma.item() for m in trainer.game.modules() if isinstance(m, SelfAttention)]
    for _ in range(5):
        trainer.play_round()
    after = [m.gamma.item() for m in trainer.game.modules() if isinstance(m, SelfAttention)]
    assert before == [0, 0] and all(after)


def test_a_generator_of_spectral_norm_has_no_layer_that_stretches() -> None:
    torch.manual_seed(0)
    G = Generator((1, 8, 8), 4, width=8, attention=8, spectral=True)
    with torch.no_grad():
        for _ in range(30):
            G(torch.randn(4, 4))
    layers = [module for module in G.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert len(layers) > 6
    for layer in layers:
        assert torch.linalg.svdvals(layer.weight.flatten(1))[0].item() == pytest.approx(1, abs=0.02)
