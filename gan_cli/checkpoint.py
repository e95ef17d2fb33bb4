"""One file that holds a run: plain types and tensors only, written atomically, checked before it is believed."""

import logging
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from gan_cli.errors import UserError
from gan_cli.files import replacing

log = logging.getLogger(__name__)

FORMAT = 2
"""Version of the layout below; a newer file is refused, older ones are brought up to it."""
LONGEST = 1_000_000  # characters of a configuration
# YAML lets an alias stand for what is written elsewhere, and that for more: a few lines can mean gigabytes.
ALIASES = 20

REQUIRED = {"format", "step", "game", "config", "data"}


def save(content: dict[str, Any], path: Path) -> None:
    """Write `content` to `path` so that a kill at any moment leaves the old file or the new one, never a part.

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
    if not path.is_file():
        raise UserError(f"{setting}={path}: no such file.")
    try:
        content = _content(path)
    except UserError as error:
        raise UserError(f"{setting}={path}: {error}{_instead(path)}") from None
    return content


def _content(path: Path) -> dict[str, Any]:
    """The content of the file, brought up to this format. Raises UserError with what is wrong with it."""
    _refuse_damage(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            "refused, it holds more than tensors and plain types and could run code; only checkpoints written by "
            "gan-train are read."
        ) from None
    except Exception as error:
        raise UserError(f"damaged or not a checkpoint ({type(error).__name__}).") from None
    if not isinstance(content, dict) or not content.keys() >= REQUIRED:
        raise UserError("not a checkpoint of gan-train.")
    version = content["format"]
    if not isinstance(version, int) or not 1 <= version <= FORMAT:
        raise UserError(f"format {version!r:.20}, this gan-cli reads 1 to {FORMAT}; update gan-cli.")
    for past in range(version, FORMAT):
        content = MIGRATIONS[past](content)
    _refuse_odd_kinds(content)
    return content


def _refuse_damage(path: Path) -> None:
    """Every byte against its checksum; a file that says to grow when it is unpacked is not one of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
            damaged = None if packed else archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
        raise UserError(f"damaged or not a checkpoint ({error}).") from None
    if packed:
        raise UserError("refused, its content is compressed, as gan-train never writes it.")
    if damaged:
        raise UserError(f"damaged ({damaged} fails its checksum).")


def _refuse_odd_kinds(content: dict[str, Any]) -> None:
    """What everything that reads a checkpoint relies on."""
    kinds: dict[str, Any] = {
        "step": int, "seconds": int | float, "position": int, "game": dict, "config": str, "data": dict, "ema": dict,
        "terms": dict, "optimizers": dict, "scalers": dict, "scores": dict, "rollbacks": int,
    }  # fmt: skip
    for key, kind in kinds.items():
        if key in content and not isinstance(content[key], kind):
            raise UserError(f"damaged: its {key} is {type(content[key]).__name__}.")
    text = content["config"]
    aliases = text.count("*") if "&" in text else 0
    if len(text) > LONGEST or aliases > ALIASES:
        raise UserError(f"refused, its configuration has {len(text)} characters and {aliases} aliases.")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        config = None
    if not isinstance(config, dict) or not isinstance(config.get("hardware", {}), dict):
        raise UserError("damaged: its configuration cannot be read.")


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
    """Format 1 held no rollbacks and no scores, and its first files neither terms nor scalers nor the data's mark."""
    return {"terms": {}, "scalers": {}, **content, "rollbacks": 0, "scores": {}, "objective": None}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _with_scores}
"""From each past format to the next."""


def newest(folder: Path) -> dict[str, Any] | None:
    """The content of the newest good checkpoint of a run; damaged ones are passed over with a warning."""
    files = [folder / "last.pt", *sorted(folder.glob("step_*.pt"), reverse=True)]
    for path in files:
        if path.is_file():
            try:
                return load(path)
            except UserError as error:
                log.warning("%s", error)
    return None
