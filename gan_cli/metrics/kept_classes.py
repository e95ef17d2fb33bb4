"""Whether a translated image still shows what its input shows."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.classifier import accuracy, classifier_digest, load_or_train
from gan_cli.metrics.scoring import PairedScoring
from gan_cli.registry import Count, metrics


@metrics.register("kept_classes")
class KeptClasses(PairedScoring):
    """Whether samples have the classes of their inputs, by a classifier of real images.

    - class_kept: share of the samples that the classifier assigns to the class of their input.
    - class_kept_shuffled: share that it assigns to the class of the next input: as large where the
      input is not looked at.
    - class_kept_most: the largest share that any relabelling of the classes gives (the assignment
      of Kuhn, 1955): where it is far above class_kept, the classes were exchanged.
    - classifier_accuracy: share of real held-out images that the classifier classifies correctly.

    Args:
        n: samples to score; no more than there are held-out inputs.
    """

    kinds = ()  # a default metric of data whose inputs have classes
    scores = ("class_kept", "class_kept_shuffled", "class_kept_most", "classifier_accuracy")
    objectives = ("class_kept",)
    objective = "class_kept"
    lower_is_better = ()
    needs_given = True
    needs_labels = True
    split = "held-out inputs"

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        self.samples, self.device = min(n, len(dataset.heldout["x"])), device
        self.classes, self.resizing = dataset.spec.classes, dataset.resizing
        self.network = load_or_train(dataset, device)
        self.accuracy = accuracy(self.network, dataset)
        self.backbone = (
            f"small classifier of this data, right on {self.accuracy:.4f} of the held-out images"
        )
        self.weights = f"trained on the training split {classifier_digest(dataset)}"

    @torch.no_grad()
    def extract_pairs(self, samples: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Classes of samples, as the classifier sees them, and of their inputs, (n,) each."""
        found = self.network(torch.nan_to_num(samples).to(self.device)).argmax(dim=1)
        return found.cpu(), fields.get("y_a", fields["y"]).cpu()

    def compute(self, extracts: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        from scipy.optimize import linear_sum_assignment

        found, wanted = (torch.cat(parts) for parts in zip(*extracts, strict=True))
        table = torch.zeros(self.classes, self.classes)
        table.index_put_((wanted, found), torch.ones(len(found)), accumulate=True)
        rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
        return {
            "class_kept": float((found == wanted).float().mean()),
            "class_kept_shuffled": float((found == wanted.roll(1)).float().mean()),
            "class_kept_most": float(table[rows, columns].sum() / len(found)),
            "classifier_accuracy": self.accuracy,
        }

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return (
            f"classes of {self.samples} translated images, by a classifier of test accuracy "
            f"{self.accuracy:.4f}"
        )
