"""Scores of points, against held-out ones and laws that are known exactly."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.data.points import Points
from gan_cli.metrics.provenance import Provenance
from gan_cli.metrics.scoring import Scoring
from gan_cli.registry import Count, metrics

MATCHED = 1500  # points a side of the exact assignment: half a second
NEAR = 0.1  # a sample within this distance of a mode is of high quality


@metrics.register("points")
class PointScores(Scoring):
    """Exact W1 between samples and held-out points; for mixtures, the modes covered and the share
    near a mode.

    - w1: exact Wasserstein-1 distance of 1500 samples to 1500 held-out points, or of as many as
      there are, by linear assignment; `w1_floor` is that of as many real training points, which no
      generator can be expected to beat.
    - high_quality: share of samples within 0.1 of a mode; `high_quality_3_std` within three of its
      deviations.
    - modes: how many modes get at least a fifth of their fair share of the high-quality samples.

    Args:
        n: samples to score; w1 takes the first 1500 of them.
    """

    scores = ("w1", "w1_floor", "modes", "modes_of", "high_quality", "high_quality_3_std")
    objectives = ("w1", "modes", "high_quality", "high_quality_3_std")
    objective = "w1"
    lower_is_better = ("w1",)

    def __init__(self, dataset: Dataset, n: Count = 10_000) -> None:
        self.dataset, self.samples = dataset, n
        matched = min(n, MATCHED, len(dataset.train["x"]), len(dataset.heldout["x"]))
        self.heldout = dataset.heldout["x"][:matched].cpu()
        self.floor = wasserstein_1(dataset.train["x"][:matched].cpu(), self.heldout)

    def seen(self, samples: Tensor, y: Tensor | None, start: int) -> Tensor:
        return samples

    def judged(self, kept: Sequence[Tensor]) -> dict[str, float]:
        """Scores of samples, (n, d)."""
        samples = torch.cat([*kept])
        scores = {"w1": wasserstein_1(samples, self.heldout), "w1_floor": self.floor}
        if isinstance(self.dataset, Points) and self.dataset.centres is not None:
            scores |= _modes(samples, self.dataset.centres, self.dataset.std)
        return scores

    def describe(self) -> str:
        """One line on how the figures are made."""
        others = (
            ""
            if self.samples == len(self.heldout)
            else (f"; the others are of {self.samples} samples")
        )
        matched = f"{len(self.heldout)} samples against as many held-out points"
        return f"w1: exact, {matched}; real: {self.floor:.3f}{others}"

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        count, split = len(self.heldout), "held-out points; _floor: training ones"
        method = f"w1: of {count} points, exact"
        return Provenance(self.samples, split, method=method, n_reference=count, n_floor=count)


def wasserstein_1(a: Tensor, b: Tensor) -> float:
    """Exact Wasserstein-1 distance between two sets of equally many points, by linear
    assignment."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    count = min(len(a), len(b))
    a_finite = np.nan_to_num(
        a[:count].double().numpy(), nan=1e6, posinf=1e6, neginf=-1e6
    )  # a diverged run scores badly
    cost = cdist(a_finite, b[:count].double().numpy())
    return float(cost[linear_sum_assignment(cost)].mean())


def _modes(samples: Tensor, centres: Tensor, std: float) -> dict[str, float]:
    distance, nearest = torch.cdist(samples, centres).min(dim=1)
    good = distance < NEAR
    hits = torch.bincount(nearest[good], minlength=len(centres))
    fair = max(int(good.sum()), 1) / len(centres)
    return {
        "modes": float((hits >= 0.2 * fair).sum()),
        "modes_of": float(len(centres)),
        "high_quality": float(good.float().mean()),
        "high_quality_3_std": float((distance < 3 * std).float().mean()),
    }
