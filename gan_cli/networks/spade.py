"""Networks of SPADE: a generator that is told a label map at every scale, and a discriminator of
patches at several scales."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from gan_cli.errors import UserError
from gan_cli.networks.layers import constrain, initialise, norm
from gan_cli.registry import Count, networks

BASE = 4  # pixels a side of the smallest feature maps
WIDEST = 16  # channels stop doubling at 16 * width
PLAIN = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
"""Norms that scale and shift nothing themselves."""


class Spade(nn.Module):
    """A norm whose scale and offset in each place follow from the map: norm(x) (1 + gamma) + beta.

    Reference: Park et al., 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization",
    arXiv 1903.07291, equation 1. The map is resized to the features by the nearest neighbour.
    """

    def __init__(self, width: int, labels: int, hidden: int, norm_name: str) -> None:
        super().__init__()
        self.norm = PLAIN[norm_name](width, affine=False)
        self.shared = nn.Conv2d(labels, hidden, kernel_size=3, padding=1)
        self.gamma = nn.Conv2d(hidden, width, kernel_size=3, padding=1)
        self.beta = nn.Conv2d(hidden, width, kernel_size=3, padding=1)

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        told = self.shared(interpolate(maps, size=x.shape[2:], mode="nearest")).relu()
        scaled: Tensor = self.norm(x) * (1 + self.gamma(told)) + self.beta(told)
        return scaled


class Block(nn.Module):
    """shortcut(x) + residual(x), of two 3x3 convolutions, each after a SPADE and a leaky ReLU."""

    def __init__(
        self, inputs: int, outputs: int, labels: int, hidden: int, norm_name: str, weights: str
    ) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.spades = nn.ModuleList(
            Spade(width, labels, hidden, norm_name) for width in (inputs, middle)
        )
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, padding=1)
            for before, after in ((inputs, middle), (middle, outputs))
        )
        self.around = None
        if inputs != outputs:
            self.around = Spade(inputs, labels, hidden, norm_name)
            self.shortcut = nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)
            constrain(self.shortcut, weights)
        constrain(self.convolutions, weights)

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        added = x
        for spade, convolution in zip(self.spades, self.convolutions, strict=True):
            added = convolution(nn.functional.leaky_relu(spade(added, maps), 0.2))
        return added + (x if self.around is None else self.shortcut(self.around(x, maps)))


@networks.register("spade.generator")
class Generator(nn.Module):
    """(N, labels, H, W), (N, latent) -> (N, C, H, W) in [-1, 1]: from 4x4 maps outwards, each block
    told the map by SPADE. Without a latent it takes larger maps too, of sides that can be halved as
    often as those that it is made for.

    Reference: Park et al., 2019, arXiv 1903.07291, section 3 and appendix A: spectral norm, leaky
    ReLU of slope 0.2, nearest upsampling, a width of 64 and 128 hidden channels at 256x256. It
    starts from z, or without a latent from the map at 4x4.

    Args:
        width: channels at the image's side; they double with each halving, to 16 times.
        hidden: channels between the map and its scale and offset.
        spade_norm: the norm whose scale and offset the map sets.
        weight_norm: of the convolutions of the blocks.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    takes_inputs: ClassVar[bool] = True

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs: tuple[int, ...],
        latent: int = 0,
        width: Count = 16,
        hidden: Count = 32,
        spade_norm: Literal["batch", "instance"] = "batch",
        weight_norm: Literal["none", "spectral"] = "spectral",
    ) -> None:
        super().__init__()
        doublings = (shape[1] // BASE).bit_length() - 1
        if shape[1] != shape[2] or shape[1] != BASE * 2**doublings or not doublings:
            raise UserError(
                f"network=spade: makes squares of 8, 16, 32, ... pixels, and these are of "
                f"{shape[1]}x{shape[2]}; set data.image_size."
            )
        widths = [width * min(2**i, WIDEST) for i in reversed(range(doublings + 1))]
        labels = inputs[0]
        self.first: nn.Module
        if latent:
            self.first = nn.Sequential(
                nn.Linear(latent, widths[0] * BASE**2), nn.Unflatten(1, (widths[0], BASE, BASE))
            )
        else:
            self.first = nn.Conv2d(labels, widths[0], kernel_size=3, padding=1)
        self.latent = latent
        self.scale = 2**doublings
        # what the sides of an input must be multiples of; a linear map makes 4x4 maps only
        self.multiple = 0 if latent else self.scale
        self.blocks = nn.ModuleList(
            Block(before, after, labels, hidden, spade_norm, weight_norm)
            for before, after in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.last = nn.Conv2d(widths[-1], shape[0], kernel_size=3, padding=1)
        initialise(self, "he")

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        if self.latent:
            maps = self.first(z)
        else:
            smallest = [side // self.scale for side in x.shape[2:]]
            maps = self.first(interpolate(x, size=smallest, mode="nearest"))
        for i, block in enumerate(self.blocks):
            if i:
                maps = interpolate(maps, scale_factor=2, mode="nearest")
            maps = block(maps, x)
        image: Tensor = self.last(nn.functional.leaky_relu(maps, 0.2))
        return image.tanh()


@networks.register("spade.discriminator")
class Discriminator(nn.Module):
    """(N, C, H, W) -> (N, P): the scores of patches of the image, and of the image at half the side
    and so on.

    Reference: Wang et al., 2018, "High-Resolution Image Synthesis and Semantic Manipulation with
    Conditional GANs", arXiv 1711.11585, section 3.2, with the norms of Park et al., 2019.

    Args:
        width: channels after the first layer; they double with each one, to 8 times.
        scales: sizes of the image that are judged.
        halvings: layers of stride 2; one more of stride 1 follows, and the scores.
        critic_norm: of the layers between the first and the last one.
        weight_norm: of the weights of those layers, too.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Count = 32,
        scales: Annotated[int, Ge(1), Le(4)] = 2,
        halvings: Annotated[int, Ge(1), Le(4)] = 2,
        critic_norm: Literal["none", "batch", "layer", "instance"] = "instance",
        weight_norm: Literal["none", "spectral"] = "spectral",
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            _patches(shape[0], width, halvings, critic_norm, weight_norm) for _ in range(scales)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([maps[-1].flatten(1) for maps in self.layers(x)], dim=1)

    def layers(self, x: Tensor) -> list[list[Tensor]]:
        """What each layer gives at each scale; the last one gives the scores."""
        found = []
        for stages in self.scales:
            found.append(list(_each(stages, x)))
            x = avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return found


def _each(stages: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """The outputs of modules one after the other."""
    for stage in stages.children():
        x = stage(x)
        yield x


def _patches(
    channels: int, width: int, halvings: int, norm_name: str, weight_norm: str
) -> nn.Module:
    """The stages of a discriminator of patches: 4x4 convolutions, leaky ReLU of slope 0.2."""
    stages: list[nn.Module] = []
    before = channels
    for i in range(halvings + 1):
        after = width * min(2**i, 8)
        stride = 2 if i < halvings else 1
        convolution = nn.Conv2d(before, after, 4, stride=stride, padding=2)
        normed = norm(norm_name, after, spatial=True) if i else []
        stages.append(nn.Sequential(convolution, *normed, nn.LeakyReLU(0.2)))
        before = after
    stages.append(nn.Conv2d(before, 1, 4, padding=2))
    network = nn.Sequential(*stages)
    initialise(network, "he")
    for stage in stages[1:-1]:
        constrain(stage, weight_norm)
    return network
