"""Keys that all commands which read a checkpoint have in common."""

from dataclasses import field
from typing import Any

from gan_cli.sampling.generator import Statistics, Weights


def checkpoint_key(default: Any = "???") -> Any:
    """`checkpoint`: which one to read. `???` makes the key mandatory."""
    return field(
        default=default,
        metadata={"help": "FILE that gan-train wrote, a run's folder (its last), or latest"},
    )


def weights_key() -> Any:
    """`weights`: the trained ones or their average."""
    return field(
        default=Weights.auto, metadata={"help": "ema, raw, or auto: the average if there is one"}
    )


def statistics_key() -> Any:
    """`statistics`: those that batch norm uses."""
    return field(
        default=Statistics.saved,
        metadata={"help": "of batch norm: saved, or estimated over fresh batches (batch)"},
    )


def plugins_key() -> Any:
    """`plugins`: code that may be run."""
    return field(
        default_factory=list, metadata={"help": "plug-ins of the checkpoint that you trust"}
    )
