"""Pairs of images: `x_a`, the input, and `x`, the image that belongs to it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli import noise, registry
from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.listing import Listing, listing
from gan_cli.data.packing import Packed, packed
from gan_cli.data.spec import Field, Spec
from gan_cli.data.two_domains import MAPS
from gan_cli.errors import UserError
from gan_cli.registry import Count, datasets

SIDES = ("left", "right")
DEFAULT_SIZE = 64  # pixels a side of the images of a folder
CHUNK = 1000  # images whose inputs are made at a time
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, as in ITU-R BT.601
HOLE = 0.5  # side of the hole of a masked image, as a fraction of the image's


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
        make: how the inputs are made of the images: `edges`, `grey`, `low_resolution` (blocks of
            pixels averaged) or `mask` (a square hole); null takes those of the folder's files;
            without a folder, `grey`, or the `edges` of grey images.
        factor: of `low_resolution`, the ratio of the sides.
        image_size: side of both images; null takes the data set's own, 64 for a folder.
        channels: of the images of a folder: 3 for colour, 1 for grey.
        flip: add the mirror images of all pairs to the training set.
        heldout: share held out, where the folder has no split of its own.
        root: folder above the files of `of`.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "x_a")
    metrics: ClassVar[tuple[str, ...]] = ("pairs", "patches")

    def __init__(
        self,
        of: Literal[
            "shapes", "digits", "mnist", "fashion_mnist", "kmnist", "usps", "cifar10", "svhn"
        ] = "shapes",
        folder: str | None = None,
        inputs: str = "left",
        make: Literal["edges", "grey", "low_resolution", "mask"] | None = None,
        factor: Annotated[int, Ge(2), Le(16)] = 4,
        image_size: Count | None = None,
        channels: Literal[1, 3] = 3,
        flip: bool = False,
        heldout: Annotated[float, Gt(0), Lt(1)] = 0.1,
        root: str | None = None,
    ) -> None:
        if make and inputs != "left":
            raise UserError(
                f"data.inputs={inputs}: the inputs are made by data.make={make}; leave one out."
            )

        self.flip = flip
        size = image_size or DEFAULT_SIZE
        if folder is None:
            self._take(_of(of, image_size, root))
        elif make:
            self._take(_of("image_folder", size, None, folder=folder, channels=channels,
                           heldout=heldout, classes=False))  # fmt: skip
        else:
            self._read(Path(folder).expanduser(), inputs, (channels, size, size), heldout)

        if folder is None and make is None:
            make = "grey" if self.train["x"].shape[1] == 3 else "edges"
        if make:
            for split, fields in (("train", self.train), ("heldout", self.heldout)):
                fields["x_a"] = _made(make, fields["x"], factor, split)

        shape = tuple(self.train["x"].shape[1:])
        other = Field("image", tuple(self.train["x_a"].shape[1:]))
        self.spec = Spec("image", shape, fields={"x_a": other})
        self.note = f"{len(self.train['x'])} pairs to learn from, {len(self.heldout['x'])} held out"

    def _take(self, images: Dataset) -> None:
        """Take the images of another data set, without their labels."""
        self.resizing = images.resizing
        self.train, self.heldout = ({"x": part["x"]} for part in (images.train, images.heldout))

    def _read(self, folder: Path, inputs: str, shape: tuple[int, int, int], share: float) -> None:
        """Read pairs from files, side by side or from two folders."""
        channels, height, width = shape
        files = listing(folder, False, share)
        self.resizing = f"every image to {height}x{width} by Lanczos, the middle kept"
        if inputs in SIDES:
            images = packed(files, folder, (channels, height, 2 * width), None)
            halves = images.images.split(width, dim=3)
            x_a, x = halves if inputs == "left" else halves[::-1]
            self._split(folder, files, images.readable, {"x": x, "x_a": x_a})
            return

        other = Path(inputs).expanduser()
        other_files = listing(other, False, share)
        places = _places(folder, files, other, other_files)
        pair = packed(files, folder, shape, None), packed(other_files, other, shape, None)
        readable = pair[0].readable & pair[1].readable[places]
        x = _rows(pair[0], np.flatnonzero(readable))
        self._split(folder, files, readable, {"x": x, "x_a": _rows(pair[1], places[readable])})

    def _split(self, folder: Path, files: Listing, readable: Any, fields: Fields) -> None:
        """Set both splits; the files of the training split come first."""
        train = int((readable & ~files.heldout).sum())
        if not 0 < train < len(fields["x"]):
            raise UserError(
                f"data.folder={folder}: {train} pairs to learn from and "
                f"{len(fields['x']) - train} to hold out; needs at least one of each."
            )
        self.train = {name: values[:train] for name, values in fields.items()}
        self.heldout = {name: values[train:] for name, values in fields.items()}


def _of(name: str, image_size: int | None, root: str | None, **options: Any) -> Dataset:
    """The data set that pairs are made of."""
    own = registry.datasets.options(name, "data")
    given = {"image_size": image_size, "root": root}
    options |= {key: value for key, value in given.items() if key in own and value is not None}
    if image_size is not None and "image_size" not in own:
        raise UserError(f"data.image_size={image_size}: data.of={name} has one size; leave it out.")
    return registry.datasets.build({"name": name, **options}, "data")


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


# --- inputs that are made of images ---------------------------------------------------------------


def _made(name: str, x: Tensor, factor: int, split: str) -> Tensor:
    """The inputs that are made of images, in bytes or in [-1, 1], as the images are."""
    if name == "grey" and x.shape[1] == 1:
        raise UserError("data.make=grey: the images are grey; take colours, or another data.make.")
    if name == "low_resolution" and x.shape[-1] % factor:
        raise UserError(
            f"data.factor={factor}: does not divide the side of the images, {x.shape[-1]}."
        )
    random = noise.generator(f"made {split}")
    return torch.cat([MAKERS[name](part, factor, random) for part in x.split(CHUNK)])


def _like(values: Tensor, x: Tensor) -> Tensor:
    """Values computed in float32, in the type of the images."""
    return values.round().clamp(0, 255).to(x.dtype) if x.dtype == torch.uint8 else values


def _grey(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The luminance of colours, (N, 3, H, W) -> (N, 1, H, W)."""
    weights = torch.tensor(LUMINANCE, device=x.device).view(1, 3, 1, 1)
    return _like((x.float() * weights).sum(dim=1, keepdim=True), x)


def _edges(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The edges of bright areas, (N, C, H, W) -> (N, 1, H, W)."""
    return MAPS["edges"](_grey(x, factor, random) if x.shape[1] == 3 else x)


def _low_resolution(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The image with every `factor` x `factor` pixels averaged."""
    small = interpolate(x.float(), scale_factor=1 / factor, mode="area")
    return _like(interpolate(small, scale_factor=factor, mode="nearest"), x)


def _mask(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The image with a grey hole at a random place."""
    n, _, height, width = x.shape
    rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
    inside = []
    for places, side in ((rows, height), (columns, width)):
        hole = max(1, int(HOLE * side))
        start = torch.randint(side - hole + 1, (n, 1), generator=random).to(x.device)
        inside.append((places >= start) & (places < start + hole))
    hidden = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
    grey = 128 if x.dtype == torch.uint8 else 0
    return torch.where(hidden, torch.full_like(x, grey), x)


MAKERS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "edges": _edges,
    "grey": _grey,
    "low_resolution": _low_resolution,
    "mask": _mask,
}
"""Functions that make inputs of images, by the value of `data.make`."""
