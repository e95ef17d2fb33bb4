"""A table in a text file, read as it is meant: its columns with their names, and what is left
out."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_cli.data.cells import MARKS, Found, as_number, column_of, decimals_of, fits
from gan_cli.data.columns import Column
from gan_cli.data.records import SEPARATORS, UNNAMED, Records, split, text_of, tidy_names
from gan_cli.errors import UserError, closest, on_one_line

if TYPE_CHECKING:
    from pandas import DataFrame

DECIMALS = {"point": ".", "comma": ","}


@dataclass(frozen=True)
class Reader:
    """How a file is to be read. What is None is found out.

    Args:
        separator: of cells, by its name or itself.
        decimal: `point` or `comma`, or the sign itself.
        header: whether the first line is names.
        missing: what stands for a missing value, besides what usually does.
        words: most different words of a column that is taken for a category.
    """

    separator: str | None = None
    decimal: str | None = None
    header: bool | None = None
    missing: tuple[str, ...] = ()
    words: int = 20

    def read(self, path: Path) -> tuple[list[Found], list[str]]:
        """All columns of a file, and what is to be said of the reading.

        Raises:
            UserError: there is no such file, it is no table, or its cells cannot be told apart.
        """
        separator = _sign("separator", self.separator, SEPARATORS, other=True)
        decimal = _sign("decimal", self.decimal, DECIMALS)
        text, remarks = text_of(path)
        try:
            records = split(text, separator)
            del text  # a large one is a burden
            if len(records) < 3:
                raise UserError("too few rows.")
            found, said = self._columns(records, decimal)
        except UserError as error:
            raise UserError(f"data.file={path}: {error}") from None
        except csv.Error as error:
            raise UserError(f"data.file={path}: not a CSV file ({error}).") from None
        if records.comments:
            remarks.append(f"lines that begin with # are left out ({len(records.comments)})")
        return found, [*remarks, *said]

    def _columns(self, records: Records, decimal: str | None) -> tuple[list[Found], list[str]]:
        """The columns with their names, and what is to be said of these."""
        width, head, first = records.width, records.head, 1
        found = self._found(records, 1, width, decimal)
        named = self.header
        if named is None:
            named = len(head) != width or _is_header(head, found)
        if not named and len(head) != width:
            raise UserError(
                f"line 1 has {len(head)} values, the others have {width}; data.header=false."
            )
        if not named:
            found, first = self._found(records, 0, width, decimal), 0
            head = records.names_in_comment
            head = head if len(head) == width else list(map(str, range(width)))
        elif len(head) < width:
            head = _completed(head, found)
        names, said = tidy_names(head[:width])
        return [
            _called(name, column, records.starts[first:])
            for name, column in zip(names, found, strict=True)
        ], said

    def _found(self, records: Records, first: int, width: int, decimal: str | None) -> list[Found]:
        """The columns of the records from this one on, without names."""
        text = records.text(first)
        marks = MARKS | set(self.missing)
        frame = _frame(text, records.separator, width, marks, as_text=decimal == ",")
        if len(frame) != len(records) - first:
            raise UserError(
                "its quotes can be read in two ways; put whole cells in quotes, and double those "
                "within."
            )
        decimals = [decimal] if decimal else decimals_of(frame, records.separator)
        if (
            decimal is None
            and decimals[0] == ","
            and any(kind.kind == "f" for kind in frame.dtypes)
        ):
            # 1.234 may be more than a thousand
            frame = _frame(text, records.separator, width, marks, as_text=True)
        return [column_of(frame[i], decimals, self.words, marks) for i in range(width)]


def _sign(key: str, typed: str | None, signs: Mapping[str, str], other: bool = False) -> str | None:
    """What is meant by the name of a sign, or by itself; any `other` sign may be allowed too."""
    if typed is None or typed in signs.values():
        return typed
    if other and len(typed) == 1 and typed.isprintable() and not typed.isalnum() and typed != '"':
        return typed
    named = {**signs, r"\t": "\t"}
    if typed not in named:
        known = " or ".join([", ".join([*signs][:-1]), [*signs][-1]])
        raise UserError(f"data.{key}={typed}: expected {known}{closest(typed, signs)}.")
    return named[typed]


def _frame(
    text: str, separator: str, width: int, marks: frozenset[str], as_text: bool
) -> "DataFrame":
    import pandas

    # later ones read floats exactly by themselves
    old = tuple(map(int, pandas.__version__.split(".")[:2])) < (3, 1)
    exact: dict[str, Any] = {"float_precision": "round_trip"} if old else {}
    try:
        return pandas.read_csv(
            io.BytesIO(text.encode()),
            sep=r"\s+" if separator == " " else separator,
            header=None,
            names=range(width),
            index_col=False,
            dtype=str if as_text else None,
            na_values=list(marks),
            keep_default_na=False,
            skipinitialspace=True,
            skip_blank_lines=False,
            low_memory=False,  # a column is of one kind
            **exact,
        )
    except ValueError as error:  # a quote that is never closed
        raise UserError(f"not a CSV file ({on_one_line(str(error)).strip(' .')}).") from None


def _is_header(head: Sequence[str], found: Sequence[Found]) -> bool:
    """Whether the first record is names: something in it could not stand in its column. Without
    numbers: all of its words are others than those below."""
    kinds = [one.column or (Column("") if one.stray else None) for one in found]
    if not all(map(fits, head, kinds)):
        return True
    first = found[0].numbers
    # as pandas writes it, with numbers for names
    if not head[0] and np.array_equal(first, np.arange(len(first))):
        return True
    new = [
        cell not in kind.words
        for cell, kind in zip(head, kinds, strict=True)
        if kind and kind.kind == "category"
    ]
    others = [
        one
        for one in zip(head, found, strict=True)
        if one[1].column and one[1].column.kind != "category"
    ]
    others = [(cell, one) for cell, one in others if np.isfinite(one.numbers).any()]
    return (
        "" not in head
        and any(new)
        and all(new)
        and all(_is_beyond(cell, one) for cell, one in others)
    )


def _is_beyond(cell: str, found: Found) -> bool:
    """Whether a cell is a number outside the range of a column, as a year may be that names it."""
    number = as_number(cell, ".,")
    return number is not None and not np.nanmin(found.numbers) <= number <= np.nanmax(found.numbers)


def _completed(head: Sequence[str], found: Sequence[Found]) -> list[str]:
    """A header of one cell less than the lines below: these end in a separator, or R has named the
    rows.

    Raises:
        UserError: neither is so.
    """
    last, first = found[-1], found[0]
    if last.column is not None and np.isnan(last.numbers).all():
        return [*head, ""]
    labels = first.column is None or first.column.kind == "integer"
    if labels and first.distinct and not first.stray:
        return ["", *head]
    raise UserError(
        f"line 1 has {len(head)} values, the others have {len(found)}; say what stands between "
        "them by data.separator=, and whether a comma is a decimal one by data.decimal=."
    )


def _called(name: str, found: Found, lines: np.ndarray) -> Found:
    """A column with its name; without a name, it may be no more than numbers of rows."""
    column = found.column and replace(found.column, name=name)
    stray = found.stray and (int(lines[found.stray[0]]) + 1, found.stray[1])
    whole = column is not None and column.kind == "integer"
    index = whole and name.startswith(UNNAMED) and found.distinct
    return replace(
        found, name=name, column=column, stray=stray, why="numbers of rows" if index else found.why
    )
