"""Conversion of exceptions caused by users' mistakes into one-sentence messages.

Some exceptions of Hydra and OmegaConf contain the key or the file in attributes, others only in
their message. tests/test_mistakes.py provokes every message that is parsed here.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, get_args, get_origin

from gan_cli.config import own_options as own
from gan_cli.errors import UserError, explain_os

if TYPE_CHECKING:
    from hydra.errors import MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

Chain = Sequence[BaseException]
"""An exception followed by its causes."""
EXACT = 2**53  # bound below which floats represent all integers exactly

INVALID_DEFAULTS = re.compile(r"Invalid defaults list in '([^']+)', (.+)")
NOT_OVERRIDDEN = re.compile(r"Could not override '([\w.@/]+)'")
AMBIGUOUS = re.compile(r"Ambiguous value for argument '\+*([^=]+)=(.*)'")
NOT_MERGED = re.compile(r"Error merging override ([^\n]+)")
NO_INTERPOLATION = re.compile(r"Interpolation key '([\w.]+)' not found")


def explain(error: BaseException, arguments: list[str]) -> str | None:
    """Message for a mistake of the user, or None for an internal error."""
    chain = list(_chain(error))
    if mistake := next((link for link in chain if isinstance(link, UserError)), None):
        return str(mistake)
    if fault := _system_error(chain):
        return explain_os(fault)
    if "hydra" in sys.modules:  # otherwise the error is not Hydra's; its import is slow
        return _explain_hydra(chain, arguments)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception followed by its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _system_error(chain: Chain) -> OSError | None:
    """Operating system error at the start or the end of a chain; Hydra's OSErrors are ignored."""
    faults = [
        link for link in chain if isinstance(link, OSError) and _package(type(link)) != "hydra"
    ]
    if not faults or (faults[0] is not chain[0] and faults[-1] is not chain[-1]):
        return None
    return next((fault for fault in faults if fault.filename), faults[-1])


def _package(kind: type) -> str:
    """Top-level package of a class."""
    return kind.__module__.partition(".")[0]


def first_line(error: BaseException) -> str:
    """First line of an error message without its full stop, or the type if it is empty."""
    return _message(error) or type(error).__name__


def _message(error: BaseException) -> str:
    """First line of an error message without its full stop, which may be empty."""
    text = str(error).strip()
    return "" if text in ("", "None") else text.splitlines()[0].rstrip(".")


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


# --- Hydra and OmegaConf --------------------------------------------------------------------------


def _explain_hydra(chain: Chain, arguments: list[str]) -> str | None:
    """Message for an exception raised by Hydra or OmegaConf, or None for an internal error."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    unreadable = any(isinstance(link, YAMLError | UnicodeDecodeError) for link in chain)
    if unreadable and (fault := own.first_error(arguments)):
        return fault

    known = HydraException | OmegaConfBaseException
    if any(isinstance(link, known | YAMLError) for link in chain):
        internal = not isinstance(chain[-1], known) and "gan_cli" in _packages(chain[-1])
        return None if internal else _explain_composition(chain, arguments)

    if match := INVALID_DEFAULTS.search(str(chain[0])):
        return f"{_file_named(match[1])}: {match[2].strip()}."

    rejected = isinstance(chain[0], ValueError | TypeError | AssertionError)
    if rejected and _packages(chain[0])[-1] in ("hydra", "omegaconf"):
        return (
            f"{' '.join(arguments)}: is not understood ({_lower(first_line(chain[0]))}); see "
            "docs/configuration.md."
        )
    return None


def _packages(error: BaseException) -> list[str]:
    """Packages in the traceback of an error; the last one raised it."""
    modules = [
        str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__)
    ]
    return [module.partition(".")[0] for module in modules] or [""]


def _file_named(option: str) -> Path:
    """File of an option in Hydra's notation `group/option`."""
    group, _, name = option.rpartition("/")
    return own.options(group).get(name, Path(f"{option}.yaml"))


def _explain_composition(chain: Chain, arguments: list[str]) -> str:
    """Message for a failed composition, without Hydra's advice to use `+key`."""
    explanations = (
        _missing_file,
        _unknown_key,
        _several_values,
        _rejected_value,
        _missing_interpolation,
        _unparsed_override,
        _rejected_in_file,
    )

    for explanation in explanations:
        if sentence := explanation(chain, arguments):
            return sentence

    return f"{next(filter(None, map(_message, chain)), first_line(chain[-1]))}."


def _missing_file(chain: Chain, arguments: list[str]) -> str | None:
    """Message for an option or a root configuration that does not exist."""
    from hydra.errors import MissingConfigException

    for link in chain:
        if isinstance(link, MissingConfigException):
            return _explain_missing(link, arguments)
    return None


def _explain_missing(error: "MissingConfigException", arguments: list[str]) -> str:
    """Message for a missing file, which is that of an option or the root configuration."""
    from gan_cli.config.unknown import unknown_base

    missing = error.missing_cfg_file
    start, folder = (_value_of(flag, arguments) for flag in ("--config-name", "--config-path"))
    group, _, option = (missing or "").rpartition("/")

    if group and missing != start:
        return unknown_base(str(error), f"{group}/{option}") or _unknown_option(group, option)
    return (
        f"{missing or folder}: no such file to start from; leave out --config-name and "
        "--config-path."
    )


def _value_of(flag: str, arguments: list[str]) -> str | None:
    """Value of a flag on the command line, or None."""
    from gan_cli.config.commandline import flags_apart

    pairs = pairwise(flags_apart(arguments))
    return next((value for name, value in pairs if name == flag), None)


def _unknown_option(group: str, option: str) -> str:
    """Message for an unknown option, which may require the installation of an extra."""
    from gan_cli.config.options import options, unknown_option
    from gan_cli.sweeps.launchers import extra_for

    if options(group):
        return unknown_option(group, option)

    extra = extra_for(option)
    remedy = (
        f"it comes with: pip install 'gan-cli[{extra}]'"
        if extra
        else "if a plug-in has it, install that"
    )
    return f"{group}={option}: no such option; {remedy}."


def _unknown_key(chain: Chain, arguments: list[str]) -> str | None:
    """Message for an unknown key, on the command line or in a file of the user."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    for link in chain:
        if match := NOT_OVERRIDDEN.search(str(link)):
            return _explain_key(match[1], arguments)
        if isinstance(link, ConfigAttributeError | ConfigKeyError) and link.full_key:
            return _explain_key(link.full_key, arguments)
    return None


def _explain_key(key: str, arguments: list[str]) -> str:
    """Message for an unknown key, with the file that contains it, if any."""
    from gan_cli.config.unknown import unknown_key

    typed = next((item for item in arguments if _key(item).endswith(key)), None)
    if typed is not None or not (setting := own.file_with(key, arguments)):
        return unknown_key(typed or key)

    group, path = setting
    complete = group == own.WHOLE or group == key.split(".")[0]
    return f"{path}: {unknown_key(key.partition('@')[0] if complete else f'{group}.{key}')}"


def _key(argument: str) -> str:
    """Key of an argument `key=value`, without Hydra's prefixes."""
    return argument.lstrip("+~").partition("=")[0]


def _missing_interpolation(chain: Chain, arguments: list[str]) -> str | None:
    """Message for an interpolation `${key}` of a key that is not set."""
    from omegaconf.errors import InterpolationKeyError

    for link in chain:
        match = NO_INTERPOLATION.search(str(link))
        if match and isinstance(link, InterpolationKeyError):
            key = match[1]
            return (
                f"{_file_prefix(link.full_key or key, arguments)}${{{key}}}: stands for a key that "
                f"nothing sets; set {key}=VALUE, or write a value there."
            )
    return None


def _unparsed_override(chain: Chain, arguments: list[str]) -> str | None:
    """Message for an argument that Hydra's grammar does not accept."""
    from hydra.errors import OverrideParseException

    for link in chain:
        if isinstance(link, OverrideParseException):
            return (
                f"{link.override.lstrip('+')}: expected key=value, with the value in quotes if it "
                "holds = , [ or { as plain characters."
            )
    return None


# --- values ---------------------------------------------------------------------------------------


def _rejected_value(chain: Chain, arguments: list[str]) -> str | None:
    """Message for an invalid value on the command line."""
    match = next(filter(None, (NOT_MERGED.search(str(link)) for link in chain)), None)
    reason = _reason(chain)
    if match is None or reason is None:
        return None
    return f"{match[1]}: {_wrong_value(match[1], reason)}."


def _rejected_in_file(chain: Chain, arguments: list[str]) -> str | None:
    """Message for an invalid value in a file, such as `steps: 1e3`."""
    reason = _reason(chain)
    if reason is None or not reason.full_key:
        return None
    key = reason.full_key
    typed = key if reason.value is None else f"{key}={reason.value}"
    return f"{_file_prefix(key, arguments)}{typed}: {_wrong_value(typed, reason)}."


def _reason(chain: Chain) -> "OmegaConfBaseException | None":
    """OmegaConf's exception in a chain, with key and value, or None."""
    from omegaconf.errors import OmegaConfBaseException

    return next((link for link in chain if isinstance(link, OmegaConfBaseException)), None)


def _wrong_value(typed: str, reason: "OmegaConfBaseException") -> str:
    """Reason why a value is invalid: the expected syntax if it is known, or OmegaConf's reason."""
    from omegaconf import IntegerNode, ListConfig
    from omegaconf.errors import ValidationError

    key, _, text = typed.partition("=")
    value = reason.value
    if not isinstance(reason, ValidationError):
        return _lower(first_line(reason))

    if isinstance(reason.child_node, IntegerNode) and isinstance(value, float):
        exact = value.is_integer() and abs(value) < EXACT
        return "expected a whole number" + (f", written out: {key}={value:.0f}" if exact else "")
    if isinstance(reason.child_node, ListConfig):
        return f"expected a list: {key}=[{text}]"
    return _lower(first_line(reason))


def _file_prefix(key: str, arguments: list[str]) -> str:
    """Prefix of a message, `FILE: `, for a key set in a file; empty if it was typed."""
    if key in map(_key, arguments):
        return ""
    setting = own.file_with(key, arguments)
    return f"{setting[1]}: " if setting else ""


def _several_values(chain: Chain, arguments: list[str]) -> str | None:
    """Message for several values without `-m`: a sweep, or a list without brackets."""
    from gan_cli.config.unknown import PATHS

    match = next(filter(None, (AMBIGUOUS.search(str(link)) for link in chain)), None)
    if match is None:
        return None

    key, value = match.groups()
    start = f"{key}={value}: several values are a sweep, which wants -m"
    if takes_a_list(key):
        return f"{start}; a list wants brackets: {key}=[{value}]."
    if key in PATHS:
        return f"{start}; a comma in a name wants two pairs of quotes: \"{key}='{value}'\"."
    return f"{start}: gan-train -m {key}={value}."


def takes_a_list(key: str) -> bool:
    """Whether a key accepts a list."""
    from gan_cli.registry import REGISTRIES

    group, _, option = key.lstrip("+").rpartition(".")
    known = REGISTRIES.get(group.partition(".")[0])
    if known is None:
        return key in ("figures", "plugins") or key.startswith("hydra.")

    components = known.components.values()
    hints = [item.arguments[option][0] for item in components if option in item.arguments]
    return any(map(_is_list, hints)) or not hints


def _is_list(hint: Any) -> bool:
    """Whether a type, or one of its type arguments, is a list or a tuple."""
    origin = get_origin(hint) or hint
    return origin in (list, tuple) or any(map(_is_list, get_args(hint)))
