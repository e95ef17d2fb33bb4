"""Optimizers between the rounds: their learning rates, their weights, their saved states."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from gan_cli.optimizers import Rate


class LearningRates:
    """The learning rates of all players, as they fall with the rounds.

    Args:
        rate: the factor on every learning rate, as a function of the round.
    """

    def __init__(self, optimizers: Mapping[str, Optimizer], rate: Rate) -> None:
        self.optimizers, self.rate = optimizers, rate
        self._base = {
            name: [group["lr"] for group in optimizer.param_groups]
            for name, optimizer in optimizers.items()
        }
        self._factor: float | None = None  # as it stands in the optimizers

    def set(self, position: int) -> None:
        """Set the rates of a round. Constant ones, which may be tensors on a device, are left."""
        factor = self.rate(position)
        if factor == self._factor:
            return
        self._factor = factor
        for name, optimizer in self.optimizers.items():
            for group, base in zip(optimizer.param_groups, self._base[name], strict=True):
                _set_rate(group, base * factor)


def plain_state(state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state with its learning rates as numbers, wherever they are kept."""
    return {
        **state,
        "param_groups": [{**group, "lr": float(group["lr"])} for group in state["param_groups"]],
    }


def _set_rate(group: dict[str, Any], rate: float) -> None:
    """Set a learning rate, in place where it is a tensor that a recorded step reads."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def restore_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's state, but keep the settings it was built with: torch would take the
    saved ones."""
    settings = [
        {key: group[key] for key in group if key != "params"} for group in optimizer.param_groups
    ]
    for saved, own in zip(state["param_groups"], settings, strict=True):
        if saved.keys() - own.keys() - {"params"}:
            raise ValueError(f"it is not the state of {type(optimizer).__name__}")
    groups = [
        {**own, "params": saved["params"]}
        for own, saved in zip(settings, state["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def forget(optimizer: Optimizer) -> None:
    """Set an optimizer's state to what it was before the first step, in place, as a recorded step
    reads it there."""
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, Tensor):
                value.zero_()
            elif isinstance(value, int | float):
                state[name] = type(value)()


def weights_of(optimizer: Optimizer | None) -> list[Tensor]:
    """The weights that an optimizer moves; none without one."""
    if optimizer is None:
        return []
    return [weight for group in optimizer.param_groups for weight in group["params"]]
