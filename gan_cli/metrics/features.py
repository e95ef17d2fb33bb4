"""Features by which samples are compared: a small classifier's, or the samples themselves."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.decoded import Decoded, part_of, parts
from gan_cli.data.kinds import kind_of
from gan_cli.metrics.classifier import accuracy, classifier_digest, features, load_or_train
from gan_cli.metrics.scoring import Scoring, refuse_beyond_memory, sizes


@dataclass(frozen=True)
class FeatureMap:
    """A map from samples, (n, *shape), to features, (n, d) float64 on the CPU.

    Args:
        features: the map. It replaces values that are not finite first, as samples of a diverged
            generator have them.
        backbone: description of the network, as in `Provenance`.
        weights: description of its weights, likewise.
    """

    features: Callable[[Tensor], Tensor]
    backbone: str
    weights: str

    def of_split(self, dataset: Dataset, fields: Fields, n: int) -> Tensor:
        """Features of at most n samples of a split, always the same ones, decoded part by part."""
        decoded = parts(Decoded(dataset, fields, n), part_of(dataset.spec))
        return torch.cat([self.features(part["x"]) for part in decoded])


def feature_map(dataset: Dataset, device: torch.device) -> FeatureMap:
    """Features of the data's classifier if it can be trained; else pixels or coordinates."""
    kind = kind_of(dataset.spec)
    if not dataset.classifiable or not kind.tiles:
        return FeatureMap(
            lambda x: torch.nan_to_num(x).flatten(1).double().cpu(), f"none: {kind.numbers}", "none"
        )
    network = load_or_train(dataset, device)
    right = accuracy(network, dataset)
    return FeatureMap(
        lambda x: features(network, torch.nan_to_num(x), device).double().cpu(),
        f"small classifier of this data, right on {right:.4f} of the held-out images",
        f"trained on the training split {classifier_digest(dataset)}",
    )


class FeatureScoring(Scoring):
    """Base class of metrics that compare features of n samples with those of a reference set.

    Args:
        name: name of the metric, for messages.
        n: number of samples to score. As many training samples are the reference set, and as many
            held-out ones give the floor, or all there are.

    Attributes:
        reference: features of the reference set, (n_reference, d).
    """

    n_reference: int
    n_floor: int

    def __init__(self, name: str, dataset: Dataset, device: torch.device, n: int) -> None:
        self.samples, self.resizing = n, dataset.resizing
        self.n_reference, self.n_floor = sizes(dataset, n)
        self.map = feature_map(dataset, device)
        self.backbone, self.weights = self.map.backbone, self.map.weights
        self.reference = self.map.of_split(dataset, dataset.train, self.n_reference)
        # features of both sides in float64
        refuse_beyond_memory(name, n, 2 * 8 * n * self.reference.shape[1])

    def heldout_features(self, dataset: Dataset) -> Tensor:
        """Features of the held-out samples behind the floor, (n_floor, d)."""
        return self.map.of_split(dataset, dataset.heldout, self.n_floor)

    def extract(self, samples: Tensor, y: Tensor | None, start: int) -> Tensor:
        return self.map.features(samples)
