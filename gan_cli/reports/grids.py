"""Samples of many runs in rows and columns of two options. Nothing here imports torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gan_cli.errors import UserError
from gan_cli.files import SMALL, read_bytes
from gan_cli.reports.charts import escape_text
from gan_cli.reports.groups import check_option
from gan_cli.runs.finished import SAMPLES, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LARGEST_SIDE = 4096  # pixels a side of an image that is drawn among others


@dataclass(frozen=True)
class Arrangement:
    """Which samples are shown, and where.

    Args:
        rows, columns: options, such as `network` and `optimizer.lr`; an empty one makes one row or
            column.
        pattern: files of samples, below the folder of a run.
    """

    rows: str = ""
    columns: str = ""
    pattern: str = SAMPLES

    @property
    def is_grid(self) -> bool:
        """Whether samples are in rows or columns of an option."""
        return bool(self.rows or self.columns)

    def newest(self, run: Run) -> Path | None:
        """Newest sample of a run; None if it has none."""
        return next(reversed(run.samples(self.pattern)), None)


@dataclass(frozen=True)
class Grid:
    """Runs in rows and columns: names of both sides, and the first run of each place."""

    rows: list[str]
    columns: list[str]
    runs: dict[tuple[int, int], Run]


def arrange_runs(runs: Sequence[Run], arrangement: Arrangement) -> Grid:
    """The first run of each place, sides in the order of the runs.

    Raises:
        UserError: no run has an option.
    """
    rows = _list_settings(runs, "rows", arrangement.rows)
    columns = _list_settings(runs, "columns", arrangement.columns)
    placed: dict[tuple[int, int], Run] = {}
    for run in runs:
        i = rows.index(run.setting(arrangement.rows)) if arrangement.rows else 0
        j = columns.index(run.setting(arrangement.columns)) if arrangement.columns else 0
        placed.setdefault((i, j), run)
    return Grid(rows, columns, placed)


def _list_settings(runs: Sequence[Run], side: str, key: str) -> list[str]:
    """Settings of an option in the order of the runs; one empty name without an option."""
    if not key:
        return [""]
    check_option(runs, f"{side}={key}", key)
    return list(dict.fromkeys(run.setting(key) for run in runs))


def draw_grid(
    runs: Sequence[Run], arrangement: Arrangement, caption: Callable[[Run], str]
) -> "Figure":
    """The newest samples of the first run of each place, with a caption below."""
    from matplotlib.figure import Figure

    grid = arrange_runs(runs, arrangement)
    down, across = len(grid.rows), len(grid.columns)
    figure = Figure(figsize=(2.2 * across + 0.4, 2.4 * down), dpi=100, layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])

    for place, run in grid.runs.items():
        panels[place].set_xlabel(escape_text(caption(run)), fontsize=7)
        if path := arrangement.newest(run):
            _draw_sample(panels[place], path)
    for i, name in enumerate(grid.rows):
        panels[i, 0].set_ylabel(escape_text(name), fontsize=8)
    for j, name in enumerate(grid.columns):
        panels[0, j].set_title(escape_text(name), fontsize=8)
    return figure


def _draw_sample(axes: "Axes", path: Path) -> None:
    """Draw an image or lines of text; the name of the file if it is damaged."""
    try:
        if path.suffix != ".txt":
            axes.imshow(read_pixels(path))
            return
        text = "\n".join(escape_text(line[:40]) for line in read_lines(path)[:12])
    except UserError:
        text = f"{escape_text(path.name)}:\ndamaged"
    axes.text(0.02, 0.98, text, fontsize=5, family="monospace", va="top", transform=axes.transAxes)


def read_pixels(path: Path) -> np.ndarray:
    """Pixels of an image, (H, W, 3), reduced if it is very large.

    Raises:
        UserError: the image is damaged.
    """
    from gan_cli.reading import images as decoding

    try:
        with decoding.opened(path) as image:
            pixels = image.convert("RGB")
            factor = ceil(max(pixels.size) / LARGEST_SIDE)
            return np.asarray(pixels.reduce(factor) if factor > 1 else pixels)
    except Exception as error:  # decoders raise exceptions of any kind
        raise UserError(f"{path}: cannot be read as a picture ({decoding.why(error)}).") from None


def read_lines(path: Path) -> list[str]:
    """Lines of a text; one line with the reason if it cannot be read."""
    try:
        return read_bytes(path, SMALL).decode(errors="replace").splitlines()
    except OSError as error:
        return [f"{path.name}: {error.strerror}"]
