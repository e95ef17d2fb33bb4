"""Hooks of a run, each a small class in one of the modules below.

`standard_hooks` sets their order. Checkpoints come last, so that all records of a round are written
before its checkpoint.
"""

from gan_cli.runs.health_hook import Health
from gan_cli.runs.intervals import due
from gan_cli.runs.log_hook import Logs
from gan_cli.runs.picture_hooks import Figures, Pictures
from gan_cli.runs.recorder import Recorder
from gan_cli.runs.saving_hooks import Checkpoints, Rows, delete_old_checkpoints, write_card
from gan_cli.runs.singular_values_hook import WeightSpectra

__all__ = [
    "Checkpoints",
    "Figures",
    "Health",
    "Logs",
    "Pictures",
    "Recorder",
    "Rows",
    "WeightSpectra",
    "delete_old_checkpoints",
    "due",
    "write_card",
]
