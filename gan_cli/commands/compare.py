"""`gan-compare`: runs beside each other, as a table, curves, a picture of their samples, or one
page with all of it.

Nothing here imports torch.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.files import write_bytes
from gan_cli.reports import charts, tables
from gan_cli.reports import html_page as page
from gan_cli.runs.finished import Group, Run, found, grouped

SUFFIXES = {".html": "page", ".png": "picture", ".csv": "csv", ".md": "markdown", ".tex": "latex"}
"""What a file holds, by its name."""


@dataclass
class CompareConfig:
    """The keys of `gan-compare`."""

    format: str | None = field(
        default=None, metadata={"help": "terminal (default), csv, markdown or latex"}
    )
    output: str | None = field(
        default=None,
        metadata={
            "help": "FILE.html (all in one page), .png (curves, or samples), .csv, .md or .tex"
        },
    )
    scores: list[str] = field(
        default_factory=list, metadata={"help": "[names], those of the data if not given"}
    )
    curves: list[str] = field(
        default_factory=list, metadata={"help": "[scalars], the objective's if not given"}
    )
    rows: str | None = field(
        default=None, metadata={"help": "OPTION that the rows of the picture of samples stand for"}
    )
    columns: str | None = field(
        default=None, metadata={"help": "OPTION that its columns stand for"}
    )


def run(config: CompareConfig, places: Sequence[Path]) -> None:
    """Compare the runs in these folders, and print or write what is asked for."""
    kind = _kind(config)
    if not places:
        raise UserError("no run is named; name folders of runs, or folders with runs in them.")
    runs, damaged = found(places)
    for sentence in damaged:
        print(f"gan-compare: {on_one_line(sentence)}", file=sys.stderr)
    content = _content(kind, config, runs, damaged)
    if config.output is None:
        encoding = sys.stdout.encoding or "utf-8"
        # a terminal may know few letters
        print(content.decode().encode(encoding, errors="replace").decode(encoding))
    else:
        write_bytes(
            Path(config.output), content if kind in ("page", "picture") else content + b"\n"
        )
        print(config.output)


def _kind(config: CompareConfig) -> str:
    """What to make: a format of the table, a page or a picture. Raises UserError where keys
    contradict each other."""
    if config.format is not None and config.format not in tables.FORMATS:
        known = ", ".join(tables.FORMATS)
        raise UserError(
            f"format={config.format}: no such format{closest(config.format, tables.FORMATS)}; "
            f"take {known}."
        )
    if config.output is None:
        kind = config.format or "terminal"
    else:
        kind = _kind_of_file(config.output)
        if config.format not in (None, kind):
            raise UserError(
                f"format={config.format}: output={config.output} says another one; leave one of "
                "them out."
            )
    if kind in tables.FORMATS and (config.rows or config.columns or config.curves):
        raise UserError(
            "rows, columns and curves are for pictures; add output=FILE.png or output=FILE.html."
        )
    return kind


def _kind_of_file(output: str) -> str:
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"output={output}: the name must end in {', '.join(SUFFIXES)}, which says what to "
            "write."
        )
    return SUFFIXES[suffix]


def _content(
    kind: str, config: CompareConfig, runs: Sequence[Run], damaged: Sequence[str]
) -> bytes:
    groups = grouped(runs)
    table = tables.build_table(groups, config.scores)
    rows, columns = config.rows or "", config.columns or ""
    if kind == "page":
        return page.render_page(
            table, damaged, charts.tags(runs, config.curves), rows, columns
        ).encode(errors="replace")
    if kind == "picture" and (rows or columns):
        return charts.written(
            charts.picture(runs, rows, columns, lambda run: run.pictures, _below), "png"
        )
    if kind == "picture":
        return _curves(groups, table, charts.tags(runs, config.curves))
    return tables.FORMATS[kind](table).encode(errors="replace")


def _below(run: Run) -> str:
    value = run.value(run.objective)
    return "" if value is None else f"{run.objective} {value:.3g}"


def _curves(groups: Sequence[Group], table: tables.Table, tags: Sequence[str]) -> bytes:
    if not tags:
        raise UserError(
            "curves: no run has logged its objective or a Wasserstein estimate; name scalars by "
            "curves=[...]."
        )
    return charts.written(charts.curves(groups, table.labels, tags, background="white"), "png")
