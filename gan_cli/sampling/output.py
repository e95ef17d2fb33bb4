"""Output paths of the commands, files or folders, checked before anything is rendered."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from gan_cli.errors import UserError
from gan_cli.runs.places import expanded
from gan_cli.sampling.options import Mode, SampleConfig

SUFFIXES: dict[Mode, tuple[str, ...]] = {
    Mode.images: ("",),
    Mode.compare: ("",),
    Mode.project: ("",),
    Mode.npz: (".npz",),
    Mode.csv: (".csv",),
    Mode.text: (".txt",),
    Mode.encode: (".npz",),
    Mode.interpolate: (".png", ".gif"),
    Mode.timeline: (".gif",),
}
"""Suffixes that a mode can write, the default first; "" is a folder. Other modes write .png."""


def output_of(config: SampleConfig) -> Path:
    """The path to write samples to.

    Raises:
        UserError: the path does not fit the mode, or is not writable.
    """
    suffixes = SUFFIXES.get(config.mode, (".png",))
    typed = f"samples{suffixes[0]}" if config.output is None else config.output
    if suffixes[0]:
        return file_to_write(typed, suffixes, f"mode={config.mode.value}")

    output = expanded(typed)
    if not typed or output.suffix in {".png", ".gif", *chain(*SUFFIXES.values())} - {""}:
        raise UserError(
            f"output={typed}: mode={config.mode.value} writes a folder of pictures; name a folder."
        )
    if output.exists() and not output.is_dir():
        raise UserError(f"output={typed}: a file of that name is there; name a folder.")
    _refuse_unwritable(output / "picture", typed)
    return output


def file_to_write(typed: str, suffixes: Sequence[str], writer: str) -> Path:
    """The path of a file to write.

    Args:
        typed: value of the key `output`.
        suffixes: the allowed suffixes.
        writer: command or mode that writes, for messages.

    Raises:
        UserError: another suffix, or a path that is not writable.
    """
    output = expanded(typed)
    if output.suffix.lower() not in suffixes:
        raise UserError(
            f"output={typed}: {writer} writes a {' or '.join(suffixes)} file; name one."
        )
    if output.is_dir():
        raise UserError(f"output={typed}: a folder of that name is there; name a file.")
    if output.exists() and not output.is_file():
        raise UserError(f"output={typed}: a device or a pipe of that name is there; name a file.")
    _refuse_unwritable(output, typed)
    return output


def _refuse_unwritable(output: Path, typed: str) -> None:
    """Raise UserError if no file can be created at a path."""
    folder = next(parent for parent in output.parents if parent.exists())
    if not folder.is_dir():
        raise UserError(f"output={typed}: {folder} is a file, not a folder; name another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"output={typed}: the folder {folder} cannot be written to; name another place."
        )
