"""Affine networks, for examples whose numbers can be followed by hand."""

from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.registry import networks


@networks.register("affine.generator")
class Generator(nn.Module):
    """G(z) = shift + scale * z, coordinate by coordinate: (N, latent) -> (N, *shape).

    With scale 0 it makes one point, as in Mescheder et al., 2018, "Which Training Methods for GANs
    do actually Converge?", arXiv 1801.04406, definition 2.1; with shift (theta, 0) and scale (0, 1)
    the line of Arjovsky et al., 2017, arXiv 1701.07875, example 1.

    Args:
        shift, scale: at the start; one number, or one for each coordinate of a sample.
        learns: what a turn may change: both, or the shift alone.
    """

    sharding: ClassVar[dict[str, str]] = {"scale": "same"}  # see `gan_cli.training.shards`

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        shift: float | list[float] = 0.0,
        scale: float | list[float] = 1.0,
        learns: Literal["both", "shift"] = "both",
    ) -> None:
        super().__init__()
        size = prod(shape)
        if latent != size:
            raise UserError(
                f"model.latent={latent}: network=affine scales each coordinate; take "
                f"model.latent={size}."
            )
        self.shift = nn.Parameter(_coordinates(shift, size, "generator.shift"))
        factor = _coordinates(scale, size, "generator.scale")
        if learns == "both":
            self.scale = nn.Parameter(factor)
        else:
            self.register_buffer("scale", factor)
        self.unflatten = nn.Unflatten(1, shape)

    def forward(self, z: Tensor) -> Tensor:
        return self.unflatten(self.shift + self.scale * z)


@networks.register("affine.discriminator")
class Discriminator(nn.Module):
    """D(x) = <weight, x>, without a bias: (N, *shape) -> (N,).

    Args:
        weight: at the start; one number, or one for each coordinate.
    """

    has_features: ClassVar[bool] = False

    def __init__(self, shape: tuple[int, ...], weight: float | list[float] = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(_coordinates(weight, prod(shape), "discriminator.weight"))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


def _coordinates(value: float | list[float], size: int, option: str) -> Tensor:
    values = list(value) if isinstance(value, list) else [value] * size
    if len(values) != size:
        raise UserError(f"network.{option}={values}: expected one number, or {size} of them.")
    return torch.tensor(values, dtype=torch.float32)
