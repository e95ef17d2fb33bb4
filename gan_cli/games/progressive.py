"""Training that begins with coarse images and grows the networks."""

from typing import Any, ClassVar

from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.game import Fields, Terms, player
from gan_cli.games.conditional import Conditional
from gan_cli.games.two_player import TwoPlayer
from gan_cli.networks.progressive import growing, grown
from gan_cli.registry import Count, NonNegative, Share, games


@games.register("progressive")
class Progressive(TwoPlayer):
    """The two-player game over growing resolutions, each of which is blended in gradually.

    Reference: Karras et al., 2018, "Progressive Growing of GANs for Improved Quality, Stability,
    and Variation", arXiv 1710.10196. D and G stay at a scale for as long as the next one is blended
    in.

    Args:
        growth: share of the run in which the networks grow; 0 plays with the whole networks from
            the start.
        total: rounds of the run.
        drift: weight of D(x)^2 in D's loss, which keeps the scores of real images from drifting
            away.
    """

    grows: ClassVar[bool] = True

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        growth: Share = 0.5,
        total: Count = 1,
        drift: NonNegative = 0.0,
        **others: Any,
    ) -> None:
        super().__init__(G=G, D=D, **others)
        self.growth, self.total, self.drift = growth, total, drift
        self.capturable = not growth  # which layers compute is decided on the host
        for role, network in (("generator", G), ("discriminator", D)) if growth else ():
            if growing(network) is None:
                raise UserError(
                    f"network.{role}: does not grow; take network=progressive, or set "
                    "model.growth=0."
                )

    def stage(self, step: int, scales: int) -> float:
        """Where networks of so many scales are in a round: 0 is the coarsest scale, 0.5 halfway to
        the next."""
        last = scales - 1
        if not self.growth or not last:
            return float(last)
        phase, done = divmod(step * 2 * last / (self.growth * self.total), 1)
        coarser, mixing = divmod(int(phase), 2)
        return min(float(last), coarser + done * mixing)

    def begin_round(self, step: int) -> None:
        super().begin_round(step)
        for network in filter(None, map(growing, (self.G, self.D))):
            network.grow(self.stage(step, network.scales))

    def like_fakes(self, x: Tensor) -> Tensor:
        """Real images, no finer than the generator's are."""
        G = growing(self.G)
        return x if G is None else grown(x, G)

    @player(moves="D")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        x, x_fake = self.real_and_fake(self.like_fakes(x), *given)
        real, fake = self.score(self.value, x, x_fake, *given)
        drift = {"drift": self.drift * real.square().mean()} if self.drift else {}
        return {
            "adversarial": self.tell_apart(real, fake),
            **drift,
            **self.penalty(x, x_fake, *given),
        }

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        return super().generator(self.like_fakes(x) if self.loss.uses_real else x, *given)

    def diagnostics(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        coarse = [{**fields, "x": self.like_fakes(fields["x"])} for fields in (seen, unseen)]
        G = growing(self.G)
        stage = {} if G is None or not self.growth else {"growth/stage": G.stage}
        return {**super().diagnostics(coarse[0], coarse[1]), **stage}


@games.register("progressive_conditional")
class ConditionalProgressive(Conditional, Progressive):
    """The growing game, given a class: beside z, as in the authors' code, and for D by what
    `labels` says."""
