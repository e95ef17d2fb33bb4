"""The wrapper of every command: our `--help`, mistakes as one sentence, exit codes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from dataclasses import MISSING, fields
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

from gan_cli.commands import mistakes
from gan_cli.errors import UserError, closest, on_one_line, shortened
from gan_cli.synonyms import bare


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
    _open_streams()
    try:
        if "--version" in arguments:
            _tell_version(arguments)
        else:
            command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # gan-train --help | head
        _mute()
        sys.exit(141)
    except Exception as error:
        sentence = mistakes.explain(error, arguments)
        if sentence is None:
            raise
        with suppress(OSError):  # there is nobody to tell
            print(f"{name}: {shortened(on_one_line(sentence))}", file=sys.stderr)
        sys.exit(2)


def _open_streams() -> None:
    """Let what was closed before the program began go nowhere, and what a terminal cannot show be
    shown as its code."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(  # noqa: SIM115 - it stays open
                "w" if number else "r", encoding="utf-8"
            )
            if not _is_open(number):  # else the first file that is opened would be taken for it
                os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):
            output.reconfigure(errors="backslashreplace")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _mute() -> None:
    """Nobody reads any more: what is still to be written goes nowhere, at the interpreter's end
    too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


def _refuse_unreadable(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{argument}: is not UTF-8; give the file or folder another name."
            ) from None


def _tell_version(arguments: list[str]) -> None:
    from gan_cli import __version__

    if rest := [argument for argument in arguments if argument != "--version"]:
        raise UserError(f"{rest[0]}: --version stands alone; leave out the rest.")
    print(f"gan-cli {__version__}")


HELP = {"-h", "--help"}
LARGEST = 2**63  # what neither torch nor a file can hold as a whole number


def _train(arguments: list[str]) -> None:
    from gan_cli.config import commandline
    from gan_cli.config import own_options as own
    from gan_cli.config.options import configs
    from gan_cli.config.schema import GROUPS

    _refuse_unreadable(arguments)
    own.look_in(commandline.folders(arguments))
    if HELP & set(arguments):
        from gan_cli.commands import help

        print(help.page(commandline.apart([item for item in arguments if item not in HELP])[0]))
        return
    from gan_cli.commands import dry_run, train
    from gan_cli.sweeps import multirun

    typed = commandline.flags_last(commandline.overrides(arguments))
    own.check(typed, configs(), GROUPS)
    if dry_run.requested(arguments):
        dry_run.run(arguments)
        return
    showing = [flag for flag in typed if flag in commandline.SHOWING]
    with multirun.sweep(typed, commandline.OUTPUTS / "sweeps", train.hydra_node) as complete:
        sys.argv[1:] = complete
        with _in_one_line(typed) if showing else nullcontext():
            train.main(showing)


@contextmanager
def _in_one_line(typed: list[str]) -> Iterator[None]:
    """What Hydra says on its way out, where it shows something, is the sentence."""
    told = StringIO()
    try:
        with redirect_stderr(told):
            yield
    except SystemExit as stop:
        lines = told.getvalue().strip().splitlines()
        if not stop.code or not lines:
            raise
        raise UserError(
            f"{' '.join(item for item in typed if '=' not in item)}: {lines[-1]}."
        ) from None
    sys.stderr.write(told.getvalue())


def _sample(arguments: list[str]) -> None:
    from gan_cli.commands import sample

    arguments = _with_checkpoint(arguments, sample.SampleConfig)
    changed = [
        argument for argument in arguments if argument.startswith("data.") and "=" in argument
    ]
    rest = [item for item in arguments if item not in changed]
    if not arguments or _asks_for_help(rest, sample.SampleConfig):
        print(_keys_help(SAMPLE_USAGE, sample.SampleConfig))
        return
    sample.run(parse(sample.SampleConfig, rest), changed)


SAMPLE_USAGE = """gan-sample FILE|RUN|latest [key=value ...]

data.KEY=VALUE says what has changed of the data, such as data.folder=FOLDER where they
have moved."""


def _evaluate(arguments: list[str]) -> None:
    from gan_cli.commands import evaluate

    arguments = _with_checkpoint(arguments, evaluate.EvaluateConfig)
    dotted = [
        argument for argument in arguments if "." in argument.partition("=")[0] and "=" in argument
    ]
    rest = [argument for argument in arguments if argument not in dotted]
    if not arguments or _asks_for_help(rest, evaluate.EvaluateConfig):
        print(_keys_help(evaluate.USAGE, evaluate.EvaluateConfig))
        return
    evaluate.run(parse(evaluate.EvaluateConfig, rest), dotted)


def _bench(arguments: list[str]) -> None:
    from gan_cli.commands import bench

    flags = [item for item in arguments if item in HELP]
    own = [
        argument.removeprefix("bench.") for argument in arguments if argument.startswith("bench.")
    ]
    if _asks_for_help([*own, *flags], bench.BenchConfig):
        print(
            _keys_help(
                "gan-bench [bench.KEY=VALUE ...] [key=value of gan-train ...]",
                bench.BenchConfig,
                "bench.",
            )
        )
        return
    bench.run(
        parse(bench.BenchConfig, own), [item for item in arguments if not item.startswith("bench.")]
    )


def _explore(arguments: list[str]) -> None:
    from gan_cli.commands import explore

    arguments = _with_checkpoint(arguments, explore.ExploreConfig)
    if not arguments or _asks_for_help(arguments, explore.ExploreConfig):
        print(_keys_help("gan-explore FILE|RUN|latest [key=value ...]", explore.ExploreConfig))
        return
    explore.run(parse(explore.ExploreConfig, arguments))


def _export(arguments: list[str]) -> None:
    from gan_cli.commands import export

    arguments = _with_checkpoint(arguments, export.ExportConfig)
    if not arguments or _asks_for_help(arguments, export.ExportConfig):
        print(
            _keys_help(
                "gan-export FILE|RUN|latest output=generator.pt2 [key=value ...]",
                export.ExportConfig,
            )
        )
        return
    export.run(parse(export.ExportConfig, arguments))


def _zoo(arguments: list[str]) -> None:
    from gan_cli.commands import zoo

    if _asks_for_help(arguments, zoo.ListConfig):
        print(_keys_help("gan-list [format=table|markdown|json]", zoo.ListConfig))
        return
    zoo.run(parse(zoo.ListConfig, arguments))


def _compare(arguments: list[str]) -> None:
    from gan_cli.commands import compare

    keys = [item.name for item in fields(compare.CompareConfig)]
    places = [item for item in arguments if _is_place(item, keys)]
    rest = [item for item in arguments if item not in places]
    if not arguments or _asks_for_help(rest, compare.CompareConfig):
        print(_keys_help("gan-compare RUNS... [key=value ...]", compare.CompareConfig))
        print(
            "\nRUNS are folders of runs, or folders with runs in them, such as "
            "outputs/sweeps/2026-01-01_12-00-00."
        )
        return
    compare.run(parse(compare.CompareConfig, rest), [Path(item) for item in places])


def _with_checkpoint(arguments: list[str], schema: type) -> list[str]:
    """`gan-sample RUN` as `gan-sample checkpoint=RUN`.

    Raises:
        UserError: a second checkpoint.
    """
    keys = [item.name for item in fields(schema)]
    places = [item for item in arguments if _is_place(item, keys)]
    named = [*places, *(item for item in arguments if item.startswith("checkpoint="))]
    if places and len(named) > 1:
        raise UserError(
            f"{' '.join(named)}: expected one checkpoint; name the others in commands of their own."
        )
    return [f"checkpoint={item}" if item in places else item for item in arguments]


def _is_place(argument: str, keys: list[str]) -> bool:
    """Whether an argument names a file or a folder. (Those of a sweep are called
    `optimizer.lr=0.01+seed=2`.)"""
    key, equals, _ = argument.partition("=")
    return (
        key not in keys
        and not key.startswith("-")
        and (not equals or "/" in key or Path(argument).exists())
    )


def _asks_for_help(arguments: list[str], schema: type) -> bool:
    """Whether the keys of a command are asked for. What is typed beside must be some of them."""
    asked = bool(HELP & set(arguments))
    for argument in arguments if asked else ():
        if argument not in HELP:
            _check_key(argument, [item.name for item in fields(schema)])
    return asked


def _check_key(argument: str, known: list[str]) -> None:
    key, equals, _ = argument.partition("=")
    if not equals or key not in known:
        hint = f" (did you mean {bare(key)}?)" if bare(key) in known else closest(bare(key), known)
        raise UserError(f"{argument}: expected key=value{hint}; the keys are {', '.join(known)}.")


def parse(schema: type, arguments: list[str]) -> Any:
    """`key=value` arguments as an instance of a dataclass; values after the first `=` are taken as
    they are."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    known = [item.name for item in fields(schema)]
    config = OmegaConf.structured(schema)
    for argument in arguments:
        _check_key(argument, known)
        key, _, value = argument.partition("=")
        try:
            config[key] = _value(value)
        except (OmegaConfBaseException, ValueError) as error:
            raise UserError(f"{argument}: {mistakes.first_line(error)}.") from None
    for item in fields(schema):
        least = item.metadata.get("least")
        if item.default == "???" and OmegaConf.is_missing(config, item.name):
            raise UserError(f"{item.name}: missing; add {item.name}=...")
        value = config[item.name]
        if least is not None and value is not None and not least <= value < LARGEST:
            raise UserError(f"{item.name}={value}: must be at least {least}, and below 2**63.")
    return OmegaConf.to_object(config)


def _value(text: str) -> Any:
    """The value right of `=`: null, a [list, of, words], or the text as it is, whatever characters
    a path has."""
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
