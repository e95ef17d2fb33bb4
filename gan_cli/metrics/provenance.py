"""What must be known of a figure before it is compared with another."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """How the figures of a metric came about. Two figures that differ in any of this are not comparable.

    Args:
        n: samples scored; the figures of real samples, `_floor` and `_real`, are made of as many.
        split: what the samples are compared with, and where the real ones of the floor come from.
        resizing: between the files of the data and what is scored.
        backbone: the network whose features are compared; `none` where samples are compared as they are.
        weights: of the backbone.
        method: constants of the estimate.
    """

    n: int
    split: str
    resizing: str = "none"
    backbone: str = "none"
    weights: str = "none"
    method: str = ""
