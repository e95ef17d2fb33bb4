"""Labelled image sets that papers compare on, from torchvision's files and downloads.

Each expects its files in the folder below `root` where torchvision puts them. Existing files are
read and nothing is written; otherwise torchvision downloads them.
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
    """Base class: small images in classes.

    Args:
        root: folder above `folder`; null takes the cache folder.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "y")
    metrics: ClassVar[tuple[str, ...]] = ("classifier", "patches")
    name: ClassVar[str]  # of the option in configs/data
    source: ClassVar[str]  # name of torchvision's class
    folder: ClassVar[str]  # of the files, below the root
    names: ClassVar[tuple[str, ...]] = tuple("0123456789")  # of the classes
    files: ClassVar[tuple[str, ...]]  # names of the files, for messages too

    def _path(self, root: str | None) -> Path:
        """The folder of the files."""
        return (Path(root).expanduser() if root else cache_folder()) / self.folder

    @property
    def _source(self) -> Callable[..., Any]:
        import torchvision.datasets

        cls: Callable[..., Any] = getattr(torchvision.datasets, self.source)
        return cls

    def _download(self, fetch: Callable[[], Any], folder: Path) -> Any:
        """The result of `fetch`, which downloads the files.

        Raises:
            UserError: the download failed.
        """
        try:
            return fetch()
        except (RuntimeError, OSError, HTTPException) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise UserError(
                f"data={self.name}: no files in {folder} and no download ({reason}); put "
                f"{', '.join(self.files)} there or set data.root to the folder above "
                f"{self.folder}; data=digits works without a download."
            ) from None


# --- the MNIST family: idx files ------------------------------------------------------------------


class IdxImages(Benchmark):
    """60,000 grey images of 28x28, and 10,000 held out (the test set), as four idx files.

    The files may be unpacked or .gz. Files of the same names may have other contents: other numbers
    of images, another side, which is not changed, and other labels, which are then the names of the
    classes.

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
        folder = self._path(root)
        missing = [name for name in self.files if not _existing(folder, name)]
        # a download would mix with the user's own files, or overwrite them
        if root and 0 < len(missing) < len(self.files):
            raise UserError(
                f"data={self.name}: {folder} lacks {', '.join(missing)}; put it there, or delete "
                "the others to have all downloaded."
            )
        if missing:
            self._download(partial(self._source, str(folder.parent.parent), download=True), folder)

        self.train, self.heldout = (self._fields(folder, part) for part in ("train", "t10k"))
        labels = self._number_labels()
        side = self._resize(folder, image_size)
        self.train = {name: values[:subset] for name, values in self.train.items()}

        usual = labels == tuple(map(str, range(len(self.names))))
        names = self.names if usual else labels
        self.spec = Spec("image", (1, side, side), classes=len(names), names=names)
        self.flip = flip

    def _fields(self, folder: Path, part: str) -> Fields:
        """Images (n, 1, height, width) and labels of one split, unchanged from the files."""
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
        """Number the labels from 0 on; returns the labels in the files."""
        labels = torch.cat([self.train["y"], self.heldout["y"]]).unique()
        for fields in (self.train, self.heldout):
            fields["y"] = torch.searchsorted(labels, fields["y"])
        return tuple(map(str, labels.tolist()))

    def _resize(self, folder: Path, size: int) -> int:
        """Resize all images to `size`, see the class; returns their new side."""
        sides = [tuple(fields["x"].shape[2:]) for fields in (self.train, self.heldout)]
        side = sides[0][0]
        if len({*sides[0], *sides[1]}) > 1:
            shapes = " and ".join(f"{height}x{width}" for height, width in dict.fromkeys(sides))
            raise UserError(
                f"data={self.name}: the images in {folder} are {shapes}; expected squares of one "
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
        """The content of an idx file.

        The format is: two zero bytes, type 8 (unsigned byte), rank, the sizes as big-endian int32,
        the values.
        """
        path = _existing(folder, name)
        assert path is not None
        try:
            return _parse_idx(read_unpacked(path))
        except OSError as error:
            raise UserError(f"data={self.name}: {path} {error.strerror}; {REMEDY}") from None
        except ValueError as error:
            raise UserError(f"data={self.name}: {path} is damaged: {error}; {REMEDY}") from None


REMEDY = "delete it to have it downloaded again, or put a good one there."
HIGHEST_RANK = 4  # of the tensors in idx files


def _parse_idx(content: bytes) -> Tensor:
    """The tensor in an idx file of bytes.

    Raises:
        ValueError: it is no such file, or holds more or less than its header says.
    """
    if content[:3] != b"\0\0\x08" or not 1 <= content[3] <= HIGHEST_RANK:
        raise ValueError(
            f"it begins with {content[:4].hex(' ') or 'nothing'}, an idx file of bytes with 00 00 "
            "08 and a rank"
        )

    header = 4 + 4 * content[3]  # bytes
    shape = [int.from_bytes(content[at : at + 4]) for at in range(4, header, 4)]
    size = len(content) - header
    if math.prod(shape) != size:
        sizes = " x ".join(map(str, shape))
        raise ValueError(f"it says {sizes} bytes of content and has {max(0, size)}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())


def _existing(folder: Path, name: str) -> Path | None:
    """The file `name`, unpacked or as .gz; None if neither exists."""
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
    """Base class: images read by torchvision, which subclasses convert to bytes (N, C, H, W)."""

    def _load(self, root: str | None, image_size: int, flip: bool) -> None:
        folder, parts = self._path(root), []
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
        """Images (n, C, H, W) as bytes, and labels. A download never overwrites existing files."""
        fetch = partial(self._source, str(folder), **self._options(train))
        if not all((folder / name).exists() for name in self.files):
            return self._arrays(self._download(partial(fetch, download=True), folder))
        try:
            return self._arrays(fetch(download=False))
        except Exception as error:  # the readers of three formats raise many types
            raise self._damaged(folder, error) from None

    def _damaged(self, path: Path, error: Exception) -> UserError:
        message = str(getattr(error, "strerror", None) or error).strip()
        reason = on_one_line(message.split("\n")[0]) or type(error).__name__
        return UserError(f"data={self.name}: what is in {path} cannot be read ({reason}); {REMEDY}")

    def _options(self, train: bool) -> dict[str, Any]:
        """Arguments by which torchvision's class chooses the split."""
        return {"train": train}

    def _arrays(self, loaded: Any) -> tuple[np.ndarray, Tensor]:
        """Images and labels of a data set that torchvision has loaded."""
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
        """Images and labels from a file in LIBSVM's format.

        Each line has one image: its label from 1 on, and 256 numbers from -1 (black) to 1.
        """
        from sklearn.datasets import load_svmlight_file

        path = folder / self.files[0 if train else 1]
        if not path.exists():
            self._download(partial(self._source, str(folder), train=train, download=True), folder)
        try:
            sparse, y = load_svmlight_file(
                io.BytesIO(read_unpacked(path)), n_features=256, dtype=np.float32
            )
            values = sparse.toarray().reshape(-1, 1, 16, 16)
            valid = (np.abs(values) <= 1).all() and np.isin(y, np.arange(1, 11)).all()
            if not len(y) or not valid:
                raise ValueError(
                    "it holds no image, or numbers outside [-1, 1], or labels that are not 1 to 10"
                )
        except (OSError, ValueError) as error:
            raise self._damaged(path, error) from None

        around = ((0, 0), (0, 0), (self.border, self.border), (self.border, self.border))
        images = np.pad(((values + 1) / 2 * 255).astype(np.uint8), around)
        return images, torch.from_numpy(y).long() - 1


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

    def _arrays(self, loaded: Any) -> tuple[np.ndarray, Tensor]:
        return loaded.data.transpose(0, 3, 1, 2), torch.tensor(loaded.targets)


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

    def _arrays(self, loaded: Any) -> tuple[np.ndarray, Tensor]:
        return loaded.data, torch.from_numpy(loaded.labels).long()
