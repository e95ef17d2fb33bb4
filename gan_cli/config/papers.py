"""The models and their papers, from the comments in configs/model/.

This module does not import torch.
"""

import itertools
import re
from dataclasses import dataclass

from gan_cli.config.options import file_of, options


@dataclass(frozen=True)
class Entry:
    """Model with its paper, its purpose and the shortest command that trains it.

    Args:
        shows: what it is good for.
        claim: what the paper claims of it; empty if the comment does not say.
    """

    model: str
    year: str
    paper: str
    shows: str
    command: str
    claim: str = ""


def entries() -> list[Entry]:
    """Entries of all models in chronological order."""
    return sorted(map(entry, options("model")), key=lambda item: (item.year, item.model))


def _head(group: str, option: str) -> list[str]:
    """Lines of the comment at the start of an option's file, without Hydra's directives."""
    lines = file_of(group, option).read_text(encoding="utf-8", errors="replace").splitlines()
    head = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return [line[2:] for line in head if not line.startswith("# @")]


def comment(group: str, option: str) -> str:
    """Comment of an option, which starts with the paper; `Shows: ` and `Claim: ` are at its end."""
    return " ".join(line for line in _head(group, option) if not line.startswith("  "))


def commands(group: str, option: str) -> list[str]:
    """Commands in the comment of an option, which are indented there."""
    return [line.strip() for line in _head(group, option) if line.startswith("  ")]


def entry(model: str) -> Entry:
    """Entry of a model, parsed from its comment."""
    text, _, rest = comment("model", model).partition("Shows: ")
    shows, _, claim = rest.partition("Claim: ")
    year = re.search(r"\b(?:19|20)\d\d\b", text)
    number = re.search(r"arXiv (\d{4}\.\d{4,5})", text)
    authors = re.search(r"([A-Z][\w-]+(?: and [A-Z][\w-]+| et al\.)?), (?:19|20)\d\d", text)

    paper = ", ".join(filter(None, [authors and authors[1], number and f"arXiv {number[1]}"]))
    data = re.search(r"Goes with (data=\w+)", text)
    command = " ".join(filter(None, ["gan-train", f"model={model}", data and data[1]]))
    year_found = year[0] if year else ""
    return Entry(model, year_found, paper, shows.strip().rstrip("."), command, claim.rstrip("."))
