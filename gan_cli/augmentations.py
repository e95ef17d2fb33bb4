"""Random changes to what the discriminator sees, real and fake alike, so that few samples cannot be
learnt by heart.

An augmentation is a differentiable map of a batch: the generator learns through it. In evaluation
it does nothing.

Class attributes, read by the guard rails before torch loads:
    kinds: the kinds of data that it can change.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.optimizers import Rate
from gan_cli.registry import Count, Positive, augmentations


@augmentations.register("none")
class Augmentation(nn.Module):
    """No change. The base of the others."""

    kinds: ClassVar[tuple[str, ...]] = ("image", "points", "text")

    def forward(self, x: Tensor) -> Tensor:
        return self.changed(x) if self.training else x

    def begin_round(self, step: int) -> None:
        """Called before the turns of a round."""

    def changed(self, x: Tensor) -> Tensor:
        """The batch as the discriminator sees it in training, in the shape of `x`."""
        return x


@augmentations.register("diff_augment")
class DiffAugment(Augmentation):
    """Colour, translation and cutout, drawn anew for every image.

    Reference: Zhao et al., 2020, "Differentiable Augmentation for Data-Efficient GAN Training",
    arXiv 2006.10738, equations 4 to 6 and the authors' ranges: brightness +-0.5, saturation times
    [0, 2), contrast times [0.5, 1.5); translation by up to an eighth of the side, over zeros; a
    square of half the side set to zero.

    Args:
        policy: which of the three, in this order.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self, policy: list[Literal["color", "translation", "cutout"]] | None = None
    ) -> None:
        super().__init__()
        self.policy = list(POLICIES) if policy is None else policy

    def changed(self, x: Tensor) -> Tensor:
        for name in self.policy:
            x = POLICIES[name](x)
        return x


def color(x: Tensor) -> Tensor:
    """Brightness, saturation (of colour images) and contrast of (N, C, H, W)."""
    x = x + noise.per_sample_uniform(x) - 0.5
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * 2 * noise.per_sample_uniform(x)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (noise.per_sample_uniform(x) + 0.5)


def translation(x: Tensor, share: float = 0.125) -> Tensor:
    """Every image moved by a whole number of pixels down and right (or up and left), at most
    `share` of its side."""
    rows, columns = (
        _index(size, _whole(x, -_reach(size, share), _reach(size, share))) for size in x.shape[2:]
    )
    padded = nn.functional.pad(x, [1, 1, 1, 1])  # index 0 and the last are outside
    moved = padded.gather(
        2, rows.view(-1, 1, x.shape[2], 1).expand(-1, x.shape[1], -1, padded.shape[3])
    )
    return moved.gather(
        3, columns.view(-1, 1, 1, x.shape[3]).expand(-1, x.shape[1], x.shape[2], -1)
    )


def cutout(x: Tensor, share: float = 0.5) -> Tensor:
    """A square of `share` of the side, centred anywhere in the image, set to zero."""
    inside = []
    for size in x.shape[2:]:
        side = _reach(size, share)
        first = _whole(x, 0, size - side % 2) - side // 2
        places = torch.arange(size, device=x.device)
        inside.append((places >= first[:, None]) & (places < first[:, None] + side))
    return x * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


def _reach(size: int, share: float) -> int:
    return int(size * share + 0.5)


def _whole(x: Tensor, lowest: int, highest: int) -> Tensor:
    """A whole number in [lowest, highest] for each sample, (N,)."""
    return (noise.per_sample_uniform(x).flatten() * (highest - lowest + 1)).floor().long() + lowest


def _index(size: int, shift: Tensor) -> Tensor:
    """Where in an axis with one more place at each end the values of a shifted axis lie, (N,
    size)."""
    return (torch.arange(size, device=shift.device) - shift[:, None] + 1).clamp(0, size + 1)


POLICIES = {"color": color, "translation": translation, "cutout": cutout}


@augmentations.register("instance_noise")
class InstanceNoise(Augmentation):
    """x + sigma * N(0, I), with sigma falling to zero over the run: real and fake samples share a
    support at last.

    Reference: Arjovsky and Bottou, 2017, arXiv 1701.04862, section 3; Sonderby et al., 2016, arXiv
    1610.04490, section 3.3. The critic's diagnostics are taken of noisy samples too.

    Args:
        sigma: deviation in the first round, in the units of the samples.
        schedule: how it falls: its factor as a function of the round, by the learning-rate schedule
            of that name.
        total: rounds until it is zero.
    """

    sigma: Tensor
    sharding: ClassVar[dict[str, str]] = {"sigma": "same"}  # see `gan_cli.training.shards`

    def __init__(
        self,
        total: Count,
        sigma: Positive = 0.1,
        schedule: Literal["linear", "cosine"] = "linear",
    ) -> None:
        super().__init__()
        self.first, self.rate = sigma, Rate({"name": schedule, "total": total})
        self.register_buffer("sigma", torch.tensor(float(sigma)))

    def begin_round(self, step: int) -> None:
        self.sigma.fill_(self.first * self.rate(step))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sigma * noise.rows(torch.randn, *x.shape, device=x.device)
