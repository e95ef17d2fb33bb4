"""Images of label maps."""

from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.game import Terms, player
from gan_cli.games.pix2pix import Pix2Pix
from gan_cli.registry import NonNegative, games


class Layered(Protocol):
    """A discriminator that tells what each of its layers gives."""

    def layers(self, x: Tensor) -> list[list[Tensor]]:
        """By scale and layer; the last layer gives the scores."""


@games.register("spade")
class SPADE(Pix2Pix):
    """As `Pix2Pix`, with the features of D's layers matched.

    Reference: Park et al., 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization",
    arXiv 1903.07291, section 3: the terms of Wang et al., 2018, arXiv 1711.11585, equation 4, with
    the hinge.

    Args:
        matching: weight of the L1 distance of D's features of made images from those of the true
            ones, the mean over layers and scales.
    """

    order: ClassVar[tuple[str, ...]] = ("discriminator", "generator")

    def __init__(self, D: nn.Module, matching: NonNegative = 10.0, **pix2pix: Any) -> None:
        super().__init__(D=D, **pix2pix)
        self.matching = matching
        if not callable(getattr(D, "layers", None)):
            raise UserError(
                f"model.matching={matching}: compares what the layers of D give, and this one does "
                "not tell; take network=spade."
            )

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        x_fake = self.sample_fakes(x, *given)
        made = self.layers(self.seen(x_fake, *given))
        terms = self.distances(x_fake, x)
        if self.adversarial:
            scores = torch.cat([scale[-1].flatten(1) for scale in made], dim=1)
            real = self.value(x, *given) if self.loss.uses_real else None
            terms["adversarial"] = self.adversarial * self.loss.generator(scores, real)
        if self.matching:
            with torch.no_grad():
                wanted = self.layers(self.seen(x, *given))
            gaps = [
                (mine - theirs).abs().mean()
                for scale, true in zip(made, wanted, strict=True)
                for mine, theirs in zip(scale[:-1], true[:-1], strict=True)
            ]
            terms["matching"] = self.matching * torch.stack(gaps).mean()
        return terms

    def layers(self, x: Tensor) -> list[list[Tensor]]:
        """What D's layers give, by scale."""
        return cast(Layered, self.D).layers(x)
