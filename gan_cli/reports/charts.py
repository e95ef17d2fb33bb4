"""Charts of scalars over rounds or over an option: a line for each setting, a band for its seeds.
Nothing here imports torch."""

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.reading.safe_yaml import read_yaml
from gan_cli.reports.groups import Group, differing_keys
from gan_cli.reports.statistics import Mean, Summary
from gan_cli.reports.tables import label_settings
from gan_cli.runs.finished import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEFAULT_TAGS = ("wasserstein/heldout",)
"""Scalars that are drawn beside the objectives by default."""
PANELS_PER_ROW = 3
LARGEST = 1e60  # beyond float32; axes cannot be drawn much farther
POINTS = 400  # along a curve: more than a screen shows
INK = "#7d8590"  # of axes and text: legible on white and on black


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Args:
        x: (n,), ascending.
        values: (runs, n), nan where a run has none.
    """

    label: str
    colour: str
    x: np.ndarray
    values: np.ndarray


def choose_colours(count: int) -> list[str]:
    """Distinguishable colours as #rrggbb."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    few = colormaps["tab10"]
    if count <= few.N:
        return [to_hex(few(i)) for i in range(count)]
    return [to_hex(colour) for colour in colormaps["turbo"](np.linspace(0.1, 0.92, count))]


# --- data -----------------------------------------------------------------------------------------


def find_tags(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Tags of the named scalars, where `w1` is `metrics/w1`.

    Args:
        names: scalars; by default the objectives and `DEFAULT_TAGS`.

    Raises:
        UserError: no run has logged a named scalar.
    """
    known = dict.fromkeys(
        tag for run in runs for row in run.rows for tag in row if tag not in ("step", "seconds")
    )
    for name in names:
        if not {name, f"metrics/{name}"} & known.keys():
            raise UserError(
                f"curves=[{name}]: no run has logged such a scalar{closest(name, known)}; "
                f"they have {', '.join(known) or 'none'}."
            )
    if names:
        return [name if name in known else f"metrics/{name}" for name in names]

    default = [*dict.fromkeys(f"metrics/{run.objective}" for run in runs), *DEFAULT_TAGS]
    return [tag for tag in default if tag in known]


def lines_over_rounds(groups: Sequence[Group], labels: Sequence[str], tag: str) -> list[Line]:
    """A line for each group: a scalar over rounds. Groups that have not logged it are left out."""
    found = []
    for group, label, colour in zip(groups, labels, choose_colours(len(groups)), strict=True):
        logged = [
            [
                (row["step"], row[tag])
                for row in run.rows
                if tag in row and abs(row.get("step", np.inf)) < LARGEST
            ]
            for run in group.runs
        ]
        curves = [np.array(sorted(points)).T for points in logged if points]
        if curves:
            found.append(Line(label, colour, *align_curves(curves)))
    return found


def align_curves(curves: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Curves, each (2, n), at common positions.

    Returns:
        Positions (m,) and interpolated values (curves, m), nan beyond the end of a curve.
    """
    x = np.unique(np.concatenate([curve[0] for curve in curves]))
    x = x[np.linspace(0, len(x) - 1, min(len(x), POINTS)).round().astype(int)]
    values = [np.interp(x, curve[0], curve[1], left=np.nan, right=np.nan) for curve in curves]
    return x, np.array(values)


def lines_over_option(
    runs: Sequence[Run], option: str, tag: str, by: Sequence[str] = ()
) -> list[Line]:
    """A line for each setting of the other keys: the last values of a scalar over an option.

    Args:
        by: the other keys; by default all that differ.

    Raises:
        UserError: the option of a run is no number.
    """
    keys = by or differing_keys([Group([run]) for run in runs])
    others = [key for key in keys if key != option]
    points: dict[str, dict[float, list[float]]] = {}
    for run in runs:
        x, value = _read_number(run, option), run.value(tag)
        label = label_settings(others, [run.setting(key) for key in others])
        at = points.setdefault(label, {})
        if value is not None:
            at.setdefault(x, []).append(value)

    return [
        Line(label, colour, np.array(sorted(at)), _stack([at[x] for x in sorted(at)]))
        for (label, at), colour in zip(points.items(), choose_colours(len(points)), strict=True)
        if at
    ]


def _read_number(run: Run, option: str) -> float:
    """An option's number, or the first one of its list. Raises UserError if it has none."""
    text = run.setting(option)
    try:
        value = read_yaml(text)
    except ValueError:
        value = None
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        return float(value)
    if text:
        problem = f"{run.folder} has {text}; name an option that is a number in every run"
    else:
        hint = closest(option, [*run.typed, *run.config])
        problem = f"{run.folder} has no such key{hint}; name an option that is a number"
    raise UserError(f"over={option}: {problem}.")


def _stack(columns: Sequence[Sequence[float]]) -> np.ndarray:
    """Columns of different lengths as an array, filled up with nan."""
    values = np.full((max(map(len, columns)), len(columns)), np.nan)
    for i, column in enumerate(columns):
        values[: len(column), i] = column
    return values


# --- drawing --------------------------------------------------------------------------------------


def draw_panels(
    panels: Mapping[str, Sequence[Line]],
    x_label: str = "rounds",
    statistic: type[Summary] = Mean,
    background: str = "none",
) -> "Figure":
    """Panels of lines with bands, and a legend if there are several lines.

    Args:
        panels: lines by the title of their panel.
        statistic: what a line and its band show of the runs.
    """
    from matplotlib.figure import Figure

    labels = {line.label for lines in panels.values() for line in lines}
    down = ceil(len(panels) / PANELS_PER_ROW)
    across = ceil(len(panels) / down)  # four panels are two rows of two
    size = (4.8 * across, 3 * down + 0.2 + 0.12 * ceil(len(labels) / across))
    figure = Figure(figsize=size, layout="constrained", facecolor=background)

    for i, (title, lines) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(down, across, i)
        for line in lines:
            _draw_line(axes, line, statistic)
        _style_axes(axes, title, x_label)
    if len(labels) > 1:
        _add_legend(figure, across)
    return figure


def draw_pairs(
    pairs: Sequence[tuple[str, str]], scores: Mapping[str, Sequence[float]], marks: Sequence[str]
) -> "Figure":
    """A panel for each pair of scores, one over the other, with a mark at each point.

    Args:
        pairs: names of the scores along x and y.
        scores: values by name, as many as there are marks.
    """
    from matplotlib.figure import Figure

    across = len(pairs)
    figure = Figure(figsize=(4.8 * across, 3.6), layout="constrained", facecolor="white")
    for i, (along, up) in enumerate(pairs, 1):
        axes = figure.add_subplot(1, across, i)
        axes.plot(scores[along], scores[up], lw=1.5, marker="o", ms=4)
        for mark, x, y in zip(marks, scores[along], scores[up], strict=True):
            if np.isfinite([x, y]).all():
                axes.annotate(
                    mark, (x, y), (4, 4), textcoords="offset points", fontsize=7, color=INK
                )
        _style_axes(axes, up, along)
    return figure


def _draw_line(axes: "Axes", line: Line, statistic: type[Summary]) -> None:
    """The middle of the runs, and a band where there are several."""
    values = np.where(np.abs(line.values) < LARGEST, line.values, np.nan)
    middle, low, high = statistic.band(values)
    axes.plot(
        line.x,
        middle,
        lw=1.5,
        marker="o" if len(line.x) <= 20 else None,
        ms=3,
        color=line.colour,
        label=escape_text(line.label),
    )
    if len(values) > 1:
        axes.fill_between(line.x, low, high, color=line.colour, alpha=0.18, lw=0)


def _style_axes(axes: "Axes", title: str, x_label: str) -> None:
    """Title and axes of a panel; logarithmic where values span more than two decades."""
    values = np.concatenate([line.get_ydata() for line in axes.lines] or [np.ones(1)])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 100 * values.min():
        axes.set_yscale("log")

    axes.set_title(escape_text(title), fontsize=9, loc="left", color=INK)
    axes.set_xlabel(escape_text(x_label), fontsize=8, color=INK)
    axes.tick_params(labelsize=7, colors=INK, which="both")
    axes.set_facecolor("none")
    axes.grid(color=INK, alpha=0.2, lw=0.5)
    for side, spine in axes.spines.items():
        spine.set(color=INK, visible=side in ("left", "bottom"))


def _add_legend(figure: "Figure", columns: int) -> None:
    """One legend for all panels."""
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles,
        loc="outside lower left",
        ncols=columns,
        fontsize=7,
        frameon=False,
        labelcolor=INK,
    )


def encode_figure(figure: "Figure", kind: str) -> bytes:
    """Figure as the bytes of a PNG or an SVG file, the same bytes each time."""
    from matplotlib import rc_context

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # silences notes on fonts
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "gan-cli"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that no font has
        figure.savefig(
            file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None
        )
    return file.getvalue()


def escape_text(text: str) -> str:
    """Text for matplotlib, which would set what stands between dollars as mathematics."""
    return on_one_line(text).replace("$", r"\$")
