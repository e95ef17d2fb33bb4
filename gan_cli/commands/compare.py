"""`gan-compare`: runs beside each other, as a table, curves, a grid of their samples, or one page
with all of it.

Nothing here imports torch.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_cli.commands.keys import key
from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.files import write_bytes
from gan_cli.reports import budgets, charts, html_page, tables, verdicts
from gan_cli.reports.formats import FORMATS
from gan_cli.reports.grids import Arrangement, draw_grid
from gan_cli.reports.groups import group_runs
from gan_cli.reports.statistics import STATISTICS, Mean
from gan_cli.runs.finished import SAMPLES, Run, find_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = {".html": "page", ".png": "picture", ".csv": "csv", ".md": "markdown", ".tex": "latex"}
"""Kind of report by the suffix of its file."""
PICTURE_KEYS = ("curves", "over", "rows", "columns", "pictures")
"""Keys that a table does not take."""


@dataclass
class CompareConfig:
    """Keys of `gan-compare`."""

    format: str | None = key("terminal (default), csv, markdown or latex")
    output: str | None = key(
        "FILE.html (all in one page), .png (curves, or samples), .csv, .md or .tex"
    )
    scores: list[str] = key("[names], or [all]; those of the data if not given", [])
    best: bool = key("true or false: the best value of a score beside its last one", True)
    statistic: str = key("over the seeds: mean (+- std) or median (with the range)", "mean")
    by: list[str] = key("[options] that a row stands for, all that differ if not given", [])
    curves: list[str] = key("[scalars] over rounds, the objective's if not given", [])
    over: str | None = key("OPTION that is a number: curves over it, of the last values")
    rows: str | None = key("OPTION that the rows of the grid of samples stand for")
    columns: str | None = key("OPTION that its columns stand for")
    pictures: str = key("PATTERN of the samples, below the folder of a run", SAMPLES)
    success: str | None = key(
        "OPTION with two choices: how many seeds reach scores=[NAME] with either"
    )
    at: list[float] = key("[thresholds] of success, eight of the score's range if not given", [])
    budget: str | None = key(
        "OPTION: how good the best of so many runs is, for each of its choices"
    )
    cells: bool = key("true: state of each cell of a sweep, and why it failed", False)
    verdicts: bool = key("true: how often each verdict of the health report is right", False)


def run(config: CompareConfig, places: Sequence[Path]) -> None:
    """Compare the runs in these folders, and print or write the report."""
    kind = _check_keys(config)
    if not places:
        raise UserError("no run is named; name folders of runs, or folders with runs in them.")
    if config.cells:
        _print_cells(places)
        return

    runs, damaged = find_runs(places)
    for sentence in damaged:
        print(f"gan-compare: {on_one_line(sentence)}", file=sys.stderr)
    content = _render(kind, config, runs, damaged)
    if config.output is None:
        encoding = sys.stdout.encoding or "utf-8"
        # letters that the terminal does not have are replaced
        print(content.decode().encode(encoding, errors="replace").decode(encoding))
    else:
        write_bytes(Path(config.output), content + b"\n" * (kind in FORMATS))
        print(config.output)


def _print_cells(places: Sequence[Path]) -> None:
    """Print the state of each cell of these sweeps. Raises UserError for a folder without cells."""
    from gan_cli.sweeps import multirun

    for place in places:
        if not multirun.cells(place):
            raise UserError(f"{place}: no sweep lies there; name the folder of a sweep.")
    print("\n\n".join(map(multirun.summary, places)))


# --- checks ---------------------------------------------------------------------------------------


def _check_keys(config: CompareConfig) -> str:
    """Kind of report: a format of tables, `page` or `picture`.

    Raises:
        UserError: a value is unknown, or keys contradict each other.
    """
    _check_known("format", config.format, FORMATS)
    _check_known("statistic", config.statistic, STATISTICS)
    _check_thresholds(config)
    if config.cells:
        _check_alone(config)
        return "terminal"

    kind = _choose_kind(config)
    if config.verdicts:
        _check_verdicts(config, kind)
    if config.budget is not None:
        _check_budget(config)
    if config.success is not None:
        _check_success(config, kind)
    if kind in FORMATS:
        _refuse(config, PICTURE_KEYS, "for pictures only; add output=FILE.png or output=FILE.html")
    if kind == "picture":
        _check_picture(config)
    parts = Path(config.pictures).parts
    if not parts or Path(config.pictures).is_absolute() or ".." in parts or "\0" in config.pictures:
        raise UserError(
            f"pictures={config.pictures}: expected a pattern below the folder of a run, such as "
            f"{SAMPLES}."
        )
    return kind


def _check_known(name: str, value: str | None, known: Any) -> None:
    """Raise UserError for a value that is not known."""
    if value is not None and value not in known:
        raise UserError(
            f"{name}={value}: no such {name}{closest(value, known)}; take {', '.join(known)}."
        )


def _choose_kind(config: CompareConfig) -> str:
    """Kind of report by the name of the output, or by the format."""
    if config.output is None:
        return config.format or "terminal"
    suffix = Path(config.output).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"output={config.output}: the name must end in {', '.join(SUFFIXES)}, which says what "
            "to write."
        )
    if config.format not in (None, SUFFIXES[suffix]):
        raise UserError(
            f"format={config.format}: output={config.output} says another one; leave one of "
            "them out."
        )
    return SUFFIXES[suffix]


def _check_thresholds(config: CompareConfig) -> None:
    """Raise UserError for thresholds that are not finite, or that belong to nothing."""
    if config.at and config.success is None:
        _refuse(config, ["at"], "thresholds of success; add success=OPTION")
    if not all(map(math.isfinite, config.at)):
        _refuse(config, ["at"], "expected finite numbers")


def _check_alone(config: CompareConfig) -> None:
    """Raise UserError for a key that does not go with `cells=true`."""
    others = [item.name for item in fields(config) if item.name != "cells"]
    _refuse(config, others, "cells=true prints the state of each cell alone; leave one of them out")


def _check_success(config: CompareConfig, kind: str) -> None:
    """Raise UserError for a table of successes without one score, or as a picture."""
    if kind not in FORMATS:
        raise UserError(
            f"success={config.success}: a table; take output=FILE.csv, .md or .tex instead of "
            f"{config.output}."
        )
    if len(config.scores) != 1:
        raise UserError(f"success={config.success}: name the one score to reach, by scores=[NAME].")


def _check_verdicts(config: CompareConfig, kind: str) -> None:
    """Raise UserError for a table of verdicts as a picture, or beside another kind of report."""
    if kind not in FORMATS:
        raise UserError(
            f"verdicts=true: a table; take output=FILE.csv, .md or .tex instead of {config.output}."
        )
    kept = ("verdicts", "format", "output")
    others = [item.name for item in fields(config) if item.name not in kept]
    _refuse(config, others, "verdicts=true is a table of its own; leave one of them out")


def _check_budget(config: CompareConfig) -> None:
    """Raise UserError for budgets of several scores, or beside another kind of report."""
    beside = "budget= is a table or curves of its own; leave one of them out"
    _refuse(config, ["success", "curves", "over", "rows", "columns", "by"], beside)
    if len(config.scores) > 1:
        raise UserError(f"budget={config.budget}: name one score, by scores=[NAME].")


def _check_picture(config: CompareConfig) -> None:
    """Raise UserError for a picture of both samples and curves, or of samples without sides."""
    if config.rows or config.columns:
        _refuse(
            config,
            ["curves", "over"],
            "a .png holds samples in rows and columns, or curves; leave one of them out, or take "
            "output=FILE.html",
        )
    else:
        _refuse(config, ["pictures"], "add rows=OPTION or columns=OPTION, or take output=FILE.html")


def _refuse(config: CompareConfig, names: Sequence[str], reason: str) -> None:
    """Raise UserError for the first of these keys that is not at its default."""
    for name in names:
        value, default = getattr(config, name), getattr(CompareConfig(), name)
        if value != default:
            raise UserError(f"{name}={_format_value(value)}: {reason}.")


def _format_value(value: Any) -> str:
    """Value of a key as one types it."""
    if isinstance(value, list):
        return f"[{','.join(map(_format_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- reports --------------------------------------------------------------------------------------


def _render(kind: str, config: CompareConfig, runs: Sequence[Run], damaged: Sequence[str]) -> bytes:
    """Content of the report."""
    if config.verdicts:
        return FORMATS[kind](verdicts.build_verdict_sheet(runs)).encode(errors="replace")

    if config.success is not None:
        sheet = tables.build_success_sheet(runs, config.success, config.scores[0], config.at)
        return FORMATS[kind](sheet).encode(errors="replace")

    if config.budget is not None and kind in FORMATS:
        score = _budget_score(config, runs)
        sheet = budgets.build_budget_sheet(runs, config.budget, score)
        return FORMATS[kind](sheet).encode(errors="replace")

    arrangement = Arrangement(config.rows or "", config.columns or "", config.pictures)
    _check_samples(runs, arrangement)
    if kind == "picture" and arrangement.is_grid:
        tables.check_scores(runs, config.scores)
        figure = draw_grid(runs, arrangement, lambda run: _write_caption(run, config.scores))
        return charts.encode_figure(figure, "png")

    statistic = STATISTICS[config.statistic]
    groups = group_runs(runs, config.by)
    table = tables.build_table(groups, config.scores, statistic, config.best, config.by)
    if kind == "picture":
        return charts.encode_figure(_draw_curves(config, runs, table, "white"), "png")
    if kind == "page":
        curves = _embed_curves(config, runs, table)
        return html_page.render_page(table, damaged, curves, arrangement).encode(errors="replace")
    return FORMATS[kind](table.to_sheet()).encode(errors="replace")


def _budget_score(config: CompareConfig, runs: Sequence[Run]) -> str:
    """The score that budgets are compared by: the named one, or the objective of the runs."""
    return next(iter([*config.scores, *(run.objective for run in runs if run.objective)]), "")


def _check_samples(runs: Sequence[Run], arrangement: Arrangement) -> None:
    """Raise UserError for a pattern of one's own that no file matches."""
    if arrangement.pattern != SAMPLES and not any(map(arrangement.newest, runs)):
        raise UserError(
            f"pictures={arrangement.pattern}: no run has a PNG or text file of that name; name a "
            f"pattern below the folder of a run, such as {SAMPLES}."
        )


def _write_caption(run: Run, names: Sequence[str]) -> str:
    """Scores below a sample: the named ones, or the objective."""
    values = {name: run.value(name) for name in names or [run.objective]}
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items() if value is not None)


def _select_tags(config: CompareConfig, runs: Sequence[Run]) -> list[str]:
    """Scalars to draw: over an option, scores that are on the cards alone are among them."""
    if config.budget is not None:
        return [_budget_score(config, runs)]
    if config.over is not None and config.curves:
        tables.check_scores(runs, config.curves, "curves")
        return config.curves
    return charts.find_tags(runs, config.curves)


def _draw_curves(
    config: CompareConfig, runs: Sequence[Run], table: tables.Table, background: str = "none"
) -> "Figure":
    """Curves over rounds or over an option. Raises UserError without any scalar."""
    tags = _select_tags(config, runs)
    if not tags:
        raise UserError(
            "curves: no run has logged its objective or a Wasserstein estimate; name scalars by "
            "curves=[...]."
        )
    if config.budget is not None:
        panels = {tag: budgets.lines_over_budget(runs, config.budget, tag) for tag in tags}
        return charts.draw_panels(panels, "runs", Mean, background)

    groups = [row.group for row in table.rows]
    panels = {
        tag: charts.lines_over_option(runs, config.over, tag, config.by)
        if config.over is not None
        else charts.lines_over_rounds(groups, table.labels, tag)
        for tag in tags
    }
    return charts.draw_panels(panels, config.over or "rounds", table.statistic, background)


def _embed_curves(
    config: CompareConfig, runs: Sequence[Run], table: tables.Table
) -> html_page.Curves | None:
    """Curves for the page; None if no scalar is named and none was logged."""
    tags = _select_tags(config, runs)
    if not tags:
        return None
    svg = charts.encode_figure(_draw_curves(config, runs, table), "svg")
    over = "runs, of which the best counts" if config.budget else config.over or "rounds"
    return html_page.Curves(svg, tags, over)
