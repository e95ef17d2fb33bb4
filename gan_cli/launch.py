"""Start the processes of a run on this machine, wait for them, and bring back what they say: the objective, a user's
mistake in one sentence, or that a signal stopped them.
"""

import json
import logging
import logging.config
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.multiprocessing as multiprocessing
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from gan_cli import processes
from gan_cli.errors import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
ENDINGS = {128 + number for number in SIGNALS}  # exit codes of a run that a signal stopped after it was saved
GRACE = 1.0  # seconds for the launcher to see that another process is gone, before this one says that it lost it


def run(
    worker: Callable[..., Any],
    arguments: tuple[Any, ...],
    name: str,
    hardware: Mapping[str, Any],
    logs: Mapping[str, Any],
) -> Any:
    """Call `worker(*arguments)` in `hardware.devices` processes of this machine, which meet those of the other nodes.

    Args:
        worker: a function that a new interpreter can import.
        name: of the run, the same on all nodes.
        logs: how process 0 logs, as `logging.config.dictConfig` reads it; the others are silent.

    Returns:
        What process 0 returned.

    Raises:
        UserError: a process told of a user's mistake, or died.
        SystemExit: a signal stopped the run after it was saved.
        RuntimeError: a process failed otherwise; its traceback.
    """
    with tempfile.TemporaryDirectory(prefix="gan-cli-") as folder, _quiet(), _signals_restored():
        config = LaunchConfig(
            min_nodes=hardware["nodes"],
            max_nodes=hardware["nodes"],
            nproc_per_node=hardware["devices"],
            run_id=name,
            rdzv_backend="c10d",
            rdzv_endpoint=hardware["rendezvous"] or "localhost:0",
            local_addr=None if hardware["rendezvous"] else "localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            return elastic_launch(config, _call)(worker, arguments, logs).get(0)
        except SignalException as stop:
            raise SystemExit(128 + stop.sigval) from None
        except ChildFailedError as error:
            raise _cause(list(error.failures.values()), Path(folder)) from None
        finally:
            for child in multiprocessing.active_children():  # a second Ctrl-C ends the wait for them
                child.kill()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the launcher's own lines, 35 for a failed process: the cause is told in one."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _signals_restored() -> Iterator[None]:
    """The launcher leaves its own handlers behind; a multirun plays its next cell in this process."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _call(worker: Callable[..., Any], arguments: tuple[Any, ...], logs: Mapping[str, Any]) -> Any:
    """In a new process: call the worker, and write down what the launcher must tell."""
    if processes.World.from_environment().rank == 0:
        logging.config.dictConfig(dict(logs))
    else:
        logging.disable(logging.CRITICAL)
    try:
        return worker(*arguments)
    except processes.PeerLostError:
        time.sleep(GRACE)
        sys.exit(1)
    except Exception as error:
        mistake = isinstance(error, UserError | OSError)
        told = str(error) if mistake else traceback.format_exc()
        content = {"message": told, "timestamp": "0", "mistake": mistake}
        Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(content), encoding="utf-8")
        sys.exit(2)


def _cause(failures: list[ProcessFailure], folder: Path) -> BaseException:
    """The cause of a failed run: what a process wrote down, else how the first one ended."""
    for path in sorted(folder.rglob("error.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        return UserError(told["message"]) if told["mistake"] else RuntimeError(told["message"])
    first = failures[0]
    if first.exitcode in ENDINGS:
        return SystemExit(first.exitcode)
    how = f"was killed by {signal.Signals(-first.exitcode).name}" if first.exitcode < 0 else f"exited {first.exitcode}"
    how += " (out of memory?)" if first.exitcode == -signal.SIGKILL else ""
    return UserError(
        f"process {first.local_rank} of this machine {how}, so the others were ended; the same command goes on from "
        "the last checkpoint."
    )
