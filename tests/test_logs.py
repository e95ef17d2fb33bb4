"""What a run writes for people to read: honest names, the same figures in TensorBoard and in
metrics.jsonl."""

import fcntl
import io
import json
import os
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, make_trainer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm import tqdm

from gan_cli import pictures
from gan_cli.data.dataset import Spec
from gan_cli.data.kinds import kind_of
from gan_cli.runs import progress
from gan_cli.runs.hooks import Logs
from gan_cli.runs.progress import Progress
from gan_cli.runs.recorder import Recorder, _Board

QUICK = (
    "steps=4",
    "batch_size=8",
    "network.width=8",
    "log_every=2",
    "sample_every=2",
    "evaluate_every=4",
    "hydra.run.dir=run",
    "model.warm_up=null",
)


@pytest.mark.parametrize("data", ["digits", "points"])
def test_tensorboard_and_the_rows_agree(command: Command, tmp_path: Path, data: str) -> None:
    code, printed = command("gan-train", f"data={data}", *QUICK)
    assert code == 0, printed
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in rows] == [2, 4]
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == rows[-1].keys() - {"step", "seconds"}
    for tag in events.Tags()["scalars"]:
        written = {row["step"]: row[tag] for row in rows if tag in row}
        assert {event.step: event.value for event in events.Scalars(tag)} == pytest.approx(
            written, rel=1e-6
        )
    assert {"scores/real", "scores/fake"} <= set(
        events.Tags()["distributions"] + events.Tags()["histograms"]
    )
    assert events.Tags()["images"] == ["samples"]
    texts = set(events.Tags()["tensors"])
    assert {"configuration/text_summary", "reading/text_summary"} <= texts
    for tag in (
        "discriminator/adversarial",
        "discriminator/penalty",
        "generator/adversarial",
        "wasserstein/train",
        "wasserstein/heldout",
        "critic/gradient_norm_mean",
        "critic/gradient_norm_std",
        "critic/gradient_norm_max",
        "performance/steps_per_second",
        "performance/images_per_second",
    ):
        assert tag in rows[-1]
    assert len(list((tmp_path / "run" / "samples").glob("*.png"))) == 2
    (first,) = [line for line in printed.splitlines() if line.startswith("new run in run: 4 steps")]
    assert "left, until" in first


@pytest.mark.parametrize(
    ("arguments", "estimates", "said"),
    [
        (["model=wgan_gp"], True, "proportional to 1/weight"),
        (["model=wgan", "model.critic_norm=none"], True, "up to an unknown factor"),
        (["model=dcgan"], False, "discriminator/score_gap"),
        (["model=wgan_gp", "loss=hinge"], False, "discriminator/score_gap"),
    ],
)
def test_only_a_constrained_wasserstein_loss_estimates_a_distance(
    command: Command, tmp_path: Path, arguments: list[str], estimates: bool, said: str
) -> None:
    code, printed = command("gan-train", *arguments, *QUICK[:-2], "evaluate_every=0", *QUICK[-2:])
    assert code == 0, printed
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert ("wasserstein/train" in row) is ("wasserstein/heldout" in row) is estimates
    assert ("discriminator/score_gap" in row) is not estimates
    assert said in printed


def test_rows_after_the_step_and_torn_rows_are_cut(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 5}\n{"step": 10}\n{"step": 15}\n{"step": 2')
    recorder = Recorder(tmp_path, 10)
    recorder.scalars({"a": 1.0})
    recorder.flush(15, 0.0)
    recorder.close()
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [5, 10, 15]


def test_rows_that_cannot_be_written_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full for a while: half of a row is written, then nothing, then all of them,
    each once."""
    recorder = Recorder(tmp_path, 0)
    honest, plain, failing = io.FileIO.write, Path.open, [True]

    class Full(io.FileIO):
        def write(self, content: Any) -> int:
            if not failing[0]:
                return honest(self, content)
            honest(self, bytes(content)[: len(content) // 2])
            raise OSError(28, "No space left on device")

    def opened(self: Path, mode: str = "r", **options: Any) -> Any:
        return Full(str(self), "ab") if mode == "ab" else plain(self, mode, **options)

    monkeypatch.setattr(Path, "open", opened)
    for step in range(1, 6):
        failing[0] = step in (2, 3)
        recorder.scalars({"a": step / 4})
        recorder.flush(step, 0.0)
    recorder.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["a"]) for row in lines] == [(step, step / 4) for step in range(1, 6)]


@pytest.mark.parametrize("torn", ['{"step": 7, "a"', "\x00\x00\x00"])
def test_a_torn_row_is_nobodys_business(tmp_path: Path, torn: str) -> None:
    recorder = Recorder(tmp_path, 0)
    recorder.scalars({"a": 1.0})
    recorder.flush(1, 0.0)
    with recorder.path.open("a") as file:
        file.write(torn)
    recorder.scalars({"a": 2.0})
    assert [row["a"] for row in recorder.rows(2)] == [1.0, 2.0]
    recorder.path.unlink()
    assert recorder.rows(2) == [{"step": 2, "a": 2.0}]
    recorder.flush(2, 0.0)
    recorder.close()
    assert [json.loads(line)["step"] for line in recorder.path.read_text().splitlines()] == [2]


def test_a_tensorboard_that_fails_is_opened_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event of step 3 can be written, nor can the head of another file."""
    recorder, honest, failing = Recorder(tmp_path, 0), io.FileIO.write, [False]

    class Full(io.FileIO):
        def write(self, content: Any) -> int:
            if failing[0]:
                raise OSError(28, "No space")
            return honest(self, content)

    monkeypatch.setattr("gan_cli.files.FileIO", Full)
    recorder._board = _Board(tmp_path / "tensorboard", 0)
    for step in range(1, 6):
        failing[0] = step == 3
        recorder.board("add_scalar", "a", step / 4, step)
        recorder.board("flush")
        recorder.board("add_scalar", "b", 0.0, step)
    recorder.close()
    assert (
        caplog.text.count("TensorBoard's file could not be written (No space); training goes on")
        == 1
    )
    seen = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("a")
    assert [event.step for event in seen] == [1, 2, 4, 5]
    assert all(path.stat().st_size for path in (tmp_path / "tensorboard").iterdir())


def test_a_resumed_run_hides_the_later_steps_of_the_run_before(tmp_path: Path) -> None:
    for first, value in ((1, 0.0), (3, 1.0)):
        recorder = Recorder(tmp_path, first - 1)
        for step in range(first, 5):
            recorder.scalars({"a": value})
            recorder.flush(step, 0.0)
        recorder.close()
        time.sleep(1.1)  # event files are read in the order of their seconds
    seen = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("a")
    assert [(event.step, event.value) for event in seen] == [(1, 0), (2, 0), (3, 1), (4, 1)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_every_image_in_its_place(channels: int) -> None:
    images = torch.linspace(-1, 1, 4)[:, None, None, None].expand(4, channels, 8, 8)
    spec = Spec("image", (channels, 8, 8))
    pixels = kind_of(spec).picture(images, spec)
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
    half = pixels.shape[0] // 2
    corners = [
        pixels[10, 10],
        pixels[10, half + 10],
        pixels[half + 10, 10],
        pixels[half + 10, half + 10],
    ]
    assert [int(corner[0]) for corner in corners] == [0, 85, 170, 255]


def test_a_picture_is_written_whole(tmp_path: Path) -> None:
    pictures.write(tmp_path / "new" / "a.png", np.zeros((3, 4, 3), np.uint8))
    assert Image.open(tmp_path / "new" / "a.png").size == (4, 3)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_plain_lines_where_there_is_no_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Progress, "PLAIN_EVERY", 0.0)
    code, printed = command("gan-train", "data=points", *QUICK)
    assert code == 0
    lines = [line for line in printed.splitlines() if line.startswith("step 2/4, ")]
    assert (
        len(lines) == 1
        and "steps/s" in lines[0]
        and "left, until" in lines[0]
        and "wasserstein/train" in lines[0]
    )


def test_where_the_time_ends_a_run_it_is_what_progress_counts() -> None:
    trainer = make_trainer("data=points", "network.width=4", "steps=100", "minutes=1")
    progress = Progress(Logs.__new__(Logs), "", [])
    progress.logs.latest, progress.first, progress.began, progress.turns = {}, 0, 0.0, 10
    trainer.step, trainer.seconds = 10, 30.0
    assert progress._share(trainer) == 0.5 and "step 10 (50% of the time)" in progress._line(
        trainer, 30.0
    )
    trainer.step = 80
    assert progress._share(trainer) == 0.8 and "step 80/100" in progress._line(trainer, 30.0)


@pytest.mark.slow
def test_a_live_line_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
    code = "from gan_cli.main import train; train()"
    typed = [
        "data=points",
        *QUICK,
        "steps=400",
        "log_every=10",
        "evaluate_every=0",
        "sample_every=0",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *typed], cwd=tmp_path, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = b""
    while True:
        try:
            printed += os.read(ours, 10_000)
        except OSError:  # the other end is closed
            break
    assert process.wait() == 0
    bars = [part for part in printed.decode().split("\r") if "%|" in part]
    assert bars[0].startswith("  0%") and bars[-1].startswith("100%") and "step 400/400" in bars[-1]
    assert any("left, until" in bar and "wasserstein/train" in bar for bar in bars)


def test_the_bar_leaves_the_lock_of_other_bars_alone() -> None:
    before = tqdm.get_lock()
    bar = progress.bar(total=1.0, file=io.StringIO())
    bar.close()
    assert tqdm.get_lock() is before and type(bar).get_lock() is not before
