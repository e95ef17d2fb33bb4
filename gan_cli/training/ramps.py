"""Numbers of components that change over the run, set before the turns of each round."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gan_cli.config.ramps import Ramp
from gan_cli.errors import UserError
from gan_cli.game import Game

PLACES: dict[str, Callable[[Game], Any]] = {
    "loss": lambda game: vars(game).get("loss"),
    "regularizer": lambda game: vars(game).get("regularizer"),
    "augmentation": lambda game: getattr(game, "T", None),
    "features": lambda game: game.features,
    "model": lambda game: game,
}
"""Where a game holds the components of a group."""


class Ramps:
    """The numbers that change, where they are kept.

    A component's number is its attribute of the option's name. Numbers that turns read lie on the
    device, where a recorded turn reads them; those of games and optimizers do not, and such turns
    are not recorded.

    Args:
        ramps: what changes.
        total: rounds of the run.

    Raises:
        UserError: a component does not keep the number, but uses it when it is built.
    """

    def __init__(
        self,
        ramps: Sequence[Ramp],
        total: int,
        game: Game,
        optimizers: Mapping[str, Optimizer],
    ) -> None:
        self.ramps, self.total = ramps, total
        self.game, self.optimizers = game, optimizers
        for ramp in ramps:
            self._prepare(ramp)

    def set(self, position: int) -> None:
        """Set all numbers as they are in a round."""
        for ramp in self.ramps:
            group, *keys = ramp.path.split(".")
            value = ramp.at(position, self.total)
            if group == "optimizer":
                self._set_in_optimizers(keys, value)
                continue

            owner, option = PLACES[group](self.game), keys[0]
            kept = getattr(owner, option)
            if isinstance(kept, Tensor):
                kept.fill_(value)
            else:
                setattr(owner, option, value)

    def values(self, position: int) -> dict[str, float]:
        """The numbers of a round, by their tags."""
        return {f"ramps/{ramp.path}": ramp.at(position, self.total) for ramp in self.ramps}

    def _prepare(self, ramp: Ramp) -> None:
        """Lay the number of a ramp where turns read it. Raises UserError where it is not kept."""
        group, *keys = ramp.path.split(".")
        if group == "optimizer":
            self.game.capturable = False
            return

        owner, option = PLACES[group](self.game), keys[0]
        kept: Any = getattr(owner, option, None)
        numeric = isinstance(kept, float) or (isinstance(kept, Tensor) and kept.dim() == 0)
        if len(keys) > 1 or not numeric or abs(float(kept) - ramp.first) > 1e-6 * abs(ramp.first):
            raise UserError(
                f"ramps.{ramp.path}: {option} is used where {type(owner).__name__} is built, and "
                "kept by no number of that name; it cannot change over a run."
            )
        if owner is not self.game and not isinstance(kept, Tensor):
            device = next(self.game.parameters()).device
            setattr(owner, option, torch.tensor(ramp.first, device=device))
        elif owner is self.game and option not in self.game.host_options:
            self.game.capturable = self.game.compilable = False

    def _set_in_optimizers(self, keys: Sequence[str], value: float) -> None:
        """Set an option of all optimizers, or of one player's."""
        chosen = list(self.optimizers.values())
        if keys[0] == "players":
            chosen, keys = [self.optimizers[keys[1]]], keys[2:]
        for optimizer in chosen:
            for group in optimizer.param_groups:
                if len(keys) == 1:
                    group[keys[0]] = value
                    continue
                numbers = list(group[keys[0]])
                numbers[int(keys[1])] = value
                group[keys[0]] = tuple(numbers)
