"""What is typed after `gan-train`, made ready for Hydra: options without `+`, flags in any order."""

import re
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from gan_cli.config import GROUPS, options
from gan_cli.errors import UserError, closest

OUTPUTS = Path("outputs")
GROUP = "|".join(GROUPS)
PATHS = ("init_from", "data.root", "data.folder", "data.file", "hydra.run.dir", "hydra.sweep.dir")
NAMES = ("data.columns", "data.missing")  # keys whose values are lists of names that other people chose
SIGNS = ("data.separator", "data.decimal")  # keys whose values may be a sign that means something to Hydra
FLAGS = {
    "--multirun": 0, "-m": 0, "--run": 0, "-r": 0, "--cfg": 1, "-c": 1, "--resolve": 0, "--package": 1, "-p": 1,
    "--config-dir": 1, "-cd": 1, "--config-name": 1, "-cn": 1, "--config-path": 1, "-cp": 1, "--info": "?", "-i": "?",
    "--hydra-help": 0, "--version": 0, "--shell-completion": 0, "-sc": 0, "--experimental-rerun": 1,
}  # fmt: skip
"""Hydra's flags, and how many values follow."""
SHOWING = {"--cfg", "-c", "--info", "-i", "--hydra-help", "--version"}
"""Flags that show something and run nothing."""


def overrides(arguments: list[str]) -> list[str]:
    """Let any option of a component be typed without `+`: the registries know every one and check them all.

    Raises:
        UserError: an argument that would leave half a component behind, or a group without a value.
    """
    for argument in arguments:
        if match := re.match(rf"({GROUP})\.name=(.*)", argument):
            raise UserError(
                f"{argument}: would leave the options of another component behind; take {match[1]}={match[2]}."
            )
        if re.match(r"[+~]*([=@]|$)|[^=]*@", argument) and not argument.startswith("-"):
            raise UserError(f"{argument}: expected key=value, or group=option.")
        if (match := re.fullmatch(rf"\+*({GROUP}|hardware)=(.*)", argument, re.DOTALL)) and not _is_name(match[2]):
            raise UserError(f"{argument}: needs an option; they are {', '.join(options(match[1]))}.")
    return [_quoted(f"++{item}" if re.match(rf"({GROUP})\.[\w.]+=", item) else item) for item in arguments]


def _is_name(value: str) -> bool:
    """Whether a value can be an option's name, or several for a sweep, and not what Hydra takes for something else."""
    return bool(re.match(r"[A-Za-z_'\"$]", value)) and value.lower() not in ("true", "false", "null", "nan", "inf")


def _quoted(argument: str) -> str:
    """A path with characters that Hydra's grammar does not take as they are, in quotes; other lists are left alone."""
    key, _, value = argument.partition("=")
    name = key.lstrip("+")
    if name in NAMES and value.startswith("[") and value.endswith("]") and not set("'\"") & set(value):
        return f"{key}=[{','.join(_quotes(item.strip()) for item in value[1:-1].split(','))}]"
    if name in SIGNS and len(value) == 1 and value not in "'\"":
        return f"{key}='{value}'"
    return f"{key}={_quotes(value)}" if name in PATHS and not set(",'\"") & set(value) else argument


def _quotes(value: str) -> str:
    plain = re.fullmatch(r"[\w./:+%@?|$\\-]*", value, re.ASCII) and not value.isdecimal()
    return value if plain else f"'{value}'"


def flags_apart(arguments: list[str]) -> list[str]:
    """`--config-dir=FOLDER` as `--config-dir FOLDER`."""
    pairs = [item.split("=", 1) if item.startswith("-") and "=" in item else [item] for item in arguments]
    return [part for pair in pairs for part in pair]


def with_search_path(arguments: list[str]) -> list[str]:
    """`--config-dir FOLDER` as the override that says the same, for Hydra's functions, which know no flags.

    Raises:
        UserError: another flag.
    """
    arguments = flags_apart(arguments)
    *typed, flags = [*(item for item in arguments if "=" in item), [item for item in arguments if "=" not in item]]
    if not flags:
        return typed
    if len(flags) != 2 or flags[0] not in ("--config-dir", "-cd"):
        raise UserError(f"{' '.join(flags)}: expected key=value, or --config-dir FOLDER.")
    return [*typed, f"hydra.searchpath=[{_quotes(f'file://{Path(flags[1]).resolve()}')}]"]


def constant(arguments: list[str]) -> list[str]:
    """What of a sweep's arguments holds for all its cells: without what is swept over, and without `--multirun`."""
    apart = flags_apart(arguments)
    typed = [item for item in apart if "=" in item]
    parsed = OverridesParser.create().parse_overrides(overrides(typed))
    kept = [text for text, item in zip(typed, parsed, strict=True) if not item.is_sweep_override()]
    return [*kept, *(item for item in apart if "=" not in item and item not in ("-m", "--multirun"))]


def flags_last(arguments: list[str]) -> list[str]:
    """Overrides first, then Hydra's flags with their values, in whatever order they were typed.

    Raises:
        UserError: a flag that Hydra does not have, or two that do not go together.
    """
    typed, flags = [], []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-"):
            typed.append(argument)
            continue
        name, _, value = argument.partition("=")
        if name not in FLAGS:
            raise UserError(f"{argument}: no such flag{closest(name, FLAGS)}; gan-train --help shows the usual ones.")
        follows = FLAGS[name] == 1 or (FLAGS[name] == "?" and rest and not re.search("=|^-", rest[0]))
        flags += [argument, *([rest.pop(0)] if follows and rest and not value else [])]
    modes = [
        flag for flag in flags if flag in SHOWING | {"--multirun", "-m", "--run", "-r", "--shell-completion", "-sc"}
    ]
    if len(modes) > 1:
        raise UserError(f"{' '.join(modes)}: these do not go together; take one of them.")
    return [*typed, *flags]
