"""Maximum mean discrepancy: how well a smooth function can tell samples from real ones."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.features import view_of
from gan_cli.metrics.provenance import Provenance
from gan_cli.metrics.scoring import Scoring, apart, counted, refuse_beyond_memory
from gan_cli.registry import Count, metrics

Kernel = Callable[[Tensor, Tensor], Tensor]
AT_ONCE = 2000  # rows of a matrix of kernels
# reference samples, at most, whose distances have the median that is a kernel's width
MEDIAN_OF = 5000


@metrics.register("mmd")
class KernelScores(Scoring):
    """The unbiased estimate of the squared maximum mean discrepancy, on features of a small
    classifier or on samples.

    Reference: Gretton et al., 2012, "A Kernel Two-Sample Test", JMLR 13, lemma 6.

    - mmd_squared: samples against as many training samples, or all there are; its mean is 0 where
      the laws are equal, so that it is negative now and then. `_floor` is that of as many held-out
      samples, or of all there are.

    Args:
        n: samples to score.
        kernel: `rbf`, with the median distance of the training samples as its width, or
            `polynomial`, the third power of KID (Binkowski et al., 2018, arXiv 1801.01401), which
            compares three moments only.
    """

    kinds = ("image", "points")
    scores = ("mmd_squared", "mmd_squared_floor")
    objectives = ("mmd_squared",)
    objective = "mmd_squared"
    lower_is_better = ("mmd_squared",)

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        n: Count = 2000,
        kernel: Literal["rbf", "polynomial"] = "rbf",
    ) -> None:
        self.samples, (reference, self.heldout) = n, counted(dataset, n)
        self.view, self.resizing = view_of(dataset, device), dataset.resizing
        self.reference = self.view.sample_x(dataset, dataset.train, reference)
        refuse_beyond_memory("mmd", n, 2 * 8 * n * self.reference.shape[1])
        self.kernel, self.method = KERNELS[kernel](self.reference)
        heldout = self.view.sample_x(dataset, dataset.heldout, self.heldout)
        self.floor = mmd_squared(heldout, self.reference, self.kernel)

    def seen(self, samples: Tensor, y: Tensor | None, start: int) -> Tensor:
        return self.view.of(samples)

    def judged(self, kept: Sequence[Tensor]) -> dict[str, float]:
        """Scores of samples, (n, *shape)."""
        found = mmd_squared(torch.cat([*kept]), self.reference, self.kernel)
        return {"mmd_squared": found, "mmd_squared_floor": self.floor}

    def describe(self) -> str:
        """One line on how the figures are made."""
        sides = apart(self.samples, len(self.reference), self.heldout)
        return f"squared MMD, {self.method}, {sides}; real against real: {self.floor:.3g}"

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        split = "training samples; _floor: held-out ones"
        view = (self.view.backbone, self.view.weights)
        sides = len(self.reference), self.heldout
        return Provenance(
            self.samples, split, self.resizing, *view, f"unbiased, {self.method}", *sides
        )


def mmd_squared(a: Tensor, b: Tensor, kernel: Kernel) -> float:
    """Unbiased: E k(a, a') + E k(b, b') - 2 E k(a, b) over pairs of different points of two sets,
    (n, d) and (m, d)."""
    within = [_between_different(x, kernel) for x in (a, b)]
    return sum(within) - 2 * sum(float(kernel(part, b).sum()) for part in a.split(AT_ONCE)) / (
        len(a) * len(b)
    )


def _between_different(x: Tensor, kernel: Kernel) -> float:
    total = 0.0
    for i, part in enumerate(x.split(AT_ONCE)):
        values = kernel(part, x)
        total += float(values.sum() - values.diagonal(i * AT_ONCE).sum())
    return total / (len(x) * max(1, len(x) - 1))


def rbf(reference: Tensor) -> tuple[Kernel, str]:
    """exp(-|a - b|^2 / (2 w^2)), w the median distance of two reference points; and the words for
    it."""
    some = reference[:MEDIAN_OF]
    width = float(torch.pdist(some).median().clamp_min(1e-12)) if len(some) > 1 else 1.0
    return lambda a, b: (
        -0.5 * (torch.cdist(a, b) / width).square()
    ).exp(), f"RBF kernel of width {width:.4g}, a median"


def polynomial(reference: Tensor) -> tuple[Kernel, str]:
    """(a.b / d + 1)^3, the kernel of KID; and the words for it."""
    return lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3, "polynomial kernel of degree 3"


KERNELS: dict[str, Callable[[Tensor], tuple[Kernel, str]]] = {"rbf": rbf, "polynomial": polynomial}
