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
FORMAT = 4  # version of the packed file; part of its name
UNREADABLE = "unreadable.txt"  # report beside the packed images: one line for each file
PASSING = "(now) "  # begins the line of a file that may be readable another time
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
        truncated: number of images reduced to the upper 8 of 16 bits, see `decoding.loses_bits`.
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

    def _decoded(self, files: Listing) -> "Iterator[_Image | str]":
        """All images in their order, decoded in parallel; a reason for an unreadable one."""
        step = max(1, min(AT_ONCE, BYTES // prod(self.shape)))
        steps = range(0, len(files), step)
        with ThreadPoolExecutor() as pool:
            for first in tqdm(steps, desc="packing", unit=f" x {step}", disable=None):
                paths = files.paths(first, first + step)
                yield from pool.map(lambda path: _read(path, self.shape, self.exact), paths)

    def _add_wide(self, row: int, image: "_Image") -> None:
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


@dataclass(frozen=True)
class _Image:
    """An image of the sides of the packed file.

    Args:
        values: its bytes (channels, height, width); float32 (height, width) for a wide image.
        side: the shorter side of the image in its file.
        truncated: whether it was reduced to the upper 8 of 16 bits.
        kind: see `brightness.kind`.
        extremes: smallest and largest value of a wide image.
    """

    values: bytes
    side: int
    truncated: bool = False
    kind: str = ""
    extremes: brightness.Range = (0, 0)


def _read(path: Path, shape: Shape, exact: bool = False) -> _Image | str:
    """The image in a file; if it cannot be read, its path and the reason."""
    try:
        with decoding.opened(path) as image:
            side, truncated = min(image.size), decoding.loses_bits(image)
            decoding.draft(image, shape[1])
            ImageOps.exif_transpose(image, in_place=True)
            if kind := brightness.kind(image):
                values = brightness.values(image)
                fitted = _fit(Image.fromarray(values), shape)
                extremes = float(values.min()), float(values.max())
                return _Image(np.asarray(fitted).tobytes(), side, kind=kind, extremes=extremes)

            pixels = np.asarray(_fitted(image, shape, exact)).reshape(*shape[1:], shape[0])
            content = np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()
            return _Image(content, side, truncated)
    except Exception as error:  # decoders raise any type for a damaged file
        return f"{PASSING if decoding.is_passing(error) else ''}{path}: {decoding.why(error)}"


def _fitted(image: Image.Image, shape: Shape, exact: bool = False) -> Image.Image:
    """An image of 8 bits, resized and cropped.

    A grey one is converted to colours last, which is faster and has the same result.
    """
    target = "L" if shape[0] == 1 else "RGB"
    opaque = _on_white(image)
    mode = "L" if opaque.mode in ("1", "L") else target
    opaque = opaque if opaque.mode == mode else opaque.convert(mode)
    fitted = _fit(opaque, shape, exact)
    return fitted if mode == target else fitted.convert(target)


def fitted(path: Path, shape: tuple[int, ...], exact: bool = False) -> torch.Tensor:
    """The image in a file as bytes, (channels, height, width), resized and cropped as a folder's.

    Raises:
        UserError: it cannot be read, or has more than 8 bits; the message does not name the file.
    """
    channels, height, width = shape
    image = _read(path, (channels, height, width), exact)
    if isinstance(image, str):
        reason = image.removeprefix(PASSING).removeprefix(f"{path}: ")
        raise UserError(f"cannot be read as an image ({reason}).")
    if image.kind:
        raise UserError("has more than 8 bits a value; save it with 8.")
    return torch.frombuffer(bytearray(image.values), dtype=torch.uint8).reshape(shape)


def uncropped(path: Path, channels: int, multiple: int) -> torch.Tensor:
    """The image in a file as bytes, (channels, height, width), in its own size: of each side as
    much as is a multiple, from the middle.

    Raises:
        UserError: as `fitted`, or a side is shorter than that.
    """
    try:
        with decoding.opened(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            deep = bool(brightness.kind(image))
            pixels = np.asarray(_on_white(image).convert("L" if channels == 1 else "RGB"))
    except Exception as error:  # decoders raise any type for a damaged file
        raise UserError(f"cannot be read as an image ({decoding.why(error)}).") from None
    if deep:
        raise UserError("has more than 8 bits a value; save it with 8.")

    height, width = (side - side % multiple for side in pixels.shape[:2])
    if not height or not width:
        raise UserError(
            f"is {pixels.shape[1]}x{pixels.shape[0]}; both sides must be {multiple} or more."
        )
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    cut = pixels[top : top + height, left : left + width].reshape(height, width, channels)
    return torch.from_numpy(np.ascontiguousarray(cut.transpose(2, 0, 1)))


def _fit(image: Image.Image, shape: Shape, exact: bool = False) -> Image.Image:
    """An image resized to cover height and width, and its middle."""
    _, height, width = shape
    way = Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS
    return ImageOps.fit(image, (width, height), way)


def _on_white(image: Image.Image) -> Image.Image:
    """The image on a white background, if it is transparent anywhere."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
