"""A variational autoencoder with a discriminator's features as its likeness."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gan_cli.data.dataset import Spec
from gan_cli.divergences import kl_from_normal
from gan_cli.game import Fields, Terms, in_parts, player
from gan_cli.games.encoders import Encoding, drawn, posterior, scored
from gan_cli.networks.layers import feature_size
from gan_cli.networks.offers import featured
from gan_cli.registry import NonNegative, games


@games.register("vae_gan")
class VAEGAN(Encoding):
    """A variational autoencoder whose likeness is measured by D's features, and whose decoder plays
    the game with D.

    Reference: Larsen et al., 2016, "Autoencoding beyond pixels using a learned similarity metric",
    arXiv 1512.09300, algorithm 1. E: KL + likeness; G: gamma * likeness + its loss; D: its loss
    alone, over x, G(E(x)) and G(z).

    Args:
        E: encoder, (N, *shape) -> (N, 2 * latent): mean and log-variance.
        likeness: what is compared, as a Gaussian of deviation 1: `features` of D, or `pixels`,
            which with adversarial 0 is the plain autoencoder of Kingma and Welling, 2014, arXiv
            1312.6114.
        gamma: weight of the likeness in the decoder's turn.
        adversarial: weight of its loss there.
    """

    needs_features: ClassVar[bool] = True
    order: ClassVar[tuple[str, ...]] = ("encoder", "generator", "discriminator")

    def __init__(
        self,
        likeness: Literal["features", "pixels"] = "features",
        gamma: NonNegative = 1.0,
        adversarial: NonNegative = 1.0,
        **encoding: Any,
    ) -> None:
        super().__init__(**encoding)
        feature_size(self.D)  # refuses one without
        self.gamma, self.adversarial = gamma, adversarial
        self.seen: Callable[[Tensor], Tensor] = (
            featured(self.D).features if likeness == "features" else _pixels
        )

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        usual = super().shapes(spec, options)
        return {**usual, "E": {**usual["E"], "outputs": 2 * options["latent"]}}

    @player(moves="E")
    def encoder(self, x: Tensor, *given: Tensor) -> Terms:
        mean, logvar = posterior(self.E, x)
        kl = kl_from_normal(mean, logvar).sum(dim=1).mean()
        return {"kl": kl, "likeness": self.unlike(x, self.G(drawn(mean, logvar)))}

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        with torch.no_grad():
            codes = drawn(*posterior(self.E, x))
        again, new = self.G(codes), self.sample_fakes(x)
        real = self.value(self.T(x)) if self.loss.uses_real else None
        told = [self.loss.generator(self.value(self.T(fake)), real) for fake in (again, new)]
        return {
            "likeness": self.gamma * self.unlike(x, again),
            "adversarial": self.adversarial * 0.5 * (told[0] + told[1]),
        }

    @player(moves="D")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        with torch.no_grad():
            again, new = self.G(drawn(*posterior(self.E, x))), self.sample_fakes(x)
        x, again, new = self.T(x), self.T(again), self.T(new)
        told = [self.tell_apart(*self.score(self.value, x, fake)) for fake in (again, new)]
        return {"adversarial": 0.5 * (told[0] + told[1]), **self.penalty(x, new)}

    def unlike(self, x: Tensor, again: Tensor) -> Tensor:
        """Half the squared distance of what is seen of samples and of others: -log N(.; ., I), up
        to a constant."""
        return 0.5 * (self.seen(x) - self.seen(again)).square().sum(dim=1).mean()

    def encode(self, x: Tensor) -> Tensor:
        return posterior(self.E, x)[0]

    @torch.no_grad()
    def scores(self, heldout: Fields) -> dict[str, float]:
        """Those of an encoder; kl, in nats; sharpness of reconstructions, that of the samples
        themselves being 1."""
        seen = scored(heldout)
        x, given = seen["x"], [seen[name] for name in self.condition]
        mean, logvar = in_parts(
            lambda part: torch.cat(posterior(self.E, part), dim=1), x, rows=self.chunk_size
        ).chunk(2, 1)
        kl = kl_from_normal(mean, logvar).sum(dim=1).mean()
        again = in_parts(self.reconstruct, x, *given, rows=self.chunk_size)
        sharp = _edges(again) / _edges(x) if x.dim() == 4 else torch.ones(())
        return {**super().scores(heldout), "kl": kl.item(), "sharpness": sharp.item()}


def _pixels(x: Tensor) -> Tensor:
    return x.flatten(1)


def _edges(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels."""
    return x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()
