"""What is not finite is noticed, named, and not trained on; what is absurdly large is refused
before it is built."""

import json
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, compose, make_trainer, mostly_slow, start
from test_resume import RUN, rows, until

from gan_cli.devices.process import explain_torch_errors
from gan_cli.errors import UserError
from gan_cli.losses import Wasserstein
from gan_cli.runs import checkpoint, rundir
from gan_cli.training import build
from gan_cli.training.nan_check import KEPT, DivergedError, Watch
from gan_cli.training.trainer import Trainer

NAN, ONE = torch.tensor(float("nan")), torch.tensor(1.0)


def test_the_first_term_that_was_not_finite_is_named() -> None:
    watch, game = Watch(), make_trainer("model=gan", "data=points", "network.width=4").game
    for step, (a, b, c) in enumerate([(ONE, ONE, ONE), (ONE, ONE / 0, ONE), (NAN, NAN, NAN)]):
        watch.note("discriminator", {"adversarial": a, "penalty": b}, step)
        watch.note("generator", {"adversarial": c}, step)
    with pytest.raises(
        DivergedError, match="discriminator/penalty was the first that was not finite, in round 2"
    ):
        watch.read(game)
    watch.note("generator", {"adversarial": ONE}, 3)
    watch.read(game)
    watch.read(game)
    next(game.get_submodule("D").parameters()).data[0] = -ONE / 0
    with pytest.raises(DivergedError, match="the weights of D are not finite"):
        watch.read(game)


def test_terms_are_looked_at_although_no_tensor_of_a_turn_is_kept() -> None:
    watch, game = Watch(), make_trainer("model=gan", "data=points", "network.width=4").game
    term = torch.tensor(float("nan"))
    gone = weakref.ref(term)
    watch.note("discriminator", {"adversarial": ONE, "penalty": term}, 0)
    del term
    assert gone() is None
    with pytest.raises(DivergedError, match="discriminator/penalty"):
        watch.read(game)
    # the same rows again; what lay in them is over, and fewer terms fill them
    for step in range(2 * KEPT + 1):
        watch.note("generator", {"adversarial": ONE}, step)
    # more than fitted
    watch.note("discriminator", {"adversarial": ONE, "penalty": ONE, "drift": ONE / 0}, step)
    with pytest.raises(
        DivergedError, match=f"discriminator/drift was the first that .* in round {2 * KEPT + 1}"
    ):
        watch.read(game)


def spoil(monkeypatch: pytest.MonkeyPatch, spoiled: Callable[[Trainer], bool]) -> None:
    """Let the generator's loss be no number in the rounds that `spoiled` says."""
    current: list[Trainer] = []
    play, generator = Trainer.play_round, Wasserstein.generator

    def play_round(self: Trainer) -> None:
        current[:] = [self]
        play(self)

    def lost(self: Wasserstein, *scores: torch.Tensor) -> torch.Tensor:
        value = generator(self, *scores)
        return value * NAN if spoiled(current[0]) else value

    monkeypatch.setattr(Trainer, "play_round", play_round)
    monkeypatch.setattr(Wasserstein, "generator", lost)


def test_a_rollback_frees_the_memory_of_the_diverged_trainer(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers: list[weakref.ref[Trainer]] = []
    alive = []
    init, spoiled = Trainer.__init__, [False]
    generator, play = Wasserstein.generator, Trainer.play_round

    def counted(self: Trainer, *arguments: Any, **named: Any) -> None:
        alive.append(sum(trainer() is not None for trainer in trainers))
        init(self, *arguments, **named)
        trainers.append(weakref.ref(self))

    def play_round(self: Trainer) -> None:
        spoiled[0] = self.step == 23 and self.rollbacks == 0
        play(self)

    monkeypatch.setattr(Trainer, "__init__", counted)
    monkeypatch.setattr(Trainer, "play_round", play_round)
    monkeypatch.setattr(
        Wasserstein,
        "generator",
        lambda self, *scores: generator(self, *scores) * (NAN if spoiled[0] else ONE),
    )
    code, printed = command("gan-train", *RUN, "hydra.run.dir=run")
    assert code == 0 and "1 of max_rollbacks=2" in printed
    assert alive == [0, 0]


@pytest.mark.parametrize(("at", "back_to"), mostly_slow([(2, 0), (23, 20), (59, 55)], 23))
def test_a_run_goes_back_and_on_with_other_random_numbers(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, back_to: int
) -> None:
    spoil(monkeypatch, lambda trainer: trainer.step == at and trainer.rollbacks == 0)
    code, printed = command("gan-train", *RUN, "hydra.run.dir=run")
    assert code == 0, printed
    assert f"generator/adversarial was the first that was not finite, in round {at + 1}" in printed
    assert (
        f"going back to step {back_to} with other random numbers (1 of max_rollbacks=2)" in printed
    )
    assert rundir.read_card(tmp_path / "run")["rollbacks"] == 1
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(5, 61, 5))
    last = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")
    assert last["rollbacks"] == 1 and last["step"] == 60
    for path in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        assert all(value.isfinite().all() for value in checkpoint.load(path)["game"].values())


def test_what_fails_again_and_again_stops_with_a_diagnosis(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda trainer: trainer.step >= 12)
    code, printed = command("gan-train", *RUN, "hydra.run.dir=run")
    assert code == 2 and printed.count("going back to step 10") == 2
    assert printed.splitlines()[-1].startswith(
        "gan-train: the run diverged: generator/adversarial was the first that was not finite, in "
        "round 13, after 2 "
    )
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == 10
    code, printed = command("gan-train", *RUN, "hydra.run.dir=run", "max_rollbacks=0")
    assert code == 2 and "going back" not in printed and "after 0 rollbacks" in printed


@pytest.mark.slow
@pytest.mark.parametrize("processes", mostly_slow([1, 2], 1))
def test_a_signal_is_heard_although_the_run_diverges(tmp_path: Path, processes: int) -> None:
    """Nothing is looked at before the signal comes; what is then found is not finite."""
    typed = [
        "data=points",
        "model=gan",
        "network.width=8",
        "steps=1000000",
        "log_every=0",
        "sample_every=0",
        "evaluate_every=0",
        "checkpoint_every=0",
        "optimizer=sgd",
        "optimizer.lr=1e30",
        "max_rollbacks=1000",
        f"hardware.devices={processes}",
        "hardware.device=cpu",
        "hydra.run.dir=run",
    ]
    process = start(typed, tmp_path)
    until(
        lambda: (
            (tmp_path / "run" / "train.log").exists()
            and "new run" in (tmp_path / "run" / "train.log").read_text()
        )
    )
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert (
        process.returncode == 143
        and "going back to step 0" in printed
        and "Traceback" not in printed
    ), printed


def test_a_run_whose_time_is_up_when_it_diverges_has_failed(command: Command) -> None:
    code, printed = command(
        "gan-train",
        "data=points",
        "model=gan",
        "network.width=8",
        "minutes=0.01",
        "log_every=0",
        "sample_every=0",
        "evaluate_every=0",
        "checkpoint_every=0",
        "optimizer=sgd",
        "optimizer.lr=1e30",
        "hydra.run.dir=run",
    )
    assert code == 2 and "the run diverged" in printed


def test_the_count_of_rollbacks_is_kept_and_changes_what_is_drawn(tmp_path: Path) -> None:
    first, second, third = (make_trainer(*RUN[:4]) for _ in range(3))
    second.roll_back(1, 0.0)
    third.load_state_dict(second.state_dict())
    assert (
        first.effective_seed == first.seed
        and len({trainer.effective_seed for trainer in (first, second)}) == 2
    )
    assert third.rollbacks == 1 and third.effective_seed == second.effective_seed
    orders = [trainer.batches.next_rows() for trainer in (first, second, third)]
    assert not torch.equal(orders[0], orders[1]) and torch.equal(orders[1], orders[2])
    for trainer in (first, second, third):
        trainer.play_round()
    weights = [trainer.game.state_dict()["G.layers.0.weight"] for trainer in (first, second, third)]
    assert not torch.equal(weights[0], weights[1]) and torch.equal(weights[1], weights[2])


def test_a_diagnostic_that_is_not_finite_is_left_out_of_the_row(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan_cli.games.two_player import TwoPlayer

    observe = TwoPlayer.diagnostics
    monkeypatch.setattr(
        TwoPlayer, "diagnostics", lambda self, *sets: {**observe(self, *sets), "odd": -ONE / 0}
    )
    code, printed = command("gan-train", *RUN, "steps=5", "hydra.run.dir=run")
    assert code == 0 and "step 5: odd: not finite on held-out data, not recorded" in printed
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert all("odd" not in json.loads(line, parse_constant=pytest.fail) for line in lines)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "network.width=1000000000000",
            "network.width=1000000000000, model.latent=100: the weights need more memory than",
        ),
        ("network.width=1000000", "the weights need 7.45e+03 GiB of"),
        ("model.latent=1000000000000", "model.latent=1000000000000: the weights need"),
        ("batch_size=1000000000000", "batch_size=1000000000000: a batch needs"),
        (
            "network.depth=1000000000000",
            "network.depth=1000000000000: input should be less than or equal to 1000",
        ),
        ("data.size=1000000000000", "not enough memory"),
    ],
)
def test_an_absurd_size_is_refused_before_it_is_allocated(
    command: Command, typed: str, said: str
) -> None:
    code, printed = command("gan-train", "data=points", "model=gan", typed)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed


def test_counting_weights_draws_no_random_numbers() -> None:
    config = compose("data=points", "network.width=4")
    spec = make_trainer("data=points").batches.dataset.spec
    before = torch.get_rng_state()
    build.refuse_absurd_sizes(config, spec)
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(UserError, match="the weights need"):
        build.refuse_absurd_sizes(compose("data=points", "network.width=500000"), spec)


@pytest.mark.slow
def test_counting_weights_loads_no_compiler() -> None:
    """It would take two seconds of every start; torch loads it where it draws numbers for tensors
    without memory."""
    code = (
        "import sys; from conftest import MODELS, compose, fitting, make_trainer\n"
        "from gan_cli.training import build\n"
        "from gan_cli import registry\n"
        "for model in MODELS:\n"
        "    config = compose(*fitting(model, 'data=digits'))\n"
        "    spec = registry.datasets.build(config['data'], 'data').spec\n"
        "    build.refuse_absurd_sizes(config, spec)\n"
        "    assert 'torch._dynamo' not in sys.modules, model\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
            "allocate memory"
        ),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough "
            "memory: you tried to"
        ),
        RuntimeError("CUDA error: out of memory"),
        MemoryError("Unable to allocate 7.28 TiB for an array"),
    ],
    ids=str,
)
def test_an_allocation_that_fails_is_one_sentence(error: Exception) -> None:
    with (
        pytest.raises(UserError, match=r"batch_size=8 network\.width=4: not enough memory"),
        explain_torch_errors(compose(*SMALL)),
    ):
        raise error


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: an illegal memory access was encountered",
        "unsupported memory format option Preserve",
        "required rank 4 tensor to use channels_last format: memory",
    ],
)
def test_another_error_that_speaks_of_memory_is_not_hidden(said: str) -> None:
    with pytest.raises(RuntimeError, match=said), explain_torch_errors(compose(*SMALL)):
        raise RuntimeError(said)


SMALL = ("data=points", "model=gan", "network.width=4", "batch_size=8")
