"""Many processes: they learn what one learns, stop as one, and end with one sentence."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import (
    MODELS,
    TINY,
    Command,
    fitting,
    make_trainer,
    mostly_slow,
    of_text,
    start,
    takes,
)
from test_resume import RUN, final_state, rows, until
from test_zoo import COUPLINGS, assert_same_state, without_norms

from gan_cli.devices import launch, processes
from gan_cli.errors import UserError
from gan_cli.runs import checkpoint, rundir
from gan_cli.training.shards import PairwiseSum

TWO = {"devices": 2, "nodes": 1, "rendezvous": None}
EXACT = [
    *(
        (*fitting(model, "data=digits", "data.image_size=16"), "model.warm_up=null", *TINY)
        for model in MODELS
    ),
    *(
        (*fitting(model, "data=points"), "model.warm_up=null", *TINY)
        for model in MODELS
        if takes(model, "points")
    ),
    (
        "model=gan",
        "data=points",
        "network=mlp_maxout",
        "batch_size=6",
        "network.generator.width=8",
        "network.discriminator.width=8",
    ),
    ("model=wgan_gp", "data=digits", "batch_size=8", "network.width=8", "hardware.shards=4"),
    ("model=dcgan", "data=digits", "batch_size=8", "network.width=8", "hardware.precision=bf16"),
]
"""Law A: two processes are one that plays the shards of both, bit for bit."""
CLOSE = [fitting(model, "data=digits", "data.image_size=16") for model in MODELS]
"""Law B: two processes are one that plays the whole batch at once, to rounding, where nothing
couples the samples."""


def uncoupled(case: int) -> tuple[str, ...]:
    """A case of law B without anything that looks at the whole batch."""
    model = MODELS[case]
    norms = without_norms(model)
    text = ("model.repeat.discriminator=1", "network.blocks=1") if of_text(model) else ()
    return (
        *CLOSE[case],
        "model.warm_up=null",
        "model.critic_norm=none",
        "guard=warn",
        *norms,
        *text,
        "optimizer=sgd",
        "optimizer.lr=1e-3",
        *TINY,
    )


def played(
    overrides: tuple[str, ...], rounds: int, world: processes.World | None = None
) -> dict[str, Any]:
    """The state after so many rounds, and the terms of the last."""
    trainer = make_trainer(*overrides, world=world)
    trainer.game.train()
    for _ in range(rounds):
        trainer.play_round()
    return {"terms": trainer.terms, **trainer.state_dict()}


def play_as_one_of_two(folder: Path, wanted: dict[str, list[int]]) -> list[int]:
    """In each of two processes: every case that is wanted, and the states written down."""
    world = processes.join()
    states = {("a", case): played(EXACT[case], 3, world) for case in wanted["a"]}
    states |= {("b", case): played(uncoupled(case), 20, world) for case in wanted["b"]}
    torch.save(states, folder / f"states_{world.rank}.pt")
    torch.save(rows_seen(world), folder / f"rows_{world.rank}.pt")
    processes.leave()
    return [world.rank, world.size]


def rows_seen(world: processes.World) -> list[int]:
    """Which rows of the training data a process takes in 20 rounds."""
    trainer = make_trainer("model=gan", "data=digits", *TINY, world=world)
    seen: list[int] = []
    take = trainer.batches.gather

    def watched(part: torch.Tensor, *place: object) -> dict[str, torch.Tensor]:
        seen.extend(part.tolist())
        return take(part, *place)

    trainer.batches.gather = watched  # type: ignore[method-assign]
    for _ in range(20):
        trainer.play_round()
    return seen


def some(cases: list[tuple[str, ...]]) -> list[Any]:
    """Every case by its number; those of models that are much like others are slow."""
    quick = {f"model={model}" for model in QUICK_MODELS}
    return [
        pytest.param(i, marks=[] if case[0] in quick else pytest.mark.slow, id=" ".join(case[:3]))
        for i, case in enumerate(cases)
    ]


QUICK_MODELS = ("dcgan", "began")
"""Batch norm, a balance that is averaged."""


@pytest.fixture(scope="module")
def by_two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes came to in all the cases that are run here."""
    chosen: list[Any] = [item for item in request.session.items if item.name.startswith("test_law")]
    wanted = {
        law: [i.callspec.params["case"] for i in chosen if i.name.startswith(f"test_law_{law}")]
        for law in "ab"
    }

    folder = tmp_path_factory.mktemp("two")
    assert launch.run(play_as_one_of_two, (folder, wanted), "laws", TWO, {"version": 1}) == [0, 2]
    return folder


@pytest.mark.parametrize("case", some(EXACT))
def test_law_a_two_processes_are_one_with_their_shards_bit_for_bit(by_two: Path, case: int) -> None:
    shards = () if any("shards" in item for item in EXACT[case]) else ("hardware.shards=2",)
    expected = played((*EXACT[case], *shards), 3)
    for rank in (0, 1):
        assert_same_state(expected, torch.load(by_two / f"states_{rank}.pt")["a", case])


@pytest.mark.parametrize("case", some(CLOSE))
def test_law_b_two_processes_are_one_with_the_whole_batch(by_two: Path, case: int) -> None:
    if told := make_trainer(*uncoupled(case)).game.batch_dependencies():
        assert set(told) <= set(COUPLINGS)
        return
    expected, state = played(uncoupled(case), 20), torch.load(by_two / "states_0.pt")["b", case]
    for name, value in expected["game"].items():
        torch.testing.assert_close(state["game"][name], value, rtol=1e-5, atol=1e-5)


def test_the_two_see_disjoint_data(by_two: Path) -> None:
    """digits has 1347 training images; 20 rounds of two turns of 6 are not a whole epoch."""
    seen = [torch.load(by_two / f"rows_{rank}.pt") for rank in (0, 1)]
    assert len(seen[0]) == len(seen[1]) == len({*seen[0], *seen[1]}) / 2


def test_a_sum_of_halves_is_the_sum() -> None:
    values = (
        torch.randn(8, 1000, generator=torch.Generator().manual_seed(0))
        * torch.logspace(-4, 4, 8)[:, None]
    )
    sums = []
    for part in (values, values[:4], values[4:]):
        total = PairwiseSum()
        for value in part:
            total.add(value)
        sums.append(total.value())
    assert torch.equal(sums[0], sums[1] + sums[2])
    torch.testing.assert_close(sums[0], values.double().sum(dim=0).float(), rtol=1e-5, atol=1e-3)


def test_games_that_couple_samples_say_so() -> None:
    assert make_trainer("model=dcgan", "data=digits", *TINY).game.batch_dependencies() == [
        "batch norm in G",
        "batch norm in D",
    ]
    maxout = make_trainer("model=gan", "data=points", "network=mlp_maxout")
    assert maxout.game.batch_dependencies() == ["dropout in D"]


def workers(parent: "subprocess.Popen[str]") -> list[int]:
    """The processes that a command has started, in their order."""
    found = subprocess.run(
        ["pgrep", "-P", str(parent.pid)], capture_output=True, text=True
    ).stdout.split()
    return sorted(
        int(pid) for pid in found if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    )


@pytest.mark.slow
def test_a_run_of_two_processes_resumes_as_one_with_two_shards(
    command: Command, tmp_path: Path
) -> None:
    two, one = "hardware.devices=2", "hardware.shards=2"
    code, printed = command(
        "gan-train", *RUN, two, "steps=30", "schedule.total=60", "hydra.run.dir=run"
    )
    assert code == 0
    log = (tmp_path / "run" / "train.log").read_text()
    assert log.count("new run in run: 30 steps, on 2 processes of cpu") == 1
    code, printed = command("gan-train", *RUN, one, "hydra.run.dir=run")
    assert code == 0 and "going on at step 30" in printed, printed
    assert command("gan-train", *RUN, one, "hydra.run.dir=whole")[0] == 0
    assert_same_state(final_state(tmp_path / "whole"), final_state(tmp_path / "run"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "run")
    code, printed = command("gan-train", *RUN, "steps=70", "hydra.run.dir=run")
    assert code == 2 and "hardware.shards: 2 -> 1" in printed


ENDLESS = (*RUN, "steps=1000000", "schedule=constant", "hardware.devices=2", "hydra.run.dir=run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), mostly_slow([(signal.SIGINT, 130), (signal.SIGTERM, 143)], signal.SIGTERM)
)
def test_a_signal_reaches_all_and_they_save_once(number: int, code: int, tmp_path: Path) -> None:
    process = start([*ENDLESS, "checkpoint_every=0"], tmp_path, start_new_session=True)
    until(lambda: (tmp_path / "run" / "metrics.jsonl").exists() and bool(rows(tmp_path / "run")))
    running = workers(process)
    # a terminal tells the whole group, and the launcher tells the workers again
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == code, printed
    assert "Traceback" not in printed and printed.count("stopped by a signal") == 1
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("step_*")] == [
        f"step_{checkpoint.load(tmp_path / 'run' / 'checkpoints' / 'last.pt')['step']:08d}.pt"
    ]
    assert len(running) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in running)


def die_or_wait(folder: Path) -> None:
    """In each of two processes: the first one dies while the other waits for it."""
    world = processes.join()
    if world.rank == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    world.sum(torch.ones(1))


@pytest.mark.slow
def test_the_death_of_a_process_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="process 0 of this machine was killed by SIGKILL"):
        launch.run(die_or_wait, (tmp_path,), "deaths", TWO, {"version": 1})


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_dead_process_ends_the_others_with_one_sentence(rank: int, tmp_path: Path) -> None:
    process = start([*ENDLESS], tmp_path)
    until(lambda: rundir.read_card(tmp_path / "run").get("step", 0) >= 5)
    os.kill(workers(process)[rank], signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in printed
    said = [line for line in printed.splitlines() if line.startswith("gan-train: ")]
    assert len(said) == 1 and f"process {rank} of this machine was killed by SIGKILL" in said[0]
    again = start([*ENDLESS, "minutes=0.02"], tmp_path)
    printed, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and "going on at step" in printed


def test_a_users_mistake_in_a_process_is_one_sentence(command: Command, tmp_path: Path) -> None:
    with rundir.hold(tmp_path / "run"):
        code, printed = command("gan-train", *ENDLESS)
    assert code == 2 and printed.splitlines()[-1].startswith(
        "gan-train: run: another process is training"
    )
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["hardware.devices=many"],
            "hardware.devices=many: expected a number of processes, or all",
        ),
        (["hardware.devices=0"], "hardware.devices=0: must be at least 1"),
        (["hardware.devices=3"], "batch_size=8: cannot be cut into 3 equal shards"),
        (
            ["hardware.devices=2", "hardware.shards=3"],
            "hardware.shards=3: cannot be shared by 2 processes",
        ),
        (["hardware.nodes=2"], "name it as HOST:PORT"),
        (
            ["hardware.nodes=2", "hardware.rendezvous=localhost:29500"],
            "need hydra.run.dir=FOLDER on a disk",
        ),
    ],
)
def test_a_mistake_about_processes_is_one_sentence(
    command: Command, arguments: list[str], said: str
) -> None:
    code, printed = command("gan-train", *RUN, *arguments)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1


def test_all_devices_of_a_machine_without_a_gpu_are_one_process(command: Command) -> None:
    code, printed = command("gan-train", *RUN, "hardware=cpu", "hardware.devices=all", "steps=2")
    assert code == 0 and "on cpu in fp32" in printed


@pytest.mark.slow  # of what joins processes that others have started, torchrun is tried each time
def test_two_nodes_meet(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    typed = (
        *RUN,
        "steps=10",
        "hardware.nodes=2",
        f"hardware.rendezvous=localhost:{port}",
        "hydra.run.dir=run",
    )
    nodes = [start([*typed], tmp_path) for _ in range(2)]
    printed = "".join(node.communicate(timeout=120)[0] for node in nodes)
    assert [node.returncode for node in nodes] == [0, 0], printed
    assert printed.count("new run in run: 10 steps, on 2 processes of cpu") == 1
    assert rows(tmp_path / "run")[-1]["step"] == 10


@pytest.mark.slow
def test_a_sweep_of_runs_of_two_processes(command: Command, tmp_path: Path) -> None:
    code, printed = command("gan-train", "-m", *RUN, "steps=5", "hardware.devices=2", "seed=1,2")
    assert code == 0, printed
    assert [path.parent.name for path in sorted(tmp_path.glob("outputs/sweeps/*/*/run.json"))] == [
        "seed=1",
        "seed=2",
    ]


@pytest.mark.slow
def test_torchrun_is_joined(tmp_path: Path) -> None:
    code = "from gan_cli.main import train; train()"
    typed = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "--no-python",
        sys.executable,
        "-c",
        code,
        *RUN,
        "steps=10",
    ]
    done = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("new run in outputs/wgan_gp/points/") == 1
    assert len(list(tmp_path.glob("outputs/*/*/*/run.json"))) == 1


@pytest.mark.slow
def test_a_process_that_still_saves_is_waited_for(tmp_path: Path) -> None:
    """SIGTERM while process 0 is busy for longer than torch's launcher waits (made 2 s here): the
    run is saved."""
    code = (
        "import os; os.environ['TORCH_ELASTIC_SHUTDOWN_TIMEOUT'] = '2'; from gan_cli.main "
        "import train; train()"
    )
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "from gan_cli.games.two_player import TwoPlayer\n"
        "from gan_cli.registry import games\n\n\n"
        "@games.register('slow')\n"
        "class Slow(TwoPlayer):\n"
        "    def diagnostics(self, seen, unseen):\n"
        "        time.sleep(6)\n"
        "        return super().diagnostics(seen, unseen)\n"
    )
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "slow.yaml").write_text(
        "defaults:\n  - two_player\n  - _self_\nname: slow\n"
    )
    typed = [
        "plugins=[slow.py]",
        "--config-dir",
        ".",
        "model=slow",
        "data=points",
        "network.width=8",
        "batch_size=8",
        "steps=100000",
        "log_every=3",
        "evaluate_every=0",
        "sample_every=0",
        "checkpoint_every=1",
        "hardware.devices=2",
        "hydra.run.dir=run",
    ]
    process = subprocess.Popen([sys.executable, "-c", code, *typed], cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    until(lambda: rundir.read_card(tmp_path / "run").get("step", 0) >= 2)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=90)
    assert process.returncode == 143 and "stopped by a signal at step" in printed, printed


@pytest.mark.slow
def test_ctrl_c_while_the_processes_start_prints_no_traceback(tmp_path: Path) -> None:
    process = start([*ENDLESS], tmp_path, start_new_session=True)
    until(lambda: len(workers(process)) == 2)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=90)
    assert (
        process.returncode == 130
        and "Traceback" not in printed
        and "KeyboardInterrupt" not in printed
    ), printed


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_mistake_that_one_process_meets_is_one_sentence(tmp_path: Path, rank: int) -> None:
    """Whether it comes before the others have been heard of, or while they wait."""
    (tmp_path / "picky.py").write_text(
        "import os\n"
        "from gan_cli.data.points import Points\n"
        "from gan_cli.errors import UserError\n"
        "from gan_cli.registry import datasets\n\n\n"
        "@datasets.register('picky')\n"
        "class Picky(Points):\n"
        "    def __init__(self):\n"
        f"        if os.environ.get('RANK') == '{rank}':\n"
        "            raise UserError('data=picky: not on this machine.')\n"
        "        super().__init__(size=1000)\n"
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "picky.yaml").write_text("name: picky\n")
    process = start(
        ["plugins=[picky.py]", "--config-dir", ".", "data=picky", "hardware.devices=2"], tmp_path
    )
    printed, _ = process.communicate(timeout=90)
    assert process.returncode == 2 and "Traceback" not in printed, printed
    assert printed.splitlines()[-1] == "gan-train: data=picky: not on this machine."


def test_a_sweep_under_torchrun_is_refused(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setenv("RANK", "0")
    code, printed = command("gan-train", "-m", "seed=1,2")
    assert code == 2 and printed.startswith("gan-train: --multirun: torchrun starts one run")


def test_half_a_launcher_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="not LOCAL_RANK, LOCAL_WORLD_SIZE"):
        processes.World.from_environment()
