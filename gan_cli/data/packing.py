"""Images of a folder, packed once into one file of bytes that later runs map into memory."""

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
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from gan_cli.data import brightness
from gan_cli.data.listing import Listing
from gan_cli.errors import UserError
from gan_cli.files import cache_folder, is_sealed, lock, locked, read_json, seal
from gan_cli.reading import images as decoding

log = logging.getLogger(__name__)

Shape = tuple[int, int, int]
FORMAT = 4
"""Version of the packed file; part of its name."""
UNREADABLE = "unreadable.txt"  # beside the packed images: a line a file
PASSING = "(now) "  # begins the line of a file that may be readable another time
# images that are decoded before they are written: so many, or so many bytes of them
AT_ONCE, BYTES = 512, 2**28
PIECE = 2**22  # bytes of the packed file that have a checksum of their own


@dataclass(frozen=True)
class Packed:
    """All images of a folder that can be read.

    Args:
        images: bytes (n, *shape), mapped from the cache.
        readable: which of the files they are, an array of truth values.
        ranges: see `ImageFolder`.
        sides: the smallest and the largest of their shorter sides, before they were resized.
        cut: how many images are the upper 8 of 16 bits, see `decoding.loses_bits`.
        listed: where the others are listed.
    """

    images: Tensor
    readable: Any
    ranges: dict[str, brightness.Range]
    sides: tuple[int, int]
    cut: int
    listed: Path

    @property
    def left_out(self) -> int:
        return int((~self.readable).sum())

    @property
    def reason(self) -> str:
        """The first file that cannot be read, and why."""
        with self.listed.open(encoding="utf-8") as file:
            return file.readline().strip().removeprefix(PASSING)


def packed(
    files: Listing, folder: Path, shape: Shape, black_to_white: brightness.Range | None
) -> Packed:
    """The images from the cache; they are packed first where they are not there, damaged, or
    incomplete by a fault that may be over.

    Raises:
        UserError: not one can be read, or the disk is full.
    """
    key = hashlib.sha256(
        f"{FORMAT} {shape} {black_to_white} {files.digest} ".encode()
        + os.fsencode(folder.resolve())
    )
    key.update(np.packbits(files.heldout).tobytes())
    target = cache_folder() / "packed" / key.hexdigest()[:16]
    index = _index(target, shape)
    if index is None or index["passing"]:
        try:
            _remove_leftovers(target.parent)
            with _only_one(target.with_suffix(".lock")):
                index = _index(target, shape)
                if index is None or index["passing"]:
                    index = _pack(files, folder, shape, black_to_white, target)
        except OSError as error:
            raise UserError(
                f"data.folder={folder}: the packed images cannot be kept in {target.parent} "
                f"({error.strerror}); make room, or set the environment variable GAN_CACHE to a "
                "folder on another disk."
            ) from None
    readable = _unpacked(index)
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
    """What a packed file holds; None where there is none, or one that is not as it was written."""
    path, images = target / "index.json", target / "images.bin"
    index = read_json(path) if is_sealed(path) else {}
    try:
        size = int(_unpacked(index).sum()) * prod(shape)
        whole = images.stat().st_size == size and _sums(images) == index["sums"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return index if whole else None


def _unpacked(index: dict[str, Any]) -> Any:
    """Which of the files could be read."""
    bits = np.frombuffer(b85decode(index["readable"]), np.uint8)
    return np.unpackbits(bits, count=index["files"]).astype(bool)


def _sums(path: Path) -> list[int]:
    """Checksums of the pieces of a file."""

    def one(first: int) -> int:
        with path.open("rb") as file:
            file.seek(first)
            return zlib.crc32(file.read(PIECE))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, range(0, path.stat().st_size, PIECE)))


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
) -> dict[str, Any]:
    """Write the packed file beside its place and move it there whole; its index."""
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir()
    try:
        _refuse_too_many(len(files) * prod(shape), shape, part)
        log.info("packing %d images of %s (once; kept in %s)", len(files), folder, target)
        work = _Packing(part, shape, np.zeros(len(files), bool))
        work.read(files)
        if not work.readable.any():
            raise UserError(
                f"data.folder={folder}: none of its {len(files)} images can be read; the first: "
                f"{work.reasons[0].removeprefix(PASSING)}."
            )
        index = work.finish(black_to_white)
        (part / "index.json").write_text(json.dumps(index), encoding="utf-8")
        seal(part / "index.json")
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return index


def gib(size: int) -> str:
    return f"{Decimal(size) / 2**30:.3g} GiB"


def _refuse_too_many(size: int, shape: Shape, place: Path) -> None:
    free = shutil.disk_usage(place).free
    if size > free:
        raise UserError(
            f"data.image_size={shape[1]}: the packed images need {gib(size)}, and {place.parent} "
            f"has {gib(free)} free; make it smaller, or set the environment variable GAN_CACHE to "
            "a folder on another disk."
        )


@dataclass
class _Packing:
    """A packed file that is being written, in the folder `part`.

    Images of wide values wait in a file of their own until those of the whole folder are known.
    """

    part: Path
    shape: Shape
    readable: Any
    reasons: list[str] = field(default_factory=list)
    rows: Any = field(default_factory=lambda: array("q"))  # of the images that wait
    kinds: list[str] = field(default_factory=list)  # and of which kind each is
    # the least and the greatest value of a kind
    ends: dict[str, brightness.Range] = field(default_factory=dict)
    sides: tuple[int, int] = (sys.maxsize, 0)
    cut: int = 0

    def read(self, files: Listing) -> None:
        """Decode every file, some at a time."""
        step = max(1, min(AT_ONCE, BYTES // prod(self.shape)))
        written = 0
        with (
            (self.part / "images.bin").open("wb") as images,
            (self.part / "wide.bin").open("wb") as wide,
            ThreadPoolExecutor() as pool,
        ):
            for first in tqdm(
                range(0, len(files), step), desc="packing", unit=f" x {step}", disable=None
            ):
                paths = files.paths(first, first + step)
                for i, image in enumerate(
                    pool.map(lambda path: _read(path, self.shape), paths), first
                ):
                    if isinstance(image, str):
                        self.reasons.append(image)
                        continue
                    self.readable[i] = True
                    self.sides = min(self.sides[0], image.side), max(self.sides[1], image.side)
                    self.cut += image.cut
                    if image.kind:
                        self._wait(written, image)
                        wide.write(image.values)
                    images.write(bytes(prod(self.shape)) if image.kind else image.values)
                    written += 1

    def _wait(self, row: int, image: "_Read") -> None:
        self.rows.append(row)
        self.kinds.append(image.kind)
        low, high = self.ends.get(image.kind, image.ends)
        self.ends[image.kind] = min(low, image.ends[0]), max(high, image.ends[1])

    def finish(self, black_to_white: brightness.Range | None) -> dict[str, Any]:
        """Bring the images that wait to bytes, and everything to the disk; the index."""
        ranges = {
            kind: black_to_white or brightness.of_folder(kind, *ends)
            for kind, ends in self.ends.items()
        }
        path, reasons = self.part / "images.bin", "".join(f"{reason}\n" for reason in self.reasons)
        if self.rows:
            images = np.memmap(path, np.uint8, mode="r+").reshape(-1, *self.shape)
            waiting = np.memmap(self.part / "wide.bin", np.float32, mode="r").reshape(
                -1, *self.shape[1:]
            )
            for row, kind, values in zip(self.rows, self.kinds, waiting, strict=True):
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
            "cut": self.cut,
            "sums": _sums(path),
        }


@dataclass(frozen=True)
class _Read:
    """An image of the packed file's shape; or, of wide values, the values themselves, float32 of
    its sides.

    Args:
        side: the shorter side of the file's image.
        kind: see `brightness.kind`.
        ends: the least and the greatest value of the file's image.
        cut: whether bits of it were lost.
    """

    values: bytes
    side: int
    cut: bool = False
    kind: str = ""
    ends: brightness.Range = (0, 0)


def _read(path: Path, shape: Shape) -> _Read | str:
    """An image, or the path and the reason for a file that cannot be read, whatever a decoder makes
    of it."""
    try:
        with decoding.opened(path) as image:
            side, cut = min(image.size), decoding.loses_bits(image)
            decoding.draft(image, shape[1])
            ImageOps.exif_transpose(image, in_place=True)
            if kind := brightness.kind(image):
                values = brightness.values(image)
                fitted = ImageOps.fit(Image.fromarray(values), shape[1:], Image.Resampling.LANCZOS)
                ends = float(values.min()), float(values.max())
                return _Read(np.asarray(fitted).tobytes(), side, kind=kind, ends=ends)
            colours = np.asarray(_fitted(image, shape)).reshape(*shape[1:], shape[0])
            return _Read(np.ascontiguousarray(colours.transpose(2, 0, 1)).tobytes(), side, cut)
    except Exception as error:
        return f"{PASSING if decoding.is_passing(error) else ''}{path}: {decoding.why(error)}"


def _fitted(image: Image.Image, shape: Shape) -> Image.Image:
    """An image of bytes, resized and cropped. Grey ones take their colours last, which comes to the
    same."""
    last = "L" if shape[0] == 1 else "RGB"
    plain = _on_white(image)
    first = "L" if plain.mode in ("1", "L") else last
    plain = plain if plain.mode == first else plain.convert(first)
    fitted = ImageOps.fit(plain, shape[1:], Image.Resampling.LANCZOS)
    return fitted if first == last else fitted.convert(last)


def _on_white(image: Image.Image) -> Image.Image:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
