"""Whether a sample shows whom its input shows, and whether it is symmetric."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.classifier import accuracy, features, load_or_train
from gan_cli.metrics.pairs import mean_of
from gan_cli.metrics.scoring import PairedScoring
from gan_cli.registry import Count, metrics


@metrics.register("identification")
class Identification(PairedScoring):
    """Who is recognised among all held-out identities, each by its one true image.

    An image is taken for the identity whose true image has the nearest features, by their cosine,
    of a classifier of others. Huang et al., 2017, arXiv 1704.04086, section 4.2, report the same.

    - rank1: share of the samples that are taken for the right one.
    - rank1_input: that of the inputs themselves.
    - rank1_shuffled: share of the samples that are taken for that of another input, half of all
      rows away.
    - asymmetry, asymmetry_input: L1 distance of samples, and of inputs, from their mirror images.
    - judge_accuracy: how often the classifier is right on its own held-out images.

    Args:
        n: samples to score; no more than there are held-out inputs.
    """

    kinds = ()  # a default metric of data with identities
    scores = (
        "rank1", "rank1_input", "rank1_shuffled", "asymmetry", "asymmetry_input", "judge_accuracy",
    )  # fmt: skip
    objectives = ("rank1", "asymmetry")
    objective = "rank1"
    lower_is_better = ("asymmetry",)
    needs_given = True
    needs_truth = True
    needs_judge = True
    split = "held-out identities"

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        self.samples, self.device = min(n, len(dataset.heldout["x"])), device
        judge = dataset.judge()
        self.network = load_or_train(judge, device)
        self.accuracy = accuracy(self.network, judge)
        self.resizing = dataset.resizing

        identities, rows = np.unique(dataset.heldout["i"].cpu(), return_index=True)
        gallery = dataset.decode({"x": dataset.heldout["x"].cpu()[torch.from_numpy(rows)]})["x"]
        self.identities, self.gallery = torch.from_numpy(identities), self._features(gallery)
        self.backbone = (
            f"small classifier of {judge.spec.classes} others, right on {self.accuracy:.4f} of "
            "their held-out images"
        )

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        """Features of length 1, (n, 64)."""
        found = features(self.network, torch.nan_to_num(images), self.device)
        return normalize(found, dim=1).cpu()

    def extract_pairs(self, samples: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Who is recognised, and how far images are from their mirror images, (n,) each."""
        found = {
            name: self.identities[(self._features(images) @ self.gallery.T).argmax(dim=1)]
            for name, images in (("rank1", samples), ("rank1_input", fields["x_a"]))
        }
        mirrored = {
            name: mean_of((images - images.flip(-1)).abs()).cpu()
            for name, images in (("asymmetry", samples), ("asymmetry_input", fields["x_a"]))
        }
        return {**found, **mirrored, "i": fields["i"].cpu()}

    def compute(self, extracts: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        found = {name: torch.cat([part[name] for part in extracts]) for name in extracts[0]}
        wanted = found["i"]
        right = {
            "rank1": found["rank1"] == wanted,
            "rank1_input": found["rank1_input"] == wanted,
            "rank1_shuffled": found["rank1"] == wanted.roll(len(wanted) // 2),
        }
        return {
            **{name: float(values.float().mean()) for name, values in right.items()},
            **{name: float(found[name].mean()) for name in ("asymmetry", "asymmetry_input")},
            "judge_accuracy": self.accuracy,
        }

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return (
            f"{self.samples} samples, each among {len(self.identities)} identities, by a "
            f"classifier of others that is right on {self.accuracy:.4f}"
        )
