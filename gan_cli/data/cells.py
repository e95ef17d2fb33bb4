"""What a column of cells holds, decided by all of them: numbers, truth values, dates, or a few
words."""

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
"""What stands for a missing value: the words of pandas, then those of UCI, SAS and Excel."""
Numeric = Literal["number", "integer", "boolean"]
# of pandas' columns; the others are whole numbers
KINDS: dict[str, Numeric] = {"b": "boolean", "f": "number"}
TRUTH = {"false": 0.0, "true": 1.0}
DATE = re.compile(r".*[0-9].*[-/.: ,].*[0-9].*")
DECIMALS = 7  # behind the sign; a column of fewer has them in CSV files
EXACT = 2.0**53  # above, every float64 is whole


def _number(decimal: str, group: str) -> re.Pattern[str]:
    """A number whose digits before the decimal sign may stand in groups of three."""
    whole = rf"(?:[0-9]{{1,3}}(?:[{group}'\u00a0\u202f][0-9]{{3}})+|[0-9]+)"
    sign = re.escape(decimal)
    return re.compile(rf"[+\-\u2212]?(?:{whole}(?:{sign}[0-9]*)?|{sign}[0-9]+)(?:[eE][+-]?[0-9]+)?")


NUMBERS = {".": _number(".", ","), ",": _number(",", ".")}
"""What is a number, by the decimal sign."""


@dataclass(frozen=True)
class Found:
    """A column of a file.

    Args:
        name: as the header has it, or its number from 0.
        column: what it is; None for what cannot be learnt.
        numbers: float64 (rows,), see `Column`; NaN where a value is missing.
        why: it cannot be learnt, or is left out unless it is named.
        stray: row and text of the first cell that is no number in a column of numbers.
        distinct: no two of its cells are the same.
    """

    name: str
    column: Column | None
    numbers: np.ndarray
    why: str = ""
    stray: tuple[int, str] | None = None
    distinct: bool = False


def column_of(cells: "Series", decimals: Sequence[str], words: int, marks: frozenset[str]) -> Found:
    """What the cells of a column are, as pandas has read them.

    Args:
        decimals: signs that they may use, the usual one of the file first.
        words: most different words of a category.
        marks: what stands for a missing value.
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
        return _of_numbers(
            every, "integer" if texts.str.fullmatch(r"[+-]?[0-9]+").all() else "number", words
        )
    if texts.str.lower().isin(TRUTH).all():
        every[texts.index] = texts.str.lower().map(TRUTH)
        return _of_numbers(every, "boolean", words)
    if (dates := _as_dates(texts)) is not None:
        column, counts = dates
        every[texts.index] = counts
        return _unless_missing(column, every)
    return _of_words(texts, every, decimals, words)


def _of_numbers(numbers: np.ndarray, kind: Numeric, words: int) -> Found:
    """Numbers, which are whole if all of them are; few whole ones are levels, and samples stay
    within them."""
    known = numbers[np.isfinite(numbers)]
    if np.isinf(numbers).any() and not len(known):
        return Found("", None, numbers, "numbers that are too large")
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    if (
        kind == "number"
        and len(known)
        and (known == np.rint(known)).all()
        and np.abs(known).max() < EXACT
    ):
        kind = "integer"
    levels = np.unique(known) if kind == "integer" else known
    bounds = (
        (levels[0], levels[-1]) if kind == "integer" and 0 < len(levels) <= words else (None, None)
    )
    least, most = (None if bound is None else float(bound) for bound in bounds)
    with np.errstate(over="ignore"):
        decimals = next(
            (d for d in range(1, DECIMALS) if kind == "number" and (known.round(d) == known).all()),
            None,
        )
    return _unless_missing(Column("", kind, least=least, most=most, decimals=decimals), numbers)


def _unless_missing(column: Column, numbers: np.ndarray) -> Found:
    count = int(np.isnan(numbers).sum())
    why = "empty" if count == len(numbers) else f"{count} of {len(numbers)} values are missing"
    return Found("", column, numbers, why if 2 * count > len(numbers) else "")


def _of_words(texts: "Series", every: np.ndarray, decimals: Sequence[str], most: int) -> Found:
    """A category of few words; else text, or numbers among which something has strayed."""
    words = sorted(texts.unique())
    if 1 < len(words) <= most and 2 * len(words) < len(texts):
        every[texts.index] = texts.map({word: i for i, word in enumerate(words)})
        return _unless_missing(Column("", "category", words=tuple(words)), every)
    if 2 * len(texts) < len(every):
        return Found(
            "", None, every, f"{len(every) - len(texts)} of {len(every)} values are missing"
        )
    strays = [
        texts[[not NUMBERS[decimal].fullmatch(cell) for cell in texts]] for decimal in decimals
    ]
    others = min(strays, key=len)
    if 2 * len(others) < len(texts) and others.nunique() <= most:
        row = int(others.index[0])
        return Found(
            "", None, every, f"{shown(others.iloc[0])} is not a number", (row, others.iloc[0])
        )
    if len(words) == 1:
        return Found("", None, every, f"{shown(words[0])} everywhere")
    return Found("", None, every, f"text, {len(words)} different, such as {shown(texts.iloc[0])}")


# --- numbers and dates ----------------------------------------------------------------------------


def as_number(cell: str, decimals: Sequence[str]) -> float | None:
    """A text as a number, or None."""
    for decimal in decimals:
        if NUMBERS[decimal].fullmatch(cell):
            plain = cell.replace("\u2212", "-")  # the sign of typesetters
            return float(re.sub(rf"[^0-9eE+\-{decimal}]", "", plain).replace(decimal, "."))
    return None


def _as_numbers(texts: "Series", decimals: Sequence[str]) -> list[float] | None:
    """All texts as numbers, by one decimal sign; None if that cannot be."""
    for decimal in decimals:
        if all(map(NUMBERS[decimal].fullmatch, texts)):
            return [as_number(cell, [decimal]) or 0.0 for cell in texts]
    return None


def decimals_of(frame: "DataFrame", separator: str) -> list[str]:
    """The decimal signs of a file, its usual one first: what alone makes numbers of a column
    decides.

    Where a column can be read either way, 1,234 is a fraction in a file of semicolons that has no
    decimal point.
    """
    texts = [
        frame[i].dropna().astype(str).str.strip()
        for i in frame
        if frame[i].dtype.kind not in "iufb"
    ]
    able = [
        [all(map(NUMBERS[decimal].fullmatch, cells)) for decimal in ".,"]
        for cells in texts
        if len(cells)
    ]
    if [False, True] in able:
        return [",", "."]
    pointed = any(kind.kind == "f" for kind in frame.dtypes) or [True, False] in able
    return [",", "."] if [True, True] in able and separator == ";" and not pointed else ["."]


def _as_dates(texts: "Series") -> tuple[Column, "np.ndarray"] | None:
    """A column of dates and their counts, if one format reads all of them. A day before its month
    is tried second, unless points stand between them."""
    import pandas
    from pandas.tseries.api import guess_datetime_format

    if not all(map(DATE.fullmatch, texts)):
        return None
    orders = (True, False) if "." in texts.iloc[0] else (False, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the day may stand first
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
    """Whether a cell could stand in a column: what a name does not."""
    if column is None or cell in MARKS:
        return True
    if column.kind == "boolean":
        return cell.lower() in TRUTH
    if column.kind == "date":
        import pandas

        return bool(pandas.notna(pandas.to_datetime(cell, format=column.format, errors="coerce")))
    return column.kind == "category" or as_number(cell, (".", ",")) is not None
