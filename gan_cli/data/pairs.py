"""Pairs of images: `x_a`, the input, and `x`, the image that belongs to it."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from gan_cli import noise
from gan_cli.data import label_maps
from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.derived import made, original
from gan_cli.data.folder import refuse_unreadable
from gan_cli.data.listing import Listing, listing
from gan_cli.data.packing import Packed, packed
from gan_cli.data.spec import Field, Spec
from gan_cli.errors import UserError
from gan_cli.registry import Count, datasets

SIDES = ("left", "right")
DEFAULT_SIZE = 64  # pixels a side of the images of a folder
CHUNK = 200  # label maps that are read at a time


@datasets.register("pairs")
class Pairs(Dataset):
    """Pairs of images from files, or of any images and an input that is made of them.

    - `data.folder=F`: every file shows two images side by side, the input at the left
      (`data.inputs=right`: at the right);
    - `data.folder=F data.inputs=G`: the inputs are in a folder of their own, with the same names;
    - `data.make=grey data.folder=F`, or `data.of=cifar10`: the inputs are made of the images.

    Reference: Isola et al., 2017, "Image-to-Image Translation with Conditional Adversarial
    Networks", arXiv 1611.07004, section 4 lists such tasks. A folder may have a split of its own,
    `train` and `val`.

    Args:
        of: a data set of images, where `folder` names none.
        folder: where the images are.
        inputs: the side of the input in every file, `left` or `right`, or the folder of the inputs.
        make: how the inputs are made of the images: `grey`, `edges` (of bright areas), `sketch`
            (dark lines), `mask` (a square hole), `blur`, `noise`, `low_resolution` (blocks of
            pixels averaged) or `downscaled` (smaller images); null takes those of the folder's
            files; without a folder, `grey`, or the `edges` of grey images.
        factor: of `low_resolution` and `downscaled`, the ratio of the sides.
        labels: of label maps in files, how many labels there are at most. Maps are numbers as
            shades of grey, or colours; those of compressed pictures count as the nearest of the
            most frequent ones.
        labelled: which side of a pair is the label map. As inputs, networks see a one-hot vector of
            each pixel; as images, the clean colours.
        identities: what says whose image a file is: its `folder`, or its `name` up to the first
            underscore, hyphen or blank; they enter scores only.
        label_names: names of the labels, in the order of their numbers or of their colours.
        image_size: side of both images; null takes the data set's own, 64 for a folder.
        channels: of the images of a folder: 3 for colour, 1 for grey.
        flip: add the mirror images of all pairs to the training set.
        jitter: by how much training enlarges both images of a pair, as a fraction of the side, to
            cut them at a random place; the paper's is 0.12 (286 pixels cut to 256).
        heldout: share held out, where the folder has no split of its own.
        unreadable: share of a folder's files that may be left out because they cannot be read.
        root: folder above the files of `of`.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "x_a")
    metrics: ClassVar[tuple[str, ...]] = (
        "pairs", "patches", "super_resolution", "segmentation", "identification",
    )  # fmt: skip

    def __init__(
        self,
        of: Literal[
            "shapes", "digits", "mnist", "fashion_mnist", "kmnist", "usps", "cifar10", "svhn"
        ] = "shapes",
        folder: str | None = None,
        inputs: str = "left",
        make: Literal[
            "blur", "downscaled", "edges", "grey", "low_resolution", "mask", "noise", "sketch"
        ]
        | None = None,
        factor: Annotated[int, Ge(2), Le(16)] = 4,
        labels: Annotated[int, Ge(2), Le(255)] | None = None,
        labelled: Literal["inputs", "images"] = "inputs",
        label_names: list[str] | None = None,
        identities: Literal["folder", "name"] | None = None,
        image_size: Count | None = None,
        channels: Literal[1, 3] = 3,
        flip: bool = False,
        jitter: Annotated[float, Ge(0), Le(1)] = 0.0,
        heldout: Annotated[float, Gt(0), Lt(1)] = 0.1,
        unreadable: Annotated[float, Ge(0), Lt(1)] = 0.01,
        root: str | None = None,
    ) -> None:
        _refuse_together(make, folder, inputs, labels, identities)
        maps = "" if labels is None else {"inputs": "x_a", "images": "x"}[labelled]
        self.flip, self.jitter = flip, jitter
        self.judged, self.identities = identities is not None, identities
        size = image_size or DEFAULT_SIZE
        if folder is None:
            self._take(original(of, image_size, root))
        elif make:
            self._take(original("image_folder", size, None, folder=folder, channels=channels,
                           heldout=heldout, classes=False, unreadable=unreadable))  # fmt: skip
        else:
            sizes = (int(channels), size, size)
            self._read(Path(folder).expanduser(), inputs, sizes, heldout, unreadable, maps)

        if folder is None and make is None:
            make = "grey" if self.train["x"].shape[1] == 3 else "edges"
        if make:
            for split, fields in (("train", self.train), ("heldout", self.heldout)):
                fields["x_a"] = made(make, fields["x"], factor, split)

        self.palette: tuple[tuple[int, int, int], ...] = ()
        if labels:
            self._label(maps, labels, label_names, unreadable)
        self.spec = self._spec
        self.note = f"{len(self.train['x'])} pairs to learn from, {len(self.heldout['x'])} held out"

    def _take(self, images: Dataset) -> None:
        """Take the images of another data set, without their labels."""
        self.resizing = images.resizing
        self.train, self.heldout = ({"x": part["x"]} for part in (images.train, images.heldout))

    def _read(
        self,
        folder: Path,
        inputs: str,
        shape: tuple[int, int, int],
        share: float,
        unreadable: float,
        maps: str,
    ) -> None:
        """Read pairs from files, side by side or from two folders.

        Args:
            maps: the field that holds label maps, whose colours are not mixed; or empty.
        """
        _, height, width = shape
        files = listing(folder, False, share)
        self.resizing = f"every image to {height}x{width} by Lanczos, the middle kept"
        shapes = {name: (3, height, width) if name == maps else shape for name in ("x", "x_a")}
        if inputs in SIDES:
            fields = {}
            for name, (channels, *_) in shapes.items():
                wide = (channels, height, 2 * width)
                images = packed(files, folder, wide, exact=name == maps)
                left, right = images.images.split(width, dim=3)
                fields[name] = left if (inputs == "left") == (name == "x_a") else right
            refuse_unreadable(str(folder), files, images, unreadable)
            self._split(folder, files, images.readable, fields)
            return

        other = Path(inputs).expanduser()
        other_files = listing(other, False, share)
        places = _places(folder, files, other, other_files)
        pair = (
            packed(files, folder, shapes["x"], exact=maps == "x"),
            packed(other_files, other, shapes["x_a"], exact=maps == "x_a"),
        )
        for where, which, images in ((folder, files, pair[0]), (other, other_files, pair[1])):
            refuse_unreadable(str(where), which, images, unreadable)
        readable = pair[0].readable & pair[1].readable[places]
        x = _rows(pair[0], np.flatnonzero(readable))
        self._split(folder, files, readable, {"x": x, "x_a": _rows(pair[1], places[readable])})

    def _label(self, field: str, most: int, names: list[str] | None, unreadable: float) -> None:
        """Replace the colours of label maps by the numbers of their labels, or by clean colours.

        Raises:
            UserError: fewer labels than there are names, or too many maps of other colours.
        """
        colours = label_maps.palette(self.train[field], most)
        if names and len(names) != len(colours):
            raise UserError(
                f"data.label_names={names}: {len(names)} names, and the maps have {len(colours)} "
                "labels; give one name each, in the order of the colours."
            )
        strange = torch.cat(
            [label_maps.strange(part, colours) for part in self.train[field].split(CHUNK)]
        )
        wrong = int((strange > label_maps.STRANGE).sum())
        if wrong > unreadable * len(strange):
            raise UserError(
                f"data.labels={most}: {wrong} of {len(strange)} label maps have colours that are "
                f"none of the {len(colours)} most frequent ones; raise data.labels, or allow a "
                "larger share by data.unreadable."
            )

        for part in (self.train, self.heldout):
            numbers = torch.cat([label_maps.labels(x, colours) for x in part[field].split(CHUNK)])
            part[field] = numbers if field == "x_a" else label_maps.painted(numbers, colours)
        self.palette = tuple(colours)
        self.names = tuple(names or map(str, range(len(colours))))

    @property
    def _spec(self) -> Spec:
        """What the fields are."""
        shape, x_a = tuple(self.train["x"].shape[1:]), self.train["x_a"]
        if x_a.dim() == 3:
            count = len(self.palette)
            other = Field(
                "labels", (count, *x_a.shape[1:]), bounded=False, names=self.names,
                palette=self.palette,
            )  # fmt: skip
            return Spec("image", shape, fields={"x_a": other})
        other = Field("image", tuple(x_a.shape[1:]))
        return Spec("image", shape, fields={"x_a": other}, palette=self.palette)

    def _split(self, folder: Path, files: Listing, readable: Any, fields: Fields) -> None:
        """Set both splits; the files of the training split come first."""
        train = int((readable & ~files.heldout).sum())
        if not 0 < train < len(fields["x"]):
            raise UserError(
                f"data.folder={folder}: {train} pairs to learn from and "
                f"{len(fields['x']) - train} to hold out; needs at least one of each."
            )
        if self.identities:
            fields["i"] = _identities(files, self.identities)[torch.from_numpy(readable)]
        self.train = {name: values[:train] for name, values in fields.items()}
        self.heldout = {name: values[train:] for name, values in fields.items()}

    def judge(self, purpose: str = "scores") -> Dataset:
        """All training images, of either side, whose class is whose image it is; one in ten of them
        is held out, in random order."""
        x = torch.cat([self.train["x"], self.train["x_a"]])
        known, y = self.train["i"].unique(return_inverse=True)
        order = torch.randperm(len(x), generator=noise.generator("judge"))
        x, y = x[order], y.repeat(2)[order]
        judge, held_out = Dataset(), len(x) // 10
        judge.spec = Spec("image", self.spec.shape, classes=len(known))
        judge.train = {"x": x[held_out:], "y": y[held_out:]}
        judge.heldout = {"x": x[:held_out], "y": y[:held_out]}
        return judge


def _refuse_together(
    make: str | None, folder: str | None, inputs: str, labels: int | None, identities: str | None
) -> None:
    """Raise UserError for options that do not go together."""
    if make and inputs != "left":
        raise UserError(
            f"data.inputs={inputs}: the inputs are made by data.make={make}; leave one out."
        )
    if labels and (make or folder is None):
        raise UserError(
            f"data.labels={labels}: label maps are those of files; take data.folder=FOLDER and no "
            "data.make."
        )
    if identities and (make or folder is None):
        raise UserError(
            f"data.identities={identities}: are told by files; take data.folder=FOLDER and no "
            "data.make."
        )


def _identities(files: Listing, told: str) -> Tensor:
    """Whose image each file is, as numbers from 0, (n,)."""
    paths = files.paths(0, len(files))
    names = [
        path.parent.name if told == "folder" else re.split("[_ -]", path.stem)[0] for path in paths
    ]
    _, numbers = np.unique(names, return_inverse=True)
    return torch.from_numpy(numbers)


def _places(folder: Path, files: Listing, other: Path, other_files: Listing) -> Any:
    """The place of the input of each image among the other files, (n,).

    They belong together by their names without the suffix.

    Raises:
        UserError: a file has no partner, or two differ by their suffix only.
    """
    names, others = (
        [str(path.relative_to(found.folder).with_suffix("")) for path in found.paths(0, len(found))]
        for found in (files, other_files)
    )
    for where, known in ((folder, names), (other, others)):
        if twice := [name for name, count in Counter(known).items() if count > 1]:
            raise UserError(f"{where}: two images are called {twice[0]}; a pair needs one of each.")

    if lone := sorted({*names} ^ {*others}):
        where = other if lone[0] in names else folder
        raise UserError(
            f"data.inputs={other}: its images are not those of data.folder={folder} ({lone[0]} is "
            f"not in {where}); both need files of the same names."
        )
    place = {name: i for i, name in enumerate(others)}
    return np.array([place[name] for name in names])


def _rows(images: Packed, places: Any) -> Tensor:
    """The images of these files, all of which can be read."""
    rows = np.cumsum(images.readable) - 1
    if np.array_equal(rows[places], np.arange(len(images.images))):
        return images.images  # mapped from the cache, not copied
    return images.images[torch.from_numpy(rows[places])]
