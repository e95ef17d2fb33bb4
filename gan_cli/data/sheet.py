"""Reader of tables in text files, which infers the format, the header and the types of columns."""

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
    """Reader of a text file with a table. Options that are None are inferred from the file.

    Args:
        separator: separator of cells, by name or as a character.
        decimal: decimal sign: `point` or `comma`, or the character.
        header: whether the first line has the names of the columns.
        missing: cells that mean a missing value, besides the usual ones.
        words: maximum number of different words in a category.
    """

    separator: str | None = None
    decimal: str | None = None
    header: bool | None = None
    missing: tuple[str, ...] = ()
    words: int = 20

    def read(self, path: Path) -> tuple[list[Found], list[str]]:
        """All columns of a file, and remarks on how it was read.

        Raises:
            UserError: there is no such file, or it is no table, or its format is ambiguous.
        """
        separator = _sign("separator", self.separator, SEPARATORS, other=True)
        decimal = _sign("decimal", self.decimal, DECIMALS)
        text, remarks = text_of(path)
        try:
            records = split(text, separator)
            del text  # it may be large
            if len(records) < 3:
                raise UserError("too few rows.")
            columns, renamed = self._columns(records, decimal)
        except UserError as error:
            raise UserError(f"data.file={path}: {error}") from None
        except csv.Error as error:
            raise UserError(f"data.file={path}: not a CSV file ({error}).") from None

        if records.comments:
            remarks.append(f"lines that begin with # are left out ({len(records.comments)})")
        return columns, [*remarks, *renamed]

    def _columns(self, records: Records, decimal: str | None) -> tuple[list[Found], list[str]]:
        """The columns with their names, and remarks on renamed ones."""
        width, head, first = records.width, records.head, 1
        columns = self._unnamed(records, 1, width, decimal)
        has_header = self.header
        if has_header is None:
            has_header = len(head) != width or _is_header(head, columns)
        if not has_header and len(head) != width:
            raise UserError(
                f"line 1 has {len(head)} values, the others have {width}; data.header=false."
            )

        if not has_header:
            columns, first = self._unnamed(records, 0, width, decimal), 0
            head = records.names_in_comment
            head = head if len(head) == width else list(map(str, range(width)))
        elif len(head) < width:
            head = _completed(head, columns)

        names, renamed = tidy_names(head[:width])
        return [
            _with_name(name, column, records.starts[first:])
            for name, column in zip(names, columns, strict=True)
        ], renamed

    def _unnamed(
        self, records: Records, first: int, width: int, decimal: str | None
    ) -> list[Found]:
        """The columns of the records from index `first` on, without names."""
        text = records.text(first)
        marks = MARKS | set(self.missing)
        frame = _frame(text, records.separator, width, marks, as_text=decimal == ",")
        if len(frame) != len(records) - first:
            raise UserError(
                "its quotes can be read in two ways; put whole cells in quotes, and double those "
                "within."
            )

        decimals = [decimal] if decimal else decimals_of(frame, records.separator)
        has_floats = any(kind.kind == "f" for kind in frame.dtypes)
        if decimal is None and decimals[0] == "," and has_floats:
            # pandas took the point in 1.234 for a decimal sign, but it may group thousands
            frame = _frame(text, records.separator, width, marks, as_text=True)
        return [column_of(frame[i], decimals, self.words, marks) for i in range(width)]


def _sign(key: str, typed: str | None, signs: Mapping[str, str], other: bool = False) -> str | None:
    """The sign that an option names.

    Args:
        key: name of the option.
        typed: its value: a name, or the sign itself.
        signs: known signs by name.
        other: whether any other sign is allowed too.

    Raises:
        UserError: there is no such sign.
    """
    if typed is None or typed in signs.values():
        return typed
    if other and len(typed) == 1 and typed.isprintable() and not typed.isalnum() and typed != '"':
        return typed
    by_name = {**signs, r"\t": "\t"}
    if typed not in by_name:
        names = " or ".join([", ".join([*signs][:-1]), [*signs][-1]])
        raise UserError(f"data.{key}={typed}: expected {names}{closest(typed, signs)}.")
    return by_name[typed]


def _frame(
    text: str, separator: str, width: int, marks: frozenset[str], as_text: bool
) -> "DataFrame":
    """The cells as pandas reads them.

    Raises:
        UserError: a quote is never closed.
    """
    import pandas

    # pandas 3.1 and later read floats exactly by default
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
            low_memory=False,  # else parts of one column may have different types
            **exact,
        )
    except ValueError as error:  # a quote that is never closed
        raise UserError(f"not a CSV file ({on_one_line(str(error)).strip(' .')}).") from None


def _is_header(head: Sequence[str], columns: Sequence[Found]) -> bool:
    """Whether the first record has the names of the columns.

    It has if one of its cells cannot be a value of its column; or if all its words are new to their
    categories, and all its numbers are outside the ranges of their columns.
    """
    kinds = [found.column or (Column("") if found.stray else None) for found in columns]
    if not all(map(fits, head, kinds)):
        return True
    first = columns[0].numbers
    # pandas writes an index so: without a name, and numbers may be the names of the other columns
    if not head[0] and np.array_equal(first, np.arange(len(first))):
        return True

    new = [
        cell not in kind.words
        for cell, kind in zip(head, kinds, strict=True)
        if kind and kind.kind == "category"
    ]
    numeric = [
        (cell, found.numbers)
        for cell, found in zip(head, columns, strict=True)
        if found.column and found.column.kind != "category" and np.isfinite(found.numbers).any()
    ]
    return (
        "" not in head
        and any(new)
        and all(new)
        and all(_is_outside(cell, numbers) for cell, numbers in numeric)
    )


def _is_outside(cell: str, numbers: np.ndarray) -> bool:
    """Whether a cell is a number outside the range of a column, such as a year that names it."""
    number = as_number(cell, ".,")
    return number is not None and not np.nanmin(numbers) <= number <= np.nanmax(numbers)


def _completed(head: Sequence[str], columns: Sequence[Found]) -> list[str]:
    """The header, completed by an empty cell where it has one cell less than the lines below.

    Either the lines end in a separator, or R has written names of rows before them.

    Raises:
        UserError: neither is the case.
    """
    last, first = columns[-1], columns[0]
    if last.column is not None and np.isnan(last.numbers).all():
        return [*head, ""]
    labels = first.column is None or first.column.kind == "integer"
    if labels and first.distinct and not first.stray:
        return ["", *head]
    raise UserError(
        f"line 1 has {len(head)} values, the others have {len(columns)}; say what stands between "
        "them by data.separator=, and whether a comma is a decimal one by data.decimal=."
    )


def _with_name(name: str, found: Found, lines: np.ndarray) -> Found:
    """The column with its name, and with the line of its stray cell instead of the row.

    A column of different whole numbers without a name is taken for row numbers.
    """
    column = found.column and replace(found.column, name=name)
    stray = found.stray and (int(lines[found.stray[0]]) + 1, found.stray[1])
    whole = column is not None and column.kind == "integer"
    is_index = whole and name.startswith(UNNAMED) and found.distinct
    why = "numbers of rows" if is_index else found.why
    return replace(found, name=name, column=column, stray=stray, why=why)
