"""The processes of one run, and their communication.

Each process plays its own shards of every batch on its own device; all hold the same weights,
because all step with the same mean of the gradients. `gan_cli.devices.launch` starts them, or
torchrun does: both name them in the environment.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gan_cli.errors import UserError

PATIENCE = timedelta(hours=12)
"""Timeout of communication; others may be scoring samples or packing data. The launcher reports a
dead process at once."""

T = TypeVar("T")


class PeerLostError(RuntimeError):
    """Another process of the run has ended during communication."""


@dataclass(frozen=True)
class World:
    """This process among those of its run.

    Args:
        rank: its number over all machines; 0 writes the records.
        size: how many there are.
        local_rank: its number on this machine, and that of its GPU.
        local_size: how many there are on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def from_environment(cls) -> "World":
        """The process as the launcher's environment describes it; a single one without launcher.

        Raises:
            UserError: the environment lacks some of the variables that torchrun sets.
        """
        names = {
            "rank": "RANK",
            "size": "WORLD_SIZE",
            "local_rank": "LOCAL_RANK",
            "local_size": "LOCAL_WORLD_SIZE",
        }
        if launched() and (missing := [name for name in names.values() if name not in os.environ]):
            raise UserError(
                f"the environment sets RANK and WORLD_SIZE but not {', '.join(missing)}: start "
                "the processes by torchrun or by hardware.devices, which set all of them."
            )
        return (
            cls(**{key: int(os.environ[name]) for key, name in names.items()})
            if launched()
            else cls()
        )

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place. Raises PeerLostError."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def agree_on_stop(self, seconds: float, signalled: int | None) -> tuple[float, int | None]:
        """The longest time and the highest signal number of all processes, so that all stop at the
        same step.

        Only hosts wait for each other, not for a device. Raises PeerLostError.
        """
        if self.size == 1:
            return seconds, signalled
        seen = self._reduce(
            torch.tensor([seconds, signalled or 0], dtype=torch.float64), dist.ReduceOp.MAX
        )
        return float(seen[0]), int(seen[1]) or None

    def all_equal(self, number: int) -> bool:
        """Whether all processes have the same number. Raises PeerLostError."""
        ends = self._reduce(torch.tensor([number, -number]), dist.ReduceOp.MAX)
        return int(ends[0]) == -int(ends[1])

    def barrier(self) -> None:
        """Wait for all processes. Raises PeerLostError."""
        if self.size > 1:
            _heard(dist.barrier)

    def _reduce(self, values: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        if self.size > 1:
            _heard(lambda: dist.all_reduce(values, operation))
        return values

    @contextmanager
    def first_on_this_machine(self) -> Iterator[None]:
        """Let the first process of each machine run a block before the others, for downloads."""
        if self.local_rank:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()


def _heard(word: Callable[[], Any]) -> None:
    """Communicate with the others. Raises PeerLostError if one of them has ended."""
    try:
        word()
    except RuntimeError as error:
        raise PeerLostError(str(error)) from None


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1


def join() -> World:
    """Connect to the other processes of a launcher; gloo sends CPU tensors, NCCL those of GPUs."""
    world = World.from_environment()
    if world.size > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE
        )
    return world


def leave() -> None:
    """Disconnect from the other processes, which must do the same."""
    if dist.is_initialized():
        dist.destroy_process_group()


def decided_by_the_first(decide: Callable[[], T]) -> T:
    """The decision of process 0, sent to all the others."""
    world = join()
    decision: list[Any] = [decide() if world.rank == 0 else None]
    if world.size > 1:
        _heard(lambda: dist.broadcast_object_list(decision))
    decided: T = decision[0]
    return decided
