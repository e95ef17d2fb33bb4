"""`gan-list`: table of all models, generated from the comments in configs/model/.

This module does not import torch.
"""

import json
import shutil
import sys
import textwrap
from dataclasses import asdict, dataclass, field

from gan_cli.config.papers import Entry, entries
from gan_cli.errors import UserError


@dataclass
class ListConfig:
    """Keys of `gan-list`."""

    format: str = field(
        default="auto", metadata={"help": "table, markdown or json; auto: a table on a terminal"}
    )


def run(config: ListConfig) -> None:
    """Print the table of models.

    Raises:
        UserError: the format is unknown.
    """
    shown = (
        ("table" if sys.stdout.isatty() else "markdown")
        if config.format == "auto"
        else config.format
    )
    printers = {"table": _table, "markdown": _markdown, "json": _json}
    if shown not in printers:
        raise UserError(f"format={shown}: expected one of {', '.join(printers)}.")
    print(printers[shown](entries()))


def _json(zoo: list[Entry]) -> str:
    return json.dumps([asdict(item) for item in zoo], indent=1)


def _markdown(zoo: list[Entry]) -> str:
    """Table in Markdown."""
    rows = [
        f"| `{item.model}` | {item.year} | {item.paper} | {item.shows} | `{item.command}` |"
        for item in zoo
    ]
    return "\n".join(
        ["| model | year | paper | what it shows | command |", "|---|---|---|---|---|", *rows]
    )


def _table(zoo: list[Entry]) -> str:
    """Table with one or several lines per model, wrapped to the width of the terminal."""
    name = max(len(item.model) for item in zoo) + 2
    paper = max(len(item.paper) for item in zoo) + 2
    before = name + 6 + paper
    width = max(40, shutil.get_terminal_size().columns - before)

    lines = []
    for item in zoo:
        first, *more = textwrap.wrap(item.shows, width)
        lines.append(f"{item.model:<{name}}{item.year:<6}{item.paper:<{paper}}{first}")
        lines += [" " * before + line for line in more]
    return "\n".join(
        [*lines, "", "gan-train model=NAME trains one; format=markdown and format=json print more."]
    )
