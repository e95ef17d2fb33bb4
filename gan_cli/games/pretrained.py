"""Translation of images whose generator learns from the distances alone before it plays."""

from typing import ClassVar

from torch import Tensor

from gan_cli.game import Terms, player
from gan_cli.games.pix2pix import Pix2Pix
from gan_cli.registry import games


@games.register("pretrained_pix2pix")
class PretrainedPix2Pix(Pix2Pix):
    """As `Pix2Pix`, with a turn of G without D, `content`, for phases before the game.

    References: Ledig et al., 2017, "Photo-Realistic Single Image Super-Resolution Using a
    Generative Adversarial Network", arXiv 1609.04802, section 2.2: a network trained by the mean
    squared error is where the adversary starts. Antic, 2019, DeOldify, "NoGAN": G learns from the
    distances, then D from what G makes, and only then, and shortly, from each other.
    """

    order: ClassVar[tuple[str, ...]] = ("content", "discriminator", "generator")

    @player(moves="G")
    def content(self, x: Tensor, *given: Tensor) -> Terms:
        return self.distances(self.sample_fakes(x, *given), x)
