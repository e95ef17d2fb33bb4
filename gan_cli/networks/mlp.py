"""Multi-layer perceptrons: for points, and for images as the 2014 paper treated them."""

from math import prod
from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor, nn

from gan_cli.networks.layers import (
    ACTIVATIONS,
    UNITS,
    GaussianNoise,
    Scored,
    constrain,
    initialise,
    norm,
)
from gan_cli.registry import Count, Depth, Fraction, NonNegative, Widths, networks


@networks.register("mlp.generator")
class Generator(nn.Module):
    """(N, latent) -> (N, *shape), through tanh where the data is bounded to [-1, 1].

    Args:
        width, depth: `depth` hidden layers of this width; a list has the width of each.
        activation: after every hidden layer.
        dropout: the share of features that is dropped after every hidden layer while it trains.
        generator_norm: a norm after each hidden layer.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        bounded: bool,
        width: Widths = 256,
        depth: Depth = 3,
        activation: Literal[
            "relu", "leaky_relu", "tanh", "elu", "smooth_elu", "softplus", "maxout", "gated"
        ] = "relu",
        dropout: Fraction = 0.0,
        generator_norm: Literal["none", "batch", "layer"] = "none",
    ) -> None:
        super().__init__()
        layers = _hidden(latent, width, depth, activation, generator_norm, dropout)
        last: list[nn.Module] = [nn.Linear(_last(width), prod(shape)), nn.Unflatten(1, shape)]
        self.layers = nn.Sequential(*layers, *last, *([nn.Tanh()] if bounded else []))
        initialise(self, "he")

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


@networks.register("mlp.discriminator")
class Discriminator(Scored):
    """(N, *shape) -> (N,).

    Args:
        width, depth, activation: as the generator's.
        dropout, input_dropout: share of hidden, and of input, features that a forward leaves out.
        critic_norm: a norm after each hidden layer; `weight` and `spectral` are norms of the
            weights.
        minibatch: features of minibatch discrimination before the score; 0 is none.
        squash: `sigmoid` turns the score into a probability; the losses expect the raw score.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Widths = 256,
        depth: Depth = 3,
        activation: Literal[
            "relu", "leaky_relu", "tanh", "elu", "smooth_elu", "softplus", "maxout", "gated"
        ] = "relu",
        dropout: Fraction = 0.0,
        input_dropout: Fraction = 0.0,
        critic_norm: Literal["none", "batch", "layer", "instance", "weight", "spectral"] = "none",
        minibatch: Annotated[int, Ge(0)] = 0,
        squash: Literal["none", "sigmoid"] = "none",
    ) -> None:
        super().__init__()
        first: list[nn.Module] = [
            nn.Flatten(),
            *([nn.Dropout(input_dropout)] if input_dropout else []),
        ]
        hidden = _hidden(prod(shape), width, depth, activation, critic_norm, dropout)
        self.end_with([*first, *hidden], _last(width), minibatch, squash)
        initialise(self, "he")
        constrain(self, critic_norm)


@networks.register("mlp.autoencoder")
class Autoencoder(nn.Module):
    """(N, *shape) -> (reconstruction, code (N, code)), through tanh where the data is bounded to
    [-1, 1].

    Args:
        width, depth, activation: as the generator's, for both halves.
        code: width of the code.
        critic_norm: a norm after each hidden layer.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        bounded: bool,
        width: Count = 256,
        depth: Depth = 2,
        code: Count = 32,
        activation: Literal[
            "relu", "leaky_relu", "tanh", "elu", "smooth_elu", "softplus", "maxout", "gated"
        ] = "relu",
        critic_norm: Literal["none", "batch", "layer"] = "none",
    ) -> None:
        super().__init__()
        hidden = _hidden(prod(shape), width, depth, activation, critic_norm, 0.0)
        self.encoder = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, code))
        initialise(self.encoder, "he")
        self.decoder = Generator(
            shape, code, bounded, width, depth, activation, generator_norm=critic_norm
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return self.decoder(code), code


@networks.register("mlp.encoder")
class Encoder(nn.Module):
    """(N, *shape) -> (N, outputs).

    Args:
        width, depth, activation: as the generator's.
        encoder_norm: a norm after each hidden layer.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: Count = 256,
        depth: Depth = 3,
        activation: Literal[
            "relu", "leaky_relu", "tanh", "elu", "smooth_elu", "softplus", "maxout", "gated"
        ] = "relu",
        encoder_norm: Literal["none", "batch", "layer"] = "none",
    ) -> None:
        super().__init__()
        hidden = _hidden(prod(shape), width, depth, activation, encoder_norm, 0.0)
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, outputs))
        initialise(self, "he")

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@networks.register("mlp.classifier")
class Classifier(nn.Module):
    """(N, *shape) -> (N, outputs) logits, with Gaussian noise before every layer in training.

    Reference: Salimans et al., 2016, arXiv 1606.03498, the authors' code for MNIST.

    Args:
        width, depth, activation: as the generator's.
        input_noise: standard deviation of the noise on samples in [-1, 1] (twice the paper's 0.3,
            for data in [0, 1]).
        hidden_noise: of the noise on hidden features.
        critic_norm: `weight` in the paper.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: Count = 256,
        depth: Depth = 3,
        activation: Literal["relu", "leaky_relu", "tanh", "elu", "smooth_elu", "softplus"] = "relu",
        input_noise: NonNegative = 0.6,
        hidden_noise: NonNegative = 0.5,
        critic_norm: Literal["none", "weight", "spectral"] = "weight",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten(), GaussianNoise(input_noise)]
        for i in range(depth):
            layers += [nn.Linear(width if i else prod(shape), width), ACTIVATIONS[activation]()]
            layers += [GaussianNoise(hidden_noise)] if i < depth - 1 else []
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Sequential(GaussianNoise(hidden_noise), nn.Linear(width, outputs))
        initialise(self, "he")
        constrain(self, critic_norm)

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer, before its noise: (N, width)."""
        return self.trunk(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


def _hidden(
    inputs: int, width: int | list[int], depth: int, activation: str, norm_name: str, dropout: float
) -> list[nn.Module]:
    """`depth` times: linear, norm, activation, dropout. Some activations take several features for
    each they give."""
    layers: list[nn.Module] = []
    for features in width if isinstance(width, list) else [width] * depth:
        units = UNITS.get(activation, 1) * features
        layers += [
            nn.Linear(inputs, units),
            *norm(norm_name, units, spatial=False),
            ACTIVATIONS[activation](),
        ]
        layers += [nn.Dropout(dropout)] if dropout else []
        inputs = features
    return layers


def _last(width: int | list[int]) -> int:
    """Features of the last hidden layer."""
    return width[-1] if isinstance(width, list) else width
