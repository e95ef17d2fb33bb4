"""Signals to a run: the round ends, the run is saved, and the process exits."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gan_cli.devices import signals
from gan_cli.devices.processes import World
from gan_cli.training.trainer import Trainer

log = logging.getLogger(__name__)


class Stopper:
    """Stops the current trainer at the end of its round.

    A requested stop outlives the trainer: after a rollback, the next trainer stops too.

    Attributes:
        trainer: the current one; None while the next one is built.
        signal: number of the signal that requested the stop; None before.
        preparing: whether no round has been played since the last checkpoint.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer: Trainer | None = trainer
        self.signal: int | None = None
        self.preparing = True

    def stop(self, number: int) -> None:
        """Stop the current trainer, and every later one, because of a signal."""
        self.signal = number
        if self.trainer:
            self.trainer.ask_to_stop(number)

    def detach(self) -> None:
        """Forget the current trainer, until `attach` sets the next one."""
        self.trainer = None
        self.preparing = True

    def attach(self, trainer: Trainer) -> None:
        """Make this trainer the current one."""
        self.trainer = trainer
        trainer.ask_to_stop(self.signal)


@contextmanager
def stopped_by_signals(stopper: Stopper, world: World) -> Iterator[None]:
    """While active, a stop signal or a notice of pre-emption ends the round and saves the run.

    - A second signal acts at once, as does one before the first round, when there is nothing to
      save.
    - One of several processes may receive Ctrl-C twice, from the terminal and from its launcher. It
      therefore always waits for the end of the round, and ignores signals while it exits.
    - Afterwards the earlier handlers are restored. A notice is passed on to its earlier handler
      once the run is saved: submitit's requeues the job.
    - Outside the main thread, no handler is installed.
    """
    is_alone = world.size == 1

    def handle(number: int, _frame: FrameType | None) -> None:
        if is_alone and stopper.preparing:
            log.info("stopped by a signal before the next round; there is nothing to save")
            raise SystemExit(128 + number)
        stopper.stop(number)
        if is_alone:
            signal.signal(number, earlier_handlers[number])

    earlier_handlers = signals.handle((*signals.STOPPING, *signals.NOTICES), handle)
    try:
        # they were blocked while the process started
        signal.pthread_sigmask(signal.SIG_UNBLOCK, earlier_handlers)
        yield
    finally:
        for number, earlier in earlier_handlers.items():
            signal.signal(number, earlier if is_alone else signal.SIG_IGN)

    if stopper.trainer and not stopper.trainer.finished:
        signals.pass_on(earlier_handlers, stopper.trainer.interrupted)
