"""Scores of points, against held-out points and mixtures whose modes are known."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.data.points import Points
from gan_cli.metrics.scoring import Scoring
from gan_cli.registry import Count, metrics

MATCHED = 1500  # points on each side of the exact assignment, which takes half a second
COVERED = 0.2  # of its fair share of good samples: from here on a mode counts as covered
NEAR = 0.1  # a sample within this distance of a mode is of high quality
FAR_AWAY = 1e6  # coordinate that replaces NaN and infinity, so that a diverged run scores badly


@metrics.register("points")
class PointScores(Scoring):
    """Exact Wasserstein-1 distance to held-out points; for mixtures, the number of modes covered.

    - w1: exact Wasserstein-1 distance of 1500 samples to 1500 held-out points, or of as many as
      there are, by linear assignment; `w1_floor` is that of as many real training points, which no
      generator can be expected to beat.
    - high_quality: share of samples within 0.1 of a mode; `high_quality_3_std` within three of its
      standard deviations.
    - modes: how many modes get at least a fifth of their fair share of the high-quality samples.

    Args:
        n: samples to score; w1 takes the first 1500 of them.
    """

    scores = ("w1", "w1_floor", "modes", "modes_of", "high_quality", "high_quality_3_std")
    objectives = ("w1", "modes", "high_quality", "high_quality_3_std")
    objective = "w1"
    lower_is_better = ("w1",)
    split = "held-out points; _floor: training ones"

    def __init__(self, dataset: Dataset, n: Count = 10_000) -> None:
        self.dataset, self.samples = dataset, n
        matched = min(n, MATCHED, len(dataset.train["x"]), len(dataset.heldout["x"]))
        self.n_reference = self.n_floor = matched
        self.method = f"w1: of {matched} points, exact"
        self.heldout = dataset.heldout["x"][:matched].cpu()
        self.floor = wasserstein_1(dataset.train["x"][:matched].cpu(), self.heldout)

    def extract(self, samples: Tensor, y: Tensor | None, start: int) -> Tensor:
        return samples

    def compute(self, extracts: Sequence[Tensor]) -> dict[str, float]:
        samples = torch.cat([*extracts])
        scores = {"w1": wasserstein_1(samples, self.heldout), "w1_floor": self.floor}
        if isinstance(self.dataset, Points) and self.dataset.centres is not None:
            scores |= _modes(samples, self.dataset.centres, self.dataset.std)
        return scores

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        matched, more = len(self.heldout), self.samples != len(self.heldout)
        others = f"; the others are of {self.samples} samples" if more else ""
        return (
            f"w1: exact, {matched} samples against as many held-out points; real: "
            f"{self.floor:.3f}{others}"
        )


def wasserstein_1(a: Tensor, b: Tensor) -> float:
    """Exact Wasserstein-1 distance of two sets of equally many points, by linear assignment."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    count = min(len(a), len(b))
    points = a[:count].double().numpy()
    a_finite = np.nan_to_num(points, nan=FAR_AWAY, posinf=FAR_AWAY, neginf=-FAR_AWAY)
    cost = cdist(a_finite, b[:count].double().numpy())
    return float(cost[linear_sum_assignment(cost)].mean())


def _modes(samples: Tensor, centres: Tensor, std: float) -> dict[str, float]:
    """Number of modes covered, and shares of the samples near one; `std` is that of a mode."""
    distance, nearest = torch.cdist(samples, centres).min(dim=1)
    good = distance < NEAR
    hits = torch.bincount(nearest[good], minlength=len(centres))
    fair_share = max(int(good.sum()), 1) / len(centres)
    return {
        "modes": float((hits >= COVERED * fair_share).sum()),
        "modes_of": float(len(centres)),
        "high_quality": float(good.float().mean()),
        "high_quality_3_std": float((distance < 3 * std).float().mean()),
    }
