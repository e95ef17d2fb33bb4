"""Ctrl-C during a sweep in several processes: each saves its cell, then the sweep ends.

A terminal sends the signal to all processes. By default the first one that has saved would exit,
which breaks the pool, and the others would be killed while they are saving; an idle one would exit
at once.
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
    """A cell was saved and stopped by a signal; the argument is the exit code."""


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """In the command: wait until the cells are saved, then exit; a second Ctrl-C acts at once.

    The signal is blocked in this thread, and so in the processes that it starts, until they run a
    cell. An idle thread receives it, and Python calls the handler in this one.
    """
    if threading.current_thread() is not threading.main_thread():  # signals do not reach others
        yield
        return

    # these helper processes unblock the signal when they start, so they start before
    for helper in ("multiprocessing", "joblib.externals.loky.backend"):
        with contextlib.suppress(ImportError, AttributeError):
            import_module(f"{helper}.resource_tracker").ensure_running()
    handler = signal.getsignal(signal.SIGINT)
    interrupted, done = threading.Event(), threading.Event()

    def wait(number: int, _frame: Any) -> None:
        print("stopping: the cells that are being played are saved first")
        interrupted.set()
        signal.signal(number, handler)

    threading.Thread(target=done.wait, daemon=True).start()
    signal.signal(signal.SIGINT, wait)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, CTRL_C)
    try:
        yield
    except StoppedError as error:
        sys.exit(*error.args)
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        done.set()
    if interrupted.is_set():
        sys.exit(STOPPED)


_stopped: list[int] = []  # exit codes of the cells that were stopped in this process


@contextlib.contextmanager
def surviving() -> Iterator[None]:
    """In a process of the pool: a stopped cell does not end the process, and no other cell starts.

    Raises:
        StoppedError: instead of the exit.
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
        signal.pthread_sigmask(signal.SIG_BLOCK, CTRL_C)  # as before the cell
