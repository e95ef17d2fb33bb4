"""Arguments with a dot, `data.KEY=VALUE` and `METRIC.KEY=VALUE`, of gan-sample and gan-evaluate."""

import re
from collections.abc import Sequence
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_cli.errors import UserError


def settings_of(dotted: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The options that were typed, by what they are of: the data, or a metric."""
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
    """A number, a truth value, null, a list or a text: what YAML reads; what it cannot read is a
    text."""
    try:
        value: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))
        return value["value"]
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, RecursionError):
        return text
