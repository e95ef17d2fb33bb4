"""Generators that are told what to draw at every scale: what they share, and the first of them."""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.networks.layers import widened
from gan_cli.networks.progressive import (
    TINY,
    Blur,
    EqualConv,
    EqualLinear,
    GrowingGenerator,
    PixelNorm,
    channels,
    doubled,
)
from gan_cli.networks.progressive import Discriminator as Progressive
from gan_cli.registry import Count, Depth, Fraction, Positive, networks


class Mapping(nn.Module):
    """z -> w, (N, latent) -> (N, width): a perceptron on the sphere of z.

    With classes it takes one beside z, (N, latent), (N,) -> (N, width): a vector of the class, as
    wide as z and on the sphere too, is joined to z (Karras et al., 2020, arXiv 2006.06676).

    Args:
        rate: learning rate relative to that of the other layers.
        decay: of the average, once a batch.
        classes: how many there are; 0 takes none.

    Attributes:
        average: exponential moving average of w, (width,), over the batches of training.
    """

    average: Tensor
    sharding: ClassVar[dict[str, str]] = {"average": "averaged"}  # see `gan_cli.training.shards`

    def __init__(
        self, latent: int, width: int, depth: int, rate: float, decay: float, classes: int = 0
    ) -> None:
        super().__init__()
        self.decay = decay
        self.embedding = nn.Embedding(classes, latent) if classes else None
        sizes = [2 * latent if classes else latent, *[width] * depth]
        layers = [(EqualLinear(a, b, rate=rate), nn.LeakyReLU(0.2)) for a, b in pairwise(sizes)]
        self.layers = nn.Sequential(PixelNorm(), *(module for pair in layers for module in pair))
        self.register_buffer("average", torch.zeros(width))

    def forward(self, z: Tensor, *given: Tensor) -> Tensor:
        if self.embedding is not None:
            # each on its own sphere first, where both weigh alike
            z = torch.cat([self.layers[0](part) for part in (z, self.embedding(*given))], dim=1)
        w = self.layers(z)
        if self.training:
            with torch.no_grad():
                self.average.lerp_(w.detach().float().mean(dim=0), 1 - self.decay)
        return w

    def truncated(self, w: Tensor, psi: Tensor) -> Tensor:
        """w with its distance from the average multiplied by psi."""
        return self.average + psi * (w - self.average)


class AdaIN(nn.Module):
    """Every map at mean 0 and standard deviation 1, then at those that w says: (N, C, H, W)
    -> the same.

    Reference: Karras et al., 2019, arXiv 1812.04948, equation 1; w says how far the deviation is
    from 1, as in the authors' code.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.style = EqualLinear(width, 2 * features, gain=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        scale, offset = self.style(w)[:, :, None, None].chunk(2, dim=1)
        x = x - x.mean(dim=(2, 3), keepdim=True)
        norm = (widened(x).square().mean(dim=(2, 3), keepdim=True) + TINY).rsqrt()
        return x * norm.to(x.dtype) * (1 + scale) + offset


class Noise(nn.Module):
    """x and a picture of noise, as strong as learnt for each map: other noise each time in
    training, in evaluation the same.

    Reference: Karras et al., 2019, arXiv 1812.04948, section 3.2.
    """

    same: Tensor
    sharding: ClassVar[dict[str, str]] = {"same": "same"}  # see `gan_cli.training.shards`

    def __init__(self, features: int, side: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(features, 1, 1))
        self.register_buffer("same", torch.randn(1, 1, side, side))

    def forward(self, x: Tensor) -> Tensor:
        drawn = (
            noise.rows(torch.randn, len(x), 1, *x.shape[2:], device=x.device)
            if self.training
            else self.same
        )
        return x + self.strength * drawn.to(x.dtype)


class Layer(nn.Module):
    """A convolution, noise, and a style.

    Args:
        finer: double the side first.
        blur: a small blur follows the convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int,
        width: int,
        finer: bool = False,
        blur: bool = False,
    ) -> None:
        super().__init__()
        self.finer = finer
        self.convolution = nn.Sequential(EqualConv(inputs, outputs, 3), *([Blur()] if blur else []))
        self.noise = Noise(outputs, side)
        self.activation = nn.LeakyReLU(0.2)
        self.style = AdaIN(outputs, width)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.convolution(doubled(x) if self.finer else x)
        return self.style(self.activation(self.noise(x)), w)


class Start(nn.Module):
    """The same learnt maps for every sample, with noise and a style."""

    def __init__(self, features: int, side: int, width: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.ones(1, features, side, side))
        self.noise = Noise(features, side)
        self.activation = nn.LeakyReLU(0.2)
        self.style = AdaIN(features, width)

    def forward(self, w: Tensor) -> Tensor:
        return self.style(self.activation(self.noise(self.maps.expand(w.shape[0], -1, -1, -1))), w)


class Styled(nn.Module):
    """Base class of the generators: (N, latent) -> (N, C, S, S), or with the class as (N,) beside
    z.

    Attributes:
        mapping: from z to w.
    """

    mapping: Mapping

    @property
    def styles(self) -> int:
        """The number of layers with a style of their own."""
        raise NotImplementedError

    def drawn(self, w: Tensor) -> Tensor:
        """Images for the styles of each layer, (N, styles, style)."""
        raise NotImplementedError

    def forward(self, z: Tensor, *given: Tensor) -> Tensor:
        return self.drawn(self.mapping(z, *given)[:, None].expand(-1, self.styles, -1))


@networks.register("style.generator")
class Generator(GrowingGenerator, Styled):
    """(N, latent) -> (N, C, S, S): z becomes w, which sets the style of the two layers of every
    scale.

    As with `progressive`, colours are bounded in evaluation only.

    Reference: Karras et al., 2019, "A Style-Based Generator Architecture for Generative Adversarial
    Networks", arXiv 1812.04948 (width 16 at 1024x1024, style 512).

    Args:
        classes: how many there are, which the mapping is told; 0 is none.
        width: channels at the image's side; they double with each halving, to 512.
        style: width of w.
        depth: layers from z to w.
        mapping_rate: learning rate of these layers, relative to that of the others.
        average_decay: decay of the average of w, once a batch, towards which `truncation` draws.
        blur_from: least side of the maps that are blurred where the side doubles; small maps are
            hardly more than their edges.
    """

    takes_classes: ClassVar[bool] = True

    def __init__(
        self, shape: tuple[int, ...], latent: int, classes: int = 0, bounded: bool = True,
        width: Count = 32, style: Count = 128, depth: Depth = 8, mapping_rate: Positive = 0.01,
        average_decay: Fraction = 0.995, blur_from: Count = 8,
    ) -> None:  # fmt: skip
        base, features = channels(shape, width, "style")
        super().__init__(shape, features, bounded)
        self.mapping = Mapping(latent, style, depth, mapping_rate, average_decay, classes)
        self.start = Start(features[0], base, style)
        self.layers = nn.ModuleList()
        for i, out in enumerate(features):
            side = base * 2**i
            if i:
                blur = side >= blur_from
                self.layers.append(Layer(features[i - 1], out, side, style, True, blur))
            self.layers.append(Layer(out, out, side, style))

    @property
    def styles(self) -> int:
        """The number of layers with a style of their own, at this stage."""
        return 2 * (self.scale + 1)

    def drawn(self, w: Tensor) -> Tensor:
        """Images for the styles of each layer, (N, styles, style)."""
        x = before = self.layers[0](self.start(w[:, 0]), w[:, 1])
        for i in range(1, self.scale + 1):
            finer, same = self.layers[2 * i - 1], self.layers[2 * i]
            before, x = x, same(finer(x, w[:, 2 * i]), w[:, 2 * i + 1])
        return self.coloured(before, x)


@networks.register("style.discriminator")
class Discriminator(Progressive):
    """(N, C, S, S) -> (N,): that of `progressive`, which halves the side after a small blur.

    Args:
        width: as the generator's.
        blur_from: as the generator's.
    """

    def __init__(self, shape: tuple[int, ...], width: Count = 32, blur_from: Count = 8) -> None:
        super().__init__(shape, width, blur=True, blur_from=blur_from)
