"""What every data set is: named fields of tensors for training, the same held out, and how to decode a batch."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from platformdirs import user_cache_dir
from torch import Tensor

from gan_cli import noise

Fields = dict[str, Tensor]


def cache_folder() -> Path:
    """Where downloaded data and trained classifiers are kept: `$GAN_CACHE`, else the system's cache folder."""
    return Path(os.environ.get("GAN_CACHE") or user_cache_dir("gan-cli"))


@dataclass(frozen=True)
class Spec:
    """What a game must know of the data. It travels in the checkpoint, so that sampling needs no data.

    Args:
        kind: `points` or `image`.
        shape: of one sample, without the batch.
        classes: how many labels there are; 0 for unlabelled data.
        bounded: whether samples lie in [-1, 1].
        extent: half the side of the square that a picture of points shows.
    """

    kind: str
    shape: tuple[int, ...]
    classes: int = 0
    bounded: bool = True
    extent: float = 1.0

    def plain(self) -> dict[str, Any]:
        """As plain types, for a checkpoint."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def restore(cls, plain: dict[str, Any]) -> "Spec":
        """The inverse of `plain`."""
        return cls(**{**plain, "shape": tuple(plain["shape"])})


class Dataset:
    """Base of all data sets. Fields are kept as they are stored (uint8 for images) and decoded a batch at a time.

    Class attributes, read before torch loads: `kind`, which `network=auto` goes by, and `metrics`, the scores that
    make sense for this data.
    """

    kind: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    spec: Spec
    train: Fields
    heldout: Fields

    def decode(self, stored: Fields) -> Fields:
        """A batch as the networks see it: float32, images in [-1, 1]."""
        x = stored["x"]
        return {**stored, "x": x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x}

    def to(self, device: torch.device) -> "Dataset":
        """Move every field to the device, where batches are then cut without a copy from the host."""
        self.train = {name: values.to(device) for name, values in self.train.items()}
        self.heldout = {name: values.to(device) for name, values in self.heldout.items()}
        return self


class Batches:
    """An endless stream of batches: epoch after epoch, each a permutation that depends on (seed, epoch) alone.

    Batch k holds the entries k * batch_size ... (k + 1) * batch_size of the joined permutations, so that no sample is
    left out and none is seen twice in an epoch, whatever the sizes. `position`, one integer, is its whole state.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int) -> None:
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.size = len(dataset.train["x"])
        self.position = 0
        self._epoch, self._order = -1, torch.empty(0)

    def next(self) -> Fields:
        """The next batch, decoded."""
        return self.take(self.next_rows())

    def take(self, rows: Tensor) -> Fields:
        """These rows of the training data, decoded."""
        return self.dataset.decode({name: values[rows] for name, values in self.dataset.train.items()})

    def next_rows(self) -> Tensor:
        """Where in the training data the next batch lies."""
        first, last = self.position * self.batch_size, (self.position + 1) * self.batch_size
        parts = []
        while first < last:
            epoch, start = divmod(first, self.size)
            stop = min(self.size, start + last - first)
            parts.append(self._permutation(epoch)[start:stop])
            first += stop - start
        self.position += 1
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            order = torch.randperm(self.size, generator=noise.generator("order", self.seed, epoch))
            self._epoch, self._order = epoch, order.to(self.dataset.train["x"].device)
        return self._order
