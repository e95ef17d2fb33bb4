"""Splits that are decoded part by part, as decoded ones may not fit into memory."""

from collections.abc import Iterator, Mapping
from math import prod

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset, count
from gan_cli.data.spec import Spec

PART = 1000  # samples in a part, at most
NUMBERS = 2**26  # numbers in a part, at most: 256 MiB as float32


class Decoded(Mapping[str, Tensor]):
    """A split, or a sample of it, as the networks see it.

    `decoded["x"]` decodes all of it at once; `parts` does it part by part.

    Args:
        stored: the fields as they are stored.
        n: number of samples to draw, at most; None for all of them in their order.
        purpose: the same purpose always draws the same samples.
    """

    def __init__(
        self,
        dataset: Dataset,
        stored: Mapping[str, Tensor],
        n: int | None = None,
        purpose: str = "scored",
    ) -> None:
        self.dataset, self.stored = dataset, dict(stored)
        self.order = None if n is None else dataset.rows(self.stored, n, purpose)
        self.samples = count(self.stored) if self.order is None else len(self.order)

    def __getitem__(self, name: str) -> Tensor:
        return self.take(0, self.samples)[name]

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def __deepcopy__(self, memo: dict[int, object]) -> "Decoded":
        """Itself: data are not copied with a game that holds some."""
        return self

    def take(self, start: int, stop: int) -> Mapping[str, Tensor]:
        """Samples `start` to `stop` - 1 with all their fields, decoded."""
        rows = slice(start, stop) if self.order is None else self.order[start:stop]
        return self.dataset.decode({name: values[rows] for name, values in self.stored.items()})

    def cycled(self, start: int, stop: int) -> Mapping[str, Tensor]:
        """As `take`, where the first sample follows the last one."""
        rows = torch.arange(start, stop) % self.samples
        if self.order is not None:
            rows = self.order[rows.to(self.order.device)]
        return self.dataset.decode(
            {name: values[rows.to(values.device)] for name, values in self.stored.items()}
        )


def heldout_of(dataset: Dataset) -> Decoded:
    """The held-out set; without labels if there are no classes, so that no score uses them."""
    labelled = dataset.spec.classes > 0
    return Decoded(
        dataset,
        {name: values for name, values in dataset.heldout.items() if labelled or name != "y"},
    )


def parts(fields: Mapping[str, Tensor], size: int) -> Iterator[Mapping[str, Tensor]]:
    """Parts of at most `size` samples, in their order, each with all fields."""
    samples = fields.samples if isinstance(fields, Decoded) else count(fields)
    for start in range(0, samples, size):
        if isinstance(fields, Decoded):
            yield fields.take(start, start + size)
        else:
            yield {name: values[start : start + size] for name, values in fields.items()}


def part_of(spec: Spec) -> int:
    """Number of samples that a part should have: a thousand, fewer of large ones."""
    return max(1, min(PART, NUMBERS // prod(spec.shape)))
