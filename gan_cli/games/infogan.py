"""A generator whose codes can be read back from its samples."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from gan_cli import noise
from gan_cli.data.dataset import Spec
from gan_cli.errors import UserError
from gan_cli.game import Fields, Terms, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.networks.layers import feature_size
from gan_cli.registry import Count, NonNegative, games

Codes = dict[str, int | str]


@games.register("infogan")
class InfoGAN(TwoPlayer):
    """The game of D and G, and a lower bound of the information between codes c and G(z, c), which G and D raise.

    Reference: Chen et al., 2016, "InfoGAN", arXiv 1606.03657, equation 6; as in the authors' code, Q shares D's trunk
    and learns with it, and a continuous code is scored as a Gaussian of deviation 1. Logged: information/NAME, in nats,
    at most log K for a category of K values and 1/6 for a continuous code.

    Args:
        codes: name -> number of values of a category, or `uniform` for a number in [-1, 1).
        information: lambda. 0 lets Q learn and gives its gradient to nobody: the control.
        q_width: hidden features of Q.
    """

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
        self.codes, self.information = dict(codes), information
        self.widths = {name: _width(values) for name, values in codes.items()}
        told = nn.Linear(feature_size(D), q_width)
        self.Q = nn.Sequential(told, nn.LeakyReLU(0.1), nn.Linear(q_width, sum(self.widths.values())))

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        if not options["codes"]:
            raise UserError("model.codes: needs one at least, such as model.codes={category:10,first:uniform}.")
        usual = super().shapes(spec, options)
        return {**usual, "G": {**usual["G"], "latent": options["latent"] + sum(map(_width, options["codes"].values()))}}

    @player(moves="D Q")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        z = self.coded(len(x))
        with torch.no_grad():
            x_fake = self.T(self.G(z))
        x = self.T(x)
        real, fake = self.score(self.value, x, x_fake)
        features = scaled_gradient(self.D.features(x_fake), self.information)  # type: ignore[operator]
        return {
            "adversarial": self.loss.discriminator(real, fake),
            "information": -self.told(features, z).sum(),
            **self.penalty(x, x_fake),
        }

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        z = self.coded(len(x))
        features = self.D.features(self.T(self.G(z)))  # type: ignore[operator]
        real = self.value(self.T(x)) if self.loss.uses_real else None
        return {
            "adversarial": self.loss.generator(self.D.score(features), real),  # type: ignore[operator]
            "information": -self.information * self.told(features, z).sum(),
        }

    def coded(self, n: int) -> Tensor:
        """n rows of z and then the codes, categories as one-hot."""
        z = self.prior(n)
        drawn = [self._draw_code(width, n, None).to(z.device) for width in self.widths.values()]
        return torch.cat([z, *drawn], dim=1)

    def fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        return self.G(self.coded(len(x)))

    def told(self, features: Tensor, z: Tensor) -> Tensor:
        """The lower bound of what samples with these features tell of each of their codes, in nats, (codes,)."""
        widths = list(self.widths.values())
        answers, codes = self.Q(features).split(widths, dim=1), z[:, -sum(widths) :].split(widths, dim=1)
        return torch.stack([_information(a, c) for a, c in zip(answers, codes, strict=True)])

    def observe(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        with torch.no_grad():
            z = self.coded(len(seen["x"]))
            told = self.told(self.D.features(self.T(self.G(z))), z)  # type: ignore[operator]
        information = {f"information/{name}": value for name, value in zip(self.codes, told, strict=True)}
        return {**super().observe(seen, unseen), **information}

    def draw(self, generator: torch.Generator) -> Tensor:
        codes = [self._draw_code(width, 1, generator)[0] for width in self.widths.values()]
        return torch.cat([super().draw(generator), *codes])

    def traverse(self, latents: Tensor, name: str, steps: int = 10) -> Tensor:
        """Each row with the code `name` set to every category, or to `steps` numbers from -2 to 2: (n * steps, ...)."""
        places = dict(zip(self.codes, _places(self.widths.values(), latents.shape[1]), strict=True))
        width = self.widths[name]
        values = torch.eye(width) if width > 1 else torch.linspace(-2, 2, steps)[:, None]
        rows = latents.repeat_interleave(len(values), dim=0)
        rows[:, places[name]] = values.repeat(len(latents), 1).to(rows)
        return rows

    def _draw_code(self, width: int, n: int, generator: torch.Generator | None) -> Tensor:
        """One code of n samples; from the turn's own noise where no generator is given."""
        device = self.prior.device.device if generator is None else torch.device("cpu")
        u = noise.rows(torch.rand, n, 1, device=device) if generator is None else torch.rand(n, 1, generator=generator)
        return 2 * u - 1 if width == 1 else one_hot((u[:, 0] * width).long().clamp_max(width - 1), width).float()


def _width(values: int | str) -> int:
    """Columns of a code; a category has at least two values."""
    if values == "uniform":
        return 1
    if int(values) < 2:
        raise UserError(f"model.codes: a category of {values} values says nothing; take 2 or more, or uniform.")
    return int(values)


def _places(widths: Any, total: int) -> list[slice]:
    start, places = total - sum(widths), []
    for width in widths:
        places.append(slice(start, start + width))
        start += width
    return places


def _information(answer: Tensor, code: Tensor) -> Tensor:
    """E log q(c|x) + H(c) for a category; for a number, as Gaussians of deviation 1, E (c^2 - (c - mean)^2) / 2."""
    if code.shape[1] > 1:
        return math.log(code.shape[1]) - cross_entropy(answer, code.argmax(dim=1))
    return 0.5 * (code.square() - (code - answer).square()).mean()


def scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """`x`, whose gradient will be so many times what it is."""
    return x if factor == 1 else factor * x + (1 - factor) * x.detach()
