"""Games that act in worlds, and games without data."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, compose, trainer_of
from pages import write_plugins
from torch import Tensor

from gan_cli import noise, registry
from gan_cli.data.decoded import heldout_of
from gan_cli.errors import UserError
from gan_cli.training.rendering import own_scores
from gan_cli.training.trainer import Trainer
from gan_cli.worlds import World, play

pytestmark = pytest.mark.usefixtures("plugins_forgotten")
GUESSING = '''
"""Alice sends bits, Bob guesses them: no data, no samples."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from gan_cli import noise
from gan_cli.game import Game, Terms, player
from gan_cli.registry import games


@games.register("guessing")
class Guessing(Game):
    """Two networks that only play with each other."""

    roles = {"Bob": "discriminator"}
    renders = False
    own_objective = True
    augments = False
    objectives = ("wrong",)
    lower_is_better = ("wrong",)

    def __init__(self, Bob, spec, **order):
        super().__init__(**order)
        self.Bob = Bob

    @classmethod
    def shapes(cls, spec, options):
        return {"Bob": {"shape": (4,)}}

    def wrong(self, rows):
        sent = noise.rows(torch.rand, len(rows), 4, device=rows.device).round()
        return binary_cross_entropy_with_logits(self.Bob(2 * sent - 1), sent[:, 0])

    @player(moves="Bob")
    def guess(self, row) -> Terms:
        return {"wrong": self.wrong(row)}

    def scores(self, heldout):
        return {"wrong": self.wrong(heldout["row"]).item()}

    def diagnostics(self, seen, unseen):
        return {"rows": torch.tensor(float(len(seen["row"])))}

    def how_to_read(self):
        return "wrong falls."
'''


class Stairs(World):
    """Every action 1 climbs a step; the episode ends at the top, the third step."""

    shape, actions, limit = (1,), 2, 6

    def start(self, n: int) -> Tensor:
        self.place = torch.arange(n) % 3
        return self.place[:, None].float()

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.place = self.place + actions
        return self.place[:, None].float(), torch.ones(len(actions)), self.place >= 3


def test_episodes_end_where_the_world_says() -> None:
    """Starts 0, 1 and 2 take three, two and one step to the top."""
    episodes = play(Stairs(), lambda state: torch.ones(len(state), dtype=torch.long), 3)
    assert episodes.alive.sum(dim=1).tolist() == [3, 2, 1]
    assert episodes.returns.tolist() == [3, 2, 1]
    assert episodes.states.shape == (3, 6, 1) and episodes.actions.shape == (3, 6)
    states, actions = episodes.steps()
    assert states.flatten().tolist() == [0, 1, 2, 1, 2, 2] and actions.tolist() == [1] * 6

    idle = play(Stairs(), lambda state: torch.zeros(len(state), dtype=torch.long), 2, steps=4)
    assert idle.alive.all() and idle.states.shape == (2, 4, 1)


# --- imitation in the world of three states -------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plug-in of docs/your_own_gan.md."""
    write_plugins(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my_gan" / "walk.py"


def occupancy(trainer: Trainer) -> float:
    return own_scores(trainer.game, heldout_of(trainer.batches.dataset))["occupancy"]


def imitation(page: Path, *typed: str) -> Trainer:
    own = ("--config-dir", str(page.parent), f"plugins=[{page}]", "model=imitation")
    return trainer_of(compose(*own, "optimizer.lr=0.02", *typed))


@pytest.mark.parametrize("seed", (1, 2))
def test_the_policy_becomes_the_experts(page: Path, seed: int) -> None:
    """The control: under a discriminator that never learns, it stays where it was."""
    trainer = imitation(page, f"seed={seed}")
    before = occupancy(trainer)
    for _ in range(200):
        trainer.play_round()
    goes = trainer.game.P(torch.eye(3)).softmax(dim=1)[:, 1]
    assert occupancy(trainer) < 0.06 < 0.12 < before
    torch.testing.assert_close(goes, torch.tensor([0.9, 0.5, 0.2]), atol=0.12, rtol=0)

    frozen = imitation(page, f"seed={seed}", "optimizer.players={discriminator: {lr: 1.0e-9}}")
    for _ in range(200):
        frozen.play_round()
    assert occupancy(frozen) > 0.12


# --- no data --------------------------------------------------------------------------------------


def test_a_game_without_data(command: Command, tmp_path: Path) -> None:
    (tmp_path / "guessing.py").write_text(GUESSING)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "guessing.yaml").write_text("name: guessing\n")
    typed = (
        "plugins=[guessing.py]",
        "--config-dir",
        ".",
        "model=guessing",
        "loss=own",
        "data=none",
    )
    short = ("optimizer.lr=0.01", "network.width=8", "evaluate_every=50")
    code, printed = command("gan-train", *typed, *short, "steps=100", "hydra.run.dir=run")
    assert code == 0, printed
    scores = json.loads((tmp_path / "run" / "run.json").read_text())
    assert scores["objective"] == "wrong" and scores["scores"]["wrong"] < 0.3, scores
    code, printed = command("gan-evaluate", "checkpoint=run", "plugins=[guessing.py]")
    assert code == 0 and '"wrong"' in printed, printed
    code, printed = command("gan-compare", "run")
    assert code == 0 and "wrong" in printed, printed


@pytest.mark.parametrize(
    ("typed", "sentence"),
    (
        (("model=wgan_gp", "data=none"), "makes samples, and data=none has none to learn from"),
        (("model=wgan_gp", "data=environment"), "makes samples, and data=environment has none"),
    ),
)
def test_data_without_samples_is_refused(
    command: Command, typed: tuple[str, ...], sentence: str
) -> None:
    code, printed = command("gan-train", *typed)
    assert code == 2 and sentence in printed and "Traceback" not in printed


# --- Gymnasium ------------------------------------------------------------------------------------


def environment(**options: Any) -> Any:
    pytest.importorskip("gymnasium")
    return registry.datasets.build({"name": "environment", **options}, "data")


def chosen(state: Tensor) -> Tensor:
    return (state[:, 2] + state[:, 3] > 0).long()


def test_an_environment_follows_the_seed() -> None:
    world = environment().world
    assert (world.shape, world.actions, world.limit) == ((4,), 2, 500)
    runs = []
    for place in (1, 2, 1):
        noise.begin_turn("world", place)
        runs.append(play(world, chosen, 3, steps=30))
    assert torch.equal(runs[0].states, runs[2].states) and runs[0].alive.all()
    assert not torch.equal(runs[0].states, runs[1].states)


def test_demonstrations_are_split_by_episodes(tmp_path: Path) -> None:
    world = environment().world
    noise.begin_turn("demonstrations")
    episodes = play(world, chosen, 10, steps=20)
    rows = {"state": episodes.states.flatten(0, 1), "action": episodes.actions.flatten()}
    file = tmp_path / "expert.npz"
    np.savez(file, episode=np.repeat(np.arange(10), 20), **{k: v.numpy() for k, v in rows.items()})
    dataset = environment(demonstrations=str(file))
    assert torch.equal(dataset.heldout["state"], rows["state"][180:])
    assert torch.equal(dataset.train["action"], rows["action"][:180])
    assert dataset.spec.fields["action"].size == 2


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    (
        ({"state": np.zeros((5, 4))}, "has no array action"),
        ({"state": np.zeros((5, 3)), "action": np.zeros(5, int)}, "needs (rows, 4)"),
        ({"state": np.zeros((5, 4)), "action": np.zeros(6, int)}, "expected as many each"),
        ({"state": np.zeros((5, 4)), "action": np.full(5, 7)}, "its spec says 0 to 1"),
        ({"state": np.zeros((1, 4)), "action": np.zeros(1, int)}, "needs 2 or more"),
        ({"state": np.full((5, 4), np.nan), "action": np.zeros(5, int)}, "not finite"),
        (None, "is no .npz file"),
    ),
)
def test_damaged_demonstrations(
    tmp_path: Path, arrays: dict[str, np.ndarray] | None, sentence: str
) -> None:
    file = tmp_path / "expert.npz"
    if arrays is None:
        file.write_bytes(b"not an archive")
    else:
        np.savez(file, **arrays)
    with pytest.raises(UserError, match=re.escape(sentence)):
        environment(demonstrations=str(file))


def test_unknown_environments_and_files() -> None:
    with pytest.raises(UserError, match=r"data\.id=CartPool-v1"):
        environment(id="CartPool-v1")
    with pytest.raises(UserError, match="no such file"):
        environment(demonstrations="nowhere.npz")
