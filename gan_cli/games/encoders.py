"""Games with an encoder from samples to codes."""

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.data.dataset import Spec
from gan_cli.data.decoded import parts
from gan_cli.game import Fields, Terms, in_parts, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.registry import games


class Encoding(TwoPlayer):
    """Base class: an encoder E, (N, *shape) -> (N, latent), beside G and D."""

    roles: ClassVar[dict[str, str]] = {"E": "encoder", "G": "generator", "D": "discriminator"}
    averaged: ClassVar[tuple[str, ...]] = ("E", "G")
    encodes: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = (
        "reconstruction_error", "reconstruction_ratio", "characters_right", "neighbour_accuracy",
    )  # fmt: skip
    lower_is_better: ClassVar[tuple[str, ...]] = ("reconstruction_error", "reconstruction_ratio")

    def __init__(self, E: nn.Module, **two_player: Any) -> None:
        super().__init__(**two_player)
        self.E = E

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        usual = super().shapes(spec, options)
        return {**usual, "E": {**usual["E"], "outputs": options["latent"]}}

    def encode(self, x: Tensor) -> Tensor:
        return self.E(x)

    def reconstruct(self, x: Tensor, *given: Tensor) -> Tensor:
        return self.G(self.encode(x), *given)

    @torch.no_grad()
    def scores(self, heldout: Fields) -> dict[str, float]:
        """Quality of reconstructions and of codes.

        - reconstruction_error: mean Euclidean distance of a held-out sample and its reconstruction;
        - reconstruction_ratio: that, over the distance to another sample's reconstruction: 1 for an
        uninformative encoder (Donahue et al., 2017, the authors' code);
        - characters_right: of strings, (N, V, T), share of the places that come back, those after
          their ends included;
        - neighbour_accuracy, _raw: share of the held-out samples whose nearest neighbour among the
          others, by code or by the sample itself, is of their class; where there are classes;
        - scored_heldout: how many held-out samples these are of, the first 2000 at most.
        """
        seen = scored(heldout)
        x, given = seen["x"], [seen[name] for name in self.condition]
        codes = in_parts(self.encode, x, rows=self.chunk_size)
        again = in_parts(self.reconstruct, x, *given, rows=self.chunk_size)
        error = _distance(x, again)
        told = {
            "reconstruction_error": error.item(),
            "reconstruction_ratio": (error / _distance(x, again.roll(1, dims=0))).item(),
            "scored_heldout": float(len(x)),
        }
        if x.dim() == 3:
            told["characters_right"] = (
                (again.argmax(dim=1) == x.argmax(dim=1)).float().mean().item()
            )
        if "y" in seen:
            y = seen["y"]
            told |= {
                "neighbour_accuracy": _by_neighbour(codes, y),
                "neighbour_accuracy_raw": _by_neighbour(x, y),
            }
        return told


def posterior(E: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of the code of each sample, by an encoder of both, (N, latent) each."""
    mean, logvar = E(x).chunk(2, dim=1)
    return mean, logvar.clamp(-10, 10)


def drawn(mean: Tensor, logvar: Tensor) -> Tensor:
    """A code from each posterior, by the turn's noise."""
    return mean + (0.5 * logvar).exp() * noise.rows(torch.randn, *mean.shape, device=mean.device)


SCORED = 2000  # held-out samples that are looked at


def scored(heldout: Fields) -> Fields:
    """The held-out samples that an encoder is scored on."""
    return next(parts(heldout, SCORED))


def _distance(x: Tensor, other: Tensor) -> Tensor:
    return torch.linalg.vector_norm((x - other).flatten(1), dim=1).mean()


def _by_neighbour(x: Tensor, y: Tensor) -> float:
    """Accuracy of the nearest of the other samples, by Euclidean distance."""
    apart = torch.cdist(x.flatten(1), x.flatten(1)).fill_diagonal_(float("inf"))
    return float((y[apart.argmin(dim=1)] == y).float().mean())


@games.register("bigan")
class BiGAN(Encoding):
    """D scores pairs, (x, E(x)) against (G(z), z); G and E minimise together what it maximises.

    Reference: Donahue et al., 2017, "Adversarial Feature Learning", arXiv 1605.09782, equation 3
    and the authors' code (labels swapped for both, which does not saturate). At the optimum E
    inverts G.

    Args:
        E: encoder, (N, *shape) -> (N, latent).
        D: of a sample and its code, concatenated.
    """

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        usual = super().shapes(spec, options)
        return {**usual, "D": {**usual["D"], "shape": (prod(spec.shape) + options["latent"],)}}

    @player(moves="D")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        with torch.no_grad():
            real, fake = self.pairs(x)
        scores = self.score(self.D, real, fake)
        return {"adversarial": self.tell_apart(*scores), **self.constraint(real, fake)}

    @player(moves="G E")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        real, fake = self.score(self.D, *self.pairs(x))
        return {"adversarial": self.loss.discriminator(fake, real)}

    def pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(x, E(x)) and (G(z), z), each as one row of numbers."""
        z, x = self.prior(len(x)), self.T(x)
        return _joint(x, self.E(x)), _joint(self.T(self.G(z)), z)

    def constraint(self, real: Tensor, fake: Tensor) -> Terms:
        return self.regularizer(self.D, real, fake) if self.due else {}

    def value(self, x: Tensor, *given: Tensor) -> Tensor:
        """D's scores of samples with their codes, (N,)."""
        return self.D(_joint(x, self.E(x)))


def _joint(x: Tensor, z: Tensor) -> Tensor:
    return torch.cat([x.flatten(1), z], dim=1)
