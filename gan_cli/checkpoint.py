"""One file that holds a run: plain types and tensors only, written atomically, checked before it is believed."""

import logging
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from gan_cli.errors import UserError

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the layout below; a newer file is refused."""

REQUIRED = {"format", "step", "game", "config", "data"}


def save(content: dict[str, Any], path: Path) -> None:
    """Write `content` to `path` so that a kill at any moment leaves the old file or the new one, never a part.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except RuntimeError as error:  # torch's zip writer reports a full disk so
        raise OSError(f"cannot write {path}: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, setting: str = "checkpoint") -> dict[str, Any]:
    """A checkpoint's content, every byte checked against its CRC. No code of the file is ever run.

    Raises:
        UserError: missing, damaged, not a checkpoint, or holding more than tensors and plain types.
    """
    if not path.is_file():
        raise UserError(f"{setting}={path}: no such file.")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise UserError(f"{setting}={path}: damaged or not a checkpoint ({error}); take another one.") from None
    if damaged:
        raise UserError(f"{setting}={path}: damaged ({damaged} fails its checksum); take another one.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{setting}={path}: refused, it holds more than tensors and plain types and could run code; "
            "only checkpoints written by gan-train are read."
        ) from None
    except Exception as error:
        raise UserError(f"{setting}={path}: damaged or not a checkpoint ({type(error).__name__}).") from None
    if not isinstance(content, dict) or not content.keys() >= REQUIRED:
        raise UserError(f"{setting}={path}: not a checkpoint of gan-train.")
    if content["format"] != FORMAT:
        raise UserError(f"{setting}={path}: format {content['format']}, this gan-cli reads {FORMAT}; update gan-cli.")
    return content


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


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, atomically; a copy where the file system has no hard links."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        temporary.write_bytes(source.read_bytes())
    temporary.replace(target)
