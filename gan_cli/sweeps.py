"""What a sweep came to: its cells read from their folders, as a table and as one picture."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gan_cli.config import flatten
from gan_cli.errors import UserError
from gan_cli.rundir import CARD, read_card

SEED = "seed"


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: its folder, what was typed for it, and its last scores."""

    folder: Path
    typed: dict[str, str]
    config: dict[str, Any]
    scores: dict[str, float]


def cells(folder: Path) -> list[Cell]:
    """The runs below a sweep's folder. Raises UserError if there are none."""
    found = []
    for card in sorted(folder.glob(f"*/{CARD}")):
        typed = yaml.safe_load((card.parent / ".hydra" / "overrides.yaml").read_text(encoding="utf-8")) or []
        pairs = dict(str(item).lstrip("+").split("=", 1) for item in typed if "=" in str(item))
        config = flatten(yaml.safe_load((card.parent / ".hydra" / "config.yaml").read_text(encoding="utf-8")))
        found.append(Cell(card.parent, pairs, config, read_card(card.parent).get("scores", {})))
    if not found:
        raise UserError(f"{folder}: no runs in it; name the folder of a sweep.")
    return found


def varied(runs: Sequence[Cell]) -> list[str]:
    """What was typed differently in different cells, the seed aside."""
    keys = dict.fromkeys(key for run in runs for key in run.typed)
    return [key for key in keys if key != SEED and len({run.typed.get(key) for run in runs}) > 1]


def table(folder: Path, scores: Sequence[str] = ()) -> str:
    """Markdown: a row for each setting, a column for each score, the median over seeds and their range.

    Args:
        scores: which; all that some cell has if none are named.
    """
    runs = cells(folder)
    keys = varied(runs)
    shown = list(scores) or list(dict.fromkeys(name for run in runs for name in run.scores))
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for run in runs:
        groups.setdefault(tuple(run.typed.get(key, "") for key in keys), []).append(run)
    lines = [" | ".join(["", *keys, *shown, ""]).strip(), "|" + "---|" * (len(keys) + len(shown))]
    for setting, members in groups.items():
        values = [[run.scores[name] for run in members if name in run.scores] for name in shown]
        lines.append(" | ".join(["", *setting, *map(_summary, values), ""]).strip())
    return "\n".join(lines)


def _summary(values: list[float]) -> str:
    if not values:
        return "-"
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.3g}" if low == high else f"{middle:.3g} ({low:.3g} to {high:.3g})"


def picture(folder: Path, rows: str, columns: str, pattern: str = "samples/*.png", score: str = "") -> np.ndarray:
    """The last picture of every cell in one grid, (H, W, 3) bytes, with a score under each.

    Args:
        rows, columns: what was typed, such as `network` and `model`.
        pattern: which pictures, below a run's folder.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    runs = cells(folder)
    down, across = (list(dict.fromkeys(run.typed.get(key, "") for run in runs)) for key in (rows, columns))
    figure = Figure(figsize=(2.2 * len(across) + 0.4, 2.4 * len(down)), dpi=100, layout="constrained")
    axes = figure.subplots(len(down), len(across), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for run in runs:
        axis = axes[down.index(run.typed.get(rows, "")), across.index(run.typed.get(columns, ""))]
        drawn = sorted(run.folder.glob(pattern))
        if drawn:
            axis.imshow(Image.open(drawn[-1]))
        if score in run.scores:
            axis.set_xlabel(f"{score} {run.scores[score]:.3g}", fontsize=7)
    for i, name in enumerate(down):
        axes[i, 0].set_ylabel(name, fontsize=8)
    for j, name in enumerate(across):
        axes[0, j].set_title(name, fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


if __name__ == "__main__":
    print(table(Path(sys.argv[1]), sys.argv[2:]))
