"""Scores of label maps."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from gan_cli.data import label_maps
from gan_cli.data.dataset import Dataset
from gan_cli.metrics.scoring import PairedScoring
from gan_cli.registry import Count, metrics


@metrics.register("segmentation")
class Segmentation(PairedScoring):
    """How many pixels of a label map have the right label; a colour counts as the nearest one of
    the palette.

    - miou: intersection over union, the mean over the labels that occur (Everingham et al., 2010).
    - pixel_accuracy: share of the pixels that are right; class_accuracy: the mean of those shares
      over the labels.
    - miou_majority, pixel_accuracy_majority: those of the map that has in each place the label that
      is most frequent there in the training maps.
    - scored_samples: number of maps.

    Args:
        n: samples to score; no more than there are held-out maps.
        ignore: a label whose pixels are left out, such as that of what nobody labelled; none if
            negative.
    """

    kinds = ()  # a default metric of pairs whose images are label maps
    scores = (
        "miou", "pixel_accuracy", "class_accuracy", "miou_majority", "pixel_accuracy_majority",
        "scored_samples",
    )  # fmt: skip
    objectives = ("miou", "pixel_accuracy", "class_accuracy")
    objective = "miou"
    lower_is_better = ()
    needs_given = True
    needs_truth = True
    needs_palette = True
    split = "held-out pairs"

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        n: Count = 2000,
        ignore: Annotated[int, Ge(-1), Le(254)] = -1,
    ) -> None:
        self.samples, self.resizing = min(n, len(dataset.heldout["x"])), dataset.resizing
        self.palette, self.ignore = dataset.spec.palette, ignore
        counts = torch.zeros(len(self.palette), *dataset.spec.shape[1:], dtype=torch.long)
        for part in dataset.train["x"].cpu().split(200):
            found = label_maps.labels(part, self.palette).long()
            counts += torch.nn.functional.one_hot(found, len(self.palette)).sum(dim=0).movedim(2, 0)
        self.majority = counts.argmax(dim=0)

    def extract_pairs(self, samples: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Pixels by true label and by label of the sample, (labels, labels), and by that of the
        majority."""
        truth = self._labels(fields["x"])
        return {
            "": self._table(truth, self._labels(samples)),
            "_majority": self._table(truth, self.majority.expand_as(truth)),
            "scored_samples": torch.tensor(len(samples)),
        }

    def _labels(self, images: Tensor) -> Tensor:
        return label_maps.labels(((images.cpu() + 1) * 127.5).round(), self.palette).long()

    def _table(self, truth: Tensor, found: Tensor) -> Tensor:
        count = len(self.palette)
        kept = truth != self.ignore
        return torch.bincount(count * truth[kept] + found[kept], minlength=count**2).view(count, -1)

    def compute(self, extracts: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        scores = {}
        for tail in ("", "_majority"):
            table = torch.stack([part[tail] for part in extracts]).sum(dim=0).double()
            right, true, found = table.diag(), table.sum(dim=1), table.sum(dim=0)
            there = true > 0
            scores[f"miou{tail}"] = float((right / (true + found - right))[there].mean())
            scores[f"pixel_accuracy{tail}"] = float(right.sum() / true.sum())
            if not tail:
                scores["class_accuracy"] = float((right / true)[there].mean())
        return {
            **scores,
            "scored_samples": float(sum(int(part["scored_samples"]) for part in extracts)),
        }

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return f"labels of the pixels of {self.samples} held-out maps"
