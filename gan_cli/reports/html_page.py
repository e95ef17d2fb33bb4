"""The page of `gan-compare`: one HTML file that opens without a network. Nothing here imports
torch.

The template escapes all texts of runs, and the page's content security policy allows its one script
only.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_cli.errors import UserError, on_one_line
from gan_cli.files import read_bytes
from gan_cli.reports.charts import choose_colours
from gan_cli.reports.formats import MISSING
from gan_cli.reports.grids import Arrangement, arrange_runs, read_lines, read_pixels
from gan_cli.reports.groups import Group, differing_leaves
from gan_cli.reports.tables import Table
from gan_cli.runs.finished import Run, format_value

TEMPLATES = Path(__file__).parent / "templates"
LINES = 24  # of a sample of text


@dataclass(frozen=True)
class Curves:
    """Panels as SVG, one for each tag, and the axis that they are over."""

    svg: bytes
    tags: list[str]
    x_label: str

    @property
    def uri(self) -> str:
        """Panels as a data URI."""
        return _encode_uri(self.svg, "svg+xml")


@dataclass(frozen=True)
class Sample:
    """Newest sample of a run: an image as a data URI, or lines of text."""

    caption: str
    image: str = ""
    text: str = ""


@dataclass(frozen=True)
class Pictures:
    """Samples in rows and columns; a gallery if there are no rows."""

    rows: list[str]
    columns: list[str]
    cells: list[list[Sample | None]]


@dataclass(frozen=True)
class Leaf:
    """One key of the configurations, and its value in each group."""

    key: str
    differs: bool
    values: list[str]


def render_page(
    table: Table, damaged: Sequence[str], curves: Curves | None, arrangement: Arrangement
) -> str:
    """HTML of the page.

    Args:
        damaged: sentences on the runs that are left out.
        arrangement: rows and columns of samples; a gallery without them.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups = [row.group for row in table.rows]
    arrange = _arrange_grid if arrangement.is_grid else _arrange_gallery
    script = (TEMPLATES / "compare.js").read_text(encoding="utf-8")
    return environment.get_template("compare.html").render(
        table=table,
        titles=[on_one_line(column.title) for column in table.to_sheet().columns],
        missing=MISSING,
        runs=[run for group in groups for run in group.runs],
        names=table.labels,
        colours=choose_colours(len(groups)),
        damaged=damaged,
        curves=curves,
        pictures=arrange(table, arrangement),
        arrangement=arrangement,
        leaves=_collect_leaves(groups),
        style=(TEMPLATES / "compare.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _encode_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _arrange_gallery(table: Table, arrangement: Arrangement) -> Pictures:
    """Samples of the first run of each group that has some."""
    firsts = [(row.group.runs[0], name) for row, name in zip(table.rows, table.labels, strict=True)]
    samples: list[Sample | None] = [
        encode_sample(run, arrangement, name) for run, name in firsts if arrangement.newest(run)
    ]
    return Pictures([], [], [samples] if samples else [])


def _arrange_grid(table: Table, arrangement: Arrangement) -> Pictures:
    """Samples of the first run of each place."""
    grid = arrange_runs([run for row in table.rows for run in row.group.runs], arrangement)
    cells: list[list[Sample | None]] = [[None] * len(grid.columns) for _ in grid.rows]
    for (i, j), run in grid.runs.items():
        cells[i][j] = encode_sample(run, arrangement, f"{run.folder.name}, seed {run.seed}")
    return Pictures(grid.rows, grid.columns, cells)


def encode_sample(run: Run, arrangement: Arrangement, caption: str) -> Sample:
    """Newest sample of a run for the page; the reason in its place if it cannot be read."""
    newest = arrangement.newest(run)
    if newest is None:
        return Sample(caption, text="no samples yet")
    if newest.suffix == ".txt":
        return Sample(caption, text="\n".join(read_lines(newest)[:LINES]))
    try:
        read_pixels(newest)
        return Sample(caption, image=_encode_uri(read_bytes(newest), "png"))
    except (UserError, OSError) as error:
        return Sample(caption, text=on_one_line(str(error)))


def _collect_leaves(groups: Sequence[Group]) -> list[Leaf]:
    """All leaves of the configurations, those that differ first."""
    differing = differing_leaves(groups)
    keys = {key for group in groups for run in group.runs for key in run.config}
    ordered = [*differing, *sorted(keys - set(differing))]
    return [
        Leaf(key, key in differing, [_join_values(group, key) for group in groups])
        for key in ordered
    ]


def _join_values(group: Group, key: str) -> str:
    """Values of a leaf in the runs of a group: several for the seed."""
    values = dict.fromkeys(format_value(run.config[key]) for run in group.runs if key in run.config)
    return ", ".join(values) or MISSING
