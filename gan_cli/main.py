"""The wrapper of every command: our `--help`, mistakes as one sentence, exit codes."""

import os
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from gan_cli import mistakes
from gan_cli.errors import UserError, closest, on_one_line


def train() -> None:
    """`gan-train`."""
    _run("gan-train", _train, sys.argv[1:])


def sample() -> None:
    """`gan-sample`."""
    _run("gan-sample", _sample, sys.argv[1:])


def evaluate() -> None:
    """`gan-evaluate`."""
    _run("gan-evaluate", _evaluate, sys.argv[1:])


def bench() -> None:
    """`gan-bench`."""
    _run("gan-bench", _bench, sys.argv[1:])


def explore() -> None:
    """`gan-explore`."""
    _run("gan-explore", _explore, sys.argv[1:])


def export() -> None:
    """`gan-export`."""
    _run("gan-export", _export, sys.argv[1:])


def zoo() -> None:
    """`gan-list`."""
    _run("gan-list", _zoo, sys.argv[1:])


def compare() -> None:
    """`gan-compare`."""
    _run("gan-compare", _compare, sys.argv[1:])


def _run(name: str, command: Callable[[list[str]], None], arguments: list[str]) -> None:
    """Run a command; a user's mistake ends in one sentence and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting
    try:
        command(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # gan-train --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        sentence = mistakes.explain(error, arguments)
        if sentence is None:
            raise
        print(f"{name}: {on_one_line(sentence)}", file=sys.stderr)
        sys.exit(2)


def _train(arguments: list[str]) -> None:
    if {"-h", "--help"} & set(arguments):
        from gan_cli import help

        print(help.page(arguments))
        return
    from gan_cli import commandline, dry_run, multirun, train

    typed = commandline.flags_last(commandline.overrides(arguments))
    if dry_run.asked(arguments):
        dry_run.run(arguments)
        return
    with multirun.sweep(typed, commandline.OUTPUTS / "sweeps", train.hydra_node) as complete:
        sys.argv[1:] = complete
        train.main([flag for flag in typed if flag.partition("=")[0] in commandline.SHOWING])


def _sample(arguments: list[str]) -> None:
    from gan_cli import sample

    if {"-h", "--help"} & set(arguments) or not arguments:
        print(_keys_help("gan-sample checkpoint=FILE [key=value ...]", sample.SampleConfig))
        return
    sample.run(parse(sample.SampleConfig, arguments))


def _evaluate(arguments: list[str]) -> None:
    from gan_cli import evaluate

    if {"-h", "--help"} & set(arguments) or not arguments:
        print(_keys_help(evaluate.USAGE, evaluate.EvaluateConfig))
        return
    dotted = [argument for argument in arguments if "." in argument.partition("=")[0] and "=" in argument]
    rest = [argument for argument in arguments if argument not in dotted]
    evaluate.run(parse(evaluate.EvaluateConfig, rest), dotted)


def _bench(arguments: list[str]) -> None:
    from gan_cli import bench

    if {"-h", "--help"} & set(arguments):
        print(_keys_help("gan-bench [bench.KEY=VALUE ...] [key=value of gan-train ...]", bench.BenchConfig, "bench."))
        return
    own = [argument.removeprefix("bench.") for argument in arguments if argument.startswith("bench.")]
    bench.run(parse(bench.BenchConfig, own), [item for item in arguments if not item.startswith("bench.")])


def _explore(arguments: list[str]) -> None:
    from gan_cli import explore

    if {"-h", "--help"} & set(arguments) or not arguments:
        print(_keys_help("gan-explore checkpoint=FILE|RUN [key=value ...]", explore.ExploreConfig))
        return
    explore.run(parse(explore.ExploreConfig, arguments))


def _export(arguments: list[str]) -> None:
    from gan_cli import export

    if {"-h", "--help"} & set(arguments) or not arguments:
        print(_keys_help("gan-export checkpoint=FILE|RUN output=generator.pt2 [key=value ...]", export.ExportConfig))
        return
    export.run(parse(export.ExportConfig, arguments))


def _zoo(arguments: list[str]) -> None:
    from gan_cli import zoo

    if {"-h", "--help"} & set(arguments):
        print(_keys_help("gan-list [format=table|markdown|json]", zoo.ListConfig))
        return
    zoo.run(parse(zoo.ListConfig, arguments))


def _compare(arguments: list[str]) -> None:
    from gan_cli import compare

    if {"-h", "--help"} & set(arguments) or not arguments:
        print(_keys_help("gan-compare RUNS... [key=value ...]", compare.CompareConfig))
        print("\nRUNS are folders of runs, or folders with runs in them, such as outputs/sweeps/2026-01-01_12-00-00.")
        return
    keys = [item.name for item in fields(compare.CompareConfig)]
    places = [item for item in arguments if _is_place(item, keys)]
    compare.run(
        parse(compare.CompareConfig, [item for item in arguments if item not in places]),
        [Path(item) for item in places],
    )


def _is_place(argument: str, keys: list[str]) -> bool:
    """Whether an argument names a folder. (Those of a sweep are called `optimizer.lr=0.01+seed=2`.)"""
    key, equals, _ = argument.partition("=")
    return key not in keys and (not equals or "/" in key or Path(argument).exists())


def parse(schema: type, arguments: list[str]) -> Any:
    """`key=value` arguments as an instance of a dataclass; values after the first `=` are taken as they are."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    known = [item.name for item in fields(schema)]
    config = OmegaConf.structured(schema)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in known:
            raise UserError(f"{argument}: expected key=value{closest(key, known)}; the keys are {', '.join(known)}.")
        try:
            config[key] = _value(value)
        except OmegaConfBaseException as error:
            raise UserError(f"{argument}: {mistakes.first_line(error)}.") from None
    for item in fields(schema):
        least = item.metadata.get("least")
        if item.default == "???" and OmegaConf.is_missing(config, item.name):
            raise UserError(f"{item.name}: missing; add {item.name}=...")
        value = config[item.name]
        if least is not None and value is not None and value < least:
            raise UserError(f"{item.name}={value}: must be at least {least}.")
    return OmegaConf.to_object(config)


def _value(text: str) -> Any:
    """The value right of `=`: null, a [list, of, words], or the text as it is, whatever characters a path has."""
    if text.startswith("[") and text.endswith("]"):
        return [item.strip() for item in text[1:-1].split(",") if item.strip()]
    return None if text == "null" else text


def _keys_help(usage: str, schema: type, prefix: str = "") -> str:
    lines = [usage, ""]
    for item in fields(schema):
        default = getattr(item.default, "value", item.default)
        shown = "" if default in ("???", None, MISSING) else f" [{default}]"
        lines.append(f"  {prefix + item.name:<{12 + len(prefix)}}{item.metadata['help']}{shown}")
    return "\n".join(lines)
