"""A score of images that needs neither labels nor a trained network: how alike their small patches are."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli import noise
from gan_cli.data.dataset import Dataset
from gan_cli.metrics.provenance import Provenance
from gan_cli.registry import Count, metrics

PATCH, PER_IMAGE, DIRECTIONS = 7, 16, 512
COARSEST = 14  # pixels a side of the last level of the pyramid, at least
METHOD = f"{PER_IMAGE} patches of {PATCH}x{PATCH} an image and level, {DIRECTIONS} directions"


@metrics.register("patches")
class PatchScores:
    """Sliced Wasserstein distance between 7x7 patches of a Laplacian pyramid, averaged over its levels, times 1000.

    Reference: Karras et al., 2017, "Progressive Growing of GANs", arXiv 1710.10196, section 5. Here 16 patches an
    image instead of 128, and halving by antialiased bilinear interpolation.

    - sliced_wasserstein: samples against as many training images; `_floor` is that of held-out images.
    - scored_samples: how many.

    Args:
        n: samples to score; at most as many as there are held-out images.
    """

    kinds = ("image",)
    scores = ("sliced_wasserstein", "sliced_wasserstein_floor", "scored_samples")
    objectives = ("sliced_wasserstein",)
    objective = "sliced_wasserstein"
    lower_is_better = ("sliced_wasserstein",)

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        self.samples, self.device = min(n, len(dataset.heldout["x"]), len(dataset.train["x"])), device
        self.resizing = dataset.resizing
        self.reference = self._projected(dataset.some(dataset.train, self.samples))
        self.floor = self._distance(self._projected(dataset.some(dataset.heldout, self.samples)))

    def __call__(self, samples: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Scores of `samples`, (n, C, H, W) in [-1, 1]."""
        distance = self._distance(self._projected(torch.nan_to_num(samples)))
        scored = float(min(len(samples), self.samples))
        return {"sliced_wasserstein": distance, "sliced_wasserstein_floor": self.floor, "scored_samples": scored}

    def describe(self) -> str:
        """One line on how the figures are made."""
        return f"sliced Wasserstein distance of patches, {self.samples} samples; real against real: {self.floor:.2f}"

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        return Provenance(self.samples, "training images; _floor: held-out ones", self.resizing, method=METHOD)

    def _projected(self, images: Tensor) -> list[Tensor]:
        """For each level of the pyramid, the sorted projections of its patches, cut at the same places every time."""
        levels = _pyramid(images[: self.samples].to(self.device))
        return [sorted_projections(_cut(level, place)) for place, level in enumerate(levels)]

    def _distance(self, projected: list[Tensor]) -> float:
        gaps = [(a - b).abs().mean() for a, b in zip(projected, self.reference, strict=True)]
        return 1000 * float(torch.stack(gaps).mean())


def _pyramid(images: Tensor) -> list[Tensor]:
    """What each halving of the images loses, and the smallest image."""
    levels = []
    while images.shape[-1] >= 2 * COARSEST:
        half = interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True)
        levels.append(images - interpolate(half, size=images.shape[-2:], mode="bilinear"))
        images = half
    return [*levels, images]


def _cut(images: Tensor, level: int) -> Tensor:
    """Patches of (n, C, H, W) at random places, (n * 16, C * 49), each channel of mean 0 and deviation 1."""
    size = min(PATCH, images.shape[-1])
    n, random = len(images), noise.generator("patches", level)
    top, left = (torch.randint(images.shape[-1] - size + 1, (n, PER_IMAGE), generator=random) for _ in range(2))
    inside = torch.arange(size)
    rows, columns = (start[:, :, None, None].to(images.device) for start in (top, left))
    which = torch.arange(n, device=images.device)[:, None, None, None]
    patches = images.movedim(1, -1)[which, rows + inside[:, None].to(rows), columns + inside.to(rows)]
    channels = patches.flatten(0, 1).movedim(-1, 1).flatten(2)
    centred = channels - channels.mean(dim=(0, 2), keepdim=True)
    return (centred / centred.square().mean(dim=(0, 2), keepdim=True).sqrt().clamp_min(1e-8)).flatten(1)


def sorted_projections(rows: Tensor) -> Tensor:
    """Rows (n, d) projected on 512 random directions and sorted, (512, n).

    The mean absolute difference of two such is the mean W1 distance of the projections of two sets of n rows.
    """
    directions = torch.randn(DIRECTIONS, rows.shape[1], generator=noise.generator("directions")).to(rows.device)
    return ((directions / directions.norm(dim=1, keepdim=True)) @ rows.T).sort(dim=1).values
