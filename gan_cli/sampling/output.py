"""Where samples go: the file or folder that `output` names, checked before anything is rendered."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from gan_cli.errors import UserError
from gan_cli.runs.places import expanded
from gan_cli.sampling.options import Mode, SampleConfig

SUFFIXES: dict[Mode, tuple[str, ...]] = {
    Mode.images: ("",), Mode.npz: (".npz",), Mode.csv: (".csv",), Mode.text: (".txt",),
    Mode.encode: (".npz",),
    Mode.interpolate: (".png", ".gif"), Mode.timeline: (".gif",),
}  # fmt: skip
"""What a mode writes, its own choice first; a PNG if it is not here."""


def output_of(config: SampleConfig) -> Path:
    """Where to write. Raises UserError for a name that does not fit the mode, or that cannot be
    written."""
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


def file_to_write(typed: str, suffixes: Sequence[str], who: str) -> Path:
    """The file to write, by what was typed for `output`.

    Raises:
        UserError: another suffix, or a place where none can be written.
    """
    output = expanded(typed)
    if output.suffix.lower() not in suffixes:
        raise UserError(f"output={typed}: {who} writes a {' or '.join(suffixes)} file; name one.")
    if output.is_dir():
        raise UserError(f"output={typed}: a folder of that name is there; name a file.")
    if output.exists() and not output.is_file():
        raise UserError(f"output={typed}: a device or a pipe of that name is there; name a file.")
    _refuse_unwritable(output, typed)
    return output


def _refuse_unwritable(output: Path, typed: str) -> None:
    """Say so before anything is rendered, if no file can be made there."""
    folder = next(parent for parent in output.parents if parent.exists())
    if not folder.is_dir():
        raise UserError(f"output={typed}: {folder} is a file, not a folder; name another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"output={typed}: the folder {folder} cannot be written to; name another place."
        )
