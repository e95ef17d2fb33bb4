"""Hooks that save a run: rows of `metrics.jsonl`, checkpoints and the run's card."""

import logging
from pathlib import Path
from typing import Any

from gan_cli.config.objectives import lower_is_better
from gan_cli.errors import UserError
from gan_cli.files import link, write_json
from gan_cli.runs import checkpoint, rundir
from gan_cli.runs.intervals import due
from gan_cli.runs.recorder import Recorder
from gan_cli.training.size_check import parameter_counts
from gan_cli.training.trainer import Hook, Trainer

log = logging.getLogger(__name__)

MIN_SECONDS = 1e-9  # between two rows, so that the speed is finite


class Rows(Hook):
    """Adds the speed since the last row to the row of a logged round, and writes the row."""

    def __init__(self, recorder: Recorder, batch_size: int) -> None:
        self.recorder = recorder
        self.batch_size = batch_size
        self.last_step = 0
        self.last_seconds = 0.0

    def start(self, trainer: Trainer) -> None:
        self._start_interval(trainer)

    def after_round(self, trainer: Trainer) -> None:
        if not self.recorder.row:
            return

        steps = trainer.step - self.last_step
        seconds = max(trainer.seconds - self.last_seconds, MIN_SECONDS)
        turns = sum(len(trainer.game.turns(i)) for i in range(self.last_step, trainer.step))
        images = self.batch_size * turns

        self.recorder.scalars(
            {
                "performance/steps_per_second": steps / seconds,
                "performance/images_per_second": images / seconds,
            }
        )
        self.recorder.flush(trainer.step, trainer.seconds)
        self._start_interval(trainer)

    def _start_interval(self, trainer: Trainer) -> None:
        """Start the interval over which the next speed is measured."""
        self.last_step = trainer.step
        self.last_seconds = trainer.seconds

    def close(self) -> None:
        self.recorder.close()


class Checkpoints(Hook):
    """Saves the run at intervals, at a new best score, at the end, and after a signal.

    Only the last few checkpoints and the best one stay on the disk.

    Args:
        every: interval in rounds.
        keep: number of checkpoints that stay, the last ones.
        header: fields of a checkpoint besides the trainer's state: format, configuration, data.
    """

    def __init__(self, folder: Path, every: int, keep: int, header: dict[str, Any]) -> None:
        self.folder = folder
        self.every = every
        self.keep = keep
        self.header = header
        self.checkpoints = folder / "checkpoints"

    def after_round(self, trainer: Trainer) -> None:
        improved = trainer.scoreboard.improved_at == trainer.step
        if due(self.every, trainer) or trainer.ending or improved:
            self._save(trainer, improved)

    def _save(self, trainer: Trainer, improved: bool) -> None:
        """Save the run; an error of the disk ends it only in its last round.

        Raises:
            UserError: the last round could not be saved.
        """
        try:
            self._write(trainer, improved)
        except OSError as error:
            if improved:
                trainer.scoreboard.withdraw()
            if trainer.ending:
                raise UserError(
                    f"step {trainer.step} could not be saved ({error}); make room and type the "
                    "same command again, which goes on from the last checkpoint."
                ) from None
            log.error(
                "step %d could not be saved (%s); training goes on and will try again",
                trainer.step,
                error,
            )
            return

        delete_old_checkpoints(self.folder, self.keep)

    def _write(self, trainer: Trainer, improved: bool) -> None:
        """Write the checkpoint, link best.pt and last.pt to it, and update the card."""
        path = self.checkpoints / f"step_{trainer.step:08d}.pt"
        checkpoint.save({**self.header, **trainer.state_dict()}, path)

        # best.pt first: last.pt contains the best score, whose checkpoint must exist by then
        if improved:
            link(path, self.checkpoints / "best.pt")
        link(path, self.checkpoints / "last.pt")

        write_card(self.folder, trainer)


def write_card(folder: Path, trainer: Trainer) -> None:
    """Update the run's card: progress, and the last scores."""
    progress: dict[str, Any] = {
        "step": trainer.step,
        "seconds": round(trainer.seconds, 2),
        "finished": trainer.finished,
        "parameters": parameter_counts(trainer.game),
    }
    if trainer.rollbacks:
        progress["rollbacks"] = trainer.rollbacks

    scoreboard = trainer.scoreboard
    if scoreboard.scores:
        progress |= {
            "objective": scoreboard.objective,
            # for readers of the card that lack the run's plug-ins
            "lower_is_better": lower_is_better().get(scoreboard.objective or ""),
            "scores": scoreboard.scores,
        }

    write_json(folder / rundir.CARD, rundir.read_card(folder) | progress)


def delete_old_checkpoints(folder: Path, keep: int) -> None:
    """Delete all but the last few checkpoints of a run.

    best.pt and last.pt stay, as files of their own.
    """
    for old in sorted((folder / "checkpoints").glob("step_*.pt"))[:-keep]:
        old.unlink()
