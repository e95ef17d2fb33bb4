"""Optimizers and learning-rate schedules, from torch, with checked arguments."""

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le, Len
from torch.optim import Optimizer, lr_scheduler

from gan_cli.registry import Count, Fraction, NonNegative, Positive, Share, optimizers, schedules


@optimizers.register("adam")
def adam(
    parameters: Iterable[Any],
    lr: Positive = 2e-4,
    betas: tuple[Fraction, Fraction] = (0.5, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Kingma and Ba, 2014, arXiv 1412.6980; beta1 = 0.5 by Radford et al., 2015.

    Args:
        lr: learning rate.
        betas: how long the mean of the gradients and that of their squares last, in [0, 1).
        eps: keeps the division by the root of a small mean finite.
        weight_decay: pull of the weights to zero, added to their gradients.
    """
    return torch.optim.Adam(
        parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True
    )


@optimizers.register("rmsprop")
def rmsprop(
    parameters: Iterable[Any],
    lr: Positive = 5e-5,
    alpha: Fraction = 0.99,
    eps: Positive = 1e-8,
    momentum: Fraction = 0.0,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Hinton's RMSProp without momentum, which Arjovsky et al., 2017, prefer for a clipped critic.

    Args:
        lr: learning rate.
        alpha: how long the mean of the squared gradients lasts, in [0, 1).
        eps: keeps the division by the root of a small mean finite.
        momentum: how much of the last step is kept.
        weight_decay: pull of the weights to zero, added to their gradients.
    """
    return torch.optim.RMSprop(
        parameters,
        lr=lr,
        alpha=alpha,
        eps=eps,
        momentum=momentum,
        weight_decay=weight_decay,
        foreach=True,
    )


@optimizers.register("sgd")
def sgd(
    parameters: Iterable[Any],
    lr: Positive = 0.1,
    momentum: Fraction = 0.5,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Stochastic gradient descent with momentum, as Goodfellow et al., 2014, used it.

    Args:
        lr: learning rate.
        momentum: how much of the last step is kept.
        weight_decay: pull of the weights to zero, added to their gradients.
    """
    # not fused: a scaler that skips the first step would leave the fused one's momentum
    # uninitialised
    return torch.optim.SGD(
        parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, foreach=True
    )


# --- schedules ------------------------------------------------------------------------------------
# Each makes a torch scheduler over an optimizer of learning rate 1, so that its rate is the factor
# of a round.


@schedules.register("constant")
def constant(optimizer: Any) -> Any:
    """The learning rate stays."""
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


@schedules.register("linear")
def linear(
    optimizer: Any,
    total: Count,
    start: Annotated[float, Gt(0), Le(1)] = 1.0,
    end: Share = 0.0,
    hold: Fraction = 0.0,
) -> Any:
    """From `start` to `end` times the learning rate over `total` rounds.

    Args:
        total: rounds; those of the run unless typed.
        start, end: factors on the learning rate.
        hold: share of the rounds in which it stays at `start` first.
    """
    held = int(hold * total)
    way = max(1, total - held)
    return lr_scheduler.LambdaLR(
        optimizer, lambda step: start + (end - start) * min(1.0, max(0, step - held) / way)
    )


@schedules.register("cosine")
def cosine(optimizer: Any, total: Count, end: Share = 0.0) -> Any:
    """Half a cosine from 1 to `end` times the learning rate over `total` rounds.

    Args:
        total: rounds; those of the run unless typed.
        end: the last factor on the learning rate.
    """
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=total, eta_min=end)


@schedules.register("exponential")
def exponential(optimizer: Any, gamma: Positive = 0.9999) -> Any:
    """`gamma` to the power of the round.

    Args:
        gamma: the factor on the learning rate from one round to the next.
    """
    return lr_scheduler.ExponentialLR(optimizer, gamma=gamma)


@schedules.register("multistep")
def multistep(
    optimizer: Any, milestones: Annotated[list[Count], Len(1)], gamma: Positive = 0.1
) -> Any:
    """`gamma` times less after each of the `milestones` (rounds).

    Args:
        milestones: rounds, in order.
        gamma: the factor on the learning rate at each.
    """
    return lr_scheduler.MultiStepLR(optimizer, milestones=milestones, gamma=gamma)


class Rate:
    """The factor on every learning rate as a function of the round: nothing of it has to be saved.

    Args:
        node: the configuration's `schedule` node.
    """

    def __init__(self, node: dict[str, Any]) -> None:
        self._node = node
        self._restart()

    @property
    def phase(self) -> str:
        """The phase of the model from which the schedule counts; empty for the whole run."""
        return self._node.get("phase") or ""

    @property
    def constant(self) -> bool:
        """Whether the factor is the same in all rounds."""
        return bool(self._node["name"] == "constant")

    def _restart(self) -> None:
        self._optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self._schedule = schedules.build(self._node, "schedule", optimizer=self._optimizer)
        self._optimizer.step()  # torch warns if a scheduler moves before its optimizer
        self._round = 0

    def __call__(self, step: int) -> float:
        """The factor of round `step` (from 0); after `total` rounds it stays (torch's cosine would
        climb again)."""
        step = min(step, self._node.get("total", step))
        if step < self._round:
            self._restart()
        while self._round < step:
            self._schedule.step()
            self._round += 1
        return self._optimizer.param_groups[0]["lr"]
