"""A distance of images that goes by what people find alike."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.scoring import PairedScoring
from gan_cli.reading.weights import downloaded, kept
from gan_cli.registry import Count, metrics

NETWORK = "alexnet"  # the one that its authors recommend for scores
LEAST = 64  # smaller images are enlarged to this side, which the network needs
PART = 100  # images that are compared at a time


class Perceptual:
    """The distance of two images by what people find alike.

    Reference: Zhang et al., 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual
    Metric", arXiv 1801.03924, by torchmetrics and the weights of AlexNet of torchvision, which are
    in torch's cache.
    """

    name = "AlexNet of torchvision, LPIPS of torchmetrics"

    def __init__(self, device: torch.device) -> None:
        from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

        self.network = LearnedPerceptualImagePatchSimilarity("alex").net.to(device).eval()
        self.device = device

    @staticmethod
    def at_hand() -> bool:
        """Whether nothing must be installed or downloaded."""
        return bool(find_spec("torchmetrics")) and kept(NETWORK)[0].is_file()

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances of images in [-1, 1], of one or three channels, (n,) on the CPU."""
        parts = zip(self._seen(a).split(PART), self._seen(b).split(PART), strict=True)
        return torch.cat([self.network(*part).flatten() for part in parts]).cpu()

    def _seen(self, x: Tensor) -> Tensor:
        """Images of three channels, in [-1, 1], large enough for the network."""
        x = x.to(self.device).expand(-1, 3, -1, -1).clamp(-1, 1)
        if min(x.shape[2:]) >= LEAST:
            return x
        factor = LEAST / min(x.shape[2:])
        return interpolate(x, scale_factor=factor, mode="bilinear", antialias=True).clamp(-1, 1)


@metrics.register("lpips")
class LPIPS(PairedScoring):
    """The learned perceptual distance of samples and the true images of their inputs.

    Reference: Zhang et al., 2018, arXiv 1801.03924; see `Perceptual`. The weights are downloaded
    where they are not at hand.

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
    backbone = Perceptual.name

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        downloaded(NETWORK, "metrics=[lpips]", "or take other metrics")
        self.samples, self.resizing = min(n, len(dataset.heldout["x"])), dataset.resizing
        self.distance = Perceptual(device)

    @torch.no_grad()
    def extract_pairs(self, samples: Tensor, fields: Mapping[str, Tensor]) -> dict[str, float]:
        """Sums of the distances over the samples."""
        x = fields["x"]
        return {
            "lpips": float(self.distance(samples, x).sum()),
            "lpips_shuffled": float(self.distance(samples, x.roll(1, dims=0)).sum()),
            "scored_samples": float(len(x)),
        }

    def compute(self, extracts: Sequence[dict[str, float]]) -> dict[str, float]:
        total = {name: sum(part[name] for part in extracts) for name in extracts[0]}
        count = total.pop("scored_samples")
        return {**{name: value / count for name, value in total.items()}, "scored_samples": count}

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return f"LPIPS of {self.samples} held-out pairs, by AlexNet"
