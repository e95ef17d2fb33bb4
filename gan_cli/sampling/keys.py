"""Keys shared by all commands that read a checkpoint."""

from dataclasses import field
from typing import Any

from gan_cli.sampling.generator import Statistics, Weights


def checkpoint_key(default: Any = "???") -> Any:
    """Key `checkpoint`: the file or run to read. The default `???` makes it mandatory."""
    return field(
        default=default,
        metadata={"help": "FILE that gan-train wrote, a run's folder (its last), or latest"},
    )


def weights_key() -> Any:
    """Key `weights`: the trained weights or their average."""
    return field(
        default=Weights.auto, metadata={"help": "ema, raw, or auto: the average if there is one"}
    )


def statistics_key() -> Any:
    """Key `statistics`: saved or newly estimated means and variances of batch norm."""
    return field(
        default=Statistics.saved,
        metadata={
            "help": "of batch norm: saved, or estimated over fresh batches of the same "
            "truncation (batch)"
        },
    )


def direction_key() -> Any:
    """The key `direction` of a command."""
    return field(
        default=None,
        metadata={
            "help": "of a model that makes samples in several ways: one by name, such as b of "
            "model=cogan"
        },
    )


def plugins_key() -> Any:
    """Key `plugins`: files of code that the user trusts."""
    return field(
        default_factory=list, metadata={"help": "plug-ins of the checkpoint that you trust"}
    )
