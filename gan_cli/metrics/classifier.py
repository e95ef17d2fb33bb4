"""Scores of labelled images by a small classifier, trained once on the data's own training split
and cached.

They work offline and on any labelled images, grey ones too; they are *not* the Inception figures of
the literature.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_cli import noise
from gan_cli.data.batches import Batches
from gan_cli.data.dataset import Dataset
from gan_cli.data.decoded import Decoded, part_of, parts
from gan_cli.files import cache_folder, is_sealed, seal
from gan_cli.metrics.provenance import Provenance
from gan_cli.metrics.scoring import HIGH, Scoring, apart, fewer_than, underdetermined
from gan_cli.reading import torch_files
from gan_cli.registry import Count, metrics

log = logging.getLogger(__name__)

FEATURES = 64
STEPS, BATCH = 2000, 128
REFERENCE = 20_000  # training images that samples are compared with, at most
PAIRED = 2000  # samples whose distances within a class are taken, at most


@metrics.register("classifier")
class ClassifierScores(Scoring):
    """The classifier's view of samples, beside its view of as many held-out real images.

    - classifier_score: exp E KL(p(y|x) || p(y)), between 1 and the number of classes (Salimans et
      al., 2016, with this classifier in place of Inception); `_real` is that of held-out images.
    - classes_covered: classes that get at least 3 in 10 of their fair share of the samples.
    - frechet_classifier_distance: between Gaussians fitted to the classifier's features of the
      samples and of the training split (Heusel et al., 2017, likewise), 20,000 images at most;
      `_floor` is that of as many held-out images as samples, or of all there are. With fewer than
      64 of either it means nothing.
    - classifier_accuracy: share of the held-out images that the classifier names rightly;
      scored_samples: how many.
    - conditional_accuracy, where samples of a class were asked for: share that the classifier finds
      to be of it; beside it intra_class_diversity: mean distance of two samples of one class over
      that of two real ones, which a generator of one picture a class cannot pass (of 2000 at most).

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

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        self.samples, self.device, self.classes = n, device, dataset.spec.classes
        self.network, self.resizing = load_or_train(dataset, device), dataset.resizing
        self.trained_on = digest(dataset)
        self.accuracy = accuracy(self.network, dataset)
        self.reference = features_of(
            self.network, Decoded(dataset, dataset.train, REFERENCE), device
        )
        heldout = features_of(self.network, Decoded(dataset, dataset.heldout, n), device)
        self.heldout = len(heldout)
        self.floor = frechet_distance(heldout, self.reference)
        self.real_score = float(self._score(heldout))
        real = dataset.sample(dataset.heldout, PAIRED)
        self.apart = _apart(real["x"], real["y"], self.classes)

    def seen(
        self, samples: Tensor, y: Tensor | None, start: int
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """The features, the classes, and the first of the samples themselves."""
        return (
            self._features(torch.nan_to_num(samples)),
            y,
            samples[: 0 if y is None else max(0, PAIRED - start)],
        )

    def judged(self, kept: Sequence[Any]) -> dict[str, float]:
        """Scores of samples, (n, C, H, W) in [-1, 1], of the classes, (n,), if any were asked
        for."""
        features = torch.cat([part for part, _, _ in kept])
        found = self.network.head(features).argmax(dim=1)
        shares = torch.bincount(found, minlength=self.classes) / len(features)
        return {
            "classifier_score": float(self._score(features)),
            "classifier_score_real": self.real_score,
            "classes_covered": float((shares >= 0.3 / self.classes).sum()),
            "frechet_classifier_distance": frechet_distance(features, self.reference),
            "frechet_classifier_distance_floor": self.floor,
            "classifier_accuracy": self.accuracy,
            "scored_samples": float(len(features)),
            **self._conditional(found.cpu(), kept),
        }

    def _conditional(self, found: Tensor, kept: Sequence[Any]) -> dict[str, float]:
        """The scores of samples of classes that were asked for; `found` is what the classifier
        calls them."""
        if kept[0][1] is None:
            return {}
        y = torch.cat([y for _, y, _ in kept]).cpu()
        samples = torch.cat([first for _, _, first in kept])
        return {
            "conditional_accuracy": float((found == y).float().mean()),
            "intra_class_diversity": float(
                (_apart(samples, y[: len(samples)], self.classes) / self.apart).nanmean()
            ),
        }

    def describe(self) -> str:
        """One line on how the figures are made."""
        sides = apart(self.samples, len(self.reference), self.heldout, HIGH)
        return (
            f"classifier of test accuracy {self.accuracy:.4f}, {sides}; real against real: score "
            f"{self.real_score:.2f} of {self.classes}, Frechet distance {self.floor:.3f}"
            + (f"; {self._few()}" if self._few() else "")
        )

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        split = f"{len(self.reference)} training images; _floor, _real: held-out ones"
        backbone = (
            f"small classifier of this data, right on {self.accuracy:.4f} of the held-out images"
        )
        trained = f"trained on the training split {self.trained_on}"
        sides = (len(self.reference), self.heldout)
        note = self._few() or fewer_than(self.samples, self.heldout, HIGH)
        return Provenance(self.samples, split, self.resizing, backbone, trained, "", *sides, note)

    def _few(self) -> str:
        sides = self.samples, len(self.reference), self.heldout
        return underdetermined(*sides, FEATURES, "the Frechet distance", "it means nothing")

    def _features(self, x: Tensor) -> Tensor:
        return features(self.network, x, self.device)

    @torch.no_grad()
    def _score(self, features: Tensor) -> Tensor:
        logs = self.network.head(features).log_softmax(dim=1).double()
        marginal = logs.exp().mean(dim=0).clamp_min(1e-12).log()
        return (logs.exp() * (logs - marginal)).sum(dim=1).mean().exp()


def _apart(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """Mean distance of two different samples of each class, (classes,); not a number where there
    are fewer than two."""
    flat, y = x.flatten(1).cpu(), y.cpu()
    return torch.stack([torch.pdist(flat[y == label]).mean() for label in range(classes)])


class Classifier(nn.Module):
    """Two convolutions, a hidden layer of 64 features, a linear head: (N, C, H, W) -> (N, classes)
    logits."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        stride = 2 if max(shape[1:]) > 8 else 1
        down, across = (((side + stride - 1) // stride + 1) // 2 for side in shape[1:])
        self.features = nn.Sequential(
            nn.Conv2d(shape[0], 16, 3, stride=stride, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * down * across, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


@torch.no_grad()
def features(network: Classifier, x: Tensor, device: torch.device) -> Tensor:
    """The hidden layer's features of images (n, C, H, W), (n, 64)."""
    return torch.cat([network.features(chunk.to(device)) for chunk in x.split(1000)])


def features_of(network: Classifier, images: Decoded, device: torch.device) -> Tensor:
    """Those of stored images, decoded a part at a time."""
    size = part_of(images.dataset.spec)
    return torch.cat([features(network, part["x"], device) for part in parts(images, size)])


def load_or_train(dataset: Dataset, device: torch.device) -> Classifier:
    """The classifier of this data set from the cache, or a new one; the cache key is the training
    data itself.

    That it is right no more often than chance is a warning.
    """
    path = cache_folder() / "classifiers" / f"{digest(dataset)}.pt"
    with torch.random.fork_rng():
        network = _kept(path, dataset) or _trained(dataset, device, path)
    network.to(device).eval().requires_grad_(False)
    _warn_of_chance(accuracy(network, dataset), dataset)
    return network


def _kept(path: Path, dataset: Dataset) -> Classifier | None:
    """What the cache holds, if it is what was written there."""
    if not path.exists():
        log.info("training the classifier for the scores (once; kept in %s)", path)
        return None
    if not is_sealed(path):
        log.warning(
            "%s is not what was written there, or of an older gan-cli; training the "
            "classifier again",
            path,
        )
        return None
    network = Classifier(dataset.spec.shape, dataset.spec.classes)
    try:
        network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:
        log.warning("%s is damaged (%s); training the classifier again", path, type(error).__name__)
        return None
    return network


def _warn_of_chance(right: float, dataset: Dataset) -> None:
    """Chance is to name the commonest class always; what lies within two deviations of it is no
    better."""
    y = dataset.heldout["y"]
    share = float(torch.bincount(y).max()) / len(y)
    if right <= share + 2 * (share * (1 - share) / len(y)) ** 0.5:
        log.warning(
            "the classifier is right on %.4f of %d held-out images, no more than by chance "
            "(%.4f): scores that go by it say nothing",
            right,
            len(y),
            share,
        )


def digest(dataset: Dataset) -> str:
    """A short name for the classifier of this data: it follows from the training split and these
    constants."""
    found = hashlib.sha256(f"{FEATURES} {STEPS} {BATCH}".encode())
    for name in ("x", "y"):
        found.update(dataset.train[name].cpu().numpy().tobytes())
    return found.hexdigest()[:16]


def _trained(dataset: Dataset, device: torch.device, path: Path) -> Classifier:
    """Adam with a linear decay to zero; everything random follows from the data set alone."""
    noise.begin_turn("classifier")
    network = Classifier(dataset.spec.shape, dataset.spec.classes).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    batches = Batches(dataset, BATCH, seed=0)
    for _ in range(STEPS):
        batch = batches.next()
        optimizer.zero_grad()
        cross_entropy(network(batch["x"]), batch["y"]).backward()
        optimizer.step()
        schedule.step()
    _keep(network, path)
    return network


def _keep(network: nn.Module, path: Path) -> None:
    weights: dict[str, Any] = {name: value.cpu() for name, value in network.state_dict().items()}
    try:
        torch_files.save(weights, path)
        seal(path)
    except OSError as error:
        log.warning("the classifier could not be kept in %s (%s)", path, error.strerror)


@torch.no_grad()
def accuracy(network: nn.Module, dataset: Dataset) -> float:
    """Share of the held-out images that the classifier names rightly."""
    device = next(network.parameters()).device
    heldout = Decoded(dataset, {name: dataset.heldout[name] for name in ("x", "y")})
    right = [
        network(part["x"].to(device)).argmax(dim=1) == part["y"].to(device)
        for part in parts(heldout, part_of(dataset.spec))
    ]
    return float(torch.cat(right).float().mean())


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The squared Frechet distance of the Gaussians fitted to two sets of features, (n, d).

    It is |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)). With C = R^T R the
    last trace is the sum of the singular values of R_a R_b^T, a matrix of at most n or d rows.
    """
    a, b = a.double().cpu(), b.double().cpu()
    mean = a.mean(dim=0) - b.mean(dim=0)
    root_a = _root_of_covariance(a)
    root_b = _root_of_covariance(b)
    both = torch.linalg.svdvals(root_a @ root_b.T).sum()
    return float(mean.square().sum() + root_a.square().sum() + root_b.square().sum() - 2 * both)


def _root_of_covariance(x: Tensor) -> Tensor:
    """R with R^T R = C, the covariance of (n, d): as few rows as it can have."""
    centred = (x - x.mean(dim=0)) / max(1, len(x) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(x) > x.shape[1] else centred
