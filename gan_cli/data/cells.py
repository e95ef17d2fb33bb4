"""Type inference for a column of cells: numbers, truth values, dates, or a few words."""

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from gan_cli.data.columns import Column, shown

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MARKS = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA",
     "NULL", "NaN", "None", "n/a", "nan", "null",
     "?", "-", "--", ".", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!")
)  # fmt: skip
"""Cells that mean a missing value: those of pandas, then those of UCI, SAS and Excel."""
Numeric = Literal["number", "integer", "boolean"]
KINDS: dict[str, Numeric] = {"b": "boolean", "f": "number"}  # by pandas' dtype; others are integers
TRUTH = {"false": 0.0, "true": 1.0}
DATE = re.compile(r".*[0-9].*[-/.: ,].*[0-9].*")  # at least two numbers and a separator
DECIMALS = 7  # decimal places; CSV files of samples repeat those of a column that has fewer
EXACT = 2.0**53  # float64 from here on are whole numbers, whatever was written


def _number(decimal: str, group: str) -> re.Pattern[str]:
    """Pattern of numbers; the digits before the decimal sign may be grouped by three."""
    whole = rf"(?:[0-9]{{1,3}}(?:[{group}'\u00a0\u202f][0-9]{{3}})+|[0-9]+)"
    sign = re.escape(decimal)
    return re.compile(rf"[+\-\u2212]?(?:{whole}(?:{sign}[0-9]*)?|{sign}[0-9]+)(?:[eE][+-]?[0-9]+)?")


NUMBERS = {".": _number(".", ","), ",": _number(",", ".")}
"""Patterns of numbers by the decimal sign."""


@dataclass(frozen=True)
class Found:
    """A column of a file, with its inferred type.

    Args:
        name: its name in the header, or its index.
        column: its type; None if it cannot be learnt.
        numbers: float64 (rows,), see `Column`; NaN for missing values.
        why: the reason why it cannot be learnt, or is used only if the user names it; else empty.
        stray: row and text of the first cell that is no number, in a column of numbers.
        distinct: whether all its cells differ.
    """

    name: str
    column: Column | None
    numbers: np.ndarray
    why: str = ""
    stray: tuple[int, str] | None = None
    distinct: bool = False


def column_of(cells: "Series", decimals: Sequence[str], words: int, marks: frozenset[str]) -> Found:
    """The type and the numbers of a column.

    Args:
        cells: as pandas has read them.
        decimals: possible decimal signs, the usual one of the file first.
        words: maximum number of different words in a category.
        marks: cells that mean a missing value.
    """
    return replace(_column_of(cells, decimals, words, marks), distinct=bool(cells.is_unique))


def _column_of(
    cells: "Series", decimals: Sequence[str], words: int, marks: frozenset[str]
) -> Found:
    if cells.dtype.kind in "iufb":
        return _of_numbers(
            cells.to_numpy(np.float64), KINDS.get(cells.dtype.kind, "integer"), words
        )

    texts = cells.dropna().astype(str).str.strip()
    texts = texts[~texts.isin(marks)]
    every = np.full(len(cells), np.nan)
    if (numbers := _as_numbers(texts, decimals)) is not None:
        every[texts.index] = numbers
        whole = texts.str.fullmatch(r"[+-]?[0-9]+").all()
        return _of_numbers(every, "integer" if whole else "number", words)
    if texts.str.lower().isin(TRUTH).all():
        every[texts.index] = texts.str.lower().map(TRUTH)
        return _of_numbers(every, "boolean", words)
    if (dates := _as_dates(texts)) is not None:
        column, counts = dates
        every[texts.index] = counts
        return _unless_missing(column, every)
    return _of_words(texts, every, decimals, words)


def _of_numbers(numbers: np.ndarray, kind: Numeric, words: int) -> Found:
    """A column of numbers.

    Its kind is `integer` if all of them are whole. If these have few different values, they bound
    the samples.
    """
    finite = numbers[np.isfinite(numbers)]
    if np.isinf(numbers).any() and not len(finite):
        return Found("", None, numbers, "numbers that are too large")

    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    if kind == "number" and _all_whole(finite):
        kind = "integer"
    least: float | None = None
    most: float | None = None
    if kind == "integer" and 0 < len(levels := np.unique(finite)) <= words:
        least, most = float(levels[0]), float(levels[-1])
    decimals = _decimal_places(finite) if kind == "number" else None
    return _unless_missing(Column("", kind, least=least, most=most, decimals=decimals), numbers)


def _all_whole(numbers: np.ndarray) -> bool:
    if not len(numbers) or not (numbers == np.rint(numbers)).all():
        return False
    return bool(np.abs(numbers).max() < EXACT)


def _decimal_places(numbers: np.ndarray) -> int | None:
    """The number of decimal places that is enough for all numbers; None if it is large."""
    with np.errstate(over="ignore"):
        enough = (d for d in range(1, DECIMALS) if (numbers.round(d) == numbers).all())
        return next(enough, None)


def _unless_missing(column: Column, numbers: np.ndarray) -> Found:
    """The column, not to be learnt by default if more than half of its values are missing."""
    count = int(np.isnan(numbers).sum())
    why = "empty" if count == len(numbers) else f"{count} of {len(numbers)} values are missing"
    return Found("", column, numbers, why if 2 * count > len(numbers) else "")


def _of_words(texts: "Series", every: np.ndarray, decimals: Sequence[str], most: int) -> Found:
    """A category of at most `most` words; else text, or numbers with a cell that is no number."""
    words = sorted(texts.unique())
    if 1 < len(words) <= most and 2 * len(words) < len(texts):
        every[texts.index] = texts.map({word: i for i, word in enumerate(words)})
        return _unless_missing(Column("", "category", words=tuple(words)), every)

    if 2 * len(texts) < len(every):
        return Found(
            "", None, every, f"{len(every) - len(texts)} of {len(every)} values are missing"
        )

    no_numbers = [
        texts[[not NUMBERS[decimal].fullmatch(cell) for cell in texts]] for decimal in decimals
    ]
    stray = min(no_numbers, key=len)
    if 2 * len(stray) < len(texts) and stray.nunique() <= most:
        row, first = int(stray.index[0]), stray.iloc[0]
        return Found("", None, every, f"{shown(first)} is not a number", (row, first))

    if len(words) == 1:
        return Found("", None, every, f"{shown(words[0])} everywhere")
    return Found("", None, every, f"text, {len(words)} different, such as {shown(texts.iloc[0])}")


# --- numbers and dates ----------------------------------------------------------------------------


def as_number(cell: str, decimals: Sequence[str]) -> float | None:
    """A cell as a number by the first decimal sign that fits; None if none does."""
    for decimal in decimals:
        if NUMBERS[decimal].fullmatch(cell):
            plain = cell.replace("\u2212", "-")  # the typographic minus sign
            return float(re.sub(rf"[^0-9eE+\-{decimal}]", "", plain).replace(decimal, "."))
    return None


def _as_numbers(texts: "Series", decimals: Sequence[str]) -> list[float] | None:
    """All texts as numbers, by one decimal sign; None if no sign fits all of them."""
    for decimal in decimals:
        if all(map(NUMBERS[decimal].fullmatch, texts)):
            return [as_number(cell, [decimal]) or 0.0 for cell in texts]
    return None


def decimals_of(frame: "DataFrame", separator: str) -> list[str]:
    """The possible decimal signs of a file, its usual one first.

    A column that only one sign turns into numbers decides. If all columns of numbers can be read
    either way, 1,234 is a decimal fraction only in a file of semicolons without decimal points.
    """
    texts = [
        frame[i].dropna().astype(str).str.strip()
        for i in frame
        if frame[i].dtype.kind not in "iufb"
    ]
    # for each column of texts: whether points, and whether commas, make numbers of all its cells
    readable = [
        [all(map(NUMBERS[decimal].fullmatch, cells)) for decimal in ".,"]
        for cells in texts
        if len(cells)
    ]

    if [False, True] in readable:
        return [",", "."]
    has_points = any(kind.kind == "f" for kind in frame.dtypes) or [True, False] in readable
    if [True, True] in readable and separator == ";" and not has_points:
        return [",", "."]
    return ["."]


def _as_dates(texts: "Series") -> tuple[Column, "np.ndarray"] | None:
    """A column of dates and their counts since 1970; None if no format reads all of them.

    The order month, day is tried before day, month, unless points separate them.
    """
    import pandas
    from pandas.tseries.api import guess_datetime_format

    if not all(map(DATE.fullmatch, texts)):
        return None
    orders = (True, False) if "." in texts.iloc[0] else (False, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns that the day may be first
        guessed = [guess_datetime_format(texts.iloc[0], dayfirst=order) for order in orders]
        for format in dict.fromkeys(filter(None, guessed)):
            if texts.str.endswith("Z").all():
                format = format.replace("%z", "Z")
            with suppress(ValueError, OverflowError):
                dates = pandas.to_datetime(texts, format=format, utc="%z" in format)
                column = Column("", "date", format=format)
                counts = dates.dt.tz_localize(None).to_numpy().astype(f"datetime64[{column.unit}]")
                return column, counts.astype(np.int64).astype(np.float64)
    return None


def fits(cell: str, column: Column | None) -> bool:
    """Whether a cell may belong to a column; the name of a column usually may not."""
    if column is None or cell in MARKS:
        return True
    if column.kind == "boolean":
        return cell.lower() in TRUTH
    if column.kind == "date":
        import pandas

        return bool(pandas.notna(pandas.to_datetime(cell, format=column.format, errors="coerce")))
    return column.kind == "category" or as_number(cell, (".", ",")) is not None
