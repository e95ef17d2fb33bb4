"""Whether what a run computes is finite: kept on the device in every turn, read by the host now and then."""

import torch
from torch import Tensor, nn

KEPT = 4096  # turns whose terms are kept before they are looked at; a look waits for the device


class DivergedError(Exception):
    """Something that a run computed was not finite; says what came first, and when."""


class Watch:
    """The terms of all turns since the last look."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, dict[str, Tensor], int]] = []

    def note(self, player: str, terms: dict[str, Tensor], step: int) -> None:
        """Keep the terms of a turn, without waiting for the device."""
        self._kept.append((player, terms, step))
        if len(self._kept) >= KEPT:
            self._look()

    def _look(self) -> None:
        kept, self._kept = self._kept, []
        if not kept or torch.stack([term for _, terms, _ in kept for term in terms.values()]).isfinite().all():
            return
        player, name, step = next(
            (player, name, step) for player, terms, step in kept for name, term in terms.items() if not term.isfinite()
        )
        raise DivergedError(f"{player}/{name} was the first that was not finite, in round {step + 1}")

    def read(self, game: nn.Module) -> None:
        """Wait for all that was noted since the last look, and for the weights.

        Raises:
            DivergedError: something is not finite; it names what came first.
        """
        self._look()
        for name, network in game.named_children():
            weights = list(network.parameters())
            if weights and not torch.stack([weight.isfinite().all() for weight in weights]).all():
                raise DivergedError(f"the weights of {name} are not finite")
