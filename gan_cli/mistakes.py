"""Exceptions of a user's mistake in one sentence, Hydra's and OmegaConf's with the closest match."""

import re
import sys
from dataclasses import fields
from pathlib import Path
from traceback import extract_tb
from typing import Any

from gan_cli.errors import UserError, closest, explain_os


def explain(error: BaseException, arguments: list[str]) -> str | None:
    """A user's mistake in one sentence; None for what is not his mistake but ours."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
    if "hydra" in sys.modules:
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError

        if any(isinstance(link, HydraException | OmegaConfBaseException | YAMLError) for link in chain):
            return _explain_composition(chain, arguments)
    if isinstance(error, OSError):
        return explain_os(error)
    return None


def _chain(error: BaseException | None) -> Any:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


def _is_ours(error: BaseException) -> bool:
    """Whether code of this package raised it (in a resolver, where Hydra catches it): ours to mend."""
    return any(Path(frame.filename).parent == Path(__file__).parent for frame in extract_tb(error.__traceback__))


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _explain_composition(chain: list[BaseException], arguments: list[str]) -> str | None:
    """Hydra's and OmegaConf's complaints, with the closest match; their own advice (`use +key`) misleads."""
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if not isinstance(chain[-1], HydraException | OmegaConfBaseException) and _is_ours(chain[-1]):
        return None
    text = "\n".join(str(link) for link in chain)
    if match := re.search(r"Could not find '([\w/]+)/([^'/]+)'", text):
        return _unknown_option(*match.groups())
    if match := re.search(r"Could not override '([\w.@/]+)'|Key '([\w.]+)' (?:is )?not in", text):
        return _unknown_key(match.group(1) or match.group(2), arguments)
    if match := re.search(r"Ambiguous value for argument '\+*([^=]+)=(.*)'", text):
        key, value = match.groups()
        return f"{key}={value}: several values are a sweep, which wants -m; a list wants brackets: {key}=[{value}]."
    if match := re.search(r"Error merging override ([^\n]+)", text):
        reason = next(link for link in chain if isinstance(link, OmegaConfBaseException))
        return f"{match.group(1)}: {_wrong_value(match.group(1), first_line(reason))}."
    override = next((link.override for link in chain if isinstance(link, OverrideParseException)), None)
    if override is not None:
        typed = override.lstrip("+")
        return f"{typed}: expected key=value, with the value in quotes if it holds = , [ or {{ as plain characters."
    return f"{first_line(chain[-1])}."


def _unknown_option(group: str, option: str) -> str:
    from gan_cli.config import options

    if choices := options(group):
        return f"{group}={option}: no such option{closest(option, choices)}; the options are {', '.join(choices)}."
    extra = EXTRAS.get(option.partition("_")[0])  # a group of Hydra's own
    remedy = f"it comes with: pip install 'gan-cli[{extra}]'" if extra else "if a plug-in has it, install that"
    return f"{group}={option}: no such option; {remedy}."


def _unknown_key(key: str, arguments: list[str]) -> str:
    keys = known_keys()
    typed = next((a for a in arguments if a.lstrip("+~").split("=")[0].endswith(key)), key)
    return f"{typed}: no such key{closest(key, keys)}; gan-train --help lists the keys."


def _wrong_value(typed: str, reason: str) -> str:
    """OmegaConf's reason, and what to type where that is plain."""
    key, _, value = typed.partition("=")
    whole = re.search(r"'([\d.]+)' of type 'float' could not be converted to Integer", reason)
    if whole and float(whole[1]).is_integer():
        return f"expected a whole number, written out: {key}={float(whole[1]):.0f}"
    if "is not a ListConfig" in reason:
        return f"expected a list: {key}=[{value}]"
    return _lower(reason)


def known_keys() -> list[str]:
    """What may stand left of `=`: groups, root keys, and the keys of the hardware."""
    from gan_cli.config import Hardware, TrainConfig, groups

    hardware = [f"hardware.{item.name}" for item in fields(Hardware)]
    return [*dict.fromkeys([*groups(), *(item.name for item in fields(TrainConfig))]), *hardware]


EXTRAS = {"joblib": "joblib", "submitit": "submitit", "ray": "ray", "optuna": "search"}
"""Of the package, by the launchers and sweepers that they bring."""
