"""Hooks of a run, each a small class in one of the modules below.

They run in a fixed order, see `standard_hooks`. Checkpoints come last: everything that a checkpoint
states has been written before it.
"""

from gan_cli.runs.health_hook import Health
from gan_cli.runs.intervals import due
from gan_cli.runs.log_hook import Logs
from gan_cli.runs.picture_hooks import Figures, Pictures
from gan_cli.runs.recorder import Recorder
from gan_cli.runs.saving_hooks import Checkpoints, Rows, delete_old_checkpoints, write_card

__all__ = [
    "Checkpoints",
    "Figures",
    "Health",
    "Logs",
    "Pictures",
    "Recorder",
    "Rows",
    "delete_old_checkpoints",
    "due",
    "write_card",
]
