"""Sweeps: no cell is played twice, none is lost, those that fail are told; other launchers;
searches."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import Command, start

from gan_cli import files
from gan_cli.commands import compare, train
from gan_cli.commands.keys import parse
from gan_cli.errors import UserError
from gan_cli.runs import rundir
from gan_cli.sweeps import multirun
from gan_cli.sweeps.__main__ import translate

QUICK = (
    "data=points",
    "network.width=8",
    "batch_size=8",
    "evaluate_samples=50",
    "hardware.threads=1",
)
CELLS = (
    "-m",
    "network.width=8,12",
    "optimizer.lr=1e-3,1e-4",
    "seed=1,2,3",
    "hydra.sweep.dir=sweep",
    "data=points",
    "batch_size=8",
    "evaluate_every=0",
    "sample_every=0",
    "hardware.threads=1",
)


def states(folder: Path) -> dict[str, str]:
    return {cell.name: cell.state for cell in multirun.cells(folder)}


def written(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When the finished cells were last written to, and their weights."""
    done = [folder / name for name, state in states(folder).items() if state == "finished"]
    files = {cell.name: cell / "checkpoints" / "last.pt" for cell in done}
    return {name: (path.stat().st_mtime_ns, path.read_bytes()) for name, path in files.items()}


def test_the_same_line_plays_no_cell_twice(command: Command, tmp_path: Path) -> None:
    line = ("gan-train", "-m", "model=gan,wgan_gp", "seed=1,2", *QUICK, "steps=2")
    code, printed = command(*line)
    assert code == 0 and "4 finished" in printed
    (folder,) = tmp_path.glob("outputs/sweeps/*")
    before = written(folder)
    code, again = command(*line)
    assert code == 0 and again.count("played before") == 4
    assert written(folder) == before and len(before) == 4
    assert printed.splitlines()[-6:] == again.splitlines()[-6:]  # the table
    assert list(tmp_path.glob("outputs/sweeps/*")) == [folder]
    assert command(*line, "resume=never")[0] == 0
    assert len(list(tmp_path.glob("outputs/sweeps/*"))) == 2


@pytest.mark.slow
def test_a_line_that_asks_for_more_goes_on_with_its_cells(command: Command, tmp_path: Path) -> None:
    line = ("gan-train", "-m", "hydra.sweep.dir=sweep", *QUICK)
    assert command(*line, "seed=1,2", "steps=2")[0] == 0
    code, printed = command(*line, "seed=1,2,3", "steps=2")
    assert code == 0 and printed.count("played before") == 2 and printed.count("new run") == 1
    code, printed = command(*line, "seed=1,2,3", "steps=4")
    assert code == 0 and printed.count("going on at step 2") == 3
    _, shown = command("gan-compare", "sweep")
    assert "3" in shown


@pytest.mark.slow
def test_the_table_has_the_best_first_and_why_cells_failed(
    command: Command, tmp_path: Path
) -> None:
    line = ("gan-train", "-m", "regularizer=none,gradient_penalty", "seed=1,2,3", *QUICK, "steps=2")
    code, printed = command(*line)
    (folder,) = tmp_path.glob("outputs/sweeps/*")
    *_, said = printed.splitlines()
    assert code == 2 and said.startswith(
        "gan-train: 3 of 6 cells failed: regularizer=none+seed=1, regularizer=none+s"
    )
    rows = [line.split() for line in multirun.summary(folder).splitlines()]
    assert rows[0] == ["cell", "state", "rounds", "seconds", "w1"]
    assert [row[1] for row in rows[1:7]] == ["finished"] * 3 + ["failed"] * 3
    values = [float(row[4]) for row in rows[1:4]]
    assert values == sorted(values)
    assert printed.count("loss=wasserstein has no optimum") == 6  # when it fails, and in the table
    code, printed = command(*line)
    assert code == 2 and printed.count("played before") == 3


def test_failures_of_another_time_hide_nothing(command: Command, tmp_path: Path) -> None:
    line = ("gan-train", "-m", "hydra.sweep.dir=sweep", "seed=1", *QUICK, "steps=2")
    assert command(*line, "regularizer=none,r1")[0] == 2
    code, printed = command(*line, "regularizer=r1,r2")
    assert code == 0 and "2 finished, 1 failed" in printed
    code, printed = command(*line, "regularizer=r1,r2", "stepss=3")
    assert code == 2 and printed.splitlines()[-1].startswith("gan-train: stepss=3: no such key")
    assert (tmp_path / "sweep" / "regularizer=none" / multirun.FAILURE).is_file()


def test_another_line_does_not_spoil_what_was_played(command: Command, tmp_path: Path) -> None:
    line = ("gan-train", "-m", "hydra.sweep.dir=sweep", "seed=1,2", *QUICK, "steps=2")
    assert command(*line)[0] == 0
    code, printed = command(*line, "loss=hinge")
    assert (
        code == 2
        and "holds a run of another configuration (loss.name: wasserstein -> hinge)" in printed
    )
    assert set(states(tmp_path / "sweep").values()) == {"finished"}
    code, printed = command(*line, "resume=never")
    assert code == 2 and "resume=never: sweep already holds a sweep" in printed


def test_a_folder_that_is_typed_with_a_plus_is_the_sweeps(command: Command, tmp_path: Path) -> None:
    assert command("gan-train", "-m", "++hydra.sweep.dir=plus", "seed=1", *QUICK, "steps=2")[0] == 0
    assert (
        states(tmp_path / "plus") == {"run": "finished"}
        and not (tmp_path / "outputs" / "sweeps").exists()
    )


@pytest.mark.slow
def test_two_equal_cells_at_once_are_played_once(tmp_path: Path) -> None:
    """As a search may ask for them: both processes find the cell's folder at the same time."""
    line = ["-m", "seed=1", *QUICK, "steps=300", "log_every=1"]
    one = start([*line, "hydra.sweep.dir=a", "hydra.sweep.subdir=../cell"], tmp_path)
    two = start([*line, "hydra.sweep.dir=b", "hydra.sweep.subdir=../cell"], tmp_path)
    told = [process.communicate(timeout=200)[0] for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), told
    assert sorted("played before" in text for text in told) == [False, True]


def test_a_stop_before_the_first_round_leaves_what_was_handed_out(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    for handed_out in (False, True):
        with (
            pytest.raises(KeyboardInterrupt),
            multirun.sweep(
                ["-m", "seed=1,2", f"hydra.sweep.dir={folder}"], tmp_path, train.hydra_node
            ),
        ):
            if handed_out:
                (folder / ".submitit").mkdir()
            raise KeyboardInterrupt
        assert folder.exists() == handed_out


def test_a_folder_without_a_sweep_is_said(command: Command) -> None:
    code, printed = command("gan-compare", "nowhere", "cells=true")
    assert code == 2 and "nowhere: no sweep lies there; name the folder of a sweep" in printed


def test_a_sweep_whose_cells_all_failed_keeps_why(command: Command, tmp_path: Path) -> None:
    line = ("gan-train", "-m", "regularizer=none", "seed=1,2", *QUICK, "steps=2")
    for _ in range(2):
        code, printed = command(*line)
        assert code == 2 and "2 of 2 cells failed: seed=1, seed=2" in printed
    (folder,) = tmp_path.glob("outputs/sweeps/*")
    assert set(states(folder).values()) == {"failed"}


def test_larger_is_better_for_some_objectives(tmp_path: Path) -> None:
    for name, value in (("a", 3.0), ("b", 5.0), ("c", 4.0)):
        card = {
            "objective": "classifier_score",
            "scores": {"classifier_score": value},
            "finished": True,
        }
        files.write_json(tmp_path / name / rundir.CARD, card)
    files.write_json(tmp_path / "d" / rundir.CARD, {"step": 3})
    multirun.write_failure(tmp_path / "e", "too\nbad")
    lines = multirun.summary(tmp_path).splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["b", "c", "a", "d", "e"]
    assert lines[6:] == [f"{tmp_path}: 3 finished, 1 failed, 1 not finished", "  e: too bad"]


def test_the_table_on_demand(command: Command, tmp_path: Path) -> None:
    command("gan-train", "-m", "hydra.sweep.dir=sweep", "seed=1,2", *QUICK, "steps=2")
    _, printed = command("gan-compare", "sweep", "cells=true")
    assert printed.strip() == multirun.summary(tmp_path / "sweep").replace(f"{tmp_path}/", "")


OLD_CALLS = {
    "": "outputs/sweeps/FOLDER",
    "x --nothing": "outputs/sweeps/FOLDER",
    "x --cells": "x cells=true",
    "x": "x 'scores=[all]' statistic=median best=false format=markdown",
    "x w1 modes": "x 'scores=[w1,modes]' statistic=median best=false format=markdown",
    "x a b --curves k --output f.png": "x over=k 'curves=[a,b]' statistic=median output=f.png",
    "x a --grid k l": "x rows=k columns=l 'scores=[a]' output=sweep.png",
    "x --grid k l --pattern *.png": "x rows=k columns=l 'pictures=*.png' output=sweep.png",
    "x a --success k --at 3 4": "x success=k 'scores=[a]' 'at=[3,4]' format=markdown",
    "x --success k": "x success=k 'scores=[NAME]' format=markdown",
}
"""Arguments of the former command, and the line of gan-compare that does the same."""


def test_the_former_command_names_the_new_one() -> None:
    shown = [sys.executable, "-m", "gan_cli.sweeps", "a b", "w1", "--success", "loss"]
    done = subprocess.run(shown, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == (
        "gan_cli.sweeps: gan-compare reads sweeps; type "
        "gan-compare 'a b' success=loss 'scores=[w1]' format=markdown\n"
    )


@pytest.mark.parametrize(("typed", "line"), OLD_CALLS.items())
def test_every_use_of_the_former_command_is_translated(typed: str, line: str) -> None:
    arguments = translate(typed.split())
    assert shlex.join(arguments) == line
    keys = [item for item in arguments if "=" in item]
    assert isinstance(parse(compare.CompareConfig, keys), compare.CompareConfig)


def test_a_sweep_that_is_being_played_is_not_played_twice(command: Command, tmp_path: Path) -> None:
    multirun.write_failure(tmp_path / "sweep" / "seed=1", "of another time")
    with rundir.hold(tmp_path / "sweep", multirun.LOCK):
        code, printed = command(
            "gan-train", "-m", "hydra.sweep.dir=sweep", "seed=1,2", *QUICK, "steps=2"
        )
    assert code == 2 and "another process is training in this folder" in printed
    assert multirun.cells(tmp_path / "sweep")


def test_a_cell_that_another_process_plays_is_waited_for(command: Command, tmp_path: Path) -> None:
    line = ("gan-train", "-m", "hydra.sweep.dir=sweep", "seed=1,2", *QUICK, "steps=2")
    assert command(*line)[0] == 0
    card = rundir.read_card(tmp_path / "sweep" / "seed=2")
    files.write_json(tmp_path / "sweep" / "seed=2" / rundir.CARD, card | {"step": 1})
    holds = threading.Event()

    def other() -> None:
        with rundir.hold(tmp_path / "sweep" / "seed=2"):
            holds.set()
            time.sleep(1)
            files.write_json(tmp_path / "sweep" / "seed=2" / rundir.CARD, card)

    thread = threading.Thread(target=other)
    thread.start()
    holds.wait()
    code, printed = command(*line)
    thread.join()
    assert code == 0 and printed.count("played before") == 2


def test_cells_with_long_names_are_told_apart() -> None:
    names = [train.cell_folder("a" * 300 + end) for end in ("b", "c")]
    assert len(set(names)) == 2 and all(len(name.encode()) < 255 for name in names)
    assert train.cell_folder("++optimizer.lr=1") == "optimizer.lr=1"


def until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not condition() and process.poll() is None:
        time.sleep(0.02)


@pytest.mark.slow
def test_a_sweep_of_twelve_killed_twice_and_one_cell_that_cannot_be_played(tmp_path: Path) -> None:
    sweep, steps = tmp_path / "sweep", 30
    line = [*CELLS, f"steps={steps}", "checkpoint_every=10", "log_every=1"]
    broken = sweep / "network.width=12+optimizer.lr=0.0001+seed=2"
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "checkpoints" / "last.pt").write_bytes(b"not a checkpoint")
    before: dict[str, tuple[int, bytes]] = {}
    for enough in (3, 7):
        process = start(line, tmp_path, start_new_session=True)
        until(
            lambda enough=enough: list(states(sweep).values()).count("finished") >= enough, process
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert {name: what for name, what in written(sweep).items() if name in before} == before
        before = written(sweep)
        assert enough <= len(before) < 12
    process = start(line, tmp_path)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 2 and printed.count("played before") >= len(before)
    assert "1 of 12 cells failed: network.width=12+optimizer.lr=0.0001+seed=2" in printed
    assert "none of its checkpoints can be read" in (broken / multirun.FAILURE).read_text()
    assert {name: what for name, what in written(sweep).items() if name in before} == before
    before = written(sweep)
    assert len(before) == 11
    (broken / "checkpoints" / "last.pt").unlink()
    printed, _ = start(line, tmp_path).communicate(timeout=200)
    assert "12 finished" in printed and printed.count("played before") == 11
    assert {name: what for name, what in written(sweep).items() if name in before} == before
    for cell in multirun.cells(sweep):
        rows = (sweep / cell.name / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(row)["step"] for row in rows] == list(range(1, steps + 1))


# --- launchers ------------------------------------------------------------------------------------

LAUNCHERS = {
    "joblib": ("hydra.launcher.n_jobs=2",),
    "submitit_local": (),
    "ray": (
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init.include_dashboard=false",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_another_launcher_plays_the_same_cells(launcher: str, tmp_path: Path) -> None:
    """The scores of cells that other processes played are those of cells played here, to the last
    digit."""
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    line = ["-m", "seed=1,2", "regularizer=gradient_penalty,none", *QUICK, "steps=3"]
    other = [f"hydra/launcher={launcher}", *LAUNCHERS[launcher], "hydra.sweep.dir=there"]
    for arguments in ([*line, "hydra.sweep.dir=here"], [*line, *other]):
        process = start(arguments, tmp_path)
        printed, _ = process.communicate(timeout=250)
        assert (
            process.returncode == 2 and "2 of 4 cells failed: regularizer=none+seed=1" in printed
        ), printed
    assert states(tmp_path / "here") == states(tmp_path / "there")
    here, there = (multirun.cells(tmp_path / name) for name in ("here", "there"))
    assert [cell.objective for cell in here] == [cell.objective for cell in there] and here[
        0
    ].objective


SLURM = {
    "sbatch": """#!/bin/bash
cp "${@: -1}" submitted.sh
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' submitted.sh)
for task in $(seq 0 "$last"); do
    (export SLURM_JOB_ID=$((78 + task)) SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=$task
     export SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0
     bash submitted.sh; touch "ended_$task") > "task_$task" 2>&1 &
done
echo "Submitted batch job 77"
""",
    "srun": """#!/bin/bash
while [[ $1 == -* ]]; do [[ $1 == --output || $1 == --error ]] && shift; shift; done
exec "$@"
""",
    "sacct": """#!/bin/bash
echo "JobID|State|NodeList"
for task in 0 1 2 3; do
    [[ -e ended_$task ]] && echo "77_$task|COMPLETED|here" || echo "77_$task|RUNNING|here"
done
""",
    "scontrol": "#!/bin/bash\necho here\n",
}
"""What of Slurm a sweep needs, played on this machine."""


@pytest.mark.slow
def test_slurm_is_asked_for_the_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    for name, program in SLURM.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(program)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    options = [
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.partition=gpu",
        "hydra.launcher.gpus_per_node=1",
    ]
    line = ["-m", *options, "seed=1,2", *QUICK, "steps=3", "hydra.sweep.dir=sweep"]
    printed, _ = start(line, tmp_path).communicate(timeout=250)
    assert "2 finished" in printed, printed
    asked = (tmp_path / "submitted.sh").read_text()
    assert "#SBATCH --partition=gpu" in asked and "#SBATCH --gpus-per-node=1" in asked
    assert "--array=0-1" in asked


def workers(process: "subprocess.Popen[str]") -> list[int]:
    """The processes that joblib plays cells in."""
    listed = subprocess.run(
        ["pgrep", "-g", str(process.pid), "-f", "popen_loky"], capture_output=True, text=True
    )
    return [int(line) for line in listed.stdout.split()]


POOL = """# @package _global_
defaults:
  - override /data: points
  - override /hydra/launcher: joblib
hydra:
  launcher: { n_jobs: 4 }
  sweep: { dir: sweep }
"""


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["typed", "by a file"])
def test_ctrl_c_lets_the_processes_of_joblib_save(chosen: str, tmp_path: Path) -> None:
    """Typed: two processes for three cells. By a file: four processes, of which two have nothing to
    do."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "pool.yaml").write_text(POOL)
    typed = [
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "seed=1,2,3",
        "hydra.sweep.dir=sweep",
    ]
    filed = ["--config-dir", str(tmp_path), "experiment=pool", "seed=1,2"]
    line = ["-m", *QUICK, *(typed if chosen == "typed" else filed)]
    process = start(
        [*line, "steps=100000", "log_every=1", "checkpoint_every=0"],
        tmp_path,
        start_new_session=True,
    )
    until(lambda: len(list(tmp_path.glob("sweep/*/metrics.jsonl"))) == 2, process)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=100)
    assert process.returncode == 130 and "2 not finished" in printed, printed
    reached = [cell.card["step"] for cell in multirun.cells(tmp_path / "sweep")]
    assert len(reached) == 2 and min(reached) > 0
    printed, _ = start([*line, f"steps={max(reached) + 5}"], tmp_path).communicate(timeout=250)
    finished = 3 if chosen == "typed" else 2
    assert printed.count("going on at step") == 2 and f"{finished} finished" in printed, printed


@pytest.mark.slow
def test_a_process_of_joblib_that_is_killed_is_told_of(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    line = [
        "-m",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "seed=1,2",
        *QUICK,
        "hydra.sweep.dir=sweep",
    ]
    process = start(
        [*line, "steps=100000", "checkpoint_every=10"], tmp_path, start_new_session=True
    )
    until(lambda: len(list(tmp_path.glob("sweep/*/checkpoints/last.pt"))) == 2, process)
    os.kill(workers(process)[0], signal.SIGKILL)
    printed, _ = process.communicate(timeout=100)
    assert (
        process.returncode == 2
        and "a process that played a cell was killed (out of memory?" in printed
    ), printed
    assert "Traceback" not in printed


# --- searches -------------------------------------------------------------------------------------

SEARCH = (
    "-m", "hydra/sweeper=optuna", "hydra.sweep.dir=search", *QUICK, "steps=3",
    "optimizer.lr=tag(log,interval(1e-5,1e-1))", "optimizer.betas=[0.0,0.9],[0.5,0.9]",
)  # fmt: skip


def best_of(folder: Path) -> float:
    return yaml.safe_load((folder / "optimization_results.yaml").read_text())["best_value"]


@pytest.mark.slow
def test_a_search_goes_on_where_it_was(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    code, printed = command("gan-train", *SEARCH, "hydra.sweeper.n_trials=3")
    assert code == 0 and "Directions: ['minimize']" in printed and "3 finished" in printed
    first = written(tmp_path / "search")
    code, printed = command("gan-train", *SEARCH, "hydra.sweeper.n_trials=5")
    assert code == 0 and printed.count("played before") == 3 and "5 finished" in printed
    assert {
        name: what for name, what in written(tmp_path / "search").items() if name in first
    } == first
    values = [cell.objective[1] for cell in multirun.cells(tmp_path / "search") if cell.objective]
    assert best_of(tmp_path / "search") == min(values) and len(values) == 5


def test_a_search_that_a_file_chooses_is_seeded_too(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    (tmp_path / "experiment").mkdir()
    own = (
        "# @package _global_\ndefaults: [{override /hydra/sweeper: optuna}]\nhydra: {sweeper: "
        "{max_failure_rate: 0.5}}"
    )
    (tmp_path / "experiment" / "own.yaml").write_text(own)

    def added(*typed: str) -> list[str]:
        return multirun._search(
            list(typed), train.hydra_node([*typed, "-m", "--config-dir", str(tmp_path)])["sweeper"]
        )

    direction, seed = "hydra.sweeper.direction=${gan.direction:}", "hydra.sweeper.sampler.seed=0"
    assert added("experiment=own", "seed=1,2") == [direction, seed]
    assert added("experiment=own", "hydra.sweeper.sampler.seed=7") == [direction]
    assert added("hydra/sweeper=optuna") == [direction, "hydra.sweeper.max_failure_rate=1.0", seed]
    assert added("hydra/sweeper=optuna", "hydra/sweeper/sampler=grid") == [
        direction, "hydra.sweeper.max_failure_rate=1.0"
    ]  # fmt: skip
    assert added("seed=1,2") == []


def test_a_folder_that_a_file_names_is_the_sweeps(command: Command, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "named.yaml").write_text(
        "# @package _global_\nhydra: {sweep: {dir: named}}\n"
    )
    line = ("-m", "--config-dir", str(tmp_path), "experiment=named", "seed=1,2", *QUICK, "steps=2")
    assert command("gan-train", *line)[0] == 0
    code, printed = command("gan-train", *line)
    assert (
        code == 0
        and printed.count("played before") == 2
        and set(states(tmp_path / "named").values()) == {"finished"}
    )


def test_a_search_goes_the_way_that_the_objective_gets_better(
    command: Command, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    code, printed = command("gan-train", *SEARCH, "objective=modes", "hydra.sweeper.n_trials=3")
    assert code == 0 and "Directions: ['maximize']" in printed
    values = [cell.objective[1] for cell in multirun.cells(tmp_path / "search") if cell.objective]
    assert best_of(tmp_path / "search") == max(values)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "hydra.sweeper.direction=maximize",
            "hydra.sweeper.direction=maximize: w1 gets better the other way",
        ),
        ("evaluate_every=0", "evaluate_every=0: a search needs scores"),
    ],
)
def test_a_search_that_cannot_find_anything_is_refused(
    typed: str, said: str, command: Command
) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    code, printed = command("gan-train", *SEARCH, "hydra.sweeper.n_trials=1", typed)
    assert code == 2 and said in printed


def test_data_without_scores_cannot_be_searched() -> None:
    with pytest.raises(UserError, match="gives no score"):
        multirun.direction("")


def test_a_cell_that_fails_does_not_end_a_search(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    code, printed = command(
        "gan-train", *SEARCH, "hydra.sweeper.n_trials=4", "regularizer=none,gradient_penalty"
    )
    found = states(tmp_path / "search")
    assert code == 2 and set(found.values()) == {"finished", "failed"} and len(found) == 4
    assert f"{list(found.values()).count('failed')} of 4 cells failed" in printed
