"""Conditional networks: ways to condition a network on the class of a sample."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_cli.networks.layers import feature_size, one_hot
from gan_cli.networks.offers import featured


class Concatenated(nn.Module):
    """network(x with the class as further columns, or as further planes of an image): (N, ...),
    (N,) -> what it gives.

    Reference: Mirza and Osindero, 2014, "Conditional Generative Adversarial Nets", arXiv 1411.1784.

    Args:
        network: built for so many columns or planes more.
        classes: how many there are.
    """

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        n = x.shape[0]  # not len(x), which is a number: an exported network has any n
        told = one_hot(y, self.classes).to(x.dtype).view(n, self.classes, *[1] * (x.dim() - 2))
        return self.network(torch.cat([x, told.expand(-1, -1, *x.shape[2:])], dim=1))


class Projected(nn.Module):
    """A discriminator's score and the product of its features with a vector of the class: (N, ...),
    (N,) -> (N,).

    Reference: Miyato and Koyama, 2018, "cGANs with Projection Discriminator", arXiv 1802.05637,
    equation 3.

    Args:
        network: a discriminator with `features`, `score` and `feature_size`.
        classes: how many there are.
    """

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.feature_size = feature_size(network)
        self.embedding = nn.Embedding(classes, self.feature_size)
        nn.init.normal_(self.embedding.weight, 0.0, self.embedding.embedding_dim**-0.5)

    def features(self, x: Tensor) -> Tensor:
        """The features of samples, (N, feature_size)."""
        return featured(self.network).features(x)

    def score(self, features: Tensor, y: Tensor) -> Tensor:
        """The scores of samples with these features and classes, (N,)."""
        return featured(self.network).score(features) + (self.embedding(y) * features).sum(dim=1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.score(self.features(x), y)


class ConditionalNorm(nn.Module):
    """norm(x) (1 + gain) + bias, a gain and a bias for each channel that are linear in a condition:
    (N, C, H, W), (N, width) -> (N, C, H, W).

    Reference: de Vries et al., 2017, "Modulating early visual processing by language", arXiv
    1707.00683; as in Brock et al., 2019, arXiv 1809.11096, the gain is told as its distance from 1.

    Args:
        channels: C.
        width: of the condition.
        norm_name: `batch`, or `none` to scale and shift only.
    """

    takes_condition: ClassVar[bool] = True

    def __init__(self, channels: int, width: int, norm_name: str) -> None:
        super().__init__()
        plain = norm_name == "none"
        self.norm = nn.Identity() if plain else nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Linear(width, channels, bias=False)
        self.bias = nn.Linear(width, channels, bias=False)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        gain, bias = self.gain(given)[:, :, None, None], self.bias(given)[:, :, None, None]
        normed: Tensor = self.norm(x)
        return normed * (1 + gain) + bias


class ClassNorm(nn.Module):
    """Batch norm with a gain and a bias of each class: (N, C, H, W), (N,) -> (N, C, H, W).

    Reference: as in Miyato and Koyama, 2018, arXiv 1802.05637, whose gains start at 1; here they
    are drawn from N(1, 0.3), so that samples of two classes differ from the start.

    Args:
        channels: C.
        classes: how many there are.
        norm_name: as that of `ConditionalNorm`.
    """

    takes_condition: ClassVar[bool] = True

    def __init__(self, channels: int, classes: int, norm_name: str) -> None:
        super().__init__()
        plain = norm_name == "none"
        self.norm = nn.Identity() if plain else nn.BatchNorm2d(channels, affine=False)
        self.gain, self.bias = nn.Embedding(classes, channels), nn.Embedding(classes, channels)
        nn.init.normal_(self.gain.weight, 1.0, 0.3)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        gain, bias = self.gain(y)[:, :, None, None], self.bias(y)[:, :, None, None]
        normed: Tensor = self.norm(x)
        return normed * gain.to(x.dtype) + bias.to(x.dtype)


class Chain(nn.Sequential):
    """Modules one after the other; those that say `takes_condition` are given the condition."""

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        for module in self:
            told = given if getattr(module, "takes_condition", False) else ()
            x = module(x, *told)
        return x


def conditional_norms(width: int, norm_name: str) -> Callable[[int], list[nn.Module]]:
    """A maker of conditional norms for conditions of this width."""
    return lambda channels: [ConditionalNorm(channels, width, norm_name)]


def told_shape(shape: tuple[int, ...], classes: int) -> tuple[int, ...]:
    """The input shape of the network in `Concatenated` for samples of `shape`."""
    return (shape[0] + classes, *shape[1:])


def class_norms(classes: int, norm_name: str) -> Callable[[int], list[nn.Module]]:
    """A maker of norms with a gain and a bias of each class."""
    return lambda channels: [ClassNorm(channels, classes, norm_name)]
