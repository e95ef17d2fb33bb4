"""Everything that decides whether two scores are comparable."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """How the scores of a metric were computed; scores are comparable only if all of it is equal.

    Args:
        n: number of samples scored.
        split: the reference set, and the real samples that the floor is computed from.
        resizing: how images were resized between their files and the score.
        backbone: the network whose features are compared; `none` if samples are compared directly.
        weights: weights of the backbone.
        method: constants of the estimate.
        n_reference: number of real samples in the reference set.
        n_floor: number of held-out samples behind the scores of real data, `_floor` and `_real`.
        note: a reason why the scores mean less than it seems.
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
