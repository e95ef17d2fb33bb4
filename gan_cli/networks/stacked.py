"""The second of two stacked generators: it enlarges an image, once more told what it shows."""

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.networks.layers import Residual, initialise, norm
from gan_cli.registry import Count, networks

SMALLEST = 8  # pixels a side of the maps on which the blocks work, if the image has more
HALVINGS = 2  # at most


@networks.register("stacked.refiner")
class Refiner(nn.Module):
    """(N, C, h, w), (N, latent) -> (N, C, H, W) in [-1, 1]: halvings of the small image, the latent
    at every place, residual blocks, doublings to the large one.

    Reference: Zhang et al., 2017, "StackGAN: Text to Photo-realistic Image Synthesis with Stacked
    Generative Adversarial Networks", arXiv 1612.03242, section 3.4: from 64x64 down to maps of
    16x16, four residual blocks, up to 256x256 by nearest neighbours; width 128 and batch norm.

    Args:
        width: channels at the small image's side; they double with each halving and halve with each
            doubling.
        blocks: residual blocks.
        generator_norm: after the convolutions, but the first and the last.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs: tuple[int, ...],
        latent: int,
        width: Count = 32,
        blocks: Annotated[int, Ge(0), Le(64)] = 2,
        generator_norm: Literal["none", "batch", "layer", "instance"] = "batch",
    ) -> None:
        super().__init__()
        ratio = shape[1] // inputs[1]
        if ratio & (ratio - 1) or [ratio * side for side in inputs[1:]] != [*shape[1:]]:
            raise UserError(
                f"network=stacked: enlarges images 2, 4 or 8 times, and not from "
                f"{inputs[1]}x{inputs[2]} to {shape[1]}x{shape[2]}."
            )

        def convolved(before: int, after: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
            return [
                nn.Conv2d(before, after, kernel_size=size, stride=stride, padding=1),
                *norm(generator_norm, after, spatial=True),
                nn.ReLU(),
            ]

        halvings = _halvings(min(inputs[1:]))
        down: list[nn.Module] = [nn.Conv2d(inputs[0], width, kernel_size=3, padding=1), nn.ReLU()]
        for i in range(halvings):
            down += convolved(width * 2**i, width * 2 ** (i + 1), size=4, stride=2)
        self.down = nn.Sequential(*down)

        inner = width * 2**halvings
        self.joined = nn.Sequential(*convolved(inner + latent, inner))
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(Residual(inner, generator_norm, nn.ReLU()), nn.ReLU())
                for _ in range(blocks)
            )
        )

        up: list[nn.Module] = []
        for _ in range(halvings + ratio.bit_length() - 1):
            after = max(width // 2, inner // 2)
            up += [nn.Upsample(scale_factor=2), *convolved(inner, after)]
            inner = after
        self.up = nn.Sequential(*up, nn.Conv2d(inner, shape[0], kernel_size=3, padding=1))
        initialise(self, "auto", generator_norm)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        maps = self.down(x)
        planes = code[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        maps = self.blocks(self.joined(torch.cat([maps, planes], dim=1)))
        image: Tensor = self.up(maps)
        return image.tanh()


def _halvings(side: int) -> int:
    """How often a side is halved before the blocks."""
    count = 0
    while count < HALVINGS and side % 2 == 0 and side // 2 >= SMALLEST:
        side, count = side // 2, count + 1
    return count
