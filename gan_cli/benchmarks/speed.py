"""Speed of a configuration: ratios to other loops, parts of a turn, limits of the hardware."""

import math
import multiprocessing
import re
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gan_cli.devices.processes import World
from gan_cli.training.trainer import Trainer

T = TypeVar("T")
Play = Callable[[int], None]
"""Function that plays a number of rounds."""


@contextmanager
def replaced(owner: Any, **others: Any) -> Iterator[None]:
    """Context in which attributes of an object or a class have other values.

    Attributes that were inherited before are inherited again afterwards.
    """
    own = {name: vars(owner)[name] for name in others if name in vars(owner)}
    for name, value in others.items():
        setattr(owner, name, value)

    try:
        yield
    finally:
        for name in others:
            if name in own:
                setattr(owner, name, own[name])
            else:
                delattr(owner, name)


def synchronise(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Race:
    """Interleaved measurement of several contestants, which share the noise of the machine.

    Args:
        players: contestants by name.
        seconds: approximate duration of each measurement.
        times: measured seconds per round of each contestant, one for each heat.
    """

    players: Mapping[str, Play]
    device: torch.device
    seconds: float = 1.0
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def run(self, heats: int, warm_up: int = 3) -> "Race":
        """Measure every contestant once per heat; the order alternates between heats."""
        rounds = {name: self._fitting(play, warm_up) for name, play in self.players.items()}

        for heat in range(heats):
            for name in list(self.players)[:: 1 if heat % 2 else -1]:
                seconds = self._timed(self.players[name], rounds[name])
                self.times[name].append(seconds / rounds[name])
        return self

    def _fitting(self, play: Play, warm_up: int) -> int:
        """Number of rounds with a duration of about `seconds`."""
        play(warm_up)
        return max(1, round(self.seconds / self._timed(play, warm_up) * warm_up))

    def _timed(self, play: Play, rounds: int) -> float:
        """Duration of a number of rounds in seconds."""
        synchronise(self.device)
        began = time.perf_counter()
        play(rounds)
        synchronise(self.device)
        return time.perf_counter() - began

    def rounds(self, name: str) -> int:
        """Number of rounds of a contestant with a duration of about `seconds`."""
        return max(1, round(self.seconds / self.seconds_a_round(name)))

    def seconds_a_round(self, name: str) -> float:
        """Median of the seconds per round over all heats."""
        return statistics.median(self.times[name])

    def ratio(self, slow: str, fast: str) -> dict[str, float]:
        """Ratio of the durations of two contestants per heat: median, minimum and maximum."""
        ratios = [a / b for a, b in zip(self.times[slow], self.times[fast], strict=True)]
        return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


# --- parts of a turn ------------------------------------------------------------------------------

PARTS = ("data", "forward", "backward", "reduce", "optimizer", "other")


class Stopwatch:
    """Milliseconds per turn of each player, by part.

    Synchronisation between parts makes turns on a GPU slower. CUDA graphs, which cannot be divided
    into parts, are disabled.
    """

    def __init__(self, trainer: Trainer, device: torch.device) -> None:
        self.trainer, self.device = trainer, device
        self.spent: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.turns: dict[str, int] = defaultdict(int)
        self._player = ""

    def split(self, rounds: int) -> dict[str, dict[str, float]]:
        """Milliseconds per turn over a number of rounds, as {player: {part: milliseconds}}."""
        with self._instrumented():
            for _ in range(rounds):
                self.trainer.play_round()

        return {
            who: {part: 1000 * self.spent[who][part] / self.turns[who] for part in PARTS}
            for who in self.turns
        }

    @contextmanager
    def _instrumented(self) -> Iterator[None]:
        """Context in which the parts of a turn are timed."""
        trainer = self.trainer
        with ExitStack() as patches:
            for part, owner, name in (
                ("data", trainer.batches, "gather"),
                ("forward", trainer, "terms_fn"),
                ("backward", torch.Tensor, "backward"),
                ("reduce", World, "sum"),
                *(("optimizer", optimizer, "step") for optimizer in trainer.optimizers.values()),
            ):
                timed = self._timed(part, getattr(owner, name))
                patches.enter_context(replaced(owner, **{name: timed}))

            turn = self._turn(trainer.take_turn)
            patches.enter_context(replaced(trainer, take_turn=turn, turn_fn=trainer.play_turn))
            yield

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Function that adds the duration of each call to a part."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = self._now()
            result = call(*args, **kwargs)
            self.spent[self._player][part] += self._now() - began
            return result

        return timed

    def _turn(self, take_turn: Callable[..., Any]) -> Callable[..., Any]:
        """Function that takes a turn and adds its remaining duration to the part `other`."""

        def timed(turn: Any, rows: Tensor) -> None:
            self._player = turn.player.name
            self.turns[self._player] += 1
            spent = self.spent[self._player]
            before = sum(spent.values())

            began = self._now()
            take_turn(turn, rows)
            spent["other"] += self._now() - began - (sum(spent.values()) - before)

        return timed

    def _now(self) -> float:
        """Time in seconds when the device is idle."""
        synchronise(self.device)
        return time.perf_counter()


# --- limits of the hardware -----------------------------------------------------------------------


class _OperationCounter(TorchDispatchMode):
    """Counter of floating-point operations and memory traffic.

    Floating-point operations are those of matrix products and convolutions by the formulas of
    torch. Memory traffic is the size of all inputs and outputs of operations other than views, as
    if there were no cache.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.bytes = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        if not getattr(func, "is_view", False):
            self.bytes += sum(
                x.numel() * x.element_size() for x in _tensors((args, kwargs or {}, result))
            )
        return result


def _tensors(nested: Any) -> Iterator[Tensor]:
    """All tensors in nested mappings and sequences."""
    if isinstance(nested, Tensor):
        yield nested
    elif isinstance(nested, Mapping):
        yield from (x for value in nested.values() for x in _tensors(value))
    elif isinstance(nested, Sequence) and not isinstance(nested, str):
        yield from (x for value in nested for x in _tensors(value))


def floor(trainer: Trainer, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Lower bounds on the duration of a round.

    They are the duration of its matrix arithmetic at the measured matrix rate, and that of its
    memory traffic at the measured bandwidth. Caches and fused operations can reduce the latter.
    """
    eager = replaced(trainer, terms_fn=trainer.game.play, turn_fn=trainer.play_turn)
    # torch's FlopCounterMode uses module hooks, which fail on the inner gradient of a penalty
    with eager, _OperationCounter() as work:
        trainer.play_round()

    rate, bandwidth = matrix_rate(device, dtype), copy_rate(device)
    return {
        "gigaflop": work.flops / 1e9,
        "gigabytes": work.bytes / 1e9,
        "gigaflop_per_second": rate / 1e9,
        "gigabytes_per_second": bandwidth / 1e9,
        "arithmetic_ms": 1000 * work.flops / rate,
        "traffic_ms": 1000 * work.bytes / bandwidth,
    }


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Maximum number of floating-point operations per second in a large matrix product."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / _best(lambda: a @ b, device)


def copy_rate(device: torch.device) -> float:
    """Maximum number of bytes per second read and written by a large copy."""
    source = torch.empty(2**28 if device.type == "cuda" else 2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * source.element_size() / _best(lambda: target.copy_(source), device)


def _best(call: Callable[[], Any], device: torch.device, times: int = 8) -> float:
    """Minimum duration of a call in seconds, after a first call that is not timed."""
    call()
    best = math.inf
    for _ in range(times):
        synchronise(device)
        began = time.perf_counter()
        call()
        synchronise(device)
        best = min(best, time.perf_counter() - began)
    return best


# --- new processes --------------------------------------------------------------------------------


def alone(play: Callable[..., T], *arguments: Any) -> T:
    """Result of `play(*arguments)` in a new process, where `play` must be importable."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(play, arguments)


def peak_memory(play: Callable[..., Any], *arguments: Any) -> float:
    """Peak memory in MiB of a new process that calls `play(*arguments)`; see `own_peak_memory`."""
    return alone(_peak, play, arguments)


def _peak(play: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    """Peak memory in MiB of this process after `play(*arguments)`."""
    play(*arguments)
    return own_peak_memory()


def own_peak_memory() -> float:
    """Peak memory in MiB of this process, on the GPU if it uses one."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20

    status = Path("/proc/self/status")
    # getrusage would include the memory of the parent before the fork
    if status.is_file():
        return int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"))[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS: in bytes
