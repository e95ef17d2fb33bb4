"""Maximum mean discrepancy: how well a smooth function can tell samples from real ones."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.features import view_of
from gan_cli.metrics.provenance import Provenance
from gan_cli.registry import Count, metrics

Kernel = Callable[[Tensor, Tensor], Tensor]


@metrics.register("mmd")
class KernelScores:
    """The unbiased estimate of the squared maximum mean discrepancy, on features of a small classifier or on samples.

    Reference: Gretton et al., 2012, "A Kernel Two-Sample Test", JMLR 13, lemma 6.

    - mmd_squared: samples against as many training samples; its mean is 0 where the laws are equal, so that it is
      negative now and then. `_floor` is that of held-out samples.

    Args:
        n: samples to score; at most as many as there are held-out samples.
        kernel: `rbf`, with the median distance of the training samples as its width, or `polynomial`, the third power
            of KID (Binkowski et al., 2018, arXiv 1801.01401), which compares three moments only.
    """

    kinds = ("image", "points")
    scores = ("mmd_squared", "mmd_squared_floor")
    objectives = ("mmd_squared",)
    objective = "mmd_squared"
    lower_is_better = ("mmd_squared",)

    def __init__(
        self, dataset: Dataset, device: torch.device, n: Count = 2000, kernel: Literal["rbf", "polynomial"] = "rbf"
    ) -> None:
        self.samples = min(n, len(dataset.heldout["x"]), len(dataset.train["x"]))
        self.view, self.resizing = view_of(dataset, device), dataset.resizing
        self.reference = self.view.of(dataset.some(dataset.train, self.samples))
        self.kernel, self.method = KERNELS[kernel](self.reference)
        self.floor = mmd_squared(self.view.of(dataset.some(dataset.heldout, self.samples)), self.reference, self.kernel)

    def __call__(self, samples: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Scores of `samples`, (n, *shape)."""
        found = mmd_squared(self.view.of(samples), self.reference, self.kernel)
        return {"mmd_squared": found, "mmd_squared_floor": self.floor}

    def describe(self) -> str:
        """One line on how the figures are made."""
        return f"squared MMD, {self.method}, {self.samples} samples; real against real: {self.floor:.3g}"

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        split = "training samples; _floor: held-out ones"
        return Provenance(
            self.samples, split, self.resizing, self.view.backbone, self.view.weights, f"unbiased, {self.method}"
        )


def mmd_squared(a: Tensor, b: Tensor, kernel: Kernel) -> float:
    """Unbiased: E k(a, a') + E k(b, b') - 2 E k(a, b) over pairs of different points of two sets, (n, d) and (m, d)."""
    within = [_between_different(kernel(x, x)) for x in (a, b)]
    return float(sum(within) - 2 * kernel(a, b).mean())


def _between_different(values: Tensor) -> Tensor:
    return (values.sum() - values.trace()) / (len(values) * max(1, len(values) - 1))


def rbf(reference: Tensor) -> tuple[Kernel, str]:
    """exp(-|a - b|^2 / (2 w^2)), w the median distance of two reference points; and the words for it."""
    width = float(torch.pdist(reference).median().clamp_min(1e-12)) if len(reference) > 1 else 1.0
    return lambda a, b: (
        -0.5 * (torch.cdist(a, b) / width).square()
    ).exp(), f"RBF kernel of width {width:.4g}, a median"


def polynomial(reference: Tensor) -> tuple[Kernel, str]:
    """(a.b / d + 1)^3, the kernel of KID; and the words for it."""
    return lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3, "polynomial kernel of degree 3"


KERNELS: dict[str, Callable[[Tensor], tuple[Kernel, str]]] = {"rbf": rbf, "polynomial": polynomial}
