"""Dotted arguments of gan-sample and gan-evaluate: `data.KEY=VALUE` and `METRIC.KEY=VALUE`."""

import re
from collections.abc import Sequence
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_cli.errors import UserError


def settings_of(dotted: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Typed options: values by key, by the data or the metric that they belong to.

    Raises:
        UserError: an argument of another form.
    """
    settings: dict[str, dict[str, Any]] = {}
    for typed in dotted:
        match = re.fullmatch(r"(\w+)\.(\w+)=(.*)", typed, re.DOTALL)
        if match is None:
            raise UserError(
                f"{typed}: expected data.KEY=VALUE or METRIC.KEY=VALUE, such as prdc.k=3."
            )
        settings.setdefault(match[1], {})[match[2]] = _value(match[3])
    return settings


def _value(text: str) -> Any:
    """The value that YAML reads: a number, a truth value, null or a list; else the text itself."""
    try:
        value: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))
        return value["value"]
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, RecursionError):
        return text
