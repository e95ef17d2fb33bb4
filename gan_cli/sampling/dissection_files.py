"""Files of a dissection: tables, a picture of units, and what `gan-explore` reads of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli import pictures
from gan_cli.errors import on_one_line
from gan_cli.files import csv_text, read_json, write_json, write_text
from gan_cli.metrics.concepts import Concepts
from gan_cli.sampling.dissection import Agreement, Effects, Outcome
from gan_cli.sampling.generator import Generator
from gan_cli.sampling.units import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CARD, UNITS, CONCEPTS, PICTURE = "dissection.json", "units.csv", "concepts.csv", "units.png"
FOLDER = "dissection"
"""Name of the folder of dissections within that of a run; each layer has a folder in it."""
RANKED = 64  # units of a concept that the card holds, at most
ROWS, SAMPLES = 10, 8  # of the picture, at most
ARTEFACTS = "artefacts"
"""Stands for a concept: the units without which samples look more real."""


def folder_of(checkpoint: Path) -> Path:
    """The folder of a checkpoint's dissections: within its run, or beside a file of no run."""
    inner = checkpoint.parent
    return (inner.parent if inner.name == "checkpoints" else inner) / FOLDER


@dataclass(frozen=True)
class Ranking:
    """Units by concept, those first that matter most.

    Args:
        layer: whose units they are.
        step: rounds of the checkpoint.
        concepts: numbers of units by the name of a concept.
    """

    layer: Layer
    step: int
    concepts: Mapping[str, tuple[int, ...]]


def rankings(generator: Generator, layers: Sequence[Layer]) -> list[Ranking]:
    """Saved dissections of the run, one for each layer; damaged ones are left out."""
    named = {layer.name: layer for layer in layers}
    found = []
    for path in sorted(folder_of(generator.path).glob(f"*/{CARD}")):
        card = read_json(path)
        layer, step = named.get(str(card.get("layer"))), card.get("step")
        concepts = card.get("concepts")
        if layer is None or not isinstance(step, int) or not isinstance(concepts, dict):
            continue
        kept = {
            on_one_line(str(name))[:50]: tuple(
                unit for unit in units if isinstance(unit, int) and 0 <= unit < layer.units
            )
            for name, units in concepts.items()
            if isinstance(units, list)
        }
        found.append(Ranking(layer, step, {name: units for name, units in kept.items() if units}))
    return found


def write_card(
    folder: Path, generator: Generator, layer: Layer, concepts: Mapping[str, Sequence[int]]
) -> None:
    """Write what `rankings` reads."""
    content: dict[str, Any] = {
        "layer": layer.name,
        "step": generator.step,
        "weights": generator.weights,
        "concepts": {name: list(units)[:RANKED] for name, units in concepts.items()},
    }
    write_json(folder / CARD, content)


def write_units(folder: Path, concepts: Concepts, agreed: Agreement, effect: Effects) -> None:
    """Write a row for each unit: its best concept, and what its absence changes."""
    header = ["unit", "concept", "iou", "chance", "quantile", "threshold", "fall"]
    header += [name for name in ("score", "distance") if getattr(effect, name) is not None]
    rows: list[list[object]] = []
    for unit, best in enumerate(agreed.best.tolist()):
        tables = (agreed.iou, agreed.chance, agreed.quantile, agreed.threshold, effect.fall)
        numbers = [float(table[unit, best]) for table in tables]
        numbers += [
            float(table[unit]) for table in (effect.score, effect.distance) if table is not None
        ]
        rows.append([unit, concepts.names[best], *(f"{number:.6g}" for number in numbers)])
    write_text(folder / UNITS, csv_text([header, *rows]))


def write_concepts(
    folder: Path, concepts: Concepts, agreed: Agreement, ranked: Mapping[str, Sequence[int]]
) -> None:
    """Write a row for each concept: how well it is segmented, its best unit, its units in order."""
    header = ["concept", "segmenter_iou", "area", "unit", "iou", "chance", "units"]
    rows: list[list[object]] = []
    for i, name in enumerate(concepts.names):
        unit = int(agreed.iou[:, i].argmax())
        numbers = (agreed.area[i], agreed.iou[unit, i], agreed.chance[unit, i])
        area, iou, chance = (f"{float(number):.6g}" for number in numbers)
        sure = f"{concepts.accuracy[i]:.4f}" if concepts.accuracy else ""
        rows.append(
            [name, sure, area, unit, iou, chance, " ".join(map(str, ranked[name][:RANKED]))]
        )
    write_text(folder / CONCEPTS, csv_text([header, *rows]))


def outcome_rows(outcomes: Mapping[str, Outcome]) -> list[list[object]]:
    """A header, and a row for each intervention."""
    header: list[object] = [
        "concept", "units", "before", "after", "fall", "random_fall", "random_fall_most",
        "score", "random_score", "distance", "random_distance",
    ]  # fmt: skip
    rows = [header]
    for name, found in outcomes.items():
        by_random = found.random_falls or [float("nan")]
        numbers = [
            found.before, found.after, found.fall, sum(by_random) / len(by_random), max(by_random),
            found.score, found.random_score, found.distance, found.random_distance,
        ]  # fmt: skip
        texts = ["" if number is None else f"{number:.4g}" for number in numbers]
        rows.append([name, " ".join(map(str, found.units)), *texts])
    return rows


# --- pictures -------------------------------------------------------------------------------------


def overlaid(images: Tensor, masks: Tensor) -> Tensor:
    """Images (n, C, H, W) in [-1, 1], dimmed outside of masks (n, H, W), in [-1, 1]."""
    return torch.where(masks[:, None], images, (images + 1) / 4 - 1)


def write_picture(
    path: Path, concepts: Concepts, agreed: Agreement, samples: Tensor, maps: Tensor
) -> None:
    """Write the best unit of each concept: the samples that excite it most, with its mask."""
    best = agreed.iou.max(dim=0)
    order = best.values.argsort(descending=True)[:ROWS].tolist()
    labels, strips = [], []
    for i in order:
        unit = int(best.indices[i])
        most = maps[:, unit].flatten(1).amax(dim=1).argsort(descending=True)[:SAMPLES]
        grown = interpolate(maps[most, unit, None], size=samples.shape[2:], mode="bilinear")[:, 0]
        masks = grown >= agreed.threshold[unit, i]
        labels.append(f"unit {unit}: {concepts.names[i]}\nIoU {float(best.values[i]):.2f}")
        strips.append(pictures.grid(overlaid(samples[most], masks), SAMPLES))
    _write_strips(path, labels, strips)


def write_before_after(path: Path, rows: Mapping[str, Tensor]) -> None:
    """Write rows of samples with their names: as they are, and under interventions."""
    strips = [pictures.grid(images[:SAMPLES], SAMPLES) for images in rows.values()]
    _write_strips(path, list(rows), strips)


def _write_strips(path: Path, labels: Sequence[str], strips: Sequence[Any]) -> None:
    """Write strips of pixels below each other, each with a label at its left."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # no messages about fonts
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    height = 5.5 * strips[0].shape[0] / strips[0].shape[1] + 0.1
    layout = ConstrainedLayoutEngine(w_pad=0.15)  # labels stand out of their axes a little
    figure = Figure(figsize=(7.2, height * len(strips)), dpi=100, layout=layout)
    panels = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    for axes, label, strip in zip(panels, labels, strips, strict=True):
        _draw_strip(axes, label, strip)
    pictures.write(path, pictures.drawn(figure))


def _draw_strip(axes: "Axes", label: str, strip: Any) -> None:
    axes.imshow(strip, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel(label.replace("$", r"\$"), rotation=0, ha="right", va="center", fontsize=8)
