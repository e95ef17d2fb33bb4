"""Maximum mean discrepancy: how well a smooth function separates samples from real ones."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.features import FeatureScoring
from gan_cli.metrics.scoring import describe_sizes
from gan_cli.registry import Count, metrics

Kernel = Callable[[Tensor, Tensor], Tensor]
AT_ONCE = 2000  # rows of a matrix of kernel values that are computed at a time
MEDIAN_SAMPLES = 5000  # reference samples, at most, whose median distance is the kernel's width


@metrics.register("mmd")
class KernelScores(FeatureScoring):
    """Unbiased estimate of the squared maximum mean discrepancy, on features or on samples.

    The features are those of a small classifier, if the data has labels.

    Reference: Gretton et al., 2012, "A Kernel Two-Sample Test", JMLR 13, lemma 6.

    - mmd_squared: samples against as many training samples, or all there are; its mean is 0 if the
      distributions are equal, so that it is sometimes negative. `_floor` is that of as many
      held-out samples, or of all there are.

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
    split = "training samples; _floor: held-out ones"

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        n: Count = 2000,
        kernel: Literal["rbf", "polynomial"] = "rbf",
    ) -> None:
        super().__init__("mmd", dataset, device, n)
        self.kernel, self.kernel_name = KERNELS[kernel](self.reference)
        self.method = f"unbiased, {self.kernel_name}"
        self.floor = mmd_squared(self.heldout_features(dataset), self.reference, self.kernel)

    def compute(self, extracts: Sequence[Tensor]) -> dict[str, float]:
        value = mmd_squared(torch.cat([*extracts]), self.reference, self.kernel)
        return {"mmd_squared": value, "mmd_squared_floor": self.floor}

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        sides = describe_sizes(self.samples, self.n_reference, self.n_floor)
        return f"squared MMD, {self.kernel_name}, {sides}; real against real: {self.floor:.3g}"


def mmd_squared(a: Tensor, b: Tensor, kernel: Kernel) -> float:
    """Unbiased estimate of E k(a, a') + E k(b, b') - 2 E k(a, b).

    Args:
        a: points, (n, d); pairs within a set are of different points.
        b: other points, (m, d).
    """
    within = _mean_within(a, kernel) + _mean_within(b, kernel)
    across = sum(float(kernel(part, b).sum()) for part in a.split(AT_ONCE))
    return within - 2 * across / (len(a) * len(b))


def _mean_within(x: Tensor, kernel: Kernel) -> float:
    """Mean kernel value of two different points of a set, (n, d)."""
    total = 0.0
    for i, part in enumerate(x.split(AT_ONCE)):
        values = kernel(part, x)
        total += float(values.sum() - values.diagonal(i * AT_ONCE).sum())
    return total / (len(x) * max(1, len(x) - 1))


def rbf(reference: Tensor) -> tuple[Kernel, str]:
    """exp(-|a - b|^2 / (2 w^2)), w the median distance of two reference points; and its name."""
    subset = reference[:MEDIAN_SAMPLES]
    width = float(torch.pdist(subset).median().clamp_min(1e-12)) if len(subset) > 1 else 1.0

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-0.5 * (torch.cdist(a, b) / width).square()).exp()

    return kernel, f"RBF kernel of width {width:.4g}, a median"


def polynomial(reference: Tensor) -> tuple[Kernel, str]:
    """(a.b / d + 1)^3, the kernel of KID; and its name."""
    return lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3, "polynomial kernel of degree 3"


KERNELS: dict[str, Callable[[Tensor], tuple[Kernel, str]]] = {"rbf": rbf, "polynomial": polynomial}
