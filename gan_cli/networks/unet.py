"""A U-Net: from an image to an image, with a shortcut at every scale."""

from itertools import pairwise
from math import gcd
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.networks.layers import initialise, norm, refuse_other_sides
from gan_cli.registry import Count, networks

WIDEST = 8  # channels stop doubling at 8 * width
SMALLEST = 2  # pixels a side of the innermost feature maps
DROPPED = 3  # innermost scales with dropout


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved, down to 2 pixels.

    Raises:
        UserError: not even once.
    """
    count = 0
    while gcd(height, width) % 2 ** (count + 1) == 0 and min(height, width) >> (count + 1) >= (
        SMALLEST
    ):
        count += 1
    if not count:
        raise UserError(
            f"network=unet: cannot halve images of {height}x{width}; set data.image_size to a "
            "multiple of 8 or 16, such as 64."
        )
    return count


@networks.register("unet.generator")
class Generator(nn.Module):
    """(N, C_a, H, W), (N, latent) -> (N, C, H, W) in [-1, 1]: halvings to 2x2 maps, doublings back;
    each doubling also sees the maps of its scale on the way down.

    Reference: Isola et al., 2017, "Image-to-Image Translation with Conditional Adversarial
    Networks", arXiv 1611.07004, section 6.1.1 (width 64 at 256x256): 4x4 convolutions of stride 2,
    leaky ReLU of slope 0.2 down and ReLU up, a norm in all but the outer and the innermost layer,
    dropout in the three innermost doublings, tanh; weights N(0, 0.02). The paper goes down to 1x1,
    and its noise is the dropout.

    Args:
        width: channels after the first halving; they double with each one, to 8 times.
        shortcuts: false leaves an encoder and a decoder without them.
        dropout: probability, in training.
        generator_norm: of the layers between the outer and the innermost one.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    takes_inputs: ClassVar[bool] = True

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs: tuple[int, ...],
        latent: int = 0,
        width: Count = 32,
        shortcuts: bool = True,
        dropout: Annotated[float, Ge(0), Le(0.9)] = 0.5,
        generator_norm: Literal["none", "batch", "layer", "instance"] = "batch",
    ) -> None:
        super().__init__()
        refuse_other_sides("unet", shape, inputs)
        count = halvings(*shape[1:])
        channels = [width * min(2**i, WIDEST) for i in range(count)]
        self.shortcuts = shortcuts
        self.multiple = 2**count  # what the sides of an input must be multiples of

        self.down = nn.ModuleList()
        for i, (before, after) in enumerate(pairwise([inputs[0], *channels])):
            layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if i else []
            layers.append(nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1))
            layers += norm(generator_norm, after, spatial=True) if 0 < i < count - 1 else []
            self.down.append(nn.Sequential(*layers))

        self.up = nn.ModuleList()
        outward = [*reversed(channels), shape[0]]
        for i, (before, after) in enumerate(pairwise(outward)):
            extra = latent if i == 0 else before * shortcuts
            layers = [
                nn.ReLU(),
                nn.ConvTranspose2d(before + extra, after, kernel_size=4, stride=2, padding=1),
            ]
            if i < count - 1:
                layers += norm(generator_norm, after, spatial=True)
                layers += [nn.Dropout(dropout)] if dropout and i < DROPPED else []
            self.up.append(nn.Sequential(*layers))
        initialise(self, "dcgan")

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        seen = []
        for layer in self.down:
            x = layer(x)
            seen.append(x)

        planes = z[:, :, None, None].expand(-1, -1, *x.shape[2:])
        for i, layer in enumerate(self.up):
            beside = seen[-1 - i] if i and self.shortcuts else planes if i == 0 else None
            x = layer(x if beside is None else torch.cat([x, beside], dim=1))
        return torch.tanh(x)
