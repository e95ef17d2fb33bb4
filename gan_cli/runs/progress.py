"""How far a run is: a live line on a terminal, plain lines elsewhere."""

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

# its usual lock, between processes, would leave a semaphore behind when this one is killed
tqdm.set_lock(RLock())


def until(seconds: float) -> str:
    """Time left, and the clock at its end; a year stands for all that is longer."""
    left = timedelta(seconds=min(max(0, round(seconds)), 365 * 24 * 3600))
    end = datetime.now() + left
    return (
        f"{left} left, until {end:%H:%M}"
        if left < timedelta(hours=20)
        else (f"{left} left, until {end:%Y-%m-%d}")
    )


class Progress(Hook):
    """A live line on a terminal, plain lines elsewhere: step, rate, time left, the critic's
    estimate."""

    PLAIN_EVERY = 15.0  # seconds between plain lines

    def __init__(self, logs: Logs, introduction: str, notes: Sequence[str]) -> None:
        self.logs, self.introduction, self.notes = logs, introduction, notes
        self.bar: Any = None

    def start(self, trainer: Trainer) -> None:
        self.first, self.began, self.turns = trainer.step, time.monotonic(), 0
        self.said, self.announced = self.began, False
        if sys.stderr.isatty():
            self.bar = tqdm(
                total=1.0,
                initial=self._share(trainer),
                bar_format="{percentage:3.0f}%|{bar:20}| {desc}",
            )

    def after_round(self, trainer: Trainer) -> None:
        now = time.monotonic()
        self.turns += len(trainer.game.turns(trainer.step - 1))
        if not self.announced and (
            now - self.began > 1 or trainer.step - self.first == 50 or trainer.ending
        ):
            # as soon as a turn's time is known: the run's first line says when it will end
            self.announced = True
            log.info("%s; %s", self.introduction, self._left(trainer, now))
            for note in self.notes:
                log.info(note)
        if self.bar is not None and (now - self.said > 0.5 or trainer.ending):
            self.said = now
            self.bar.set_description_str(self._line(trainer, now), refresh=False)
            self.bar.update(self._share(trainer) - self.bar.n)
        elif self.bar is None and now - self.said > self.PLAIN_EVERY:
            self.said = now
            log.info(self._line(trainer, now))

    def _line(self, trainer: Trainer, now: float) -> str:
        """Where the run is: its step (of how many, where these end it), rate, time left, the
        critic's estimate."""
        rate = (trainer.step - self.first) / (now - self.began)
        ends = trainer.minutes is None or trainer.step / trainer.steps >= self._share(trainer)
        of = f"/{trainer.steps}" if ends else f" ({self._share(trainer):.0%} of the time)"
        return (
            f"step {trainer.step}{of}, {rate:.3g} steps/s, "
            f"{self._left(trainer, now)}{self._estimate()}"
        )

    def _share(self, trainer: Trainer) -> float:
        """How much of the run is over: of its rounds or of its time, whichever is further."""
        by_time = trainer.seconds / (60 * trainer.minutes) if trainer.minutes else 0.0
        return min(1.0, max(trainer.step / trainer.steps, by_time))

    def _left(self, trainer: Trainer, now: float) -> str:
        """Time left, by the turns that are left and the time a turn has taken."""
        ahead = (trainer.steps - trainer.step) * sum(trainer.game.repeat.values())
        seconds = ahead * (now - self.began) / self.turns
        if trainer.minutes is not None:
            seconds = min(seconds, 60 * trainer.minutes - trainer.seconds)
        return until(seconds)

    def _estimate(self) -> str:
        shown = ("wasserstein/train", "wasserstein/heldout", "discriminator/score_gap")
        return "".join(
            f", {tag} {self.logs.latest[tag]:.4g}" for tag in shown if tag in self.logs.latest
        )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
