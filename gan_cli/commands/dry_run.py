"""`dry_run=true`: what a run or a sweep would be, what it would hold and how long it would take.
Writes nothing.

The configuration is composed and checked as for a run, the networks are built, a few real rounds
are played and timed; no folder is made. (Data that has to be fetched or packed first is: it stays
in the cache for the run.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from gan_cli.commands import train
from gan_cli.config import commandline, guards
from gan_cli.errors import UserError

if TYPE_CHECKING:
    from gan_cli.training.trainer import Trainer

SECONDS = 1.0  # for which the rounds of a run are timed
EACH = 0.3  # and those of a cell of a sweep


@dataclass(frozen=True)
class Measured:
    """What a configuration came to.

    Args:
        parameters: of each network, by name.
        held: MiB, by what holds them; `peak` is that of the process, or of the GPU.
        round: seconds a round takes.
    """

    parameters: dict[str, int]
    held: dict[str, float]
    round: float
    turns: int
    rounds: int
    limit: float | None
    choices: list[str]

    @property
    def seconds(self) -> float:
        """To the end, by rounds or by the clock."""
        return min(self.rounds * self.round, self.limit or float("inf"))


def asked(arguments: Sequence[str]) -> bool:
    """Whether `dry_run=true` was typed last."""
    typed = [
        argument.partition("=")[2]
        for argument in arguments
        if argument.lstrip("+").startswith("dry_run=")
    ]
    # as OmegaConf reads it
    return bool(typed) and typed[-1].strip("'\"").lower() in ("true", "1", "yes", "on", "y")


def run(arguments: Sequence[str]) -> None:
    """Tell what `gan-train ARGUMENTS` would do.

    Raises:
        UserError: what the run would be refused for; a guard's sentence too, after all else has
            been told.
    """
    typed = [item for item in arguments if not item.lstrip("+").startswith("dry_run=")]
    if {"-m", "--multirun"} & set(arguments):
        _tell_sweep([item for item in typed if item not in ("-m", "--multirun")])
        return
    config = train.composed(typed, guarded=False)
    print(yaml.safe_dump(config, sort_keys=False))
    measured = measure(config, SECONDS)
    print("\n".join(_lines(config, measured)))
    warnings = guards.sentences(config)
    print("\n".join(f"warning       {sentence}" for sentence in warnings) or "warnings      none")
    if warnings and config["guard"] == "error":
        raise UserError(
            f"the run would be refused: {warnings[0]} (guard=warn runs it all the same.)"
        )


def measure(config: Mapping[str, Any], seconds: float) -> Measured:
    """Build a configuration and play it, from the middle of its schedule, for so many seconds, at
    least one round."""
    from gan_cli.devices.hardware import explain_torch_errors, settings
    from gan_cli.devices.processes import World

    with settings(config, World()), explain_torch_errors(config):
        return _measured(config, seconds)


def _measured(config: Mapping[str, Any], seconds: float) -> Measured:
    from gan_cli import registry
    from gan_cli.benchmarks import speed
    from gan_cli.devices.hardware import choose_device
    from gan_cli.training import build

    device = choose_device({**config["hardware"], "devices": 1})
    dataset = registry.datasets.build(config["data"], "data").to(device)
    build.keep_few_labels(dataset, config)
    trainer = build.build_trainer(config, dataset, device)
    trainer.game.train()
    trainer.go_to(config["steps"] // 2)  # behind a warm-up

    def play(rounds: int) -> None:
        for _ in range(rounds):
            trainer.play_round()

    race = speed.Race({"run": play}, device, seconds).run(1, warm_up=1)
    names = [name for name, part in trainer.game.named_children() if _count(part)]
    limit = config["minutes"] and 60 * config["minutes"]
    return Measured(
        {name: _count(trainer.game.get_submodule(name)) for name in names},
        {**_held(trainer), "data": _mib(dataset.train.values()), "peak": speed.held_at_most()},
        race.seconds_a_round("run"),
        len(trainer.game.turns(config["steps"] // 2)),
        config["steps"],
        limit,
        trainer.choices,
    )


def _count(network: Any) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _held(trainer: "Trainer") -> dict[str, float]:
    """MiB of weights, of their gradients, of what the optimizers remember, of the average."""
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


# --- in words -------------------------------------------------------------------------------------


def _lines(config: Mapping[str, Any], measured: Measured) -> list[str]:
    networks = ", ".join(f"{name} {count:,}" for name, count in measured.parameters.items())
    held = ", ".join(
        f"{name} {size:.3g}" for name, size in measured.held.items() if name != "peak" and size
    )
    images = measured.turns * config["batch_size"]
    lines = [
        f"parameters    {networks}; {sum(measured.parameters.values()):,} in all",
        f"memory        {measured.held['peak']:.0f} MiB at most: {held}; the rest activations, "
        "buffers, the program",
        f"a round       {1000 * measured.round:.3g} ms: {measured.turns} turns, {images:,} "
        "samples; without scores and pictures",
        f"to the end    {_time(measured.seconds)}, for {_budget(measured)}",
    ]
    processes = config["hardware"]["devices"] * config["hardware"]["nodes"]
    if processes > 1:
        lines.append(f"processes     {processes}; all shards of a batch were measured in one")
    return [*lines, *(f"hardware      {choice}" for choice in measured.choices)]


def _budget(measured: Measured) -> str:
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


def _tell_sweep(arguments: list[str]) -> None:
    """A line for each cell, and the time for all, one after the other."""
    cells, trials = _cells(arguments)
    total = 0.0
    for number, (name, typed) in enumerate(cells):
        try:
            config = train.composed(typed, guarded=False)
            refused = [
                sentence for sentence in guards.sentences(config) if config["guard"] == "error"
            ]
            if refused:
                raise UserError(refused[0])
            measured = measure(config, EACH)
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


def _cells(arguments: list[str]) -> tuple[list[tuple[str, list[str]]], int]:
    """The cells of `gan-train --multirun ARGUMENTS`: name and arguments of each.

    A search has none before it begins: for it there is the configuration without what it searches
    over, and the number of its trials, which is 0 for other sweeps.
    """
    parser, arguments = OverridesParser.create(), commandline.flags_apart(arguments)
    flags = [item for item in arguments if "=" not in item]
    typed = [item for item in commandline.overrides(arguments) if "=" in item]
    parsed = parser.parse_overrides(typed)
    constant = commandline.constant(arguments)
    hydras = [text for text, item in zip(typed, parsed, strict=True) if item.is_hydra_override()]
    sweeper = train.compose(constant, whole=True).hydra.sweeper
    if "n_trials" in sweeper:
        return [("a trial", constant)], sweeper.n_trials
    params = parser.parse_overrides(
        [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    )
    own = [*params, *(item for item in parsed if not item.is_hydra_override())]
    last = {item.get_key_element(): item for item in own}  # what is typed wins over an experiment's
    swept = {name for name, item in last.items() if item.is_sweep_override()}
    (cells,) = BasicSweeper.split_arguments(own, None)
    names = [
        train.cell_folder(
            "+".join(sorted(item for item in cell if item.partition("=")[0] in swept))
        )
        for cell in cells
    ]
    return [(name, [*cell, *hydras, *flags]) for name, cell in zip(names, cells, strict=True)], 0
