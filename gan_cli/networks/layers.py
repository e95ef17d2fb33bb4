"""Layers that several families share: activations by name, norms by name, weight initialisation by
name."""

from collections.abc import Callable
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gan_cli import noise
from gan_cli.errors import UserError

WEIGHTED = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)  # fmt: skip
"""Layers with a weight, to which weight norms and initialisations apply."""
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

GAIN = 2.0**0.5  # He et al., 2015: variance 2 / fan_in keeps the scale through a ReLU


def widened(x: Tensor) -> Tensor:
    """At least float32: squares are summed there, and float16 has no 1e-8."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def one_hot(y: Tensor, classes: int) -> Tensor:
    """(N, ...) -> (N, ..., classes), float32: 1 in the place of each label. torch's own function
    asks the host."""
    return (y[..., None] == torch.arange(classes, device=y.device)).float()


class Maxout(nn.Module):
    """Maximum over groups of `pieces` neighbouring features: (N, pieces * C) -> (N, C).

    Reference: Goodfellow et al., 2013, "Maxout Networks", arXiv 1302.4389.
    """

    def __init__(self, pieces: int = 5) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.pieces)).amax(dim=2)


class Gated(nn.Module):
    """sigmoid(a) * tanh(b) of the two halves of the features: (N, 2 C, ...) -> (N, C, ...).

    Reference: van den Oord et al., 2016, "Conditional Image Generation with PixelCNN Decoders",
    arXiv 1606.05328, equation 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return a.sigmoid() * b.tanh()


class SmoothELU(nn.Module):
    """softplus(2 x + 2) / 2 - 1: an ELU that can be differentiated twice, which a gradient penalty
    needs.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, appendix D.
    """

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softplus(2 * x + 2) / 2 - 1


class GaussianNoise(nn.Module):
    """x + std * N(0, I) in training; nothing in evaluation."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.std:
            return x
        return x + self.std * noise.rows(torch.randn, *x.shape, device=x.device)


class MinibatchDiscrimination(nn.Module):
    """Tells each sample how near the others of its batch are: (N, A) -> (N, A + features).

    Reference: Salimans et al., 2016, "Improved Techniques for Training GANs", arXiv 1606.03498,
    section 3.2: o_b(x_i) = sum over j != i of exp(-|M_ib - M_jb|_1), with M = x T of shape
    (features, inner).
    """

    def __init__(self, inputs: int, features: int, inner: int = 5) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, features * inner, bias=False)
        self.features, self.inner = features, inner

    def forward(self, x: Tensor) -> Tensor:
        m = self.project(x).unflatten(1, (self.features, self.inner))
        distance = (m[:, None] - m[None]).abs().sum(dim=3)
        return torch.cat([x, (-distance).exp().sum(dim=1) - 1], dim=1)  # -1: of the sample itself


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "maxout": Maxout,
    "gated": Gated,
    "smooth_elu": SmoothELU,
}
UNITS = {"maxout": 5, "gated": 2}
"""Input features per output feature of an activation, where more than one."""


class Residual(nn.Module):
    """x + residual(x), of two 3x3 convolutions at one width, each with a norm.

    Args:
        activation: between the two.
        padding_mode: what the convolutions see beyond the edge.
    """

    def __init__(
        self,
        width: int,
        norm_name: str,
        activation: nn.Module,
        padding_mode: Literal["zeros", "reflect"] = "zeros",
    ) -> None:
        super().__init__()

        def convolved() -> list[nn.Module]:
            convolution = nn.Conv2d(width, width, 3, padding=1, padding_mode=padding_mode)
            return [convolution, *norm(norm_name, width, spatial=True)]

        self.residual = nn.Sequential(*convolved(), activation, *convolved())

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.residual(x)
        return x + added


class MinibatchDeviation(nn.Module):
    """One more map: how much the samples of a group differ, the same at every pixel: (N, C, H, W)
    -> (N, C + 1, H, W).

    Reference: Karras et al., 2018, arXiv 1710.10196, section 3; groups of four as in the authors'
    code, of three, two or one where a batch cannot be cut so.
    """

    def forward(self, x: Tensor) -> Tensor:
        count = len(x) // next(size for size in range(GROUP, 0, -1) if len(x) % size == 0)
        groups = x.unflatten(0, (-1, count))
        std = (widened(groups).var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        told = std.to(x.dtype).repeat(len(groups))[:, None, None, None].expand(-1, 1, *x.shape[2:])
        return torch.cat([x, told], dim=1)


SPECTRAL_NORM = parametrizations._SpectralNorm  # torch has no public name for it
GROUP = 4  # samples whose standard deviation the discriminator sees

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
DROPOUTS = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
COUPLING: dict[str, type[nn.Module] | tuple[type[nn.Module], ...]] = {
    "batch norm": BATCH_NORMS,
    "dropout": DROPOUTS,
    "minibatch discrimination": MinibatchDiscrimination,
    "minibatch deviation": MinibatchDeviation,
    "spectral norm's power iteration": SPECTRAL_NORM,
}


def batch_dependencies(network: nn.Module) -> list[str]:
    """Layers whose output depends on the shards of a batch, by statistics or random numbers."""
    return [
        name
        for name, kind in COUPLING.items()
        if any(isinstance(module, kind) for module in network.modules())
    ]


def batch_norms(network: nn.Module) -> list[BatchNorm]:
    """The batch norms of a network."""
    return [module for module in network.modules() if isinstance(module, BATCH_NORMS)]


def norm(name: str, channels: int, spatial: bool) -> list[nn.Module]:
    """A norm layer for (N, C) or (N, C, H, W), in a list so that `none` adds no layer; see
    `constrain` for the others.

    `layer` of images normalises over (C, H, W) with one scale and offset a channel, as the WGAN-GP
    authors' code does.
    """
    if name == "batch":
        return [nn.BatchNorm2d(channels) if spatial else nn.BatchNorm1d(channels)]
    if name == "layer":
        return [nn.GroupNorm(1, channels) if spatial else nn.LayerNorm(channels)]
    if name == "instance":
        if not spatial:
            raise UserError(
                "critic_norm=instance: normalises over pixels, and points have none; take layer."
            )
        return [nn.InstanceNorm2d(channels, affine=True)]
    return []


class Scored(nn.Module):
    """A discriminator, (N, *shape) -> (N,): its `layers` are a trunk and, as their last ones, the
    score.

    Attributes:
        feature_size: width of what the trunk gives.
    """

    layers: nn.Sequential
    feature_size: int

    def end_with(
        self,
        trunk: list[nn.Module],
        inputs: int,
        minibatch: int = 0,
        squash: str = "none",
        head: nn.Module | None = None,
    ) -> None:
        """Build the layers: `trunk`, with outputs (N, inputs); minibatch discrimination if it has
        features; the score.

        Args:
            head: what gives the score, if not a plain linear layer.
        """
        told = [MinibatchDiscrimination(inputs, minibatch)] if minibatch else []
        self.feature_size = inputs + minibatch
        self._trunk = len(trunk) + len(told)
        squashed = [nn.Sigmoid()] if squash == "sigmoid" else []
        self.layers = nn.Sequential(
            *trunk, *told, head or nn.Linear(self.feature_size, 1), nn.Flatten(0), *squashed
        )

    def features(self, x: Tensor) -> Tensor:
        """The features of samples, (N, feature_size)."""
        return self.layers[: self._trunk](x)

    def score(self, features: Tensor) -> Tensor:
        """The scores of samples with these features, (N,)."""
        return self.layers[self._trunk :](features)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def feature_size(discriminator: nn.Module) -> int:
    """The width of a discriminator's features. Raises UserError where it offers none."""
    size = getattr(discriminator, "feature_size", None)
    if size is None:
        raise UserError(
            "network.discriminator: has no features for a second head; take network=mlp, dcgan "
            "or resnet."
        )
    return int(size)


def constrain(network: nn.Module, name: str, kinds: tuple[type[nn.Module], ...] = WEIGHTED) -> None:
    """Put `weight` or `spectral` norm on every linear and convolutional layer, or on those of other
    `kinds`; other names change nothing.

    Reference: Salimans and Kingma, 2016, arXiv 1602.07868; Miyato et al., 2018, "Spectral
    Normalization for GANs", arXiv 1802.05957, algorithm 1: one power iteration a forward in
    training, the matrix of a convolution is (out, in * k * k).
    """
    changes: dict[str, Callable[[nn.Module], nn.Module]] = {
        "weight": parametrizations.weight_norm,
        "spectral": parametrizations.spectral_norm,
    }
    for layer in [module for module in network.modules() if isinstance(module, kinds)]:
        if name in changes and not layer.weight.is_meta:  # of which only the size is asked
            changes[name](layer)


def tie(network: nn.Module, other: nn.Module, apart: int) -> None:
    """Share the layers of `network` with `other`, which keeps its own first (apart 0) or last (-1)
    linear or convolutional layer."""
    layers, own = (getattr(each, "layers", None) for each in (network, other))
    if not isinstance(layers, nn.Sequential) or not isinstance(own, nn.Sequential):
        raise UserError(
            "model.share: this network has no sequence of layers to share; take "
            "network=dcgan or mlp."
        )
    place = [i for i, layer in enumerate(layers) if isinstance(layer, WEIGHTED)][apart]
    for i in range(place) if apart else range(place + 1, len(layers)):
        own[i] = layers[i]


def refuse_other_sides(family: str, shape: tuple[int, ...], inputs: tuple[int, ...]) -> None:
    """Raise UserError where a network that keeps the sides of images should change them."""
    if shape[1:] != inputs[1:]:
        raise UserError(
            f"network={family}: makes images of the input's sides, and here "
            f"{inputs[1]}x{inputs[2]} should become {shape[1]}x{shape[2]}; take "
            "network=super_resolution (model=srgan), or data.make=low_resolution."
        )


@torch.no_grad()
def initialise(network: nn.Module, scheme: str, norm_name: str = "batch") -> None:
    """Set every weight by `he` (normal, variance 2 / fan_in), `dcgan` (N(0, 0.02), batch-norm
    scales N(1, 0.02)) or `orthogonal` (Saxe et al., 2014, arXiv 1312.6120: the matrix of a layer,
    (out, rest), has orthonormal rows, or columns where it has more rows; embeddings too); `auto` is
    `he` where the layers have no norm, else `dcgan`."""
    if scheme == "auto":
        scheme = "he" if norm_name == "none" else "dcgan"
    for module in network.modules():
        if isinstance(module, nn.Embedding) and scheme == "orthogonal":
            nn.init.orthogonal_(module.weight)
        if isinstance(module, WEIGHTED):
            if scheme == "orthogonal":
                nn.init.orthogonal_(module.weight)
            else:
                std = 0.02 if scheme == "dcgan" else GAIN / _fan_in(module) ** 0.5
                nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, BATCH_NORMS) and scheme == "dcgan":
            nn.init.normal_(module.weight, 1.0, 0.02)


def _fan_in(module: Any) -> float:
    """The number of inputs that each output of a weighted layer sums."""
    # weight (in, out / groups, k, ...); each output sees k / stride taps an axis
    if isinstance(module, TRANSPOSED):
        return (
            module.in_channels / module.groups * module.weight[0, 0].numel() / prod(module.stride)
        )
    return module.weight[0].numel()
