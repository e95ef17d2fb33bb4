"""A run of a hundred thousand rounds: what it holds and what it writes does not grow."""

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest
from conftest import start

from gan_cli.runs import checkpoint

STEPS = 100_000
SMALLEST = (
    "experiment=dirac",
    f"steps={STEPS}",
    "minutes=null",
    "figures=[]",
    "log_every=1000",
    "sample_every=1000",
    "checkpoint_every=1000",
    "evaluate_every=0",
    "hydra.run.dir=run",
)


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into Linux's /proc")
def test_a_long_run_grows_in_nothing(tmp_path: Path) -> None:
    process = start([*SMALLEST], tmp_path)
    path, seen = tmp_path / "run" / "metrics.jsonl", []
    while process.poll() is None:
        rows = path.read_text().splitlines() if path.exists() else []
        # a row that is being written, a process that is ending
        with suppress(ValueError, OSError, IndexError):
            opened = len([*Path(f"/proc/{process.pid}/fd").iterdir()])
            seen.append((json.loads(rows[-1])["step"], resident(process.pid), opened))
        time.sleep(0.2)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    early = [look for look in seen if 1_000 < look[0] <= 10_000]
    late = [look for look in seen if look[0] > 90_000]
    assert len(early) > 5 and len(late) > 5
    grown = median(look[1] for look in late) / median(look[1] for look in early)
    assert grown < 1.02, grown
    assert max(look[2] for look in late) <= max(look[2] for look in early)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1_000, STEPS + 1, 1_000))
    speed = [line["performance/steps_per_second"] for line in lines]
    first, last = sorted(speed[5:25])[10], sorted(speed[-20:])[10]
    assert last > first / 1.5, (first, last)
    written = path.stat().st_size / len(lines)
    events = sum(
        file.stat().st_size for file in (tmp_path / "run" / "tensorboard").iterdir()
    ) / len(lines)
    kept = sorted(file.name for file in (tmp_path / "run" / "checkpoints").iterdir())
    assert len([name for name in kept if re.match("step_", name)]) == 3
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == STEPS
    print(
        f"{STEPS} rounds: memory x {grown:.4f}, {late[-1][2]} open files, {first:.0f} rounds a "
        f"second in the beginning and {last:.0f} at the end, {written:.0f} bytes of metrics.jsonl "
        f"and {events:.0f} of TensorBoard a row"
    )
    assert written < 2_000 and events < 20_000
