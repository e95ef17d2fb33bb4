"""A folder of images of any format; see `gan_cli.data.packing` for how they are stored."""

import logging
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from statistics import median_low
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Len, Lt
from torch import Tensor

from gan_cli.data import brightness
from gan_cli.data.dataset import FEW, Dataset
from gan_cli.data.listing import Listing, listing, skipped_files
from gan_cli.data.packing import AT_ONCE, Packed, gib, packed
from gan_cli.data.spec import Spec, class_names
from gan_cli.errors import UserError, on_one_line
from gan_cli.files import memory
from gan_cli.reading import images as decoding
from gan_cli.registry import Count, datasets

log = logging.getLogger(__name__)

BATCH = 64  # images in the smallest batch that must fit into memory
NAMED = 5  # classes that a remark names, at most


@datasets.register("image_folder")
class ImageFolder(Dataset):
    """All images below a folder, resized and cropped.

    They may be RGB, grey, with a palette, of 16 bits, or with alpha (shown on white).

    Its direct subfolders are the classes, if there are two or more, in natural order (2 before 10);
    with files directly in the folder there are no classes. Subfolders called `train` and `test` (or
    `val`) are the split instead, with the classes below them. Without such folders a share of every
    class is held out, always the same files.

    Values of more than 8 bits are converted to bytes by one range for the whole folder, see
    `gan_cli.data.brightness.of_folder`.

    The first use packs the images into the cache folder ($GAN_CACHE), one byte for each value;
    later runs map that file into memory. If a file is added, changed or removed, they are packed
    again.

    Args:
        folder: where the images are.
        image_size: side; the shorter side is resized to it and the middle of the longer one kept.
        channels: 3 for colour, 1 for grey.
        classes: false ignores class folders.
        flip: add every image's mirror image to the training set.
        heldout: share held out, where the folder has no split of its own.
        unreadable: share of files that may be left out because they cannot be read.
        range: [black, white], the values of both in files of more than 8 bits; null takes them from
            the whole folder.

    Attributes:
        ranges: black and white points of wide integers and of values with a point, if any.
        sides: the smallest and the largest shorter side of its images before they were resized.
        remarks: short remarks on everything unusual about the folder.
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
        range: Annotated[list[float], Len(2, 2)] | None = None,
    ) -> None:
        if channels == 2:
            raise UserError("data.channels=2: take 1 (grey) or 3 (colour).")
        if range and not range[0] < range[1]:
            raise UserError(
                f"data.range={range}: expected [BLACK,WHITE], the first below the second."
            )
        shape = (channels, image_size, image_size)
        _refuse_beyond_memory(shape)

        path = Path(folder).expanduser()
        files = listing(path, classes, heldout)
        images = packed(files, path, shape, (range[0], range[1]) if range else None)
        refuse_unreadable(folder, files, images, unreadable)
        self._split(folder, files, images)

        names = files.classes
        self.spec = Spec("image", shape, classes=len(names), names=class_names(names, len(names)))
        self.flip, self.ranges, self.sides = flip, images.ranges, images.sides
        self.resizing = (
            f"shorter side of {_span(images.sides)} to {image_size} by Lanczos, its middle kept"
        )
        self.remarks = [
            *_empty_classes(names, self.train["y"], "to learn from"),
            *_empty_classes(names, self.heldout["y"], "held out"),
            *_remarks(files, images),
        ]
        self.note = "; ".join([self._counts(), *self.remarks])

    def _split(self, folder: str, files: Listing, images: Packed) -> None:
        """Set the fields of both splits; packed images begin with those of the training split."""
        y = torch.from_numpy(files.labels[images.readable])
        train, total = int((images.readable & ~files.heldout).sum()), len(y)
        if not 0 < train < total:
            raise UserError(
                f"data.folder={folder}: {train} images to learn from and {total - train} to hold "
                "out; needs at least one image to learn from and one to hold out, in train and "
                "val or both in one folder."
            )
        self.train = {"x": images.images[:train], "y": y[:train]}
        self.heldout = {"x": images.images[train:], "y": y[train:]}

    def _counts(self) -> str:
        """Description of the numbers of images and classes."""
        train, heldout = len(self.train["y"]), len(self.heldout["y"])
        if not self.spec.classes:
            return (
                f"{train} images to learn from, {heldout} held out; without class folders the "
                "scores that need labels (classifier_score, classes_covered, "
                "frechet_classifier_distance) are left out and sliced_wasserstein remains"
            )
        few = ", too few for the scores that need labels" if heldout < FEW else ""
        return (
            f"{train} images of {self.spec.classes} classes to learn from, {heldout} held out{few}"
        )


def refuse_unreadable(folder: str, files: Listing, images: Packed, share: float) -> None:
    """Raise UserError if more than this share of a folder's files cannot be read."""
    if images.unreadable > share * len(files):
        raise UserError(
            f"data.folder={folder}: {images.unreadable} of its {len(files)} images cannot be "
            f"read (their names are in {images.report}; the first: {images.reason}), more than "
            f"data.unreadable={share}; mend or remove them, or allow a larger share."
        )


def _refuse_beyond_memory(shape: tuple[int, int, int]) -> None:
    """Raise UserError, before any file is read, if a batch of such images exceeds the memory."""
    batch = BATCH * 4 * prod(shape)  # bytes as float32
    if batch > memory():
        raise UserError(
            f"data.image_size={shape[1]}: {BATCH} images of that size need {gib(batch)} of the "
            f"{gib(memory())} that there are; make it smaller."
        )


def _span(sides: tuple[int, int]) -> str:
    """Description of the smallest and the largest side."""
    return f"{sides[0]} pixels" if sides[0] == sides[1] else f"{sides[0]} to {sides[1]} pixels"


def _empty_classes(names: list[str], y: Tensor, part: str) -> list[str]:
    """A remark on classes that have no image in a split, or no remark."""
    counts = torch.bincount(y, minlength=len(names)).tolist()
    empty = [name for name, count in zip(names, counts, strict=False) if not count]
    more = f" and {len(empty) - NAMED} others" if len(empty) > NAMED else ""
    which = f"class{'es' * (len(empty) > 1)} {', '.join(empty[:NAMED])}{more}"
    return [on_one_line(f"{which}: no image {part}")] if empty else []


def _remarks(files: Listing, images: Packed) -> list[str]:
    """Remarks on everything in a folder that a user may not expect."""
    remarks = [
        f"{brightness.KINDS[kind]}: {low:g} is black, {high:g} white (data.range sets them)"
        for kind, (low, high) in images.ranges.items()
    ]
    if images.truncated:
        remarks.append(f"{images.truncated} colour images of 16 bits: the upper 8 are taken")
    if files.skipped:
        remarks.append(f"passed over: {skipped_files(files.skipped)}")
    if images.unreadable:
        remarks.append(f"{images.unreadable} cannot be read and are left out, see {images.report}")
    return remarks


def usual_size(folder: Path) -> int:
    """The median of the shorter sides of all readable images below a folder.

    Raises:
        UserError: no image can be read.
    """
    files = listing(folder.expanduser(), False, 0.5)
    with ThreadPoolExecutor() as pool:
        chunks = (files.paths(first, first + AT_ONCE) for first in range(0, len(files), AT_ONCE))
        results = [side for paths in chunks for side in pool.map(_side, paths)]
    sides = [side for side in results if isinstance(side, int)]
    if not sides:
        raise UserError(
            f"data.folder={folder}: none of its {len(files)} images can be read; the "
            f"first: {results[0]}."
        )

    usual = median_low(sides)
    if others := sum(side != usual for side in sides):
        log.warning(
            "%s: %d of its %d images have another shorter side than %d, %d to %d pixels; all are "
            "resized to %d",
            on_one_line(str(folder)),
            others,
            len(sides),
            usual,
            min(sides),
            max(sides),
            usual,
        )
    return usual


def compare(samples: ImageFolder, real: ImageFolder) -> None:
    """Log a warning for everything unusual about two folders that are compared.

    Raises:
        UserError: the same value would not be equally bright in both.
    """
    for kind in samples.ranges.keys() & real.ranges.keys():
        if samples.ranges[kind] != real.ranges[kind]:
            ranges = [
                f"{low:g} to {high:g}" for low, high in (samples.ranges[kind], real.ranges[kind])
            ]
            raise UserError(
                f"data.range: {brightness.KINDS[kind]} run from {ranges[0]} in the samples and "
                f"from {ranges[1]} in the real images; say which value is black and which is white "
                "by data.range=[BLACK,WHITE]."
            )

    size = real.spec.shape[-1]
    if real.sides != (size, size):
        log.warning("real: shorter sides of %s; all are resized to %d", _span(real.sides), size)
    for key, dataset in (("samples", samples), ("real", real)):
        for remark in dataset.remarks:
            log.warning("%s: %s", key, remark)


def _side(path: Path) -> int | str:
    """The shorter side of an image, or the reason why it cannot be read."""
    try:
        with decoding.looked_at(path) as image:
            return min(image.size)
    except Exception as error:
        return f"{path}: {decoding.why(error)}"
