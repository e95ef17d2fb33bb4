"""Objectives: both sides of a game's value in one small object, so that they cannot drift apart.

Every loss takes raw scores of shape (N,) (logits for the logistic ones) and returns a scalar to be
*minimised*. Closed forms at the optimum are held by `tests/test_closed_forms.py`.

Class attributes, read by the guard rails before torch loads:
    needs_unbounded_score: a score squashed into (0, 1) makes the loss wrong.
    needs_lipschitz_critic: the loss has no optimum unless the critic is constrained.
    uses_real: the generator's side needs the scores of real samples too.
    has_middle: a score of its own lies between those that D gives real and fake samples.
"""

from typing import Annotated, ClassVar, Literal

from annotated_types import Gt, Le, Lt
from torch import Tensor
from torch.nn.functional import relu, softplus

from gan_cli.divergences import DIVERGENCES, js_weighted
from gan_cli.registry import losses


class Loss:
    """What every loss is: a discriminator's side and a generator's side."""

    needs_unbounded_score: ClassVar[bool] = True
    needs_lipschitz_critic: ClassVar[bool] = False
    uses_real: ClassVar[bool] = False
    has_middle: ClassVar[bool] = False
    middle: float = 0.0  # that score, where the loss has one

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss from the scores of real and of fake samples."""
        raise NotImplementedError

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """The generator's loss from the scores of its samples, and of real ones where the loss
        `uses_real`."""
        raise NotImplementedError


@losses.register("own")
class Own(Loss):
    """No loss of this group: the game has its own objective."""


@losses.register("minimax")
class Minimax(Loss):
    """-E log D(x) - E log(1 - D(G(z))), the generator climbs the same value.

    Reference: Goodfellow et al., 2014, arXiv 1406.2661, equation 1; D = sigmoid(score). At its
    optimum the discriminator's loss is 2 log 2 - 2 JSD(p, q). The generator's gradient vanishes
    where D rejects it: per sample it is D / (1 - D) times that of `non_saturating`.

    Args:
        real_label: what the discriminator is to say of real samples; 0.9 is the one-sided label
            smoothing of Salimans et al., 2016, arXiv 1606.03498, section 3.4.
    """

    has_middle: ClassVar[bool] = True

    def __init__(self, real_label: Annotated[float, Gt(0.5), Le(1)] = 1.0) -> None:
        self.real_label = real_label

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        certain = softplus(-real).mean() + softplus(fake).mean()  # softplus(s) - softplus(-s) = s
        return certain if self.real_label == 1 else certain + (1 - self.real_label) * real.mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -softplus(fake).mean()


@losses.register("non_saturating")
class NonSaturating(Minimax):
    """The discriminator of `minimax`; the generator maximises E log D(G(z)).

    Reference: Goodfellow et al., 2014, arXiv 1406.2661, section 3.
    """

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return softplus(-fake).mean()


@losses.register("bgan")
class BoundarySeeking(Minimax):
    """The discriminator of `minimax`; the generator minimises 1/2 E (log D - log(1 - D))^2: it
    seeks the boundary.

    Reference: Hjelm et al., 2017, "Boundary-Seeking GANs", arXiv 1702.08431, equation 14, for
    continuous samples.
    """

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * fake.square().mean()


@losses.register("rpgan")
class RelativisticPairing(Loss):
    """E softplus(-(D(x) - D(G(z)))) against the same with the roles exchanged, real and fake paired
    at random.

    Reference: Jolicoeur-Martineau, 2018, "The relativistic discriminator", arXiv 1807.00734,
    equations 10 and 11.
    """

    uses_real: ClassVar[bool] = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(fake - real).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        assert real is not None
        return softplus(real - fake).mean()


@losses.register("f_gan")
class FGAN(Loss):
    """A lower bound of an f-divergence, E g(D(x)) - E f*(g(D(G(z)))): the discriminator tightens
    it, the generator lowers it.

    Reference: Nowozin et al., 2016, "f-GAN", arXiv 1606.00709, equations 4 and 6. See
    `gan_cli.divergences`.

    Args:
        divergence: which.
        pi: weight of `js_weighted`.
        heuristic: the generator maximises E g(D(G(z))) instead (section 3.2), which does not
            saturate.
    """

    def __init__(
        self,
        divergence: Literal[
            "total_variation", "kl", "reverse_kl", "pearson", "neyman", "squared_hellinger",
            "jeffrey",
            "jensen_shannon", "js_weighted", "gan",
        ] = "jensen_shannon",
        pi: Annotated[float, Gt(0), Lt(1)] = 0.5,
        heuristic: bool = False,
    ) -> None:  # fmt: skip
        self.divergence = (
            js_weighted(pi) if divergence == "js_weighted" else DIVERGENCES[divergence]
        )
        self.heuristic = heuristic

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.divergence.conjugate(fake).mean() - self.divergence.activation(real).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        climbed = self.divergence.activation if self.heuristic else self.divergence.conjugate
        return -climbed(fake).mean()


@losses.register("least_squares")
class LeastSquares(Loss):
    """1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2 against 1/2 E (D(G(z)) - c)^2.

    Reference: Mao et al., 2017, "Least Squares GANs", arXiv 1611.04076, equation 2.

    Args:
        a: target score of fakes for the discriminator.
        b: target score of real samples.
        c: target score of fakes for the generator. (0, 1, 1) is the paper's equation 9; (-1, 1, 0),
            its equation 8, minimises the Pearson chi^2 divergence between p + q and 2q.
    """

    needs_unbounded_score: ClassVar[bool] = False
    has_middle: ClassVar[bool] = True

    def __init__(self, a: float = 0.0, b: float = 1.0, c: float = 1.0) -> None:
        self.a, self.b, self.c = a, b, c
        self.middle = (a + b) / 2

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (real - self.b).square().mean() + 0.5 * (fake - self.a).square().mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * (fake - self.c).square().mean()


@losses.register("wasserstein")
class Wasserstein(Loss):
    """E D(G(z)) - E D(x), whose negative is the Wasserstein-1 distance where D is the best
    1-Lipschitz function.

    Reference: Arjovsky et al., 2017, "Wasserstein GAN", arXiv 1701.07875, equations 2 and 3.
    """

    needs_lipschitz_critic: ClassVar[bool] = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()


@losses.register("hinge")
class Hinge(Loss):
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))) against -E D(G(z)); at its optimum 2 (1 - TV(p,
    q)).

    Reference: Lim and Ye, 2017, "Geometric GAN", arXiv 1705.02894; Tran et al., 2017, arXiv
    1702.08896.
    """

    has_middle: ClassVar[bool] = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return relu(1 - real).mean() + relu(1 + fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()
