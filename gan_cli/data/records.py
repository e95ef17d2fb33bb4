"""Text files of tables: detection of the encoding, the separator, comments and the header."""

import csv
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan_cli.errors import UserError, on_one_line
from gan_cli.files import memory, read_unpacked

# largest file, as a fraction of the machine's memory: several copies of it exist on the way to
# numbers
LARGEST_FILE = 1 / 16
SEPARATORS = {"tab": "\t", "semicolon": ";", "bar": "|", "comma": ",", "space": " "}
"""Separators by name, in the order in which they are tried; a space means any white space."""
BINARY = re.compile(r"[\x00-\x08\x0e-\x1f]")  # control characters, which no text file has
QUOTED = re.compile(r'"[^"]*"')
# the beginning of a comment; the exceptions are Excel's error values
COMMENT = re.compile(r"\ufeff?#(?!N/A|DIV/0!|NAME\?|NULL!|NUM!|REF!|VALUE!)")
UNNAMED = "Unnamed:"  # pandas' name of a column without a name, followed by its index
WHITE = re.compile(r"\s+")
ENCODING_SAMPLE = 1000  # bytes in which UTF-16 without a byte order mark is detected


@dataclass(frozen=True)
class Records:
    """The records of a file in their order, without blank lines and comments.

    The first one may be a header.

    Args:
        lines: all lines of the file, without line breaks.
        separator: the separator of cells; a space means any white space.
        starts: index of the first line of each record.
        ends: index of the line after its last one; a quoted cell may contain line breaks.
        counts: number of cells of each record.
        comments: lines that begin with #, without it.
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
        """The text of the records from index `first` on, without blank lines and comments."""
        pairs = zip(self.starts[first:].tolist(), self.ends[first:].tolist(), strict=True)
        return "\n".join(line for start, end in pairs for line in self.lines[start:end])

    @property
    def head(self) -> list[str]:
        """The cells of the first record."""
        (row,) = _rows(self.lines[self.starts[0] : self.ends[0]], self.separator)
        return [cell.strip() for cell in row]

    @property
    def width(self) -> int:
        """Number of cells of all records; a header may have one more or less.

        Raises:
            UserError: a record has another number of cells.
        """
        frequencies = Counter(self.counts[1:].tolist())
        width = max(frequencies, key=lambda count: (frequencies[count], count == self.counts[0]))
        invalid = np.flatnonzero(self.counts != width)

        one_less = self.counts[0] == width - 1
        one_more = self.counts[0] == width + 1 and not self.head[-1]
        if len(invalid) > (one_less or one_more):
            first = invalid[1] if one_less or one_more else invalid[0]
            usual = "the first has" if self.counts[0] == width else "most have"
            raise UserError(
                f"line {self.starts[first] + 1} has {self.counts[first]} values, {usual} "
                f"{width}; if not {_name_of(self.separator)} stands between them, say so by "
                "data.separator=."
            )
        return width

    @property
    def names_in_comment(self) -> list[str]:
        """The cells of the last comment; numpy and instruments write names of columns there."""
        return [cell.strip() for row in _rows(self.comments[-1:], self.separator) for cell in row]


def split(text: str, separator: str | None) -> Records:
    """The records of a text.

    Args:
        text: the content of the file.
        separator: the separator of cells; None to detect it.

    Raises:
        UserError: a quote is never closed.
    """
    lines = text.split("\n")
    if declared := re.fullmatch(r"sep=(.)", lines[0]):  # Excel's declaration
        separator, lines[0] = separator or declared[1], ""
    is_comment = _comment_test(lines)
    start = next(
        (i for i, line in enumerate(lines) if line.strip() and not is_comment(line)),
        0,
    )
    comments = [line for line in lines[:start] if line.strip()]
    separator = separator or _detected_separator([line for line in lines[start:] if line.strip()])

    starts, ends, counts = array("q"), array("q"), array("q")
    for first, end, count in _spans(lines, start, separator):
        line = lines[first]
        if is_comment(line):
            comments.append(line)
        elif line.strip(f'{separator}" \t'):
            starts.append(first)
            ends.append(end)
            counts.append(count)

    if starts and ends[-1] > starts[-1] + 1:
        last = "".join(lines[starts[-1] : ends[-1]])
        if last.count('"') % 2:
            raise UserError(f"line {starts[-1] + 1} opens a quote that is never closed.")
    return Records(
        lines,
        separator,
        np.frombuffer(starts, np.int64),
        np.frombuffer(ends, np.int64),
        np.frombuffer(counts, np.int64),
        [line.partition("#")[2].strip() for line in comments],
    )


def _comment_test(lines: Sequence[str]) -> Callable[[str], bool]:
    """A test whether a line is a comment.

    Where most lines begin with #, none is: these are colours, or numbers of items.
    """
    filled = [line for line in lines if line.strip()]
    marked = sum(1 for line in filled if COMMENT.match(line))
    if 2 * marked > len(filled):
        return lambda line: False
    return lambda line: bool(COMMENT.match(line))


def _spans(lines: list[str], start: int, separator: str) -> Iterator[tuple[int, int, int]]:
    """Index of the first line, index after the last line, and number of cells of each record."""
    if any('"' in line for line in lines):
        rows = csv.reader(
            _normalised(lines[start:], separator), delimiter=separator, skipinitialspace=True
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
    """The cells of some lines."""
    normalised = _normalised(lines, separator)
    return list(csv.reader(normalised, delimiter=separator, skipinitialspace=True))


def _normalised(lines: list[str], separator: str) -> Iterator[str]:
    """Lines for the CSV reader: with a line break, and white space that separates as one blank."""
    return (
        f"{WHITE.sub(' ', line).strip()}\n" if separator == " " else f"{line}\n" for line in lines
    )


def _detected_separator(lines: Sequence[str]) -> str:
    """The separator that occurs equally often in the largest number of lines, outside of quotes.

    White space qualifies only if it does so in all lines.
    """
    unquoted = [QUOTED.sub("x", line) if '"' in line else line for line in lines]
    fractions = {}  # of the lines that agree on the number of occurrences
    for separator in SEPARATORS.values():
        occurrences = Counter(
            len(line.split()) - 1 if separator == " " else line.count(separator)
            for line in unquoted
        )
        occurrences.pop(0, None)
        fractions[separator] = max(occurrences.values(), default=0) / max(1, len(unquoted))

    if max(fractions.values()) < 1 and not _has_row_names(unquoted):
        fractions[" "] = 0
    best = max(fractions, key=fractions.__getitem__)
    return best if fractions[best] > 0 else ","


def _has_row_names(lines: Sequence[str]) -> bool:
    """Whether the first line has one word less than all others: R writes tables so."""
    counts = [len(line.split()) for line in lines]
    return len(counts) > 1 and counts[0] > 1 and set(counts[1:]) == {counts[0] + 1}


def _name_of(separator: str) -> str:
    """The name of a separator for messages."""
    return next(
        (f"a {name}" for name, sign in SEPARATORS.items() if sign == separator), repr(separator)
    )


# --- characters -----------------------------------------------------------------------------------


def text_of(path: Path) -> tuple[str, list[str]]:
    """The text of a file with line feeds as line breaks, and remarks on its encoding.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    try:
        content = read_unpacked(path, int(LARGEST_FILE * memory()))
    except OSError as error:
        raise UserError(f"data.file={path}: {error.strerror}.") from None
    text, remarks = _decoded(content)
    if text is None or "\0" in text or (remarks and BINARY.search(text)):
        raise UserError(
            f"data.file={path}: is not a table in text; save it as CSV (UTF-8) where it comes from."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n"), remarks


def _decoded(content: bytes) -> tuple[str | None, list[str]]:
    """The text in Unicode, else in Windows-1252 with a remark; None if it is neither."""
    pairs = content[:ENCODING_SAMPLE]
    wide = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else None
    if content[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        wide = "utf-32"
    elif wide is None and len(pairs) > 1 and (not any(pairs[1::2]) or not any(pairs[::2])):
        wide = "utf-16-be" if not any(pairs[::2]) else "utf-16-le"

    for encoding, remarks in (
        (wide or "utf-8-sig", []),
        ("cp1252", ["read as Windows-1252, as it is not UTF-8"]),
    ):
        try:
            return content.decode(encoding), remarks
        except UnicodeDecodeError:
            continue
    return None, []


def tidy_names(head: Sequence[str]) -> tuple[list[str], list[str]]:
    """Unique and printable names of columns, and a remark on each column that was renamed."""
    names: list[str] = []
    remarks = []
    taken = set(head)
    for i, name in enumerate(map(on_one_line, head)):
        unique, count = name or f"{UNNAMED} {i}", 0
        while unique in names:
            count += 1
            unique = f"{name}.{count}" if f"{name}.{count}" not in taken else unique
        if name and unique != name:
            remarks.append(f"another column {name} is called {unique}")
        names.append(unique)
    return names, remarks
