"""Images of label maps, and of styles."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn

from gan_cli.data.spec import Spec
from gan_cli.divergences import kl_from_normal
from gan_cli.errors import UserError
from gan_cli.game import Terms, player
from gan_cli.games.encoders import drawn, posterior
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
        return self.made_well(self.sample_fakes(x, *given), x, *given)

    def made_well(self, x_fake: Tensor, x: Tensor, *given: Tensor) -> Terms:
        """The terms of G for images that it made in the place of others."""
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


@games.register("gaugan")
class GauGAN(SPADE):
    """As `SPADE`, with styles: an encoder tells G the style of the true image, as the code of a
    variational autoencoder; samples have a style at random.

    Reference: Park et al., 2019, arXiv 1903.07291, section 3 (multi-modal synthesis) and appendix.

    Args:
        E: encoder of styles, (N, *shape) -> (N, 2 * latent): mean and log-variance.
        kl: weight of the Kullback-Leibler divergence of the codes' laws from N(0, I), the sum over
            the numbers of a code.
    """

    roles: ClassVar[dict[str, str]] = {"G": "generator", "D": "discriminator", "E": "encoder"}
    averaged: ClassVar[tuple[str, ...]] = ("G", "E")
    encodes: ClassVar[bool] = True

    def __init__(self, E: nn.Module, kl: NonNegative = 0.05, **spade: Any) -> None:
        super().__init__(**spade)
        self.E = E
        self.kl = kl
        if not self.prior.latent:
            raise UserError(
                f"model.latent=0: is the width of the code of a style (model.kl={kl}); set it to "
                "64, or take model=spade."
            )

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        usual, outputs = super().shapes(spec, options), 2 * max(1, options["latent"])
        return {**usual, "E": {"shape": spec.shape, "outputs": outputs}}

    @player(moves="G E")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        mean, logvar = posterior(self.E, x)
        x_fake = self.G(*given, drawn(mean, logvar))
        kl = self.kl * kl_from_normal(mean, logvar).sum(dim=1).mean()
        return {**self.made_well(x_fake, x, *given), "kl": kl}

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        (x_a,) = given
        return self.G(x_a, drawn(*posterior(self.E, x)))

    def encode(self, x: Tensor) -> Tensor:
        return posterior(self.E, x)[0]

    def reconstruct(self, x: Tensor, *given: Tensor) -> Tensor:
        (x_a,) = given
        return self.G(x_a, self.encode(x))
