"""One file that holds a run: plain types and tensors only, written atomically, checked before it is
believed."""

import errno
import logging
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from gan_cli import files
from gan_cli.errors import UserError, on_one_line
from gan_cli.files import replacing
from gan_cli.reading.pickles import ForeignError, refuse_bombs
from gan_cli.reading.safe_yaml import read_yaml

log = logging.getLogger(__name__)

FORMAT = 2
"""Version of the layout below; a newer file is refused, older ones are brought up to it."""
ALIASES = 20  # in a configuration; gan-train writes one where a list stands in two places
COUNTS = 2**62  # what no count of a run comes to

REQUIRED = {"format", "step", "game", "config", "data"}


def save(content: dict[str, Any], path: Path) -> None:
    """Write `content` to `path` so that a kill at any moment leaves the old file or the new one,
    never a part.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is left as it was.
    """
    try:
        with replacing(path, durable=True) as temporary:
            torch.save(content, temporary)
    except RuntimeError as error:  # torch's zip writer reports a full disk so
        raise OSError(f"cannot write {path}: {error}") from None


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
    content = _unpacked(path)
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


def _unpacked(path: Path) -> Any:
    """What torch makes of the file, after it was found harmless. Raises UserError with what is
    wrong with it."""
    try:
        with files.opened(path) as file:
            size = path.stat().st_size
            if size > files.memory():
                raise UserError(
                    f"refused, it holds {size / 2**30:,.0f} GiB, more than this machine's memory."
                )
            refuse_bombs(_pickle_of(file, size), size)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except ForeignError as error:
        raise UserError(
            f"refused, it holds more than tensors and plain types and could run code ({error}); "
            "only checkpoints written by gan-train are read."
        ) from None
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise UserError("no such file." if missing else f"{error.strerror or error}.") from None
    except Exception as error:  # a pickle, a zip file and torch raise whatever they like
        told = isinstance(error, ValueError | zipfile.BadZipFile | pickle.UnpicklingError)
        reason = str(error).partition("\n")[0] if told else ""
        raise UserError(
            f"damaged or not a checkpoint ({reason or type(error).__name__:.200})."
        ) from None


def _pickle_of(file: BufferedReader, size: int) -> bytes:
    """The pickle in a checkpoint, every byte of which is compared with its checksum.

    A file that says to grow when it is unpacked, or that two readers could read differently, is not
    one of ours.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise UserError("refused, its content is compressed, as gan-train never writes it.")
        names = {entry.filename.lower() for entry in entries}
        roots = {name.split("/")[0] for name in names}
        whole = (
            sum(entry.file_size for entry in entries) <= size
            and min(e.header_offset for e in entries) == 0
        )
        if len(names) < len(entries) or len(roots) != 1 or archive.comment or not whole:
            raise UserError(
                "damaged or not a checkpoint (its parts overlap, or are not those that gan-train "
                "writes)."
            )
        if damaged := archive.testzip():
            raise UserError(f"damaged ({damaged} fails its checksum).")
        return archive.read(f"{entries[0].filename.split('/')[0]}/data.pkl")


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
