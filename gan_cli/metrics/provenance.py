"""What must be known of a figure before it is compared with another."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """How the figures of a metric came about. Two figures that differ in any of this are not
    comparable.

    Args:
        n: samples scored.
        split: what the samples are compared with, and where the real ones of the floor come from.
        resizing: between the files of the data and what is scored.
        backbone: the network whose features are compared; `none` where samples are compared as they
            are.
        weights: of the backbone.
        method: constants of the estimate.
        n_reference: real samples that they are compared with.
        n_floor: held-out samples that the figures of real ones, `_floor` and `_real`, are made of.
        note: what makes a figure mean less than it seems to.
    """

    n: int
    split: str
    resizing: str = "none"
    backbone: str = "none"
    weights: str = "none"
    method: str = ""
    n_reference: int | None = None
    n_floor: int | None = None
    note: str = ""
