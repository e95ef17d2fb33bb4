"""A critic whose margin between a real and a fake sample grows with their distance."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le
from torch import Tensor
from torch.nn.functional import leaky_relu

from gan_cli.game import Terms, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.registry import NonNegative, games


@games.register("loss_sensitive")
class LossSensitive(TwoPlayer):
    """D: E C(scale * |x - G(z)|_1 + D(G(z)) - D(x)), with C(a) = max(a, slope * a). G: -E D(G(z)).

    Reference: Qi, 2017, "Loss-Sensitive GANs on Lipschitz Densities", arXiv 1701.06264, equations 4
    and 5, and section 6 for the generalized form: slope 0 is LS-GAN; slope 1 at scale 0 is the
    Wasserstein critic. The paper's L is -D.

    Args:
        scale: of the distance, summed over all dimensions, that a real sample's score should exceed
            a fake one's by.
        slope: of C below zero; -1 is the absolute value.
    """

    own_objective: ClassVar[bool] = True

    def __init__(
        self,
        scale: NonNegative = 0.01,
        slope: Annotated[float, Ge(-1), Le(1)] = 0.0,
        **two_player: Any,
    ) -> None:
        super().__init__(**two_player)
        self.scale, self.slope = scale, slope

    @player(moves="D")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        x, x_fake = self.real_and_fake(x, *given)
        real, fake = self.score(self.value, x, x_fake, *given)
        margin = self.scale * (x - x_fake).abs().flatten(1).sum(dim=1)
        return {
            "margin": leaky_relu(margin + fake - real, self.slope).mean(),
            **self.penalty(x, x_fake, *given),
        }

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        return {"score": -self.value(self.T(self.sample_fakes(x, *given))).mean()}
