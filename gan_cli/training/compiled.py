"""Compiled turns: the terms of a player as one graph, the second derivatives of penalties included.

A compiled turn draws the same random numbers, and its terms and gradients are the same up to
rounding. This is verified: the first turn of each kind is computed both ways and compared. A kind
that cannot be compiled, or differs, is played uncompiled, and the log says so.
"""

import logging
from collections.abc import Callable, Hashable
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gan_cli.game import Fields, Game, Terms, Turn

log = logging.getLogger(__name__)

Play = Callable[[Turn, Fields], Terms]
MOST = 2000
"""The most operations of a turn that is compiled, which takes about 50 ms for each. The turns of
this package have 500 at most; a turn with a loop over hundreds of steps has thousands."""
KINDS = 64  # kinds of turns that are compiled in a process, over all runs of a sweep
CLOSE = {"fp32": 1e-4, "bf16": 0.1, "fp16": 0.1}
"""Tolerance of terms, gradients and buffers, relative to their norm, by precision: rounding
only."""


class Compiled:
    """Computes the terms of turns; each kind of turn is compiled when it is first played.

    Args:
        precision: of the networks, on which the tolerance depends.
    """

    def __init__(self, game: Game, precision: str) -> None:
        self.game, self.close = game, CLOSE[precision]
        self._kinds: dict[Hashable, Play] = {}

    def __call__(self, turn: Turn, batch: Fields) -> Terms:
        """The terms of a turn."""
        kind = self.game.kind_of(turn)
        # dynamo's config is the only place to say it
        with torch._dynamo.config.patch(recompile_limit=KINDS):
            if kind not in self._kinds:
                self._kinds[kind] = self._tried(turn, batch)
            return self._kinds[kind](turn, batch)

    def _tried(self, turn: Turn, batch: Fields) -> Play:
        """The compiled turn if its results agree with the uncompiled one, else the uncompiled
        one."""
        written, who = self.game.play, turn.player.name
        if turn.player.own_step or not turn.player.moves:
            return written  # it has no gradients to compare, or plays the turn without them
        if not self.game.compilable:
            log.warning(
                "hardware.compile: the turns of %s are not made for it, and are played as written",
                type(self.game).__name__,
            )
            return written
        count = _calls(self.game, written, turn, batch)
        if count > MOST:
            log.warning(
                "hardware.compile: the turns of the %s are played as written (%d operations)",
                who,
                count,
            )
            return written
        log.info("compiling the turns of the %s (%d operations)", who, count)
        try:
            compiled = _compiled(written)
            apart = self._apart(written, compiled, turn, batch)
            reason = f"compiled, they are {apart:.1g} of their length off"
        except Exception as error:  # whatever a compiler may raise
            apart = float("inf")
            reason = next(iter(str(error).split("\n")), "") or type(error).__name__
        if apart <= self.close:
            return compiled
        log.warning("hardware.compile: the turns of the %s are played as written (%s)", who, reason)
        return written

    def _apart(self, written: Play, compiled: Play, turn: Turn, batch: Fields) -> float:
        """The largest relative distance of both results; the state of the game does not change."""
        first, second = (_outcome(self.game, play, turn, batch) for play in (written, compiled))
        return max(_distance(a, b) for a, b in zip(first, second, strict=True))


class _Counter(TorchFunctionMode):
    """Counts calls of torch's functions."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def _calls(game: Game, play: Play, turn: Turn, batch: Fields) -> int:
    """The number of torch's functions that a turn calls; the turn is undone."""
    with _Counter() as counter:
        _outcome(game, play, turn, batch)
    return counter.count


def _compiled(play: Play) -> Play:
    return torch.compile(play, fullgraph=True, dynamic=False, options={"fallback_random": True})


def _outcome(game: nn.Module, play: Play, turn: Turn, batch: Fields) -> list[Tensor]:
    """Terms, gradients and buffers after a turn; the turn is undone."""
    weights = [weight for weight in game.parameters() if weight.requires_grad]
    buffers = [buffer for buffer in game.buffers() if buffer.is_floating_point()]
    before = [buffer.clone() for buffer in game.buffers()]
    with torch.random.fork_rng([weights[0].device] if weights[0].is_cuda else []):
        terms = play(turn, batch)
    gradients = torch.autograd.grad(
        torch.stack([*terms.values()]).sum(), weights, allow_unused=True
    )
    seen = [*(term.detach() for term in terms.values()), *(buffer.clone() for buffer in buffers)]
    for buffer, start in zip(game.buffers(), before, strict=True):
        buffer.copy_(start)
    return [
        torch.cat([x.flatten() for x in seen]),
        torch.cat([g.flatten() for g in gradients if g is not None]),
    ]


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / a.norm().clamp_min(1e-12)) if a.shape == b.shape else float("inf")
