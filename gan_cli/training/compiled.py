"""Turns compiled: what a player computes, its penalty's second derivatives included, as one graph.

A compiled turn draws the same random numbers and gives the same terms and gradients to rounding.
That is not taken on trust: the first turn of each kind is played both ways and compared. A kind
that cannot be compiled, or comes out differently, is played as it is written, and the log says so.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gan_cli.game import Fields, Game, Terms, Turn

log = logging.getLogger(__name__)

Play = Callable[[Turn, Fields], Terms]
MOST = 2000
"""Operations of a turn that is compiled: a compiler takes about 50 ms each. The zoo's turns have at
most some 500, a turn of hundreds of steps on the host has thousands."""
KINDS = 64  # kinds of turns that are compiled in a process, over all runs of a sweep
CLOSE = {"fp32": 1e-4, "bf16": 0.1, "fp16": 0.1}
"""How far terms, gradients and buffers may be apart, relative to their length: rounding, and no
more."""


class Compiled:
    """Plays the turns of a game, each kind of them compiled when it is first played.

    Args:
        precision: of the networks; says how far rounding may go.
    """

    def __init__(self, game: Game, precision: str) -> None:
        self.game, self.close = game, CLOSE[precision]
        self._kinds: dict[tuple[str, bool], Play] = {}

    def __call__(self, turn: Turn, batch: Fields) -> Terms:
        """The terms of a turn."""
        kind = (turn.player.name, turn.due)
        # dynamo's config is the only place to say it
        with torch._dynamo.config.patch(recompile_limit=KINDS):
            if kind not in self._kinds:
                self._kinds[kind] = self._tried(turn, batch)
            return self._kinds[kind](turn, batch)

    def _tried(self, turn: Turn, batch: Fields) -> Play:
        """The compiled turn if it does what the written one does, else the written one."""
        written, who = self.game.play, turn.player.name
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
        """How far what the two give is apart, relative to its length, at most. Leaves nothing
        changed."""
        first, second = (_outcome(self.game, play, turn, batch) for play in (written, compiled))
        return max(_distance(a, b) for a, b in zip(first, second, strict=True))


class _Counter(TorchFunctionMode):
    """Counts the calls of torch's functions."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def _calls(game: Game, play: Play, turn: Turn, batch: Fields) -> int:
    """How many of torch's functions a turn calls, which is then undone."""
    with _Counter() as counter:
        _outcome(game, play, turn, batch)
    return counter.count


def _compiled(play: Play) -> Play:
    return torch.compile(play, fullgraph=True, dynamic=False, options={"fallback_random": True})


def _outcome(game: nn.Module, play: Play, turn: Turn, batch: Fields) -> list[Tensor]:
    """Terms, gradients and buffers after a turn that is then undone."""
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
