"""Figures that explain a run, and a critic alone: what is drawn is what was measured."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, make_trainer
from PIL import Image
from torch import nn

from gan_cli import figures, registry, sweeps
from gan_cli.errors import UserError

Command = Callable[..., tuple[int, str]]
NAMES = sorted(registry.figures.components)


@pytest.mark.parametrize("data", ["points", "digits"])
def test_any_run_may_call_any_figure(command: Command, tmp_path: Path, data: str) -> None:
    names = [name for name in NAMES if data == "points" or name != "level_sets"]
    typed = (f"data={data}", "network.width=8", "batch_size=8", "steps=4", "log_every=1", "sample_every=2",
             "evaluate_every=2", f"figures=[{','.join(names)}]", "hydra.run.dir=run")  # fmt: skip
    code, printed = command("gan-train", *typed)
    assert code == 0, printed
    drawn = sorted(path.name for path in (tmp_path / "run" / "figures").iterdir())
    assert drawn == sorted(f"{name}_{step:08d}.png" for name in names for step in (2, 4))
    for path in (tmp_path / "run" / "figures").iterdir():
        assert np.asarray(Image.open(path)).std() > 5  # not an empty page


def test_drawing_leaves_the_run_as_it_was(command: Command, tmp_path: Path) -> None:
    typed = ("data=points", "network.width=8", "batch_size=8", "steps=6", "sample_every=2", "evaluate_every=0")
    states = []
    for name, more in (("plain", ()), ("drawn", (f"figures=[{','.join(NAMES)}]",))):
        assert command("gan-train", *typed, *more, f"hydra.run.dir={name}")[0] == 0
        states.append(torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True)["game"])
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_gradients_by_layer_of_a_known_critic() -> None:
    """D = c w3 w2 w1 x with scalar layers: the gradient at a layer's output is the product of the weights after it."""
    trainer = make_trainer("data=points", *TINY)
    weights = (2.0, 3.0, 5.0)
    layers = [nn.Linear(1, 1, bias=False) for _ in weights]
    for layer, weight in zip(layers, weights, strict=True):
        nn.init.constant_(layer.weight, weight)
    trainer.game.D = nn.Sequential(*layers, nn.Flatten(0))
    found = figures.gradients_by_layer(trainer, torch.ones(4, 1))
    per_sample = 0.25 * 4**0.5  # the mean of four scores
    assert found == pytest.approx([15 * per_sample, 5 * per_sample, per_sample])


def test_mistakes_are_one_sentence(command: Command) -> None:
    code, printed = command("gan-train", "figures=[level_set]")
    assert code == 2 and "(did you mean level_sets?)" in printed
    code, printed = command("gan-train", "figures=[level_sets]", "steps=1", "evaluate_every=0", "network.width=4")
    assert code == 2 and "it needs points of two coordinates" in printed and "Traceback" not in printed


def test_a_critic_alone_plays_and_makes_no_samples(command: Command, tmp_path: Path) -> None:
    typed = ("experiment=level_sets", "network.width=8", "batch_size=8", "steps=2", "sample_every=0",
             "hydra.run.dir=run")  # fmt: skip
    assert command("gan-train", *typed)[0] == 0
    assert not (tmp_path / "run" / "samples").exists()
    code, printed = command("gan-sample", "checkpoint=run")
    assert code == 2 and "model=fixed_generator makes no samples" in printed
    game = make_trainer("model=fixed_generator", "data=points", *TINY).game
    assert list(game.players) == ["discriminator"]
    assert registry.games.components["fixed_generator"].facts["players"] == ["discriminator"]
    x = torch.zeros(3000, 2)
    assert game.fakes(x).std().item() == pytest.approx(1, rel=0.05)  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize(("distribution", "low", "high"), [("eight_gaussians", 0.84, 0.95), ("swiss_roll", 0.60, 0.68)])
def test_the_estimate_of_a_lone_critic_is_the_distance_and_a_little(distribution: str, low: float, high: float) -> None:
    """Real against real + N(0, I): W1 is 0.843 and 0.606; under lambda 10 the gap is 2 to 10 % above it."""
    trainer = make_trainer("experiment=level_sets", f"data.distribution={distribution}")
    trainer.game.train()
    for _ in range(trainer.steps):
        trainer.play_round()
    data = trainer.batches.dataset
    x = data.some(data.heldout, 20_000)
    torch.manual_seed(0)
    with torch.no_grad():
        gap = trainer.game.value(x).mean() - trainer.game.value(x + torch.randn_like(x)).mean()  # type: ignore[operator]
    assert low <= gap.item() <= high


# --- sweeps -----------------------------------------------------------------------------------------------------------


def test_a_sweep_as_a_table_and_as_one_picture(command: Command, tmp_path: Path) -> None:
    typed = ("data=points", "network.width=4", "batch_size=8", "steps=2", "evaluate_every=2", "sample_every=2",
             "loss=hinge,rpgan", "regularizer=none,r1", "seed=1,2", "hydra.sweep.dir=sweep")  # fmt: skip
    assert command("gan-train", "-m", "model=two_player", *typed)[0] == 0
    runs = sweeps.cells(tmp_path / "sweep")
    assert len(runs) == 8 and sweeps.varied(runs) == ["loss", "regularizer"]
    lines = sweeps.table(tmp_path / "sweep", ["w1", "modes"]).splitlines()
    assert lines[0] == "| loss | regularizer | w1 | modes |" and len(lines) == 2 + 4
    w1 = sorted(run.scores["w1"] for run in runs if (run.typed["loss"], run.typed["regularizer"]) == ("hinge", "r1"))
    (row,) = [line for line in lines if line.startswith("| hinge | r1 |")]
    assert f"({w1[0]:.3g} to {w1[1]:.3g})" in row
    image = sweeps.picture(tmp_path / "sweep", rows="loss", columns="regularizer", score="w1")
    assert image.shape[2] == 3 and image.std() > 5
    with pytest.raises(UserError, match="no runs in it"):
        sweeps.table(tmp_path)


def test_the_middle_of_three_seeds_is_shown() -> None:
    assert sweeps._summary([3.0, 1.0, 2.0]) == "2 (1 to 3)"
    assert sweeps._summary([2.0, 2.0]) == "2" and sweeps._summary([]) == "-"
