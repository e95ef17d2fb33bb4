"""Checkpoints: files of tensors and plain types, written atomically and validated when read."""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from gan_cli.errors import UserError, on_one_line
from gan_cli.reading import torch_files
from gan_cli.reading.safe_yaml import read_yaml
from gan_cli.reading.torch_files import save

log = logging.getLogger(__name__)

FORMAT = 2  # version of the layout; older files are migrated, newer ones are refused
MAX_ALIASES = 20  # YAML aliases in a configuration; a list used twice is written as an alias
MAX_COUNT = 2**62  # rounds or samples, exclusive; no run reaches it
REQUIRED_FIELDS = {"format", "step", "game", "config", "data"}

__all__ = ["FORMAT", "load", "newest", "save"]


def load(path: Path, setting: str = "checkpoint") -> dict[str, Any]:
    """Content of a checkpoint, with every byte checked by its CRC.

    No code from the file is run.

    Args:
        setting: the key that names the file, for messages.

    Raises:
        UserError: a missing or damaged file, not a checkpoint, or one with objects other than
            tensors and plain types.
    """
    try:
        return _content(path)
    except UserError as error:
        raise UserError(f"{setting}={path}: {error}{_good_neighbour(path)}") from None


def _content(path: Path) -> dict[str, Any]:
    """Content of a checkpoint, migrated to the current format.

    Raises:
        UserError: as in `load`, but the message does not name the file.
    """
    content = torch_files.load(path)
    if not isinstance(content, dict) or not content.keys() >= REQUIRED_FIELDS:
        raise UserError("not a checkpoint of gan-train.")

    version = content["format"]
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= FORMAT:
        shown = version if isinstance(version, int | str) else type(version).__name__
        raise UserError(f"format {shown!r:.20}, this gan-cli reads 1 to {FORMAT}; update gan-cli.")
    for past in range(version, FORMAT):
        content = MIGRATIONS[past](content)

    _refuse_wrong_types(content)
    config = yaml.safe_dump(_configuration(content["config"]), sort_keys=False)
    return {**content, "config": config}


NUMBER = int | float
FIELD_TYPES: dict[str, Any] = {
    "step": int,
    "seconds": NUMBER,
    "position": int,
    "rollbacks": int,
    "best": NUMBER | None,
    "objective": str | None,
    "mark": str,
    "config": str,
    "game": dict,
    "data": dict,
    "ema": dict,
    "terms": dict,
    "optimizers": dict,
    "scalers": dict,
    "scores": dict,
    "inputs": dict,
}
"""Types of the fields of a checkpoint."""
ITEM_TYPES: dict[str, Any] = {
    "game": Tensor,
    "ema": dict,
    "terms": dict,
    "optimizers": dict,
    "scores": NUMBER,
    "inputs": Tensor,
}
"""Types of the values in a field that is a dictionary."""


def _refuse_wrong_types(content: dict[str, Any]) -> None:
    """Raise UserError for a field that gan-train cannot have written."""
    for key, kind in FIELD_TYPES.items():
        if key in content:
            _refuse_wrong_field(key, content[key], kind)

    for key, kind in ITEM_TYPES.items():
        for name, value in content.get(key, {}).items():
            if not isinstance(name, str) or (
                not isinstance(value, kind) and not _is_extra_state(name)
            ):
                raise UserError(
                    f"damaged: its {key} holds {type(value).__name__} as {str(name)!r:.40}."
                )

    for name, optimizer in content.get("optimizers", {}).items():
        _refuse_wrong_optimizer(name, optimizer)


def _refuse_wrong_field(key: str, value: Any, kind: Any) -> None:
    """Raise UserError for another type, a count out of range, or an infinite duration."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"damaged: its {key} is {type(value).__name__}.")
    if isinstance(value, int) and not 0 <= value < MAX_COUNT and key != "best":
        raise UserError(f"damaged: its {key} is {'negative' if value < 0 else 'no count'}.")
    if isinstance(value, float) and not math.isfinite(value) and key == "seconds":
        raise UserError(f"damaged: its {key} is {value}.")


def _refuse_wrong_optimizer(name: str, optimizer: Mapping[str, Any]) -> None:
    """Raise UserError for an optimizer's state that torch cannot load."""
    state = optimizer.get("state")
    groups = optimizer.get("param_groups")
    if (
        not isinstance(state, dict)
        or not isinstance(groups, list)
        or not all(isinstance(item, dict) for item in [*groups, *state.values()])
    ):
        raise UserError(f"damaged: the state of its optimizer {name:.40} is none.")

    for moments in state.values():
        for key, value in moments.items():
            if not isinstance(value, Tensor | NUMBER | None):
                raise UserError(
                    f"damaged: {key!s:.40} of its optimizer {name:.40} is {type(value).__name__}."
                )


def _is_extra_state(name: str) -> bool:
    """Whether an entry is a network's extra state, of any type; see `Module.get_extra_state`."""
    return name.endswith("_extra_state")


def _configuration(text: str) -> dict[str, Any]:
    """The configuration of a checkpoint.

    Args:
        text: untrusted YAML.

    Raises:
        UserError: the text is no configuration.
    """
    try:
        config = read_yaml(text, MAX_ALIASES)
    except ValueError as error:
        raise UserError(f"damaged: its configuration cannot be read ({error!s:.200}).") from None
    if not isinstance(config, dict) or not isinstance(config.get("hardware", {}), dict):
        raise UserError("damaged: its configuration cannot be read.")

    for group in ("model", "network", "data"):
        node = config.get(group)
        if not isinstance(node, dict) or not isinstance(node.get("name"), str):
            raise UserError(f"damaged: its configuration names no {group}.")

    plugins = config.get("plugins") or []
    if not isinstance(plugins, list) or not all(isinstance(plugin, str) for plugin in plugins):
        raise UserError("damaged: the plug-ins in its configuration are no list of names.")
    return config


def _good_neighbour(path: Path) -> str:
    """The newest good checkpoint in the folder of a bad one, as a sentence; empty if none."""
    for other in sorted(path.parent.glob("step_*.pt"), reverse=True):
        try:
            if other != path and _content(other):
                return f" {other} is good."
        except UserError:
            continue
    return ""


def _from_format_1(content: dict[str, Any]) -> dict[str, Any]:
    """Add rollbacks and scores, and the terms and scalers that the earliest files lack."""
    return {"terms": {}, "scalers": {}, **content, "rollbacks": 0, "scores": {}, "objective": None}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_format_1}
"""Functions from a past format to the next one, by the past format."""


def newest(folder: Path) -> dict[str, Any] | None:
    """Content of the newest good checkpoint of a run; None if there is none.

    Damaged checkpoints are skipped with a warning.

    Args:
        folder: the folder of the checkpoints.
    """
    for path in [folder / "last.pt", *sorted(folder.glob("step_*.pt"), reverse=True)]:
        if not path.is_symlink() and not path.exists():
            continue
        try:
            content = load(path)
            _refuse_nan(content, path)
        except UserError as error:
            log.warning("%s", on_one_line(str(error)))
        else:
            return content
    return None


def _refuse_nan(content: Mapping[str, Any], path: Path) -> None:
    """Raise UserError for NaN in a network. Infinity is allowed, since masks contain it."""
    states = {"game": content["game"]}
    states |= {f"ema.{name}": state for name, state in content.get("ema", {}).items()}
    for name, state in states.items():
        with_nan = [
            key for key, value in state.items() if isinstance(value, Tensor) and value.isnan().any()
        ]
        if with_nan:
            raise UserError(
                f"{path}: {len(with_nan)} of the tensors of {name} hold NaN; it is passed over."
            )
