"""Residual one-dimensional convolutions over characters."""

from typing import ClassVar, Literal

from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.networks.layers import constrain, initialise
from gan_cli.registry import Count, Depth, networks

KERNEL, SCALED = 5, 0.3


class Block(nn.Module):
    """x + 0.3 * residual(x), of two convolutions over five characters, each after a ReLU: (N, C, T)
    -> (N, C, T)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReLU(), nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2),
            nn.ReLU(), nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + SCALED * self.residual(x)


def sequence(shape: tuple[int, ...], family: str) -> tuple[int, int]:
    """Characters and length of a sample. Raises UserError where it is not a sequence."""
    if len(shape) != 2:
        raise UserError(
            f"network={family}: makes sequences, not samples of shape {tuple(shape)}; take "
            "data=text."
        )
    return shape[0], shape[1]


@networks.register("text_resnet.generator")
class Generator(nn.Module):
    """(N, latent) -> (N, V, T), a distribution over the V characters at each of T places.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, section 5.3 and the authors' code (width
    512, five blocks).

    Args:
        width: channels.
        blocks: residual blocks of two convolutions.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(
        self, shape: tuple[int, ...], latent: int, width: Count = 64, blocks: Depth = 5
    ) -> None:
        super().__init__()
        characters, length = sequence(shape, "text_resnet")
        self.layers = nn.Sequential(
            nn.Linear(latent, width * length), nn.Unflatten(1, (width, length)),
            *(Block(width) for _ in range(blocks)),
            nn.Conv1d(width, characters, kernel_size=1), nn.Softmax(dim=1),
        )  # fmt: skip
        initialise(self, "he")

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


@networks.register("text_resnet.discriminator")
class Discriminator(nn.Module):
    """(N, V, T) -> (N,): the generator's blocks, a linear score.

    Args:
        width, blocks: as the generator's.
        critic_norm: none in the paper; `layer` after the blocks, `weight` and `spectral` are norms
            of the weights.
    """

    has_features: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Count = 64,
        blocks: Depth = 5,
        critic_norm: Literal["none", "layer", "weight", "spectral"] = "none",
    ) -> None:
        super().__init__()
        characters, length = sequence(shape, "text_resnet")
        normed = [nn.GroupNorm(1, width)] if critic_norm == "layer" else []
        self.layers = nn.Sequential(
            nn.Conv1d(characters, width, kernel_size=1),
            *(Block(width) for _ in range(blocks)),
            *normed, nn.Flatten(), nn.Linear(width * length, 1), nn.Flatten(0),
        )  # fmt: skip
        initialise(self, "he")
        constrain(self, critic_norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
