"""Priors: distributions of z by name, for generators and for codes of adversarial autoencoders."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.errors import UserError


class Prior(nn.Module):
    """Rows of z, (n, latent).

    - normal: N(0, I); uniform: U[-1, 1) in every coordinate;
    - petals: ten Gaussians around the origin, long outwards and narrow across; swiss_roll: a spiral
      of one and a half turns. Both lie in the first two coordinates (Makhzani et al., 2016, arXiv
      1511.05644, figure 2), the others are normal.

    Attributes:
        deviation: what all numbers are multiplied by: the standard deviation of the normal law.
    """

    device: Tensor
    sharding: ClassVar[dict[str, str]] = {"device": "same"}  # see `gan_cli.training.shards`

    def __init__(self, latent: int, law: str) -> None:
        super().__init__()
        if law in PLANE and latent < 2:
            raise UserError(f"model.prior={law}: lies in the plane; take model.latent=2 or more.")
        self.latent, self.name, self.deviation = latent, law, 1.0
        self.law = LAWS[law]
        self.register_buffer("device", torch.empty(0), persistent=False)  # moves with the game

    def forward(self, n: int, source: torch.Generator | None = None) -> Tensor:
        """n rows; on the CPU from the source, or else by the turn's own noise."""
        if source is not None:
            rows = self.law(n, self.latent, generator=source)
        else:
            rows = noise.rows(self.law, n, self.latent, device=self.device.device)
        return rows if self.deviation == 1 else self.deviation * rows


def _uniform(*shape: int, **options: Any) -> Tensor:
    return 2 * torch.rand(*shape, **options) - 1


def _petals(n: int, latent: int, **options: Any) -> Tensor:
    z, u = torch.randn(n, latent, **options), torch.rand(n, **options)
    angle = (u * 10).floor() * (2 * math.pi / 10)
    out, across = 2 + 0.5 * z[:, 0], 0.15 * z[:, 1]
    cos, sin = angle.cos(), angle.sin()
    plane = torch.stack([out * cos - across * sin, out * sin + across * cos], dim=1)
    return torch.cat([plane, z[:, 2:]], dim=1)


def _swiss_roll(n: int, latent: int, **options: Any) -> Tensor:
    z, u = torch.randn(n, latent, **options), torch.rand(n, **options)
    angle = 1.5 * math.pi * (1 + 2 * u.sqrt())
    plane = torch.stack([angle * angle.cos(), angle * angle.sin()], dim=1) / 5 + 0.05 * z[:, :2]
    return torch.cat([plane, z[:, 2:]], dim=1)


LAWS: dict[str, Callable[..., Tensor]] = {
    "normal": torch.randn, "uniform": _uniform, "petals": _petals, "swiss_roll": _swiss_roll,
}  # fmt: skip
PLANE = ("petals", "swiss_roll")


# --- ways between latents -------------------------------------------------------------------------

MIN_SINE = 1e-4  # sine of the angle between two latents; below it the great circle is not unique


def slerp(a: Tensor, b: Tensor, fraction: Tensor) -> Tensor:
    """Spherical interpolation from each row of a to that of b, (n, latent).

    The directions follow the great circle from a to b, the lengths go from |a| to |b|.

    Reference: White, 2016, "Sampling Generative Networks", arXiv 1609.04468, section 2: samples of
    a normal prior are close to a sphere, and a straight line between them leads inside it.

    Args:
        a, b: (n, latent), or one row for all.
        fraction: positions on the path, (n, 1), from 0 to 1.
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1)[:, None].clamp(-1, 1)
    angle = torch.arccos(cosine)
    lengths = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    direction = (
        torch.sin((1 - fraction) * angle) * a / lengths[0]
        + torch.sin(fraction * angle) * b / lengths[1]
    ) / angle.sin()
    curved = direction * torch.lerp(*lengths, fraction)
    straight = (angle.sin() < MIN_SINE) | (lengths[0] == 0) | (lengths[1] == 0)
    return torch.where(straight, lerp(a, b, fraction), curved)


def lerp(a: Tensor, b: Tensor, fraction: Tensor) -> Tensor:
    """Linear interpolation from each row of a to that of b; arguments as in `slerp`."""
    return torch.lerp(a, b, fraction)
