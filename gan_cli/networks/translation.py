"""Residual networks from an image to an image of the same size."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.networks.layers import Residual, initialise, norm, refuse_other_sides
from gan_cli.registry import Count, networks

USUAL = ((16, 1, 3, 3), (64, 2, 3, 3), (128, 2, 6, 7), (math.inf, 2, 9, 7))
"""Up to so many pixels a side: halvings, residual blocks, side of the outer convolutions."""


@networks.register("translation.generator")
class Generator(nn.Module):
    """(N, C_a, H, W), (N, latent) -> (N, C, H, W) in [-1, 1]: halvings, residual blocks, doublings;
    any sides that can be halved so often.

    Reference: Johnson et al., 2016, "Perceptual Losses for Real-Time Style Transfer and
    Super-Resolution", arXiv 1603.08155, in the form of Zhu et al., 2017, "Unpaired Image-to-Image
    Translation using Cycle-Consistent Adversarial Networks", arXiv 1703.10593, section 7.2: a 7x7
    convolution at each end, two halvings, 6 blocks (9 from 256x256 on), instance norm, ReLU,
    reflected edges, tanh; weights N(0, 0.02); a width of 64.

    Args:
        width: channels of the first convolution; they double with each halving.
        blocks: residual blocks at the smallest maps; null takes 3 for images of up to 64 pixels, 6
            up to 128 and 9 for larger ones.
        halvings: of the sides; null takes 1 for images of up to 16 pixels, else 2.
        outer: side of the first and the last convolution; null takes 3 up to 64 pixels, 7 for
            larger ones.
        generator_norm: after every convolution but the last.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    takes_inputs: ClassVar[bool] = True

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs: tuple[int, ...],
        latent: int = 0,
        width: Count = 32,
        blocks: Annotated[int, Ge(0), Le(64)] | None = None,
        halvings: Annotated[int, Ge(0), Le(5)] | None = None,
        outer: Literal[1, 3, 5, 7, 9] | None = None,
        generator_norm: Literal["none", "batch", "layer", "instance"] = "instance",
    ) -> None:
        super().__init__()
        refuse_other_sides("translation", shape, inputs)
        side = max(shape[1:])
        usual = next(row for row in USUAL if side <= row[0])
        halved = usual[1] if halvings is None else halvings
        depth = usual[2] if blocks is None else blocks
        reach = usual[3] if outer is None else outer
        self.multiple = 2**halved  # what the sides of an input must be multiples of
        smallest = min(side // self.multiple for side in shape[1:])
        if any(side % self.multiple for side in shape[1:]) or smallest < 2:
            raise UserError(
                f"network=translation: cannot halve images of {shape[1]}x{shape[2]} {halved} "
                f"times; set data.image_size to a multiple of {self.multiple} from "
                f"{2 * self.multiple} on, or network.generator.halvings."
            )

        def hidden(convolution: nn.Module, outputs: int) -> list[nn.Module]:
            return [convolution, *norm(generator_norm, outputs, spatial=True), nn.ReLU()]

        down = hidden(_outer(inputs[0], width, reach), width)
        for i in range(halved):
            outputs = width * 2 ** (i + 1)
            down += hidden(nn.Conv2d(outputs // 2, outputs, 3, stride=2, padding=1), outputs)

        widest = width * self.multiple
        self.down = nn.Sequential(*down)
        self.enter = nn.Conv2d(widest + latent, widest, kernel_size=1) if latent else None
        self.blocks = nn.Sequential(
            *(Residual(widest, generator_norm, nn.ReLU(), "reflect") for _ in range(depth))
        )

        up: list[nn.Module] = []
        for i in reversed(range(halved)):
            outputs = width * 2**i
            up += hidden(
                nn.ConvTranspose2d(2 * outputs, outputs, 3, stride=2, padding=1, output_padding=1),
                outputs,
            )
        self.up = nn.Sequential(*up, _outer(width, shape[0], reach))
        initialise(self, "auto", generator_norm)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        maps = self.down(x)
        if self.enter is not None:
            planes = z[:, :, None, None].expand(-1, -1, *maps.shape[2:])
            maps = self.enter(torch.cat([maps, planes], dim=1))
        return torch.tanh(self.up(self.blocks(maps)))


def _outer(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    """A convolution that keeps the sides, with edges reflected."""
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, padding_mode="reflect")
