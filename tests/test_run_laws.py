"""Laws of a run that hold whatever is played: averages, time, random numbers, batches, buffers of
shards, signals."""

import copy
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, make_trainer
from torch import Tensor, nn

from gan_cli.data.dataset import Dataset
from gan_cli.divergences import DIVERGENCES
from gan_cli.errors import UserError
from gan_cli.game import Terms, Turn, player
from gan_cli.games.energy import BEGAN
from gan_cli.games.two_player import TwoPlayer
from gan_cli.networks import layers
from gan_cli.runs import hooks
from gan_cli.training import shards
from gan_cli.training.ema import EMA
from gan_cli.training.shards import Shards

TINY = ("data=points", "network.width=4", "batch_size=8", "hardware.threads=1")
QUIET = ("evaluate_every=0", "sample_every=0", "log_every=0")


# --- the average ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [1, 5, 20, 100])
def test_the_average_forgets_the_initial_networks(rounds: int) -> None:
    """The initial networks' share is the product of what the average keeps: 0.5 ** sum of 1 / (ramp
    * t)."""
    trainer = make_trainer(*TINY, "model.ema=0.9999")
    for weight in trainer.game.get_submodule("G").parameters():
        weight.data.fill_(1.0)
    assert trainer.ema is not None
    for weight in trainer.ema.get_submodule("G").parameters():
        weight.data.fill_(0.0)
    for trainer.step in range(1, rounds + 1):
        EMA().after_round(trainer)
    left = 0.5 ** sum(1 / (0.05 * t) for t in range(1, rounds + 1))
    (weight, *_) = trainer.ema.get_submodule("G").parameters()
    assert weight.flatten()[0].item() == pytest.approx(1 - left, abs=1e-6) and left < 1e-5


def test_the_ramp_ends_where_its_half_life_is_that_of_ema() -> None:
    game = make_trainer(*TINY, "model.ema=0.999").game
    half_life = 692.8
    assert (
        game.averaging(int(half_life / 0.05) + 20)
        == 0.999
        > game.averaging(int(half_life / 0.05) - 20)
    )
    assert game.averaging(1000) == 0.5 ** (1 / (0.05 * 1000))
    game.ema_ramp = 0.0
    assert game.averaging(1) == 0.999


def test_statistics_of_the_average_go_with_its_weights() -> None:
    """Batch norms' statistics are averaged as weights are; a stage of growth is copied."""
    trainer = make_trainer(
        "data=digits", "model=dcgan", "model.ema=0.5", "model.ema_ramp=0", "network.width=4"
    )
    trained, average = trainer.game.get_submodule("G"), trainer.ema.get_submodule("G")  # type: ignore[union-attr]
    (layer, *_), (kept, *_) = layers.batch_norms(trained), layers.batch_norms(average)
    layer.running_mean.fill_(4.0)
    kept.running_mean.zero_()
    layer.num_batches_tracked.fill_(7)
    EMA().after_round(trainer)
    assert kept.running_mean.unique().tolist() == [2.0] and kept.num_batches_tracked.item() == 7

    growing = make_trainer("data=digits", "model=progan", "network.width=4")
    growing.game.get_submodule("G").stage.fill_(0.25)
    EMA().after_round(growing)
    assert growing.ema.get_submodule("G").stage.item() == 0.25  # type: ignore[union-attr]


# --- where a run is -------------------------------------------------------------------------------


def at_half_of_its_time(*overrides: str) -> Any:
    trainer = make_trainer(
        "data=digits", "network.width=4", "batch_size=4", "minutes=1", "steps=1000", *overrides
    )
    trainer.step, trainer.seconds = 3, 30.0
    trainer.play_round()
    return trainer


def test_schedules_growth_and_annealing_follow_the_time_that_ends_a_run() -> None:
    trainer = at_half_of_its_time("schedule=linear", "model=wgan_gp", "augmentation=instance_noise")
    for name, optimizer in trainer.optimizers.items():
        assert optimizer.param_groups[0]["lr"] == pytest.approx(
            trainer._learning_rates._base[name][0] / 2
        )
    assert trainer.game.T.sigma.item() == pytest.approx(0.05)
    grown = at_half_of_its_time("model=progan", "model.growth=0.5")
    assert grown.game.G.stage.item() == grown.game.G.scales - 1


def test_what_counts_rounds_of_its_own_does_not_follow_the_time() -> None:
    trainer = at_half_of_its_time("schedule=linear", "schedule.total=100", "model=wgan_gp")
    assert trainer.optimizers["generator"].param_groups[0]["lr"] == pytest.approx(
        trainer._learning_rates._base["generator"][0] * 0.97
    )
    with pytest.raises(UserError, match="type both, or none"):
        at_half_of_its_time("model=progan", "augmentation=instance_noise", "augmentation.total=50")


def test_a_resumed_run_goes_on_from_the_time_of_its_checkpoint() -> None:
    one = at_half_of_its_time("schedule=linear", "model=wgan_gp")
    other = make_trainer(
        "data=digits",
        "network.width=4",
        "batch_size=4",
        "minutes=1",
        "steps=1000",
        "schedule=linear",
        "model=wgan_gp",
    )
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert other.position("schedule") == one.position("schedule") == 500
    for trainer in (one, other):
        trainer.play_round()
    ours, theirs = (dict(trainer.game.state_dict()) for trainer in (one, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# --- rounds ---------------------------------------------------------------------------------------


class Wandering(TwoPlayer):
    """Draws at the beginning of a round."""

    def begin_round(self, step: int) -> None:
        self.drawn = torch.rand(3)


def test_what_a_round_draws_at_its_beginning_follows_from_the_seed_and_the_round() -> None:
    one, other = make_trainer(*TINY), make_trainer(*TINY)
    for trainer in (one, other):
        trainer.game.__class__ = Wandering
    for _ in range(3):
        one.play_round()
    torch.manual_seed(99)
    torch.rand(17)  # other draws, as evaluation makes them
    other.step = 2
    other.play_round()
    assert torch.equal(one.game.drawn, other.game.drawn)
    one.play_round()
    assert not torch.equal(one.game.drawn, other.game.drawn)


class Resting(TwoPlayer):
    """Leaves out its first player after two rounds."""

    def turns(self, step: int) -> tuple[Turn, ...]:
        return tuple(
            turn for turn in super().turns(step) if step < 2 or turn.player.name == "generator"
        )


def test_every_round_has_a_batch_of_its_own_also_where_a_player_rests() -> None:
    trainer = make_trainer(*TINY, "model.fresh_batch=round")
    trainer.game.__class__ = Resting
    seen = []
    for _ in range(5):
        trainer.play_round()
        seen.append(tuple(trainer._rows.tolist()))
    assert len(set(seen)) == 5


def test_a_player_that_rests_is_not_logged(tmp_path: Path) -> None:
    trainer = make_trainer(*TINY)
    trainer.game.__class__ = Resting
    recorder = hooks.Recorder(tmp_path, 0)
    logs = hooks.Logs(recorder, trainer.batches.dataset, 2, 0, {})
    rows = []
    for _ in range(6):
        trainer.play_round()
        recorder.row = {}
        logs.after_round(trainer)
        if recorder.row:
            rows.append("discriminator/adversarial" in recorder.row)
    recorder.close()
    assert rows == [True, False, False]
    again = make_trainer(*TINY)
    again.load_state_dict(copy.deepcopy(trainer.state_dict()))
    assert again.played == trainer.played == {"discriminator": 1, "generator": 5}


# --- shards ---------------------------------------------------------------------------------------


class Keeping(TwoPlayer):
    """Has a buffer of each kind, which its discriminator's turn changes by what it sees."""

    def __init__(self, **others: Any) -> None:
        super().__init__(**others)
        for name in ("mean", "pool", "rounds"):
            self.register_buffer(name, torch.zeros(2))

    sharding = {"mean": "averaged", "pool": "shard", "rounds": "same"}  # noqa: RUF012

    @player(moves="D")
    def discriminator(self, x: Tensor) -> Terms:
        self.mean.copy_(x.mean(dim=0))
        self.pool.add_(x.mean(dim=0))
        self.rounds.add_(1)
        return super().discriminator(x)


def keeping(count: int) -> Any:
    trainer = make_trainer(*TINY, "model=gan")
    game = trainer.game
    game.__class__ = Keeping
    for name in ("mean", "pool", "rounds"):
        game.register_buffer(name, torch.zeros(2))
    trainer.shards = Shards(count)
    return trainer


def test_every_buffer_is_kept_by_its_rule() -> None:
    trainer = keeping(2)
    batches = []
    for _ in range(3):
        trainer.play_round()
        batches.append(trainer.batches.gather(trainer.batches._rows(2 * len(batches)))["x"])
    halves = torch.stack([x.unflatten(0, (2, 4)).mean(dim=1) for x in batches])  # (round, shard, 2)
    assert torch.allclose(trainer.game.mean, halves[-1].mean(dim=0), atol=1e-6)
    assert trainer.game.rounds.tolist() == [3, 3]
    assert torch.allclose(trainer.shards.state["pool"], halves.sum(dim=0), atol=1e-6)
    assert torch.equal(trainer.game.pool, trainer.shards.state["pool"][0])

    resumed = keeping(2)
    resumed.load_state_dict(copy.deepcopy(trainer.state_dict()))
    for each in (trainer, resumed):
        each.play_round()
    assert torch.equal(resumed.shards.state["pool"], trainer.shards.state["pool"])


def test_a_buffer_without_a_rule_is_refused_where_there_are_shards() -> None:
    game = make_trainer(*TINY).game
    game.register_buffer("pool", torch.zeros(2))
    Shards(1).check(game)
    with pytest.raises(
        UserError,
        match=r"hardware\.shards: TwoPlayer does not say .* buffer "
        r"pool; write sharding = ",
    ):
        Shards(2).check(game)


def test_every_buffer_of_the_package_has_a_rule() -> None:
    """Tried for all models by the laws of tests/test_processes.py; these are rare ones."""
    for module in (nn.BatchNorm3d(2), nn.InstanceNorm2d(2, track_running_stats=True)):
        assert set(shards.rules(module).values()) <= {"averaged", "same"}
    assert "k" in BEGAN.sharding


# --- equations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [-50.0, -1.0, 0.0, 30.0, 69.0, 71.0, 75.0, 85.0])
def test_the_conjugate_of_jeffreys_divergence_is_that_of_double_precision(score: float) -> None:
    single = torch.tensor(score, requires_grad=True)
    double = torch.tensor(score, dtype=torch.float64, requires_grad=True)
    values = [DIVERGENCES["jeffrey"].conjugate(v) for v in (single, double)]
    slopes = [
        torch.autograd.grad(value, v)[0] for value, v in zip(values, (single, double), strict=True)
    ]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-4, abs=1e-6)
    assert slopes[0].item() == pytest.approx(slopes[1].item(), rel=1e-3) and slopes[0] > 0


CONVOLUTIONS = [
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
]


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_norms_and_initialisation_know_every_convolution(kind: Any) -> None:
    torch.manual_seed(0)
    layer = kind(16, 32, 4, stride=2)
    network = nn.Sequential(layer)
    layers.initialise(network, "dcgan")
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05) and not layer.bias.any()
    layers.initialise(network, "he")
    taps = 4 ** layer.weight[0, 0].dim() / (
        2 ** layer.weight[0, 0].dim() if layer.transposed else 1
    )
    assert layer.weight.std().item() == pytest.approx((2 / (16 * taps)) ** 0.5, rel=0.05)
    for name in ("weight", "spectral"):
        constrained = nn.Sequential(kind(3, 5, 3))
        layers.constrain(constrained, name)
        assert nn.utils.parametrize.is_parametrized(constrained[0], "weight")


# --- signals and threads --------------------------------------------------------------------------


def test_a_run_may_be_started_in_a_thread(command: Command) -> None:
    found: list[tuple[int, str]] = []
    thread = threading.Thread(
        target=lambda: found.append(
            command("gan-train", *TINY, *QUIET, "steps=3", "hydra.run.dir=run")
        )
    )
    thread.start()
    thread.join()
    assert found[0][0] == 0 and Path("run/checkpoints/last.pt").is_file(), found


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    for _ in range(1200):
        if (path.exists() and path.stat().st_size) or process.poll() is not None:
            return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_closed_terminal_lets_a_run_save(tmp_path: Path) -> None:
    code = (
        # the tests may be run by nohup
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "from gan_cli.main import train; train()"
    )
    typed = [*TINY, "log_every=1", "evaluate_every=0", "sample_every=0", "hydra.run.dir=run"]
    run = subprocess.Popen([sys.executable, "-c", code, *typed], cwd=tmp_path, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    wait_for(tmp_path / "run" / "metrics.jsonl", run)
    run.send_signal(signal.SIGHUP)
    printed, _ = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGHUP and "saved; the same command goes on" in printed
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()


def test_under_nohup_a_closed_terminal_is_ignored() -> None:
    code = (
        "import signal; from gan_cli.devices import signals; "
        "print(signal.SIGHUP in signals.STOPPING)"
    )
    ignoring = [
        sys.executable,
        "-c",
        "import signal, os, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        f"os.execv(sys.executable, [sys.executable, '-c', {code!r}])",
    ]
    assert (
        subprocess.run(ignoring, capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


def test_a_signal_before_the_first_round_acts_at_once(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the classifier for the scores is trained: there is nothing to save yet."""
    reached = []

    def asked(self: Any, dataset: Dataset, **_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        reached.append(dataset)

    monkeypatch.setattr("gan_cli.metrics.points.PointScores.__init__", asked)
    code, printed = command("gan-train", *TINY, "steps=5", "hydra.run.dir=run")
    assert code == 128 + signal.SIGTERM and not reached and "nothing to save" in printed


def test_weights_may_come_from_a_run_s_folder(command: Command) -> None:
    assert command("gan-train", *TINY, *QUIET, "steps=2", "hydra.run.dir=first")[0] == 0
    code, printed = command(
        "gan-train", *TINY, *QUIET, "steps=1", "seed=7", "init_from=first", "hydra.run.dir=second"
    )
    assert code == 0 and "starting from the weights of first (step 2)" in printed
    code, printed = command("gan-train", *TINY, *QUIET, "steps=1", "init_from=nowhere")
    assert code == 2 and "init_from=nowhere: no such file, and no such run" in printed


# --- compiling ------------------------------------------------------------------------------------


def test_a_turn_of_very_many_operations_is_not_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from gan_cli.training import compiled

    monkeypatch.setattr(compiled, "_compiled", lambda play: pytest.fail("it was compiled"))
    monkeypatch.setattr(compiled, "MOST", 10)
    trainer = make_trainer(*TINY, "hardware.compile=true")
    trainer.play_round()
    assert (
        "turns of the discriminator are played as written" in caplog.text
        and "operations)" in caplog.text
    )
