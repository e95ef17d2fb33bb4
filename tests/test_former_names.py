"""Plug-ins of earlier versions work untouched: former names can be defined and called."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Command, make_trainer

from gan_cli.data.points import Points
from gan_cli.game import FORMER_NAMES, Game
from gan_cli.games.two_player import TwoPlayer
from gan_cli.registry import PLUGINS

EARLIER = '''
from gan_cli.game import player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.registry import games


@games.register("earlier")
class Earlier(TwoPlayer):
    """The two-player game in the words of an earlier version."""

    at_once = 32
    stepped = 0

    @player(moves="D")
    def discriminator(self, x):
        x, x_fake = self.shown(x)
        real, fake = self.score(self.D, x, x_fake)
        return {"adversarial": self.loss.discriminator(real, fake)}

    @player(moves="G")
    def generator(self, x):
        return {"adversarial": self.loss.generator(self.D(self.T(self.fakes(x))), None)}

    def fakes(self, x, *given):
        return super().fakes(x, *given)

    def moved(self, turn):
        super().moved(turn)
        type(self).stepped += 1

    def observe(self, seen, unseen):
        return {**super().observe(seen, unseen), "earlier/seen": seen["x"].mean()}

    def reading(self):
        return "As in former times. " + super().reading()

    def couplings(self):
        return [*super().couplings(), "the former times"]
'''


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No plug-in of a test is known to the next one."""
    yield
    for module in [name for name in PLUGINS if "earlier" in name]:
        del PLUGINS[module]
        sys.modules.pop(module, None)


def test_a_game_in_former_words_plays_logs_and_says_what_it_says(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "earlier.py").write_text(EARLIER)
    plugin = ("plugins=[earlier.py]", "++model.name=earlier", "model=two_player", "data=points")
    code, printed = command(
        "gan-train", *plugin, "steps=2", "log_every=1", "network.width=8", "batch_size=8",
        "hydra.run.dir=run", "loss=minimax",
    )  # fmt: skip
    assert code == 0 and "As in former times." in printed
    assert "earlier/seen" in (tmp_path / "run" / "metrics.jsonl").read_text()

    trainer = make_trainer(*plugin, "network.width=8", "batch_size=8", "loss=minimax")
    before = type(trainer.game).stepped  # type: ignore[attr-defined]
    trainer.play_round()
    assert type(trainer.game).stepped > before  # type: ignore[attr-defined]
    assert trainer.game.batch_dependencies() == ["the former times"]
    assert trainer.game.chunk_size <= 32


def test_every_renamed_member_of_a_game_answers_to_both_names() -> None:
    for present, former in FORMER_NAMES.items():
        owner = Game if hasattr(Game, present) else TwoPlayer
        assert getattr(owner, present) is getattr(owner, former), present


def test_a_data_set_answers_to_former_names() -> None:
    data = Points(size=100)
    assert torch.equal(data.some(data.heldout, 5), data.sample_x(data.heldout, 5))  # type: ignore[attr-defined]
    assert torch.equal(data.few(data.heldout, 5)["x"], data.sample(data.heldout, 5)["x"])  # type: ignore[attr-defined]
