"""The pages that people read, taken apart: fenced blocks, the commands in them, what stands between
backticks."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: the word behind its first backticks, its lines, and where it stands in the
    page."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Exchange:
    """What a console block shows: a command as it is typed, and what it prints."""

    typed: str
    printed: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, without the indentation that a list gives them."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found[2],
            re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE),
            text.count("\n", 0, found.start()) + 1,
        )
        for found in FENCED.finditer(text)
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """What stands between single backticks, on one line."""
    return [" ".join(found.split()) for found in SPAN.findall(prose(page))]


def anchors(page: Path) -> set[str]:
    """The names by which headings are linked."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(page)))
    return {heading.strip().replace(" ", "-") for heading in plain}


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a shell's lines as words: comments, pipes and what follows them left out, but
    for `|| true`."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = next(
                (i for i, word in enumerate(words) if word in ("&&", ";", "|", ">", "&")),
                len(words),
            )
            if words[:end]:
                yield words[:end]
            goes_on = end < len(words) and words[end] in ("&&", ";")
            words = words[end + 1 :] if goes_on else []


def exchanges(text: str) -> Iterator[Exchange]:
    """The commands of a console block, each behind `$ `, and the lines that follow it."""
    for part in re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        typed, _, printed = part.partition("\n")
        yield Exchange(typed, printed)


def agrees(printed: str, shown: str) -> bool:
    """Whether what was printed is what a page shows, in which `...` stands for anything and lines
    break anywhere."""
    parts = [re.escape(" ".join(part.split())) for part in shown.split("...")]
    return (
        re.fullmatch(r"\s*" + r".*?".join(parts) + r"\s*", " ".join(printed.split()), re.DOTALL)
        is not None
    )


def write_plugins(folder: Path) -> None:
    """Write the plug-ins of docs/your_own_gan.md, each to the file that its first line names."""
    for block in blocks(ROOT / "docs" / "your_own_gan.md"):
        if named := re.match(r"# (my_gan/\S+)\n", block.text):
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
