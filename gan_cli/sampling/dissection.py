"""Dissection: which concept each unit of a layer shows, and what becomes of it without the unit.

Reference: Bau et al., 2019, "GAN Dissection: Visualizing and Understanding Generative Adversarial
Networks", arXiv 1811.10597, sections 3.1 and 3.2. There causal units are found by gradient descent
over the strengths of all units; here each is switched off alone, and they are ranked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli import noise
from gan_cli.data.dataset import Dataset
from gan_cli.game import in_parts
from gan_cli.games.two_player import batch_statistics
from gan_cli.metrics.classifier import frechet_distance
from gan_cli.metrics.concepts import Concepts
from gan_cli.metrics.features import feature_map
from gan_cli.sampling.generator import Generator
from gan_cli.sampling.interventions import Intervention
from gan_cli.sampling.units import Layer

LEVELS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Top quantiles among which each pair of unit and concept chooses, if none is given."""
REFERENCE = 5000  # training images whose features samples are compared with, at most


@dataclass(frozen=True)
class Agreement:
    """How well units of a layer match concepts.

    Args:
        iou: intersection over union of the thresholded maps and the masks over all samples, (units,
            concepts).
        chance: the same with the masks of other samples, (units, concepts).
        quantile: the share of pixels that is above each threshold, (units, concepts).
        threshold: of the activation, (units, concepts).
        area: share of the pixels that show each concept, (concepts,).
    """

    iou: Tensor
    chance: Tensor
    quantile: Tensor
    threshold: Tensor
    area: Tensor

    @property
    def best(self) -> Tensor:
        """The concept that each unit matches best, (units,)."""
        return self.iou.argmax(dim=1)


def agreement(maps: Tensor, masks: Tensor, quantile: float | None) -> Agreement:
    """Intersection over union of every unit with every concept.

    Maps are resized to the masks' sides bilinearly. A pixel is on if its activation is among the
    unit's top quantile over all samples.

    Args:
        maps: activations, (n, units, h, w).
        masks: truth values, (n, concepts, H, W).
        quantile: share of the pixels that are on. None takes for each pair that of `LEVELS` with
            the greatest information quality ratio, mutual information over joint entropy, on the
            first half of the samples; the agreement is then that on the second half.
    """
    seen = masks.movedim(1, 0).flatten(1)
    other = masks.roll(1, dims=0).movedim(1, 0).flatten(1)
    half = (len(masks) // 2 if quantile is None else 0) * masks[0, 0].numel()
    levels = LEVELS if quantile is None else (quantile,)

    rows = []
    for unit in range(maps.shape[1]):
        grown = interpolate(maps[:, unit, None], size=masks.shape[2:], mode="bilinear").flatten()
        tries = [_on(grown, level) for level in levels]
        ratios = torch.stack([_quality(on[:half], seen[:, :half]) for on, _ in tries])
        chosen = ratios.argmax(dim=0).tolist() if half else [0] * len(seen)
        pairs = [
            _iou(tries[level][0][half:], seen[c, None, half:], other[c, None, half:])
            for c, level in enumerate(chosen)
        ]
        rows.append((pairs, [levels[i] for i in chosen], [tries[i][1] for i in chosen]))

    table = torch.tensor([pairs for pairs, _, _ in rows])
    return Agreement(
        table[..., 0],
        table[..., 1],
        torch.tensor([used for _, used, _ in rows]),
        torch.tensor([at for _, _, at in rows]),
        seen.float().mean(dim=1),
    )


def _on(activations: Tensor, quantile: float) -> tuple[Tensor, float]:
    """Which activations, (pixels,), are in the top quantile, and the threshold.

    Equal ones are in it together; not the smallest ones, which a rectifier makes many of.
    """
    rank = max(1, len(activations) - round(quantile * len(activations)) + 1)
    threshold = activations.kthvalue(min(rank, len(activations))).values
    least = activations.min()
    on = activations > least if threshold == least else activations >= threshold
    return on, float(threshold)


def _iou(on: Tensor, seen: Tensor, other: Tensor) -> tuple[float, float]:
    """Intersection over union of pixels that are on, (pixels,), with a mask and with another."""
    where = on.nonzero()[:, 0]
    scores = []
    for mask in (seen, other):
        both = mask[:, where].sum()
        scores.append(float(both / (len(where) + mask.sum() - both).clamp_min(1)))
    return scores[0], scores[1]


def _quality(on: Tensor, seen: Tensor) -> Tensor:
    """Information quality ratio of pixels that are on, (pixels,), and of masks, (concepts, pixels):
    mutual information over joint entropy, (concepts,); 0 where nothing varies."""
    total = max(1, len(on))
    both = seen[:, on].sum(dim=1).double() / total
    ons = torch.full_like(both, float(on.sum()) / total)
    seens = seen.sum(dim=1).double() / total
    cells = torch.stack([both, ons - both, seens - both, 1 - ons - seens + both])
    joint = torch.special.entr(cells.clamp_min(0)).sum(dim=0)
    apart = sum(torch.special.entr(p) for side in (ons, seens) for p in (side, 1 - side))
    mutual = torch.as_tensor(apart) - joint
    return torch.where(joint > 0, mutual / joint.clamp_min(1e-12), torch.zeros_like(joint))


# --- realism --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Realism:
    """What is measured of samples: how real they look.

    Args:
        score: samples, their latents -> scores of the discriminator, (n,); None without one.
        distance: samples -> Frechet distance of their features to those of training images; None
            if the data's classes train no classifier, or the data are not loaded.
    """

    score: Callable[[Tensor, Tensor], Tensor] | None = None
    distance: Callable[[Tensor], float] | None = None


def realism_of(generator: Generator, dataset: Dataset | None) -> Realism:
    """The measures that the checkpoint, and its data if they are loaded, allow."""
    distance = None
    if dataset is not None and dataset.classifiable:
        features = feature_map(dataset, torch.device("cpu"))
        reference = features.of_split(dataset, dataset.train, REFERENCE)

        def distance(samples: Tensor) -> float:
            return frechet_distance(features.features(samples), reference)

    return Realism(_score_of(generator), distance)


def _score_of(generator: Generator) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The discriminator's scores by its own game; None of a game without `value` and `D`."""
    game = generator.game
    value, network = getattr(game, "value", None), getattr(game, "D", None)
    if value is None or network is None or game.condition not in ((), ("y",)):
        return None

    def score(samples: Tensor, latents: Tensor) -> Tensor:
        labels = game.labels_of(latents)
        given = [labels] if game.condition and labels is not None else []
        # batches of one kind, as in training: running statistics mix real and fake ones
        with torch.no_grad(), batch_statistics(network):
            scores: Tensor = in_parts(value, samples, *given, rows=game.chunk_size)
        return scores

    return score


# --- effects --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effects:
    """What changes when each unit is switched off alone.

    Args:
        fall: share of each concept's area that vanishes, (units, concepts); negative where it
            grows, 0 of concepts that are not there.
        score: change of the mean score of the discriminator, in standard deviations of the scores
            of unchanged samples, (units,); None without one. Positive: samples look more real.
        distance: change of the Frechet distance, (units,); None without one. Negative: samples are
            closer to the data.
    """

    fall: Tensor
    score: Tensor | None
    distance: Tensor | None

    def artefacts(self) -> Tensor:
        """Units, those first whose absence makes samples more real: by the Frechet distance, or
        else by the score; (units,)."""
        if self.distance is not None:
            return self.distance.argsort()
        if self.score is not None:
            return self.score.argsort(descending=True)
        return torch.arange(0)


def areas(concepts: Concepts, samples: Tensor) -> Tensor:
    """Share of the pixels of samples that show each concept, (concepts,)."""
    return concepts.masks(samples).float().mean(dim=(0, 2, 3))


def falls(before: Tensor, after: Tensor) -> Tensor:
    """Share of each area that vanished, (concepts,); 0 of areas that were not there."""
    return torch.where(before > 0, 1 - after / before.clamp_min(1e-12), torch.zeros_like(before))


def effects(
    generator: Generator, layer: Layer, latents: Tensor, concepts: Concepts, realism: Realism
) -> Effects:
    """Effects of switching off each unit of a layer alone, on samples of the same latents."""
    samples = generator.render(latents)
    area = areas(concepts, samples)
    score = realism.score(samples, latents) if realism.score else None
    distance = realism.distance(samples) if realism.distance else None

    fall, scores, distances = [], [], []
    for unit in range(layer.units):
        changed = generator.changed(Intervention(layer.name, (unit,))).render(latents)
        fall.append(falls(area, areas(concepts, changed)))
        if realism.score and score is not None:
            moved = realism.score(changed, latents).mean() - score.mean()
            scores.append(float(moved / score.std().clamp_min(1e-12)))
        if realism.distance and distance is not None:
            distances.append(realism.distance(changed) - distance)
    return Effects(
        torch.stack(fall),
        torch.tensor(scores) if scores else None,
        torch.tensor(distances) if distances else None,
    )


# --- sets of units --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What an intervention on a set of units changes, and the same on random units.

    Args:
        units: of the set.
        before, after: share of the pixels that show the concept, without and with it.
        random: the area with each set of as many random units, (controls,).
        score, distance: as those of `Effects`, of the set; None without one.
        random_score, random_distance: their means over the random sets.
    """

    units: tuple[int, ...]
    before: float
    after: float
    random: tuple[float, ...]
    score: float | None = None
    distance: float | None = None
    random_score: float | None = None
    random_distance: float | None = None

    @property
    def fall(self) -> float:
        """Share of the area that vanished by the set; 0 if there was none."""
        return 1 - self.after / self.before if self.before else 0.0

    @property
    def random_falls(self) -> list[float]:
        """The same by each random set."""
        return [1 - after / self.before if self.before else 0.0 for after in self.random]


def random_sets(layer: Layer, units: Sequence[int], count: int) -> Iterator[tuple[int, ...]]:
    """Sets of as many other units of the layer, drawn with the same seed each time.

    Fewer than that many are other ones where the set is most of the layer.
    """
    others = torch.tensor([unit for unit in range(layer.units) if unit not in units])
    for i in range(count):
        order = torch.randperm(len(others), generator=noise.generator("random units", i))
        yield tuple(others[order[: len(units)]].tolist())


def outcome(
    generator: Generator,
    changes: Sequence[Intervention],
    latents: Tensor,
    base: Tensor,
    area: Callable[[Tensor], float],
    realism: Realism,
) -> Outcome:
    """Effect of an intervention, the first one, and of others of the kind on random units.

    Args:
        base: samples of the latents without an intervention.
        area: samples -> share of the pixels that show the concept.
    """
    rendered = [generator.changed(change).render(latents) for change in changes]
    found = [area(samples) for samples in rendered]
    score = distance = random_score = random_distance = None
    if realism.score:
        first = realism.score(base, latents)
        moves = [
            float((realism.score(x, latents) - first).mean() / first.std().clamp_min(1e-12))
            for x in rendered
        ]
        score, random_score = moves[0], _mean(moves[1:])
    if realism.distance:
        start = realism.distance(base)
        moves = [realism.distance(x) - start for x in rendered]
        distance, random_distance = moves[0], _mean(moves[1:])
    return Outcome(
        changes[0].units, area(base), found[0], tuple(found[1:]),
        score, distance, random_score, random_distance,
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def on_levels(maps: Tensor, quantile: float) -> Tensor:
    """The activation of each unit that is its top quantile, (units,): what `on` means."""
    return torch.tensor(
        [_on(maps[:, unit].flatten(), quantile)[1] for unit in range(maps.shape[1])]
    )
