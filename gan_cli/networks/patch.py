"""A discriminator that judges every patch of an image by itself."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le
from torch import Tensor, nn

from gan_cli.networks.layers import constrain, initialise, norm
from gan_cli.registry import Count, networks

WIDEST = 8  # channels stop doubling at 8 * width


def receptive_field(halvings: int) -> int:
    """Pixels a side of the patch that each score of the discriminator sees: 1, 16, 34, 70, 142."""
    if not halvings:
        return 1
    side = 1
    for stride in (1, 1, *[2] * halvings):
        side = (side - 1) * stride + 4
    return side


@networks.register("patch.discriminator")
class Discriminator(nn.Module):
    """(N, C, H, W) -> (N, P): a score for each of P patches, which overlap.

    Reference: Isola et al., 2017, arXiv 1611.07004, section 6.1.2: 4x4 convolutions, leaky ReLU of
    slope 0.2, a norm in all but the first and the last layer; weights N(0, 0.02). Three halvings
    are the paper's 70x70 patches, one is 16x16, none judges pixels.

    Args:
        width: channels after the first layer; they double with each one, to 8 times.
        halvings: layers of stride 2; two more of stride 1 follow.
        critic_norm: the norm; `weight` and `spectral` are norms of the weights.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Count = 32,
        halvings: Annotated[int, Ge(0), Le(5)] = 3,
        critic_norm: Literal["none", "batch", "layer", "instance", "weight", "spectral"] = "batch",
    ) -> None:
        super().__init__()
        sizes = [width * min(2**i, WIDEST) for i in range(halvings + 1)] if halvings else [
            width, 2 * width,
        ]  # fmt: skip
        kernel, padding = (4, 1) if halvings else (1, 0)
        layers: list[nn.Module] = []
        before = shape[0]
        for i, after in enumerate(sizes):
            stride = 2 if i < halvings else 1
            layers.append(nn.Conv2d(before, after, kernel, stride, padding))
            layers += norm(critic_norm, after, spatial=True) if i else []
            layers.append(nn.LeakyReLU(0.2))
            before = after
        layers.append(nn.Conv2d(before, 1, kernel, 1, padding))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        initialise(self, "dcgan")
        constrain(self, critic_norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
