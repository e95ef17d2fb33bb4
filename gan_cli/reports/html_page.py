"""The page of `gan-compare`: one HTML file that opens without a network. Nothing here imports
torch.

The template escapes whatever a run brings, and the page's policy lets a browser run the one script
that it names.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_cli.errors import UserError, on_one_line
from gan_cli.files import read_bytes
from gan_cli.reports import charts
from gan_cli.reports.tables import NOTHING, Table
from gan_cli.runs.finished import Group, Run, different_leaves, shown

TEMPLATES = Path(__file__).parent / "templates"
LINES = 24  # of a text's samples


@dataclass(frozen=True)
class Sample:
    """What a run drew last: an image as a data URI, or lines of text. Empty if there is nothing
    that can be read."""

    caption: str
    image: str = ""
    text: str = ""


@dataclass(frozen=True)
class Pictures:
    """Samples in rows and columns, each side named; without sides, a gallery with one for each
    group."""

    rows: list[str]
    columns: list[str]
    cells: list[list[Sample | None]]


@dataclass(frozen=True)
class Leaf:
    """A key of the configurations, whether it tells groups apart, and what each group has."""

    key: str
    differs: bool
    values: list[str]


def render_page(
    table: Table, damaged: Sequence[str], tags: Sequence[str], rows: str, columns: str
) -> str:
    """The whole page.

    Args:
        damaged: sentences on the runs that are left out.
        tags: scalars that are drawn as curves.
        rows, columns: keys by which samples are arranged; a gallery if both are empty.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    groups = [row.group for row in table.rows]
    names = table.labels
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    script = (TEMPLATES / "compare.js").read_text(encoding="utf-8")
    figure = _curves(groups, names, tags)
    pictures = _arranged(groups, rows, columns) if rows or columns else _gallery(groups, names)
    return environment.get_template("compare.html").render(
        table=table,
        nothing=NOTHING,
        runs=[run for group in groups for run in group.runs],
        names=names,
        colours=charts.colours(len(groups)),
        damaged=damaged,
        tags=tags,
        curves=figure,
        pictures=pictures,
        sides_of=(rows, columns),
        leaves=_leaves(groups),
        style=(TEMPLATES / "compare.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _curves(groups: Sequence[Group], names: Sequence[str], tags: Sequence[str]) -> str:
    return (
        _uri(charts.written(charts.curves(groups, names, tags), "svg"), "svg+xml") if tags else ""
    )


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _gallery(groups: Sequence[Group], names: Sequence[str]) -> Pictures:
    """For each group that has samples, those of its first run."""
    drawn = [
        sample(group.runs[0], name)
        for group, name in zip(groups, names, strict=True)
        if group.runs[0].pictures
    ]
    return Pictures([], [], [list(drawn)] if drawn else [])


def _arranged(groups: Sequence[Group], rows: str, columns: str) -> Pictures:
    """The samples of the first run of each place."""
    runs = [run for group in groups for run in group.runs]
    down, across = charts.places(runs, rows, columns)
    cells: list[list[Sample | None]] = [[None] * len(across) for _ in down]
    for run in runs:
        i = down.index(run.setting(rows)) if rows else 0
        j = across.index(run.setting(columns)) if columns else 0
        cells[i][j] = cells[i][j] or sample(run, f"{run.folder.name}, seed {run.seed}")
    return Pictures(down, across, cells)


def sample(run: Run, caption: str) -> Sample:
    """What a run drew last, as the page shows it. A picture that is damaged is told of in its
    place."""
    if not run.pictures:
        return Sample(caption, text="no samples yet")
    latest = run.pictures[-1]
    if latest.suffix == ".txt":
        return Sample(caption, text="\n".join(charts.lines_of(latest)[:LINES]))
    try:
        charts.readable(latest)
        content = read_bytes(latest)
    except (UserError, OSError) as error:
        return Sample(caption, text=on_one_line(str(error)))
    return Sample(caption, image=_uri(content, "png"))


def _leaves(groups: Sequence[Group]) -> list[Leaf]:
    """Every leaf of the configurations, those that differ first, with what each group has."""
    different = different_leaves(groups)
    every = sorted(
        {key for group in groups for run in group.runs for key in run.config} - set(different)
    )
    told = [(key, True) for key in different] + [(key, False) for key in every]
    return [Leaf(key, differs, [_value(group, key) for group in groups]) for key, differs in told]


def _value(group: Group, key: str) -> str:
    """A group's value of a leaf; all values, where its runs have several (the seed)."""
    values = dict.fromkeys(shown(run.config[key]) for run in group.runs if key in run.config)
    return ", ".join(values) or NOTHING
