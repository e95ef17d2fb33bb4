"""Ctrl-C while a pool of processes plays a sweep: each saves its cell, then the sweep ends.

A terminal sends the signal to all of them. Without this module the first process that has saved
would exit, the pool would be broken, and the others would be killed while they still save; so would
an idle process.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

CTRL_C = {signal.SIGINT}
STOPPED = 128 + signal.SIGINT


class StoppedError(Exception):
    """A cell was stopped after it was saved; the argument is the exit code of the signal."""


@contextlib.contextmanager
def patience(trackers: Iterable[str]) -> Iterator[None]:
    """For the command: wait until the cells are saved, then exit; a second Ctrl-C acts at once.

    The signal is blocked in this thread, and so in the processes that it starts, until they play. A
    thread that does nothing else receives it; Python calls the handler in this one.

    Args:
        trackers: modules whose `resource_tracker` the pool will use.
    """
    if threading.current_thread() is not threading.main_thread():  # no signal reaches it
        yield
        return

    _start_trackers(trackers)
    usual, asked, done = signal.getsignal(signal.SIGINT), threading.Event(), threading.Event()

    def wait(number: int, _frame: Any) -> None:
        print("stopping: the cells that are being played are saved first")
        asked.set()
        signal.signal(number, usual)

    threading.Thread(target=done.wait, daemon=True).start()
    signal.signal(signal.SIGINT, wait)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, CTRL_C)
    try:
        yield
    except StoppedError as error:
        sys.exit(*error.args)
    finally:
        signal.signal(signal.SIGINT, usual)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        done.set()

    if asked.is_set():
        sys.exit(STOPPED)


def _start_trackers(modules: Iterable[str]) -> None:
    """Start the processes that track resources, which unblock the signal when they start."""
    for module in modules:
        with contextlib.suppress(ImportError, AttributeError):
            import_module(f"{module}.resource_tracker").ensure_running()


_exit_codes: list[int] = []
"""The exit codes of the cells in which this process was stopped. The pool owns the process and only
calls a function for each cell, so that nothing but a module lasts from one cell to the next."""


@contextlib.contextmanager
def surviving() -> Iterator[None]:
    """For a process of a pool: a signal that stops a cell does not end the process.

    The process plays no other cell.

    Raises:
        StoppedError: in place of the exit.
    """
    if signal.SIGINT in signal.sigpending():
        _exit_codes.append(STOPPED)
    if _exit_codes:
        raise StoppedError(_exit_codes[0])

    try:
        yield
    except (SystemExit, KeyboardInterrupt) as error:
        code = error.code if isinstance(error, SystemExit) else STOPPED
        _exit_codes.append(code if isinstance(code, int) else STOPPED)
        raise StoppedError(_exit_codes[0]) from None
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, CTRL_C)  # as before the cell was played
