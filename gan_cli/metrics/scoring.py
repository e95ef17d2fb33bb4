"""How a metric is given samples: a part at a time, so that no more of them than a part need be
held."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.errors import UserError
from gan_cli.files import memory

Part = tuple[Tensor, Tensor | None]
"""Samples, (n, *shape), and the classes that were asked for, (n,), if any were."""


HIGH = "the floor is too high"
"""What follows for a biased distance where fewer samples are held out than are scored."""


class Scoring:
    """Base of the metrics: what is kept of each part of the samples, and what is made of that.

    A plug-in's metric need not be one: it is then called with all samples at once.
    """

    samples: int  # to be scored

    def seen(self, samples: Tensor, y: Tensor | None, start: int) -> Any:
        """What is kept of a part of the samples, (n, *shape), before which so many others came."""
        raise NotImplementedError

    def judged(self, kept: Sequence[Any]) -> dict[str, float]:
        """The scores, from what was kept of all parts."""
        raise NotImplementedError

    def __call__(self, samples: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Scores of samples, (n, *shape), of the classes `y`, (n,), if any were asked for."""
        return self.judged([self.seen(samples, y, 0)])


def scored(metrics: Mapping[str, Any], parts: Iterable[Part]) -> dict[str, dict[str, float]]:
    """The scores by each of several metrics, of its own number of samples, all of them from the
    same parts."""
    kept: dict[str, list[Any]] = {name: [] for name in metrics}
    start, most = 0, max((metric.samples for metric in metrics.values()), default=0)
    for samples, y in parts:
        for name, metric in metrics.items():
            n = min(len(samples), metric.samples - start)
            if n > 0:
                part = samples[:n], None if y is None else y[:n]
                kept[name].append(
                    metric.seen(*part, start) if isinstance(metric, Scoring) else part
                )
        start += len(samples)
        if start >= most:
            break
    return {
        name: metric.judged(kept[name])
        if isinstance(metric, Scoring)
        else metric(*_together(kept[name]))
        for name, metric in metrics.items()
    }


def _together(parts: Sequence[Part]) -> Part:
    samples, classes = zip(*parts, strict=True)
    return torch.cat(samples), None if classes[0] is None else torch.cat(classes)


def apart(samples: int, reference: int, floor: int, so: str = "") -> str:
    """How many there are on each side of a comparison, in words; and what follows where the floor
    is of fewer."""
    sides = f"{samples} samples against {reference} training ones; floor: {floor} held-out ones"
    return "; ".join(filter(None, [sides, fewer_than(samples, floor, so)]))


def fewer_than(samples: int, floor: int, so: str) -> str:
    """What follows from a floor of fewer samples than are scored; nothing where it is of as
    many."""
    return f"{floor} are fewer than {samples}{so and ', so that '}{so}" if floor < samples else ""


def counted(dataset: Dataset, n: int) -> tuple[int, int]:
    """How many training samples n ones are compared with, and of how many held-out ones the floor
    is: n, or all."""
    return min(n, len(dataset.train["x"])), min(n, len(dataset.heldout["x"]))


def refuse_beyond_memory(metric: str, n: int, needed: float) -> None:
    """Raises UserError where a metric needs more bytes than half of the memory for so many
    samples."""
    if needed > memory() / 2:
        raise UserError(
            f"{metric}: to compare n={n} samples needs {needed / 2**30:.3g} GiB of "
            f"{memory() / 2**30:.3g}; ask for fewer by n=, or evaluate_samples= of a run."
        )


def underdetermined(
    samples: int, reference: int, floor: int, features: int, what: str, so: str
) -> str:
    """A sentence where a covariance of features is fitted to fewer samples than there are features;
    else nothing."""
    least, whose = min(
        (samples, what), (reference, what), (floor, f"{what}'s floor"), key=lambda side: side[0]
    )
    return (
        f"{whose} is of fewer samples ({least}) than features ({features}): {so}"
        if least < features
        else ""
    )
