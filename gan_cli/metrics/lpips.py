"""A distance of images that goes by what people find alike."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.scoring import PairedScoring
from gan_cli.reading.weights import downloaded
from gan_cli.registry import Count, metrics

NETWORK = "alexnet"  # the one that its authors recommend for scores
LEAST = 64  # smaller images are enlarged to this side, which the network needs
PART = 100  # images that are compared at a time


@metrics.register("lpips")
class LPIPS(PairedScoring):
    """The learned perceptual distance of samples and the true images of their inputs.

    Reference: Zhang et al., 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual
    Metric", arXiv 1801.03924, by torchmetrics and the weights of AlexNet that torchvision
    downloads.

    - lpips: the mean over the samples; 0 for equal images.
    - lpips_shuffled: that of a sample and the true image of the next input.

    Args:
        n: samples to score; no more than there are held-out pairs.
    """

    kinds = ()  # to be asked for, since its weights are downloaded
    scores = ("lpips", "lpips_shuffled", "scored_samples")
    objectives = ("lpips",)
    objective = "lpips"
    lower_is_better = ("lpips",)
    needs_given = True
    needs_truth = True
    needs_package = "torchmetrics"
    split = "held-out pairs"
    backbone = "AlexNet of torchvision, LPIPS of torchmetrics"

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

        downloaded(NETWORK, "metrics=[lpips]", "or take other metrics")
        self.samples, self.resizing = min(n, len(dataset.heldout["x"])), dataset.resizing
        self.distance = LearnedPerceptualImagePatchSimilarity("alex", reduction="sum").to(device)
        self.device = device

    @torch.no_grad()
    def extract_pairs(self, samples: Tensor, fields: Mapping[str, Tensor]) -> dict[str, float]:
        """Sums of the distances over the samples."""
        x, samples = self._seen(fields["x"]), self._seen(samples)
        return {
            "lpips": self._sum(samples, x),
            "lpips_shuffled": self._sum(samples, x.roll(1, dims=0)),
            "scored_samples": float(len(x)),
        }

    def _seen(self, x: Tensor) -> Tensor:
        """Images of three channels, in [-1, 1], large enough for the network."""
        x = x.to(self.device).expand(-1, 3, -1, -1).clamp(-1, 1)
        if min(x.shape[2:]) >= LEAST:
            return x
        factor = LEAST / min(x.shape[2:])
        return interpolate(x, scale_factor=factor, mode="bilinear", antialias=True).clamp(-1, 1)

    def _sum(self, a: Tensor, b: Tensor) -> float:
        parts = zip(a.split(PART), b.split(PART), strict=True)
        return sum(float(self.distance(*part)) for part in parts)

    def compute(self, extracts: Sequence[dict[str, float]]) -> dict[str, float]:
        total = {name: sum(part[name] for part in extracts) for name in extracts[0]}
        count = total.pop("scored_samples")
        return {**{name: value / count for name, value in total.items()}, "scored_samples": count}

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return f"LPIPS of {self.samples} held-out pairs, by AlexNet"
