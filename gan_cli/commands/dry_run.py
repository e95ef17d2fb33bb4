"""`dry_run=true`: size, memory and duration of a run or a sweep, without creating its folder.

The configuration is composed and validated as for a run, the networks are built, and a few rounds
are timed. Data is downloaded and packed if necessary, and remains in the cache.
"""

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from gan_cli.commands import train
from gan_cli.config import commandline, guards, guidance
from gan_cli.config.check import check
from gan_cli.config.ramps import ramps_of
from gan_cli.errors import UserError

if TYPE_CHECKING:
    import torch

    from gan_cli.data.dataset import Dataset
    from gan_cli.training.trainer import Trainer

PROBE = 2  # samples of a batch that is tried first where a whole one may not fit
LARGE = 2**22  # numbers of a batch from which on that is done
FITS = 0.7  # share of the memory that a whole round may need
RUN_SECONDS = 1.0  # duration of the measurement of a run
CELL_SECONDS = 0.3  # duration of the measurement of each cell of a sweep


@dataclass(frozen=True)
class Measured:
    """Measurements of a configuration.

    Args:
        parameters: number of parameters of each network, by name.
        memory: MiB of each use of memory; `peak` is the maximum of the process, or of the GPU.
        round: seconds per round.
        turns: turns per round.
        rounds: rounds of the whole run.
        limit: time limit of the run in seconds, or None.
        choices: notes on settings chosen according to the hardware.
        probed: whether only a few samples were played, and the rest is extrapolated.
    """

    parameters: dict[str, int]
    memory: dict[str, float]
    round: float
    turns: int
    rounds: int
    limit: float | None
    choices: list[str]
    probed: bool = False

    @property
    def seconds(self) -> float:
        """Duration of the whole run, limited by its rounds or by its time limit."""
        return min(self.rounds * self.round, self.limit or float("inf"))


def requested(arguments: Sequence[str]) -> bool:
    """Whether the last `dry_run=` on the command line is true, in any spelling of OmegaConf."""
    values = [item.partition("=")[2] for item in arguments if _is_own_key(item)]
    return bool(values) and values[-1].strip("'\"").lower() in ("true", "1", "yes", "on", "y")


def _is_own_key(argument: str) -> bool:
    return argument.lstrip("+").startswith("dry_run=")


def run(arguments: Sequence[str]) -> None:
    """Print what `gan-train ARGUMENTS` would run.

    Raises:
        UserError: the run would be refused; guards are checked after the measurements.
    """
    typed = [item for item in arguments if not _is_own_key(item)]
    if {"-m", "--multirun"} & set(arguments):
        _print_sweep([item for item in typed if item not in ("-m", "--multirun")])
        return

    node = train.compose(typed)
    config = check(train.plain(node))
    print(yaml.safe_dump(config, sort_keys=False))
    guided = [f"by the data   {sentence}" for sentence in guidance.sentences(node)]
    measured = measure(config, RUN_SECONDS)
    print("\n".join([*guided, *_lines(config, measured)]))

    warnings = guards.sentences(config)
    print("\n".join(f"warning       {sentence}" for sentence in warnings) or "warnings      none")
    if warnings and config["guard"] == "error":
        raise UserError(
            f"the run would be refused: {warnings[0]} (guard=warn runs it all the same.)"
        )


def measure(config: Mapping[str, Any], seconds: float) -> Measured:
    """Build a configuration and time rounds in the middle of its schedule.

    Args:
        seconds: approximate duration of the measurement, which takes at least one round.
    """
    from gan_cli.devices.process import explain_torch_errors, settings
    from gan_cli.devices.processes import World

    with settings(config, World()), explain_torch_errors(config):
        return _measured(config, seconds)


def _measured(config: Mapping[str, Any], seconds: float) -> Measured:
    """Measurements in this process, whose settings are already applied."""
    from gan_cli.benchmarks import speed
    from gan_cli.devices.hardware import choose_device
    from gan_cli.training import build
    from gan_cli.training.size_check import parameter_counts

    device = choose_device({**config["hardware"], "devices": 1})
    dataset = build.build_dataset(config, device)
    probe = _probed(config, dataset, device)
    batch = config["batch_size"] if probe is None else PROBE
    trainer = build.build_trainer(_with_batch(config, batch), dataset, device)
    trainer.game.train()
    trainer.go_to(config["steps"] // 2)  # after any warm-up

    def play(rounds: int) -> None:
        for _ in range(rounds):
            trainer.play_round()

    if probe is None:
        seconds = (
            speed.Race({"run": play}, device, seconds).run(1, warm_up=1).seconds_a_round("run")
        )
        peak = speed.own_peak_memory()
    else:
        seconds, peak = probe
    data = _mib(dataset.train.values())

    return Measured(
        parameters=parameter_counts(trainer.game),
        memory={**_memory(trainer), "data": data, "peak": peak},
        round=seconds,
        turns=len(trainer.game.turns(trainer.step)),
        rounds=config["steps"],
        limit=config["minutes"] and 60 * config["minutes"],
        choices=trainer.choices,
        probed=probe is not None,
    )


def _with_batch(config: Mapping[str, Any], samples: int) -> Mapping[str, Any]:
    """The configuration, with a batch of so many samples that is played in one piece."""
    if samples == config["batch_size"]:
        return config
    return {**config, "batch_size": samples, "hardware": {**config["hardware"], "shards": 1}}


def _probed(
    config: Mapping[str, Any], dataset: "Dataset", device: "torch.device"
) -> tuple[float, float] | None:
    """Seconds of a round and MiB at its peak, as a few samples tell; None where a round fits.

    What autograd keeps for the backward pass is counted, and grows with the samples of a shard.
    """
    import torch

    from gan_cli.benchmarks import speed
    from gan_cli.files import memory
    from gan_cli.training import build

    numbers = math.prod(dataset.spec.shape) * config["batch_size"]
    if numbers < LARGE or config["batch_size"] <= PROBE:
        return None
    trainer = build.build_trainer(_with_batch(config, PROBE), dataset, device)
    trainer.game.train()
    trainer.go_to(config["steps"] // 2)

    kept: dict[int, int] = {}

    def keep(tensor: "torch.Tensor") -> "torch.Tensor":
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    largest = 0
    start = time.monotonic()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        for turn in trainer.game.turns(trainer.step):
            kept.clear()
            trainer.take_turn(turn, trainer.batches.next_rows())
            largest = max(largest, sum(kept.values()))
    elapsed = time.monotonic() - start

    weights = {id(weight): weight for weight in trainer.game.parameters()}
    fixed = sum(weight.numel() * weight.element_size() for weight in weights.values())
    shard = config["batch_size"] / config["hardware"]["shards"]
    needed = speed.own_peak_memory() + max(0, largest - fixed) / PROBE * shard / 2**20
    available = memory()
    if device.type == "cuda":
        available = torch.cuda.get_device_properties(device).total_memory
    if needed * 2**20 < FITS * available:
        return None
    return elapsed * config["batch_size"] / PROBE, needed


def _memory(trainer: "Trainer") -> dict[str, float]:
    """Memory in MiB of weights, gradients, optimizer states and averaged weights."""
    weights = list(trainer.game.parameters())
    states = [
        value for optimizer in trainer.optimizers.values() for state in optimizer.state.values()
        for value in state.values() if hasattr(value, "element_size")
    ]  # fmt: skip
    averaged = [
        weight for name in (trainer.game.averaged if trainer.ema else ())
        for weight in trainer.game.get_submodule(name).parameters()
    ]  # fmt: skip

    return {
        "weights": _mib(weights),
        "gradients": _mib(weights),
        "optimizers": _mib(states),
        "average": _mib(averaged),
    }


def _mib(tensors: Any) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


# --- report ---------------------------------------------------------------------------------------


def _lines(config: Mapping[str, Any], measured: Measured) -> list[str]:
    """Lines of the report on a run."""
    networks = ", ".join(f"{name} {count:,}" for name, count in measured.parameters.items())
    sizes = ", ".join(
        f"{name} {size:.3g}" for name, size in measured.memory.items() if name != "peak" and size
    )
    images = measured.turns * config["batch_size"]

    lines = [
        f"parameters    {networks}; {sum(measured.parameters.values()):,} in all",
        f"memory        {measured.memory['peak']:,.0f} MiB at most: {sizes}; the rest activations, "
        "buffers, the program",
        f"a round       {1000 * measured.round:.3g} ms: {measured.turns} turns, {images:,} "
        "samples; without scores and pictures",
        f"to the end    {_time(measured.seconds)}, for {_budget(measured)}",
    ]

    if measured.probed:
        lines.append(
            f"probed        a batch of {config['batch_size']} does not fit this machine: memory "
            f"and time are those of {PROBE} samples, extrapolated; hardware.shards=N needs less"
        )
    processes = config["hardware"]["devices"] * config["hardware"]["nodes"]
    if processes > 1:
        lines.append(f"processes     {processes}; all shards of a batch were measured in one")
    lines += [f"ramp          {ramp.describe(config['steps'])}" for ramp in ramps_of(config)]
    return [*lines, *(f"hardware      {choice}" for choice in measured.choices)]


def _budget(measured: Measured) -> str:
    """Number of rounds, and the time limit if it ends the run."""
    rounds = f"{measured.rounds:,} rounds"
    if not measured.limit or measured.seconds < measured.limit:
        return rounds
    return (
        f"about {measured.limit / measured.round:,.0f} of {rounds} "
        f"(minutes={measured.limit / 60:g})"
    )


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds < 1e9 else "more than thirty years"


# --- sweeps ---------------------------------------------------------------------------------------


def _print_sweep(arguments: list[str]) -> None:
    """Print a line for each cell, and the total duration of all cells in sequence."""
    cells, trials = _cells(arguments)
    total = 0.0

    for number, (name, typed) in enumerate(cells):
        try:
            measured = measure(_accepted(typed), CELL_SECONDS)
        except UserError as error:
            print(f"#{number} {name}: would fail: {error}")
            continue

        total += measured.seconds
        size = sum(measured.parameters.values())
        each = f"{1000 * measured.round:.3g} ms a round, {_time(measured.seconds)} to the end"
        print(f"#{number} {name}: {size:,} parameters, {each}")

    if trials:
        print(f"{trials} trials like this one: {_time(total * trials)}, one after the other")
    else:
        print(f"{len(cells)} cells: {_time(total)}, one after the other")


def _accepted(typed: list[str]) -> dict[str, Any]:
    """Configuration of a cell.

    Raises:
        UserError: the configuration is invalid or refused by a guard.
    """
    config = train.composed(typed, guarded=False)
    if config["guard"] == "error" and (refusals := guards.sentences(config)):
        raise UserError(refusals[0])
    return config


def _cells(arguments: list[str]) -> tuple[list[tuple[str, list[str]]], int]:
    """Names and arguments of the cells of `gan-train --multirun ARGUMENTS`; number of trials.

    The cells of a search are unknown in advance. It is represented by one cell with the arguments
    that all trials share. The number of trials is 0 for any other sweep.
    """
    parser, arguments = OverridesParser.create(), commandline.flags_apart(arguments)
    flags = [item for item in arguments if "=" not in item]
    typed = [item for item in commandline.overrides(arguments) if "=" in item]
    parsed = parser.parse_overrides(typed)
    hydras = [text for text, item in zip(typed, parsed, strict=True) if item.is_hydra_override()]

    constant = commandline.constant(arguments)
    sweeper = train.compose(constant, whole=True).hydra.sweeper
    if "n_trials" in sweeper:
        return [("a trial", constant)], sweeper.n_trials

    of_files = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    typed_settings = [item for item in parsed if not item.is_hydra_override()]
    last = {  # the command line overrides an experiment
        item.get_key_element(): item
        for item in [*parser.parse_overrides(of_files), *typed_settings]
    }
    swept = {key for key, item in last.items() if item.is_sweep_override()}
    cells = [list(cell) for cell in itertools.product(*map(_settings, last.values()))]
    return [(_name(cell, swept), [*cell, *hydras, *flags]) for cell in cells], 0


def _settings(override: Override) -> list[str]:
    """Arguments `key=value` for all values of a sweep override, in Hydra's order.

    Raises:
        UserError: the override is a continuous interval, which only searches support.
    """
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise UserError(
            f"{override.input_line}: only a search takes an interval; add hydra/sweeper=optuna."
        )
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _name(cell: Sequence[str], swept: set[str]) -> str:
    """Name of the folder of a cell, composed of its swept settings."""
    return train.cell_folder(
        "+".join(sorted(item for item in cell if item.partition("=")[0] in swept))
    )
