"""Scores by nearest neighbours: how well samples cover real ones, and whether they are copies."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.data.kinds import kind_of
from gan_cli.data.nearest import nearest_training
from gan_cli.metrics.features import FeatureScoring
from gan_cli.metrics.scoring import Scoring, describe_sizes, smaller_floor
from gan_cli.registry import Count, metrics

EXACT_DIMENSIONS = 128  # up to so many, distances are summed by coordinate: exactly 0 for copies
COVERAGE_TOO_LOW = "coverage_real is too low"
ROWS = 2000  # rows of a matrix of distances that are computed at a time
# a sample counts as a copy if it is nearer to the training split than all but this fraction of the
# held-out samples
COPY_QUANTILE = 0.01


@metrics.register("prdc")
class NeighbourhoodScores(FeatureScoring):
    """Precision, recall, density and coverage by the balls that reach to the k-th neighbour.

    References: Kynkaanniemi et al., 2019, arXiv 1904.06991 (precision, recall); Naeem et al., 2020,
    arXiv 2002.09797 (density, coverage). Here on features of a small classifier, and where there
    are no labels on pixels or coordinates, in place of those of a network trained on ImageNet.

    - precision: share of the samples in the ball of some training sample; recall: the other way
      round.
    - density: number of such balls that a sample lies in, over k; above 1 if samples concentrate
      where real ones are dense.
    - coverage: share of the training samples whose ball holds a sample.
    - each with `_real`: that of as many held-out samples, or of all there are, which no generator
      can be expected to beat by more than chance. Coverage grows and recall changes with the number
      of samples: if fewer are held out, `_real` is another measure.

    Args:
        n: samples to score, and training samples to compare with, if there are so many.
        k: neighbours that a ball reaches to, itself not counted; fewer where a set has no more.
    """

    kinds = ("image", "points")
    scores = (
        "precision", "recall", "density", "coverage", "precision_real", "recall_real",
        "density_real", "coverage_real",
    )  # fmt: skip
    objectives = ("coverage", "density", "precision", "recall")
    objective = "coverage"
    lower_is_better = ()
    split = "training samples; _real: held-out ones"

    def __init__(
        self, dataset: Dataset, device: torch.device, n: Count = 2000, k: Count = 5
    ) -> None:
        super().__init__("prdc", dataset, device, n)
        self.k = min(k, max(1, min(n, self.n_reference, self.n_floor) - 1))
        fewer = f" of the {k} asked for" if self.k < k else ""
        self.method = f"k = {self.k} neighbours{fewer}"
        self.note = smaller_floor(n, self.n_floor, COVERAGE_TOO_LOW)

        real = prdc(self.reference, self.heldout_features(dataset), self.k)
        self.real = {f"{name}_real": value for name, value in real.items()}

    def compute(self, extracts: Sequence[Tensor]) -> dict[str, float]:
        return {**prdc(self.reference, torch.cat([*extracts]), self.k), **self.real}

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        real = ", ".join(f"{value:.3f}" for value in self.real.values())
        sides = describe_sizes(self.samples, self.n_reference, self.n_floor, COVERAGE_TOO_LOW)
        return f"precision, recall, density, coverage, k = {self.k}, {sides}; these: {real}"


def prdc(real: Tensor, fake: Tensor, k: int) -> dict[str, float]:
    """Precision, recall, density and coverage of `fake` with respect to `real`.

    Args:
        real: features of real samples, (n, d).
        fake: features of samples, (m, d).
        k: neighbours that the ball of a point reaches to.

    Raises:
        RuntimeError: a set has k points or fewer, and so no k-th neighbour.
    """
    in_some_ball = torch.zeros(len(fake), dtype=torch.bool)
    balls = torch.zeros(len(fake), dtype=torch.double)  # of real points, around each fake one
    reached, covered = [], []

    radii, fake_radii = _radii(real, k), _radii(fake, k)
    for part, radius in zip(real.split(ROWS), radii.split(ROWS), strict=True):
        across = _distances(part, fake)
        inside = across <= radius[:, None]  # row i, column j: fake j lies in the ball of real i
        in_some_ball |= inside.any(dim=0)
        balls += inside.double().sum(dim=0)
        covered.append(inside.any(dim=1))
        reached.append((across <= fake_radii).any(dim=1))

    return {
        "precision": float(in_some_ball.double().mean()),
        "recall": float(torch.cat(reached).double().mean()),
        "density": float(balls.mean() / k),
        "coverage": float(torch.cat(covered).double().mean()),
    }


def _radii(x: Tensor, k: int) -> Tensor:
    """Distance of each point to its k-th neighbour; the first one is the point itself."""
    return torch.cat([_distances(part, x).kthvalue(k + 1, dim=1).values for part in x.split(ROWS)])


def _distances(a: Tensor, b: Tensor) -> Tensor:
    exact = a.shape[1] <= EXACT_DIMENSIONS
    mode = "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist"
    return torch.cdist(a.double(), b.double(), compute_mode=mode)


# --- copies of the training split -----------------------------------------------------------------


@metrics.register("memorisation")
class MemorisationScores(Scoring):
    """Whether samples are nearer to the training split than held-out samples are.

    Reference: Meehan et al., 2020, "A Non-Parametric Test to Detect Data-Copying in Generative
    Models", arXiv 2004.05675. Here their distances as a ratio and a share, by pixels or
    coordinates, over the whole training split and, where training sees mirror images, those too.

    - memorisation_ratio: mean distance of the samples to their nearest training sample, over that
      of held-out samples: 0 for copies, 1 for samples as new as held-out ones, more for samples far
      from all data.
    - memorisation_ratio_floor: that of other held-out samples. Both are of as many as there are
      samples, or of half of the held-out ones each.
    - copied: share of the samples that are nearer to a training sample than 99 in 100 held-out ones
      are; 0.01 means that nothing is copied. `copied_floor` is that of the other held-out samples.

    Args:
        n: samples to score.
    """

    kinds = ("image", "points")
    scores = ("memorisation_ratio", "memorisation_ratio_floor", "copied", "copied_floor")
    objectives = ()  # the best ratio is neither the largest nor the smallest
    lower_is_better = ("copied",)

    def __init__(self, dataset: Dataset, n: Count = 1000) -> None:
        self.dataset, self.samples, self.resizing = dataset, n, dataset.resizing
        self.n_reference = len(dataset.train["x"])
        self.n_floor = max(1, min(n, len(dataset.heldout["x"]) // 2))
        self.split = (
            f"{self.n_reference} training samples, and held-out ones; _floor: other held-out ones"
        )
        self.backbone = f"none: {kind_of(dataset.spec).numbers}"
        self.method = f"Euclidean distance{', mirror images too' if dataset.flip else ''}"

        heldout = dataset.sample_x(dataset.heldout, 2 * self.n_floor, "memorisation")
        self.usual = self._distances(heldout[: self.n_floor])
        floor = self._scores(self._distances(heldout[self.n_floor :]))
        self.floor = {f"{name}_floor": value for name, value in floor.items()}

    def extract(self, samples: Tensor, y: Tensor | None, start: int) -> Tensor:
        return self._distances(torch.nan_to_num(samples))

    def compute(self, extracts: Sequence[Tensor]) -> dict[str, float]:
        scores = {**self._scores(torch.cat([*extracts])), **self.floor}
        return {name: scores[name] for name in MemorisationScores.scores}

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        ratio = self.floor["memorisation_ratio_floor"]
        return (
            f"distance of {self.samples} samples to the training split over that of {self.n_floor} "
            f"held-out samples; of {self.n_floor} others: {ratio:.3f}"
        )

    def _scores(self, distances: Tensor) -> dict[str, float]:
        # the smallest divisor makes the ratio 1 if all distances are 0
        ratio = distances.mean().clamp_min(1e-12) / self.usual.mean().clamp_min(1e-12)
        copies = distances < self.usual.quantile(COPY_QUANTILE)
        return {"memorisation_ratio": float(ratio), "copied": float(copies.double().mean())}

    def _distances(self, samples: Tensor) -> Tensor:
        """Distance of each sample to the nearest training sample, (n,) on the CPU."""
        _, distances = nearest_training(samples, self.dataset, mirrored=self.dataset.flip)
        return distances[:, 0].cpu()
