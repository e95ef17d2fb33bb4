"""Networks that enlarge images, and a discriminator of the enlarged ones."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_cli.errors import UserError
from gan_cli.networks.layers import Residual, Scored, constrain, initialise, norm
from gan_cli.registry import Count, networks

OUTER = 9  # side of the first and the last convolution
WIDEST = 8  # channels of the discriminator stop doubling at 8 * width


@networks.register("super_resolution.generator")
class Generator(nn.Module):
    """(N, C, h, w), (N, latent) -> (N, C, r h, r w) in [-1, 1], of any sides; r is a power of 2.

    Reference: Ledig et al., 2017, "Photo-Realistic Single Image Super-Resolution Using a Generative
    Adversarial Network", arXiv 1609.04802, figure 4 (SRResNet): 16 residual blocks of width 64
    between 9x9 convolutions, batch norm, PReLU, and a sub-pixel convolution for each doubling (Shi
    et al., 2016, arXiv 1609.05158). There is no noise.

    Args:
        width: channels.
        blocks: residual blocks.
        residual: whether the network learns what is added to the bicubically enlarged input, which
            needs far fewer rounds; the paper's makes the whole image.
        generator_norm: after the convolutions of the blocks.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    takes_inputs: ClassVar[bool] = True
    multiple: ClassVar[int] = 1  # what the sides of an input must be multiples of

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs: tuple[int, ...],
        latent: int = 0,
        width: Count = 64,
        blocks: Annotated[int, Ge(0), Le(64)] = 16,
        residual: bool = True,
        generator_norm: Literal["none", "batch", "layer", "instance"] = "batch",
    ) -> None:
        super().__init__()
        ratio = shape[1] // inputs[1]
        if latent or ratio & (ratio - 1) or [ratio * side for side in inputs[1:]] != [*shape[1:]]:
            raise UserError(
                f"network=super_resolution: enlarges images 2, 4 or 8 times, without noise, and "
                f"not from {inputs[1]}x{inputs[2]} to {shape[1]}x{shape[2]} with model.latent="
                f"{latent}; take data.make=downscaled data.factor=4 and model.latent=0."
            )
        if residual and inputs[0] != shape[0]:
            raise UserError(
                f"network.generator.residual=true: adds to an input of {shape[0]} channels, and "
                f"this one has {inputs[0]}; set it to false."
            )
        self.residual, self.ratio = residual, ratio
        self.first = nn.Sequential(
            nn.Conv2d(inputs[0], width, OUTER, padding=OUTER // 2), nn.PReLU()
        )
        self.blocks = nn.Sequential(
            *(Residual(width, generator_norm, nn.PReLU()) for _ in range(blocks)),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            *norm(generator_norm, width, spatial=True),
        )
        enlarging: list[nn.Module] = []
        for _ in range(ratio.bit_length() - 1):
            enlarging += [nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()]
        self.enlarge = nn.Sequential(*enlarging)
        self.last = nn.Conv2d(width, shape[0], OUTER, padding=OUTER // 2)
        initialise(self, "he")
        if residual:  # it starts as the enlarged input
            nn.init.normal_(self.last.weight, 0.0, 1e-4)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        maps = self.first(x)
        image: Tensor = self.last(self.enlarge(maps + self.blocks(maps)))
        if not self.residual:
            return image.tanh()
        # by the size, not the ratio, for which torch.export fixes the sides
        large = interpolate(x, size=image.shape[2:], mode="bicubic", align_corners=False)
        return (large + image).clamp(-1, 1)


@networks.register("super_resolution.discriminator")
class Discriminator(Scored):
    """(N, C, H, W) -> (N,): pairs of 3x3 convolutions, the second of each halves the sides, then
    two linear maps.

    Reference: Ledig et al., 2017, arXiv 1609.04802, figure 4: four such pairs of width 64 to 512
    for images of 96x96, leaky ReLU of slope 0.2, batch norm in all but the first layer, 1024 hidden
    units.

    Args:
        width: channels after the first convolution; they double with each pair, to 8 times.
        halvings: pairs of convolutions.
        hidden: units of the hidden layer.
        critic_norm: the norm; `weight` and `spectral` are norms of the weights.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: tuple[int, ...],
        width: Count = 64,
        halvings: Annotated[int, Ge(1), Le(8)] = 4,
        hidden: Count = 1024,
        critic_norm: Literal["none", "batch", "layer", "instance", "weight", "spectral"] = "batch",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, (height, across) = shape[0], shape[1:]
        for i in range(halvings):
            after = width * min(2**i, WIDEST)
            for stride in (1, 2):
                layers.append(nn.Conv2d(before, after, 3, stride=stride, padding=1))
                layers += norm(critic_norm, after, spatial=True) if i or stride == 2 else []
                layers.append(nn.LeakyReLU(0.2))
                before = after
            height, across = (height + 1) // 2, (across + 1) // 2
        layers += [nn.Flatten(), nn.Linear(before * height * across, hidden), nn.LeakyReLU(0.2)]
        self.end_with(layers, hidden)
        initialise(self, "auto", critic_norm)
        constrain(self, critic_norm)
