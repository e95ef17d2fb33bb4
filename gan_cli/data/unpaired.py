"""Images of two domains that do not belong together: `x_a` of the first, `x` of the second one."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from gan_cli import registry
from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.folder import refuse_unreadable
from gan_cli.data.listing import listing
from gan_cli.data.packing import packed
from gan_cli.data.spec import Field, Spec
from gan_cli.data.two_domains import TwoDomains
from gan_cli.errors import UserError
from gan_cli.registry import Count, datasets

DEFAULT_SIZE = 64  # pixels a side of the images of folders
SMALL = 16  # and of those of a data set of several sizes
RENAMED = {"x": "x_a", "y": "y_a", "x_b": "x", "y_b": "y"}
"""Names of the fields of `data=two_domains` here: what is made of an image is `x`."""


@datasets.register("unpaired")
class Unpaired(Dataset):
    """Two folders of images, `data.a=FOLDER data.b=FOLDER`; or two halves of a data set, one of
    them shown differently.

    Of a data set, the held-out images are pairs, which the scores compare with; those of folders
    are not. Images of folders may have any sizes; the smaller folder's images come up more often.

    Args:
        a, b: the folders, which may have a split of their own (`train` and `test`).
        of: the data set that is cut into halves, where no folders are named.
        domain: what its second half shows, see `gan_cli.data.two_domains`.
        image_size: side of all images; null takes 64 for folders, 16 for a data set that has it,
            and else the data set's own.
        channels: of the images of folders: 3 for colour, 1 for grey.
        flip: add the mirror images to the training set.
        jitter: by how much training enlarges images, as a fraction of the side, to cut them at a
            random place; the paper's is 0.12 (286 pixels cut to 256).
        heldout: share held out, where a folder has no split of its own.
        unreadable: share of a folder's files that may be left out because they cannot be read.
        root: folder above the files of `of`.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "x_a")
    aligned: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("patches", "pairs", "kept_classes")

    def __init__(
        self,
        a: str | None = None,
        b: str | None = None,
        of: Literal[
            "shapes", "digits", "mnist", "fashion_mnist", "kmnist", "usps", "cifar10", "svhn"
        ] = "shapes",
        domain: Literal["negative", "edges", "usps"] = "negative",
        image_size: Count | None = None,
        channels: Literal[1, 3] = 3,
        flip: bool = False,
        jitter: Annotated[float, Ge(0), Le(1)] = 0.0,
        heldout: Annotated[float, Gt(0), Lt(1)] = 0.1,
        unreadable: Annotated[float, Ge(0), Lt(1)] = 0.01,
        root: str | None = None,
    ) -> None:
        self.flip, self.jitter = flip, jitter
        if (a is None) != (b is None):
            lone, missing = ("a", "b") if b is None else ("b", "a")
            raise UserError(f"data.{lone}={a or b}: needs data.{missing}=FOLDER beside it.")
        if a is None or b is None:
            if image_size is None and "image_size" in registry.datasets.options(of, "data"):
                image_size = SMALL
            self._halve(TwoDomains(of, domain, image_size, root), domain)
            return

        size = image_size or DEFAULT_SIZE
        shape = (channels, size, size)
        self.spec = Spec("image", shape, fields={"x_a": Field("image", shape)})
        self.resizing = f"every image to {size}x{size} by Lanczos, the middle kept"
        self.paired = False
        splits = [_folder(name, path, shape, heldout, unreadable) for name, path in
                  (("a", a), ("b", b))]  # fmt: skip
        self.train, self.heldout = (
            _side_by_side({"x_a": first, "x": second})
            for first, second in zip(*splits, strict=True)
        )
        self.note = "; ".join(
            f"data.{name}: {len(train)} images to learn from, {len(rest)} held out"
            for name, (train, rest) in zip("ab", splits, strict=True)
        )

    def _halve(self, halves: TwoDomains, domain: str) -> None:
        """Take both halves of a data set, by their names here."""
        self.resizing, self.note = halves.resizing, halves.note
        self.paired = domain != "usps"
        self.spec = replace(
            halves.spec, domain="", fields={"x_a": Field("image", halves.spec.shape)}
        )
        self.train, self.heldout = (
            {RENAMED[name]: values for name, values in part.items() if name in RENAMED}
            for part in (halves.train, halves.heldout)
        )


def _folder(
    name: str, path: str, shape: tuple[int, int, int], share: float, unreadable: float
) -> tuple[Tensor, Tensor]:
    """The images of a folder to learn from, and those held out."""
    folder = Path(path).expanduser()
    try:
        files = listing(folder, False, share)
        images = packed(files, folder, shape, None)
        refuse_unreadable(str(folder), files, images, unreadable)
    except UserError as error:
        raise UserError(str(error).replace("data.folder=", f"data.{name}=")) from None

    train = int((images.readable & ~files.heldout).sum())
    if not 0 < train < len(images.images):
        raise UserError(
            f"data.{name}={path}: {train} images to learn from and "
            f"{len(images.images) - train} to hold out; needs at least one of each."
        )
    return images.images[:train], images.images[train:]


def _side_by_side(fields: Fields) -> Fields:
    """Fields of equally many rows: those of the shorter ones come again."""
    rows = max(len(values) for values in fields.values())
    return {
        name: values if len(values) == rows else values[torch.arange(rows) % len(values)]
        for name, values in fields.items()
    }
