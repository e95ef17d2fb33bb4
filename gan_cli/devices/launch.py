"""The launcher of a run's processes on this machine, which returns or raises what they do."""

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
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from threading import Thread
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from gan_cli.devices import processes, signals
from gan_cli.errors import UserError, explain_os

STOPPING = (*signals.STOPPING, *signals.NOTICES)
# seconds for the launcher to see that another process is gone, before this one says that it lost it
GRACE = 1.0
POLL = 0.1  # seconds between looks at the signals and the processes


def run(
    worker: Callable[..., Any],
    arguments: tuple[Any, ...],
    name: str,
    hardware: Mapping[str, Any],
    logs: Mapping[str, Any],
) -> Any:
    """Call `worker(*arguments)` in `hardware.devices` processes of this machine, which meet those
    of the other nodes.

    torch's launcher runs in a thread: in the main thread it would take the signals, and kill after
    30 s processes that are still saving. So signals are passed on here, and the processes have the
    time they need.

    Args:
        worker: a function that a new interpreter can import.
        name: of the run, the same on all nodes.
        logs: how process 0 logs, as `logging.config.dictConfig` reads it; the others are silent.

    Returns:
        What process 0 returned.

    Raises:
        UserError: a process told of a user's mistake, or died, or the nodes did not meet.
        SystemExit: a signal stopped the run.
        RuntimeError: a process failed otherwise; its traceback.
    """
    with tempfile.TemporaryDirectory(prefix="gan-cli-") as folder, _quiet(), _Signals() as relay:
        config = LaunchConfig(
            min_nodes=hardware["nodes"],
            max_nodes=hardware["nodes"],
            nproc_per_node=hardware["devices"],
            run_id=name,
            rdzv_backend="c10d",
            rdzv_endpoint=hardware["rendezvous"] or "localhost:0",
            local_addr=None if hardware["rendezvous"] else "localhost",
            max_restarts=0,
            monitor_interval=POLL,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        future: Future[dict[int, Any]] = Future()
        Thread(
            target=_launch, args=(config, (worker, arguments, logs), future), daemon=True
        ).start()
        relay.pass_on_until(future)
        try:
            return future.result().get(0)
        except ChildFailedError as error:
            cause = _cause(list(error.failures.values()), Path(folder), relay.first)
            if isinstance(cause, SystemExit):
                signals.pass_on(relay.before, relay.first)
            raise cause from None
        except (RendezvousError, dist.DistStoreError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"hardware.rendezvous={hardware['rendezvous']}: the {hardware['nodes']} nodes did "
                f"not meet or parted ({reason}); look at what the others say."
            ) from None


def _launch(
    config: LaunchConfig, arguments: tuple[Any, ...], future: "Future[dict[int, Any]]"
) -> None:
    """Run torch's launcher, in a thread; its processes start with Ctrl-C blocked until they handle
    it."""
    resource_tracker.ensure_running()  # which lets signals through again when it starts
    # of this thread, and of what it starts
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        future.set_result(elastic_launch(config, _call)(*arguments))
    except BaseException as error:
        future.set_exception(error)


class _Signals:
    """Passes Ctrl-C and SIGTERM on to every process once; a second signal kills them."""

    def __init__(self) -> None:
        self.first: int | None = None
        self._told: set[int] = set()

    def __enter__(self) -> "_Signals":
        self.before = signals.handle(STOPPING, self._take)
        return self

    def _take(self, number: int, _frame: Any) -> None:
        if self.first is not None:
            _kill_all()
        self.first = self.first or number

    def pass_on_until(self, future: "Future[dict[int, Any]]") -> None:
        """Wait for the launcher; processes that start after a signal receive it too."""
        while not future.done():
            wait([future], timeout=POLL)
            for child in multiprocessing.active_children():
                if self.first and child.pid and child.pid not in self._told:
                    self._told.add(child.pid)
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, self.first)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        _kill_all()


def _kill_all() -> None:
    for child in multiprocessing.active_children():
        child.kill()


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the launcher's own log, 35 lines for a failed process; one sentence has the
    cause."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _call(worker: Callable[..., Any], arguments: tuple[Any, ...], logs: Mapping[str, Any]) -> Any:
    """Call the worker in a new process, and write its error into the file that the launcher
    reads."""
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
        told = (
            explain_os(error)
            if isinstance(error, OSError)
            else str(error)
            if mistake
            else traceback.format_exc()
        )
        content = {"message": told, "timestamp": "0", "mistake": mistake}
        Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(
            json.dumps(content), encoding="utf-8"
        )
        sys.exit(2)


def _cause(failures: list[ProcessFailure], folder: Path, stopped: int | None) -> BaseException:
    """The cause of a failure: a user's mistake that a process recorded, another error, or an exit
    code."""
    told = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("error.json"))
    ]
    for note in sorted(told, key=lambda note: not note.get("mistake")):
        return UserError(note["message"]) if note.get("mistake") else RuntimeError(note["message"])
    first = failures[0]
    if stopped or first.exitcode in {128 + number for number in STOPPING}:
        return SystemExit(128 + stopped if stopped else first.exitcode)
    how = (
        f"was killed by {signal.Signals(-first.exitcode).name}"
        if first.exitcode < 0
        else f"exited {first.exitcode}"
    )
    how += " (out of memory?)" if first.exitcode == -signal.SIGKILL else ""
    return UserError(
        f"process {first.local_rank} of this machine {how}, so the others were ended; the same "
        "command goes on from the last checkpoint."
    )
