"""Figures of many runs: curves with bands, and their samples in rows and columns. Nothing here
imports torch."""

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.files import SMALL, read_bytes
from gan_cli.runs.finished import Group, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

USUAL = ("wasserstein/heldout",)
"""Curves that are drawn beside the objectives if nobody names any."""
ACROSS = 3  # panels in a row
LARGEST = 1e60  # what no run in float32 reaches; axes cannot be drawn much farther
POINTS = 400  # along a curve: more than a screen shows
WIDEST = 4096  # pixels a side of a picture that is drawn among others
INK = "#7d8590"  # of axes and words: legible on white and on black


def colours(count: int) -> list[str]:
    """So many colours that can be told apart, as #rrggbb."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    few = colormaps["tab10"].colors  # type: ignore[attr-defined]
    return [
        to_hex(c)
        for c in (
            few[:count] if count <= len(few) else colormaps["turbo"](np.linspace(0.1, 0.92, count))
        )
    ]


def tags(runs: Sequence[Run], named: Sequence[str]) -> list[str]:
    """The scalars to draw as curves: those named (`w1` is `metrics/w1`), or the objectives and the
    usual ones.

    Raises:
        UserError: no run has logged a scalar that is named.
    """
    known = dict.fromkeys(
        tag for run in runs for row in run.rows for tag in row if tag not in ("step", "seconds")
    )
    for name in named:
        if not {name, f"metrics/{name}"} & known.keys():
            raise UserError(
                f"curves=[{name}]: no run has logged such a scalar{closest(name, known)}; "
                f"they have {', '.join(known) or 'none'}."
            )
    if named:
        return [name if name in known else f"metrics/{name}" for name in named]
    usual = [*dict.fromkeys(f"metrics/{run.objective}" for run in runs), *USUAL]
    return [tag for tag in usual if tag in known]


def curves(
    groups: Sequence[Group], labels: Sequence[str], drawn: Sequence[str], background: str = "none"
) -> "Figure":
    """Scalars over rounds, a panel each: a line for a group's mean, a band of one standard
    deviation where it has seeds.

    Args:
        labels: what to call each group.
        drawn: complete tags, such as `metrics/w1`.
    """
    from matplotlib.figure import Figure

    across, down = min(len(drawn), ACROSS), ceil(len(drawn) / ACROSS)
    size = (4.8 * across, 3 * down + 0.2 + 0.12 * ceil(len(groups) / across))
    figure = Figure(figsize=size, layout="constrained", facecolor=background)
    panels = [figure.add_subplot(down, across, i) for i in range(1, len(drawn) + 1)]
    for axes, tag in zip(panels, drawn, strict=True):
        for group, colour, label in zip(groups, colours(len(groups)), labels, strict=True):
            _line(axes, group, tag, color=colour, label=_plain(label))
        _dress(axes, tag)
    handles = {
        label: line
        for axes in panels
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if len(groups) > 1 and handles:
        figure.legend(
            handles.values(),
            handles,
            loc="outside lower left",
            ncols=across,
            fontsize=7,
            frameon=False,
            labelcolor=INK,
        )
    return figure


def _line(axes: "Axes", group: Group, tag: str, **style: Any) -> None:
    series = [
        [
            (row["step"], row[tag])
            for row in run.rows
            if tag in row and abs(row.get("step", np.inf)) < LARGEST
        ]
        for run in group.runs
    ]
    lines = [np.array(sorted(points)).T for points in series if points]
    if not lines:
        return
    steps, mean, std = band(lines)
    axes.plot(steps, mean, lw=1.5, marker="o" if len(steps) <= 20 else None, ms=3, **style)
    if len(lines) > 1:
        axes.fill_between(steps, mean - std, mean + std, color=style["color"], alpha=0.18, lw=0)


def band(lines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rounds, mean and standard deviation of several curves, each (2, n) and counted only as far as
    it goes.

    The deviation is that of a sample, and zero where a single curve is left.
    """
    steps = np.unique(np.concatenate([line[0] for line in lines]))
    steps = steps[np.linspace(0, len(steps) - 1, min(len(steps), POINTS)).round().astype(int)]
    values = np.array(
        [np.interp(steps, line[0], line[1], left=np.nan, right=np.nan) for line in lines]
    )
    values[~(np.abs(values) < LARGEST)] = np.nan
    count = np.isfinite(values).sum(axis=0)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nowhere a finite value: a gap in the line
        mean = np.nanmean(values, axis=0)
        std = np.where(count > 1, np.nanstd(values, axis=0, ddof=1), 0.0)
    return steps, mean, std


def _dress(axes: "Axes", tag: str) -> None:
    """A panel's title and axes; logarithmic where values span more than two orders of magnitude."""
    values = np.concatenate([line.get_ydata() for line in axes.lines] or [np.ones(1)])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 100 * values.min():
        axes.set_yscale("log")
    axes.set_title(_plain(tag), fontsize=9, loc="left", color=INK)
    axes.set_xlabel("rounds", fontsize=8, color=INK)
    axes.tick_params(labelsize=7, colors=INK, which="both")
    axes.set_facecolor("none")
    axes.grid(color=INK, alpha=0.2, lw=0.5)
    for side, spine in axes.spines.items():
        spine.set(color=INK, visible=side in ("left", "bottom"))


def places(runs: Sequence[Run], rows: str, columns: str) -> tuple[list[str], list[str]]:
    """What the runs have for two keys, in the order met; an empty key has one place. The sides of a
    picture of grids.

    Raises:
        UserError: no run has anything for a key.
    """
    sides: list[list[str]] = []
    for side, key in (("rows", rows), ("columns", columns)):
        found = list(dict.fromkeys(run.setting(key) for run in runs)) if key else [""]
        if key and not any(found):
            known = dict.fromkeys(known for run in runs for known in (*run.typed, *run.config))
            raise UserError(
                f"{side}={key}: no run has such a key{closest(key, known)}; name what differs "
                "between them."
            )
        sides.append(found)
    return sides[0], sides[1]


def picture(
    runs: Sequence[Run],
    rows: str,
    columns: str,
    latest: Callable[[Run], Sequence[Path]],
    below: Callable[[Run], str],
) -> "Figure":
    """The last picture of the runs in rows and columns of what they have for two keys; the first
    run of a place.

    Args:
        rows, columns: keys, such as `network` and `optimizer.lr`; one may be empty.
        latest: the pictures of a run, PNG or text, of which the last is shown.
        below: what is written under it.
    """
    from matplotlib.figure import Figure

    down, across = places(runs, rows, columns)
    figure = Figure(
        figsize=(2.2 * len(across) + 0.4, 2.4 * len(down)), dpi=100, layout="constrained"
    )
    panels = figure.subplots(len(down), len(across), squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    filled = set()
    for run in runs:
        place = (
            down.index(run.setting(rows)) if rows else 0,
            across.index(run.setting(columns)) if columns else 0,
        )
        if place not in filled:
            filled.add(place)
            panels[place].set_xlabel(_plain(below(run)), fontsize=7)
            for path in latest(run)[-1:]:
                _fill(panels[place], path)
    for i, name in enumerate(down):
        panels[i, 0].set_ylabel(_plain(name), fontsize=8)
    for j, name in enumerate(across):
        panels[0, j].set_title(_plain(name), fontsize=8)
    return figure


def _fill(axes: "Axes", path: Path) -> None:
    """One picture; what is damaged is told of in its place."""
    try:
        if path.suffix != ".txt":
            axes.imshow(readable(path))
            return
        words = "\n".join(_plain(line[:40]) for line in lines_of(path)[:12])
    except UserError:
        words = f"{_plain(path.name)}:\ndamaged"
    axes.text(0.02, 0.98, words, fontsize=5, family="monospace", va="top", transform=axes.transAxes)


def readable(path: Path) -> np.ndarray:
    """The pixels of a picture, (H, W, 3), a very large one made smaller. Raises UserError for one
    that is damaged."""
    from gan_cli.reading import images as decoding

    try:
        with decoding.opened(path) as image:
            coarse = image.convert("RGB")
            return np.asarray(
                coarse.reduce(ceil(max(coarse.size) / WIDEST))
                if max(coarse.size) > WIDEST
                else coarse
            )
    except Exception as error:  # whatever a decoder makes of it
        raise UserError(f"{path}: cannot be read as a picture ({decoding.why(error)}).") from None


def lines_of(path: Path) -> list[str]:
    """Samples of text, one a line; none of what cannot be read."""
    try:
        return read_bytes(path, SMALL).decode(errors="replace").splitlines()
    except OSError as error:
        return [f"{path.name}: {error.strerror}"]


def written(figure: "Figure", kind: str) -> bytes:
    """A figure as the bytes of a PNG or an SVG file."""
    from matplotlib import rc_context

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # no word about fonts
    file = io.BytesIO()
    # the same bytes each time
    with rc_context({"svg.hashsalt": "gan-cli"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that no font here has
        figure.savefig(
            file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None
        )
    return file.getvalue()


def _plain(text: str) -> str:
    """Words that a stranger may have written, without mathematics."""
    return on_one_line(text).replace("$", r"\$")
