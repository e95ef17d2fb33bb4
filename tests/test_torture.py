"""Killed anywhere, and started again: the end is bit for bit that of the run that was never
killed."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MODELS, averages, fitting, of_text, start
from PIL import Image
from test_resume import until
from test_zoo import assert_same_state
from torture import Forge

from gan_cli.runs import checkpoint, rundir

RUN = (
    "batch_size=6",
    "network.width=8",
    "steps=8",
    "log_every=1",
    "evaluate_every=3",
    "evaluate_samples=20",
    "sample_every=4",
    "checkpoint_every=2",
    "++model.ema=0.9",
    "schedule=linear",
    "hardware.shards=2",
    "model.warm_up=null",
    "hydra.run.dir=run",
)
SHORT = ("wgan_gp", "aae")
CLOCKS = ("seconds", "performance/steps_per_second", "performance/images_per_second")


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    made = Forge()
    yield made
    made.close()


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves, but for its clocks."""
    last = checkpoint.load(folder / "run" / "checkpoints" / "last.pt")
    lines = [
        json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    card = rundir.read_card(folder / "run")
    return {
        "state": {key: value for key, value in last.items() if key != "seconds"},
        "rows": [{key: value for key, value in row.items() if key not in CLOCKS} for row in lines],
        "card": {key: value for key, value in card.items() if key != "seconds"},
        "samples": {
            path.name: path.read_bytes() for path in sorted((folder / "run").glob("samples/*"))
        },
        "checkpoints": sorted(path.name for path in (folder / "run" / "checkpoints").iterdir()),
    }


def torture(
    forge: Forge, tmp_path: Path, arguments: tuple[str, ...], kills: int, seed: int = 0
) -> int:
    """Play once in peace and once tormented; both must come to the same. How often the second one
    died."""
    ends = {}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    code, counts = forge.run(tmp_path / "whole", [*arguments])
    assert code == 0, (tmp_path / "whole" / "printed.txt").read_text()
    died = forge.torment(tmp_path / "killed", [*arguments], counts, seed, kills)
    for name in ("whole", "killed"):
        ends[name] = outcome(tmp_path / name)
    whole, killed = ends["whole"], ends["killed"]
    assert [row["step"] for row in killed["rows"]] == list(range(1, 9))
    assert whole["rows"] == killed["rows"]
    assert_same_state(whole["state"], killed["state"])
    for part in ("card", "samples", "checkpoints"):
        assert whole[part] == killed[part]
    return died


def arguments(model: str) -> tuple[str, ...]:
    if not averages(model):
        return (*fitting(model, "data=points"), *(item for item in RUN if "ema" not in item))
    if of_text(model):
        return (*fitting(model), "network.blocks=1", "model.repeat.discriminator=1", *RUN)
    few = ("data.size=1000",) if "data=points" in fitting(model, "data=points") else ()
    return (*fitting(model, "data=points"), *few, *RUN)


@pytest.mark.slow
@pytest.mark.parametrize("model", SHORT)
def test_killed_at_random_instants(forge: Forge, tmp_path: Path, model: str) -> None:
    assert torture(forge, tmp_path, arguments(model), kills=2) >= 1


def pictures(folder: Path) -> str:
    """A folder of images that must be packed before the first round."""
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(
                folder / label / f"{i}.png"
            )
    return str(folder)


@pytest.mark.slow
def test_killed_while_the_data_is_packed(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third instant of the packing; whoever comes next finds a whole packed file or makes
    one."""
    typed = [
        "data=image_folder",
        f"data.folder={pictures(tmp_path / 'pets')}",
        "data.image_size=8",
        "model=gan",
        *RUN,
    ]
    (tmp_path / "whole").mkdir()
    code, counts = forge.run(tmp_path / "whole", typed)
    assert code == 0 and counts["packing.py"] > 100, counts
    for at in range(1, counts["packing.py"], 1 + counts["packing.py"] // 6):
        (tmp_path / "pets" / "a" / f"new{at}.png").write_bytes(
            (tmp_path / "pets" / "a" / "0.png").read_bytes()
        )
        (tmp_path / str(at)).mkdir()
        died, _ = forge.run(tmp_path / str(at), typed, "packing.py", at)
        assert died == -9
        code, _ = forge.run(tmp_path / str(at), typed)
        assert code == 0, (tmp_path / str(at) / "printed.txt").read_text()


@pytest.mark.slow
def test_two_processes_killed_at_random_moments(tmp_path: Path) -> None:
    """Both and what started them at once, as a machine dies; the same command ends where the run in
    peace ended."""
    typed = [
        "model=wgan_gp",
        "data=points",
        "data.size=1000",
        *RUN,
        "hardware.devices=2",
        "steps=2000",
        "checkpoint_every=20",
        "log_every=20",
        "evaluate_every=500",
        "sample_every=1000",
    ]
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    dice, died = random.Random(0), 0
    for _ in range(6):
        process = start(typed, tmp_path / "killed", start_new_session=True)
        reached = rundir.read_card(tmp_path / "killed" / "run").get("step", 0)
        until(lambda at=reached: rundir.read_card(tmp_path / "killed" / "run").get("step", 0) > at)  # type: ignore[misc]
        time.sleep(dice.random())
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            died += 1
        process.communicate()
    for name in ("whole", "killed"):
        process = start(typed, tmp_path / name)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
    whole, killed = (outcome(tmp_path / name) for name in ("whole", "killed"))
    assert whole["rows"] == killed["rows"] and whole["samples"] == killed["samples"]
    assert_same_state(whole["state"], killed["state"])
    print(f"two processes: {died} kills survived")
    assert died >= 3


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_killed_at_many_random_instants(forge: Forge, tmp_path: Path, model: str) -> None:
    died = torture(forge, tmp_path, arguments(model), kills=8, seed=1)
    print(f"{model}: {died} kills survived")
    assert died >= 2
