"""Scores by nearest neighbours: whether samples lie where real ones lie, and whether they copy the training split."""

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.features import view_of
from gan_cli.metrics.provenance import Provenance
from gan_cli.registry import Count, metrics

FEW_DIMENSIONS = 128  # up to which distances are summed coordinate by coordinate, exact where points coincide
AT_ONCE = 1000  # training samples that queries are compared with at a time


@metrics.register("prdc")
class NeighbourhoodScores:
    """Precision, recall, density and coverage by the balls that reach to the k-th neighbour.

    References: Kynkaanniemi et al., 2019, arXiv 1904.06991 (precision, recall); Naeem et al., 2020, arXiv 2002.09797
    (density, coverage). Here on features of a small classifier, and where there are no labels on pixels or
    coordinates, in place of those of a network trained on ImageNet.

    - precision: share of the samples in the ball of some training sample; recall: the other way round.
    - density: how many such balls a sample lies in, over k; above 1 where samples crowd where real ones are dense.
    - coverage: share of the training samples whose ball holds a sample.
    - each with `_real`: that of held-out samples, which no generator can be expected to beat by more than chance.

    Args:
        n: samples to score, and training samples to compare with; at most as many as there are held-out samples.
        k: neighbours that a ball reaches to, itself not counted.
    """

    kinds = ("image", "points")
    scores = (
        "precision", "recall", "density", "coverage", "precision_real", "recall_real", "density_real", "coverage_real",
    )  # fmt: skip
    objectives = ("coverage", "density", "precision", "recall")
    objective = "coverage"
    lower_is_better = ()

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000, k: Count = 5) -> None:
        self.samples = min(n, len(dataset.heldout["x"]), len(dataset.train["x"]))
        self.k = min(k, max(1, self.samples - 1))
        self.view, self.resizing = view_of(dataset, device), dataset.resizing
        self.reference = self.view.of(dataset.some(dataset.train, self.samples))
        heldout = self.view.of(dataset.some(dataset.heldout, self.samples))
        self.real = {f"{name}_real": value for name, value in prdc(self.reference, heldout, self.k).items()}

    def __call__(self, samples: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Scores of `samples`, (n, *shape)."""
        return {**prdc(self.reference, self.view.of(samples), self.k), **self.real}

    def describe(self) -> str:
        """One line on how the figures are made."""
        real = ", ".join(f"{value:.3f}" for value in self.real.values())
        return f"precision, recall, density, coverage, k = {self.k}, {self.samples} samples; held-out ones: {real}"

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        split = "training samples; _real: held-out ones"
        return Provenance(
            self.samples, split, self.resizing, self.view.backbone, self.view.weights, f"k = {self.k} neighbours"
        )


def prdc(real: Tensor, fake: Tensor, k: int) -> dict[str, float]:
    """Precision, recall, density and coverage of `fake` with respect to `real`, sets of features (n, d) and (m, d).

    Raises RuntimeError where a set has k points or fewer and has so no k-th neighbour.
    """
    across = _distances(real, fake)
    inside = across <= _radii(real, k)[:, None]  # row i, column j: fake j lies in the ball of real i
    reached = across <= _radii(fake, k)
    return {
        "precision": float(inside.any(dim=0).double().mean()),
        "recall": float(reached.any(dim=1).double().mean()),
        "density": float(inside.double().sum(dim=0).mean() / k),
        "coverage": float(inside.any(dim=1).double().mean()),
    }


def _radii(x: Tensor, k: int) -> Tensor:
    """The distance of each point to its k-th neighbour; the nearest of all is the point itself."""
    return _distances(x, x).kthvalue(k + 1, dim=1).values


def _distances(a: Tensor, b: Tensor) -> Tensor:
    few = a.shape[1] <= FEW_DIMENSIONS
    mode = "donot_use_mm_for_euclid_dist" if few else "use_mm_for_euclid_dist"
    return torch.cdist(a.double(), b.double(), compute_mode=mode)


# --- copies of the training split -------------------------------------------------------------------------------------


@metrics.register("memorisation")
class MemorisationScores:
    """Whether samples lie nearer to the training split than held-out samples do, which the generator cannot know.

    Reference: Meehan et al., 2020, "A Non-Parametric Test to Detect Data-Copying in Generative Models",
    arXiv 2004.05675. Here their distances as a ratio and a share, by pixels or coordinates, over the whole training
    split and, where training sees mirror images, those too.

    - memorisation_ratio: mean distance of the samples to their nearest training sample, over that of held-out
      samples: 0 for copies, 1 for what is as new as held-out samples, more for what is far from all data.
    - memorisation_ratio_floor: that of as many other held-out samples.
    - copied: share of the samples that are nearer to a training sample than 99 in 100 held-out ones are; 0.01 says
      that nothing is copied. `copied_floor` is that of the other held-out samples.

    Args:
        n: samples to score; at most half as many as there are held-out samples.
    """

    kinds = ("image", "points")
    scores = ("memorisation_ratio", "memorisation_ratio_floor", "copied", "copied_floor")
    objectives = ()  # the best ratio is neither the largest nor the smallest
    lower_is_better = ("copied",)

    def __init__(self, dataset: Dataset, n: Count = 1000) -> None:
        self.dataset, self.samples = dataset, max(1, min(n, len(dataset.heldout["x"]) // 2))
        heldout = dataset.some(dataset.heldout, 2 * self.samples, "memorisation")
        self.usual = self._nearest(heldout[: self.samples])
        floor = self._figures(self._nearest(heldout[self.samples :]))
        self.floor = {f"{name}_floor": value for name, value in floor.items()}

    def __call__(self, samples: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Scores of `samples`, (n, *shape)."""
        found = self._figures(self._nearest(torch.nan_to_num(samples[: self.samples])))
        scores = {**found, **self.floor}
        return {name: scores[name] for name in MemorisationScores.scores}

    def describe(self) -> str:
        """One line on how the figures are made."""
        ratio = self.floor["memorisation_ratio_floor"]
        return (
            f"distance to the training split over that of held-out samples, {self.samples} of each; real: {ratio:.3f}"
        )

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        known = len(self.dataset.train["x"])
        split = f"{known} training samples, and held-out ones; _floor: other held-out ones"
        seen = "pixels" if self.dataset.kind == "image" else "coordinates"
        mirrored = ", mirror images too" if self.dataset.flip else ""
        return Provenance(
            self.samples, split, self.dataset.resizing, f"none: {seen}", method=f"Euclidean distance{mirrored}"
        )

    def _figures(self, distances: Tensor) -> dict[str, float]:
        ratio = distances.mean().clamp_min(1e-12) / self.usual.mean().clamp_min(1e-12)  # 1 where no two samples differ
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
    """Distance of each query to the nearest known point: found by products, then measured, since products blur 0."""
    nearest = torch.cdist(queries, known).argmin(dim=1)
    return (queries - known[nearest]).double().norm(dim=1)
