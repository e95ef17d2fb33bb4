"""The networks of BigGAN and of BigGAN-deep: residual ones in which every norm is told the class
and a part of z, and a discriminator that projects the class."""

from functools import partial
from itertools import accumulate, pairwise
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.networks.attention import SelfAttention, attending
from gan_cli.networks.conditional import Chain, Projected, conditional_norms
from gan_cli.networks.layers import WEIGHTED, constrain, initialise, norm
from gan_cli.networks.resnet import Block, Norms, doublings, resizing
from gan_cli.registry import Count, networks

Resize = Literal["up", "down", ""]
Plan = list[tuple[int, int, Resize]]
"""Channels before and after each block, and what it does to the side."""
RATIO = 4  # of a deep block's channels to those inside it


class DeepBlock(nn.Module):
    """x -> skip(x) + residual(x), of 1x1, 3x3, 3x3 and 1x1 convolutions each after a norm and a
    ReLU, with a quarter of the channels inside.

    The skip has no weights but for channels that are added: it drops the last channels where there
    are fewer, and joins those of a 1x1 convolution to its own where there are more.

    Reference: Brock et al., 2019, arXiv 1809.11096, appendix B, figure 16.

    Args:
        normed, resize: as those of `gan_cli.networks.resnet.Block`; `up` doubles the side before
            the 3x3 convolutions, `down` halves it after them.
    """

    takes_condition: ClassVar[bool] = True

    def __init__(self, inputs: int, outputs: int, normed: Norms, resize: Resize = "") -> None:
        super().__init__()
        inner = max(1, max(inputs, outputs) // RATIO)
        self.narrow = Chain(
            *normed(inputs), nn.ReLU(), nn.Conv2d(inputs, inner, kernel_size=1),
            *normed(inner), nn.ReLU(),
        )  # fmt: skip
        self.middle = Chain(
            nn.Conv2d(inner, inner, kernel_size=3, padding=1), *normed(inner), nn.ReLU(),
            nn.Conv2d(inner, inner, kernel_size=3, padding=1), *normed(inner), nn.ReLU(),
        )  # fmt: skip
        self.widen = nn.Conv2d(inner, outputs, kernel_size=1)
        added = outputs - inputs
        self.added = nn.Conv2d(inputs, added, kernel_size=1) if added > 0 else None
        self.outputs, self.resize = outputs, resize

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        grown, halved = resizing(self.resize)
        residual = self.widen(halved(self.middle(grown(self.narrow(x, *given)), *given)))

        skip = grown(halved(x[:, : self.outputs]))
        if self.added is not None:
            skip = torch.cat([skip, self.added(skip)], dim=1)
        return skip + residual


def widened(width: int, widest: int, count: int) -> list[int]:
    """`width`, and twice as many channels at each further scale, to `widest` times."""
    return [width * min(2**i, widest) for i in range(count)]


# --- generators -----------------------------------------------------------------------------------


class ConditionalGenerator(nn.Module):
    """Base class of both generators: (N, latent), (N,) -> (N, C, S, S) in [-1, 1]. A linear map to
    the smallest maps, blocks that double the side, a norm without a condition, a convolution.

    Args:
        classes: how many there are.
        width: channels at the image's side; they double with each halving.
        widest: to so many times the width; 1 keeps the width everywhere.
        embedding: width of a class's vector, which all norms share.
        generator_norm: what the conditional norms do before they scale and shift.
        attention: the largest feature maps of at most this side attend to themselves; 0 is none.
        spectral: spectral norm on every linear and convolutional layer.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    takes_classes: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True
    family: ClassVar[str]
    block: ClassVar[type[Block] | type[DeepBlock]]

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        classes: int,
        width: Count = 16,
        widest: Count = 16,
        embedding: Count = 128,
        generator_norm: Literal["none", "batch"] = "batch",
        attention: Annotated[int, Ge(0)] = 0,
        spectral: bool = True,
    ) -> None:
        super().__init__()
        base, count = doublings(shape, self.family)
        widths = widened(width, widest, count + 1)[::-1]
        self.chunks = split_sizes(latent, count + 1)
        self.count = count

        # the widths of all conditions are those of an example
        start, *given = (
            condition.shape[1]
            for condition in self.conditions(torch.zeros(1, embedding), torch.zeros(1, latent))
        )
        plan = self.plan(widths)
        blocks: list[nn.Module] = [
            self.block(inputs, outputs, conditional_norms(told, generator_norm), resize)
            for (inputs, outputs, resize), told in zip(plan, given, strict=True)
        ]
        sides = [base * 2**ups for ups in accumulate(resize == "up" for *_, resize in plan)]

        self.embedding = nn.Embedding(classes, embedding)
        self.start = nn.Sequential(
            nn.Linear(start, widths[0] * base**2), nn.Unflatten(1, (widths[0], base, base))
        )
        self.blocks = nn.ModuleList(
            attending(blocks, sides, attention, [outputs for _, outputs, _ in plan])
        )
        self.end = nn.Sequential(
            *norm(generator_norm, widths[-1], spatial=True),
            nn.ReLU(),
            nn.Conv2d(widths[-1], shape[0], kernel_size=3, padding=1),
            nn.Tanh(),
        )
        initialise(self, "orthogonal")
        constrain(self, "spectral" if spectral else "none")

    def plan(self, widths: list[int]) -> Plan:
        """The blocks, from the channels at each scale, the coarsest first."""
        raise NotImplementedError

    def conditions(self, told: Tensor, z: Tensor) -> list[Tensor]:
        """What the linear map takes, and what the norms of each block are told, (N, width) each.

        Args:
            told: the vectors of the classes, (N, embedding).
        """
        raise NotImplementedError

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        start, *given = self.conditions(self.embedding(y), z)
        x = self.start(start)
        rest = iter(given)
        for block in self.blocks:
            x = block(x) if isinstance(block, SelfAttention) else block(x, next(rest))
        image: Tensor = self.end(x)
        return image


def split_sizes(latent: int, parts: int) -> list[int]:
    """Sizes of the chunks of z, as equal as possible, the larger ones first.

    Raises:
        UserError: z has fewer numbers than there are chunks.
    """
    if latent < parts:
        raise UserError(
            f"model.latent={latent}: z is split into {parts} chunks, one for the first layer and "
            f"one for each block; set it to {parts} or more."
        )
    each, extra = divmod(latent, parts)
    return [each + (i < extra) for i in range(parts)]


@networks.register("biggan.generator")
class Generator(ConditionalGenerator):
    """A block for each doubling. z is split into chunks: the first one makes the smallest maps,
    each other one goes to the norms of one block, beside the class (hierarchical z).

    Reference: Brock et al., 2019, "Large Scale GAN Training for High Fidelity Natural Image
    Synthesis", arXiv 1809.11096, section 3 and appendix B, table 4 (width 96, widest 16).
    """

    family: ClassVar[str] = "resnet_biggan"
    block: ClassVar[type[Block] | type[DeepBlock]] = Block

    def plan(self, widths: list[int]) -> Plan:
        return [(inputs, outputs, "up") for inputs, outputs in pairwise(widths)]

    def conditions(self, told: Tensor, z: Tensor) -> list[Tensor]:
        first, *others = z.split(self.chunks, dim=1)
        return [first, *(torch.cat([told, chunk], dim=1) for chunk in others)]


@networks.register("biggan_deep.generator")
class DeepGenerator(ConditionalGenerator):
    """Two bottleneck blocks for each doubling, the second one of which doubles. The first layer and
    all norms are told the whole of z, beside the class.

    Reference: Brock et al., 2019, arXiv 1809.11096, appendix B, table 7 (width 128, widest 16).
    """

    family: ClassVar[str] = "resnet_biggan_deep"
    block: ClassVar[type[Block] | type[DeepBlock]] = DeepBlock

    def plan(self, widths: list[int]) -> Plan:
        return [
            step
            for inputs, outputs in pairwise(widths)
            for step in ((inputs, inputs, ""), (inputs, outputs, "up"))
        ]

    def conditions(self, told: Tensor, z: Tensor) -> list[Tensor]:
        return [torch.cat([told, z], dim=1)] * (1 + 2 * self.count)


# --- discriminators -------------------------------------------------------------------------------


class Summed(nn.Module):
    """(N, C, S, S) -> (N,): blocks, a ReLU, the features summed over the pixels, a linear score."""

    def __init__(self, blocks: list[nn.Module], width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks, nn.ReLU())
        self.linear = nn.Linear(width, 1)
        self.feature_size = width

    def features(self, x: Tensor) -> Tensor:
        """The features of samples, (N, feature_size)."""
        features: Tensor = self.blocks(x).sum(dim=(2, 3))
        return features

    def score(self, features: Tensor) -> Tensor:
        """The scores of samples with these features, (N,)."""
        return self.linear(features).flatten()

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.features(x))


class ConditionalDiscriminator(Projected):
    """Base class of both discriminators: (N, C, S, S), (N,) -> (N,). Blocks that halve the side
    down to the generator's smallest maps, and the projection of the class.

    Args:
        classes: how many there are.
        width: channels at the image's side, or where the first block ends; they double with each
            halving.
        widest: to so many times the width; 1 keeps the width everywhere.
        critic_norm: of every layer, and of the vectors of the classes.
        attention: as the generator's.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    takes_classes: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True
    family: ClassVar[str]

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        width: Count = 16,
        widest: Count = 16,
        critic_norm: Literal["none", "spectral"] = "spectral",
        attention: Annotated[int, Ge(0)] = 0,
    ) -> None:
        _, count = doublings(shape, self.family)
        first, plan, blocks = self.trunk(shape[0], width, widest, count)
        sides = [
            shape[1] // 2**halvings for halvings in accumulate(step == "down" for *_, step in plan)
        ]
        channels = [outputs for _, outputs, _ in plan]
        attended = attending(blocks, sides, attention, channels)
        super().__init__(Summed([*first, *attended], channels[-1]), classes)
        initialise(self, "orthogonal")
        constrain(self, critic_norm, (*WEIGHTED, nn.Embedding))

    def trunk(
        self, channels: int, width: int, widest: int, count: int
    ) -> tuple[list[nn.Module], Plan, list[nn.Module]]:
        """What comes before the blocks, their plan, and the blocks.

        Args:
            channels: of the image.
            count: halvings.
        """
        raise NotImplementedError


no_norms: Norms = partial(norm, "none", spatial=True)


@networks.register("biggan.discriminator")
class Discriminator(ConditionalDiscriminator):
    """A block for each halving, and one more.

    Reference: Brock et al., 2019, arXiv 1809.11096, appendix B, table 4; Miyato and Koyama, 2018,
    arXiv 1802.05637, for the projection.
    """

    family: ClassVar[str] = "resnet_biggan"

    def trunk(
        self, channels: int, width: int, widest: int, count: int
    ) -> tuple[list[nn.Module], Plan, list[nn.Module]]:
        widths = [channels, *widened(width, widest, count)]
        plan: Plan = [(inputs, outputs, "down") for inputs, outputs in pairwise(widths)]
        plan.append((widths[-1], widths[-1], ""))
        blocks: list[nn.Module] = [
            Block(inputs, outputs, no_norms, resize, first=i == 0)
            for i, (inputs, outputs, resize) in enumerate(plan)
        ]
        return [], plan, blocks


@networks.register("biggan_deep.discriminator")
class DeepDiscriminator(ConditionalDiscriminator):
    """A convolution, and two bottleneck blocks for each halving, the first one of which halves.

    Reference: Brock et al., 2019, arXiv 1809.11096, appendix B, table 7.
    """

    family: ClassVar[str] = "resnet_biggan_deep"

    def trunk(
        self, channels: int, width: int, widest: int, count: int
    ) -> tuple[list[nn.Module], Plan, list[nn.Module]]:
        widths = widened(width, widest, count + 1)
        plan: Plan = [
            step
            for inputs, outputs in pairwise(widths)
            for step in ((inputs, outputs, "down"), (outputs, outputs, ""))
        ]
        blocks: list[nn.Module] = [
            DeepBlock(inputs, outputs, no_norms, resize) for inputs, outputs, resize in plan
        ]
        return [nn.Conv2d(channels, width, kernel_size=3, padding=1)], plan, blocks
