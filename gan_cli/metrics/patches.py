"""A score of images that needs neither labels nor a trained network: how alike their small patches
are."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.decoded import Decoded, part_of, parts
from gan_cli.metrics.provenance import Provenance
from gan_cli.metrics.scoring import HIGH, Scoring, apart, counted, fewer_than, refuse_beyond_memory
from gan_cli.registry import Count, metrics

PATCH, PER_IMAGE, DIRECTIONS = 7, 16, 512
COARSEST = 14  # pixels a side of the last level of the pyramid, at least
METHOD = f"{PER_IMAGE} patches of {PATCH}x{PATCH} an image and level, {DIRECTIONS} directions"


@metrics.register("patches")
class PatchScores(Scoring):
    """Sliced Wasserstein distance between 7x7 patches of a Laplacian pyramid, averaged over its
    levels, times 1000.

    Reference: Karras et al., 2017, "Progressive Growing of GANs", arXiv 1710.10196, section 5. Here
    16 patches an image instead of 128, and halving by antialiased bilinear interpolation.

    - sliced_wasserstein: samples against as many training images, or all there are; `_floor` is
      that of as many held-out images, or of all there are.
    - scored_samples: how many.

    Args:
        n: samples to score.
    """

    kinds = ("image",)
    scores = ("sliced_wasserstein", "sliced_wasserstein_floor", "scored_samples")
    objectives = ("sliced_wasserstein",)
    objective = "sliced_wasserstein"
    lower_is_better = ("sliced_wasserstein",)

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        self.samples, self.device, self.resizing = n, device, dataset.resizing
        self.training, self.heldout = counted(dataset, n)
        refuse_beyond_memory("patches", n, 4 * 4 * DIRECTIONS * PER_IMAGE * n)
        self.reference = self._of(dataset, dataset.train, self.training)
        self.floor = self._distance(self._of(dataset, dataset.heldout, self.heldout))

    def seen(self, samples: Tensor, y: Tensor | None, start: int) -> list[Tensor]:
        """The patches of each level of the pyramid."""
        return self._patches(torch.nan_to_num(samples), start, self.samples)

    def judged(self, kept: Sequence[list[Tensor]]) -> dict[str, float]:
        """Scores of samples, (n, C, H, W) in [-1, 1]."""
        distance = self._distance(_projected(kept))
        scored = float(sum(len(part[0]) for part in kept) // PER_IMAGE)
        return {
            "sliced_wasserstein": distance,
            "sliced_wasserstein_floor": self.floor,
            "scored_samples": scored,
        }

    def describe(self) -> str:
        """One line on how the figures are made."""
        sides = apart(self.samples, self.training, self.heldout, HIGH)
        return (
            f"sliced Wasserstein distance of patches, {sides}; real against real: {self.floor:.2f}"
        )

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        split, sides = "training images; _floor: held-out ones", (self.training, self.heldout)
        note = fewer_than(self.samples, self.heldout, HIGH)
        return Provenance(self.samples, split, self.resizing, "none", "none", METHOD, *sides, note)

    def _of(self, dataset: Dataset, fields: Fields, n: int) -> list[Tensor]:
        """The projections of some images of a split, decoded a part at a time."""
        size = part_of(dataset.spec)
        images = (part["x"] for part in parts(Decoded(dataset, fields, n), size))
        return _projected(self._patches(part, i * size, n) for i, part in enumerate(images))

    def _patches(self, images: Tensor, start: int, n: int) -> list[Tensor]:
        """For each level of the pyramid its patches, cut at the same places every time: those of
        image i of n."""
        levels = _pyramid(images.to(self.device))
        return [
            _cut(level, place, start, max(n, start + len(images)))
            for place, level in enumerate(levels)
        ]

    def _distance(self, projected: list[Tensor]) -> float:
        gaps = [distance_of_sorted(a, b) for a, b in zip(projected, self.reference, strict=True)]
        return 1000 * float(torch.stack(gaps).mean())


def _pyramid(images: Tensor) -> list[Tensor]:
    """What each halving of the images loses, and the smallest image."""
    levels = []
    while min(images.shape[-2:]) >= 2 * COARSEST:
        half = interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True)
        levels.append(images - interpolate(half, size=images.shape[-2:], mode="bilinear"))
        images = half
    return [*levels, images]


def _cut(images: Tensor, level: int, start: int, n: int) -> Tensor:
    """Patches of (m, C, H, W), the images from `start` on of n, at random places: (m * 16, C,
    49)."""
    size, random = min(PATCH, *images.shape[-2:]), noise.generator("patches", level)
    top, left = (
        torch.randint(side - size + 1, (n, PER_IMAGE), generator=random)
        for side in images.shape[-2:]
    )
    rows, columns = (
        place[start : start + len(images), :, None, None].to(images.device) for place in (top, left)
    )
    inside = torch.arange(size, device=images.device)
    which = torch.arange(len(images), device=images.device)[:, None, None, None]
    patches = images.movedim(1, -1)[which, rows + inside[:, None], columns + inside]
    return patches.flatten(0, 1).movedim(-1, 1).flatten(2)


def _projected(kept: Iterable[list[Tensor]]) -> list[Tensor]:
    """For each level the sorted projections of its patches, each channel of mean 0 and deviation 1
    over all of them."""
    return [sorted_projections(_even(torch.cat(level))) for level in zip(*kept, strict=True)]


def _even(channels: Tensor) -> Tensor:
    centred = channels - channels.mean(dim=(0, 2), keepdim=True)
    return (
        centred / centred.square().mean(dim=(0, 2), keepdim=True).sqrt().clamp_min(1e-8)
    ).flatten(1)


def distance_of_sorted(a: Tensor, b: Tensor) -> Tensor:
    """Mean W1 distance of the rows of (d, n) and (d, m), each sorted: the area between their
    quantile functions."""
    n, m = a.shape[1], b.shape[1]
    if n == m:
        return (a - b).abs().mean()
    # where one of them steps, times n m
    edges = torch.cat([torch.arange(n + 1) * m, torch.arange(m + 1) * n]).unique()
    widths, at = (edges.diff() / (n * m)).to(a), edges[:-1]
    gaps = (a[:, (at // m).to(a.device)] - b[:, (at // n).to(b.device)]).abs_()
    return (gaps @ widths).mean()


def sorted_projections(rows: Tensor) -> Tensor:
    """Rows (n, d) projected on 512 random directions and sorted, (512, n).

    The mean absolute difference of two such is the mean W1 distance of the projections of two sets
    of n rows.
    """
    directions = torch.randn(DIRECTIONS, rows.shape[1], generator=noise.generator("directions")).to(
        rows.device
    )
    return ((directions / directions.norm(dim=1, keepdim=True)) @ rows.T).sort(dim=1).values
