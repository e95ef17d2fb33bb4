"""What constrains a critic: penalties, which add terms to its loss, and projections, which act after its step.

A regularizer takes the *network*: called with (D, x, x_fake) it returns named terms; `project(D)` follows each step.

Class attributes, read by the guard rails before torch loads:
    per_sample: the penalty needs the gradient of each sample's score with respect to that sample alone.
    lipschitz: a Wasserstein loss may be used with it.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.registry import NonNegative, Positive, regularizers


def input_gradient(D: nn.Module, x: Tensor, create_graph: bool = True) -> Tensor:
    """The gradient of each sample's score with respect to that sample, in the shape of `x`.

    Valid where no batch statistics couple the samples. With `create_graph` the result can be differentiated again.
    """
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(D(x).sum(), x, create_graph=create_graph)
    return gradient


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

    def __init__(self, clip: Positive | None = None) -> None:
        self.clip = clip

    @property
    def caveat(self) -> str:
        """How the Wasserstein estimate under this constraint must be read; empty where there is no constraint."""
        return "" if self.clip is None else "weight clipping: equals the Wasserstein distance up to an unknown factor"

    def __call__(self, D: nn.Module, x: Tensor, x_fake: Tensor) -> dict[str, Tensor]:
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

    Reference: Arjovsky et al., 2017, arXiv 1701.07875, Algorithm 1, line 7 (c = 0.01). The Lipschitz constant that
    this allows depends on the architecture, so estimates of different networks cannot be compared.
    """

    lipschitz: ClassVar[bool] = True

    def __init__(self, clip: Positive = 0.01) -> None:
        super().__init__(clip)


@regularizers.register("gradient_penalty")
class GradientPenalty(Regularizer):
    """weight * E (|grad D(x_hat)| - target)^2 with x_hat uniform on the line between a real and a fake sample.

    Reference: Gulrajani et al., 2017, "Improved Training of Wasserstein GANs", arXiv 1704.00028, equation 3: one
    epsilon a sample, the Euclidean norm over all dimensions of the sample, two-sided. Under this penalty the gap
    E D(x) - E D(G(z)) exceeds the Wasserstein distance by an amount proportional to 1 / weight.

    Args:
        weight: lambda; 10 in the paper, 0.1 in the authors' code for 2-D toys.
        target: the norm that the gradient is drawn to.
        clip: see `Regularizer`; refused by a guard rail, since it works against the penalty.
    """

    per_sample: ClassVar[bool] = True
    lipschitz: ClassVar[bool] = True

    def __init__(self, weight: Positive = 10.0, target: NonNegative = 1.0, clip: Positive | None = None) -> None:
        super().__init__(clip)
        self.weight, self.target = weight, target

    @property
    def caveat(self) -> str:
        return (
            f"gradient penalty of weight {self.weight:g}: overestimates the Wasserstein distance by an amount "
            "proportional to 1/weight (N(0,1) against N(1,1), true distance 1: 1.05 at 10, 1.54 at 1, 6.4 at 0.1)"
        )

    def __call__(self, D: nn.Module, x: Tensor, x_fake: Tensor) -> dict[str, Tensor]:
        slope = torch.linalg.vector_norm(input_gradient(D, on_the_line(x, x_fake)).flatten(1), dim=1)
        return {"penalty": self.weight * (slope - self.target).square().mean()}
