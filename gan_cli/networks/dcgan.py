"""Strided convolutions up and down, for square images of 4 * 2^k pixels (8 to 256) and 28."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.networks.layers import initialise, norm
from gan_cli.registry import Count, networks

SIZES = (8, 16, 28, 32, 64, 128, 256)
WIDEST = 8  # channels stop doubling at 8 * width, the paper's 1024 for a width of 128


def stages(shape: tuple[int, ...], width: int) -> tuple[int, list[int]]:
    """The side of the smallest feature map, and the channels of each map from the image's side inward.

    32x32 at width 64 is (4, [64, 128, 256]); 28x28 is (7, [64, 128]); 8x8 is (2, [64, 128]).
    """
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] not in SIZES:
        known = ", ".join(str(size) for size in SIZES)
        raise UserError(
            f"network=dcgan: cannot make samples of shape {tuple(shape)}; it takes square images of side {known}. "
            "Take network=mlp, or set data.image_size where the data has it."
        )
    base = {28: 7, 8: 2}.get(shape[1], 4)  # 8x8 goes down to 2x2: one stage alone makes a critic too weak to learn from
    count = (shape[1] // base).bit_length() - 1
    return base, [width * min(2**i, WIDEST) for i in range(count)]


@networks.register("dcgan.generator")
class Generator(nn.Module):
    """(N, latent) -> (N, C, S, S) in [-1, 1]: a linear map to the smallest feature maps, then doublings to the image.

    Reference: Radford et al., 2015, "Unsupervised Representation Learning with DCGANs", arXiv 1511.06434: transposed
    convolutions, ReLU, batch norm in all but the output layer, tanh; weights N(0, 0.02).

    Args:
        width: channels beside the image; they double with each halving of the side.
        generator_norm: `none` drops the batch norm.
        init: `dcgan` is N(0, 0.02), `he` has variance 2 / fan_in.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        width: Count = 32,
        generator_norm: Literal["none", "batch", "layer"] = "batch",
        init: Literal["dcgan", "he"] = "dcgan",
    ) -> None:
        super().__init__()
        base, channels = stages(shape, width)
        outward = [*reversed(channels), shape[0]]
        layers: list[nn.Module] = [nn.Linear(latent, outward[0] * base**2), nn.Unflatten(1, (outward[0], base, base))]
        for inputs, outputs in pairwise(outward):
            layers += [*norm(generator_norm, inputs, spatial=True), nn.ReLU()]
            layers += [nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        initialise(self, init)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


@networks.register("dcgan.discriminator")
class Discriminator(nn.Module):
    """(N, C, S, S) -> (N,): halvings to the smallest feature maps, then a linear score.

    Reference: Radford et al., 2015, arXiv 1511.06434: strided convolutions, leaky ReLU of slope 0.2, a norm in all
    but the first layer. (The paper's batch norm couples the samples; WGAN-GP needs `critic_norm` none or layer.)

    Args:
        width, init: as the generator's.
        critic_norm: the norm after each convolution but the first.
        squash: `sigmoid` turns the score into a probability; the losses expect the raw score.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Count = 32,
        critic_norm: Literal["none", "batch", "layer"] = "batch",
        init: Literal["dcgan", "he"] = "dcgan",
        squash: Literal["none", "sigmoid"] = "none",
    ) -> None:
        super().__init__()
        base, channels = stages(shape, width)
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise([shape[0], *channels])):
            layers += [nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1)]
            layers += [*norm(critic_norm if i else "none", outputs, spatial=True), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * base**2, 1), nn.Flatten(0))
        if squash == "sigmoid":
            self.layers.append(nn.Sigmoid())
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
