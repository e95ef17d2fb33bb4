"""What a sweep came to: its cells read from their folders, as a table and as one picture."""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_cli.errors import UserError, explain_os, on_one_line
from gan_cli.reading.safe_yaml import read_yaml
from gan_cli.runs.finished import SEED, Run, found
from gan_cli.sweeps import multirun


def cells(folder: Path) -> list[Run]:
    """The runs below a sweep's folder. Raises UserError if there are none."""
    runs, damaged = found([folder])
    for sentence in damaged:
        print(f"gan_cli.sweeps.analysis: {on_one_line(sentence)}", file=sys.stderr)
    return runs


def varied(runs: Sequence[Run]) -> list[str]:
    """What was typed differently in different cells, the seed aside."""
    keys = dict.fromkeys(key for run in runs for key in run.typed)
    return [key for key in keys if key != SEED and len({run.typed.get(key) for run in runs}) > 1]


def table(folder: Path, scores: Sequence[str] = ()) -> str:
    """Markdown: a row for each setting, a column for each score, the median over seeds and their
    range.

    Args:
        scores: which, or scalars of the last row; all scores that some cell has if none are named.
    """
    runs = cells(folder)
    keys = varied(runs)
    shown = list(scores) or list(dict.fromkeys(name for run in runs for name in run.scores))
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.typed.get(key, "") for key in keys), []).append(run)
    lines = [" | ".join(["", *keys, *shown, ""]).strip(), "|" + "---|" * (len(keys) + len(shown))]
    for setting, members in groups.items():
        values = [[v for run in members if (v := run.value(name)) is not None] for name in shown]
        lines.append(" | ".join(["", *setting, *map(_summary, values), ""]).strip())
    return "\n".join(map(on_one_line, lines))


def _summary(values: list[float]) -> str:
    if not values:
        return "-"
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.3g}" if low == high else f"{middle:.3g} ({low:.3g} to {high:.3g})"


def picture(
    folder: Path, rows: str, columns: str, pattern: str = "samples/*.png", score: str = ""
) -> np.ndarray:
    """The last picture of every cell in one grid, (H, W, 3) bytes, with a score under each.

    Args:
        rows, columns: what was typed, such as `network` and `model`.
        pattern: which pictures, below a run's folder.
    """
    from gan_cli.pictures import drawn
    from gan_cli.reports import charts

    def below(run: Run) -> str:
        value = run.value(score)
        return "" if value is None else f"{score} {value:.3g}"

    return drawn(
        charts.picture(
            cells(folder), rows, columns, lambda run: sorted(run.folder.glob(pattern)), below
        )
    )


def curves(folder: Path, option: str, scores: Sequence[str]) -> np.ndarray:
    """Scores, or scalars of the last row, over an option that was typed as a number (or a list: its
    first).

    Args:
        scores: each is a curve; median over seeds.
    """
    from matplotlib.figure import Figure

    from gan_cli.pictures import drawn

    cells_at: dict[float, list[Run]] = {}
    for run in cells(folder):
        typed = _typed(run.typed.get(option, "null"))
        place = typed[0] if isinstance(typed, list) else typed
        if not isinstance(place, int | float) or isinstance(place, bool):
            raise UserError(f"{run.folder}: no number was typed for {option} there.")
        cells_at.setdefault(float(place), []).append(run)
    figure = Figure(figsize=(6, 3.5), dpi=100, layout="tight")
    axes = figure.add_subplot(xlabel=option)
    for score in scores:
        values = {
            x: [v for run in runs if (v := run.value(score)) is not None]
            for x, runs in sorted(cells_at.items())
        }
        middles = {x: statistics.median(seeds) for x, seeds in values.items() if seeds}
        axes.plot(list(middles), list(middles.values()), "o-", label=score)
    axes.legend(fontsize=7)
    return drawn(figure)


def _typed(text: str) -> Any:
    try:
        return read_yaml(text)
    except ValueError:
        return None


def success(folder: Path, option: str, score: str, thresholds: Sequence[float] = ()) -> str:
    """Markdown: of the seeds, how many reach a threshold under one choice of `option` only, the
    other only, both, none.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, table 5, where a seed stands for a random
    architecture.

    Args:
        score: one that rises as samples improve. A cell without it (a run that diverged) has
            failed.
        thresholds: eight between the lowest and the highest score if none are given.
    """
    reached: dict[str, dict[str, float]] = {}
    for run in cells(folder):
        value = run.value(score)
        reached.setdefault(run.typed.get(option, ""), {})[run.typed.get(SEED, "")] = (
            -np.inf if value is None else value
        )
    if len(reached) != 2:
        raise UserError(
            f"{folder}: {option} was typed as {', '.join(reached)}; two choices can be compared."
        )
    (a, of_a), (b, of_b) = reached.items()
    seeds = of_a.keys() & of_b.keys()
    finite = [
        value for values in reached.values() for value in values.values() if np.isfinite(value)
    ]
    if not finite:
        raise UserError(f"{folder}: no run has the score {score}.")
    lines = [
        f"| {score} at least | only {a} | only {b} | both | neither |",
        "|---|---|---|---|---|",
    ]
    for threshold in thresholds or np.linspace(min(finite), max(finite), 8):
        pairs = [(of_a[seed] >= threshold, of_b[seed] >= threshold) for seed in seeds]
        counts = [
            pairs.count(pair)
            for pair in ((True, False), (False, True), (True, True), (False, False))
        ]
        lines.append(f"| {threshold:.3g} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(map(on_one_line, lines))


def main() -> None:
    """`python -m gan_cli.sweeps.analysis FOLDER`: the table; with an option, what that says."""
    parser = argparse.ArgumentParser(
        prog="python -m gan_cli.sweeps.analysis", description="What a sweep came to."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("scores", nargs="*", help="scores, or scalars of the last row")
    parser.add_argument(
        "--cells", action="store_true", help="what has become of each cell, the best first"
    )
    parser.add_argument(
        "--success", metavar="OPTION", help="seeds that reach thresholds of a score, by this option"
    )
    parser.add_argument("--at", nargs="*", type=float, default=(), help="these thresholds")
    parser.add_argument("--curves", metavar="OPTION", help="draw the scores over this option")
    parser.add_argument(
        "--grid", nargs=2, metavar=("ROWS", "COLUMNS"), help="draw the last picture of every cell"
    )
    parser.add_argument(
        "--pattern", default="samples/*.png", help="which pictures, below a run's folder"
    )
    parser.add_argument("--output", type=Path, default=Path("sweep.png"), help="where to draw")
    typed = parser.parse_intermixed_args()
    if typed.cells:
        if not multirun.cells(typed.folder):
            raise UserError(f"{typed.folder}: no sweep lies there; name its folder.")
        print(multirun.summary(typed.folder))
    elif typed.curves:
        _write(typed.output, curves(typed.folder, typed.curves, typed.scores))
    elif typed.grid:
        rows, columns = typed.grid
        _write(typed.output, picture(typed.folder, rows, columns, typed.pattern, *typed.scores[:1]))
    elif typed.success:
        if not typed.scores:
            raise UserError(
                f"--success {typed.success}: name the score that is to be reached, after the "
                "folder."
            )
        print(success(typed.folder, typed.success, typed.scores[0], typed.at))
    else:
        print(table(typed.folder, typed.scores))


def _write(path: Path, pixels: np.ndarray) -> None:
    from gan_cli.pictures import write

    write(path, pixels)
    print(path)


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as mistake:
        told = explain_os(mistake) if isinstance(mistake, OSError) else str(mistake)
        sys.exit(f"gan_cli.sweeps.analysis: {on_one_line(told)}")
