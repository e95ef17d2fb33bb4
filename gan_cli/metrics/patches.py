"""A distance of images by their small patches, which needs neither labels nor a network."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.decoded import Decoded, part_of, parts
from gan_cli.metrics.scoring import (
    FLOOR_TOO_HIGH,
    Scoring,
    describe_sizes,
    refuse_beyond_memory,
    sizes,
    smaller_floor,
)
from gan_cli.registry import Count, metrics

PATCH = 7  # pixels a side of a patch
PER_IMAGE = 16  # patches of an image and level
DIRECTIONS = 512  # random directions that patches are projected on
COARSEST = 14  # pixels a side of the last level of the pyramid, at least


@metrics.register("patches")
class PatchScores(Scoring):
    """Sliced Wasserstein distance between 7x7 patches of the levels of a Laplacian pyramid.

    It is averaged over the levels, times 1000.

    Reference: Karras et al., 2017, "Progressive Growing of GANs", arXiv 1710.10196, section 5. Here
    16 patches an image instead of 128, and halving by antialiased bilinear interpolation.

    - sliced_wasserstein: samples against as many training images, or all there are; `_floor` is
      that of as many held-out images, or of all there are.
    - scored_samples: number of samples.

    Args:
        n: samples to score.
    """

    kinds = ("image",)
    scores = ("sliced_wasserstein", "sliced_wasserstein_floor", "scored_samples")
    objectives = ("sliced_wasserstein",)
    objective = "sliced_wasserstein"
    lower_is_better = ("sliced_wasserstein",)
    split = "training images; _floor: held-out ones"
    method = f"{PER_IMAGE} patches of {PATCH}x{PATCH} an image and level, {DIRECTIONS} directions"
    n_reference: int
    n_floor: int

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        self.samples, self.device, self.resizing = n, device, dataset.resizing
        self.n_reference, self.n_floor = sizes(dataset, n)
        self.note = smaller_floor(n, self.n_floor, FLOOR_TOO_HIGH)
        # projections of both sides in float32, before and after they are sorted
        refuse_beyond_memory("patches", n, 4 * 4 * DIRECTIONS * PER_IMAGE * n)
        self.reference = self._of_split(dataset, dataset.train, self.n_reference)
        self.floor = self._distance(self._of_split(dataset, dataset.heldout, self.n_floor))

    def extract(self, samples: Tensor, y: Tensor | None, start: int) -> list[Tensor]:
        """The patches of each level of the pyramid, for images (n, C, H, W)."""
        return self._patches(torch.nan_to_num(samples), start, self.samples)

    def compute(self, extracts: Sequence[list[Tensor]]) -> dict[str, float]:
        distance = self._distance(_projections(extracts))
        scored = float(sum(len(part[0]) for part in extracts) // PER_IMAGE)
        return {
            "sliced_wasserstein": distance,
            "sliced_wasserstein_floor": self.floor,
            "scored_samples": scored,
        }

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        sides = describe_sizes(self.samples, self.n_reference, self.n_floor, FLOOR_TOO_HIGH)
        return (
            f"sliced Wasserstein distance of patches, {sides}; real against real: {self.floor:.2f}"
        )

    def _of_split(self, dataset: Dataset, fields: Fields, n: int) -> list[Tensor]:
        """Projections of n images of a split for each level, decoded part by part."""
        size = part_of(dataset.spec)
        images = (part["x"] for part in parts(Decoded(dataset, fields, n), size))
        return _projections(self._patches(part, i * size, n) for i, part in enumerate(images))

    def _patches(self, images: Tensor, start: int, n: int) -> list[Tensor]:
        """Patches of the images from index `start` on of n, for each level of the pyramid.

        Image i of n has its patches at the same positions every time.
        """
        levels = _pyramid(images.to(self.device))
        return [
            _cut(level, index, start, max(n, start + len(images)))
            for index, level in enumerate(levels)
        ]

    def _distance(self, projections: list[Tensor]) -> float:
        """Mean distance of projections from the reference set's over all levels, times 1000."""
        gaps = [distance_of_sorted(a, b) for a, b in zip(projections, self.reference, strict=True)]
        return 1000 * float(torch.stack(gaps).mean())


def _pyramid(images: Tensor) -> list[Tensor]:
    """Laplacian pyramid: the detail lost by each halving, and the coarsest images."""
    levels = []
    while min(images.shape[-2:]) >= 2 * COARSEST:
        half = interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True)
        levels.append(images - interpolate(half, size=images.shape[-2:], mode="bilinear"))
        images = half
    return [*levels, images]


def _cut(images: Tensor, level: int, start: int, n: int) -> Tensor:
    """Patches at random positions of a level of some images.

    Args:
        images: (m, C, H, W), a level of the images `start` to `start + m - 1` of n.
        level: index of the level, which decides the positions.

    Returns:
        (m * 16, C, 49).
    """
    size, random = min(PATCH, *images.shape[-2:]), noise.generator("patches", level)
    top, left = (
        torch.randint(side - size + 1, (n, PER_IMAGE), generator=random)
        for side in images.shape[-2:]
    )
    rows, columns = (
        corner[start : start + len(images), :, None, None].to(images.device)
        for corner in (top, left)
    )

    inside = torch.arange(size, device=images.device)
    which = torch.arange(len(images), device=images.device)[:, None, None, None]
    patches = images.movedim(1, -1)[which, rows + inside[:, None], columns + inside]
    return patches.flatten(0, 1).movedim(-1, 1).flatten(2)


def _projections(patches: Iterable[list[Tensor]]) -> list[Tensor]:
    """Sorted projections of the standardised patches of all parts, for each level."""
    levels = zip(*patches, strict=True)
    return [sorted_projections(_standardised(torch.cat(level))) for level in levels]


def _standardised(channels: Tensor) -> Tensor:
    """Patches (m, C, 49), each channel scaled to mean 0 and std 1 over all: (m, C * 49)."""
    centred = channels - channels.mean(dim=(0, 2), keepdim=True)
    std = centred.square().mean(dim=(0, 2), keepdim=True).sqrt()
    return (centred / std.clamp_min(1e-8)).flatten(1)


def distance_of_sorted(a: Tensor, b: Tensor) -> Tensor:
    """Mean Wasserstein-1 distance of the sorted rows of (d, n) and (d, m).

    In one dimension it is the area between two quantile functions.
    """
    n, m = a.shape[1], b.shape[1]
    if n == m:
        return (a - b).abs().mean()
    # positions, times n m, at which one of the quantile functions steps
    edges = torch.cat([torch.arange(n + 1) * m, torch.arange(m + 1) * n]).unique()
    widths, left = (edges.diff() / (n * m)).to(a), edges[:-1]
    gaps = (a[:, (left // m).to(a.device)] - b[:, (left // n).to(b.device)]).abs_()
    return (gaps @ widths).mean()


def sorted_projections(rows: Tensor) -> Tensor:
    """Rows (n, d) projected on 512 random directions and sorted, (512, n).

    For two sets of n rows, the mean absolute difference of the sorted projections is the mean
    Wasserstein-1 distance of the projections.
    """
    directions = torch.randn(DIRECTIONS, rows.shape[1], generator=noise.generator("directions"))
    directions = directions.to(rows.device)
    return ((directions / directions.norm(dim=1, keepdim=True)) @ rows.T).sort(dim=1).values
