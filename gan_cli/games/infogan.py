"""A generator whose codes can be inferred from its samples."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_cli.codes import Codes
from gan_cli.data.dataset import Spec
from gan_cli.game import Columns, Fields, Terms, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.networks.layers import feature_size
from gan_cli.networks.offers import featured
from gan_cli.registry import Count, NonNegative, games


@games.register("infogan")
class InfoGAN(TwoPlayer):
    """The game of two players, and a lower bound of the information between codes c and G(z, c),
    which G and D raise.

    Reference: Chen et al., 2016, "InfoGAN", arXiv 1606.03657, equation 6; as in the authors' code,
    Q shares D's trunk and learns with it, and a continuous code is scored as a Gaussian of
    deviation 1. Logged: information/NAME, in nats, at most log K for a category of K values and 1/6
    for a continuous code.

    Args:
        codes: name -> number of values of a category, or `uniform` for a number in [-1, 1).
        information: lambda. 0 lets Q learn and gives its gradient to nobody: the control.
        q_width: hidden features of Q.
    """

    needs_features: ClassVar[bool] = True
    averaged: ClassVar[tuple[str, ...]] = ("G",)

    def __init__(
        self,
        D: nn.Module,
        codes: dict[str, Count | Literal["uniform"]],
        information: NonNegative = 1.0,
        q_width: Count = 128,
        latent: Count = 62,
        **two_player: Any,
    ) -> None:
        super().__init__(D=D, latent=latent, **two_player)
        self.codes, self.information = Codes(codes), information
        hidden = nn.Linear(feature_size(D), q_width)
        self.Q = nn.Sequential(hidden, nn.LeakyReLU(0.1), nn.Linear(q_width, self.codes.width))

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        usual = super().shapes(spec, options)
        return {
            **usual,
            "G": {**usual["G"], "latent": options["latent"] + Codes(options["codes"]).width},
        }

    @player(moves="D Q")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        z = self.latents(len(x))
        with torch.no_grad():
            x_fake = self.T(self.G(z))
        x = self.T(x)
        real, fake = self.score(self.value, x, x_fake)
        features = scaled_gradient(featured(self.D).features(x_fake), self.information)
        return {
            "adversarial": self.tell_apart(real, fake),
            "information": -self.told(features, z).sum(),
            **self.penalty(x, x_fake),
        }

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        z = self.latents(len(x))
        features = featured(self.D).features(self.T(self.G(z)))
        fake = featured(self.D).score(features)
        real = self.value(self.T(x)) if self.loss.uses_real else None
        return {
            "adversarial": self.loss.generator(fake, real),
            "information": -self.information * self.told(features, z).sum(),
        }

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        return self.G(self.latents(len(x)))

    def told(self, features: Tensor, z: Tensor) -> Tensor:
        """The lower bound of the information of these features on each code, in nats, (codes,)."""
        return self.codes.information(self.Q(features), z)

    def diagnostics(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        with torch.no_grad():
            z = self.latents(len(seen["x"]))
            told = self.told(featured(self.D).features(self.T(self.G(z))), z)
        information = {
            f"information/{name}": value
            for name, value in zip(self.codes.widths, told, strict=True)
        }
        return {**super().diagnostics(seen, unseen), **information}

    def columns(self) -> list[Columns]:
        device = self.prior.device.device
        laws = {name: self.codes.law(name, device) for name in self.codes.widths}
        codes = [
            Columns(name, width, "one-hot" if width > 1 else "uniform", laws[name])
            for name, width in self.codes.widths.items()
        ]
        return [*super().columns(), *codes]

    def traverse(self, latents: Tensor, name: str) -> Tensor:
        """Each row with one code at all its values, see `Codes.traverse`."""
        return self.codes.traverse(latents, name)


def scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """`x` with its gradient multiplied by a factor."""
    return x if factor == 1 else factor * x + (1 - factor) * x.detach()
