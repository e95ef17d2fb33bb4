"""What constrains a critic: penalties, which add terms to its loss, and projections, which act
after its step.

A regularizer takes the *network*: called with (D, x, x_fake) it returns named terms; `project(D)`
follows each step.

Class attributes, read by the guard rails before torch loads:
    per_sample: the penalty needs the gradient of each sample's score with respect to that sample
        alone.
    lipschitz: a Wasserstein loss may be used with it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import avg_pool2d, leaky_relu, relu
from torch.overrides import TorchFunctionMode

from gan_cli import noise
from gan_cli.registry import Count, NonNegative, Positive, regularizers

Critic = Callable[[Tensor], Tensor]
"""A critic, samples to scores: (N, ...) -> (N,)."""


def input_gradient(
    D: Critic, x: Tensor, create_graph: bool = True, through: bool = False
) -> Tensor:
    """The gradient of each sample's score with respect to that sample, in the shape of `x`.

    Valid where no batch statistics couple the samples. With `create_graph` the result can be
    differentiated again; with `through` also by what made `x`.
    """
    # there the inner gradient must be a function too; eagerly it is the slower way
    if torch.compiler.is_compiling():
        return torch.func.grad(partial(_sum_of_scores, D))(x if through else x.detach())
    if not (through and x.requires_grad):
        x = x.detach().requires_grad_()
    scores = _sum_of_scores(D, x) if create_graph else D(x).sum()
    (gradient,) = torch.autograd.grad(scores, x, create_graph=create_graph)
    return gradient


def _sum_of_scores(D: Critic, x: Tensor) -> Tensor:
    with _NoZeroSecondDerivatives():
        return D(x).sum()


class _NoZeroSecondDerivatives(TorchFunctionMode):
    """Inside, the second derivatives of ReLU, leaky ReLU and average pooling are nothing, not
    tensors of zeros.

    The results are the same bits. But torch has such tensors there, which `backward` then drags
    through all layers below: a seventh of a critic's arithmetic is spent on zeros. So here the
    kinked functions multiply by their slope, a constant of the graph, and the pooling knows that it
    is linear.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is relu or func is torch.relu:
            return args[0] * _slope(args[0], 0.0)
        if func is leaky_relu:
            given = dict(zip(("input", "negative_slope"), args, strict=False)) | (kwargs or {})
            return given["input"] * _slope(given["input"], given.get("negative_slope", 0.01))
        if (
            func is avg_pool2d
            and len(args) == 2
            and not kwargs
            and not torch.compiler.is_compiling()
        ):
            # compiled, its second derivative would be lost without a word
            return _Pooling.apply(*args)
        return func(*args, **(kwargs or {}))


class _Pooling(Function):
    """avg_pool2d(x, size) with a gradient that depends on the incoming gradient alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.x, ctx.size = x.detach(), size
        ctx.set_materialize_grads(False)  # else nothing would come as zeros again
        return avg_pool2d(ctx.x, size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        return (None if gradient is None else _Spreading.apply(gradient, ctx.x, ctx.size)), None


class _Spreading(Function):
    """The gradient of the pooling, which is linear too: its own gradient is the pooling."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, size: int) -> Tensor:
        ctx.size, sides = size, [size, size]
        ctx.set_materialize_grads(False)
        return torch.ops.aten.avg_pool2d_backward(
            gradient, x, sides, sides, [0, 0], False, True, None
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        return (None if gradient is None else avg_pool2d(gradient, ctx.size)), None, None


def _slope(x: Tensor, below: float) -> Tensor:
    """1 where x > 0, else `below`; `where` would take 40 times as long on a CPU."""
    x = x.detach()
    return torch.ops.aten.leaky_relu_backward(
        torch.ones((), dtype=x.dtype, device=x.device).expand_as(x), x, below, False
    )


def on_the_line(x: Tensor, x_fake: Tensor) -> Tensor:
    """A uniform point between each real and fake sample: one epsilon a sample, any rank."""
    return torch.lerp(x_fake, x, noise.per_sample_uniform(x))


@regularizers.register("none")
class Regularizer:
    """No penalty; clips the weights if told to. The base of all the others.

    Args:
        clip: after every step each weight is clamped to [-clip, clip]; null clips nothing.
    """

    per_sample: ClassVar[bool] = False
    lipschitz: ClassVar[bool] = False
    every: int = 1  # turns from one penalty to the next

    def __init__(self, clip: Positive | None = None) -> None:
        self.clip = clip

    @property
    def coupling(self) -> str:
        """The part of it that depends on the whole batch; empty if none does."""
        return ""

    @property
    def caveat(self) -> str:
        """How the Wasserstein estimate under this constraint must be read; empty where there is no
        constraint."""
        return (
            ""
            if self.clip is None
            else ("weight clipping: equals the Wasserstein distance up to an unknown factor")
        )

    def __call__(self, D: Critic, x: Tensor, x_fake: Tensor) -> dict[str, Tensor]:
        """Named terms; in a turn where `every` leaves them out it is not called."""
        return {}

    @torch.no_grad()
    def project(self, D: nn.Module) -> None:
        if self.clip is not None:
            weights: list[Tensor] = list(D.parameters())
            torch._foreach_clamp_min_(weights, -self.clip)
            torch._foreach_clamp_max_(weights, self.clip)


@regularizers.register("weight_clip")
class WeightClip(Regularizer):
    """Clamp every parameter of the critic to [-clip, clip] after each of its steps.

    Reference: Arjovsky et al., 2017, arXiv 1701.07875, Algorithm 1, line 7 (c = 0.01). The
    Lipschitz constant that this allows depends on the architecture, so estimates of different
    networks cannot be compared.
    """

    lipschitz: ClassVar[bool] = True

    def __init__(self, clip: Positive = 0.01) -> None:
        super().__init__(clip)


@regularizers.register("gradient_penalty")
class GradientPenalty(Regularizer):
    """weight * E rho(|grad D(x_hat)| - target): where x_hat lies, which norm, which rho. Most
    penalties are one of it.

    Reference: Gulrajani et al., 2017, "Improved Training of Wasserstein GANs", arXiv 1704.00028,
    equation 3: one epsilon a sample, the norm over all dimensions of the sample, two-sided. Under
    it the gap E D(x) - E D(G(z)) exceeds the Wasserstein distance by an amount proportional to 1 /
    weight. DRAGAN, R1, R2 and the zero-centred penalties are options of the group `regularizer`.

    Args:
        weight: lambda; 10 in the paper, 0.1 in the authors' code for 2-D toys.
        target: the norm that the gradient is drawn to.
        where: `line` between a real and a fake sample, `real`, `fake`, the sum of these two, or
            `around_real`.
        order: of the norm: 2, 1 or inf. The dual norm decides which Lipschitz constant is meant.
        sides: `two` punishes slopes above and below the target, `one` only those above.
        power: 2 squares the excess, 1 takes it as it is.
        every: the penalty is added in every so many-th turn, that many times as strong (Karras et
            al., 2020, arXiv 1912.04958, section 3.1).
        spread: of `around_real`, in deviations of the batch.
        clip: see `Regularizer`; refused by a guard rail, since it works against the penalty.
    """

    per_sample: ClassVar[bool] = True
    lipschitz: ClassVar[bool] = True

    def __init__(
        self,
        weight: Positive = 10.0,
        target: NonNegative = 1.0,
        where: Literal["line", "real", "fake", "real_and_fake", "around_real"] = "line",
        order: Literal[1, 2, "inf"] = 2,
        sides: Literal["two", "one"] = "two",
        power: Literal[1, 2] = 2,
        every: Count = 1,
        spread: Positive = 0.5,
        clip: Positive | None = None,
    ) -> None:
        super().__init__(clip)
        self.weight, self.target, self.every = weight, target, every
        self.where = where
        self.order = float(order)
        self.sides = sides
        self.power = power
        self.spread = spread

    @property
    def coupling(self) -> str:
        return "the deviation of the batch in the penalty" if self.where == "around_real" else ""

    @property
    def caveat(self) -> str:
        if self.where != "line" or not self.target:
            return ""
        return (
            f"gradient penalty of weight {self.weight:g}: overestimates the Wasserstein distance "
            "by an amount proportional to 1/weight (N(0,1) against N(1,1), true distance 1: 1.05 "
            "at 10, 1.54 at 1, 6.4 at 0.1)"
        )

    def __call__(self, D: Critic, x: Tensor, x_fake: Tensor) -> dict[str, Tensor]:
        places = {
            "line": on_the_line,
            "real": _real,
            "fake": _fake,
            "around_real": self._around_real,
        }
        if self.where == "real_and_fake":
            return {"penalty": self._at(D, x) + self._at(D, x_fake)}
        return {"penalty": self._at(D, places[self.where](x, x_fake))}

    def _at(self, D: Critic, x: Tensor) -> Tensor:
        slope = torch.linalg.vector_norm(input_gradient(D, x).flatten(1), ord=self.order, dim=1)
        return self.every * self.weight * self._excess(slope - self.target).mean()

    def _excess(self, excess: Tensor) -> Tensor:
        excess = (
            excess.relu() if self.sides == "one" else excess.abs() if self.power == 1 else excess
        )
        return excess if self.power == 1 else excess.square()

    def _around_real(self, x: Tensor, x_fake: Tensor) -> Tensor:
        """Points between x and x + spread * std(batch) * U(0, 1)^d, as in the code of DRAGAN's
        authors."""
        moved = x + self.spread * x.std() * noise.rows(torch.rand, *x.shape, device=x.device)
        return on_the_line(moved, x)


def _real(x: Tensor, x_fake: Tensor) -> Tensor:
    return x


def _fake(x: Tensor, x_fake: Tensor) -> Tensor:
    return x_fake


@regularizers.register("finite_difference")
class FiniteDifference(Regularizer):
    """weight * E (|D(x_1) - D(x_2)| / |x_1 - x_2| - target)^2 for two points between the same real
    and fake sample.

    Needs no second derivative. It sees the slope along the line only, so the gradient itself may be
    steeper.

    Reference: the first form of Gulrajani et al., 2017, arXiv 1704.00028; Petzka et al., 2017,
    arXiv 1709.08894.

    Args:
        weight, target, clip: as the gradient penalty's.
    """

    per_sample: ClassVar[bool] = True
    lipschitz: ClassVar[bool] = True

    def __init__(
        self, weight: Positive = 10.0, target: NonNegative = 1.0, clip: Positive | None = None
    ) -> None:
        super().__init__(clip)
        self.weight, self.target = weight, target

    @property
    def caveat(self) -> str:
        return (
            f"finite-difference penalty of weight {self.weight:g}: overestimates the distance, "
            "more at small weights"
        )

    def __call__(self, D: Critic, x: Tensor, x_fake: Tensor) -> dict[str, Tensor]:
        first, second = on_the_line(x, x_fake), on_the_line(x, x_fake)
        distance = torch.linalg.vector_norm((first - second).flatten(1), dim=1)
        slope = (D(first) - D(second)).abs() / distance.clamp_min(1e-8)
        # else rounding is divided
        apart = distance > 1e-4 * torch.linalg.vector_norm((x - x_fake).flatten(1), dim=1)
        return {"penalty": self.weight * ((slope - self.target).square() * apart).mean()}
