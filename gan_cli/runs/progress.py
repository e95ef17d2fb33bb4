"""Progress of a run: a live line on a terminal, otherwise plain lines."""

import logging
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from threading import RLock
from typing import Any

from tqdm import tqdm

from gan_cli.runs.hooks import Logs
from gan_cli.training.trainer import Hook, Trainer

log = logging.getLogger(__name__)


def until(seconds: float) -> str:
    """Remaining time and time of the end, limited to a year."""
    left = timedelta(seconds=min(max(0, round(seconds)), 365 * 24 * 3600))
    end = datetime.now() + left
    return (
        f"{left} left, until {end:%H:%M}"
        if left < timedelta(hours=20)
        else (f"{left} left, until {end:%Y-%m-%d}")
    )


def bar(**options: Any) -> tqdm:
    """Bar of tqdm with its own lock.

    The default lock of all bars is a semaphore shared between processes, which is leaked when this
    process is killed.
    """

    class Bar(tqdm):
        """Subclass with its own lock, so that other bars are not affected."""

    Bar.set_lock(RLock())
    return Bar(**options)


class Progress(Hook):
    """Progress line with step, rate, remaining time and the estimate of the critic.

    Args:
        logs: hook with the latest scalars.
        introduction: description of the run, logged once its duration can be estimated.
        notes: further messages after the introduction.
    """

    PLAIN_EVERY = 15.0  # seconds between plain lines

    def __init__(self, logs: Logs, introduction: str, notes: Sequence[str]) -> None:
        self.logs, self.introduction, self.notes = logs, introduction, notes
        self.bar: tqdm | None = None

    def start(self, trainer: Trainer) -> None:
        self.first, self.began, self.turns = trainer.step, time.monotonic(), 0
        self.shown_at, self.announced = self.began, False
        if sys.stderr.isatty():
            self.bar = bar(
                total=1.0,
                initial=self._share(trainer),
                bar_format="{percentage:3.0f}%|{bar:20}| {desc}",
            )

    def after_round(self, trainer: Trainer) -> None:
        now = time.monotonic()
        self.turns += len(trainer.game.turns(trainer.step - 1))

        settled = now - self.began > 1 or trainer.step - self.first == 50
        if not self.announced and (settled or trainer.ending):  # the duration can be estimated
            self.announced = True
            log.info("%s; %s", self.introduction, self._left(trainer, now))
            for note in self.notes:
                log.info(note)

        if self.bar is not None and (now - self.shown_at > 0.5 or trainer.ending):
            self.shown_at = now
            self.bar.set_description_str(self._line(trainer, now), refresh=False)
            self.bar.update(self._share(trainer) - self.bar.n)
        elif self.bar is None and now - self.shown_at > self.PLAIN_EVERY:
            self.shown_at = now
            log.info(self._line(trainer, now))

    def _line(self, trainer: Trainer, now: float) -> str:
        """Progress line; the total number of steps is included if it ends the run."""
        rate = (trainer.step - self.first) / (now - self.began)
        ends = trainer.minutes is None or trainer.step / trainer.steps >= self._share(trainer)
        of = f"/{trainer.steps}" if ends else f" ({self._share(trainer):.0%} of the time)"
        return (
            f"step {trainer.step}{of}, {rate:.3g} steps/s, "
            f"{self._left(trainer, now)}{self._estimate()}"
        )

    def _share(self, trainer: Trainer) -> float:
        """Completed fraction of the run by rounds or by time, whichever is larger."""
        by_time = trainer.seconds / (60 * trainer.minutes) if trainer.minutes else 0.0
        return min(1.0, max(trainer.step / trainer.steps, by_time))

    def _left(self, trainer: Trainer, now: float) -> str:
        """Remaining time, estimated from the mean duration of a turn."""
        ahead = trainer.game.order_of_play.total(trainer.step, trainer.steps)
        seconds = ahead * (now - self.began) / self.turns
        if trainer.minutes is not None:
            seconds = min(seconds, 60 * trainer.minutes - trainer.seconds)
        return until(seconds)

    def _estimate(self) -> str:
        """Latest estimates of the critic, as the end of the progress line."""
        shown = ("wasserstein/train", "wasserstein/heldout", "discriminator/score_gap")
        return "".join(
            f", {tag} {self.logs.latest[tag]:.4g}" for tag in shown if tag in self.logs.latest
        )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
