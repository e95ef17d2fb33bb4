"""The f-divergences of f-GAN: D_f(P, Q) = E_Q f(dP/dQ), and what a discriminator needs to estimate
one.

Reference: Nowozin et al., 2016, "f-GAN", arXiv 1606.00709, tables 1, 2 and 6. A score v becomes t =
g_f(v), which lies where the conjugate f* is defined; then D_f(P, Q) >= E_P t - E_Q f*(t), with
equality at t = f'(dP/dQ). The conjugate is written as a function of v, f*(g_f(v)), which is exact
where the two steps would overflow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor
from torch.nn.functional import softplus


@dataclass(frozen=True)
class Divergence:
    """One row of the tables.

    Args:
        f: the convex function of u = dP/dQ > 0, with f(1) = 0 (but for `gan`).
        activation: g_f, increasing.
        conjugate: v -> f*(g_f(v)).
        threshold: f'(1); a sample whose t lies above it is more likely real than not.
    """

    f: Callable[[Tensor], Tensor]
    activation: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]
    threshold: float


def _lambert(y: Tensor) -> Tensor:
    """W(exp(y)), the solution of w + log w = y, by Newton's method; the gradient is w / (1 + w)."""
    with torch.no_grad():
        w = torch.where(y > 1, y - y.clamp_min(1).log(), (y - softplus(y - 1)).exp())
        for _ in range(6):
            w = (w * (1 + y - w.log()) / (1 + w)).clamp_min(1e-30)
    return w * (1 + y - w.log()) / (1 + w)


def _jeffrey_conjugate(v: Tensor) -> Tensor:
    """w + 1 / w + v - 2 with w = W(exp(1 - v)); 1 / w is exp(w - 1 + v), also where w is too
    small."""
    w = _lambert(1 - v)
    return w + (w - 1 + v).exp() + v - 2


def js_weighted(pi: float) -> Divergence:
    """pi KL(P || M) + (1 - pi) KL(Q || M) with M = pi P + (1 - pi) Q."""
    entropy = -pi * log(pi)
    return Divergence(
        lambda u: pi * u * u.log() - (1 - pi + pi * u) * (1 - pi + pi * u).log(),
        lambda v: entropy - pi * softplus(-v),
        lambda v: (1 - pi) * (log(1 - pi) + softplus(v)),
        0.0,
    )


DIVERGENCES = {
    "total_variation": Divergence(
        lambda u: 0.5 * (u - 1).abs(), lambda v: 0.5 * v.tanh(), lambda v: 0.5 * v.tanh(), 0.0
    ),
    "kl": Divergence(lambda u: u * u.log(), lambda v: v, lambda v: (v - 1).exp(), 1.0),
    "reverse_kl": Divergence(lambda u: -u.log(), lambda v: -(-v).exp(), lambda v: v - 1, -1.0),
    "pearson": Divergence(lambda u: (u - 1) ** 2, lambda v: v, lambda v: v * v / 4 + v, 0.0),
    "neyman": Divergence(
        lambda u: (1 - u) ** 2 / u, lambda v: 1 - (-v).exp(), lambda v: 2 - 2 * (-v / 2).exp(), 0.0
    ),
    "squared_hellinger": Divergence(
        lambda u: (u.sqrt() - 1) ** 2, lambda v: 1 - (-v).exp(), lambda v: v.exp() - 1, 0.0
    ),
    "jeffrey": Divergence(lambda u: (u - 1) * u.log(), lambda v: v, _jeffrey_conjugate, 0.0),
    "jensen_shannon": Divergence(
        lambda u: u * u.log() - (u + 1) * ((1 + u) / 2).log(),
        lambda v: log(2) - softplus(-v),
        lambda v: softplus(v) - log(2),
        0.0,
    ),
    "gan": Divergence(
        lambda u: u * u.log() - (u + 1) * (u + 1).log(),
        lambda v: -softplus(-v),
        lambda v: softplus(v),
        -log(2),
    ),
}
"""By name; `js_weighted` has a parameter."""


def kl_from_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)) of each number, in nats."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
