"""The second style-based networks: styles scale the weights of convolutions, and nothing grows."""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate

from gan_cli.networks.layers import GAIN, MinibatchDeviation, Scored, widened
from gan_cli.networks.progressive import (
    TINY,
    Blur,
    EqualConv,
    EqualLinear,
    channels,
)
from gan_cli.networks.style import Mapping, Noise, Styled
from gan_cli.registry import Count, Depth, Fraction, Positive, networks

SMOOTH, PLAIN = (1, 3, 3, 1), (1, 1)
"""The filters around a change of side: that of the paper; the mean of four pixels and its opposite,
where maps are hardly more than their edges."""


class ModulatedConv(nn.Module):
    """A convolution whose weights a style scales for each sample: (N, in, H, W), (N, width) ->
    (N, out, H, W).

    The style scales the input channels; then each output channel is divided by the norm of its
    weights, so that outputs have variance 1 where inputs have it. Both are done to the maps, before
    and after one convolution that all samples share, which is the same.

    Reference: Karras et al., 2020, "Analyzing and Improving the Image Quality of StyleGAN", arXiv
    1912.04958, equations 1 and 3.

    Args:
        kernel_size: odd.
        width: of w.
        demodulate: whether outputs are divided by the norm.
        finer: the filter under which the side is doubled; none keeps it.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        width: int,
        demodulate: bool = True,
        finer: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.style = EqualLinear(width, inputs, gain=1.0, offset=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel_size, kernel_size))
        self.scale = (inputs * kernel_size**2) ** -0.5
        self.demodulate = demodulate
        # zeros between the pixels take three quarters of the sum
        self.blur = Blur(finer, gain=4.0, padding=len(finer) // 2 - 1) if finer else None

    @property
    def used_weight(self) -> Tensor:
        """The scaled weight, before any style."""
        return self.weight * self.scale

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style, weight = self.style(w), self.used_weight
        x = x * style[:, :, None, None]

        if self.blur is None:
            x = conv2d(x, weight, padding=weight.shape[-1] // 2)
        else:
            x = self.blur(conv_transpose2d(x, weight.transpose(0, 1), stride=2))

        if not self.demodulate:
            return x
        squares = widened(weight).square().sum(dim=(2, 3))
        norm = (widened(style).square() @ squares.T + TINY).rsqrt()
        return x * norm.to(x.dtype)[:, :, None, None]


class Layer(nn.Module):
    """A modulated convolution, noise, an offset, and a leaky ReLU that keeps the variance.

    Args:
        side: of the maps that it gives.
        finer: as that of `ModulatedConv`.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, width: int, finer: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.convolution = ModulatedConv(inputs, outputs, 3, width, finer=finer)
        self.noise = Noise(1, side)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return GAIN * self.activation(self.noise(self.convolution(x, w)) + self.bias)


class Colours(nn.Module):
    """Features to colours, under a style: (N, in, H, W), (N, width) -> (N, C, H, W)."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.convolution = ModulatedConv(inputs, outputs, 1, width, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return self.convolution(x, w) + self.bias


@networks.register("style2.generator")
class Generator(Styled):
    """(N, latent) -> (N, C, S, S), or with the class as (N,) beside z: every scale adds its colours
    to those of the coarser ones, doubled.

    As with `style`, colours are bounded in evaluation only.

    Reference: Karras et al., 2020, arXiv 1912.04958, section 4 (width 32 at 1024x1024, style 512).

    Args:
        classes: how many there are, which the mapping is told; 0 is none.
        width: channels at the image's side; they double with each halving, to 512.
        style: width of w.
        depth: layers from z to w.
        mapping_rate: learning rate of these layers, relative to that of the others.
        average_decay: decay of the average of w, once a batch, towards which `truncation` draws.
        blur_from: least side of the maps that come from coarser ones under the paper's filter.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    takes_classes: ClassVar[bool] = True

    def __init__(
        self, shape: tuple[int, ...], latent: int, classes: int = 0, bounded: bool = True,
        width: Count = 32, style: Count = 128, depth: Depth = 8, mapping_rate: Positive = 0.01,
        average_decay: Fraction = 0.998, blur_from: Count = 8,
    ) -> None:  # fmt: skip
        super().__init__()
        base, features = channels(shape, width, "style2")
        self.bounded, self.blur_from = bounded, blur_from
        self.mapping = Mapping(latent, style, depth, mapping_rate, average_decay, classes)
        self.start = nn.Parameter(torch.randn(1, features[0], base, base))
        self.layers = nn.ModuleList([Layer(features[0], features[0], base, style)])
        for i, (before, after) in enumerate(pairwise(features), 1):
            side = base * 2**i
            finer = SMOOTH if side >= blur_from else PLAIN
            self.layers.append(Layer(before, after, side, style, finer))
            self.layers.append(Layer(after, after, side, style))
        self.colours = nn.ModuleList(Colours(out, shape[0], style) for out in features)

    @property
    def styles(self) -> int:
        return 2 * len(self.colours)

    def drawn(self, w: Tensor) -> Tensor:
        x = self.layers[0](self.start.expand(w.shape[0], -1, -1, -1), w[:, 0])
        image: Tensor = self.colours[0](x, w[:, 1])
        for i, colours in enumerate(self.colours[1:], 1):
            # a scale's colours share the style of the next scale's first layer
            x = self.layers[2 * i - 1](x, w[:, 2 * i - 1])
            x = self.layers[2 * i](x, w[:, 2 * i])
            mode = "bilinear" if x.shape[2] >= self.blur_from else "nearest"
            doubled = interpolate(image, scale_factor=2.0, mode=mode)
            image = doubled + colours(x, w[:, 2 * i + 1])
        return image if self.training or not self.bounded else image.clamp(-1, 1)


class Block(nn.Module):
    """(skip(x) + residual(x)) / sqrt(2): two convolutions, the second one of which halves the side,
    as the skip does, under a filter."""

    def __init__(self, inputs: int, outputs: int, row: tuple[int, ...]) -> None:
        super().__init__()
        reach = len(row) // 2
        self.residual = nn.Sequential(
            EqualConv(inputs, inputs, 3), nn.LeakyReLU(0.2),
            Blur(row, padding=reach), EqualConv(inputs, outputs, 3, padding=0, stride=2),
            nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.skip = nn.Sequential(
            Blur(row, padding=reach - 1, stride=2),
            EqualConv(inputs, outputs, 1, gain=1.0, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (self.skip(x) + self.residual(x)) / GAIN


@networks.register("style2.discriminator")
class Discriminator(Scored):
    """(N, C, S, S) -> (N,): residual blocks that halve the side, how much the samples differ, the
    score.

    Reference: Karras et al., 2020, arXiv 1912.04958, section 4.

    Args:
        width: as the generator's.
        blur_from: least side of the maps that are halved under the paper's filter.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, shape: tuple[int, ...], width: Count = 32, blur_from: Count = 8) -> None:
        super().__init__()
        base, features = channels(shape, width, "style2")
        scales = list(enumerate(pairwise(features), 1))
        last = features[0]
        trunk: list[nn.Module] = [
            EqualConv(shape[0], features[-1], 1), nn.LeakyReLU(0.2),
            *(
                Block(fine, coarse, SMOOTH if base * 2**i >= blur_from else PLAIN)
                for i, (coarse, fine) in reversed(scales)
            ),
            MinibatchDeviation(),
            EqualConv(last + 1, last, 3), nn.LeakyReLU(0.2),
            nn.Flatten(), EqualLinear(last * base**2, last), nn.LeakyReLU(0.2),
        ]  # fmt: skip
        self.end_with(trunk, last, head=EqualLinear(last, 1, gain=1.0))
