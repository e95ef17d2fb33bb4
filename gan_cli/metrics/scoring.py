"""Base class of the metrics, which process samples part by part to bound the memory they need."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.errors import UserError
from gan_cli.files import memory
from gan_cli.former_names import accept_former_names
from gan_cli.metrics.provenance import Provenance

Part = tuple[Tensor, Tensor | None, Mapping[str, Tensor]]
"""Samples, (n, *shape); the classes they were requested for, (n,), or None; and the fields of the
held-out samples whose inputs they were made from, n rows each, or none."""


FLOOR_TOO_HIGH = "the floor is too high"
"""The consequence for a biased distance if fewer samples are held out than are scored."""
FORMER_NAMES = {"compute": "judged", "extract": "seen"}
"""Methods by their former names, which plug-ins written for an earlier version define and call."""


class Scoring:
    """Base class of the metrics.

    `extract` reduces each part of the samples to what the scores need, and `compute` turns the
    extracts of all parts into scores. A plug-in's metric need not derive from this class: it is
    then called with all samples at once.

    A subclass that sets `split` has a `provenance`. It consists of the attributes below as far as
    they are set; see `Provenance` for their meaning and their defaults.
    """

    samples: int  # number of samples to score
    split: str
    resizing: str
    backbone: str
    weights: str
    method: str
    n_reference: int
    n_floor: int
    note: str

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        accept_former_names(cls, FORMER_NAMES)

    def extract(self, samples: Tensor, y: Tensor | None, start: int) -> Any:
        """Everything about a part of the samples that the scores need.

        Args:
            samples: (n, *shape).
            y: the classes they were requested for, (n,), or None.
            start: number of samples in the parts before.
        """
        raise NotImplementedError

    def compute(self, extracts: Sequence[Any]) -> dict[str, float]:
        """The scores, from the extracts of all parts in their order."""
        raise NotImplementedError

    def __call__(self, samples: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Scores of samples, (n, *shape), requested for the classes `y`, (n,), or for none."""
        return self.compute([self.extract(samples, y, 0)])

    @property
    def provenance(self) -> Provenance:
        """How the scores are computed; an AttributeError for a plug-in that sets no `split`."""
        _, _, *optional = (item.name for item in fields(Provenance))
        given = {name: getattr(self, name) for name in optional if hasattr(self, name)}
        return Provenance(self.samples, self.split, **given)


accept_former_names(Scoring, FORMER_NAMES)


class PairedScoring(Scoring):
    """Base class of the metrics that compare a sample with the held-out sample of its input."""

    needs_given: ClassVar[bool] = True  # only for games that make samples from inputs

    def extract_pairs(self, samples: Tensor, fields: Mapping[str, Tensor]) -> Any:
        """Everything about a part of the samples that the scores need.

        Args:
            samples: (n, *shape).
            fields: those of the held-out samples, n rows each. `x` is what a sample should be like
                and `x_a` its input, in the direction in which it was made; `y` and `y_a` are their
                classes, where the data have them.
        """
        raise NotImplementedError


class Walks(Protocol):
    """Ways through the latent space of a generator, between pairs of its own draws.

    Attributes:
        spaces: those in which it has codes, such as z and w.
    """

    @property
    def spaces(self) -> tuple[str, ...]: ...

    def steps(self, space: str, n: int, length: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Samples before and after a small step on each of n ways, part by part, on the CPU.

        Args:
            space: in which the ways lie.
            length: of the step, as a share of the way.
        """
        ...


class WalkScoring(Scoring):
    """Base class of the metrics that look at the way from one sample to another.

    Its `samples` are ways, and none of the samples that other metrics score.
    """

    needs_latents: ClassVar[bool] = True  # only for games that make samples from latents alone

    def compute_walks(self, walks: Walks) -> dict[str, float]:
        """The scores, from ways through the latent space."""
        raise NotImplementedError


def samples_to_score(metrics: Mapping[str, Any]) -> int:
    """Number of samples that the metrics need; 0 if they need none."""
    scoring = [metric for metric in metrics.values() if not isinstance(metric, WalkScoring)]
    return max((metric.samples for metric in scoring), default=0)


def scored(
    metrics: Mapping[str, Any], parts: Iterable[Part], walks: Walks | None = None
) -> dict[str, dict[str, float]]:
    """Scores by each metric, all computed from the same parts, each from its number of samples.

    Args:
        walks: for metrics that derive from `WalkScoring`.
    """
    from_samples = {
        name: metric for name, metric in metrics.items() if not isinstance(metric, WalkScoring)
    }
    scores = _from_samples(from_samples, parts)
    for name, metric in metrics.items():
        if isinstance(metric, WalkScoring) and walks is not None:
            scores[name] = metric.compute_walks(walks)
    return {name: scores[name] for name in metrics if name in scores}


def _from_samples(metrics: Mapping[str, Any], parts: Iterable[Part]) -> dict[str, dict[str, float]]:
    """The scores of samples, by metric."""
    extracts: dict[str, list[Any]] = {name: [] for name in metrics}
    start, most = 0, samples_to_score(metrics)

    for samples, y, seen in parts if most else ():
        for name, metric in metrics.items():
            n = min(len(samples), metric.samples - start)
            if n > 0:
                part = (
                    samples[:n],
                    None if y is None else y[:n],
                    {field: values[:n] for field, values in seen.items()},
                )
                extracts[name].append(_extract(metric, part, start))
        start += len(samples)
        if start >= most:
            break

    return {
        name: metric.compute(extracts[name])
        if isinstance(metric, Scoring)
        else metric(*_concatenated(extracts[name]))
        for name, metric in metrics.items()
    }


def _extract(metric: Any, part: Part, start: int) -> Any:
    """What a metric keeps of a part of the samples; a plug-in's own kind of metric keeps all."""
    samples, y, fields = part
    if isinstance(metric, PairedScoring):
        return metric.extract_pairs(samples, fields)
    return metric.extract(samples, y, start) if isinstance(metric, Scoring) else (samples, y)


def _concatenated(parts: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    samples, classes = zip(*parts, strict=True)
    return torch.cat(samples), None if classes[0] is None else torch.cat(classes)


# --- sizes of the sets that are compared ----------------------------------------------------------


def sizes(dataset: Dataset, n: int) -> tuple[int, int]:
    """Sizes of the reference set and of the held-out set behind the floor: n, or all there are."""
    return min(n, len(dataset.train["x"])), min(n, len(dataset.heldout["x"]))


def describe_sizes(samples: int, reference: int, floor: int, consequence: str = "") -> str:
    """Description of the sizes of both sides, and of the consequence if the floor's is smaller."""
    sides = f"{samples} samples against {reference} training ones; floor: {floor} held-out ones"
    return "; ".join(filter(None, [sides, smaller_floor(samples, floor, consequence)]))


def smaller_floor(samples: int, floor: int, consequence: str) -> str:
    """A note if the floor is computed from fewer samples than are scored; empty otherwise."""
    if floor >= samples:
        return ""
    return f"{floor} are fewer than {samples}{consequence and ', so that '}{consequence}"


def underdetermined(
    samples: int, reference: int, floor: int, features: int, distance: str, consequence: str
) -> str:
    """A note if a covariance of features is fitted to fewer samples than features; else empty."""
    fewest, side = min(
        (samples, distance),
        (reference, distance),
        (floor, f"{distance}'s floor"),
        key=lambda pair: pair[0],
    )
    if fewest >= features:
        return ""
    return f"{side} is of fewer samples ({fewest}) than features ({features}): {consequence}"


def refuse_beyond_memory(metric: str, n: int, needed: float) -> None:
    """Raise UserError if a metric of n samples needs more bytes than half of the memory."""
    if needed > memory() / 2:
        raise UserError(
            f"{metric}: to compare n={n} samples needs {needed / 2**30:.3g} GiB of "
            f"{memory() / 2**30:.3g}; ask for fewer by n=, or evaluate_samples= of a run."
        )
