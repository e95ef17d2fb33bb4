"""Layers that several families share: activations by name, norms by name, weight initialisation by name."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

GAIN = 2.0**0.5  # He et al., 2015: variance 2 / fan_in keeps the scale through a ReLU


class Maxout(nn.Module):
    """Maximum over groups of `pieces` neighbouring features: (N, pieces * C) -> (N, C).

    Reference: Goodfellow et al., 2013, "Maxout Networks", arXiv 1302.4389.
    """

    def __init__(self, pieces: int = 5) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.pieces)).amax(dim=2)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "maxout": Maxout,
}


COUPLING: dict[str, type[nn.Module]] = {
    "batch norm": nn.modules.batchnorm._BatchNorm,
    "dropout": nn.modules.dropout._DropoutNd,
}


def couplings(network: nn.Module) -> list[str]:
    """Layers whose output for a sample depends on how its batch is cut: by statistics, or by random numbers."""
    return [name for name, kind in COUPLING.items() if any(isinstance(module, kind) for module in network.modules())]


def norm(name: str, channels: int, spatial: bool) -> list[nn.Module]:
    """A norm layer for (N, C) or (N, C, H, W), in a list so that `none` adds no layer.

    `layer` of images normalises over (C, H, W) with one scale and offset a channel, as the WGAN-GP authors' code does.
    """
    if name == "batch":
        return [nn.BatchNorm2d(channels) if spatial else nn.BatchNorm1d(channels)]
    if name == "layer":
        return [nn.GroupNorm(1, channels) if spatial else nn.LayerNorm(channels)]
    return []


@torch.no_grad()
def initialise(network: nn.Module, scheme: str) -> None:
    """Set every weight by `he` (normal, variance 2 / fan_in) or `dcgan` (N(0, 0.02), batch-norm scales N(1, 0.02))."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            std = 0.02 if scheme == "dcgan" else GAIN / _fan_in(module) ** 0.5
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and scheme == "dcgan":
            nn.init.normal_(module.weight, 1.0, 0.02)


def _fan_in(module: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> float:
    """How many inputs each output of the layer sums over."""
    if isinstance(module, nn.ConvTranspose2d):  # weight (in, out, k, k); each output sees k / stride taps an axis
        taps = module.weight[0, 0].numel() / (module.stride[0] * module.stride[1])
        return module.weight.shape[0] * taps
    return module.weight[0].numel()
