"""One file that holds a run: plain types and tensors only, written atomically, checked before it is
believed."""

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

FORMAT = 2
"""Version of the layout below; a newer file is refused, older ones are brought up to it."""
ALIASES = 20  # in a configuration; gan-train writes one where a list stands in two places
COUNTS = 2**62  # what no count of a run comes to

__all__ = ["FORMAT", "load", "newest", "save"]

REQUIRED = {"format", "step", "game", "config", "data"}


def load(path: Path, setting: str = "checkpoint") -> dict[str, Any]:
    """A checkpoint's content, every byte checked against its CRC. No code of the file is ever run.

    Raises:
        UserError: missing, damaged, not a checkpoint, or holding more than tensors and plain types.
    """
    try:
        return _content(path)
    except UserError as error:
        raise UserError(f"{setting}={path}: {error}{_instead(path)}") from None


def _content(path: Path) -> dict[str, Any]:
    """The content of the file, brought up to this format. Raises UserError with what is wrong with
    it."""
    content = torch_files.load(path)
    if not isinstance(content, dict) or not content.keys() >= REQUIRED:
        raise UserError("not a checkpoint of gan-train.")
    version = content["format"]
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= FORMAT:
        said = version if isinstance(version, int | str) else type(version).__name__
        raise UserError(f"format {said!r:.20}, this gan-cli reads 1 to {FORMAT}; update gan-cli.")
    for past in range(version, FORMAT):
        content = MIGRATIONS[past](content)
    _refuse_odd_kinds(content)
    return {**content, "config": yaml.safe_dump(_configuration(content["config"]), sort_keys=False)}


NUMBER = int | float
KINDS: dict[str, Any] = {
    "step": int, "seconds": NUMBER, "position": int, "rollbacks": int, "best": NUMBER | None,
    "objective": str | None,
    "mark": str, "config": str, "game": dict, "data": dict, "ema": dict, "terms": dict,
    "optimizers": dict,
    "scalers": dict, "scores": dict,
}  # fmt: skip
"""What everything that reads a checkpoint relies on."""
INSIDE: dict[str, Any] = {
    "game": Tensor,
    "ema": dict,
    "terms": dict,
    "optimizers": dict,
    "scores": NUMBER,
}
"""What the named values of these are."""


def _refuse_odd_kinds(content: dict[str, Any]) -> None:
    """Raise UserError for a field that is not what gan-train writes there."""
    for key, kind in KINDS.items():
        value = content.get(key)
        if key in content and (not isinstance(value, kind) or isinstance(value, bool)):
            raise UserError(f"damaged: its {key} is {type(value).__name__}.")
        if isinstance(value, int) and not 0 <= value < COUNTS and key != "best":
            raise UserError(f"damaged: its {key} is {'negative' if value < 0 else 'no count'}.")
        if isinstance(value, float) and not math.isfinite(value) and key == "seconds":
            raise UserError(f"damaged: its {key} is {value}.")
    for key, kind in INSIDE.items():
        for name, value in content.get(key, {}).items():
            if not isinstance(name, str) or (not isinstance(value, kind) and not _is_extra(name)):
                raise UserError(
                    f"damaged: its {key} holds {type(value).__name__} as {str(name)!r:.40}."
                )
    _refuse_odd_moments(content.get("optimizers", {}))


def _refuse_odd_moments(optimizers: Mapping[str, Any]) -> None:
    """Raise UserError for an optimizer's state that no step can be taken from."""
    for name, optimizer in optimizers.items():
        state, groups = optimizer.get("state"), optimizer.get("param_groups")
        kept: list[Any] = list(state.values()) if isinstance(state, dict) else [None]
        if not isinstance(groups, list) or not all(
            isinstance(group, dict) for group in [*groups, *kept]
        ):
            raise UserError(f"damaged: the state of its optimizer {name:.40} is none.")
        for key, value in [item for moments in kept for item in moments.items()]:
            if not isinstance(value, Tensor | NUMBER | None):
                raise UserError(
                    f"damaged: {key!s:.40} of its optimizer {name:.40} is {type(value).__name__}."
                )


def _is_extra(name: str) -> bool:
    """What a network of a plug-in keeps beside its tensors, see
    `torch.nn.Module.get_extra_state`."""
    return name.endswith("_extra_state")


def _configuration(text: str) -> dict[str, Any]:
    """The configuration in a checkpoint. Raises UserError where it cannot be one."""
    try:
        config = read_yaml(text, ALIASES)
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


def _instead(path: Path) -> str:
    """The newest good checkpoint beside a bad one."""
    for other in sorted(path.parent.glob("step_*.pt"), reverse=True):
        try:
            if other != path and _content(other):
                return f" {other} is good."
        except UserError:
            continue
    return ""


def _with_scores(content: dict[str, Any]) -> dict[str, Any]:
    """Format 1 held no rollbacks and no scores, and its first files neither terms nor scalers nor
    the data's mark."""
    return {"terms": {}, "scalers": {}, **content, "rollbacks": 0, "scores": {}, "objective": None}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _with_scores}
"""From each past format to the next."""


def newest(folder: Path) -> dict[str, Any] | None:
    """The content of the newest good checkpoint of a run; damaged ones are passed over with a
    warning."""
    for path in [folder / "last.pt", *sorted(folder.glob("step_*.pt"), reverse=True)]:
        if path.is_symlink() or path.exists():
            try:
                content = load(path)
                _refuse_spoiled(content, path)
            except UserError as error:
                log.warning("%s", on_one_line(str(error)))
            else:
                return content
    return None


def _refuse_spoiled(content: Mapping[str, Any], path: Path) -> None:
    """Raise UserError for weights that are not numbers: nothing can be learnt from there. (A mask
    may be infinite.)"""
    networks = {
        "game": content["game"],
        **{f"ema.{name}": state for name, state in content.get("ema", {}).items()},
    }
    for name, state in networks.items():
        spoiled = [
            key for key, value in state.items() if isinstance(value, Tensor) and value.isnan().any()
        ]
        if spoiled:
            raise UserError(
                f"{path}: {len(spoiled)} of the tensors of {name} hold NaN; it is passed over."
            )
