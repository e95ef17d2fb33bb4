"""Handwritten digits: scikit-learn's bundled 8x8 scans, and MNIST."""

import gzip
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from gan_cli.data.dataset import Dataset, Fields, Spec, cache_folder
from gan_cli.errors import UserError
from gan_cli.registry import datasets


@datasets.register("digits")
class Digits(Dataset):
    """1797 real scans of handwritten digits, 8x8 in 17 grey levels, bundled with scikit-learn: no download.

    A quarter, the same share of every class, is held out.

    Args:
        image_size: 8, or larger by bilinear interpolation.
    """

    kind: ClassVar[str] = "image"
    metrics: ClassVar[tuple[str, ...]] = ("classifier",)

    def __init__(self, image_size: Literal[8, 16, 32] = 8) -> None:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        bundle = load_digits()
        images = torch.from_numpy(bundle.images).float()[:, None] * (255 / 16)
        if image_size != 8:
            images = interpolate(images, size=image_size, mode="bilinear")
        x, y = images.round().to(torch.uint8), torch.from_numpy(bundle.target).long()
        train, heldout = train_test_split(np.arange(len(y)), test_size=0.25, random_state=0, stratify=bundle.target)
        self.train, self.heldout = {"x": x[train], "y": y[train]}, {"x": x[heldout], "y": y[heldout]}
        self.spec = Spec("image", (1, image_size, image_size), classes=10)


@datasets.register("mnist")
class MNIST(Dataset):
    """60,000 handwritten digits, and 10,000 held out (the test set): LeCun et al., 1998.

    Args:
        root: folder that holds `MNIST/raw/`, as torchvision lays it out, unpacked or as .gz. Files that are there are
            read and nothing is written; otherwise torchvision downloads into it. Null takes the cache folder.
        image_size: 28, or 32 with a border of two black pixels, which halves evenly down to 4.
    """

    kind: ClassVar[str] = "image"
    metrics: ClassVar[tuple[str, ...]] = ("classifier",)

    def __init__(self, root: str | None = None, image_size: Literal[28, 32] = 32) -> None:
        folder = Path(root).expanduser() if root else cache_folder()
        if not all(_stored(folder, name) for name in FILES):
            _download(folder)
        border = (image_size - 28) // 2
        self.train, self.heldout = _fields(folder, "train", border), _fields(folder, "t10k", border)
        self.spec = Spec("image", (1, image_size, image_size), classes=10)


FILES = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))


def _stored(folder: Path, name: str) -> Path | None:
    """The file of the data set called `name`, unpacked or packed, if it is there."""
    raw = folder / "MNIST" / "raw"
    return next((path for path in (raw / name, raw / f"{name}.gz") if path.is_file()), None)


def _fields(folder: Path, part: str, border: int) -> Fields:
    images = _read_idx(folder, f"{part}-images-idx3-ubyte")
    labels = _read_idx(folder, f"{part}-labels-idx1-ubyte")
    if images.dim() != 3 or len(images) != len(labels):
        raise UserError(f"data=mnist: {part} images and labels in {folder / 'MNIST' / 'raw'} do not belong together.")
    return {"x": pad(images[:, None], [border] * 4), "y": labels.long()}


def _read_idx(folder: Path, name: str) -> Tensor:
    """An idx file: two zero bytes, type 8 (unsigned byte), rank, the sizes as big-endian int32, the values."""
    path = _stored(folder, name)
    assert path is not None
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rank = content[3]
        shape = np.frombuffer(content, ">i4", count=rank, offset=4).astype(int)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise UserError(f"data=mnist: {path} is damaged ({error}); delete it to have it downloaded again.") from None
    return torch.from_numpy(values.copy())


def _download(folder: Path) -> None:
    from torchvision.datasets import MNIST as Download

    try:
        Download(str(folder), download=True)
    except (RuntimeError, OSError, HTTPException) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UserError(
            f"data=mnist: no files in {folder / 'MNIST' / 'raw'} and no download ({reason}); put the four files "
            f"{', '.join(FILES)} (or .gz) there or set data.root to the folder above MNIST/raw; "
            "data=digits works without a download."
        ) from None
