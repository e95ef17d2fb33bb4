"""BigGAN: where the class and each part of z go, how weights are drawn and held orthogonal, what a
truncation draws anew."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Command, compose, make_trainer, save_run
from test_explore import decoded, tile
from torch import Tensor, nn

import gan_cli
from gan_cli import noise
from gan_cli.commands.explore import View, picture
from gan_cli.data.spec import Spec
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.games.biggan import BigGAN, non_orthogonality
from gan_cli.networks.biggan import (
    ConditionalDiscriminator,
    ConditionalGenerator,
    DeepBlock,
    DeepDiscriminator,
    DeepGenerator,
    Discriminator,
    Generator,
    conditional_norms,
    no_norms,
    split_sizes,
)
from gan_cli.networks.conditional import ConditionalNorm
from gan_cli.networks.layers import WEIGHTED, batch_norms
from gan_cli.sampling.generator import estimate_statistics
from gan_cli.sampling.truncation import sweep, truncated

GENERATORS = (Generator, DeepGenerator)
DISCRIMINATORS = (Discriminator, DeepDiscriminator)
SHAPE = (3, 32, 32)
DEVIATIONS = {2.0: 0.8796, 1.5: 0.7426, 1.0: 0.5396, 0.5: 0.2839, 0.25: 0.1437}
"""Exact standard deviations of a normal number within so much of 0."""
CLIPPED_VARIANCE = 0.5161  # of a normal number that is clipped at 1


def built(kind: type[ConditionalGenerator], **options: object) -> ConditionalGenerator:
    torch.manual_seed(0)
    small = {"width": 4, "embedding": 6, "latent": 10, **options}
    return kind(SHAPE, classes=5, **small)  # type: ignore[arg-type]


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


# --- the generator --------------------------------------------------------------------------------


def outputs(network: ConditionalGenerator, z: Tensor, y: Tensor) -> list[Tensor]:
    """What the linear map and each block give."""
    seen: list[Tensor] = []
    hooks = [
        part.register_forward_hook(lambda module, inputs, output: seen.append(output))
        for part in (network.start, *network.blocks)
    ]
    with torch.no_grad():
        network(z, y)
    for hook in hooks:
        hook.remove()
    return seen


def test_each_chunk_of_z_reaches_its_block_and_the_later_ones_only() -> None:
    network = built(Generator).eval()
    assert network.chunks == [3, 3, 2, 2]
    z, y = torch.randn(2, 10), torch.tensor([1, 4])
    before = outputs(network, z, y)
    for place, columns in enumerate(torch.arange(10).split(network.chunks)):
        moved = z.clone()
        moved[:, columns] += 1
        after = outputs(network, moved, y)
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert same == [i < place for i in range(4)]


def test_the_whole_of_z_and_the_class_reach_every_part_of_the_deep_one() -> None:
    network = built(DeepGenerator).eval()
    z, y = torch.randn(2, 10), torch.tensor([1, 4])
    conditions = network.conditions(network.embedding(y), z)
    assert len(conditions) == 1 + len(network.blocks) == 7
    for condition in conditions:
        assert torch.equal(condition, torch.cat([network.embedding(y), z], dim=1))


def test_the_chunks_share_z_out() -> None:
    assert split_sizes(120, 6) == [20] * 6  # at 128x128, as in the paper
    with pytest.raises(UserError, match=r"model\.latent=3: z is split into 4 chunks, .* 4 or more"):
        split_sizes(3, 4)


@pytest.mark.parametrize("kind", GENERATORS)
def test_the_class_reaches_every_norm(kind: type[ConditionalGenerator]) -> None:
    """The vector of the class has a gradient from each norm alone, and each norm's weights have one
    from the samples."""
    network = built(kind)
    norms = [module for module in network.modules() if isinstance(module, ConditionalNorm)]
    assert len(norms) == {Generator: 2, DeepGenerator: 4}[kind] * len(network.blocks)

    told: list[Tensor] = []
    for layer in norms:
        layer.register_forward_hook(lambda module, inputs, output: told.append(output))
    y = torch.tensor([0, 1, 2])
    images = network(torch.randn(3, 10), y)
    for output in told:
        probe = torch.randn(output.shape)
        (slope,) = torch.autograd.grad(
            (output * probe).sum(), network.embedding.weight, retain_graph=True
        )
        assert (slope[:3].norm(dim=1) > 0).all() and not slope[3:].any()
    (images * torch.randn(images.shape)).sum().backward()
    for layer in norms:
        for linear in (layer.gain, layer.bias):
            (weight,) = linear.parameters()
            assert weight.grad is not None and weight.grad[:, :6].any()


def test_a_conditional_norm_is_scaled_and_shifted_by_its_condition() -> None:
    layer = ConditionalNorm(4, 3, "batch")
    x, given = 5 + 2 * torch.randn(6, 4, 8, 8), torch.randn(6, 3)
    plain = (x - x.mean(dim=(0, 2, 3), keepdim=True)) / (
        x.var(dim=(0, 2, 3), unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    gain, bias = given @ layer.gain.weight.T, given @ layer.bias.weight.T
    wanted = plain * (1 + gain[:, :, None, None]) + bias[:, :, None, None]
    torch.testing.assert_close(layer(x, given), wanted, atol=1e-5, rtol=1e-5)
    free = ConditionalNorm(4, 3, "none")
    assert torch.equal(free(x, torch.zeros(6, 3)), x)


@pytest.mark.parametrize("side", [8, 28, 32, 64])
@pytest.mark.parametrize(
    ("generator", "discriminator"), [*zip(GENERATORS, DISCRIMINATORS, strict=True)]
)
def test_shapes(
    side: int,
    generator: type[ConditionalGenerator],
    discriminator: type[ConditionalDiscriminator],
) -> None:
    shape, y = (2, side, side), torch.tensor([0, 4, 2])
    G = generator(shape, 20, 5, width=2, attention=16)
    D = discriminator(shape, 5, width=2, attention=16)
    images = G(torch.randn(3, 20), y)
    assert images.shape == (3, *shape) and images.abs().max() <= 1
    assert D(images, y).shape == (3,)


# --- deep blocks ----------------------------------------------------------------------------------


def test_a_deep_block_drops_or_joins_channels() -> None:
    x = torch.randn(2, 16, 8, 8)
    narrower, wider = DeepBlock(16, 8, no_norms, "up"), DeepBlock(16, 24, no_norms, "down")
    for block in (narrower, wider):
        nn.init.zeros_(block.widen.weight)
        nn.init.zeros_(block.widen.bias)  # type: ignore[arg-type]
    dropped, joined = narrower(x), wider(x)
    assert dropped.shape == (2, 8, 16, 16) and joined.shape == (2, 24, 4, 4)
    assert torch.equal(dropped, x[:, :8].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    pooled = nn.functional.avg_pool2d(x, 2)
    assert torch.equal(joined[:, :16], pooled)
    assert wider.added is not None and torch.equal(joined[:, 16:], wider.added(pooled))


def test_the_weights_of_a_deep_block_are_counted_by_hand() -> None:
    three = 4 * 4 * 9 + 4
    narrower = (16 * 4 + 4) + 2 * three + (4 * 8 + 8)
    assert parameters(DeepBlock(16, 8, no_norms, "up")) == narrower == 404
    wider = (8 * 4 + 4) + 2 * three + (4 * 16 + 16) + (8 * 8 + 8)
    assert parameters(DeepBlock(8, 16, no_norms, "down")) == wider == 484
    norms = 2 * 10 * (16 + 3 * 4)  # a gain and a bias, linear in ten numbers
    assert parameters(DeepBlock(16, 8, conditional_norms(10, "batch"), "up")) == narrower + norms


def test_the_weights_of_a_deep_generator_are_counted_by_hand() -> None:
    """At 32x32 with width 4: 32, 16, 8 and 4 channels from 4x4 on."""
    told, count = 16, 5 * 6 + (16 * 32 * 16 + 32 * 16)  # the vectors of classes, the linear map
    for inputs, outputs_ in pairwise((32, 16, 8, 4)):
        for after in (inputs, outputs_):
            inner = inputs // 4
            count += (inputs + 1) * inner + 2 * (9 * inner + 1) * inner + (inner + 1) * after
            count += 2 * told * (inputs + 3 * inner)
    count += 2 * 4 + (9 * 4 + 1) * 3  # the last norm and convolution
    assert parameters(built(DeepGenerator)) == count


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*GENERATORS, *DISCRIMINATORS])
def test_every_weight_starts_orthogonal_and_under_spectral_norm(kind: type[nn.Module]) -> None:
    network = (
        kind(SHAPE, latent=10, classes=5, width=4, attention=16)
        if kind in GENERATORS
        else kind(SHAPE, classes=5, width=4, attention=16)
    )
    layers = [module for module in network.modules() if isinstance(module, WEIGHTED)]
    assert len(layers) > 10 and all(hasattr(layer, "parametrizations") for layer in layers)
    drawn = [layer.parametrizations.weight.original for layer in layers]  # type: ignore[union-attr]
    # the generator's vectors of classes are under no norm, as in the authors' code
    embedding = network.get_submodule("embedding")
    assert hasattr(embedding, "parametrizations") == (kind in DISCRIMINATORS)
    if kind in GENERATORS:
        drawn.append(embedding.weight)
    else:
        drawn.append(embedding.parametrizations.weight.original)  # type: ignore[union-attr]
    for weight in drawn:
        rows = weight.flatten(1)
        rows = rows if rows.shape[0] <= rows.shape[1] else rows.T
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_a_class_adds_the_product_of_its_vector_with_the_features(
    kind: type[ConditionalDiscriminator],
) -> None:
    D = kind(SHAPE, classes=5, width=4).eval()
    x, y, other = torch.randn(3, *SHAPE), torch.tensor([0, 1, 4]), torch.tensor([2, 2, 0])
    with torch.no_grad():
        pixels = D.network.blocks(x)  # type: ignore[operator]
        features, vectors = pixels.sum(dim=(2, 3)), D.embedding.weight
        score = features @ D.network.linear.weight[0] + D.network.linear.bias  # type: ignore
        torch.testing.assert_close(D(x, y), score + (vectors[y] * features).sum(dim=1))
        gap = ((vectors[y] - vectors[other]) * features).sum(dim=1)
        torch.testing.assert_close(D(x, y) - D(x, other), gap, atol=1e-5, rtol=1e-4)


class Two(nn.Module):
    """A linear layer, a convolution, and vectors of classes, which are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.convolution = nn.Linear(5, 3), nn.Conv2d(2, 4, kernel_size=3)
        self.shared = nn.Embedding(7, 3)


def test_the_orthogonal_regularisation_has_its_closed_form_and_gradient() -> None:
    network = Two()
    non_orthogonality(network).backward()
    value = torch.zeros(())
    for layer in (network.linear, network.convolution):
        matrix = layer.weight.detach().flatten(1)
        off = (matrix @ matrix.T) * (1 - torch.eye(len(matrix)))
        value += off.square().sum()
        assert layer.weight.grad is not None
        torch.testing.assert_close(layer.weight.grad.flatten(1), 4 * off @ matrix)
    torch.testing.assert_close(non_orthogonality(network).detach(), value)
    assert network.shared.weight.grad is None and network.linear.bias.grad is None


def test_orthogonal_rows_of_any_length_are_left_alone() -> None:
    network = Two()
    for layer in (network.linear, network.convolution):
        nn.init.orthogonal_(layer.weight)
        lengths = torch.arange(1.0, 1 + len(layer.weight)).view(-1, *[1] * (layer.weight.dim() - 1))
        layer.weight.data *= lengths
    value = non_orthogonality(network)
    value.backward()
    assert value.item() < 1e-8
    assert network.linear.weight.grad is not None and network.linear.weight.grad.abs().max() < 1e-3


def test_the_term_is_the_generators_and_may_be_left_out() -> None:
    trainer = make_trainer("model=biggan", "data=digits", *TINY)
    trainer.play_round()
    assert "orthogonal" in trainer.terms["generator"]
    assert "orthogonal" not in trainer.terms["discriminator"]
    without = make_trainer("model=biggan", "data=digits", *TINY, "model.orthogonal=0")
    without.play_round()
    assert "orthogonal" not in without.terms["generator"]


# --- truncation -----------------------------------------------------------------------------------


def game_of(*more: str) -> Game:
    game = make_trainer("model=biggan", "data=digits", *TINY, *more).game
    assert isinstance(game, BigGAN)
    return game


def drawn(game: Game, n: int) -> Tensor:
    return torch.stack([game.draw(noise.generator("sample", seed)) for seed in range(n)])


def refuse_other_deviations(z: Tensor, bound: float) -> None:
    assert z.abs().max() <= bound
    assert z.std().item() == pytest.approx(DEVIATIONS[bound], rel=0.02)
    assert z.mean().item() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("bound", DEVIATIONS)
def test_a_truncation_has_the_deviation_of_the_truncated_law(bound: float) -> None:
    game = game_of()
    rows = drawn(game, 1500)
    within = truncated(game, rows, range(1500), bound)
    refuse_other_deviations(within[:, :-1], bound)
    kept = rows.abs() <= bound
    assert torch.equal(within[:, -1], rows[:, -1]), "classes stay"
    assert torch.equal(within[kept], rows[kept]), "what lies within stays"


def test_clipping_is_no_truncation() -> None:
    clipped = drawn(game_of(), 1500)[:, :-1].clamp(-1, 1)
    assert clipped.var().item() == pytest.approx(CLIPPED_VARIANCE, rel=0.02)
    with pytest.raises(AssertionError):
        refuse_other_deviations(clipped, 1.0)


def test_a_truncated_row_depends_on_its_own_seed_alone() -> None:
    game = game_of()
    rows = drawn(game, 6)
    whole = truncated(game, rows, range(6), 0.5)
    assert torch.equal(truncated(game, rows[4:5], [4], 0.5), whole[4:5])
    assert not torch.equal(truncated(game, rows[4:5], [5], 0.5), whole[4:5])
    assert not truncated(game, rows, range(6), 0.0)[:, :-1].any()
    assert torch.equal(truncated(game, rows, range(6), None), rows)
    steps = sweep(game, rows, range(6), 3, 2.0).view(6, 3, -1)
    assert not steps[:, 0, :-1].any()
    assert torch.equal(steps[:, 1], truncated(game, rows, range(6), 1.0))


def test_other_games_multiply_and_other_laws_are_refused() -> None:
    game = make_trainer("model=dcgan_conditional", "data=digits", *TINY).game
    rows = drawn(game, 3)
    half = truncated(game, rows, range(3), 0.5)
    assert torch.equal(half[:, :-1], rows[:, :-1] / 2) and torch.equal(half[:, -1], rows[:, -1])
    uniform = game_of("model.prior=uniform")
    said = (
        r"truncation=0\.5: draws normal numbers anew, .* are uniform, class; leave truncation out"
    )
    with pytest.raises(UserError, match=said):
        truncated(uniform, drawn(uniform, 2), range(2), 0.5)


def test_standing_statistics_are_those_of_the_truncation(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "model=biggan", "data=digits", *TINY)
    generator = gan_cli.load(tmp_path / "run")
    estimate_statistics(generator, batches=20)
    layer = batch_norms(generator.game.get_submodule("G"))[-1]
    assert layer.running_var is not None
    untruncated = layer.running_var.clone()
    estimate_statistics(generator, batches=20, truncation=0.25)
    seen: list[Tensor] = []
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    generator.game.render(generator.drawn(range(2000), truncation=0.25))
    torch.testing.assert_close(seen[0].var(dim=(0, 2, 3)), layer.running_var, atol=0, rtol=0.1)
    assert not torch.allclose(untruncated, layer.running_var, rtol=0.01)


# --- as a user types it ---------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["biggan", "biggan_deep"])
def test_samples_of_a_class_and_a_truncation(model: str, command: Command, tmp_path: Path) -> None:
    save_run(tmp_path / "run", f"model={model}", "data=digits", *TINY, rounds=2)
    typed = ("gan-sample", "checkpoint=run", "n=10", "mode=npz")
    made = {}
    for name, more in {
        "all": ["classes=all"],
        "again": ["classes=all", "seed=0", "n=20"],
        "truncated": ["classes=all", "truncation=0.5"],
        "standing": ["classes=all", "truncation=0.5", "statistics=batch"],
    }.items():
        code, printed = command(*typed, *more, f"output={name}.npz")
        assert code == 0, printed
        made[name] = np.load(f"{name}.npz")["samples"]
    assert np.array_equal(made["again"][:10], made["all"])
    assert not np.array_equal(made["all"], made["truncated"])
    assert not np.array_equal(made["truncated"], made["standing"])
    line = ("gan-sample", "checkpoint=run", "mode=truncate", "n=2", "steps=3", "output=a.png")
    code, printed = command(*line)
    assert code == 0, printed


def test_explore_shows_what_its_command_makes(command: Command, tmp_path: Path) -> None:
    save_run(tmp_path / "run", "model=biggan", "data=digits", *TINY)
    generator = gan_cli.load("run")
    plain = View(seed=7, label=3, truncation=3.0, untruncated=3.0)
    assert "truncation" not in plain.command("run")
    assert torch.equal(plain.latents(generator), generator.drawn([7], [3]))
    view = View(seed=7, label=3, truncation=1.0, untruncated=3.0)
    assert picture(generator, view) != picture(generator, plain)
    assert view.settled(10) == view
    assert command(*shlex.split(view.command("run")))[0] == 0
    assert np.array_equal(tile("sample.png", 0), decoded(picture(generator, view)))


def test_data_without_classes_and_other_networks_get_a_sentence() -> None:
    bare = Spec(kind="image", shape=SHAPE)
    with pytest.raises(
        UserError, match=r"model\.name=biggan: needs labelled data, and this has no"
    ):
        BigGAN.shapes(bare, {"name": "biggan", "latent": 8})
    for typed, said in {
        (
            "model=gan",
            "network=resnet_biggan",
        ): "network=biggan: its generator takes the class of a "
        "sample, and model=two_player gives it none; take model=biggan, or another network.",
        ("model=biggan", "network=dcgan"): "network=dcgan: its generator takes no class, and "
        "model=biggan gives it one; take network=resnet_biggan.",
        ("model=biggan", "network.attention=3"): "network.attention=3: the smallest feature maps",
    }.items():
        with pytest.raises(UserError, match=re.escape(said)):
            make_trainer(*typed, "data=digits", "network.width=4")


def test_the_model_is_that_of_the_paper() -> None:
    config = compose("model=biggan", "data=digits")
    assert config["loss"]["name"] == "hinge" and config["model"]["critic_norm"] == "spectral"
    optimizer = config["optimizer"]
    assert optimizer["players"]["discriminator"]["lr"] == 2 * optimizer["lr"]
    assert config["model"]["ema"] and config["model"]["orthogonal"] == 1e-4
