"""`gan-list`: table of all models, generated from the comments in configs/model/.

This module does not import torch.
"""

import itertools
import json
import re
import shutil
import sys
import textwrap
from dataclasses import asdict, dataclass, field

from gan_cli.config.options import file_of, options
from gan_cli.errors import UserError


@dataclass
class ListConfig:
    """Keys of `gan-list`."""

    format: str = field(
        default="auto", metadata={"help": "table, markdown or json; auto: a table on a terminal"}
    )


@dataclass(frozen=True)
class Entry:
    """Model with its paper, its purpose and the shortest command that trains it."""

    model: str
    year: str
    paper: str
    shows: str
    command: str


def entries() -> list[Entry]:
    """Entries of all models in chronological order."""
    return sorted(map(entry, options("model")), key=lambda item: (item.year, item.model))


def _head(group: str, option: str) -> list[str]:
    """Lines of the comment at the start of an option's file, without Hydra's directives."""
    lines = file_of(group, option).read_text(encoding="utf-8", errors="replace").splitlines()
    head = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return [line[2:] for line in head if not line.startswith("# @")]


def comment(group: str, option: str) -> str:
    """Comment of an option, which starts with the paper and ends with `Shows: `."""
    return " ".join(line for line in _head(group, option) if not line.startswith("  "))


def commands(group: str, option: str) -> list[str]:
    """Commands in the comment of an option, which are indented there."""
    return [line.strip() for line in _head(group, option) if line.startswith("  ")]


def entry(model: str) -> Entry:
    """Entry of a model, parsed from its comment."""
    text, _, shows = comment("model", model).partition("Shows: ")
    year = re.search(r"\b(?:19|20)\d\d\b", text)
    number = re.search(r"arXiv (\d{4}\.\d{4,5})", text)
    authors = re.search(r"([A-Z][\w-]+(?: and [A-Z][\w-]+| et al\.)?), (?:19|20)\d\d", text)

    paper = ", ".join(filter(None, [authors and authors[1], number and f"arXiv {number[1]}"]))
    data = re.search(r"Goes with (data=\w+)", text)
    command = " ".join(filter(None, ["gan-train", f"model={model}", data and data[1]]))
    return Entry(model, year[0] if year else "", paper, shows.rstrip("."), command)


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
