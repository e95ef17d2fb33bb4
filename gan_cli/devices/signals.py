"""Signals that stop a run, and how their handlers are replaced. Nothing here imports torch."""

import signal
import threading
from collections.abc import Iterable, Mapping
from typing import Any

HANGUP = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
"""The signal of a closed terminal, unless `nohup` has it ignored."""
STOPPING = (signal.SIGINT, signal.SIGTERM, *HANGUP)
"""Signals after which a run is saved and ends."""
NOTICES = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals that Slurm's --signal and submitit send some time before they take a machine away."""


def handle(numbers: Iterable[int], handler: Any) -> dict[int, Any]:
    """Install a handler of signals.

    Returns:
        The handlers that were installed before; none outside of the main thread, which alone may
        install any.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {int(number): signal.signal(number, handler) for number in numbers}


def pass_on(handlers: Mapping[int, Any], number: int | None) -> None:
    """Call the earlier handler of a notice, if it was a notice that stopped the run."""
    handler = handlers.get(number or 0)
    if number in NOTICES and callable(handler):
        handler(number, None)
