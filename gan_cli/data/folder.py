"""A folder of images of any kind, packed once into one file of bytes that later runs map into memory."""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from base64 import b85decode, b85encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from gan_cli.data.dataset import FEW, Dataset, Spec, class_names
from gan_cli.data.listing import Listing, listing
from gan_cli.errors import UserError
from gan_cli.files import cache_folder
from gan_cli.registry import Count, datasets

log = logging.getLogger(__name__)

FORMAT = 3
"""Version of the packed file; part of its name."""
UNREADABLE = "unreadable.txt"  # beside the packed images: a line a file
PASSING = "(now) "  # begins the line of a file that may be readable another time
AT_ONCE = 512  # images decoded before they are written


@datasets.register("image_folder")
class ImageFolder(Dataset):
    """Every image below a folder: RGB, grey, palette, 16 bits, with alpha (shown on white); resized and cropped.

    The folders right below are the classes, if there are two or more; files right in the folder have none. Folders
    called `train` and `test` (or `val`) are the split instead, with the classes below them. Without such folders a
    share of every class is held out, always the same files.

    The first use packs the images into the cache folder ($GAN_CACHE), a byte a value; later runs map that file. A file
    that is added, changed or removed makes a new one.

    Args:
        folder: where the images are.
        image_size: side; the shorter side is resized to it and the middle of the longer one kept.
        channels: 3 for colour, 1 for grey.
        classes: false takes no notice of class folders.
        flip: add every image's mirror image to the training set.
        heldout: share held out, where the folder has no split of its own.
        unreadable: share of files that may be left out because they cannot be read.
    """

    kind: ClassVar[str] = "image"
    metrics: ClassVar[tuple[str, ...]] = ("classifier", "patches")

    def __init__(
        self,
        folder: str,
        image_size: Count = 32,
        channels: Annotated[int, Gt(0), Lt(4)] = 3,
        classes: bool = True,
        flip: bool = False,
        heldout: Annotated[float, Gt(0), Lt(1)] = 0.1,
        unreadable: Annotated[float, Ge(0), Lt(1)] = 0.01,
    ) -> None:
        if channels == 2:
            raise UserError("data.channels=2: take 1 (grey) or 3 (colour).")
        files = listing(Path(folder).expanduser(), classes, heldout)
        images, readable, bad = packed(files, Path(folder).expanduser(), (channels, image_size, image_size))
        names = files.classes
        if (left_out := int((~readable).sum())) > unreadable * len(readable):
            raise UserError(
                f"data.folder={folder}: {left_out} of its {len(readable)} images cannot be read (their names are in "
                f"{bad}), more than data.unreadable={unreadable}; mend or remove them, or allow a larger share."
            )
        y = torch.from_numpy(files.labels[readable])
        first, count = int((readable & ~files.heldout).sum()), len(y)
        if not 0 < first < count:
            raise UserError(f"data.folder={folder}: needs at least one image to learn from and one to hold out.")
        self.train, self.heldout = {"x": images[:first], "y": y[:first]}, {"x": images[first:], "y": y[first:]}
        shape, known = tuple(images.shape[1:]), class_names(names, len(names))
        self.spec, self.flip = Spec("image", shape, classes=len(names), names=known), flip
        self.resizing = f"shorter side to {image_size} by Lanczos, its middle kept"
        self.note = f"{first} images of {len(names)} classes to learn from, {count - first} held out"
        if names and count - first < FEW:
            self.note += ", too few for the scores that need labels"
        missing = f"; {left_out} cannot be read and are left out, see {bad}" if left_out else ""
        self.note += missing
        if not names:
            self.note = (
                f"{first} images to learn from, {count - first} held out; without class folders the scores "
                "that need labels (classifier_score, classes_covered, frechet_classifier_distance) are left out and "
                f"sliced_wasserstein remains{missing}"
            )


def usual_size(folder: Path) -> int:
    """The shorter side of the first image below a folder that can be read. Raises UserError if there is none."""
    files = listing(folder.expanduser(), False, 0.5)
    for first in range(0, len(files), AT_ONCE):
        for path in files.paths(first, first + AT_ONCE):
            with suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError), Image.open(path) as image:
                return min(image.size)
    raise UserError(f"data.folder={folder}: none of its {len(files)} images can be read.")


# --- the packed file --------------------------------------------------------------------------------------------------


def packed(files: Listing, folder: Path, shape: tuple[int, int, int]) -> tuple[Tensor, Any, Path]:
    """All images as bytes (n, *shape), mapped from the cache; which of the files could be read (an array of truth
    values); where the others are listed.

    Raises:
        UserError: not one can be read, or the disk is full.
    """
    key = hashlib.sha256(f"{FORMAT} {shape} {files.mark} ".encode() + os.fsencode(folder.resolve()))
    key.update(np.packbits(files.heldout).tobytes())
    target = cache_folder() / "packed" / key.hexdigest()[:16]
    readable = _index(target, shape)
    if readable is None or _passing(target):
        try:
            with _held(target.with_suffix(".lock")):
                if _index(target, shape) is None or _passing(target):
                    _pack(files, folder, shape, target)
        except OSError as error:
            raise UserError(
                f"data.folder={folder}: the packed images cannot be kept in {target.parent} ({error.strerror}); make "
                "room, or set the environment variable GAN_CACHE to a folder on another disk."
            ) from None
        readable = _index(target, shape)
        assert readable is not None
    mapped: Any = np.memmap(target / "images.bin", np.uint8, mode="c", shape=(int(readable.sum()), *shape))
    return torch.from_numpy(mapped), readable, target / UNREADABLE


def _index(target: Path, shape: tuple[int, int, int]) -> Any:
    """Which images a packed file holds; None where there is none, or a damaged one."""
    try:
        index = json.loads((target / "index.json").read_text(encoding="utf-8"))
        bits = np.frombuffer(b85decode(index["readable"]), np.uint8)
        readable = np.unpackbits(bits, count=index["files"]).astype(bool)
        whole = (target / "images.bin").stat().st_size == int(readable.sum()) * shape[0] * shape[1] * shape[2]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return readable if whole else None


def _passing(target: Path) -> bool:
    """Whether a file was left out for what may have been over a moment later: a disk or a network that failed."""
    try:
        return bool(json.loads((target / "index.json").read_text(encoding="utf-8")).get("passing"))
    except (OSError, ValueError):
        return False


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """One process packs; others that want the same file wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pack(files: Listing, folder: Path, shape: tuple[int, int, int], target: Path) -> None:
    """Write the packed file beside its place and move it there whole."""
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir()
    log.info("packing %d images of %s (once; kept in %s)", len(files), folder, target)
    readable = np.zeros(len(files), bool)
    reasons: list[str] = []
    try:
        with (part / "images.bin").open("wb") as file, ThreadPoolExecutor() as pool:
            for first in tqdm(range(0, len(files), AT_ONCE), desc="packing", unit=f" x {AT_ONCE}", disable=None):
                paths = files.paths(first, first + AT_ONCE)
                for i, image in enumerate(pool.map(lambda path: _read(path, shape), paths), first):
                    readable[i] = isinstance(image, bytes)
                    if isinstance(image, bytes):
                        file.write(image)
                    else:
                        reasons.append(image)
            file.flush()
            os.fsync(file.fileno())
        if not readable.any():
            raise UserError(f"data.folder={folder}: none of its {len(files)} images can be read.")
        (part / UNREADABLE).write_text("".join(f"{reason}\n" for reason in reasons), encoding="utf-8", errors="replace")
        index = {"files": len(files), "readable": b85encode(np.packbits(readable).tobytes()).decode()}
        index["passing"] = any(reason.startswith(PASSING) for reason in reasons)
        (part / "index.json").write_text(json.dumps(index), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _read(path: Path, shape: tuple[int, int, int]) -> bytes | str:
    """An image as bytes of the shape, or the path and the reason for a file that cannot be read."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            plain = _on_white(_eight_bits(upright)).convert("L" if shape[0] == 1 else "RGB")
            fitted = np.asarray(ImageOps.fit(plain, shape[1:], Image.Resampling.LANCZOS))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        known = getattr(error, "errno", None) in (None, errno.ENOENT)  # the file's fault, not the disk's
        return f"{'' if known else PASSING}{path}: {' '.join(str(error).split()) or type(error).__name__}"
    return np.ascontiguousarray(fitted.reshape(*shape[1:], shape[0]).transpose(2, 0, 1)).tobytes()


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow cuts 16 bits off at 255 instead of scaling them; values with a point lie in [0, 1] or in [0, 255], and
    integers that do not pass 255 are bytes in a wide format."""
    if image.mode not in ("F", "I") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image, dtype=np.float64)
    values = np.nan_to_num(values)
    scale = (255 if values.max() <= 1 else 1) if image.mode == "F" else 1 if values.max() <= 255 else 1 / 257
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
