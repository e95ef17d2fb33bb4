"""The hook that records the first singular values of the weights."""

from gan_cli.runs.intervals import due
from gan_cli.runs.recorder import Recorder
from gan_cli.training.singular_values import SingularValues
from gan_cli.training.trainer import Hook, Trainer


class WeightSpectra(Hook):
    """First singular values of every weight, as `singular_values/LAYER/1` and so on.

    Args:
        every: interval in rounds; 0 records none.
    """

    def __init__(self, recorder: Recorder, every: int) -> None:
        self.recorder = recorder
        self.every = every
        self.singular_values = SingularValues()

    def after_round(self, trainer: Trainer) -> None:
        if due(self.every, trainer):
            measured = self.singular_values.measure(trainer.game)
            self.recorder.scalars({f"singular_values/{tag}": x for tag, x in measured.items()})
