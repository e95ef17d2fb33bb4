"""Nothing is lost: kills, signals, damaged and hostile files, locks."""

import json
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Command, compose, mostly_slow, start
from test_zoo import assert_same_state

from gan_cli.commands.train import composed
from gan_cli.config import check
from gan_cli.config.identity import fingerprint
from gan_cli.errors import UserError
from gan_cli.registry import Registry
from gan_cli.runs import checkpoint, rundir, saving_hooks
from gan_cli.training.trainer import Trainer

RUN = (
    "data=points",
    "model=wgan_gp",
    "batch_size=8",
    "network.width=8",
    "log_every=5",
    "evaluate_every=0",
    "sample_every=0",
    "++model.ema=0.9",
    "schedule=linear",
    "steps=60",
    "checkpoint_every=5",
)

# with pools of samples, which a checkpoint keeps
POOLED = ("model=cyclegan", "data=unpaired", "data.of=digits", "model.pool=5", *RUN[2:])


def final_state(folder: Path) -> dict[str, Any]:
    state = checkpoint.load(folder / "checkpoints" / "last.pt")
    return {key: state[key] for key in ("step", "position", "game", "ema", "optimizers")}


def rows(folder: Path) -> list[dict[str, float]]:
    timing = ("seconds", "performance/steps_per_second", "performance/images_per_second")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("run", [RUN, POOLED], ids=["points", "pools"])
def test_killed_at_three_moments_the_same_command_ends_bit_for_bit_the_same(
    command: Command, tmp_path: Path, run: tuple[str, ...]
) -> None:
    moments = random.Random(0)
    assert command("gan-train", *run, "hydra.run.dir=whole")[0] == 0
    for _ in range(3):
        process = start([*run, "hydra.run.dir=killed"], tmp_path)
        reached = rundir.read_card(tmp_path / "killed").get("step", 0)
        until(lambda at=reached: rundir.read_card(tmp_path / "killed").get("step", 0) > at)  # type: ignore[misc]
        time.sleep(moments.random() * 0.1)
        process.kill()
        process.wait()
    assert rundir.read_card(tmp_path / "killed")["step"] < 60
    code, printed = command("gan-train", *run, "hydra.run.dir=killed")
    assert code == 0 and "going on at step" in printed
    assert_same_state(final_state(tmp_path / "whole"), final_state(tmp_path / "killed"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "killed")


@pytest.mark.slow
def test_a_killed_run_is_found_by_the_same_command(tmp_path: Path, command: Command) -> None:
    process = start([*RUN, "steps=1000000", "schedule.total=100000"], tmp_path)
    until(
        lambda: any(rundir.read_card(path).get("step") for path in tmp_path.glob("outputs/*/*/*"))
    )
    process.kill()
    process.wait()
    (folder,) = tmp_path.glob("outputs/*/*/*")
    reached = checkpoint.load(folder / "checkpoints" / "last.pt")["step"]
    code, printed = command("gan-train", *RUN, f"steps={reached + 5}", "schedule.total=100000")
    assert code == 0 and f"going on at step {reached}" in printed
    code, printed = command(
        "gan-train", *RUN, f"steps={reached + 5}", "schedule.total=100000", "resume=never"
    )
    assert code == 0 and "new run" in printed
    assert len(list(tmp_path.glob("outputs/*/*/*"))) == 2


@pytest.mark.parametrize(
    ("number", "code"),
    mostly_slow(
        [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGUSR2, 140)],
        signal.SIGINT,
    ),
)
def test_a_signal_saves_and_exits(number: int, code: int, tmp_path: Path) -> None:
    process = start([*RUN, "steps=1000000", "hydra.run.dir=run", "checkpoint_every=0"], tmp_path)
    until(lambda: (tmp_path / "run" / "metrics.jsonl").exists() and bool(rows(tmp_path / "run")))
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == code, printed
    assert "Traceback" not in printed and "stopped by a signal" in printed
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")["step"] >= 5


def test_whoever_listened_for_a_notice_hears_of_it_when_the_run_is_saved(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As submitit does, which puts the job into the queue again."""
    heard: list[tuple[int, int]] = []

    def listener(number: int, _frame: Any) -> None:
        heard.append((number, rundir.read_card(tmp_path / "run")["step"]))

    play = Trainer.play_round

    def noticed(self: Trainer) -> None:
        play(self)
        if self.step == 7:
            os.kill(os.getpid(), signal.SIGUSR2)

    monkeypatch.setattr(Trainer, "play_round", noticed)
    before = signal.signal(signal.SIGUSR2, listener)
    try:
        code, printed = command("gan-train", *RUN, "hydra.run.dir=run")
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert code == 140 and heard == [(signal.SIGUSR2, 7)], printed
    monkeypatch.setattr(Trainer, "play_round", play)
    code, printed = command("gan-train", *RUN, "hydra.run.dir=run")
    assert code == 0 and "going on at step 7" in printed


SUBMITTED = """
import json, subprocess, sys, time
from pathlib import Path
import submitit

class Run:
    def __call__(self):
        sys.argv = ["gan-train", *json.loads(Path("typed.json").read_text())]
        from gan_cli.main import train
        train()
        return "done"

    def checkpoint(self):
        Path("asked").write_text(str(json.loads(Path("run/run.json").read_text())["step"]))
        return submitit.helpers.DelayedSubmission(Run())

if __name__ == "__main__":
    job = submitit.LocalExecutor(folder="log").submit(Run())
    rows = Path("run/metrics.jsonl")
    while not (rows.exists() and rows.stat().st_size > 500):
        time.sleep(0.1)
    job_command = f"submitit.core._submit {Path('log').resolve()}"
    subprocess.run(["pkill", "-USR2", "-f", job_command], check=True)
    print(job.result())
"""


@pytest.mark.slow
def test_submitit_puts_a_noticed_run_into_the_queue_again(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    (tmp_path / "go.py").write_text(SUBMITTED)
    typed = [
        *RUN,
        "steps=3000",
        "schedule=constant",
        "checkpoint_every=1000",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    (tmp_path / "typed.json").write_text(json.dumps(typed))
    done = subprocess.run(
        [sys.executable, "go.py"], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.stdout.splitlines()[-1] == "done", done.stderr
    assert 0 < int((tmp_path / "asked").read_text()) < 3000
    assert rundir.read_card(tmp_path / "run")["finished"]


@pytest.mark.slow
def test_a_second_ctrl_c_quits_at_once_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    code = (
        "import time\nfrom gan_cli.training.ema import EMA\nfrom gan_cli.main import train\n"
        "EMA.after_round = lambda self, trainer: time.sleep(0 if trainer.step < 3 else "
        "60)\ntrain()"
    )
    typed = [*RUN, "steps=1000", "checkpoint_every=1", "hydra.run.dir=run"]
    process = subprocess.Popen([sys.executable, "-c", code, *typed], cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    until(lambda: rundir.read_card(tmp_path / "run").get("step") == 2)
    time.sleep(1)
    for _ in range(5):  # two at once may be heard as one
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=3)
    printed, _ = process.communicate(timeout=60)
    assert (
        process.returncode == 130
        and "stopped by a signal" not in printed
        and "Traceback" not in printed
    ), printed
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == 2
    assert rundir.read_card(tmp_path / "run")["step"] == 2


def limited(size: int) -> Callable[[], None]:
    """What no file of a process may grow beyond: a disk that is full, for those who are not
    root."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="only Linux can give the space back from outside"
)
def test_a_disk_that_is_really_full_and_then_is_not(tmp_path: Path) -> None:
    code = "from gan_cli.main import train; train()"
    typed = [
        *RUN,
        "network.width=128",
        "steps=1000000",
        "schedule=constant",
        "checkpoint_every=20",
        "sample_every=20",
        "log_every=1",
        "hydra.run.dir=run",
    ]
    process = subprocess.Popen([sys.executable, "-c", code, *typed], cwd=tmp_path, text=True,
                               preexec_fn=limited(20_000), stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)  # fmt: skip
    path = tmp_path / "run" / "metrics.jsonl"
    until(lambda: path.exists() and path.stat().st_size > 18_000, 120)
    time.sleep(2)
    assert process.poll() is None and not list((tmp_path / "run" / "checkpoints").glob("*.pt"))
    full = len(rows(tmp_path / "run")) if path.read_bytes().endswith(b"\n") else 0
    resource.prlimit(
        process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    until(lambda: bool(rundir.read_card(tmp_path / "run").get("step")), 120)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in printed, printed
    assert (
        "could not be saved" in printed
        and ("metrics.jsonl could not be written (File too large)") in printed
    )
    steps = [row["step"] for row in rows(tmp_path / "run")]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > full
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == steps[-1]


@pytest.mark.parametrize(
    "part",
    mostly_slow(
        [
            {"config": "- a\n"},
            {"config": "5"},
            {"config": "hardware: 3\n"},
            {"config": "{a: ["},
            {"terms": [1]},
        ],
        {"config": "- a\n"},
        {"terms": [1]},
    ),
)
def test_an_odd_checkpoint_in_a_run_folder_is_one_sentence(
    command: Command, tmp_path: Path, good: Path, part: dict[str, Any]
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    torch.save(
        {**torch.load(good, weights_only=True), **part},
        tmp_path / "run" / "checkpoints" / "last.pt",
    )
    code, printed = command("gan-train", *RUN, "hydra.run.dir=run")
    assert (
        code == 2
        and "Traceback" not in printed
        and "none of its checkpoints can be read" in printed
    )


def test_a_run_in_use_is_locked(command: Command, tmp_path: Path) -> None:
    with rundir.hold(tmp_path / "run"):
        code, printed = command("gan-train", *RUN, "hydra.run.dir=run")
    assert code == 2 and "another process is training in this folder" in printed
    assert rundir.read_card(tmp_path / "run") == {}


def test_another_configuration_is_refused_with_the_difference(
    command: Command, tmp_path: Path
) -> None:
    assert command("gan-train", *RUN, "steps=5", "schedule=constant", "hydra.run.dir=run")[0] == 0
    changed = (*RUN, "steps=9", "schedule=constant", "hydra.run.dir=run", "optimizer.lr=1e-3")
    code, printed = command("gan-train", *changed)
    assert code == 2 and "optimizer.lr: 0.002 -> 0.001" in printed
    code, printed = command("gan-train", *changed, "resume=force")
    assert code == 0 and "going on at step 5" in printed
    code, printed = command("gan-train", *changed, "resume=never")
    assert code == 2 and "already holds a run" in printed


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(
    command: Command, tmp_path: Path
) -> None:
    command("gan-train", *RUN, "hydra.run.dir=whole")
    command("gan-train", *RUN, "hydra.run.dir=run")
    files = tmp_path / "run" / "checkpoints"
    for name in ("last.pt", "step_00000060.pt"):
        (files / name).unlink()
        (files / name).write_bytes(b"torn")
    code, printed = command("gan-train", *RUN, "hydra.run.dir=run")
    assert code == 0 and "going on at step 55" in printed and "damaged" in printed
    assert_same_state(final_state(tmp_path / "whole"), final_state(tmp_path / "run"))


def test_no_good_checkpoint_is_not_a_new_start(command: Command, tmp_path: Path) -> None:
    files = tmp_path / "run" / "checkpoints"
    files.mkdir(parents=True)
    (files / "last.pt").write_bytes(b"torn")
    code, printed = command("gan-train", *RUN, "hydra.run.dir=run")
    assert code == 2 and "none of its checkpoints can be read" in printed
    assert (files / "last.pt").read_bytes() == b"torn"


def test_weights_of_another_run_with_fresh_optimizers(command: Command, tmp_path: Path) -> None:
    command("gan-train", *RUN, "hydra.run.dir=first")
    source = "first/checkpoints/last.pt"
    code, printed = command(
        "gan-train", *RUN, "steps=1", f"init_from={source}", "hydra.run.dir=second"
    )
    assert code == 0 and "new run" in printed
    typed = ("gan-train", *RUN, "schedule=constant", f"init_from={source}")
    assert command(*typed, "steps=1")[0] == 0
    (tmp_path / source).rename(tmp_path / "moved.pt")
    code, printed = command(*typed, "steps=2")
    assert code == 0 and "going on at step 1" in printed  # the source is no longer needed
    (tmp_path / "moved.pt").rename(tmp_path / source)
    code, printed = command("gan-train", *RUN, "steps=1", f"init_from={source}", "network.width=4")
    assert code == 2 and "networks differ" in printed


def test_a_run_that_diverges_says_so_and_keeps_its_checkpoint(
    command: Command, tmp_path: Path
) -> None:
    wild = (
        "model=lsgan",
        "data=points",
        "optimizer=sgd",
        "optimizer.lr=1e6",
        "steps=50",
        "log_every=1",
        "evaluate_every=0",
        "sample_every=0",
        "checkpoint_every=1",
        "hydra.run.dir=run",
    )
    code, printed = command("gan-train", *wild)
    assert code == 2 and "the run diverged" in printed and "lower optimizer.lr" in printed


@pytest.mark.parametrize(
    "change",
    [
        "network.width=4",
        "model.ema=null",
        "optimizer=sgd",
        "optimizer.betas=[0.1,0.2]",
        "model.ema=0.5",
    ],
)
def test_a_forced_resume_goes_on_or_says_why_not(
    command: Command, tmp_path: Path, change: str
) -> None:
    plain = (*RUN, "schedule=constant")
    first = ("model.ema=null",) if change == "model.ema=0.5" else ()
    assert command("gan-train", *plain, *first, "steps=5")[0] == 0
    code, printed = command("gan-train", *plain, "steps=10", "resume=force", change)
    if change in ("network.width=4", "optimizer=sgd"):
        assert (
            code == 2
            and "does not fit this configuration" in printed
            and "Traceback" not in printed
        )
        return
    assert code == 0 and "going on at step 5" in printed, printed
    (folder,) = tmp_path.glob("outputs/*/*/*")
    if "betas" in change:
        groups = final_state(folder)["optimizers"]["generator"]["param_groups"]
        assert list(groups[0]["betas"]) == [0.1, 0.2]


def test_keys_that_a_later_version_adds_do_not_part_a_run_from_its_configuration(
    command: Command, tmp_path: Path
) -> None:
    plain = (*RUN, "schedule=constant", "hydra.run.dir=run")
    assert command("gan-train", *plain, "steps=5")[0] == 0
    for path in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        state = torch.load(path, weights_only=True)
        old = yaml.safe_load(state["config"])
        del old["plugins"], old["hardware"]["shards"], old["regularizer"]["target"]
        checkpoint.save({**state, "config": yaml.safe_dump(old)}, path)
    code, printed = command("gan-train", *plain, "steps=10")
    assert code == 0 and "going on at step 5" in printed


def test_an_option_that_a_later_version_adds_does_not_change_the_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a component's, nor a network's, as long as its default is taken."""
    new = compose("data=points", "model=wgan_gp")
    before, other = fingerprint(new), fingerprint({**new, "loss": {**new["loss"], "later": 1}})
    arguments = Registry.options

    def with_later(registry: Registry, name: str, path: str) -> dict[str, Any]:
        return {**arguments(registry, name, path), "later": (int, 0)}

    monkeypatch.setattr(Registry, "options", with_later)
    monkeypatch.setattr(check, "_remembered", check._remembered.__wrapped__)
    later = composed(["data=points", "model=wgan_gp"])
    assert later["loss"]["later"] == 0 and later["network"]["generator"]["later"] == 0
    assert fingerprint(later) == before != other


def test_a_last_checkpoint_that_cannot_be_written_is_an_error(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(content: Any, file: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    code, printed = command("gan-train", *RUN, "steps=3", "hydra.run.dir=run")
    assert code == 2 and "step 3 could not be saved" in printed and "saved;" not in printed


@pytest.mark.slow
def test_the_best_is_kept_when_the_process_dies_between_the_two_links(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([3.0, 2.0, 2.0, 4.0])
    monkeypatch.setattr(
        "gan_cli.metrics.points.PointScores.__call__",
        lambda self, samples, y=None: {"w1": next(values), "w1_floor": 0.0},
    )
    honest, calls = saving_hooks.link, []

    def dying(source: Path, target: Path) -> None:
        calls.append(target.name)
        if len(calls) == 4:  # best, last; best, and here
            raise KeyboardInterrupt
        honest(source, target)

    monkeypatch.setattr(saving_hooks, "link", dying)
    typed = (*RUN, "steps=6", "evaluate_every=2", "checkpoint_every=2", "hydra.run.dir=run")
    assert command("gan-train", *typed)[0] == 130
    assert calls == ["best.pt", "last.pt", "best.pt", "last.pt"]
    assert command("gan-train", *typed)[0] == 0
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "best.pt")["step"] == 4


def test_what_a_killed_write_left_is_removed(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / ".step_00000005.pt.123.part").write_bytes(b"half")
    assert command("gan-train", *RUN, "steps=3", "hydra.run.dir=run")[0] == 0
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def test_a_full_disk_keeps_the_old_checkpoint_and_trains_on(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = torch.save, []

    def full(content: Any, file: Path) -> None:
        calls.append(content["step"])
        if len(calls) == 2:
            file.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        honest(content, file)

    monkeypatch.setattr(torch, "save", full)
    code, printed = command("gan-train", *RUN, "steps=20", "hydra.run.dir=run")
    assert code == 0 and "step 10 could not be saved" in printed and "No space left" in printed
    assert calls == [5, 10, 15, 20]
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "last.pt", "step_00000005.pt", "step_00000015.pt", "step_00000020.pt",
    ]  # fmt: skip


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint of a real run."""
    folder = tmp_path_factory.mktemp("good")
    process = start(
        [
            "data=points",
            "model=gan",
            "network.width=4",
            "steps=1",
            "evaluate_every=0",
            "sample_every=0",
            f"hydra.run.dir={folder / 'run'}",
        ],
        folder,
    )
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    return folder / "run" / "checkpoints" / "last.pt"


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def spoil_truncate(path: Path, good: bytes, tmp_path: Path) -> None:
    path.write_bytes(good[: len(good) // 2])


def spoil_flip(path: Path, good: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    at = largest.header_offset + 200
    path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])


def spoil_empty(path: Path, good: bytes, tmp_path: Path) -> None:
    path.write_bytes(b"")


def spoil_picture(path: Path, good: bytes, tmp_path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))


def spoil_hostile(path: Path, good: bytes, tmp_path: Path) -> None:
    torch.save({"step": 1, "game": Hostile(tmp_path / "ran")}, path)


def spoil_hostile_pickle(path: Path, good: bytes, tmp_path: Path) -> None:
    path.write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))


def spoil_newer(path: Path, good: bytes, tmp_path: Path) -> None:
    torch.save({**torch.load(path, weights_only=True), "format": 999}, path)


def spoil_other(path: Path, good: bytes, tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


def spoil_configuration(path: Path, good: bytes, tmp_path: Path) -> None:
    state = torch.load(path, weights_only=True)
    hostile = f"!!python/object/apply:os.system ['touch {tmp_path / 'ran'}']"
    torch.save({**state, "config": state["config"] + f"\nextra: {hostile}\n"}, path)


def spoil_component(path: Path, good: bytes, tmp_path: Path) -> None:
    state = torch.load(path, weights_only=True)
    torch.save(
        {**state, "config": state["config"].replace("name: non_saturating", "name: os.system")},
        path,
    )


def spoil_weights(path: Path, good: bytes, tmp_path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["game"].popitem()
    torch.save(state, path)


SPOILED = [
    spoil_truncate,
    spoil_flip,
    spoil_empty,
    spoil_picture,
    spoil_hostile,
    spoil_hostile_pickle,
    spoil_newer,
    spoil_other,
    spoil_configuration,
    spoil_component,
    spoil_weights,
]


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__[6:])
def test_a_bad_file_is_one_sentence_and_runs_nothing(
    command: Command, good: Path, tmp_path: Path, spoil: Callable[[Path, bytes, Path], None]
) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(good.read_bytes())
    spoil(path, good.read_bytes(), tmp_path)
    code, printed = command("gan-sample", "checkpoint=bad.pt")
    assert code == 2 and "Traceback" not in printed
    assert len(printed.splitlines()) == 1 and printed.startswith("gan-sample: checkpoint=bad.pt: ")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "samples.png").exists()


def test_a_missing_file_is_one_sentence(command: Command) -> None:
    code, printed = command("gan-sample", "checkpoint=missing.pt")
    assert code == 2 and printed == "gan-sample: checkpoint=missing.pt: no such file.\n"


def test_a_failing_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save({"step": 1}, tmp_path / "a.pt")

    def fail(content: Any, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save({"step": 2}, tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_the_checkpoint_holds_plain_types_and_the_step(good: Path) -> None:
    state = torch.load(good, weights_only=True)
    assert state["step"] == 1
    assert isinstance(state["config"], str)
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(Path(__file__))
