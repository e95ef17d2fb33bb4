"""Whether what a run computes is finite: noted on the device in every turn, read by the host now and then."""

import torch
from torch import Tensor, nn

NEVER = torch.iinfo(torch.int64).max
ROUND = 1_000_000  # more than the turns of a round


class DivergedError(Exception):
    """Something that a run computed was not finite; says what came first, and when."""


class Watch:
    """For each term of each player, the first turn in which it was not finite."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], Tensor] = {}  # (player, its terms): the turn's number for each term

    def note(self, player: str, terms: dict[str, Tensor], step: int, index: int) -> None:
        """Look at the terms of a turn, without waiting for the device."""
        key = (player, *terms)
        noted = torch.where(torch.stack([*terms.values()]).isfinite(), NEVER, step * ROUND + index)
        self._first[key] = torch.minimum(self._first[key], noted) if key in self._first else noted

    def read(self, game: nn.Module) -> None:
        """Wait for all that was noted since the last look, and for the weights.

        Raises:
            DivergedError: something is not finite; it names what came first.
        """
        names = [f"{player}/{term}" for player, *terms in self._first for term in terms]
        noted = torch.cat([*self._first.values()]).tolist() if names else [NEVER]
        self._first = {}
        if (first := min(noted)) < NEVER:
            what = names[noted.index(first)]
            raise DivergedError(f"{what} was the first that was not finite, in round {first // ROUND + 1}")
        for name, network in game.named_children():
            weights = list(network.parameters())
            if weights and not torch.stack([weight.isfinite().all() for weight in weights]).all():
                raise DivergedError(f"the weights of {name} are not finite")
