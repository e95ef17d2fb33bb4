"""Scores by nearest neighbours: whether samples lie where real ones lie, and whether they copy the
training split."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.features import view_of
from gan_cli.metrics.provenance import Provenance
from gan_cli.metrics.scoring import Scoring, apart, counted, fewer_than, refuse_beyond_memory
from gan_cli.registry import Count, metrics

# up to which distances are summed coordinate by coordinate, exact where points coincide
FEW_DIMENSIONS = 128
AT_ONCE = 1000  # training samples that queries are compared with at a time
LOW = "coverage_real is too low"
ROWS = 2000  # of a matrix of distances at a time


@metrics.register("prdc")
class NeighbourhoodScores(Scoring):
    """Precision, recall, density and coverage by the balls that reach to the k-th neighbour.

    References: Kynkaanniemi et al., 2019, arXiv 1904.06991 (precision, recall); Naeem et al., 2020,
    arXiv 2002.09797 (density, coverage). Here on features of a small classifier, and where there
    are no labels on pixels or coordinates, in place of those of a network trained on ImageNet.

    - precision: share of the samples in the ball of some training sample; recall: the other way
      round.
    - density: how many such balls a sample lies in, over k; above 1 where samples crowd where real
      ones are dense.
    - coverage: share of the training samples whose ball holds a sample.
    - each with `_real`: that of as many held-out samples, or of all there are, which no generator
      can be expected to beat by more than chance. Coverage grows and recall changes with the number
      of samples: where fewer are held out, `_real` is another measure.

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

    def __init__(
        self, dataset: Dataset, device: torch.device, n: Count = 2000, k: Count = 5
    ) -> None:
        self.samples, (reference, self.heldout) = n, counted(dataset, n)
        self.k, self.asked = min(k, max(1, min(n, reference, self.heldout) - 1)), k
        self.view, self.resizing = view_of(dataset, device), dataset.resizing
        self.reference = self.view.sample_x(dataset, dataset.train, reference)
        refuse_beyond_memory("prdc", n, 2 * 8 * n * self.reference.shape[1])
        heldout = self.view.sample_x(dataset, dataset.heldout, self.heldout)
        self.real = {
            f"{name}_real": value for name, value in prdc(self.reference, heldout, self.k).items()
        }

    def seen(self, samples: Tensor, y: Tensor | None, start: int) -> Tensor:
        return self.view.of(samples)

    def judged(self, kept: Sequence[Tensor]) -> dict[str, float]:
        """Scores of samples, (n, *shape)."""
        return {**prdc(self.reference, torch.cat([*kept]), self.k), **self.real}

    def describe(self) -> str:
        """One line on how the figures are made."""
        real = ", ".join(f"{value:.3f}" for value in self.real.values())
        sides = apart(self.samples, len(self.reference), self.heldout, LOW)
        return f"precision, recall, density, coverage, k = {self.k}, {sides}; these: {real}"

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        split = "training samples; _real: held-out ones"
        view = (self.view.backbone, self.view.weights)
        fewer = f" of the {self.asked} asked for" if self.k < self.asked else ""
        method, sides = f"k = {self.k} neighbours{fewer}", (len(self.reference), self.heldout)
        note = fewer_than(self.samples, self.heldout, LOW)
        return Provenance(self.samples, split, self.resizing, *view, method, *sides, note)


def prdc(real: Tensor, fake: Tensor, k: int) -> dict[str, float]:
    """Precision, recall, density and coverage of `fake` with respect to `real`, sets of features
    (n, d) and (m, d).

    Raises RuntimeError where a set has k points or fewer and has so no k-th neighbour.
    """
    in_reach = torch.zeros(len(fake), dtype=torch.bool)
    balls = torch.zeros(len(fake), dtype=torch.double)
    reached, covered = [], []
    radii, fake_radii = _radii(real, k), _radii(fake, k)
    for part, radius in zip(real.split(ROWS), radii.split(ROWS), strict=True):
        across = _distances(part, fake)
        inside = across <= radius[:, None]  # row i, column j: fake j lies in the ball of real i
        in_reach |= inside.any(dim=0)
        balls += inside.double().sum(dim=0)
        covered.append(inside.any(dim=1))
        reached.append((across <= fake_radii).any(dim=1))
    return {
        "precision": float(in_reach.double().mean()),
        "recall": float(torch.cat(reached).double().mean()),
        "density": float(balls.mean() / k),
        "coverage": float(torch.cat(covered).double().mean()),
    }


def _radii(x: Tensor, k: int) -> Tensor:
    """The distance of each point to its k-th neighbour; the nearest of all is the point itself."""
    return torch.cat([_distances(part, x).kthvalue(k + 1, dim=1).values for part in x.split(ROWS)])


def _distances(a: Tensor, b: Tensor) -> Tensor:
    few = a.shape[1] <= FEW_DIMENSIONS
    mode = "donot_use_mm_for_euclid_dist" if few else "use_mm_for_euclid_dist"
    return torch.cdist(a.double(), b.double(), compute_mode=mode)


# --- copies of the training split -----------------------------------------------------------------


@metrics.register("memorisation")
class MemorisationScores(Scoring):
    """Whether samples lie nearer to the training split than held-out samples do, which the
    generator cannot know.

    Reference: Meehan et al., 2020, "A Non-Parametric Test to Detect Data-Copying in Generative
    Models", arXiv 2004.05675. Here their distances as a ratio and a share, by pixels or
    coordinates, over the whole training split and, where training sees mirror images, those too.

    - memorisation_ratio: mean distance of the samples to their nearest training sample, over that
      of held-out samples: 0 for copies, 1 for what is as new as held-out samples, more for what is
      far from all data.
    - memorisation_ratio_floor: that of other held-out samples. Both are of as many as there are
      samples, or of half of the held-out ones each.
    - copied: share of the samples that are nearer to a training sample than 99 in 100 held-out ones
      are; 0.01 says that nothing is copied. `copied_floor` is that of the other held-out samples.

    Args:
        n: samples to score.
    """

    kinds = ("image", "points")
    scores = ("memorisation_ratio", "memorisation_ratio_floor", "copied", "copied_floor")
    objectives = ()  # the best ratio is neither the largest nor the smallest
    lower_is_better = ("copied",)

    def __init__(self, dataset: Dataset, n: Count = 1000) -> None:
        self.dataset, self.samples = dataset, n
        self.half = max(1, min(n, len(dataset.heldout["x"]) // 2))
        heldout = dataset.sample_x(dataset.heldout, 2 * self.half, "memorisation")
        self.usual = self._nearest(heldout[: self.half])
        floor = self._figures(self._nearest(heldout[self.half :]))
        self.floor = {f"{name}_floor": value for name, value in floor.items()}

    def seen(self, samples: Tensor, y: Tensor | None, start: int) -> Tensor:
        return self._nearest(torch.nan_to_num(samples))

    def judged(self, kept: Sequence[Tensor]) -> dict[str, float]:
        """Scores of samples, (n, *shape)."""
        scores = {**self._figures(torch.cat([*kept])), **self.floor}
        return {name: scores[name] for name in MemorisationScores.scores}

    def describe(self) -> str:
        """One line on how the figures are made."""
        ratio = self.floor["memorisation_ratio_floor"]
        return (
            f"distance of {self.samples} samples to the training split over that of {self.half} "
            f"held-out samples; of {self.half} others: {ratio:.3f}"
        )

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        known = len(self.dataset.train["x"])
        split = f"{known} training samples, and held-out ones; _floor: other held-out ones"
        seen = "pixels" if self.dataset.kind == "image" else "coordinates"
        mirrored = ", mirror images too" if self.dataset.flip else ""
        method, sides = f"Euclidean distance{mirrored}", (known, self.half)
        return Provenance(
            self.samples, split, self.dataset.resizing, f"none: {seen}", "none", method, *sides
        )

    def _figures(self, distances: Tensor) -> dict[str, float]:
        # 1 where no two samples differ
        ratio = distances.mean().clamp_min(1e-12) / self.usual.mean().clamp_min(1e-12)
        near = distances < self.usual.quantile(0.01)
        return {"memorisation_ratio": float(ratio), "copied": float(near.double().mean())}

    def _nearest(self, samples: Tensor) -> Tensor:
        """Distance of each sample to the nearest training sample, (n,)."""
        known = self.dataset.train["x"]
        queries = samples.to(known.device)
        best = torch.full((len(queries),), float("inf"), dtype=torch.double, device=known.device)
        for part in known.split(AT_ONCE):
            real = self.dataset.decode({"x": part})["x"]
            for seen in (real, real.flip(-1)) if self.dataset.flip else (real,):
                best = torch.minimum(best, _to_nearest(queries.flatten(1), seen.flatten(1)))
        return best.cpu()


def _to_nearest(queries: Tensor, known: Tensor) -> Tensor:
    """Distance of each query to the nearest known point: found by products, then measured, since
    products blur 0."""
    nearest = torch.cdist(queries, known).argmin(dim=1)
    return (queries - known[nearest]).double().norm(dim=1)
