"""The labelled image sets that papers compare on, read through torchvision's files and downloads.

Each looks for its files in the folder below `root` where torchvision puts them. Files that are there are read and
nothing is written; otherwise torchvision downloads them.
"""

import gzip
import zlib
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

from gan_cli.data.dataset import Dataset, Fields, Spec, resized, resizing
from gan_cli.errors import UserError
from gan_cli.files import cache_folder
from gan_cli.registry import Count, datasets


class Benchmark(Dataset):
    """Base: ten classes of small images.

    Args:
        root: folder above `folder`; null takes the cache folder.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "y")
    metrics: ClassVar[tuple[str, ...]] = ("classifier", "patches")
    name: ClassVar[str]  # of the option
    source: ClassVar[str]  # torchvision's class
    folder: ClassVar[str]  # below the root
    files: ClassVar[tuple[str, ...]]  # some that the sentence about a failed download names

    def _at(self, root: str | None) -> Path:
        return (Path(root).expanduser() if root else cache_folder()) / self.folder

    def _download(self, fetch: Callable[[], Any], folder: Path) -> Any:
        try:
            return fetch()
        except (RuntimeError, OSError, HTTPException) as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise UserError(
                f"data={self.name}: no files in {folder} and no download ({reason}); put {', '.join(self.files)} "
                f"there or set data.root to the folder above {self.folder}; data=digits works without a download."
            ) from None


# --- the MNIST family: idx files --------------------------------------------------------------------------------------


class IdxImages(Benchmark):
    """60,000 grey images of 28x28, and 10,000 held out (the test set), as four idx files, unpacked or as .gz.

    Args:
        root: see `Benchmark`.
        image_size: 28, or 32 with a border of two black pixels, which halves evenly down to 4; 16 and 8 are 32 made
            smaller by bilinear interpolation.
        flip: add every image's mirror image.
        subset: the first so many training images only; null takes all.
    """

    files: ClassVar[tuple[str, ...]] = (
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
    )  # fmt: skip

    def __init__(
        self,
        root: str | None = None,
        image_size: Literal[8, 16, 28, 32] = 32,
        flip: bool = False,
        subset: Count | None = None,
    ) -> None:
        folder = self._at(root)
        if not all(_stored(folder, name) for name in self.files):
            import torchvision.datasets

            source = getattr(torchvision.datasets, self.source)
            self._download(lambda: source(str(folder.parent.parent), download=True), folder)
        self.train, self.heldout = (self._fields(folder, part, image_size) for part in ("train", "t10k"))
        self.train = {name: values[:subset] for name, values in self.train.items()}
        self.spec, self.flip = Spec("image", (1, image_size, image_size), classes=10), flip
        if image_size != 28:
            smaller = "" if image_size == 32 else f", then {resizing(32, image_size)}"
            self.resizing = f"2 black pixels around 28x28{smaller}"

    def _fields(self, folder: Path, part: str, size: int) -> Fields:
        images = self._read(folder, f"{part}-images-idx3-ubyte")
        labels = self._read(folder, f"{part}-labels-idx1-ubyte")
        if images.dim() != 3 or len(images) != len(labels):
            raise UserError(f"data={self.name}: {part} images and labels in {folder} do not belong together.")
        bordered = images[:, None] if size == 28 else pad(images[:, None], [2] * 4)
        return {"x": resized(bordered, size), "y": labels.long()}

    def _read(self, folder: Path, name: str) -> Tensor:
        """An idx file: two zero bytes, type 8 (unsigned byte), rank, the sizes as big-endian int32, the values."""
        path = _stored(folder, name)
        assert path is not None
        try:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            rank = content[3]
            shape = np.frombuffer(content, ">i4", count=rank, offset=4).astype(int)
            values = np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
        except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
            raise UserError(
                f"data={self.name}: {path} is damaged ({error}); delete it to have it downloaded again."
            ) from None
        return torch.from_numpy(values.copy())


def _stored(folder: Path, name: str) -> Path | None:
    """The file of the data set called `name`, unpacked or packed, if it is there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


@datasets.register("mnist")
class MNIST(IdxImages):
    """Handwritten digits: LeCun et al., 1998."""

    name, source, folder = "mnist", "MNIST", "MNIST/raw"


@datasets.register("fashion_mnist")
class FashionMNIST(IdxImages):
    """Articles of clothing: Xiao et al., 2017, arXiv 1708.07747."""

    name, source, folder = "fashion_mnist", "FashionMNIST", "FashionMNIST/raw"


@datasets.register("kmnist")
class KMNIST(IdxImages):
    """Cursive Japanese characters: Clanuwat et al., 2018, arXiv 1812.01718."""

    name, source, folder = "kmnist", "KMNIST", "KMNIST/raw"


# --- others: torchvision's readers ------------------------------------------------------------------------------------


class TorchvisionImages(Benchmark):
    """Base: what torchvision reads. Subclasses say how it is called, and bring images to (N, C, H, W) bytes."""

    def _load(self, root: str | None, image_size: int, flip: bool) -> None:
        import torchvision.datasets

        folder, source = self._at(root), getattr(torchvision.datasets, self.source)
        parts = []
        for part in (True, False):
            options = self._options(part)
            try:
                found = source(str(folder), download=False, **options)
            except (RuntimeError, FileNotFoundError):  # none there, or not what torchvision expects
                fetch = partial(source, str(folder), download=True, **options)
                found = self._download(fetch, folder)
            except (OSError, ValueError, EOFError) as error:
                raise UserError(f"data={self.name}: the files in {folder} are damaged ({error}).") from None
            x, y = self._arrays(found)
            parts.append({"x": resized(torch.from_numpy(np.ascontiguousarray(x)), image_size), "y": y})
        self.train, self.heldout = parts
        self.spec, self.flip = Spec("image", tuple(self.train["x"].shape[1:]), classes=10), flip
        self.resizing = resizing(x.shape[-1], image_size)

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
        border: black pixels around the 16, before they are resized. Its digits fill their frame; those of MNIST leave a
            border, to which 3 is equal at 28x28 and 5 at other sizes.
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

    def _arrays(self, found: Any) -> tuple[np.ndarray, Tensor]:
        around = ((0, 0), (0, 0), (self.border, self.border), (self.border, self.border))
        return np.pad(found.data[:, None], around), torch.tensor(found.targets)


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

    def __init__(self, root: str | None = None, image_size: Literal[8, 16, 32] = 32, flip: bool = False) -> None:
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
