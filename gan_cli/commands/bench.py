"""`gan-bench`: speed of a configuration, as JSON and as a table.

No run is saved.
"""

import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_cli.errors import UserError
from gan_cli.files import write_json

if TYPE_CHECKING:
    import torch

    from gan_cli.benchmarks.loops import Loop
    from gan_cli.benchmarks.speed import Play, Race
    from gan_cli.data.dataset import Dataset
    from gan_cli.training.trainer import Trainer


@dataclass
class BenchConfig:
    """Keys of `gan-bench`, set as `bench.KEY=VALUE`; all others are keys of `gan-train`."""

    heats: int = field(
        default=7, metadata={"least": 1, "help": "times that every contestant plays"}
    )
    seconds: float = field(
        default=1.0, metadata={"least": 0.01, "help": "how long it plays at a time"}
    )
    against: list[str] = field(
        default_factory=lambda: ["bare", "naive", "hooks", "fp32"],
        metadata={
            "help": "[bare,naive,hooks,fp32,eager]: hand-written loops; with hooks, in "
            "float32, not compiled"
        },
    )
    memory: bool = field(
        default=True, metadata={"help": "measure the memory of a run and of the bare loop"}
    )
    start: bool = field(default=True, metadata={"help": "measure the start of a run"})
    processes: list[str] = field(
        default_factory=list,
        metadata={"help": "[1,2]: scaling over so many processes, one thread each"},
    )
    output: str | None = field(
        default=None, metadata={"help": "FILE for the JSON; printed if not given"}
    )


CONTESTANTS = ("bare", "naive", "hooks", "fp32", "eager")


def run(bench: BenchConfig, arguments: list[str]) -> None:
    """Measure the configuration of `gan-train ARGUMENTS`, and print or write the result.

    Raises:
        UserError: a contestant or a number of processes is invalid.
    """
    from gan_cli.commands import train

    if unknown := set(bench.against) - set(CONTESTANTS):
        raise UserError(
            f"bench.against: no such contestant as {unknown.pop()}; they are "
            f"{', '.join(CONTESTANTS)}."
        )
    if bad := [count for count in bench.processes if not count.isdecimal() or not int(count)]:
        raise UserError(f"bench.processes: {bad[0]} is no number of processes.")

    config = train.composed(arguments)
    result = {"command": " ".join(arguments), **machine(), **measured(config, bench)}
    if bench.memory:
        result["memory_mib"] = _memory(config)
    if bench.start:
        result["start_seconds"] = _start(arguments)
    if bench.processes:
        counts = [int(count) for count in bench.processes]
        result["scaling"] = _scaling(config, counts, result["round_ms"])

    print(table(result), file=sys.stderr)
    if bench.output:
        write_json(Path(bench.output), result)
    else:
        print(json.dumps(result, indent=1))


def machine() -> dict[str, Any]:
    """Description of the hardware and the version of torch."""
    import torch

    from gan_cli.devices.process import cores

    known = Path("/proc/cpuinfo")
    text = known.read_text(encoding="utf-8") if known.is_file() else ""
    named = re.search(r"model name\s*:\s*(.+)", text)

    result = {
        "cpu": named[1] if named else platform.processor(),
        "cores": cores(),
        "torch": torch.__version__,
    }
    return result | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def measured(config: Mapping[str, Any], bench: BenchConfig) -> dict[str, Any]:
    """Measurements in this process: comparison with other loops, parts of a turn, lower bounds."""
    import torch

    from gan_cli.benchmarks import speed
    from gan_cli.devices.hardware import choose_device
    from gan_cli.training import build

    if config["hardware"]["threads"]:
        torch.set_num_threads(config["hardware"]["threads"])
    device = choose_device(config["hardware"])
    dataset = build.build_dataset(config, device)
    trainer = build.build_trainer(config, dataset, device)

    with ExitStack() as stack:
        precision = trainer.hardware["precision"]
        players = {"gan-train": _with_settings(lambda rounds: _play(trainer, rounds), precision)}
        left_out = {}

        for name in _distinct(bench.against, trainer.hardware):
            try:
                play = _contestant(name, config, dataset, device, stack)
            except UserError as error:
                left_out[name] = str(error)
                continue
            own = "fp32" if name in ("naive", "fp32") else precision
            players[name] = _with_settings(play, own, memory_kept=name != "naive")

        race = speed.Race(players, device, bench.seconds).run(bench.heats)

    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    return {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "hardware": trainer.hardware,
        **_rates(race, trainer, config["batch_size"]),
        "left_out": left_out,
        "turn_ms": speed.Stopwatch(trainer, device).split(max(3, race.rounds("gan-train") // 2)),
        "floor": speed.floor(trainer, device, half),
    }


def _play(trainer: "Trainer", rounds: int) -> None:
    for _ in range(rounds):
        trainer.play_round()


def _with_settings(play: "Play", precision: str, memory_kept: bool = True) -> "Play":
    """Contestant that first applies its own precision and memory caching.

    The previous contestant may have changed both.
    """
    from gan_cli.devices.precision import set_tf32
    from gan_cli.devices.process import keep_memory

    def own(rounds: int) -> None:
        set_tf32(precision)
        keep_memory(memory_kept)
        play(rounds)

    return own


def _distinct(names: list[str], hardware: Mapping[str, Any]) -> list[str]:
    """Names of contestants that differ from the configuration itself."""
    same = {
        "fp32": hardware["precision"] == "fp32",
        "eager": not (hardware["compile"] or hardware["cuda_graph"]),
    }
    return [name for name in names if not same.get(name)]


def _contestant(
    name: str,
    config: Mapping[str, Any],
    dataset: "Dataset",
    device: "torch.device",
    stack: ExitStack,
) -> "Play":
    """Contestant with a name.

    Args:
        stack: stack that closes the resources of the contestant.

    Raises:
        UserError: there is no hand-written loop for the game of the configuration.
    """
    from gan_cli.training import build

    if name in ("bare", "naive"):
        return _loop(name, config, dataset, device).play

    hardware = config["hardware"]
    if name == "fp32":
        hardware = {**hardware, "precision": "fp32"}
    if name == "eager":
        hardware = {**hardware, "compile": False, "cuda_graph": False}

    other = build.build_trainer({**config, "hardware": hardware}, dataset, device)
    if name == "hooks":
        return stack.enter_context(_hooked(other, config, dataset))
    return lambda rounds: _play(other, rounds)


def _loop(
    name: str, config: Mapping[str, Any], dataset: "Dataset", device: "torch.device"
) -> "Loop":
    """Hand-written loop with its own networks; the naive loop computes in float32."""
    from gan_cli.benchmarks import loops
    from gan_cli.training import build

    hardware = {**config["hardware"], "compile": False, "cuda_graph": False}
    if name == "naive":
        hardware["precision"] = "fp32"
    trainer = build.build_trainer({**config, "hardware": hardware}, dataset, device)
    game = trainer.game.requires_grad_(True)
    return {"bare": loops.Bare, "naive": loops.Naive}[name](game, config, dataset, device)


LOG_ONLY = {"log_every": 100, "sample_every": 0, "evaluate_every": 0, "checkpoint_every": 0}


@contextmanager
def _hooked(trainer: "Trainer", config: Mapping[str, Any], dataset: "Dataset") -> Iterator["Play"]:
    """Trainer with the hooks of a run that only logs every 100 rounds."""
    from gan_cli.runs.standard_hooks import hooks_of

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoints").mkdir()
        hooks = hooks_of({**config, **LOG_ONLY}, Path(folder), trainer, dataset, "")
        trainer.nan_check_every = [LOG_ONLY["log_every"]]
        for hook in hooks:
            hook.start(trainer)

        def play(rounds: int) -> None:
            began = time.monotonic() - trainer.seconds
            for _ in range(rounds):
                trainer.play_round()
                trainer.after_round(began, hooks)

        yield play

        for hook in reversed(hooks):
            hook.close()


def _rates(race: "Race", trainer: "Trainer", batch_size: int) -> dict[str, Any]:
    """Rounds and images per second, and ratios to the other contestants in the same heat."""
    seconds = race.seconds_a_round("gan-train")
    turns = len(trainer.game.turns(trainer.step))
    others = [name for name in race.times if name != "gan-train"]
    loops = [name for name in others if name not in ("bare", "hooks")]

    return {
        "rounds_per_second": 1 / seconds,
        "images_per_second": batch_size * turns / seconds,
        "round_ms": {name: 1000 * race.seconds_a_round(name) for name in race.times},
        "overhead": {name: race.ratio("gan-train", name) for name in others if name == "bare"},
        "gain": {name: race.ratio(name, "gan-train") for name in loops},
        "hooks": {name: race.ratio(name, "gan-train") for name in others if name == "hooks"},
    }


# --- new processes --------------------------------------------------------------------------------


def _memory(config: Mapping[str, Any]) -> dict[str, float]:
    """Peak memory in MiB of a run, and of a process with only the bare loop."""
    from gan_cli.benchmarks import speed

    peaks = {"run": speed.peak_memory(_whole_run, config)}
    try:
        peaks["bare"] = speed.peak_memory(_bare_run, config)
    except UserError:
        return peaks
    return peaks | {"ratio": peaks["run"] / peaks["bare"]}


MEMORY_ROUNDS = 12  # rounds in a measurement of memory


def _whole_run(config: dict[str, Any]) -> None:
    """Short run with records, pictures and checkpoints, but without scores."""
    from gan_cli.runs import job

    often = {
        "log_every": 5,
        "sample_every": 5,
        "evaluate_every": 0,
        "checkpoint_every": 5,
        "figures": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        job.run({**config, **often, "steps": MEMORY_ROUNDS, "minutes": None}, Path(folder), [], {})


def _bare_run(config: dict[str, Any]) -> None:
    """The same number of rounds in the bare loop."""
    from gan_cli.devices.hardware import choose_device
    from gan_cli.training.build import build_dataset

    device = choose_device(config["hardware"])
    dataset = build_dataset(config, device)
    _loop("bare", config, dataset, device).play(MEMORY_ROUNDS)


def _start(arguments: list[str]) -> float:
    """Duration in seconds of a command that trains for one round, the minimum of three."""
    code = "from gan_cli.main import train; train()"
    quiet = [
        "steps=1",
        "minutes=null",
        "log_every=0",
        "sample_every=0",
        "evaluate_every=0",
        "checkpoint_every=0",
    ]

    seconds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", code, *arguments, *quiet, f"hydra.run.dir={folder}"]
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
    return min(seconds)


def _scaling(
    config: Mapping[str, Any], counts: list[int], round_ms: Mapping[str, float]
) -> dict[str, Any]:
    """Milliseconds per round by number of processes with one thread each.

    For strong scaling the total batch size is constant, for weak scaling that of each process.
    """
    rounds = max(5, round(2000 / round_ms["gan-train"]))
    times_ms: dict[str, Any] = {"strong": {}, "weak": {}}
    for count in counts:
        hardware = {**config["hardware"], "devices": count, "shards": count, "threads": 1}
        for kind, times in (("strong", 1), ("weak", count)):
            changed = {**config, "hardware": hardware, "batch_size": times * config["batch_size"]}
            times_ms[kind][str(count)] = 1000 * _in_processes(changed, rounds)
    return times_ms


def _in_processes(config: Mapping[str, Any], rounds: int) -> float:
    """Seconds per round in `hardware.devices` new processes."""
    if config["hardware"]["devices"] == 1:
        from gan_cli.benchmarks import speed

        return speed.alone(_seconds_a_round, config, rounds)

    from gan_cli.devices import launch

    logs = {"version": 1, "disable_existing_loggers": False}
    return launch.run(_seconds_a_round, (config, rounds), "bench", config["hardware"], logs)


def _seconds_a_round(config: Mapping[str, Any], rounds: int) -> float:
    """Seconds per round in one of several synchronised processes, the minimum of three."""
    import torch

    from gan_cli.benchmarks import speed
    from gan_cli.devices import processes
    from gan_cli.devices.hardware import choose_device
    from gan_cli.training import build

    torch.set_num_threads(config["hardware"]["threads"])
    world = processes.join()
    device = choose_device(config["hardware"], world.local_rank)
    trainer = build.build_trainer(config, build.build_dataset(config, device), device, world)
    _play(trainer, 3)

    best = float("inf")
    for _ in range(3):
        world.barrier()
        speed.synchronise(device)
        began = time.perf_counter()
        _play(trainer, rounds)
        speed.synchronise(device)
        world.barrier()
        best = min(best, (time.perf_counter() - began) / rounds)

    processes.leave()
    return best


# --- the table ------------------------------------------------------------------------------------


def table(result: Mapping[str, Any]) -> str:
    """Human-readable table of the result."""
    on_gpu = result["device"].startswith("cuda")
    where = result.get("gpu") if on_gpu else f"{result['cpu']}, {result['threads']} threads"
    speed = (
        f"{result['rounds_per_second']:.4g} rounds/s, {result['images_per_second']:.4g} images/s"
    )

    lines = [
        f"{result['command']} ({where}, {result['hardware']['precision']})",
        f"  {speed}",
        *_ratios(result),
        *_turns(result),
        f"  {_floor(result)}",
        *_new_processes(result),
    ]
    return "\n".join(lines)


def _ratios(result: Mapping[str, Any]) -> Iterator[str]:
    """Lines on the other contestants and on those that were left out."""
    for title, kind in (("time over", "overhead"), ("gain over", "gain"), ("time with", "hooks")):
        for name, ratio in result[kind].items():
            yield f"  {title} {name:<8}{_spread(ratio)}"
    for name, reason in result["left_out"].items():
        yield f"  no {name}: {reason}"


def _turns(result: Mapping[str, Any]) -> Iterator[str]:
    """Lines on the parts of the turns of each player."""
    parts = list(next(iter(result["turn_ms"].values())))
    yield "  ms a turn         " + "".join(f"{part:>11}" for part in parts)
    for player, spent in result["turn_ms"].items():
        yield f"  {player:<18}" + "".join(f"{spent[part]:>11.3f}" for part in parts)


def _floor(result: Mapping[str, Any]) -> str:
    """Line on the lower bounds of the duration of a round."""
    floor, round_ms = result["floor"], result["round_ms"]["gan-train"]
    return (
        f"a round takes {round_ms:.4g} ms; its {floor['gigaflop']:.3g} GFLOP need "
        f"{floor['arithmetic_ms']:.3g} ms at the matrix rate "
        f"({100 * floor['arithmetic_ms'] / round_ms:.0f} %), its {floor['gigabytes']:.3g} GB "
        f"{floor['traffic_ms']:.3g} ms at the bandwidth of a copy"
    )


def _new_processes(result: Mapping[str, Any]) -> Iterator[str]:
    """Lines on memory, start and scaling, if measured."""
    if memory := result.get("memory_mib"):
        yield "  MiB at most: " + ", ".join(f"{name} {mib:.4g}" for name, mib in memory.items())
    if "start_seconds" in result:
        seconds = f"{result['start_seconds']:.2f} s"
        yield f"  a run of one round takes {seconds} from the command to the end"
    for kind, times_ms in result.get("scaling", {}).items():
        shown = ", ".join(f"{count} processes {ms:.4g}" for count, ms in times_ms.items())
        yield f"  {kind} scaling, ms a round: {shown}"


def _spread(ratio: Mapping[str, float]) -> str:
    return f"x {ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['most']:.3f})"
