"""Games whose discriminator is an autoencoder; its reconstruction error is the energy of a
sample."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu

from gan_cli.game import Fields, Terms, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.registry import NonNegative, Positive, games


class EnergyGame(TwoPlayer):
    """Base class: D maps a sample to (its reconstruction, its code); its value is the negative
    energy."""

    roles: ClassVar[dict[str, str]] = {"G": "generator", "D": "autoencoder"}
    own_objective: ClassVar[bool] = True

    def energy(self, x: Tensor) -> Tensor:
        """The reconstruction error of each sample, (N,)."""
        raise NotImplementedError

    def value(self, x: Tensor, *given: Tensor) -> Tensor:
        return -self.energy(x)


@games.register("ebgan")
class EBGAN(EnergyGame):
    """D: E energy(x) + E max(0, margin - energy(G(z))). G: E energy(G(z)) + pulling_away *
    f_PT(code(G(z))).

    Reference: Zhao et al., 2016, "Energy-based GAN", arXiv 1609.03126, equations 1, 2 and 4. The
    energy is the Euclidean norm |D(x) - x|; at the equilibrium D's loss is the margin.

    Args:
        margin: above this energy a fake sample has no effect on D.
        pulling_away: weight of the term that keeps the codes of a batch apart; 0.1 in the paper, 0
            for none.
    """

    def __init__(
        self, margin: Positive = 1.0, pulling_away: NonNegative = 0.0, **two_player: Any
    ) -> None:
        super().__init__(**two_player)
        self.margin, self.pulling_away = margin, pulling_away

    def energy(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm((self.D(x)[0] - x).flatten(1), dim=1)

    @player(moves="D")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        x, x_fake = self.real_and_fake(x, *given)
        real, fake = self.score(self.value, x, x_fake, *given)
        return {
            "energy": -real.mean(),
            "margin": relu(self.margin + fake).mean(),
            **self.penalty(x, x_fake, *given),
        }

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        x_fake = self.T(self.sample_fakes(x, *given))
        if not self.pulling_away:
            return {"energy": self.energy(x_fake).mean()}
        reconstruction, code = self.D(x_fake)
        energy = torch.linalg.vector_norm((reconstruction - x_fake).flatten(1), dim=1)
        return {"energy": energy.mean(), "pulling_away": self.pulling_away * pulling_away(code)}

    def batch_dependencies(self) -> list[str]:
        return super().batch_dependencies() + (
            ["the pulling-away term"] if self.pulling_away else []
        )


def pulling_away(code: Tensor) -> Tensor:
    """Mean squared cosine between different rows of (N, d): 0 for orthogonal ones, 1 for parallel
    ones (equation 4)."""
    directions = normalize(code.flatten(1), dim=1)
    squares = (directions @ directions.T).square()
    return (squares.sum() - squares.diagonal().sum()) / max(1, len(code) * (len(code) - 1))


@games.register("began")
class BEGAN(EnergyGame):
    """D: L(x) - k L(G(z)). G: L(G(z)). Then k moves by gain * (balance * L(x) - L(G(z))), between 0
    and 1.

    Reference: Berthelot et al., 2017, "BEGAN: Boundary Equilibrium Generative Adversarial
    Networks", arXiv 1703.10717, section 3.4, with L the mean absolute error of the reconstruction.
    Logged: k, and the measure of convergence M = L(x) + |balance * L(x) - L(G(z))|, which falls as
    samples improve.

    Args:
        balance: gamma, E L(G(z)) / E L(x) at the equilibrium; lower gives less diverse, sharper
            samples.
        gain: lambda_k; 0.001 in the paper, for runs of 10^5 rounds.
    """

    k: Tensor
    real: Tensor
    # see `gan_cli.training.shards`
    sharding: ClassVar[dict[str, str]] = {"k": "averaged", "real": "averaged"}

    def __init__(self, balance: Positive = 0.5, gain: Positive = 0.001, **two_player: Any) -> None:
        super().__init__(**two_player)
        self.balance, self.gain = balance, gain
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("real", torch.zeros(()))  # L(x) of D's last turn

    def energy(self, x: Tensor) -> Tensor:
        return (self.D(x)[0] - x).abs().flatten(1).mean(dim=1)

    @player(moves="D")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        x, x_fake = self.real_and_fake(x, *given)
        real, fake = self.score(self.value, x, x_fake, *given)
        self.real.copy_(-real.mean().detach())
        return {
            "real": -real.mean(),
            "fake": self.k * fake.mean(),
            **self.penalty(x, x_fake, *given),
        }

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        energy = self.energy(self.T(self.sample_fakes(x, *given))).mean()
        self.k.add_(self.gain * (self.balance * self.real - energy.detach())).clamp_(0, 1)
        return {"energy": energy}

    def diagnostics(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        told = super().diagnostics(seen, unseen)
        real, fake = -told["scores/real"].mean(), -told["scores/fake"].mean()
        measure = real + (self.balance * real - fake).abs()
        return {
            **told,
            "began/measure": measure,
            "began/k": self.k.clone(),
            "began/balance": fake / real,
        }
