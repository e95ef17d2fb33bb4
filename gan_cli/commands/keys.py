"""Commands with arguments `key=value`, where the keys are the fields of a dataclass."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from gan_cli.errors import UserError, closest
from gan_cli.synonyms import bare

HELP = frozenset({"-h", "--help"})
LIMIT = 2**63  # bound of the integers of torch and of file formats


@dataclass(frozen=True)
class Command:
    """Definition of a command.

    Args:
        module: module whose `run(config, *rest)` implements the command; it is imported on demand.
        schema: name of the dataclass of keys in that module.
        usage: start of the help page; `USAGE` of the module if empty.
        notes: end of the help page.
        prefix: common prefix of all keys.
        optional: whether the command runs without arguments; otherwise it prints its help page.
        places_checkpoint: whether `PATH` is short for `checkpoint=PATH`.
        is_other: predicate of an argument and the names of the keys, which selects additional
            arguments; these are passed on in a list.
        other: type of the members of that list.
    """

    module: str
    schema: str
    usage: str = ""
    notes: str = ""
    prefix: str = ""
    optional: bool = False
    places_checkpoint: bool = False
    is_other: Callable[[str, Sequence[str]], bool] | None = None
    other: Callable[[str], Any] = str


def key(help: str, default: Any = None) -> Any:
    """Field of a command's configuration with its line of help."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


def run(command: Command, arguments: list[str]) -> None:
    """Parse the arguments and run the command, or print its help page.

    Raises:
        UserError: an argument is invalid.
    """
    module = import_module(command.module)
    schema: type = getattr(module, command.schema)
    if command.places_checkpoint:
        arguments = with_checkpoint(arguments, schema)

    others, own = _split(command, arguments, names_of(schema))
    if not (arguments or command.optional) or _asks_for_help(own, schema):
        print(help_page(command.usage or module.USAGE, schema, command.prefix, command.notes))
        return

    passed_on = [[command.other(item) for item in others]] if command.is_other else []
    module.run(parse(schema, own), *passed_on)


def _split(command: Command, arguments: list[str], names: list[str]) -> tuple[list[str], list[str]]:
    """Additional arguments of a command, and those for its own keys without their prefix."""
    is_other = command.is_other or (lambda item, names: False)
    others = [item for item in arguments if item not in HELP and is_other(item, names)]
    own = [item.removeprefix(command.prefix) for item in arguments if item not in others]
    return others, own


def names_of(schema: type) -> list[str]:
    """Keys of a command, without their prefix."""
    return [item.name for item in fields(schema)]


# --- additional arguments -------------------------------------------------------------------------


def sets_data(argument: str, names: Sequence[str]) -> bool:
    """Whether an argument is `data.KEY=VALUE`."""
    return argument.startswith("data.") and "=" in argument


def sets_data_or_input(argument: str, names: Sequence[str]) -> bool:
    """Whether an argument is `data.KEY=VALUE` or `input.FIELD=VALUE`."""
    return sets_data(argument, names) or (argument.startswith("input.") and "=" in argument)


def sets_part(argument: str, names: Sequence[str]) -> bool:
    """Whether an argument is `PART.KEY=VALUE`."""
    key, equals, _ = argument.partition("=")
    return bool(equals) and "." in key


def is_of_training(argument: str, names: Sequence[str], prefix: str) -> bool:
    """Whether an argument belongs to `gan-train`: it does not start with the command's prefix."""
    return not argument.startswith(prefix)


def is_place(argument: str, names: Sequence[str]) -> bool:
    """Whether an argument is a path, such as the folder `optimizer.lr=0.01+seed=2` of a cell."""
    key, equals, _ = argument.partition("=")
    if key in names or key.startswith("-"):
        return False
    return not equals or "/" in key or Path(argument).exists()


def with_checkpoint(arguments: list[str], schema: type) -> list[str]:
    """Arguments with `RUN` replaced by `checkpoint=RUN`.

    Raises:
        UserError: there are several checkpoints.
    """
    names = names_of(schema)
    places = [item for item in arguments if is_place(item, names)]
    named = [*places, *(item for item in arguments if item.startswith("checkpoint="))]
    if places and len(named) > 1:
        raise UserError(
            f"{' '.join(named)}: expected one checkpoint; name the others in commands of their own."
        )
    return [f"checkpoint={item}" if item in places else item for item in arguments]


# --- help -----------------------------------------------------------------------------------------


def _asks_for_help(arguments: list[str], schema: type) -> bool:
    """Whether the arguments contain a help flag.

    Raises:
        UserError: there is an invalid argument beside it.
    """
    if not HELP & set(arguments):
        return False
    for argument in arguments:
        if argument not in HELP:
            _check_key(argument, names_of(schema))
    return True


def help_page(usage: str, schema: type, prefix: str = "", notes: str = "") -> str:
    """Help page with the description and the default of each key of a command."""
    lines = [usage, ""]
    for item in fields(schema):
        default = getattr(item.default, "value", item.default)
        shown = "" if default in ("???", None, MISSING) else f" [{default}]"
        lines.append(f"  {prefix + item.name:<{12 + len(prefix)}}{item.metadata['help']}{shown}")
    return "\n".join([*lines, *(["", notes] if notes else [])])


# --- parsing --------------------------------------------------------------------------------------


def parse(schema: type, arguments: list[str]) -> Any:
    """Instance of the dataclass from arguments `key=value`.

    Raises:
        UserError: a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    names, config = names_of(schema), OmegaConf.structured(schema)
    for argument in arguments:
        _check_key(argument, names)
        key, _, value = argument.partition("=")
        try:
            config[key] = _value(value)
        except (OmegaConfBaseException, ValueError) as error:
            from gan_cli.commands.mistakes import first_line

            raise UserError(f"{argument}: {first_line(error)}.") from None

    for item in fields(schema):
        if item.default == "???" and OmegaConf.is_missing(config, item.name):
            raise UserError(f"{item.name}: missing; add {item.name}=...")
        _check_range(item.name, config[item.name], item.metadata.get("least"))
    return OmegaConf.to_object(config)


def _check_key(argument: str, names: list[str]) -> None:
    """Raise UserError unless the argument is `key=value` with one of these keys."""
    key, equals, _ = argument.partition("=")
    if not equals or key not in names:
        hint = f" (did you mean {bare(key)}?)" if bare(key) in names else closest(bare(key), names)
        raise UserError(f"{argument}: expected key=value{hint}; the keys are {', '.join(names)}.")


def _value(text: str) -> str | list[str] | None:
    """Value of a text: None for `null`, a list for `[a, b]`, otherwise the text itself."""
    if text.startswith("[") and text.endswith("]"):
        return [item.strip() for item in text[1:-1].split(",") if item.strip()]
    return None if text == "null" else text


def _check_range(name: str, value: Any, least: float | None) -> None:
    """Raise UserError for a number out of range, if the key has a minimum `least`."""
    if least is not None and value is not None and not least <= value < LIMIT:
        raise UserError(f"{name}={value}: must be at least {least}, and below 2**63.")
