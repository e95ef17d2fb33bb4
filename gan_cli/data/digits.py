"""Scikit-learn's bundled scans of handwritten digits."""

from typing import ClassVar, Literal

import numpy as np
import torch

from gan_cli.data.dataset import Dataset
from gan_cli.data.resize import resized, resizing
from gan_cli.data.spec import Spec
from gan_cli.registry import datasets


@datasets.register("digits")
class Digits(Dataset):
    """1797 scans of handwritten digits, 8x8 in 17 grey levels, bundled with scikit-learn.

    They need no download. A quarter of every class is held out.

    Args:
        image_size: 8, or larger by bilinear interpolation.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "y")
    metrics: ClassVar[tuple[str, ...]] = ("classifier",)

    def __init__(self, image_size: Literal[8, 16, 32] = 8) -> None:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        bundle = load_digits()
        images = torch.from_numpy(bundle.images).float()[:, None] * (255 / 16)  # levels 0 to 16
        x, y = resized(images, image_size), torch.from_numpy(bundle.target).long()
        train, heldout = train_test_split(
            np.arange(len(y)), test_size=0.25, random_state=0, stratify=bundle.target
        )

        self.train = {"x": x[train], "y": y[train]}
        self.heldout = {"x": x[heldout], "y": y[heldout]}
        self.spec = Spec(
            "image", (1, image_size, image_size), classes=10, names=tuple("0123456789")
        )
        self.resizing = resizing(8, image_size)
