"""The check for NaN and infinity: recorded on the device in every turn, read by the host at
times."""

import torch
from torch import Tensor, nn

KEPT = 4096  # turns whose terms are kept before they are looked at; a look waits for the device


class DivergedError(Exception):
    """A term or a weight was not finite; the message names the first one and its step."""


class Watch:
    """The terms of all turns since the last check, in one table.

    Thousands of small tensors that outlive their turns would fragment the heap, and the memory of
    a run would grow."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, tuple[str, ...], int]] = []
        self._values = torch.empty(0, 0)

    def note(self, player: str, terms: dict[str, Tensor], step: int) -> None:
        """Record the terms of a turn, without waiting for the device."""
        values = [*terms.values()]
        if len(self._kept) >= KEPT:
            self._look()
        if len(values) > self._values.shape[1]:
            fewer, self._values = self._values, values[0].new_zeros(KEPT, len(values))
            self._values[: len(fewer), : fewer.shape[1]] = fewer
        torch.stack(values, out=self._values[len(self._kept), : len(values)])
        self._kept.append((player, tuple(terms), step))

    def _look(self) -> None:
        kept, self._kept = self._kept, []
        if not kept:
            return
        spoiled = self._values[: len(kept)].isfinite().logical_not()
        if not spoiled.any():
            return
        self._values.zero_()  # rows are used again
        row, column = spoiled.nonzero()[0].tolist()
        player, names, step = kept[row]
        raise DivergedError(
            f"{player}/{names[column]} was the first that was not finite, in round {step + 1}"
        )

    def read(self, game: nn.Module) -> None:
        """Check all terms since the last check, and the weights; waits for the device.

        Raises:
            DivergedError: something is not finite; the message names the first.
        """
        self._look()
        for name, network in game.named_children():
            weights = list(network.parameters())
            if weights and not torch.stack([weight.isfinite().all() for weight in weights]).all():
                raise DivergedError(f"the weights of {name} are not finite")
