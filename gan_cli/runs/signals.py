"""What a run does about a signal: the round ends, the run is saved, the process exits."""

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
    """The trainer that plays, and the signal that has asked it to stop; it stays asked when another
    one takes over."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer: Trainer | None = trainer
        self.asked: int | None = None
        self.preparing = True  # no round has been played since the last checkpoint

    def ask(self, number: int) -> None:
        self.asked = number
        if self.trainer:
            self.trainer.ask_to_stop(number)

    def enter(self, trainer: Trainer) -> None:
        self.trainer = trainer
        trainer.ask_to_stop(self.asked)


@contextmanager
def stopped_by_signals(stage: Stage, world: World) -> Iterator[None]:
    """Ctrl-C, SIGTERM, SIGHUP and a notice of pre-emption let the round end and save; a second one
    acts at once, and so does one before the first round, when there is nothing to save.

    Restored afterwards; in another thread than the main one all of them are left to the program. A
    handler that somebody had put up for a notice (submitit, which asks for another turn of the job)
    is called when the run is saved. One of several processes may get a Ctrl-C twice, from the
    terminal and from its launcher: it waits for the end, and ignores what comes while it exits.
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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, before)  # held back while the process started
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if alone else signal.SIG_IGN)
    if stage.trainer and not stage.trainer.finished:
        signals.pass_on(before, stage.trainer.interrupted)
