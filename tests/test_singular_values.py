"""`singular_values_every`: the first singular values of the weights, with no effect on a run."""

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, Command, make_trainer
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gan_cli.networks.layers import constrain
from gan_cli.networks.progressive import EqualConv, EqualLinear
from gan_cli.noise import generator
from gan_cli.runs.hooks import Rows, WeightSpectra
from gan_cli.runs.recorder import Recorder
from gan_cli.training.singular_values import COUNT, SingularValues, used_matrix, weighted_layers


class Layers(nn.Module):
    """A game of one network."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        self.roles = {"G": "generator"}
        self.G = nn.ModuleDict(layers)


def measured(layers: Layers, watch: SingularValues | None = None) -> dict[str, float]:
    found = (watch or SingularValues()).measure(layers)  # type: ignore[arg-type]
    return {tag.removeprefix("G."): value for tag, value in found.items()}


def with_values(rows: int, columns: int, values: Tensor) -> Tensor:
    """A random matrix, (rows, columns), with these singular values."""
    source = generator("a matrix", rows, columns)
    u, v = (
        torch.linalg.qr(torch.randn(n, len(values), generator=source)).Q for n in (rows, columns)
    )
    return u * values @ v.mT


def linear(matrix: Tensor) -> nn.Linear:
    layer = nn.Linear(*reversed(matrix.shape))
    layer.weight.data.copy_(matrix)
    return layer


def exact(layer: nn.Module) -> list[float]:
    return [float(value) for value in torch.linalg.svdvals(used_matrix(layer).double())[:COUNT]]


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (5, 4), (3, 7), (2, 9), (1, 6), (6, 1)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e12])
def test_values_of_matrices_with_gaps(shape: tuple[int, int], scale: float) -> None:
    values = scale * torch.tensor([9.0, 5.0, 3.0, 2.0, *[1.0] * 40])[: min(shape)]
    found = measured(Layers(a=linear(with_values(*shape, values))))
    assert list(found) == [f"a/{i + 1}" for i in range(min(COUNT, *shape))]
    assert list(found.values()) == pytest.approx(values[:COUNT].tolist(), rel=1e-5)


def test_small_values_are_not_lost_beside_a_large_one() -> None:
    values = torch.tensor([1e4, 1.0, 0.5, 0.2])
    found = measured(Layers(a=linear(with_values(30, 50, values))))
    assert list(found.values()) == pytest.approx([1e4, 1.0, 0.5], rel=5e-3)


def test_without_gaps_values_are_a_little_too_small() -> None:
    """The values of a random matrix lie close to each other: the Marchenko-Pastur law."""
    layer = linear(torch.randn(256, 600, generator=generator("no gaps")))
    for estimate, value in zip(measured(Layers(a=layer)).values(), exact(layer), strict=True):
        assert 0.97 * value < estimate <= (1 + 1e-5) * value


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 8, 3), (8, 27)),
        (nn.Conv1d(4, 6, 5, groups=2), (6, 10)),
        (nn.ConvTranspose2d(8, 5, 4), (5, 128)),
        (nn.Embedding(7, 4), (7, 4)),
        (nn.Linear(5, 9), (9, 5)),
        (EqualConv(4, 6, 3), (6, 36)),
        (EqualLinear(6, 4, rate=0.01), (4, 6)),
        (parametrizations.weight_norm(nn.Linear(6, 5)), (5, 6)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_weights_are_those_that_layers_use(layer: nn.Module, shape: tuple[int, int]) -> None:
    """Of a layer that maps one number to another, the matrix is what it does to an example."""
    for weight in layer.parameters():  # values of a small matrix may lie anywhere
        weight.data.copy_(torch.randn(weight.shape, generator=generator("layer", *weight.shape)))
    assert used_matrix(layer).shape == shape
    if len(shape) == 2 and isinstance(layer, nn.Linear):
        applied = layer(torch.eye(shape[1])) - layer(torch.zeros(1, shape[1]))
        assert torch.allclose(used_matrix(layer), applied.mT, atol=1e-5)
    found = list(measured(Layers(a=layer)).values())
    assert found == pytest.approx(exact(layer), rel=0.03) and len(found) == COUNT


@pytest.mark.parametrize(
    "kind", [nn.Linear(20, 30), nn.Conv2d(4, 6, 3), nn.ConvTranspose2d(6, 4, 4)]
)
def test_spectral_norm_leaves_one(kind: nn.Module) -> None:
    layer = copy.deepcopy(kind)
    before = exact(layer)[0]
    constrain(layer, "spectral")
    for _ in range(300):  # a forward in training each
        assert layer.weight is not None
    found = measured(Layers(a=layer))
    assert found["a/1"] == pytest.approx(1, abs=1e-4) and found["a/2"] < 1
    assert found["a/before_norm"] == pytest.approx(before, rel=1e-3)

    layer.parametrizations["weight"].original.data *= 5
    grown = measured(Layers(a=layer))
    assert grown["a/before_norm"] == pytest.approx(5 * before, rel=1e-3)
    assert grown["a/1"] == pytest.approx(1, abs=1e-4)


# --- vectors between calls ------------------------------------------------------------------------


def test_each_call_goes_on_from_the_last_one() -> None:
    """Without gaps, one call is not enough; estimates grow from call to call to the values."""
    layer = linear(torch.randn(64, 200, generator=generator("warm")))
    watch, layers = SingularValues(), Layers(a=layer)
    calls = [list(measured(layers, watch).values()) for _ in range(60)]
    for before, after in pairwise(calls):
        assert all(b <= a * (1 + 1e-5) for b, a in zip(before, after, strict=True))
    assert calls[-1] == pytest.approx(exact(layer), rel=1e-3)
    assert abs(calls[0][0] / exact(layer)[0] - 1) > 2 * abs(calls[-1][0] / exact(layer)[0] - 1)


def test_weights_that_move_are_followed_and_a_fresh_start_agrees() -> None:
    values = torch.tensor([4.0, 3.0, 2.0, *[1.0] * 20])
    layer, watch = linear(with_values(50, 40, values)), SingularValues()
    push = with_values(50, 40, torch.tensor([0.3]))
    for _ in range(20):
        layer.weight.data += push
        found = measured(Layers(a=layer), watch)
        assert found["a/1"] == pytest.approx(exact(layer)[0], rel=1e-3)
    assert list(measured(Layers(a=layer)).values()) == pytest.approx(list(found.values()), rel=1e-3)
    assert exact(layer)[0] > 6


def test_weights_that_are_not_finite_are_left_out_and_spoil_nothing() -> None:
    layer, watch = linear(with_values(9, 8, torch.tensor([3.0, 2.0, 1.0]))), SingularValues()
    layers = Layers(a=layer, b=nn.Linear(4, 4))
    kept = layer.weight.detach().clone()
    layer.weight.data[0, 0] = float("nan")
    assert {tag[0] for tag in measured(layers, watch)} == {"b"}
    layer.weight.data.copy_(kept)
    assert measured(layers, watch)["a/1"] == pytest.approx(3)
    layer.weight.data.zero_()
    assert measured(layers, watch)["a/1"] == 0
    layer.weight.data.copy_(kept)
    assert measured(layers, watch)["a/1"] == pytest.approx(3, rel=1e-3)


def test_shared_layers_come_once() -> None:
    layer = nn.Linear(4, 4)
    layers = Layers(a=layer, b=layer, c=nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    assert [name for name, _ in weighted_layers(layers)] == ["G.a", "G.c.0"]  # type: ignore[arg-type]
    assert measured(Layers()) == {}


# --- no effect on the run -------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["biggan", "wgan_gp"])
def test_the_watch_leaves_every_bit_and_every_random_number(model: str) -> None:
    """Spectral norm's vectors, dropout's modes and the default generator too."""
    trainer = make_trainer(f"model={model}", "data=digits", *TINY)
    trainer.play_round()
    before, drawn = copy.deepcopy(trainer.state_dict()), torch.get_rng_state()
    modes = {name: module.training for name, module in trainer.game.named_modules()}
    assert SingularValues().measure(trainer.game)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert modes == {name: module.training for name, module in trainer.game.named_modules()}
    for name, value in trainer.state_dict()["game"].items():
        assert torch.equal(value, before["game"][name]), name


@pytest.mark.parametrize("model", ["biggan", "wgan_gp"])
def test_runs_with_the_watch_end_equal_and_so_do_resumed_ones(model: str, tmp_path: Path) -> None:
    def played(folder: str, steps: int, every: int, state: Any = None) -> Any:
        trainer = make_trainer(f"model={model}", "data=digits", *TINY, f"steps={steps}")
        if state:
            trainer.load_state_dict(state)
        (tmp_path / folder).mkdir(exist_ok=True)
        recorder = Recorder(tmp_path / folder, trainer.step)
        trainer.fit([WeightSpectra(recorder, every), Rows(recorder, 6)])
        recorder.close()
        return copy.deepcopy(trainer.state_dict())

    off, on = played("off", 4, 0), played("on", 4, 1)
    resumed = played("resumed", 4, 1, played("resumed", 2, 1))
    for name, value in off["game"].items():
        assert torch.equal(value, on["game"][name]) and torch.equal(value, resumed["game"][name])

    assert (tmp_path / "off" / "metrics.jsonl").read_text() == ""
    rows, again = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("on", "resumed")
    )
    assert [row["step"] for row in rows] == [row["step"] for row in again] == [1, 2, 3, 4]
    watched = {tag for tag in rows[-1] if tag.startswith("singular_values/")}
    assert {tag.split("/")[1].split(".")[0] for tag in watched} == {"G", "D"}
    for tag in watched:  # the vectors start anew: equal within a tolerance
        assert again[-1][tag] == pytest.approx(rows[-1][tag], rel=0.03), tag


def test_the_key_adds_the_values_to_the_rows_and_is_harmless(
    command: Command, tmp_path: Path
) -> None:
    typed = ("model=gan", "data=points", *TINY, "evaluate_every=0", "sample_every=0")
    for steps, every in ((2, 0), (4, 2)):
        more = (f"steps={steps}", f"singular_values_every={every}", "hydra.run.dir=run")
        code, printed = command("gan-train", *typed, *more)
        assert code == 0, printed
    (row,) = [
        json.loads(line)
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        if "singular_values/D" in line
    ]
    assert row["step"] == 4 and "generator/adversarial" in row
