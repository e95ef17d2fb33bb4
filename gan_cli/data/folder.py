"""A folder of images of any kind, see `gan_cli.data.packing` for how they are kept."""

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
from gan_cli.data.listing import Listing, listing, told
from gan_cli.data.packing import AT_ONCE, Packed, gib, packed
from gan_cli.data.spec import Spec, class_names
from gan_cli.errors import UserError, on_one_line
from gan_cli.files import memory
from gan_cli.reading import images as decoding
from gan_cli.registry import Count, datasets

log = logging.getLogger(__name__)


@datasets.register("image_folder")
class ImageFolder(Dataset):
    """Every image below a folder: RGB, grey, palette, 16 bits, with alpha (shown on white); resized
    and cropped.

    The folders right below are the classes, if there are two or more, in natural order (2 before
    10); files right in the folder have none. Folders called `train` and `test` (or `val`) are the
    split instead, with the classes below them. Without such folders a share of every class is held
    out, always the same files.

    Values of more than 8 bits are brought to bytes by one range for the whole folder, see
    `gan_cli.data.brightness.of_folder`.

    The first use packs the images into the cache folder ($GAN_CACHE), a byte a value; later runs
    map that file. A file that is added, changed or removed makes a new one.

    Args:
        folder: where the images are.
        image_size: side; the shorter side is resized to it and the middle of the longer one kept.
        channels: 3 for colour, 1 for grey.
        classes: false takes no notice of class folders.
        flip: add every image's mirror image to the training set.
        heldout: share held out, where the folder has no split of its own.
        unreadable: share of files that may be left out because they cannot be read.
        range: [black, white], the values of both in files of more than 8 bits; null takes them from
            the whole folder.

    Attributes:
        ranges: what was black and white in wide integers and in values with a point, where there
            are any.
        sides: the smallest and the largest shorter side of its images, before they were resized.
        remarks: what is unusual about the folder, a few words each.
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
        _refuse_absurd_sizes(shape)
        files = listing(Path(folder).expanduser(), classes, heldout)
        found = packed(
            files, Path(folder).expanduser(), shape, (range[0], range[1]) if range else None
        )
        if found.left_out > unreadable * len(files):
            raise UserError(
                f"data.folder={folder}: {found.left_out} of its {len(files)} images cannot be "
                f"read (their names are in {found.listed}; the first: {found.reason}), more than "
                f"data.unreadable={unreadable}; mend or remove them, or allow a larger share."
            )
        y = torch.from_numpy(files.labels[found.readable])
        first, count = int((found.readable & ~files.heldout).sum()), len(y)
        if not 0 < first < count:
            raise UserError(
                f"data.folder={folder}: {first} images to learn from and {count - first} to hold "
                "out; needs at least one image to learn from and one to hold out, in train and "
                "val or both in one folder."
            )
        self.train = {"x": found.images[:first], "y": y[:first]}
        self.heldout = {"x": found.images[first:], "y": y[first:]}
        names = files.classes
        self.spec = Spec("image", shape, classes=len(names), names=class_names(names, len(names)))
        self.flip, self.ranges, self.sides = flip, found.ranges, found.sides
        self.resizing = (
            f"shorter side of {_span(found.sides)} to {image_size} by Lanczos, its middle kept"
        )
        lonely = [
            *_without(names, self.train["y"], "to learn from"),
            *_without(names, self.heldout["y"], "held out"),
        ]
        self.remarks = [*lonely, *_remarks(files, found)]
        self.note = "; ".join([self._counts(), *self.remarks])

    def _counts(self) -> str:
        first, rest = len(self.train["y"]), len(self.heldout["y"])
        if not self.spec.classes:
            return (
                f"{first} images to learn from, {rest} held out; without class folders the scores "
                "that need labels (classifier_score, classes_covered, "
                "frechet_classifier_distance) are left out and sliced_wasserstein remains"
            )
        few = ", too few for the scores that need labels" if rest < FEW else ""
        return f"{first} images of {self.spec.classes} classes to learn from, {rest} held out{few}"


def _refuse_absurd_sizes(shape: tuple[int, int, int]) -> None:
    """Raise UserError for images of which the memory does not hold a batch, before anything is
    read."""
    batch = 64 * 4 * prod(shape)
    if batch > memory():
        raise UserError(
            f"data.image_size={shape[1]}: 64 images of that size need {gib(batch)} of the "
            f"{gib(memory())} that there are; make it smaller."
        )


def _span(sides: tuple[int, int]) -> str:
    return f"{sides[0]} pixels" if sides[0] == sides[1] else f"{sides[0]} to {sides[1]} pixels"


def _without(names: list[str], y: Tensor, what: str) -> list[str]:
    """A remark on classes that have no image in a part of the data."""
    counts = torch.bincount(y, minlength=len(names)).tolist()
    missing = [name for name, count in zip(names, counts, strict=False) if not count]
    more = f" and {len(missing) - 5} others" if len(missing) > 5 else ""
    which = f"class{'es' * (len(missing) > 1)} {', '.join(missing[:5])}{more}"
    return [on_one_line(f"{which}: no image {what}")] if missing else []


def _remarks(files: Listing, found: Packed) -> list[str]:
    """What a user would not expect of a folder, if it is so."""
    wide = [f"{brightness.KINDS[kind]}: {low:g} is black, {high:g} white (data.range sets them)"
            for kind, (low, high) in found.ranges.items()]  # fmt: skip
    cut = [f"{found.cut} colour images of 16 bits: the upper 8 are taken"] if found.cut else []
    passed = [f"passed over: {told(files.passed)}"] if files.passed else []
    missing = (
        [f"{found.left_out} cannot be read and are left out, see {found.listed}"]
        if found.left_out
        else []
    )
    return [*wide, *cut, *passed, *missing]


def usual_size(folder: Path) -> int:
    """The shorter side that images below a folder have: of all that can be read, the middle one.

    Raises:
        UserError: none can be read.
    """
    files = listing(folder.expanduser(), False, 0.5)
    with ThreadPoolExecutor() as pool:
        chunks = (files.paths(first, first + AT_ONCE) for first in range(0, len(files), AT_ONCE))
        looked = [side for paths in chunks for side in pool.map(_side, paths)]
    sides = [side for side in looked if isinstance(side, int)]
    if not sides:
        raise UserError(
            f"data.folder={folder}: none of its {len(files)} images can be read; the "
            f"first: {looked[0]}."
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
    """Say what is unusual about two folders that are compared.

    Raises:
        UserError: the same value would not be equally bright in both.
    """
    for kind in samples.ranges.keys() & real.ranges.keys():
        if samples.ranges[kind] != real.ranges[kind]:
            both = [
                f"{low:g} to {high:g}" for low, high in (samples.ranges[kind], real.ranges[kind])
            ]
            raise UserError(
                f"data.range: {brightness.KINDS[kind]} run from {both[0]} in the samples and from "
                f"{both[1]} in the real images; say which value is black and which is white by "
                "data.range=[BLACK,WHITE]."
            )
    size = real.spec.shape[-1]
    if real.sides != (size, size):
        log.warning("real: shorter sides of %s; all are resized to %d", _span(real.sides), size)
    for key, found in (("samples", samples), ("real", real)):
        for remark in found.remarks:
            log.warning("%s: %s", key, remark)


def _side(path: Path) -> int | str:
    """The shorter side of an image, or why it cannot be read."""
    try:
        with decoding.looked_at(path) as image:
            return min(image.size)
    except Exception as error:
        return f"{path}: {decoding.why(error)}"
