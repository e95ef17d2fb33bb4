"""Models that make samples in several ways: each is drawn, sampled, scored and exported."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import Image

import gan_cli
from gan_cli import registry
from gan_cli.data.two_domains import TwoDomains
from gan_cli.errors import UserError
from gan_cli.main import train

SHORT = ("network.width=8", "batch_size=8", "steps=2", "sample_every=2")
BACK_AND_FORTH = '''
"""Pairs learnt in both directions by two generators."""

from gan_cli.game import Direction, Terms, player
from gan_cli.games.pix2pix import Pix2Pix
from gan_cli.registry import games


@games.register("back_and_forth")
class BackAndForth(Pix2Pix):
    """Two times the L1 distance."""

    roles = {"G": "generator", "F": "generator", "D": "discriminator"}
    averaged = ("G", "F")
    directions = {"back": Direction("x_a", ("x",), ("x", "output", "x_a"))}

    def __init__(self, F, **pix2pix):
        super().__init__(**pix2pix)
        self.F = F

    @classmethod
    def shapes(cls, spec, options):
        usual = super().shapes(spec, options)
        back = {**usual["G"], "shape": spec.fields["x_a"].shape, "inputs": spec.shape}
        return {**usual, "F": back}

    @player(moves="G F")
    def generator(self, x, x_a) -> Terms:
        forth, back = self.sample_fakes(x, x_a), self.F(x, self.prior(len(x)))
        return {"forth": (forth - x).abs().mean(), "back": (back - x_a).abs().mean()}

    def render(self, latents, *given):
        (start,) = given
        return (self.F if self.direction else self.G)(start, latents)
'''


@pytest.fixture(scope="module")
def cogan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of two rounds."""
    folder = tmp_path_factory.mktemp("cogan") / "run"
    typed = ("model=cogan", "data=two_domains", "data.of=digits", *SHORT, "evaluate_every=0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gan-train", *typed, f"hydra.run.dir={folder}"])
        train()
    return str(folder)


def test_both_domains_are_sampled(command: Command, cogan: str, tmp_path: Path) -> None:
    assert (Path(cogan) / "samples" / "b" / "step_00000002.png").exists()
    generator, second = gan_cli.load(cogan), gan_cli.load(cogan, direction="b")
    z = generator.drawn(range(16))
    game = generator.game
    assert torch.equal(generator.render(z), game.G(z))
    assert torch.equal(second.render(z), game.G_b(z))
    assert torch.equal(pickle.loads(pickle.dumps(second)).sample(3), second.sample(3))

    for name, typed in (("a", ()), ("b", ("direction=b",))):
        out = (*typed, "n=16", "mode=npz", f"output={name}.npz")
        code, printed = command("gan-sample", cogan, *out)
        assert code == 0, printed
    assert np.array_equal(np.load(tmp_path / "b.npz")["samples"], second.sample(16).numpy())
    assert not np.array_equal(*(np.load(f"{name}.npz")["samples"] for name in "ab"))


def test_each_direction_is_scored_by_its_own_data(command: Command, cogan: str) -> None:
    told = []
    for typed in ((), ("direction=b",)):
        code, printed = command("gan-evaluate", cogan, *typed, "n=100", "metrics=[patches]")
        assert code == 0, printed
        told.append(json.loads(printed))
    assert told[1]["direction"] == "b" and "direction" not in told[0]
    name = "sliced_wasserstein"
    assert told[0]["scores"][name] != told[1]["scores"][name]


def test_data_are_seen_as_another_field() -> None:
    data = TwoDomains("digits")
    other = data.seen_as("x_b")
    assert other.train["x"] is data.train["x_b"] and other.train["y"] is data.train["y_b"]
    assert data.seen_as("x") is data and other.digest != data.digest
    assert other.spec.shape == data.spec.fields["x_b"].shape


def test_a_direction_is_exported(command: Command, cogan: str) -> None:
    code, printed = command("gan-export", cogan, "direction=b", "output=b.pt2")
    assert code == 0, printed
    module = torch.export.load("b.pt2").module()
    second = gan_cli.load(cogan, direction="b")
    with torch.no_grad():
        assert torch.equal(module(second.drawn(range(16))), second.sample(16))


def test_an_unknown_direction_is_one_sentence(command: Command, cogan: str) -> None:
    for name in ("gan-sample", "gan-evaluate", "gan-export"):
        code, printed = command(name, cogan, "direction=c")
        assert code == 2 and "direction=c: the checkpoint's model has no such" in printed
        assert "it has b" in printed and "Traceback" not in printed
    with pytest.raises(UserError, match="it has b"):
        gan_cli.load(cogan, direction="c")


def test_inputs_go_both_ways(command: Command, tmp_path: Path, plugins_forgotten: None) -> None:
    """From edges to digits, and back; a checkpoint carries the inputs of both."""
    (tmp_path / "both.py").write_text(BACK_AND_FORTH)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "both.yaml").write_text(
        "defaults: [pix2pix, _self_]\nname: back_and_forth\n"
    )
    plugins = "plugins=[both.py]"
    typed = (plugins, "--config-dir", ".", "model=both", "data.of=digits", *SHORT)
    code, printed = command("gan-train", *typed, "evaluate_every=2", "hydra.run.dir=run")
    assert code == 0, printed
    assert (tmp_path / "run" / "samples" / "back" / "step_00000002.png").exists()

    generator = gan_cli.load("run", plugins=["both.py"], direction="back")
    assert generator.inputs.fields.keys() == {"x", "x_a"}
    x = generator.inputs.fields["x"][:16]
    expected = generator.game.F(x, torch.empty(16, 0))
    assert torch.equal(generator.sample(16), expected) and generator.spec.shape == (1, 8, 8)

    (tmp_path / "mine").mkdir()
    for i, image in enumerate(((x[:3, 0] + 1) * 127.5).round().to(torch.uint8)):
        Image.fromarray(image.numpy()).save(tmp_path / "mine" / f"{i}.png")
    back = ("gan-sample", "run", plugins, "direction=back")
    assert command(*back, "input=mine", "mode=npz", "output=mine.npz")[0] == 0
    np.testing.assert_allclose(
        np.load("mine.npz")["samples"], expected[:3].detach().numpy(), atol=1e-5
    )
    code, printed = command("gan-evaluate", "run", plugins, "direction=back", "n=50")
    assert code == 0 and '"l1"' in printed, printed
    code, printed = command("gan-export", "run", plugins, "direction=back", "output=back.pt2")
    assert code == 0 and "x (N, 1, 8, 8) to samples" in printed, printed
    assert registry.PLUGINS
