"""Residual networks without any norm: grouped convolutions, and every block starts as nothing."""

from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gan_cli.networks.layers import GAIN, Scored
from gan_cli.networks.progressive import WIDEST, channels
from gan_cli.registry import Count, Depth, networks

L = TypeVar("L", nn.Conv2d, nn.Linear)


def drawn(layer: L, gain: float = 1.0) -> L:
    """The layer, its weights drawn with standard deviation gain / sqrt(fan_in), its offsets at
    zero."""
    nn.init.normal_(layer.weight, 0.0, gain / layer.weight[0].numel() ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """x + residual(x), of a 1x1, a grouped 3x3 and a 1x1 convolution, the last of which starts at
    zero.

    Reference: Huang et al., 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline",
    arXiv 2501.05441; Zhang et al., 2019, "Fixup Initialization", arXiv 1901.09321: the first two
    are drawn smaller, the more blocks there are.

    Args:
        channels: of x.
        blocks: in the network.
        expansion: hidden channels for each of x.
        group: hidden channels that a 3x3 convolution sees together.
    """

    def __init__(self, channels: int, blocks: int, expansion: int, group: int) -> None:
        super().__init__()
        hidden = channels * expansion
        groups = hidden // group if hidden % group == 0 else 1
        std = GAIN * blocks**-0.25
        self.residual = nn.Sequential(
            drawn(nn.Conv2d(channels, hidden, 1), std), nn.LeakyReLU(0.2),
            drawn(nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups), std),
            nn.LeakyReLU(0.2),
            drawn(nn.Conv2d(hidden, channels, 1, bias=False), 0.0),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


def _point(inputs: int, outputs: int) -> nn.Module:
    """Other channels for each pixel; nothing where they stay."""
    if inputs == outputs:
        return nn.Identity()
    return drawn(nn.Conv2d(inputs, outputs, 1, bias=False))


class _Basis(nn.Module):
    """z -> the coarsest maps, each a learnt picture as strong as z says: (N, latent) -> (N, C,
    side, side)."""

    def __init__(self, latent: int, channels: int, side: int) -> None:
        super().__init__()
        self.pictures = nn.Parameter(torch.randn(channels, side, side))
        self.strength = drawn(nn.Linear(latent, channels, bias=False))

    def forward(self, z: Tensor) -> Tensor:
        return self.strength(z)[:, :, None, None] * self.pictures


class _Halved(nn.Module):
    """Half the side: the mean of every four pixels, which is what bilinear resampling comes to."""

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(x, 2)


@networks.register("resnext.generator")
class Generator(nn.Module):
    """(N, latent) -> (N, C, S, S): learnt pictures weighed by z, then blocks at every scale. No
    norm anywhere.

    As with `progressive`, colours are bounded in evaluation only.

    Reference: Huang et al., 2024, arXiv 2501.05441.

    Args:
        width: channels at the image's side; they double with each halving.
        widest: to so many channels, or the width where that is more.
        blocks: at each scale.
        expansion: hidden channels of a block for each of its own.
        group: hidden channels that a 3x3 convolution sees together.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        bounded: bool = True,
        width: Count = 32,
        widest: Count = WIDEST,
        blocks: Depth = 2,
        expansion: Count = 2,
        group: Count = 16,
    ) -> None:
        super().__init__()
        base, features = channels(shape, width, "resnext", widest)
        layers: list[nn.Module] = [_Basis(latent, features[0], base)]
        for i, out in enumerate(features):
            layers += (
                [_point(features[i - 1], out), nn.Upsample(scale_factor=2, mode="bilinear")]
                if i
                else []
            )
            layers += [Block(out, blocks * len(features), expansion, group) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, drawn(nn.Conv2d(features[-1], shape[0], 1)))
        self.bounded = bounded

    def forward(self, z: Tensor) -> Tensor:
        image = self.layers(z)
        return image if self.training or not self.bounded else image.clamp(-1, 1)


@networks.register("resnext.discriminator")
class Discriminator(Scored):
    """(N, C, S, S) -> (N,): the generator's blocks in the opposite order, a weighted sum of each of
    the coarsest maps.

    Reference: as the generator's.

    Args:
        width, widest, blocks, expansion, group: as the generator's.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Count = 32,
        widest: Count = WIDEST,
        blocks: Depth = 2,
        expansion: Count = 2,
        group: Count = 16,
    ) -> None:
        super().__init__()
        base, features = channels(shape, width, "resnext", widest)
        layers: list[nn.Module] = [drawn(nn.Conv2d(shape[0], features[-1], 1))]
        for i, out in reversed(list(enumerate(features))):
            layers += [Block(out, blocks * len(features), expansion, group) for _ in range(blocks)]
            layers += [_Halved(), _point(out, features[i - 1])] if i else []
        told = drawn(nn.Conv2d(features[0], features[0], base, groups=features[0], bias=False))
        self.end_with(
            [*layers, told, nn.Flatten()], features[0], head=drawn(nn.Linear(features[0], 1))
        )
