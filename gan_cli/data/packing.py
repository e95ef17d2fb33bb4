"""Images of a folder, packed once into one file that later runs map into memory."""

import hashlib
import json
import logging
import os
import shutil
import sys
import zlib
from array import array
from base64 import b85decode, b85encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan_cli.data import brightness
from gan_cli.data.listing import Listing
from gan_cli.data.upright import PASSING, Shape, Stored, read
from gan_cli.errors import UserError
from gan_cli.files import cache_folder, is_sealed, lock, locked, read_json, seal

log = logging.getLogger(__name__)

FORMAT = 4  # version of the packed file; part of its name
UNREADABLE = "unreadable.txt"  # report beside the packed images: one line for each file
AT_ONCE = 512  # images that are decoded before they are written, at most
BYTES = 2**28  # bytes of these images, at most
PIECE = 2**22  # bytes of the packed file that have a checksum of their own


@dataclass(frozen=True)
class Packed:
    """All readable images of a folder.

    Args:
        images: bytes (n, *shape), mapped from the cache.
        readable: whether each file of the folder could be read, an array of truth values.
        ranges: see `ImageFolder`.
        sides: the smallest and the largest of their shorter sides before they were resized.
        truncated: number of images reduced to the upper 8 of 16 bits, see `Stored`.
        report: the file that lists the unreadable files.
    """

    images: Tensor
    readable: Any
    ranges: dict[str, brightness.Range]
    sides: tuple[int, int]
    truncated: int
    report: Path

    @property
    def unreadable(self) -> int:
        """Number of files that cannot be read."""
        return int((~self.readable).sum())

    @property
    def reason(self) -> str:
        """The first file that cannot be read, and the reason."""
        with self.report.open(encoding="utf-8") as file:
            return file.readline().strip().removeprefix(PASSING)


def packed(
    files: Listing,
    folder: Path,
    shape: Shape,
    black_to_white: brightness.Range | None = None,
    exact: bool = False,
) -> Packed:
    """The packed images from the cache.

    They are packed first if there are none, if they are damaged, or if files were unreadable for a
    reason that may be over.

    Args:
        files: the images of the folder.
        folder: the folder.
        shape: (channels, height, width) of the packed images.
        black_to_white: black and white point of images of more than 8 bits; None to derive it from
            all of them.
        exact: whether every pixel is one of the file's: resizing takes the nearest one.

    Raises:
        UserError: no image can be read, or the disk is full.
    """
    key = hashlib.sha256(
        f"{FORMAT} {shape} {black_to_white} {files.digest} {'exact' * exact}".encode()
        + os.fsencode(folder.resolve())
    )
    key.update(np.packbits(files.heldout).tobytes())
    target = cache_folder() / "packed" / key.hexdigest()[:16]

    index = _index(target, shape)
    if index is None or index["passing"]:
        index = _pack_once(files, folder, shape, black_to_white, target, exact)
    readable = _readable(index)
    mapped: Any = np.memmap(
        target / "images.bin", np.uint8, mode="c", shape=(int(readable.sum()), *shape)
    )
    ranges = {kind: (low, high) for kind, (low, high) in index["ranges"].items()}
    return Packed(
        torch.from_numpy(mapped),
        readable,
        ranges,
        tuple(index["sides"]),
        index["cut"],
        target / UNREADABLE,
    )


def _index(target: Path, shape: Shape) -> dict[str, Any] | None:
    """The index of a packed file; None if there is none, or it is damaged."""
    path, images = target / "index.json", target / "images.bin"
    index = read_json(path) if is_sealed(path) else {}
    try:
        size = int(_readable(index).sum()) * prod(shape)
        whole = images.stat().st_size == size and _checksums(images) == index["sums"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return index if whole else None


def _readable(index: dict[str, Any]) -> Any:
    """Whether each file of the folder could be read, an array of truth values."""
    bits = np.frombuffer(b85decode(index["readable"]), np.uint8)
    return np.unpackbits(bits, count=index["files"]).astype(bool)


def _checksums(path: Path) -> list[int]:
    """Checksums of all pieces of a file."""

    def checksum(first: int) -> int:
        with path.open("rb") as file:
            file.seek(first)
            return zlib.crc32(file.read(PIECE))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(checksum, range(0, path.stat().st_size, PIECE)))


def _pack_once(
    files: Listing,
    folder: Path,
    shape: Shape,
    black_to_white: brightness.Range | None,
    target: Path,
    exact: bool,
) -> dict[str, Any]:
    """Pack the images, unless another process has done so meanwhile; returns the index.

    Raises:
        UserError: the cache cannot be written.
    """
    try:
        _remove_leftovers(target.parent)
        with _only_one(target.with_suffix(".lock")):
            index = _index(target, shape)
            if index is None or index["passing"]:
                index = _pack(files, folder, shape, black_to_white, target, exact)
            return index
    except OSError as error:
        raise UserError(
            f"data.folder={folder}: the packed images cannot be kept in {target.parent} "
            f"({error.strerror}); make room, or set the environment variable GAN_CACHE to a "
            "folder on another disk."
        ) from None


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Let one process pack; others that want the same packed file wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove the files of killed packers; those of live ones are locked."""
    stems = {path.with_suffix("") for path in folder.glob("*") if path.suffix in (".part", ".lock")}
    for stem in stems:
        path = stem.with_suffix(".lock")
        with suppress(OSError), path.open("ab") as file:  # another process was quicker
            if lock(file, wait=False):
                shutil.rmtree(stem.with_suffix(".part"), ignore_errors=True)
                path.unlink(missing_ok=True)


def _pack(
    files: Listing,
    folder: Path,
    shape: Shape,
    black_to_white: brightness.Range | None,
    target: Path,
    exact: bool,
) -> dict[str, Any]:
    """Pack the images in a folder beside `target`, and move it there whole; returns the index."""
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir()
    try:
        _refuse_beyond_disk(len(files) * prod(shape), shape, part)
        log.info("packing %d images of %s (once; kept in %s)", len(files), folder, target)
        packing = _Packing(part, shape, np.zeros(len(files), bool), exact)
        packing.read(files)
        if not packing.readable.any():
            raise UserError(
                f"data.folder={folder}: none of its {len(files)} images can be read; the first: "
                f"{packing.reasons[0].removeprefix(PASSING)}."
            )

        index = packing.finish(black_to_white)
        (part / "index.json").write_text(json.dumps(index), encoding="utf-8")
        seal(part / "index.json")
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return index


def gib(size: int) -> str:
    """A number of bytes in GiB; it may be too large for a float."""
    return f"{Decimal(size) / 2**30:.3g} GiB"


def _refuse_beyond_disk(size: int, shape: Shape, part: Path) -> None:
    """Raise UserError if packed images of `size` bytes do not fit on the disk."""
    free = shutil.disk_usage(part).free
    if size > free:
        raise UserError(
            f"data.image_size={shape[1]}: the packed images need {gib(size)}, and {part.parent} "
            f"has {gib(free)} free; make it smaller, or set the environment variable GAN_CACHE to "
            "a folder on another disk."
        )


@dataclass
class _Packing:
    """A packed file that is being written.

    Images of more than 8 bits ("wide") are stored in a file of their own until the range of values
    of the whole folder is known.

    Args:
        part: the folder of the files that are being written.
        shape: see `packed`.
        readable: see `Packed`.
        exact: see `packed`.
        reasons: a line for each unreadable file.
        wide_rows: indices of the wide images among the packed ones.
        wide_kinds: the kind of each of them, see `brightness.kind`.
        extremes: smallest and largest value of each kind.
        sides: see `Packed`.
        truncated: see `Packed`.
    """

    part: Path
    shape: Shape
    readable: Any
    exact: bool = False
    reasons: list[str] = field(default_factory=list)
    wide_rows: Any = field(default_factory=lambda: array("q"))
    wide_kinds: list[str] = field(default_factory=list)
    extremes: dict[str, brightness.Range] = field(default_factory=dict)
    sides: tuple[int, int] = (sys.maxsize, 0)
    truncated: int = 0

    def read(self, files: Listing) -> None:
        """Decode and write all files."""
        written = 0
        with (
            (self.part / "images.bin").open("wb") as images,
            (self.part / "wide.bin").open("wb") as wide,
        ):
            for i, image in enumerate(self._decoded(files)):
                if isinstance(image, str):
                    self.reasons.append(image)
                    continue

                self.readable[i] = True
                self.sides = min(self.sides[0], image.side), max(self.sides[1], image.side)
                self.truncated += image.truncated
                if image.kind:
                    self._add_wide(written, image)
                    wide.write(image.values)
                images.write(bytes(prod(self.shape)) if image.kind else image.values)
                written += 1

    def _decoded(self, files: Listing) -> Iterator[Stored | str]:
        """All images in their order, decoded in parallel; a reason for an unreadable one."""
        step = max(1, min(AT_ONCE, BYTES // prod(self.shape)))
        steps = range(0, len(files), step)
        with ThreadPoolExecutor() as pool:
            for first in tqdm(steps, desc="packing", unit=f" x {step}", disable=None):
                paths = files.paths(first, first + step)
                yield from pool.map(lambda path: read(path, self.shape, self.exact), paths)

    def _add_wide(self, row: int, image: Stored) -> None:
        self.wide_rows.append(row)
        self.wide_kinds.append(image.kind)
        low, high = self.extremes.get(image.kind, image.extremes)
        self.extremes[image.kind] = min(low, image.extremes[0]), max(high, image.extremes[1])

    def finish(self, black_to_white: brightness.Range | None) -> dict[str, Any]:
        """Convert the wide images to bytes, and write all to the disk; returns the index."""
        ranges = {
            kind: black_to_white or brightness.of_folder(kind, *extremes)
            for kind, extremes in self.extremes.items()
        }
        path, reasons = self.part / "images.bin", "".join(f"{reason}\n" for reason in self.reasons)
        if self.wide_rows:
            images = np.memmap(path, np.uint8, mode="r+").reshape(-1, *self.shape)
            wide_values = np.memmap(self.part / "wide.bin", np.float32, mode="r")
            wide = wide_values.reshape(-1, *self.shape[1:])
            for row, kind, values in zip(self.wide_rows, self.wide_kinds, wide, strict=True):
                images[row] = brightness.as_bytes(values, ranges[kind])
            del images

        (self.part / "wide.bin").unlink()
        with path.open("rb") as file:
            os.fsync(file.fileno())
        (self.part / UNREADABLE).write_text(reasons, encoding="utf-8", errors="replace")
        return {
            "files": len(self.readable),
            "readable": b85encode(np.packbits(self.readable).tobytes()).decode(),
            "passing": any(reason.startswith(PASSING) for reason in self.reasons),
            "ranges": ranges,
            "sides": self.sides,
            "cut": self.truncated,
            "sums": _checksums(path),
        }
