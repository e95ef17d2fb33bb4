"""Turns recorded as CUDA graphs: one launch for a whole turn instead of hundreds, and the same
results.

A graph replays the same operations on the same memory. So what differs from turn to turn lies in
tensors that stay where they are: the rows of the batch, the learning rate, the weights. Random
numbers follow the default generator, whose seed is set before every replay as it is before every
turn that is played as written.
"""

import logging
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from gan_cli.game import Terms, Turn
from gan_cli.training.trainer import Trainer

log = logging.getLogger(__name__)

WARM_UP = 3
"""Turns of a kind before one is recorded, in which libraries choose algorithms and allocate
memory."""


def obstacle(trainer: Trainer) -> str:
    """The reason why the turns of this trainer cannot be recorded; empty if they can."""
    device = next(trainer.game.parameters()).device
    if device.type != "cuda":
        return f"a graph needs a CUDA device, not {device.type}"
    if trainer.batches.storage_device != device:
        return "the data stays on the host"
    if trainer.shards.count > 1:
        return f"a batch is played in {trainer.shards.count} shards"
    if any(scaler.is_enabled() for scaler in trainer.scalers.values()):
        return "float16 scales its losses on the host"
    if not trainer.game.capturable:
        return f"turns of {type(trainer.game).__name__} branch on the host"
    fixed = [
        name for name, o in trainer.optimizers.items() if "capturable" not in o.param_groups[0]
    ]
    if fixed and not trainer.rate.constant:
        return (
            "torch records no changing learning rate of "
            f"{type(trainer.optimizers[fixed[0]]).__name__}"
        )
    return ""


@dataclass
class Tape:
    """A recorded kind of turn: its graph, and the tensors of its rows and of its terms."""

    graph: torch.cuda.CUDAGraph
    rows: Tensor
    names: tuple[str, ...]
    terms: Tensor


def keep_on_device(trainer: Trainer) -> None:
    """Keep the learning rates and counts of optimizers on the device, where a recorded step reads
    them."""
    device = next(trainer.game.parameters()).device
    for optimizer in trainer.optimizers.values():
        for group in optimizer.param_groups:
            if "capturable" in group:
                group["capturable"] = True
                group["lr"] = torch.tensor(float(group["lr"]), device=device)


class Recorded:
    """Plays the turns of a trainer; each kind of turn is recorded after its first few.

    A kind of turn that cannot be recorded is played as before, and the log says so.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.device = next(trainer.game.parameters()).device
        self._tapes: dict[Hashable, Tape | None] = {}
        self._seen: Counter[Hashable] = Counter()
        self._pool = torch.cuda.graph_pool_handle()
        self._aside = torch.cuda.Stream(self.device)
        keep_on_device(trainer)

    def __call__(self, turn: Turn, rows: Tensor) -> Terms:
        """Play a turn. Returns its terms."""
        kind = self.trainer.game.kind_of(turn)
        self._seen[kind] += 1
        if turn.player.own_step:
            self._tapes[kind] = None  # it reads numbers from the device
        if kind not in self._tapes and self._seen[kind] > WARM_UP:
            self._tapes[kind] = self._recorded(turn, rows)
        self.trainer.seed_turn(turn)
        tape = self._tapes.get(kind)
        if tape is None:
            return self._as_written(turn, rows)
        tape.rows.copy_(rows)
        tape.graph.replay()
        # the next replay writes over them
        return dict(zip(tape.names, tape.terms.clone().unbind(), strict=True))

    def _as_written(self, turn: Turn, rows: Tensor) -> Terms:
        """Play a turn on a stream of its own, as the warm-up of a recording requires."""
        now = torch.cuda.current_stream(self.device)
        self._aside.wait_stream(now)
        with torch.cuda.stream(self._aside):
            terms = self.trainer.compute(turn, rows)
        now.wait_stream(self._aside)
        return terms

    def _recorded(self, turn: Turn, rows: Tensor) -> Tape | None:
        graph, kept = torch.cuda.CUDAGraph(), rows.clone()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._aside):
                terms = self.trainer.compute(turn, kept)
                together = torch.stack([*terms.values()])
        except RuntimeError as error:
            torch.cuda.synchronize(self.device)
            reason = str(error).strip().split("\n")[0]
            log.warning(
                "hardware.cuda_graph: turns of the %s are played as written (%s)",
                turn.player.name,
                reason,
            )
            return None
        return Tape(graph, kept, tuple(terms), together)
