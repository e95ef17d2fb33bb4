"""Runs of gan-train that are killed at a chosen instant, many a minute: torch is imported once,
every run is a fork.

`python tests/torture.py` reads a job a line from its input and answers each with a line, both JSON:
{"folder", "arguments", "site", "at"} -> {"code", "counts"}.
"""

import importlib
import io
import json
import os
import pkgutil
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

SITES = (
    "checkpoint.py",
    "saving_hooks.py",
    "picture_hooks.py",
    "rundir.py",
    "trainer.py",
    "job.py",
    "packing.py",
    "classifier.py",
    "points.py",
    "pictures.py",
    "patches.py",
)
"""Files whose every call, of Python or of C, is an instant at which a run may die."""
TORN, TIME = "torn", "time"  # half of a checkpoint is written; some milliseconds have gone by


class Forge:
    """A process that has imported everything and forks a run for every job."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, folder: Path, arguments: list[str], site: str = "", at: int = 0
    ) -> tuple[int, dict[str, int]]:
        """The exit code (-9 for a run that was killed), and how many instants of each site a whole
        run had."""
        assert self.process.stdin is not None and self.process.stdout is not None
        job = {"folder": str(folder), "arguments": arguments, "site": site, "at": at}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["code"], answer["counts"]

    def torment(
        self, folder: Path, arguments: list[str], counts: dict[str, int], seed: int, kills: int
    ) -> int:
        """Kill the run so many times at random instants, unless it ends before, then let it end;
        how often it died."""
        dice, died = random.Random(seed), 0
        for _ in range(kills):
            site = dice.choice([*counts, TORN, TIME])
            instants = {TORN: 3, TIME: 1200}.get(site) or counts[site]
            code, _ = self.run(folder, arguments, site, dice.randint(1, max(1, instants // 2)))
            assert code in (0, -signal.SIGKILL), (folder / "printed.txt").read_text()
            died += code != 0
        code, _ = self.run(folder, arguments)
        assert code == 0, (folder / "printed.txt").read_text()
        return died

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def main() -> None:
    """Answer jobs until there are no more."""
    import torch

    import gan_cli

    torch.set_num_threads(1)
    for name in (
        "torch._dynamo",
        "matplotlib.pyplot",
        "torch.utils.tensorboard.summary",
        "sklearn.datasets",
        "sklearn.linear_model",
        "sklearn.pipeline",
        "scipy.optimize",
        "PIL.Image",
    ):
        importlib.import_module(name)
    for module in pkgutil.walk_packages(gan_cli.__path__, "gan_cli."):
        if module.name != "gan_cli.configs":
            importlib.import_module(module.name)
    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line))), flush=True)


def _forked(job: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _play(job, writing)
    os.close(writing)
    if job["site"] == TIME:
        time.sleep(job["at"] / 1000)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    return {"code": os.waitstatus_to_exitcode(status), "counts": json.loads(told or "{}")}


def _play(job: dict[str, Any], writing: int) -> None:
    """In the child: the command, with a bomb in it."""
    from gan_cli import main as commands

    os.chdir(job["folder"])
    printed = os.open("printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.stdout = sys.stderr = open(printed, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["gan-train", *job["arguments"]]
    counts: Counter[str] = Counter()
    code = 0
    try:
        if job["site"] == TORN:
            _tear(job["at"])
        sys.setprofile(_bomb(job, counts))
        commands.train()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException as error:
        print(f"Traceback: {error!r}")
        code = 70
    sys.setprofile(None)
    sys.stdout.flush()
    os.write(writing, json.dumps(counts).encode())
    os._exit(code)


def _bomb(job: dict[str, Any], counts: "Counter[str]") -> Any:
    import gan_cli

    files = {
        str(path): path.name
        for path in Path(gan_cli.__file__).parent.rglob("*.py")
        if path.name in SITES
    }

    def profile(frame: FrameType, event: str, _: Any) -> None:
        site = files.get(frame.f_code.co_filename)
        if site is not None and event in ("call", "c_call"):
            counts[site] += 1
            if site == job["site"] and counts[site] == job["at"]:
                os.kill(os.getpid(), signal.SIGKILL)

    return profile


def _tear(at: int) -> None:
    """Die in the middle of writing a checkpoint, the `at`-th one."""
    import torch

    honest, calls = torch.save, Counter[str]()

    def torn(content: Any, path: Path) -> None:
        calls["saves"] += 1
        if calls["saves"] < at:
            honest(content, path)
            return
        whole = io.BytesIO()
        honest(content, whole)
        path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = torn


if __name__ == "__main__":
    main()
