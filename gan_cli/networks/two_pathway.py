"""A generator with two pathways: one for the whole image, and one for each of a few landmarks."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt, Le, Len, Lt
from torch import Tensor, nn
from torch.nn.functional import pad

from gan_cli.errors import UserError
from gan_cli.networks.layers import initialise, norm, refuse_other_sides
from gan_cli.networks.unet import halvings
from gan_cli.registry import Count, networks

WIDEST = 4  # channels stop doubling at 4 * width
REACH = 0.5  # how far a landmark may lie from its place in the output, as a fraction of the side
FACE = ([0.33, 0.46], [0.67, 0.46], [0.5, 0.58], [0.5, 0.75])
"""Both eyes, the nose, and the mouth of an upright face that fills the image."""

Part = Annotated[float, Gt(0), Lt(1)]


def convolved(before: int, after: int, norm_name: str, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution, or a 4x4 one of stride 2, a norm, and a leaky ReLU."""
    return [
        nn.Conv2d(before, after, kernel_size=3 if stride == 1 else 4, stride=stride, padding=1),
        *norm(norm_name, after, spatial=True),
        nn.LeakyReLU(0.2),
    ]


def glimpses(x: Tensor, centres: Tensor, size: int) -> Tensor:
    """Squares of an image around centres, bilinear: (N, C, H, W), (N, K, 2) -> (N, K, C, size,
    size); black outside.

    By products of matrices, whose gradients are deterministic on every device.

    Args:
        centres: x and y in fractions of the sides.
    """
    offset = torch.arange(size, device=x.device) - (size - 1) / 2

    def taken(side: int, centre: Tensor) -> Tensor:
        place = centre[..., None] * side - 0.5 + offset
        pixels = torch.arange(side, device=x.device)
        return (1 - (place[..., None] - pixels).abs()).clamp(min=0).to(x.dtype)

    columns, rows = taken(x.shape[3], centres[..., 0]), taken(x.shape[2], centres[..., 1])
    return torch.einsum("nkir,ncrs,nkjs->nkcij", rows, x, columns)


class Local(nn.Module):
    """What one landmark looks like: (N, C, S, S) -> (N, width, S, S), not below 0; S is even."""

    def __init__(self, channels: int, width: int, norm_name: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *convolved(channels, width, norm_name),
            *convolved(width, 2 * width, norm_name, stride=2),
            *convolved(2 * width, 2 * width, norm_name),
            nn.Upsample(scale_factor=2),
            *convolved(2 * width, width, norm_name),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@networks.register("two_pathway.generator")
class Generator(nn.Module):
    """(N, C_a, H, W), (N, latent) -> (N, C, H, W) in [-1, 1]: an encoder and a decoder of the whole
    image; beside it a network for each landmark, whose maps are put to its place in the output; the
    largest of these maps and those of the decoder make the image.

    Reference: Huang et al., 2017, "Beyond Face Rotation: Global and Local Perception GAN for
    Photorealistic and Identity Preserving Frontal View Synthesis", arXiv 1704.04086, sections 3.1
    and appendix. There the landmarks of the input are told; here a small network finds them, which
    learns from nothing but the image that is made.

    Args:
        width: channels beside the image; they double with each halving, to 4 times.
        hidden: width of the code of the whole image.
        landmarks: their places in the output, x and y in fractions of its sides; null takes those
            of an upright face, and [] leaves the pathway of the whole image alone.
        patch: side of what a landmark's network sees, as a fraction of the image's.
        generator_norm: after the convolutions.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    takes_inputs: ClassVar[bool] = True
    aims: Tensor
    sharding: ClassVar[dict[str, str]] = {"aims": "same"}  # see `gan_cli.training.shards`

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs: tuple[int, ...],
        latent: int = 0,
        width: Count = 32,
        hidden: Count = 256,
        landmarks: Annotated[list[Annotated[list[Part], Len(2, 2)]], Len(0, 16)] | None = None,
        patch: Annotated[float, Gt(0), Le(1)] = 0.375,
        generator_norm: Literal["none", "batch", "layer", "instance"] = "batch",
    ) -> None:
        super().__init__()
        refuse_other_sides("two_pathway", shape, inputs)
        count = halvings(*shape[1:]) - 1  # down to 4 pixels, or more
        if not count:
            raise UserError(
                f"network=two_pathway: takes images whose sides are multiples of 8 at least, and "
                f"these are of {shape[1]}x{shape[2]}; set data.image_size."
            )
        widths = [width * min(2**i, WIDEST) for i in range(count)]
        self.down = nn.ModuleList(
            nn.Sequential(*convolved(before, after, generator_norm, stride=2))
            for before, after in pairwise([inputs[0], *widths])
        )
        inner = (widths[-1], shape[1] >> count, shape[2] >> count)
        self.code = nn.Sequential(nn.Flatten(), nn.Linear(prod(inner), hidden), nn.LeakyReLU(0.2))
        self.decode = nn.Sequential(
            nn.Linear(hidden + latent, prod(inner)), nn.Unflatten(1, inner), nn.LeakyReLU(0.2)
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2), *convolved(2 * before, after, generator_norm)
            )
            for before, after in pairwise([*reversed(widths), width])
        )

        landmarks = [*FACE] if landmarks is None else landmarks
        size = 2 * max(1, round(patch * min(shape[1:]) / 2))
        self.size, self.places = size, [_corner(place, shape, size) for place in landmarks]
        self.register_buffer("aims", torch.tensor(landmarks).view(-1, 2), persistent=False)
        self.local = nn.ModuleList(Local(inputs[0], width, generator_norm) for _ in landmarks)
        self.find = nn.Linear(hidden, 2 * len(landmarks)) if landmarks else None
        told = 2 * width + inputs[0] if landmarks else width + inputs[0]
        self.last = nn.Sequential(
            *convolved(told, width, generator_norm),
            nn.Conv2d(width, shape[0], kernel_size=3, padding=1),
        )
        initialise(self, "auto", generator_norm)
        if self.find is not None:  # it looks first where landmarks are in the output
            nn.init.zeros_(self.find.weight)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        seen, maps = [], x
        for layer in self.down:
            maps = layer(maps)
            seen.append(maps)

        code = self.code(maps)
        maps = self.decode(torch.cat([code, z], dim=1))
        for layer, beside in zip(self.up, reversed(seen), strict=True):
            maps = layer(torch.cat([maps, beside], dim=1))

        told = [maps, x] if self.find is None else [maps, self.details(x, self.find(code)), x]
        return torch.as_tensor(self.last(torch.cat(told, dim=1))).tanh()

    def details(self, x: Tensor, moves: Tensor) -> Tensor:
        """What the landmarks' networks say, each in its place of the output, (N, width, H, W); the
        largest where they overlap.

        Args:
            moves: how far each landmark of the input is from there, before a tanh, (N, 2 K).
        """
        centres = self.aims + REACH * moves.unflatten(1, (-1, 2)).tanh()
        patches = glimpses(x, centres, self.size)
        put = []
        for k, (layer, (left, top)) in enumerate(zip(self.local, self.places, strict=True)):
            right, below = x.shape[3] - left - self.size, x.shape[2] - top - self.size
            put.append(pad(layer(patches[:, k]), (left, right, top, below)))
        return torch.stack(put).amax(dim=0)


def _corner(place: Sequence[float], shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Left and upper edge of a square around a place, wholly within the image."""
    left, top = (
        min(max(0, round(part * side - size / 2)), side - size)
        for part, side in zip(place, (shape[2], shape[1]), strict=True)
    )
    return left, top
