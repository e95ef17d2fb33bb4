"""The order of play in phases, and turns of their own: repeated steps, line searches, turns that
collect, work before a turn, networks that are drawn anew."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, Command, compose, make_trainer, mostly_slow, trainer_of

from gan_cli import noise, registry
from gan_cli.errors import UserError
from gan_cli.order_of_play import OrderOfPlay, reached
from gan_cli.pools import Pool
from gan_cli.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("plugins_forgotten")
PLAYERS = ("discriminator", "generator")
TWO_PHASES = (
    "model.phases=[{name: critic, rounds: 2, turns: {discriminator: 3}}, {name: game}]",
    "model.warm_up=null",
)
PLUGIN = '''
"""A game whose turns are all of their own."""

import torch
from gan_cli.game import Replay, Terms, Turn, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.registry import Count, games


@games.register("of_its_own")
class OfItsOwn(TwoPlayer):
    """A pool of fakes, collected in a turn that moves nothing; G halves its step until it helps."""

    order = ("collect", "discriminator", "generator")
    sharding = {"pool": "averaged", "prepared": "same"}

    def __init__(self, epochs: Count = 2, **two_player):
        super().__init__(**two_player)
        self.epochs = epochs
        self.register_buffer("pool", torch.zeros(6, 2))
        self.register_buffer("prepared", torch.zeros(()))

    def prepare(self, turn: Turn, batch) -> None:
        self.prepared.copy_(batch["x"].mean() + torch.rand(()))

    @player(moves="")
    def collect(self, x) -> Terms:
        self.pool.copy_(self.G(self.prior(6)))
        return {"spread": self.pool.std()}

    @player(moves="D", steps="epochs")
    def discriminator(self, x) -> Terms:
        real, fake = self.score(self.D, x[:6], self.pool[: len(x)].clone())
        return {"adversarial": self.loss.discriminator(real, fake)}

    @player(moves="G", own_step=True)
    def generator(self, x) -> Terms:
        return {"adversarial": self.loss.generator(self.D(self.sample_fakes(x)))}

    def step(self, turn: Turn, play: Replay) -> Terms:
        terms = play()
        before = sum(terms.values()).item()
        start = [weight.detach().clone() for weight in play.weights]
        gradients = [weight.grad.clone() for weight in play.weights]
        size = 1.0
        with torch.no_grad():
            for _ in range(10):
                for weight, at, gradient in zip(play.weights, start, gradients, strict=True):
                    weight.copy_(at - size * gradient)
                if sum(play(gradients=False).values()).item() < before:
                    break
                size /= 2
        return {**terms, "size": torch.tensor(size)}
'''


def counts(order: OrderOfPlay, rounds: int) -> list[tuple[int, ...]]:
    return [tuple(order.turns(step).values()) for step in range(rounds)]


def order(**options: Any) -> OrderOfPlay:
    options = {
        "repeat": {"discriminator": 2, "generator": 1},
        "warm_up": {},
        "phases": (),
    } | options
    return OrderOfPlay(PLAYERS, **options)


def test_a_warm_up_is_phases() -> None:
    warm_up = {
        "discriminator": {"repeat": 9, "rounds": 2, "every": 5},
        "generator": {"repeat": 3, "rounds": 4},
    }
    played = order(warm_up=warm_up)
    assert counts(played, 7) == [(9, 3), (9, 3), (2, 3), (2, 3), (2, 1), (9, 1), (2, 1)]
    assert [phase.rounds for phase in played.phases] == [2, 2, None]
    for first, last in ((0, 7), (1, 13), (5, 6), (6, 6), (3, 100)):
        expected = sum(sum(played.turns(step).values()) for step in range(first, last))
        assert played.total(first, last) == expected


def test_phases_follow_each_other_and_players_rest() -> None:
    played = order(
        phases=[
            {"name": "a", "rounds": 2, "turns": {"generator": 4}},
            {"name": "b", "until": {"w1": 0.5}, "rounds": 3},
            {"name": "c", "turns": {"discriminator": 1}},
        ]
    )
    assert counts(played, 7) == [(0, 4), (0, 4), (2, 1), (2, 1), (2, 1), (1, 0), (1, 0)]
    played.end(3)
    assert counts(played, 5) == [(0, 4), (0, 4), (2, 1), (1, 0), (1, 0)]
    assert played.start(2) == 2 and played.start(4) == 3


def test_a_score_is_reached_from_its_own_side() -> None:
    directions = {"w1": True, "modes": False}
    assert reached({"w1": 0.5}, {"w1": 0.4}, directions)
    assert not reached({"w1": 0.5}, {"w1": 0.6}, directions)
    assert reached({"modes": 3}, {"modes": 3}, directions)
    assert not reached({"modes": 3, "w1": 0.5}, {"modes": 3}, directions)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("[{name: a}, {name: b}]", "never ends"),
        ("[{name: a, rounds: 2}]", "the last phase lasts"),
        ("[{name: a, rounds: 2}, {name: a}]", "two phases have this name"),
        ("[{name: a, rounds: 2, turns: {critic: 1}}, {name: b}]", "no such player"),
        ("[{name: a, rounds: 2, turns: {generator: 0}}, {name: b}]", "nobody has a turn"),
        ("[{name: a, rounds: 0}, {name: b}]", "greater than or equal to 1"),
        ("[{rounds: 1}, {name: b}]", "missing"),
    ],
)
def test_phases_that_make_no_sense(command: Command, typed: str, said: str) -> None:
    code, printed = command("gan-train", f"model.phases={typed}", "data=points", "steps=1")
    assert code and said in printed and "model.phases" in printed and "Traceback" not in printed


def test_a_phase_does_not_go_beside_a_warm_up(command: Command) -> None:
    code, printed = command("gan-train", "model=wgan", TWO_PHASES[0], "data=points", "steps=1")
    assert code and "model.warm_up=null" in printed


def test_only_those_who_have_turns_learn() -> None:
    trainer = make_trainer("model=gan", "data=points", *TINY, *TWO_PHASES)
    before = copy.deepcopy(trainer.game.G.state_dict())
    for step in range(3):
        trainer.play_round()
        moved = any(
            not torch.equal(value, before[name])
            for name, value in trainer.game.G.state_dict().items()
        )
        assert moved == (step == 2)
    assert trainer.batches.position == 3 + 3 + 2


def test_a_schedule_may_count_from_a_phase() -> None:
    """Linear over 4 rounds, from the phase that begins at round 2, and that a score may end."""
    linear = ("schedule=linear", "schedule.total=4", "optimizer.lr=0.1", "schedule.phase=game")
    trainer = make_trainer("model=gan", "data=points", *TINY, *TWO_PHASES, *linear)
    rates = []
    for _ in range(7):
        trainer.play_round()
        rates.append(trainer.optimizers["discriminator"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.075, 0.05, 0.025, 0.0])

    until = "model.phases=[{name: critic, until: {w1: 0.1}}, {name: game}]"
    waiting = make_trainer("model=gan", "data=points", *TINY, until, "model.warm_up=null", *linear)
    for step in range(5):
        if step == 3:
            waiting.game.order_of_play.end(step)
        waiting.play_round()
        rates.append(waiting.optimizers["discriminator"].param_groups[0]["lr"])
    assert rates[7:] == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.075])


def test_a_schedule_of_no_phase(command: Command) -> None:
    code, printed = command("gan-train", "schedule=linear", "schedule.phase=game", "steps=1")
    assert code == 2 and "schedule.phase=game: the model has no such phase" in printed


def test_a_player_without_turns_never_learns() -> None:
    trainer = make_trainer("model=gan", "data=points", *TINY, "model.repeat.generator=0")
    trainer.play_round()
    assert trainer.terms.keys() == {"discriminator"}


@pytest.mark.parametrize("kill_at", mostly_slow([2, 4, 6], 4))
def test_a_phase_that_a_score_ends_resumes_bit_for_bit(
    command: Command, tmp_path: Path, kill_at: int
) -> None:
    typed = (
        "model=gan",
        "data=points",
        *TINY,
        "model.phases=[{name: a, until: {w1: 1000}, turns: {discriminator: 1}}, {name: b}]",
        "evaluate_every=4",
        "evaluate_samples=50",
        "sample_every=0",
    )
    folders = [f"hydra.run.dir={name}" for name in ("whole", "parts")]
    assert command("gan-train", *typed, "steps=7", folders[0])[0] == 0
    for steps in (kill_at, 7):
        assert command("gan-train", *typed, f"steps={steps}", folders[1])[0] == 0
    whole, parts = (
        torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True)
        for name in ("whole", "parts")
    )
    # a run that ends is scored at its end too
    expected = {2: 2, 4: 4, 6: 4}[kill_at]
    assert whole["phases"] == {"a": 4} and parts["phases"] == {"a": expected}
    if expected == 4:
        for name, value in whole["game"].items():
            assert torch.equal(value, parts["game"][name]), name


def test_clipped_gradients_have_the_norm() -> None:
    clipped, free = (
        make_trainer(
            "model=gan", "data=points", *TINY, "optimizer=sgd", "optimizer.momentum=0",
            "optimizer.lr=1", *more,
        )
        for more in (["optimizer.players.discriminator.clip_norm=0.01"], [])
    )  # fmt: skip
    moves = []
    for trainer in (clipped, free):
        before = torch.cat([w.detach().flatten().clone() for w in trainer.game.D.parameters()])
        trainer.take_turn(trainer.game.turns(0)[0], trainer.batches.next_rows())
        after = torch.cat([w.detach().flatten() for w in trainer.game.D.parameters()])
        moves.append(after - before)
    assert moves[0].norm() == pytest.approx(0.01, rel=1e-3) and moves[1].norm() > 0.02
    torch.testing.assert_close(moves[0] / moves[0].norm(), moves[1] / moves[1].norm())


def test_a_reset_player_begins_anew() -> None:
    trainer = make_trainer(
        "model=gan", "data=points", *TINY, "model.reset={discriminator: {every: 3}}",
        "model.repeat.generator=0",
    )  # fmt: skip
    first = copy.deepcopy(trainer.game.D.state_dict())
    for _ in range(3):
        trainer.play_round()
    trainer._reset("discriminator")
    fresh = trainer.game.D.state_dict()
    name = next(name for name, value in fresh.items() if value.dim() > 1)
    assert not torch.equal(fresh[name], first[name])
    assert fresh[name].std() == pytest.approx(first[name].std(), rel=0.5)
    state = trainer.optimizers["discriminator"].state
    assert all(not value.any() for values in state.values() for value in values.values())


def plugin_trainer(tmp_path: Path, *more: str) -> Trainer:
    file = tmp_path / "own.py"
    file.write_text(PLUGIN)
    option = tmp_path / "model" / "of_its_own.yaml"
    option.parent.mkdir(exist_ok=True)
    option.write_text("defaults: [gan, _self_]\nname: of_its_own\n")
    config = compose(
        "--config-dir", str(tmp_path), f"plugins=[{file}]", "model=of_its_own", "data=points",
        "network.width=8", "batch_size=12", *more,
    )  # fmt: skip
    return trainer_of(config)


def test_turns_of_their_own(tmp_path: Path) -> None:
    trainer = plugin_trainer(tmp_path, "model.epochs=3")
    trainer.game.train()
    trainer.play_round()
    assert trainer.optimizers.keys() == {"discriminator", "generator"}
    assert set(trainer.terms) == {"collect", "discriminator", "generator"}
    steps = {float(s["step"]) for s in trainer.optimizers["discriminator"].state.values()}
    assert steps == {3.0} and not trainer.optimizers["generator"].state
    assert trainer.game.pool.std() > 0 and trainer.game.prepared != 0


def test_the_line_search_goes_down(tmp_path: Path) -> None:
    trainer = plugin_trainer(tmp_path)
    trainer.game.train()
    turn, rows = trainer.game.turns(0)[2], trainer.batches.next_rows()
    trainer.take_turn(turn, rows)
    first = trainer.terms["generator"]["adversarial"]
    trainer.take_turn(turn, rows)  # the same noise: the seed is that of the round
    assert trainer.terms["generator"]["adversarial"] < first


@pytest.mark.parametrize("shards", [1, 2])
def test_turns_of_their_own_come_back_bit_for_bit(tmp_path: Path, shards: int) -> None:
    more = [f"hardware.shards={shards}"]
    whole, parts = (plugin_trainer(tmp_path, *more) for _ in range(2))
    for trainer, rounds in ((whole, 4), (parts, 2)):
        trainer.game.train()
        for _ in range(rounds):
            trainer.play_round()
    again = plugin_trainer(tmp_path, *more)
    again.game.train()
    again.load_state_dict(copy.deepcopy(parts.state_dict()))
    for _ in range(2):
        again.play_round()
    for (name, value), other in zip(
        whole.game.state_dict().items(), again.game.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name


def test_a_reset_of_nobody() -> None:
    with pytest.raises(UserError, match=r"model\.reset\.eve: no such player"):
        make_trainer("model=gan", "data=points", *TINY, "model.reset={eve: {every: 2}}")


def test_a_reset_is_due_in_every_so_many_rounds() -> None:
    trainer = make_trainer(
        "model=gan", "data=points", *TINY, "model.reset={discriminator: {every: 3}}"
    )
    assert [step for step in range(10) if trainer.game.resets(step)] == [3, 6, 9]


def test_a_pool_holds_the_last_samples() -> None:
    pool = Pool(4, 2)
    noise.begin_turn("pool", 0)
    assert torch.equal(pool.draw(3), torch.zeros(3, 2))
    pool.push(torch.full((2, 2), 1.0))
    assert torch.equal(pool.draw(50), torch.ones(50, 2))
    for value in (2.0, 3.0):
        pool.push(torch.full((2, 2), value))
    drawn = pool.draw(200)[:, 0]
    assert set(drawn.tolist()) == {2.0, 3.0} and 0.35 < (drawn == 2).float().mean() < 0.65
    assert set(pool.state_dict()) == {"samples", "filled"} and int(pool.filled) == 4


def test_a_pool_takes_more_than_it_holds() -> None:
    pool = Pool(3, 1)
    pool.push(torch.arange(5.0)[:, None])
    assert pool.samples.flatten().tolist() == [0, 1, 2] and int(pool.filled) == 3


def test_some_networks_start_from_another_run(command: Command, tmp_path: Path) -> None:
    typed = ("data=points", "model=gan", *TINY, "evaluate_every=0", "sample_every=0")
    assert command("gan-train", *typed, "steps=2", "hydra.run.dir=first")[0] == 0
    more = ("seed=5", "optimizer.lr=1e-12", "init_from=first", "init_networks=[G]")
    code, printed = command("gan-train", *typed, *more, "steps=1", "hydra.run.dir=second")
    assert code == 0 and "starting from the weights of G of first (step 2)" in printed
    first, second = (
        torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True)["game"]
        for name in ("first", "second")
    )
    for name, value in first.items():
        same = torch.allclose(value, second[name], atol=1e-9)
        assert same == name.startswith("G.") or value.dim() < 2, name


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["init_networks=[G]"], "nothing to take it from"),
        (["init_networks=[H]", "init_from=x"], "has no such network"),
        (["metrics=[fid]"], "not a metric of model=two_player"),
        (["metrics=[classifier]"], "not a metric of model=two_player on data=points"),
        (["metrics=w1"], "expected a list"),
        (["optimizer.clip_norm=0"], "greater than 0"),
        (["model.phases=[{name: a, until: {w2: 1}}, {name: b}]"], "did you mean w1?"),
        (
            ["model.phases=[{name: a, until: {w1: 1}}, {name: b}]", "evaluate_every=0"],
            "evaluate_every=0 never scores",
        ),
    ],
)
def test_what_cannot_be_is_refused(command: Command, typed: list[str], said: str) -> None:
    code, printed = command("gan-train", "model=gan", "data=points", "steps=1", *typed)
    assert code and said in printed and "Traceback" not in printed


def test_two_metrics_score_a_run(command: Command, tmp_path: Path) -> None:
    typed = ("model=gan", "data=digits", *TINY, "sample_every=0", "evaluate_samples=50")
    more = ("metrics=[patches,memorisation]", "steps=1", "hydra.run.dir=run")
    code, printed = command("gan-train", *typed, *more)
    assert code == 0, printed
    card = json.loads((tmp_path / "run" / "run.json").read_text())
    for name in ("patches", "memorisation"):
        assert set(registry.metrics.components[name].attributes["scores"]) & card["scores"].keys()
    assert card["objective"] in registry.metrics.components["patches"].attributes["objectives"]


def test_a_score_that_ends_a_phase_is_computed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second metric of the data, which no run computes by itself."""
    monkeypatch.setattr("gan_cli.metrics.classifier.STEPS", 5)
    score = registry.metrics.components["patches"].attributes["objectives"][0]
    typed = ("model=gan", "data=shapes", "data.size=100", *TINY, "evaluate_samples=20")
    phases = f"model.phases=[{{name: a, until: {{{score}: 1e9}}}}, {{name: b}}]"
    code, printed = command(
        "gan-train",
        *typed,
        phases,
        "data.image_size=16",
        "evaluate_every=1",
        "steps=2",
        "hydra.run.dir=run",
    )
    assert code == 0, printed
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert score in state["scores"] and state["phases"] == {"a": 1}
