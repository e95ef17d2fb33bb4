"""Two critics before a frozen generator, and the gradients that each would give it."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gan_cli.augmentations import Augmentation
from gan_cli.game import Fields, Terms, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.losses import Minimax, NonSaturating
from gan_cli.registry import games


@games.register("two_critics")
class TwoCritics(TwoPlayer):
    """D under the configured loss and regularizer, J as the discriminator of 2014, before the same
    frozen generator.

    Reference: Arjovsky and Bottou, 2017, "Towards Principled Methods for Training GANs", arXiv
    1701.04862, figure 2, and Arjovsky et al., 2017, arXiv 1701.07875, example 1 and figure 2.
    Logged beside the estimate of D:

    - jensen_shannon/train, /heldout: log 2 + half of J's value, in nats; at most log 2 = 0.6931,
      where supports part;
    - gradient/minimax, /non_saturating, /wasserstein: norm at the generator's parameters of what J
      or D tells it.

    Args:
        G, D, loss, regularizer, augmentation: see `TwoPlayer`.
        J: a second discriminator, of the same kind as D.
    """

    roles: ClassVar[dict[str, str]] = {"G": "generator", "D": "discriminator", "J": "discriminator"}
    averaged: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        J: nn.Module,
        loss: Any,
        regularizer: Any,
        augmentation: Augmentation,
        **two_player: Any,
    ) -> None:
        super().__init__(G, D, loss, regularizer, augmentation, **two_player)
        self.J = J
        self.minimax, self.non_saturating = Minimax(), NonSaturating()

    @player(moves="J")
    def rival(self, x: Tensor) -> Terms:
        x, x_fake = self.real_and_fake(x)
        real, fake = self.score(self.J, x, x_fake)
        return {"adversarial": self.minimax.discriminator(real, fake)}

    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        """No turn: the generator is frozen."""
        raise NotImplementedError

    def diagnostics(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        told = super().diagnostics(seen, unseen)
        with torch.no_grad():
            fake = self.J(self.T(self.sample_fakes(seen["x"])))
            for name, fields in (("train", seen), ("heldout", unseen)):
                value = -self.minimax.discriminator(self.J(self.T(fields["x"])), fake)
                told[f"jensen_shannon/{name}"] = math.log(2) + value / 2
        return told | {
            f"gradient/{name}": norm for name, norm in self._gradients(len(seen["x"])).items()
        }

    def _gradients(self, n: int) -> dict[str, Tensor]:
        """The norm of each objective's gradient at the generator's parameters, over the same n
        samples."""
        told = {
            "minimax": (self.J, self.minimax),
            "non_saturating": (self.J, self.non_saturating),
            "wasserstein": (self.D, self.loss),
        }
        weights = {
            name: weight.detach().requires_grad_() for name, weight in self.G.named_parameters()
        }
        with torch.enable_grad():
            x_fake = self.T(functional_call(self.G, weights, (self.prior(n),)))
            losses = {name: loss.generator(critic(x_fake)) for name, (critic, loss) in told.items()}
        flat = {
            name: torch.autograd.grad(loss, list(weights.values()), retain_graph=True)
            for name, loss in losses.items()
        }
        return {
            name: torch.cat([part.flatten() for part in parts]).norm()
            for name, parts in flat.items()
        }
