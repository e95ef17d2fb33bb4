"""Strided convolutions up and down, for square images of 4 * 2^k pixels (8 to 256) and 28."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge
from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.networks.layers import ACTIVATIONS, UNITS, Scored, constrain, initialise, norm
from gan_cli.registry import Count, Depth, networks

SIZES = (8, 16, 28, 32, 64, 128, 256)
WIDEST = 8  # channels stop doubling at 8 * width, the paper's 1024 for a width of 128


def stages(shape: tuple[int, ...], width: int) -> tuple[int, list[int]]:
    """The side of the smallest feature map, and the channels of each map from the image's side
    inward.

    32x32 at width 64 is (4, [64, 128, 256]); 28x28 is (7, [64, 128]); 8x8 is (2, [64, 128]).
    """
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] not in SIZES:
        known = ", ".join(str(size) for size in SIZES)
        raise UserError(
            f"network=dcgan: cannot make samples of shape {tuple(shape)}; it takes square images "
            f"of side {known}. Take network=mlp, or set data.image_size where the data has it."
        )
    # 8x8 goes down to 2x2: one stage alone makes a critic too weak to learn from
    base = {28: 7, 8: 2}.get(shape[1], 4)
    count = (shape[1] // base).bit_length() - 1
    return base, [width * min(2**i, WIDEST) for i in range(count)]


@networks.register("dcgan.generator")
class Generator(nn.Module):
    """(N, latent) -> (N, C, S, S) in [-1, 1]: a linear map to the smallest feature maps, then
    doublings to the image.

    Reference: Radford et al., 2015, "Unsupervised Representation Learning with DCGANs", arXiv
    1511.06434: transposed convolutions, ReLU, batch norm in all but the output layer, tanh; weights
    N(0, 0.02).

    Args:
        width: channels beside the image; they double with each halving of the side.
        constant: keep the channels at `width` instead, at every side.
        activation: after every layer but the last.
        convolutions: layers at each side: one changes the side, the others are 3x3.
        generator_norm: `none` drops the batch norm.
        init: `dcgan` is N(0, 0.02), `he` has variance 2 / fan_in; `auto` is `he` for layers without
            a norm, through which nothing of 0.02 would get, and `dcgan` for others.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        width: Count = 32,
        constant: bool = False,
        activation: Literal[
            "relu", "leaky_relu", "tanh", "elu", "smooth_elu", "softplus", "gated"
        ] = "relu",
        convolutions: Depth = 1,
        generator_norm: Literal["none", "batch", "layer"] = "batch",
        init: Literal["auto", "dcgan", "he"] = "auto",
    ) -> None:
        super().__init__()
        base, channels = stages(shape, width)
        outward = [*reversed([width] * len(channels) if constant else channels), shape[0]]
        units = UNITS.get(activation, 1)

        def hidden(features: int) -> list[nn.Module]:
            return [
                *norm(generator_norm, units * features, spatial=True),
                ACTIVATIONS[activation](),
            ]

        first = units * outward[0]
        layers: list[nn.Module] = [
            nn.Linear(latent, first * base**2),
            nn.Unflatten(1, (first, base, base)),
        ]
        for i, (inputs, outputs) in enumerate(pairwise(outward)):
            for _ in range(convolutions - 1):
                layers += [
                    *hidden(inputs),
                    nn.Conv2d(inputs, units * inputs, kernel_size=3, padding=1),
                ]
            outputs *= units if i < len(outward) - 2 else 1
            layers += [
                *hidden(inputs),
                nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1),
            ]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        initialise(self, init, generator_norm)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


@networks.register("dcgan.discriminator")
class Discriminator(Scored):
    """(N, C, S, S) -> (N,): halvings to the smallest feature maps, then a linear score.

    Reference: Radford et al., 2015, arXiv 1511.06434: strided convolutions, leaky ReLU of slope
    0.2, a norm in all but the first layer. (The paper's batch norm couples the samples; WGAN-GP
    needs `critic_norm` none or layer.)

    Args:
        width, convolutions, init: as the generator's.
        activation: after every convolution.
        critic_norm: the norm after each convolution but the first; `weight` and `spectral` are
            norms of the weights.
        minibatch: features of minibatch discrimination before the score; 0 is none.
        squash: `sigmoid` turns the score into a probability; the losses expect the raw score.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Count = 32,
        activation: Literal[
            "relu", "leaky_relu", "tanh", "elu", "smooth_elu", "softplus", "gated"
        ] = "leaky_relu",
        convolutions: Depth = 1,
        critic_norm: Literal["none", "batch", "layer", "instance", "weight", "spectral"] = "batch",
        minibatch: Annotated[int, Ge(0)] = 0,
        init: Literal["auto", "dcgan", "he"] = "auto",
        squash: Literal["none", "sigmoid"] = "none",
    ) -> None:
        super().__init__()
        self.end_with(
            *_halvings(shape, width, activation, convolutions, critic_norm), minibatch, squash
        )
        initialise(self, init, critic_norm)
        constrain(self, critic_norm)


@networks.register("dcgan.autoencoder")
class Autoencoder(nn.Module):
    """(N, C, S, S) -> (reconstruction in [-1, 1], code (N, code)): the discriminator's layers, then
    the generator.

    Args:
        width, init: as the generator's.
        code: width of the code.
        activation: after every convolution of the encoder.
        critic_norm: the norm after each convolution of the encoder but the first, and before those
            of the decoder.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Count = 32,
        code: Count = 64,
        activation: Literal[
            "relu", "leaky_relu", "tanh", "elu", "smooth_elu", "softplus", "gated"
        ] = "leaky_relu",
        critic_norm: Literal["none", "batch", "layer"] = "batch",
        init: Literal["auto", "dcgan", "he"] = "auto",
    ) -> None:
        super().__init__()
        trunk, size = _halvings(shape, width, activation, 1, critic_norm)
        self.encoder = nn.Sequential(*trunk, nn.Linear(size, code))
        self.decoder = Generator(shape, code, width, generator_norm=critic_norm, init=init)
        initialise(self.encoder, init, critic_norm)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return self.decoder(code), code


@networks.register("dcgan.encoder")
class Encoder(nn.Module):
    """(N, C, S, S) -> (N, outputs): the discriminator's layers, then a linear map.

    Args:
        width, convolutions, init: as the generator's.
        activation: after every convolution.
        encoder_norm: the norm after each convolution but the first.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: Count = 32,
        activation: Literal[
            "relu", "leaky_relu", "tanh", "elu", "smooth_elu", "softplus", "gated"
        ] = "leaky_relu",
        convolutions: Depth = 1,
        encoder_norm: Literal["none", "batch", "layer"] = "batch",
        init: Literal["auto", "dcgan", "he"] = "auto",
    ) -> None:
        super().__init__()
        trunk, size = _halvings(shape, width, activation, convolutions, encoder_norm)
        self.layers = nn.Sequential(*trunk, nn.Linear(size, outputs))
        initialise(self, init, encoder_norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _halvings(
    shape: tuple[int, ...], width: int, activation: str, convolutions: int, norm_name: str
) -> tuple[list[nn.Module], int]:
    """Layers from an image to its smallest feature maps, flattened; and how many features those
    are."""
    base, channels = stages(shape, width)
    units = UNITS.get(activation, 1)
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise([shape[0], *channels])):
        for again in range(convolutions):
            size, stride = (3, 1) if again else (4, 2)
            layers += [nn.Conv2d(inputs, units * outputs, size, stride, padding=1)]
            layers += norm(norm_name if i else "none", units * outputs, spatial=True)
            layers += [ACTIVATIONS[activation]()]
            inputs = outputs
    return [*layers, nn.Flatten()], channels[-1] * base**2
