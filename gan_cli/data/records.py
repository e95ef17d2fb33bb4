"""A text file as records of cells: its encoding, what stands between its cells, its comments, its
header."""

import csv
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan_cli.errors import UserError, on_one_line
from gan_cli.files import memory, read_unpacked

# of the machine's memory: the largest file, of which there are several copies on the way to numbers
SHARE = 1 / 16
SEPARATORS = {"tab": "\t", "semicolon": ";", "bar": "|", "comma": ",", "space": " "}
"""By their names, in the order in which they are tried; a space stands for any white space."""
BINARY = re.compile(r"[\x00-\x08\x0e-\x1f]")  # what no text holds that is not in Unicode
QUOTED = re.compile(r'"[^"]*"')
# of a comment; the others are Excel's
MARK = re.compile(r"\ufeff?#(?!N/A|DIV/0!|NAME\?|NULL!|NUM!|REF!|VALUE!)")
UNNAMED = "Unnamed:"  # and the place of the column, as pandas calls it
WHITE = re.compile(r"\s+")


@dataclass(frozen=True)
class Records:
    """The records of a file, in its order; the first may be a header. Blank lines and comments are
    none.

    Args:
        lines: of the file, without their ends.
        separator: of cells; a space stands for any white space.
        starts: for each record its first line, from 0.
        ends: the line behind its last one; a quoted cell may hold line breaks.
        counts: how many cells it has.
        comments: lines that begin with #.
    """

    lines: list[str]
    separator: str
    starts: np.ndarray
    ends: np.ndarray
    counts: np.ndarray
    comments: list[str]

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, first: int) -> str:
        """The records from this one on, without what lies between them."""
        pairs = zip(self.starts[first:].tolist(), self.ends[first:].tolist(), strict=True)
        return "\n".join(line for start, end in pairs for line in self.lines[start:end])

    @property
    def head(self) -> list[str]:
        """The cells of the first record."""
        (row,) = _rows(self.lines[self.starts[0] : self.ends[0]], self.separator)
        return [cell.strip() for cell in row]

    @property
    def width(self) -> int:
        """How many cells a record has; a header may have one more or less.

        Raises:
            UserError: one has another number of cells.
        """
        found = Counter(self.counts[1:].tolist())
        width = max(found, key=lambda count: (found[count], count == self.counts[0]))
        odd = np.flatnonzero(self.counts != width)
        one_less = self.counts[0] == width - 1
        one_more = self.counts[0] == width + 1 and not self.head[-1]
        if len(odd) > (one_less or one_more):
            odd = odd[1:] if one_less or one_more else odd
            usual = "the first has" if self.counts[0] == width else "most have"
            raise UserError(
                f"line {self.starts[odd[0]] + 1} has {self.counts[odd[0]]} values, {usual} "
                f"{width}; if not {_name_of(self.separator)} stands between them, say so by "
                "data.separator=."
            )
        return width

    @property
    def names_in_comment(self) -> list[str]:
        """The cells of the last comment, which numpy and instruments write the names of columns
        in."""
        return [cell.strip() for row in _rows(self.comments[-1:], self.separator) for cell in row]


def split(text: str, separator: str | None) -> Records:
    """The records of a text, whose cells are separated by what is found to do so if nothing is
    named.

    Raises:
        UserError: the cells cannot be told apart.
    """
    lines = text.split("\n")
    if declared := re.fullmatch(r"sep=(.)", lines[0]):  # as Excel has it
        separator, lines[0] = separator or declared[1], ""
    filled = [line for line in lines if line.strip()]
    # else colours, or numbers of items
    marked = 2 * sum(1 for line in filled if MARK.match(line)) <= len(filled)
    start = next(
        (i for i, line in enumerate(lines) if line.strip() and not (marked and MARK.match(line))), 0
    )
    comments = [line for line in lines[:start] if line.strip()]
    separator = separator or _separator([line for line in lines[start:] if line.strip()])
    starts, ends, counts = array("q"), array("q"), array("q")
    for first, end, count in _spans(lines, start, separator):
        line = lines[first]
        if marked and MARK.match(line):
            comments.append(line)
        elif line.strip(f'{separator}" \t'):
            starts.append(first)
            ends.append(end)
            counts.append(count)
    if (
        starts
        and "".join(lines[starts[-1] : ends[-1]]).count('"') % 2
        and ends[-1] > starts[-1] + 1
    ):
        raise UserError(f"line {starts[-1] + 1} opens a quote that is never closed.")
    begins, closes, cells = (np.frombuffer(numbers, np.int64) for numbers in (starts, ends, counts))
    return Records(
        lines,
        separator,
        begins,
        closes,
        cells,
        [line.partition("#")[2].strip() for line in comments],
    )


def _spans(lines: list[str], start: int, separator: str) -> Iterator[tuple[int, int, int]]:
    """First line, line behind the last one, and number of cells of each record."""
    if any('"' in line for line in lines):
        rows = csv.reader(
            _plain(lines[start:], separator), delimiter=separator, skipinitialspace=True
        )
        end = start
        for row in rows:
            first, end = end, start + rows.line_num
            yield first, end, len(row)
    elif separator == " ":
        yield from ((i, i + 1, len(lines[i].split())) for i in range(start, len(lines)))
    else:
        yield from ((i, i + 1, lines[i].count(separator) + 1) for i in range(start, len(lines)))


def _rows(lines: list[str], separator: str) -> list[list[str]]:
    return list(csv.reader(_plain(lines, separator), delimiter=separator, skipinitialspace=True))


def _plain(lines: list[str], separator: str) -> Iterator[str]:
    """Lines as the reader of CSV takes them: white space as one blank, line breaks within a quoted
    cell kept."""
    return (
        f"{WHITE.sub(' ', line).strip()}\n" if separator == " " else f"{line}\n" for line in lines
    )


def _separator(lines: Sequence[str]) -> str:
    """What stands equally often in the most lines, outside of quotes; white space only if it does
    so in all of them."""
    bare = [QUOTED.sub("x", line) if '"' in line else line for line in lines]
    shares = {}
    for separator in SEPARATORS.values():
        found = Counter(
            len(line.split()) - 1 if separator == " " else line.count(separator) for line in bare
        )
        found.pop(0, None)
        shares[separator] = max(found.values(), default=0) / max(1, len(bare))
    if max(shares.values()) < 1 and not _named_in_r(bare):
        shares[" "] = 0
    best = max(shares, key=shares.__getitem__)
    return best if shares[best] > 0 else ","


def _named_in_r(lines: Sequence[str]) -> bool:
    """Whether the first line has one word less than all others, as R writes tables: the rows have
    names."""
    counts = [len(line.split()) for line in lines]
    return len(counts) > 1 and counts[0] > 1 and set(counts[1:]) == {counts[0] + 1}


def _name_of(separator: str) -> str:
    return next(
        (f"a {name}" for name, sign in SEPARATORS.items() if sign == separator), repr(separator)
    )


# --- characters -----------------------------------------------------------------------------------


def text_of(path: Path) -> tuple[str, list[str]]:
    """The text of a file, each line ended by a line feed, and what is to be said of its encoding.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    try:
        content = read_unpacked(path, int(SHARE * memory()))
    except OSError as error:
        raise UserError(f"data.file={path}: {error.strerror}.") from None
    text, remarks = _decoded(content)
    if text is None or "\0" in text or (remarks and BINARY.search(text)):
        raise UserError(
            f"data.file={path}: is not a table in text; save it as CSV (UTF-8) where it comes from."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n"), remarks


def _decoded(content: bytes) -> tuple[str | None, list[str]]:
    """A text in Unicode, else in Windows' extension of Latin-1, which is told; None for what is
    neither."""
    pairs = content[:1000]
    wide = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else None
    if content[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        wide = "utf-32"
    elif wide is None and len(pairs) > 1 and (not any(pairs[1::2]) or not any(pairs[::2])):
        wide = "utf-16-be" if not any(pairs[::2]) else "utf-16-le"
    for encoding, said in (
        (wide or "utf-8-sig", []),
        ("cp1252", ["read as Windows-1252, as it is not UTF-8"]),
    ):
        try:
            return content.decode(encoding), said
        except UnicodeDecodeError:
            continue
    return None, []


def tidy_names(head: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names that a terminal can show and no two columns share, and what is to be said of that."""
    names: list[str] = []
    said = []
    taken = set(head)
    for i, name in enumerate(map(on_one_line, head)):
        own, count = name or f"{UNNAMED} {i}", 0
        while own in names:
            count += 1
            own = f"{name}.{count}" if f"{name}.{count}" not in taken else own
        if name and own != name:
            said.append(f"another column {name} is called {own}")
        names.append(own)
    return names, said
