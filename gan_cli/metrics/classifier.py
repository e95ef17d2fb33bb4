"""Scores of labelled images by a small classifier, trained on the training split and cached.

They work offline and on any labelled images, grey ones too; they are *not* the Inception scores of
the literature.
"""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_cli import noise
from gan_cli.data.batches import Batches
from gan_cli.data.dataset import Dataset
from gan_cli.data.decoded import Decoded, part_of, parts
from gan_cli.metrics.judges import kept_or_trained
from gan_cli.metrics.scoring import (
    FLOOR_TOO_HIGH,
    Scoring,
    describe_sizes,
    smaller_floor,
    underdetermined,
)
from gan_cli.registry import Count, metrics

log = logging.getLogger(__name__)

FEATURES = 64  # units of the classifier's hidden layer
STEPS, BATCH = 2000, 128  # of the classifier's training
LEARNING_RATE = 3e-3  # at its first step; it decays linearly to 0
CHUNK = 1000  # images that the classifier sees at a time
REFERENCE = 20_000  # training images that samples are compared with, at most
PAIRED = 2000  # samples whose distances within a class are computed, at most
COVERED = 0.3  # of its fair share of the samples: from here on a class counts as covered


@metrics.register("classifier")
class ClassifierScores(Scoring):
    """Scores of samples by the classifier, beside those of as many held-out real images.

    - classifier_score: exp E KL(p(y|x) || p(y)), between 1 and the number of classes (Salimans et
      al., 2016, with this classifier in place of Inception); `_real` is that of held-out images.
    - classes_covered: classes that get at least 3 in 10 of their fair share of the samples.
    - frechet_classifier_distance: between Gaussians fitted to the classifier's features of the
      samples and of the training split (Heusel et al., 2017, likewise), 20,000 images at most;
      `_floor` is that of as many held-out images as samples, or of all there are. With fewer than
      64 of either it means nothing.
    - classifier_accuracy: share of the held-out images that the classifier classifies correctly;
      scored_samples: number of samples.
    - conditional_accuracy, if samples of a class were requested: share that the classifier assigns
      to it; beside it intra_class_diversity: mean distance of two samples of one class over that of
      two real ones, which reveals a generator of one picture a class (of 2000 samples at most).

    Args:
        n: samples to score.
    """

    scores = (
        "classifier_score",
        "classifier_score_real",
        "classes_covered",
        "frechet_classifier_distance",
        "frechet_classifier_distance_floor",
        "classifier_accuracy",
        "scored_samples",
    )
    needs_labels = True
    objectives = (
        "frechet_classifier_distance",
        "classifier_score",
        "classes_covered",
        "conditional_accuracy",
    )
    objective = "frechet_classifier_distance"
    lower_is_better = ("frechet_classifier_distance",)
    conditional = ("conditional_accuracy", "intra_class_diversity")
    n_reference: int
    n_floor: int

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        self.samples, self.device, self.classes = n, device, dataset.spec.classes
        self.network, self.resizing = load_or_train(dataset, device), dataset.resizing
        self.accuracy = accuracy(self.network, dataset)

        self.reference = features_of_split(
            self.network, Decoded(dataset, dataset.train, REFERENCE), device
        )
        heldout = features_of_split(self.network, Decoded(dataset, dataset.heldout, n), device)
        self.n_reference, self.n_floor = len(self.reference), len(heldout)
        self.floor = frechet_distance(heldout, self.reference)
        self.real_score = float(self._score(heldout))
        real = dataset.sample(dataset.heldout, PAIRED)
        self.real_diversity = _mean_distances(real["x"], real["y"], self.classes)

        self.split = f"{self.n_reference} training images; _floor, _real: held-out ones"
        self.backbone = (
            f"small classifier of this data, right on {self.accuracy:.4f} of the held-out images"
        )
        self.weights = f"trained on the training split {classifier_digest(dataset)}"
        self.note = self._too_few() or smaller_floor(n, self.n_floor, FLOOR_TOO_HIGH)

    def extract(
        self, samples: Tensor, y: Tensor | None, start: int
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """The features, the requested classes, and the first `PAIRED` of the samples."""
        paired = samples[: 0 if y is None else max(0, PAIRED - start)]
        return features(self.network, torch.nan_to_num(samples), self.device), y, paired

    def compute(self, extracts: Sequence[Any]) -> dict[str, float]:
        features = torch.cat([part for part, _, _ in extracts])
        predicted = self.network.head(features).argmax(dim=1)
        shares = torch.bincount(predicted, minlength=self.classes) / len(features)
        return {
            "classifier_score": float(self._score(features)),
            "classifier_score_real": self.real_score,
            "classes_covered": float((shares >= COVERED / self.classes).sum()),
            "frechet_classifier_distance": frechet_distance(features, self.reference),
            "frechet_classifier_distance_floor": self.floor,
            "classifier_accuracy": self.accuracy,
            "scored_samples": float(len(features)),
            **self._conditional(predicted.cpu(), extracts),
        }

    def _conditional(self, predicted: Tensor, extracts: Sequence[Any]) -> dict[str, float]:
        """Scores of samples that were requested for classes; none without such a request."""
        if extracts[0][1] is None:
            return {}
        y = torch.cat([y for _, y, _ in extracts]).cpu()
        samples = torch.cat([paired for _, _, paired in extracts])
        diversity = _mean_distances(samples, y[: len(samples)], self.classes)
        return {
            "conditional_accuracy": float((predicted == y).float().mean()),
            "intra_class_diversity": float((diversity / self.real_diversity).nanmean()),
        }

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        sizes = self.samples, self.n_reference, self.n_floor
        return (
            f"classifier of test accuracy {self.accuracy:.4f}, "
            f"{describe_sizes(*sizes, FLOOR_TOO_HIGH)}; real against real: score "
            f"{self.real_score:.2f} of {self.classes}, Frechet distance {self.floor:.3f}"
            + (f"; {self._too_few()}" if self._too_few() else "")
        )

    def _too_few(self) -> str:
        """A note if there are too few samples for the Frechet distance; else empty."""
        sizes = self.samples, self.n_reference, self.n_floor
        return underdetermined(*sizes, FEATURES, "the Frechet distance", "it means nothing")

    @torch.no_grad()
    def _score(self, features: Tensor) -> Tensor:
        """The classifier score of samples by their features, (n, 64)."""
        logs = self.network.head(features).log_softmax(dim=1).double()
        marginal = logs.exp().mean(dim=0).clamp_min(1e-12).log()
        return (logs.exp() * (logs - marginal)).sum(dim=1).mean().exp()


def _mean_distances(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """Mean distance of two samples of each class, (classes,); NaN for fewer than two samples."""
    flat, y = x.flatten(1).cpu(), y.cpu()
    return torch.stack([torch.pdist(flat[y == label]).mean() for label in range(classes)])


class Classifier(nn.Module):
    """Two convolutions, 64 hidden units and a linear head: (N, C, H, W) -> (N, classes) logits."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        stride = 2 if max(shape[1:]) > 8 else 1
        # sides of the last feature map
        height, width = (((side + stride - 1) // stride + 1) // 2 for side in shape[1:])
        self.features = nn.Sequential(
            nn.Conv2d(shape[0], 16, 3, stride=stride, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * height * width, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


@torch.no_grad()
def features(network: Classifier, x: Tensor, device: torch.device) -> Tensor:
    """Activations of the hidden layer, (n, 64), for images (n, C, H, W)."""
    return torch.cat([network.features(chunk.to(device)) for chunk in x.split(CHUNK)])


def features_of_split(network: Classifier, images: Decoded, device: torch.device) -> Tensor:
    """Activations of the hidden layer for stored images, which are decoded part by part."""
    size = part_of(images.dataset.spec)
    return torch.cat([features(network, part["x"], device) for part in parts(images, size)])


def load_or_train(dataset: Dataset, device: torch.device) -> Classifier:
    """The classifier of this data set from the cache, or a new one.

    The training data is the cache key. A classifier no better than chance causes a warning.
    """
    network = kept_or_trained(
        "classifier",
        classifier_digest(dataset),
        lambda: Classifier(dataset.spec.shape, dataset.spec.classes),
        lambda: _train(dataset, device),
    )
    network.to(device).eval().requires_grad_(False)
    _warn_of_chance(accuracy(network, dataset), dataset)
    return network


def _warn_of_chance(right: float, dataset: Dataset) -> None:
    """Warn if the accuracy `right` is that of always predicting the most frequent class.

    An accuracy within two standard deviations of it is no better.
    """
    y = dataset.heldout["y"]
    chance = float(torch.bincount(y).max()) / len(y)
    if right <= chance + 2 * (chance * (1 - chance) / len(y)) ** 0.5:
        log.warning(
            "the classifier is right on %.4f of %d held-out images, no more than by chance "
            "(%.4f): scores that go by it say nothing",
            right,
            len(y),
            chance,
        )


def classifier_digest(dataset: Dataset) -> str:
    """A digest of everything that decides the classifier: the training split and the constants."""
    digest = hashlib.sha256(f"{FEATURES} {STEPS} {BATCH}".encode())
    for name in ("x", "y"):
        digest.update(dataset.train[name].cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _train(dataset: Dataset, device: torch.device) -> Classifier:
    """Train a classifier by Adam, reproducibly: its random numbers depend on the data set alone."""
    noise.begin_turn("classifier")
    network = Classifier(dataset.spec.shape, dataset.spec.classes).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    batches = Batches(dataset, BATCH, seed=0)

    for _ in range(STEPS):
        batch = batches.next()
        optimizer.zero_grad()
        cross_entropy(network(batch["x"]), batch["y"]).backward()
        optimizer.step()
        schedule.step()

    return network


@torch.no_grad()
def accuracy(network: nn.Module, dataset: Dataset) -> float:
    """Share of the held-out images that the classifier classifies correctly."""
    device = next(network.parameters()).device
    heldout = Decoded(dataset, {name: dataset.heldout[name] for name in ("x", "y")})
    right = [
        network(part["x"].to(device)).argmax(dim=1) == part["y"].to(device)
        for part in parts(heldout, part_of(dataset.spec))
    ]
    return float(torch.cat(right).float().mean())


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of features, (n, d) each.

    It is |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)). With C = R^T R the trace of the root is
    the sum of the singular values of R_a R_b^T, a matrix of at most n or d rows.
    """
    a, b = a.double().cpu(), b.double().cpu()
    mean = a.mean(dim=0) - b.mean(dim=0)
    root_a = _root_of_covariance(a)
    root_b = _root_of_covariance(b)
    mixed = torch.linalg.svdvals(root_a @ root_b.T).sum()
    return float(mean.square().sum() + root_a.square().sum() + root_b.square().sum() - 2 * mixed)


def _root_of_covariance(x: Tensor) -> Tensor:
    """R with R^T R = C, the covariance of features (n, d), with as few rows as possible."""
    centred = (x - x.mean(dim=0)) / max(1, len(x) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(x) > x.shape[1] else centred
