"""What samples are compared by, where a metric compares features: those of a small classifier, or
the samples."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.decoded import Decoded, part_of, parts
from gan_cli.metrics.classifier import accuracy, digest, features, load_or_train


@dataclass(frozen=True)
class View:
    """A map from samples, (n, *shape), to features, (n, d) float64 on the CPU, and the words for
    it.

    Args:
        of: the map; what is not finite in a diverged generator's samples becomes a number first.
        backbone: as in `Provenance`.
        weights: likewise.
    """

    of: Callable[[Tensor], Tensor]
    backbone: str
    weights: str

    def sample_x(self, dataset: Dataset, fields: Fields, n: int) -> Tensor:
        """The features of at most n samples of a split, decoded a part at a time; always the same
        ones."""
        found = parts(Decoded(dataset, fields, n), part_of(dataset.spec))
        return torch.cat([self.of(part["x"]) for part in found])


def view_of(dataset: Dataset, device: torch.device) -> View:
    """The features of the data's classifier where it can have one; else pixels or coordinates."""
    if not dataset.classifiable or dataset.kind != "image":
        plain = "pixels" if dataset.kind == "image" else "coordinates"
        return View(
            lambda x: torch.nan_to_num(x).flatten(1).double().cpu(), f"none: {plain}", "none"
        )
    network = load_or_train(dataset, device)
    right = accuracy(network, dataset)
    return View(
        lambda x: features(network, torch.nan_to_num(x), device).double().cpu(),
        f"small classifier of this data, right on {right:.4f} of the held-out images",
        f"trained on the training split {digest(dataset)}",
    )
