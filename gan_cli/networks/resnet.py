"""Residual networks: the small one of the CIFAR-10 experiments, and the 101-layer one of the
robustness grid."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from gan_cli.errors import UserError
from gan_cli.networks.attention import attending
from gan_cli.networks.conditional import Chain, class_norms
from gan_cli.networks.layers import Scored, constrain, initialise, norm
from gan_cli.registry import Count, Depth, networks

Norms = Callable[[int], list[nn.Module]]
"""The norm of so many channels, in a list that may be empty."""
SIZES = (8, 16, 28, 32, 64, 128, 256, 512, 1024)


def doublings(shape: tuple[int, ...], family: str = "resnet") -> tuple[int, int]:
    """The side of the smallest feature map, and how often it doubles to the image's: (4, 3) for 32,
    (7, 2) for 28.

    Raises:
        UserError: the family has no networks for that shape.
    """
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] not in SIZES:
        known = ", ".join(str(size) for size in SIZES)
        raise UserError(
            f"network={family}: cannot make samples of shape {tuple(shape)}; it takes squares of "
            f"side {known}."
        )
    base = 7 if shape[1] == 28 else 4
    return base, (shape[1] // base).bit_length() - 1


class Block(nn.Module):
    """x -> shortcut(x) + residual(x), of two 3x3 convolutions each after a norm and a ReLU.

    Args:
        normed: the norms; conditional ones are given what `forward` takes beside x.
        resize: `up` doubles the side before the first convolution, `down` halves it after the
            second.
        first: the block that sees the image: no norm and no ReLU before its first convolution.
    """

    takes_condition: ClassVar[bool] = True

    def __init__(
        self,
        inputs: int,
        outputs: int,
        normed: Norms,
        resize: Literal["up", "down", ""] = "",
        first: bool = False,
    ) -> None:
        super().__init__()
        self.before = Chain(*([] if first else [*normed(inputs), nn.ReLU()]))
        self.first = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
        middle = [*([] if first else normed(outputs)), nn.ReLU()]
        self.second = Chain(*middle, nn.Conv2d(outputs, outputs, kernel_size=3, padding=1))
        plain = inputs == outputs and not resize
        self.shortcut = nn.Identity() if plain else nn.Conv2d(inputs, outputs, kernel_size=1)
        self.resize = resize

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        grown, halved = resizing(self.resize)
        residual = self.second(self.first(grown(self.before(x, *given))), *given)
        return self.shortcut(grown(halved(x))) + halved(residual)


def resizing(resize: str) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """What doubles the side of feature maps and what halves it; either does so only if `resize` is
    `up` or `down`."""
    return (
        (lambda h: interpolate(h, scale_factor=2.0)) if resize == "up" else (lambda h: h),
        (lambda h: avg_pool2d(h, 2)) if resize == "down" else (lambda h: h),
    )


@networks.register("resnet.generator")
class Generator(nn.Module):
    """(N, latent) -> (N, C, S, S) in [-1, 1], or with the class as (N,) beside z: a linear map to
    the smallest maps, then a block for each doubling.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, appendix F (width 128); Miyato et al.,
    2018, arXiv 1802.05957, table 4 (width 256).

    Args:
        classes: how many there are, which the norms of the blocks are told; 0 is none.
        width: channels everywhere.
        generator_norm: before every convolution but those of the shortcuts; with classes batch norm
            or none.
        attention: the largest feature maps of at most this side attend to themselves (SAGAN); 0 is
            none.
        spectral: spectral norm on every layer (SAGAN), besides the norm of the features.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    takes_classes: ClassVar[bool] = True

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        classes: int = 0,
        width: Count = 128,
        generator_norm: Literal["none", "batch", "layer"] = "batch",
        attention: Annotated[int, Ge(0)] = 0,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        base, count = doublings(shape)
        plain = partial(norm, generator_norm, spatial=True)
        normed = class_norms(classes, generator_norm) if classes else plain
        blocks: list[nn.Module] = [Block(width, width, normed, "up") for _ in range(count)]
        sides = [base * 2**i for i in range(1, count + 1)]
        self.layers = Chain(
            nn.Linear(latent, width * base**2),
            nn.Unflatten(1, (width, base, base)),
            *attending(blocks, sides, attention, [width] * count),
            *plain(width),
            nn.ReLU(),
            nn.Conv2d(width, shape[0], kernel_size=3, padding=1),
            nn.Tanh(),
        )
        initialise(self, "he")
        constrain(self, "spectral" if spectral else "none")

    def forward(self, z: Tensor, *given: Tensor) -> Tensor:
        return self.layers(z, *given)


@networks.register("resnet.discriminator")
class Discriminator(nn.Module):
    """(N, C, S, S) -> (N,): blocks that halve the side down to 8, two more, the features pooled, a
    linear score.

    Reference: as the generator's.

    Args:
        width: channels everywhere.
        critic_norm: before every convolution but those of the first block and of the shortcuts.
        pool: `mean` over the pixels (WGAN-GP) or `sum` (SNGAN).
        attention: as the generator's.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Count = 128,
        critic_norm: Literal["none", "batch", "layer", "instance", "weight", "spectral"] = "none",
        pool: Literal["mean", "sum"] = "mean",
        attention: Annotated[int, Ge(0)] = 0,
    ) -> None:
        super().__init__()
        _, count = doublings(shape)
        halvings = max(1, count - 1)
        normed = partial(norm, critic_norm, spatial=True)
        blocks: list[nn.Module] = [
            Block(shape[0], width, normed, "down", first=True),
            *(Block(width, width, normed, "down") for _ in range(halvings - 1)),
            *(Block(width, width, normed) for _ in range(2)),
        ]
        sides = [shape[1] // 2 ** min(i, halvings) for i in range(1, len(blocks) + 1)]
        attended = attending(blocks, sides, attention, [width] * len(blocks))
        self.blocks = nn.Sequential(*attended, nn.ReLU())
        self.score, self.pool = nn.Sequential(nn.Linear(width, 1), nn.Flatten(0)), pool
        self.feature_size = width
        initialise(self, "he")
        constrain(self, critic_norm)

    def features(self, x: Tensor) -> Tensor:
        """What the blocks make of samples, (N, feature_size)."""
        maps = self.blocks(x)
        return maps.mean(dim=(2, 3)) if self.pool == "mean" else maps.sum(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.features(x))


# --- 101 layers -----------------------------------------------------------------------------------

SCALED = 0.3  # of every residual, so that 33 of them do not drown the input
FLATTENED = 5.0  # divides what comes before the tanh, and the score


class Bottleneck(nn.Module):
    """x -> shortcut(x) + 0.3 * norm(residual(x)), of 1x1, 3x3 and 1x1 convolutions each after a
    ReLU."""

    def __init__(
        self, inputs: int, outputs: int, norm_name: str, resize: Literal["up", "down", ""] = ""
    ) -> None:
        super().__init__()
        half_in, half_out = max(1, inputs // 2), max(1, outputs // 2)
        middle: dict[str, nn.Module] = {
            "": nn.Conv2d(half_in, half_out, kernel_size=3, padding=1),
            "down": nn.Conv2d(half_in, half_out, kernel_size=4, stride=2, padding=1),
            "up": nn.ConvTranspose2d(half_in, half_out, kernel_size=4, stride=2, padding=1),
        }
        shortcut: dict[str, nn.Module] = {
            "": nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, kernel_size=1),
            "down": nn.Conv2d(inputs, outputs, kernel_size=2, stride=2),
            "up": nn.Sequential(nn.Conv2d(inputs, 4 * outputs, kernel_size=1), nn.PixelShuffle(2)),
        }
        self.shortcut = shortcut[resize]
        self.residual = nn.Sequential(
            nn.ReLU(), nn.Conv2d(inputs, half_in, kernel_size=1),
            nn.ReLU(), middle[resize],
            nn.ReLU(), nn.Conv2d(half_out, outputs, kernel_size=1),
            *norm(norm_name, outputs, spatial=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + SCALED * self.residual(x)


def scales(shape: tuple[int, ...], width: int, blocks: int) -> tuple[int, list[int], list[int]]:
    """The side of the coarsest maps, and for each scale from there: its channels, and its blocks
    that keep the side.

    64x64 at width 64 and 33 blocks is (4, [512, 256, 128, 64, 32], [6, 6, 6, 6, 5]), as in the
    authors' code.
    """
    base, count = doublings(shape)
    if blocks < count:
        raise UserError(
            f"network.blocks={blocks}: an image of side {shape[1]} needs at least {count}."
        )
    channels = [max(2, width * 2**i // 2) for i in reversed(range(count + 1))]
    each, extra = divmod(blocks - count, count + 1)
    return base, channels, [each + (i < extra) for i in range(count + 1)]


@networks.register("resnet101.generator")
class DeepGenerator(nn.Module):
    """(N, latent) -> (N, C, S, S) in [-1, 1]: a linear map, 33 bottleneck blocks of three
    convolutions, a convolution.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, section 5.1 and the authors' code for 64x64
    (width 64).

    Args:
        width: twice the channels at the image's side; they double with each halving.
        blocks: 33 makes 101 layers; they are shared out over the scales.
        generator_norm: at the end of every block.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        width: Count = 16,
        blocks: Depth = 33,
        generator_norm: Literal["none", "batch", "layer"] = "batch",
    ) -> None:
        super().__init__()
        base, channels, plain = scales(shape, width, blocks)
        layers: list[nn.Module] = []
        for i, (features, count) in enumerate(zip(channels, plain, strict=True)):
            layers += [Bottleneck(channels[i - 1], features, generator_norm, "up")] if i else []
            layers += [Bottleneck(features, features, generator_norm) for _ in range(count)]
        self.start = nn.Sequential(
            nn.Linear(latent, channels[0] * base**2), nn.Unflatten(1, (channels[0], base, base))
        )
        self.blocks = nn.Sequential(*layers)
        self.end = nn.Conv2d(channels[-1], shape[0], kernel_size=1)
        initialise(self, "he")

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.end(self.blocks(self.start(z))) / FLATTENED)


@networks.register("resnet101.discriminator")
class DeepDiscriminator(Scored):
    """(N, C, S, S) -> (N,): the generator's blocks in the opposite order, a linear score.

    Args:
        width, blocks: as the generator's.
        critic_norm: at the end of every block; layer norm in the paper.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Count = 16,
        blocks: Depth = 33,
        critic_norm: Literal["none", "batch", "layer", "instance", "weight", "spectral"] = "layer",
    ) -> None:
        super().__init__()
        base, channels, plain = scales(shape, width, blocks)
        layers: list[nn.Module] = [nn.Conv2d(shape[0], channels[-1], kernel_size=1)]
        for i, (features, count) in reversed(list(enumerate(zip(channels, plain, strict=True)))):
            layers += [Bottleneck(features, features, critic_norm) for _ in range(count)]
            layers += [Bottleneck(features, channels[i - 1], critic_norm, "down")] if i else []
        self.end_with([*layers, nn.Flatten()], channels[0] * base**2)
        initialise(self, "he")
        constrain(self, critic_norm)

    def score(self, features: Tensor) -> Tensor:
        return super().score(features) / FLATTENED

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.features(x))
