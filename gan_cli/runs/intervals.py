"""Intervals between the actions of a run, in rounds."""

from gan_cli.training.trainer import Trainer


def due(every: int, trainer: Trainer) -> bool:
    """Whether an action is due after the current round.

    Args:
        every: interval in rounds; 0 switches the action off. Any other action is also due at the
            end of the run.
    """
    return every > 0 and (trainer.step % every == 0 or trainer.finished)
