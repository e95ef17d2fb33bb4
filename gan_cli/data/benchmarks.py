"""The labelled image sets that papers compare on, read through torchvision's files and downloads.

Each looks for its files in the folder below `root` where torchvision puts them. Files that are
there are read and nothing is written; otherwise torchvision downloads them.
"""

import io
import math
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn.functional import pad

from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.resize import resized, resizing
from gan_cli.data.spec import Spec
from gan_cli.errors import UserError, on_one_line
from gan_cli.files import cache_folder, read_unpacked
from gan_cli.registry import Count, datasets


class Benchmark(Dataset):
    """Base: small images in classes.

    Args:
        root: folder above `folder`; null takes the cache folder.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "y")
    metrics: ClassVar[tuple[str, ...]] = ("classifier", "patches")
    name: ClassVar[str]  # of the option
    source: ClassVar[str]  # torchvision's class
    folder: ClassVar[str]  # below the root
    # of the classes
    names: ClassVar[tuple[str, ...]] = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    files: ClassVar[tuple[str, ...]]  # some that the sentence about a failed download names

    def _at(self, root: str | None) -> Path:
        return (Path(root).expanduser() if root else cache_folder()) / self.folder

    @property
    def _source(self) -> Callable[..., Any]:
        import torchvision.datasets

        found: Callable[..., Any] = getattr(torchvision.datasets, self.source)
        return found

    def _download(self, fetch: Callable[[], Any], folder: Path) -> Any:
        try:
            return fetch()
        except (RuntimeError, OSError, HTTPException) as error:
            reason = (
                str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            )
            raise UserError(
                f"data={self.name}: no files in {folder} and no download ({reason}); put "
                f"{', '.join(self.files)} there or set data.root to the folder above "
                f"{self.folder}; data=digits works without a download."
            ) from None


# --- the MNIST family: idx files ------------------------------------------------------------------


class IdxImages(Benchmark):
    """60,000 grey images of 28x28, and 10,000 held out (the test set), as four idx files, unpacked
    or as .gz.

    Files of the same names with other contents do as well: other counts, another side, which is
    kept, and other labels, which are then the names of the classes.

    Args:
        root: see `Benchmark`.
        image_size: 28, or 32 with a border of two black pixels, which halves evenly down to 4; 16
            and 8 are 32 made smaller by bilinear interpolation. Images that are not 28x28 keep
            their side, but for 16 and 8.
        flip: add every image's mirror image.
        subset: the first so many training images only; null takes all.
    """

    files: ClassVar[tuple[str, ...]] = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )

    def __init__(
        self,
        root: str | None = None,
        image_size: Literal[8, 16, 28, 32] = 32,
        flip: bool = False,
        subset: Count | None = None,
    ) -> None:
        folder = self._at(root)
        missing = [name for name in self.files if not _stored(folder, name)]
        # a download would lie among somebody's own files, or over them
        if root and 0 < len(missing) < len(self.files):
            raise UserError(
                f"data={self.name}: {folder} lacks {', '.join(missing)}; put it there, or delete "
                "the others to have all downloaded."
            )
        if missing:
            self._download(partial(self._source, str(folder.parent.parent), download=True), folder)
        self.train, self.heldout = (self._fields(folder, part) for part in ("train", "t10k"))
        names = self._number_labels()
        side = self._fit(folder, image_size)
        self.train = {name: values[:subset] for name, values in self.train.items()}
        known = names == tuple(map(str, range(len(self.names))))
        told = self.names if known else names
        self.spec, self.flip = Spec("image", (1, side, side), classes=len(names), names=told), flip

    def _fields(self, folder: Path, part: str) -> Fields:
        """Images (n, 1, height, width) and labels of one split, as the files have them."""
        images = self._read(folder, f"{part}-images-idx3-ubyte")
        labels = self._read(folder, f"{part}-labels-idx1-ubyte")
        if images.dim() != 3 or labels.dim() != 1 or len(images) != len(labels):
            shapes = " and ".join(str(tuple(values.shape)) for values in (images, labels))
            raise UserError(
                f"data={self.name}: {part} images and labels in {folder} do not belong together: "
                f"their sizes are {shapes}, expected (n, side, side) and (n,)."
            )
        if not len(images):
            raise UserError(f"data={self.name}: the {part} files in {folder} hold no image.")
        return {"x": images[:, None], "y": labels.long()}

    def _number_labels(self) -> tuple[str, ...]:
        """Number the labels from 0; returns what the files call them."""
        names = torch.cat([self.train["y"], self.heldout["y"]]).unique()
        for fields in (self.train, self.heldout):
            fields["y"] = torch.searchsorted(names, fields["y"])
        return tuple(map(str, names.tolist()))

    def _fit(self, folder: Path, size: int) -> int:
        """Bring all images to `size` as the class says; returns their side."""
        sides = [tuple(fields["x"].shape[2:]) for fields in (self.train, self.heldout)]
        side = sides[0][0]
        if len({*sides[0], *sides[1]}) > 1:
            found = " and ".join(f"{height}x{width}" for height, width in dict.fromkeys(sides))
            raise UserError(
                f"data={self.name}: the images in {folder} are {found}; expected squares of one "
                "side."
            )
        bordered = side == 28 and size != 28
        steps, before = (["2 black pixels around 28x28"], 32) if bordered else ([], side)
        if side != 28:
            self.note = f"the images are {side}x{side}, not 28x28 as those of {self.name}"
            size = size if size < 28 else side
        for fields in (self.train, self.heldout):
            fields["x"] = resized(pad(fields["x"], [2] * 4) if bordered else fields["x"], size)
        steps += [resizing(before, size)] if before != size else []
        self.resizing = ", then ".join(steps) or "none"
        return size

    def _read(self, folder: Path, name: str) -> Tensor:
        """An idx file: two zero bytes, type 8 (unsigned byte), rank, the sizes as big-endian int32,
        the values."""
        path = _stored(folder, name)
        assert path is not None
        try:
            return _idx(read_unpacked(path))
        except OSError as error:
            raise UserError(f"data={self.name}: {path} {error.strerror}; {MEND}") from None
        except ValueError as error:
            raise UserError(f"data={self.name}: {path} is damaged: {error}; {MEND}") from None


MEND = "delete it to have it downloaded again, or put a good one there."
DEEPEST = 4  # the rank of the largest idx files that there are


def _idx(content: bytes) -> Tensor:
    """What an idx file holds. Raises ValueError for one that is none of bytes, or holds more or
    less than it says."""
    if content[:3] != b"\0\0\x08" or not 1 <= content[3] <= DEEPEST:
        raise ValueError(
            f"it begins with {content[:4].hex(' ') or 'nothing'}, an idx file of bytes with 00 00 "
            "08 and a rank"
        )
    head = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4]) for at in range(4, head, 4)]
    if math.prod(shape) != len(content) - head:
        sizes = " x ".join(map(str, shape))
        raise ValueError(f"it says {sizes} bytes of content and has {max(0, len(content) - head)}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=head).reshape(shape).copy())


def _stored(folder: Path, name: str) -> Path | None:
    """The file of the data set called `name`, unpacked or packed, if something of that name is
    there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.exists()), None)


@datasets.register("mnist")
class MNIST(IdxImages):
    """Handwritten digits: LeCun et al., 1998."""

    name, source, folder = "mnist", "MNIST", "MNIST/raw"


@datasets.register("fashion_mnist")
class FashionMNIST(IdxImages):
    """Articles of clothing: Xiao et al., 2017, arXiv 1708.07747."""

    name, source, folder = "fashion_mnist", "FashionMNIST", "FashionMNIST/raw"
    names = (
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )


@datasets.register("kmnist")
class KMNIST(IdxImages):
    """Cursive Japanese characters: Clanuwat et al., 2018, arXiv 1812.01718."""

    name, source, folder = "kmnist", "KMNIST", "KMNIST/raw"
    names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


# --- others: torchvision's readers ----------------------------------------------------------------


class TorchvisionImages(Benchmark):
    """Base: what torchvision reads. Subclasses say how it is called, and bring images to (N, C, H,
    W) bytes."""

    def _load(self, root: str | None, image_size: int, flip: bool) -> None:
        folder, parts = self._at(root), []
        for part in (True, False):
            x, y = self._read(folder, part)
            parts.append(
                {"x": resized(torch.from_numpy(np.ascontiguousarray(x)), image_size), "y": y}
            )
        self.train, self.heldout = parts
        self.spec = Spec("image", tuple(self.train["x"].shape[1:]), classes=10, names=self.names)
        self.flip = flip
        self.resizing = resizing(x.shape[-1], image_size)

    def _read(self, folder: Path, train: bool) -> tuple[np.ndarray, Tensor]:
        """Images (n, C, H, W) in bytes, and labels. Files that are there are never downloaded
        over."""
        fetch = partial(self._source, str(folder), **self._options(train))
        there = all((folder / name).exists() for name in self.files)
        if not there:
            return self._arrays(self._download(partial(fetch, download=True), folder))
        try:
            return self._arrays(fetch(download=False))
        except Exception as error:  # whatever the readers of three formats raise
            raise self._damaged(folder, error) from None

    def _damaged(self, path: Path, error: Exception) -> UserError:
        told = str(getattr(error, "strerror", None) or error).strip()
        reason = on_one_line(told.split("\n")[0]) or type(error).__name__
        return UserError(f"data={self.name}: what is in {path} cannot be read ({reason}); {MEND}")

    def _options(self, train: bool) -> dict[str, Any]:
        return {"train": train}

    def _arrays(self, found: Any) -> tuple[np.ndarray, Tensor]:
        raise NotImplementedError


@datasets.register("usps")
class USPS(TorchvisionImages):
    """7,291 grey digits of 16x16 from envelopes, and 2,007 held out: Hull, 1994.

    Args:
        root: see `Benchmark`; the files are `usps/usps.bz2` and `usps/usps.t.bz2`.
        image_size: 16, or larger by bilinear interpolation.
        border: black pixels around the 16, before they are resized. Its digits fill their frame;
            those of MNIST leave a border, to which 3 is equal at 28x28 and 5 at other sizes.
    """

    name, source, folder = "usps", "USPS", "usps"
    files: ClassVar[tuple[str, ...]] = ("usps.bz2", "usps.t.bz2")

    def __init__(
        self,
        root: str | None = None,
        image_size: Literal[8, 16, 28, 32] = 16,
        border: Annotated[int, Ge(0), Le(16)] = 0,
    ) -> None:
        self.border = border
        self._load(root, image_size, flip=False)

    def _read(self, folder: Path, train: bool) -> tuple[np.ndarray, Tensor]:
        """LIBSVM's format: a line an image, its label from 1 and 256 numbers from -1 (black) to
        1."""
        from sklearn.datasets import load_svmlight_file

        path = folder / self.files[0 if train else 1]
        if not path.exists():
            self._download(partial(self._source, str(folder), train=train, download=True), folder)
        try:
            sparse, y = load_svmlight_file(
                io.BytesIO(read_unpacked(path)), n_features=256, dtype=np.float32
            )
            values = sparse.toarray().reshape(-1, 1, 16, 16)
            if (
                not len(y)
                or not (np.abs(values) <= 1).all()
                or not np.isin(y, np.arange(1, 11)).all()
            ):
                raise ValueError(
                    "it holds no image, or numbers outside [-1, 1], or labels that are not 1 to 10"
                )
        except (OSError, ValueError) as error:
            raise self._damaged(path, error) from None
        around = ((0, 0), (0, 0), (self.border, self.border), (self.border, self.border))
        return np.pad(((values + 1) / 2 * 255).astype(np.uint8), around), torch.from_numpy(
            y
        ).long() - 1


@datasets.register("cifar10")
class CIFAR10(TorchvisionImages):
    """50,000 colour photographs of 32x32 in ten classes, and 10,000 held out: Krizhevsky, 2009.

    Args:
        root: see `Benchmark`; the files are in `cifar-10-batches-py/`.
        image_size: 32, or smaller by bilinear interpolation.
        flip: add every image's mirror image.
    """

    name, source, folder = "cifar10", "CIFAR10", "."
    files: ClassVar[tuple[str, ...]] = ("cifar-10-batches-py/",)
    names = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )

    def __init__(
        self, root: str | None = None, image_size: Literal[8, 16, 32] = 32, flip: bool = False
    ) -> None:
        self._load(root, image_size, flip)

    def _arrays(self, found: Any) -> tuple[np.ndarray, Tensor]:
        return found.data.transpose(0, 3, 1, 2), torch.tensor(found.targets)


@datasets.register("svhn")
class SVHN(TorchvisionImages):
    """73,257 colour house numbers of 32x32, and 26,032 held out: Netzer et al., 2011.

    Args:
        root: see `Benchmark`; the files are `svhn/train_32x32.mat` and `svhn/test_32x32.mat`.
        image_size: 32, or smaller by bilinear interpolation.
    """

    name, source, folder = "svhn", "SVHN", "svhn"
    files: ClassVar[tuple[str, ...]] = ("train_32x32.mat", "test_32x32.mat")

    def __init__(self, root: str | None = None, image_size: Literal[8, 16, 32] = 32) -> None:
        self._load(root, image_size, flip=False)

    def _options(self, train: bool) -> dict[str, Any]:
        return {"split": "train" if train else "test"}

    def _arrays(self, found: Any) -> tuple[np.ndarray, Tensor]:
        return found.data, torch.from_numpy(found.labels).long()
