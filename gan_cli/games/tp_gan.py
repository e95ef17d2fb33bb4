"""Frontal faces of faces from the side."""

from typing import Annotated, Any

from annotated_types import Ge, Le
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gan_cli.game import Terms
from gan_cli.games.pix2pix import Pix2Pix
from gan_cli.metrics.pairs import steps
from gan_cli.registry import NonNegative, games


@games.register("tp_gan")
class TPGAN(Pix2Pix):
    """As `Pix2Pix`, for images that are symmetric: G turns a face from the side into one from the
    front, which should be its own mirror image, and that of the same person.

    Reference: Huang et al., 2017, "Beyond Face Rotation: Global and Local Perception GAN for
    Photorealistic and Identity Preserving Frontal View Synthesis", arXiv 1704.04086, equations 6 to
    10. The person is what `features` tell (`perceptual`, there of a network that recognises faces).

    Args:
        symmetric: weight of the L1 distance of an image from its mirror image.
        smooth: weight of the total variation, the mean difference of neighbouring pixels.
        scales: sides at which the L1 distance is taken, each half of the one before.
    """

    def __init__(
        self,
        symmetric: NonNegative = 0.3,
        smooth: NonNegative = 1e-4,
        scales: Annotated[int, Ge(1), Le(6)] = 3,
        **pix2pix: Any,
    ) -> None:
        super().__init__(**pix2pix)
        self.symmetric = symmetric
        self.smooth = smooth
        self.scales = scales

    def distances(self, x_fake: Tensor, x: Tensor) -> Terms:
        terms = super().distances(x_fake, x)
        if self.l1:
            for halvings in range(1, self.scales):
                coarse = avg_pool2d(x_fake - x, 2**halvings).abs().mean()
                terms[f"l1_{2**halvings}"] = self.l1 * coarse
        if self.symmetric:
            terms["symmetric"] = self.symmetric * (x_fake - x_fake.flip(-1)).abs().mean()
        if self.smooth:
            terms["smooth"] = self.smooth * steps(x_fake).mean()
        return terms
