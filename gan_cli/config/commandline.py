"""Preprocessing of the arguments of `gan-train` for Hydra: options without `+`, order of flags."""

import re
from itertools import pairwise
from pathlib import Path

from gan_cli.config.options import options
from gan_cli.config.schema import GROUPS
from gan_cli.config.unknown import PATHS, unknown_flag
from gan_cli.errors import UserError

OUTPUTS = Path("outputs")
GROUP = "|".join(GROUPS)
# keys whose values are lists of names in the user's data
NAMES = ("data.columns", "data.missing")
# keys whose values may be special characters of Hydra's grammar
SIGNS = ("data.separator", "data.decimal")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
FLAGS: dict[str, tuple[str, ...]] = {
    "--multirun": (), "--run": (), "--resolve": (), "--hydra-help": (), "--shell-completion": (),
    "--cfg": ("job", "hydra", "all"), "--info": ("", *INFO), "--package": ("PART",),
    "--config-dir": ("FOLDER",),
    "--config-name": ("NAME",), "--config-path": ("FOLDER",),
}  # fmt: skip
"""Hydra's flags and their allowed values: an empty string means none, capitals mean any value."""
SHORT = {
    "-m": "--multirun", "-r": "--run", "-sc": "--shell-completion", "-c": "--cfg", "-i": "--info",
    "-p": "--package",
    "-cd": "--config-dir", "-cn": "--config-name", "-cp": "--config-path",
}  # fmt: skip
SHOWING = {"--cfg", "-c", "--info", "-i", "--hydra-help", "--version", "--shell-completion"}
"""Flags that only show something."""
SHELL = re.compile(r"\+?(install|uninstall|query)=(bash|fish|zsh)")
DIGITS, BRACKETS = 400, 50  # maximum numbers of digits and of brackets in a value


def overrides(arguments: list[str]) -> list[str]:
    """Arguments with the prefix `++` for options of components and for ramps, which are validated
    later.

    Raises:
        UserError: an argument is not `key=value`, changes only the name of a component, or selects
            an invalid option of a group.
    """
    for argument in arguments:
        _refuse_unreadable(argument)
        if match := re.match(rf"({GROUP})\.name=(.*)", argument):
            raise UserError(
                f"{argument}: would leave the options of another component behind; take "
                f"{match[1]}={match[2]}."
            )

        if re.match(r"[+~]*([=@]|$)|[^=]*@", argument) and not argument.startswith("-"):
            raise UserError(f"{argument}: expected key=value, or group=option.")
        if match := re.fullmatch(rf"\+*({GROUP}|hardware|experiment)=(.*)", argument, re.DOTALL):
            _check_option(argument, *match.groups())

    return [
        _quoted(f"++{item}" if re.match(rf"(({GROUP}|ramps)\.[\w.]+|ramps)=", item) else item)
        for item in arguments
    ]


def _refuse_unreadable(argument: str) -> None:
    """Raise UserError for huge numbers and deep nesting, which Hydra's parser cannot handle."""
    key = argument.partition("=")[0]
    if run := re.search(rf"\d{{{DIGITS},}}", argument):
        raise UserError(
            f"{key}={run[0][:10]}...: a number of {len(run[0])} digits; no key takes so large a "
            "one."
        )
    if max(map(argument.count, "[{(")) > BRACKETS:
        raise UserError(
            f"{key}: more than {BRACKETS} brackets open in its value; no key takes that."
        )


def _check_option(argument: str, group: str, value: str) -> None:
    """Raise UserError for a value that is not the name of one option of a group."""
    literal = value.lower() in ("true", "false", "null", "nan", "inf")
    names = value.strip("[]").replace(" ", "")
    if re.fullmatch(r"\[[\w, ]+\]", value) and set(names.split(",")) <= set(options(group)):
        raise UserError(
            f"{argument}: takes one option; several are a sweep: gan-train -m {group}={names}."
        )
    if literal or not re.match(r"[A-Za-z_'\"$]", value):
        raise UserError(f"{argument}: needs an option; they are {', '.join(options(group))}.")


def _quoted(argument: str) -> str:
    """Argument with quotes around paths and names that Hydra's grammar does not accept."""
    key, _, value = argument.partition("=")
    name, quoted = key.lstrip("+"), bool(set("'\"") & set(value))

    if name in NAMES and value.startswith("[") and value.endswith("]") and not quoted:
        return f"{key}=[{','.join(_quoted_value(item.strip()) for item in value[1:-1].split(','))}]"
    if name in SIGNS and len(value) == 1 and not quoted:
        return f"{key}='{value}'"
    if name in PATHS and "," not in value and not quoted:
        return f"{key}={_quoted_value(value)}"
    return argument


def _quoted_value(value: str) -> str:
    """Value in quotes, unless Hydra's grammar accepts it without."""
    plain = re.fullmatch(r"[\w./:+%@?|$\\-]*", value, re.ASCII) and not value.isdecimal()
    return value if plain else f"'{value}'"


def flags_apart(arguments: list[str]) -> list[str]:
    """Arguments with `--flag=value` split in two, and with long names of flags."""
    pairs = [item.split("=", 1) if item.startswith("-") else [item] for item in arguments]
    return [SHORT.get(part, part) for pair in pairs for part in pair]


def folders(arguments: list[str]) -> list[Path]:
    """Folders of options from `--config-dir` and `hydra.searchpath`."""
    apart = flags_apart(arguments)
    named = [Path(value) for flag, value in pairwise(apart) if flag == "--config-dir"]

    typed = [item.partition("=")[2] for item in apart if item.startswith("hydra.searchpath=")]
    listed = [part.strip(" '\"") for item in typed for part in item.strip("[]").split(",")]
    return [
        *named[-1:],
        *(Path(part.removeprefix("file://")) for part in listed if part and "pkg://" not in part),
    ]


def with_search_path(arguments: list[str]) -> list[str]:
    """Arguments with `--config-dir FOLDER` replaced by an override of `hydra.searchpath`.

    `hydra.compose` does not accept flags.

    Raises:
        UserError: there is any other flag.
    """
    arguments = flags_apart(arguments)
    typed = [item for item in arguments if "=" in item]
    flags = [item for item in arguments if "=" not in item]
    if not flags:
        return typed

    if flags[0].startswith("-") and flags[0] not in FLAGS:
        raise UserError(unknown_flag(flags[0], ["--config-dir"]))
    if len(flags) != 2 or flags[0] != "--config-dir":
        raise UserError(f"{' '.join(flags)}: expected key=value, or --config-dir FOLDER.")
    return [*typed, f"hydra.searchpath=[{_quoted_value(f'file://{Path(flags[1]).resolve()}')}]"]


def constant(arguments: list[str]) -> list[str]:
    """Arguments shared by all cells of a sweep, without `--multirun`."""
    # a top-level import would double the duration of --help
    from hydra.core.override_parser.overrides_parser import OverridesParser

    apart = flags_apart(arguments)
    typed = [item for item in apart if "=" in item]
    parsed = OverridesParser.create().parse_overrides(overrides(typed))
    pairs = zip(typed, parsed, strict=True)
    shared = [text for text, item in pairs if not item.is_sweep_override()]
    return [*shared, *(item for item in apart if "=" not in item and item != "--multirun")]


def flags_last(arguments: list[str]) -> list[str]:
    """Arguments with overrides first, followed by Hydra's flags with their long names.

    Raises:
        UserError: a flag is unknown, lacks its value or is incompatible with another argument.
    """
    typed, flags = apart(arguments)
    _check_combination(typed, flags)
    return [*typed, *flags]


def apart(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Overrides and other words; flags with their values.

    Raises:
        UserError: a flag is unknown, or its value is invalid or missing.
    """
    typed, flags = [], []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-"):
            typed.append(argument)
            continue

        name, equals, value = argument.partition("=")
        name = SHORT.get(name, name)
        if name not in FLAGS:
            raise UserError(unknown_flag(argument, [*FLAGS, "--version", "--help"]))

        if FLAGS[name] and not equals and rest and not re.search("=|^-", rest[0]):
            value = rest.pop(0)
        _check_flag(name, value, FLAGS[name])
        flags += [name, *([value] if value else [])]
    return typed, flags


def _check_flag(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise UserError for a flag with an invalid value or without a required one."""
    if not allowed and value:
        raise UserError(f"{name}={value}: takes no value; type {name} alone.")

    free = any(word.isupper() for word in allowed)
    if allowed and (not value if free else value not in allowed):
        wanted = allowed[0] if free else f"one of {', '.join(filter(None, allowed))}"
        raise UserError(f"{name}{f' {value}' if value else ''}: must be followed by {wanted}.")


def _check_combination(typed: list[str], flags: list[str]) -> None:
    """Raise UserError for incompatible flags, and for flags that lack another argument."""
    named = [flag for flag in flags if flag in FLAGS]
    modes = [flag for flag in named if flag in SHOWING | {"--multirun", "--run"}]
    if len(modes) > 1:
        raise UserError(f"{' '.join(modes)}: these do not go together; take one of them.")

    for flag in ("--resolve", "--package"):
        if flag in named and "--cfg" not in named:
            raise UserError(
                f"{flag}: says how --cfg shows the configuration; add --cfg job, or leave it out."
            )

    if "--hydra-help" in named and typed:
        raise UserError(f"{typed[0]}: --hydra-help stands alone; leave it out.")
    if "--shell-completion" in named and not any(SHELL.fullmatch(item) for item in typed):
        raise UserError(
            "--shell-completion: needs install=SHELL or uninstall=SHELL, where SHELL is bash, "
            "fish or zsh."
        )
