"""Signals to a run: the round ends, the run is saved, the process exits."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gan_cli.devices import signals
from gan_cli.devices.processes import World
from gan_cli.training.trainer import Trainer

log = logging.getLogger(__name__)


class Stage:
    """The current trainer, and the signal that has asked the run to stop.

    The signal outlives the trainer: after a rollback, the next trainer stops too.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer: Trainer | None = trainer
        self.asked: int | None = None
        self.preparing = True  # no round has been played since the last checkpoint

    def ask(self, number: int) -> None:
        """Ask the current trainer to stop, and every later one."""
        self.asked = number
        if self.trainer:
            self.trainer.ask_to_stop(number)

    def enter(self, trainer: Trainer) -> None:
        """Make this trainer the current one."""
        self.trainer = trainer
        trainer.ask_to_stop(self.asked)


@contextmanager
def stopped_by_signals(stage: Stage, world: World) -> Iterator[None]:
    """Let a stop signal or a notice of pre-emption end the round and save the run.

    A second signal acts at once. So does one before the first round, when there is nothing to save.

    Afterwards the earlier handlers are back. Outside the main thread no handler is installed at
    all. A notice is passed on to an earlier handler once the run is saved (submitit's requeues the
    job). One of several processes may receive Ctrl-C twice, from the terminal and from its
    launcher; it therefore always waits for the end of the round, and ignores signals while it
    exits.
    """
    alone = world.size == 1

    def stop(number: int, _frame: Any) -> None:
        if alone and stage.preparing:
            log.info("stopped by a signal before the next round; there is nothing to save")
            raise SystemExit(128 + number)
        stage.ask(number)
        if alone:
            signal.signal(number, before[number])

    before = signals.handle((*signals.STOPPING, *signals.NOTICES), stop)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, before)  # blocked while the process started
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if alone else signal.SIG_IGN)

    if stage.trainer and not stage.trainer.finished:
        signals.pass_on(before, stage.trainer.interrupted)
