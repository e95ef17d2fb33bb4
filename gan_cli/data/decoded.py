"""Fields of a data set that are decoded when they are looked at, a part at a time: a split may be
larger than memory is once its bytes are numbers."""

from collections.abc import Iterator, Mapping
from math import prod

from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.data.spec import Spec

PART = 1000  # samples at a time
NUMBERS = 2**26  # in a part, at most: 256 MB


class Decoded(Mapping[str, Tensor]):
    """A split as the networks see it, or some of it. `decoded["x"]` decodes all of it; see `parts`.

    Args:
        stored: fields as they are kept.
        n: how many samples, always the same ones for a purpose, at most; all of them, in their
            order, if not given.
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
        self.samples = len(self.stored["x"] if self.order is None else self.order)

    def __getitem__(self, name: str) -> Tensor:
        return self.take(0, self.samples)[name]

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def take(self, start: int, stop: int) -> Mapping[str, Tensor]:
        """The samples from one place to another, with all their fields."""
        rows = slice(start, stop) if self.order is None else self.order[start:stop]
        return self.dataset.decode({name: values[rows] for name, values in self.stored.items()})


def heldout_of(dataset: Dataset) -> Decoded:
    """What is held out; without labels where there are no classes, so that nothing is scored by
    them."""
    labelled = dataset.spec.classes > 0
    return Decoded(
        dataset,
        {name: values for name, values in dataset.heldout.items() if labelled or name != "y"},
    )


def parts(fields: Mapping[str, Tensor], size: int) -> Iterator[Mapping[str, Tensor]]:
    """So many samples of some fields at a time, in their order, with all their fields."""
    samples = fields.samples if isinstance(fields, Decoded) else len(fields["x"])
    for start in range(0, samples, size):
        if isinstance(fields, Decoded):
            yield fields.take(start, start + size)
        else:
            yield {name: values[start : start + size] for name, values in fields.items()}


def part_of(spec: Spec) -> int:
    """How many samples of this shape one may hold at a time: a thousand, fewer of large ones."""
    return max(1, min(PART, NUMBERS // prod(spec.shape)))
