"""Growing networks: they begin with the coarsest images and double their side at each stage."""

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, linear

from gan_cli.networks.layers import GAIN, MinibatchDeviation, Scored, widened
from gan_cli.networks.resnet import doublings
from gan_cli.registry import Count, networks

WIDEST = 512  # channels double with each halving of the side up to here
TINY = 1e-8


class EqualConv(nn.Conv2d):
    """A convolution that keeps the side unless told otherwise, its weights drawn from N(0, 1) and
    scaled by gain / sqrt(fan_in) at every use.

    Reference: Karras et al., 2018, "Progressive Growing of GANs", arXiv 1710.10196, section 4.1: so
    Adam, whose steps do not know the scale of a weight, moves all layers at one speed.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        gain: float = GAIN,
        padding: int | None = None,
        stride: int = 1,
        bias: bool = True,
    ):
        kept = kernel_size // 2 if padding is None else padding
        super().__init__(inputs, outputs, kernel_size, stride, padding=kept, bias=bias)
        self.scale = gain / (inputs * kernel_size**2) ** 0.5
        _draw(self)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.used_weight, self.bias, self.stride, self.padding)

    @property
    def used_weight(self) -> Tensor:
        """The scaled weight."""
        return self.weight * self.scale


class EqualLinear(nn.Linear):
    """A linear map, its weights scaled as those of `EqualConv`.

    Args:
        rate: how fast it learns: weights and offsets are so many times smaller than what is stored.
        offset: what every output starts with.
    """

    def __init__(
        self, inputs: int, outputs: int, gain: float = GAIN, rate: float = 1.0, offset: float = 0.0
    ) -> None:
        super().__init__(inputs, outputs)
        self.scale, self.rate = gain / inputs**0.5 * rate, rate
        _draw(self, 1 / rate, offset / rate)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.used_weight, self.bias * self.rate)

    @property
    def used_weight(self) -> Tensor:
        """The scaled weight."""
        return self.weight * self.scale


def _draw(layer: nn.Conv2d | nn.Linear, std: float = 1.0, offset: float = 0.0) -> None:
    nn.init.normal_(layer.weight, 0.0, std)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, offset)


class PixelNorm(nn.Module):
    """x over its root mean square along the features, at every pixel: (N, C, ...) -> the same.

    Reference: Karras et al., 2018, arXiv 1710.10196, section 4.2.
    """

    def forward(self, x: Tensor) -> Tensor:
        # which float16 has no number for
        scale = (widened(x).square().mean(dim=1, keepdim=True) + TINY).rsqrt()
        return x * scale.to(x.dtype)


def channels(
    shape: tuple[int, ...], width: int, family: str = "progressive", widest: int = WIDEST
) -> tuple[int, list[int]]:
    """The side of the coarsest maps, and the channels of each scale from there: (4, [128, 64, 32,
    16]) at 32x32, 16."""
    base, count = doublings(shape, family)
    return base, [min(max(width, widest), width * 2 ** (count - i)) for i in range(count + 1)]


def doubled(x: Tensor, times: int = 1) -> Tensor:
    """Images with their side doubled, repeatedly: every pixel becomes four."""
    return interpolate(x, scale_factor=float(2**times)) if times else x


def halved(x: Tensor, times: int = 1) -> Tensor:
    """Images with their side halved, repeatedly: the mean of every four pixels."""
    return avg_pool2d(x, 2**times) if times else x


class Growing(nn.Module):
    """A network of several scales, of which those up to `stage` compute.

    Stage 1.25 is scale 1, whose images are mixed with those of scale 0: a quarter of the one, three
    of the other. A network starts as a whole, at its last stage.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    grows: ClassVar[bool] = True
    stage: Tensor
    sharding: ClassVar[dict[str, str]] = {"stage": "same"}  # see `gan_cli.training.shards`

    def __init__(self, scales: int) -> None:
        super().__init__()
        self.scales = scales
        self.register_buffer("stage", torch.zeros(()))
        self.grow(scales - 1)

    def grow(self, stage: float) -> None:
        """Set the stage, from 0 to the number of scales minus 1."""
        self.stage.fill_(stage)
        self.scale = -int(-stage // 1)
        self.fading = self.scale > stage

    @property
    def share(self) -> Tensor:
        """The weight of the finest scale in the output, on the device."""
        return self.stage - (self.scale - 1)

    def mixed(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """The outputs of two scales, blended by the stage."""
        return coarse + self.share * (fine - coarse)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *others)
        if f"{prefix}stage" in state_dict:
            self.grow(float(state_dict[f"{prefix}stage"]))


def growing(network: nn.Module) -> Growing | None:
    """The network itself, or the one that it wraps, if it grows."""
    return next((part for part in network.modules() if isinstance(part, Growing)), None)


class GrowingGenerator(Growing):
    """Base class of the generators; each scale has its own layer from features to colours."""

    def __init__(self, shape: tuple[int, ...], features: list[int], bounded: bool) -> None:
        super().__init__(len(features))
        self.bounded = bounded
        self.colours = nn.ModuleList(EqualConv(out, shape[0], 1, gain=1.0) for out in features)

    def coloured(self, before: Tensor, x: Tensor) -> Tensor:
        """The image from the features of the finest two scales, at the data's side; clipped to
        [-1, 1] in evaluation."""
        image = self.colours[self.scale](x)
        if self.fading:
            image = self.mixed(doubled(self.colours[self.scale - 1](before)), image)
        image = doubled(image, self.scales - 1 - self.scale)
        return image if self.training or not self.bounded else image.clamp(-1, 1)


def grown(x: Tensor, network: Growing) -> Tensor:
    """Real images at the resolution of this stage, blended as the network's own images are."""
    coarser = network.scales - 1 - network.scale
    x = halved(x, coarser)
    if network.fading:
        x = network.mixed(doubled(halved(x)), x)
    return doubled(x, coarser)


class Blur(nn.Module):
    """Each map smoothed along both sides, so that a change of scale leaves no pattern: (N, C, H, W)
    -> (N, C, H', W').

    Reference: Karras et al., 2019, arXiv 1812.04948, section 2; Zhang, 2019, arXiv 1904.11486.

    Args:
        row: the weights along a side, in proportion.
        gain: their sum.
        padding: zeros around the maps; 1 keeps their side under three weights.
        stride: every so many-th pixel is left.
    """

    kernel: Tensor
    sharding: ClassVar[dict[str, str]] = {"kernel": "same"}  # see `gan_cli.training.shards`

    def __init__(
        self,
        row: tuple[int, ...] = (1, 2, 1),
        gain: float = 1.0,
        padding: int = 1,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.padding, self.stride = padding, stride
        shares = torch.tensor(row) / sum(row)
        self.register_buffer("kernel", gain * torch.outer(shares, shares), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype)[None, None]
        one_by_one = x.flatten(0, 1)[:, None]
        smooth = conv2d(one_by_one, kernel, stride=self.stride, padding=self.padding)
        return smooth.unflatten(0, x.shape[:2])[:, :, 0]


@networks.register("progressive.generator")
class Generator(GrowingGenerator):
    """(N, latent) -> (N, C, S, S): at every scale two convolutions, and a map to colours of its
    own.

    Images of a coarser stage come out with every pixel repeated. While it trains colours are not
    bounded, as in the paper; in evaluation they are cut to [-1, 1].

    Reference: Karras et al., 2018, "Progressive Growing of GANs", arXiv 1710.10196, table 2 (width
    16 at 1024x1024).

    Args:
        width: channels at the image's side; they double with each halving, to 512.
    """

    def __init__(
        self, shape: tuple[int, ...], latent: int, bounded: bool = True, width: Count = 32
    ) -> None:
        base, features = channels(shape, width)
        super().__init__(shape, features, bounded)
        self.start = nn.Sequential(
            PixelNorm(),
            EqualLinear(latent, features[0] * base**2, gain=GAIN / 4),
            nn.Unflatten(1, (features[0], base, base)),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *self._layer(features[max(0, i - 1)], out) if i else self._after(),
                *self._layer(out, out),
            )
            for i, out in enumerate(features)
        )

    def _layer(self, inputs: int, outputs: int) -> list[nn.Module]:
        return [EqualConv(inputs, outputs, 3), *self._after()]

    def _after(self) -> list[nn.Module]:
        return [nn.LeakyReLU(0.2), PixelNorm()]

    def forward(self, z: Tensor) -> Tensor:
        x = before = self.blocks[0](self.start(z))
        for i in range(1, self.scale + 1):
            x, before = self.blocks[i](doubled(x)), x
        return self.coloured(before, x)


@networks.register("progressive.discriminator")
class Discriminator(Growing, Scored):
    """(N, C, S, S) -> (N,): the generator's scales in the opposite order, then how much the samples
    differ, the score.

    Reference: as the generator's.

    Args:
        width: as the generator's.
        blur: halve the side after a small blur, as in StyleGAN.
        blur_from: least side of the maps that are blurred.
    """

    def __init__(
        self, shape: tuple[int, ...], width: Count = 32, blur: bool = False, blur_from: Count = 8
    ) -> None:
        base, features = channels(shape, width)
        super().__init__(len(features))
        self.colours = nn.ModuleList(
            nn.Sequential(EqualConv(shape[0], inputs, 1), nn.LeakyReLU(0.2)) for inputs in features
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                EqualConv(out, out, 3), nn.LeakyReLU(0.2),
                *([Blur()] if blur and base * 2**i >= blur_from else []),
                EqualConv(out, into, 3), nn.LeakyReLU(0.2),
            )
            for i, (into, out) in enumerate(pairwise(features), 1)
        )  # fmt: skip
        last = features[0]
        trunk: list[nn.Module] = [
            MinibatchDeviation(),
            EqualConv(last + 1, last, 3), nn.LeakyReLU(0.2),
            EqualConv(last, last, base, padding=0), nn.LeakyReLU(0.2), nn.Flatten(),
        ]  # fmt: skip
        self.end_with(trunk, last, head=EqualLinear(last, 1, gain=1.0))

    def features(self, x: Tensor) -> Tensor:
        """The features of samples, (N, feature_size)."""
        x = halved(x, self.scales - 1 - self.scale)
        maps = self.colours[self.scale](x)
        for i in range(self.scale, 0, -1):
            maps = halved(self.blocks[i - 1](maps))
            if i == self.scale and self.fading:
                maps = self.mixed(self.colours[i - 1](halved(x)), maps)
        return super().features(maps)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.features(x))
