"""Ctrl-C while other processes play the cells of a sweep: each saves what it plays, then the sweep
ends.

A terminal sends it to all of them. Left alone, the first process that has saved would exit, the
pool would be broken, and the others would be killed while they still save; and so would one that
has nothing to do yet.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Any

CTRL_C = {signal.SIGINT}
STOPPED = 128 + signal.SIGINT


class StoppedError(Exception):
    """A cell was stopped after it was saved; the argument is the exit code that says by which
    signal."""


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """For the command: wait until the cells are saved, then exit; a second Ctrl-C acts at once.

    The signal is blocked in this thread, and so in the processes that it starts, until they play. A
    thread that does nothing else takes it; Python calls the handler in this one.
    """
    if threading.current_thread() is not threading.main_thread():  # which no signal reaches
        yield
        return
    # to start them later would unblock it
    for helper in ("multiprocessing", "joblib.externals.loky.backend"):
        with contextlib.suppress(ImportError, AttributeError):
            import_module(f"{helper}.resource_tracker").ensure_running()
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


_stopped: list[int] = []  # the exit codes of what this process was stopped in


@contextlib.contextmanager
def surviving() -> Iterator[None]:
    """For a process that plays cells: what stops a cell does not end the process, and keeps it from
    playing another.

    Raises:
        StoppedError: in place of the exit.
    """
    if signal.SIGINT in signal.sigpending():
        _stopped.append(STOPPED)
    if _stopped:
        raise StoppedError(_stopped[0])
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as error:
        _stopped.append(
            error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else STOPPED
        )
        raise StoppedError(_stopped[0]) from None
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, CTRL_C)  # as it was before the cell was played
