"""Columns of a table, and their conversion to the numbers of a sample and back."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from gan_cli.errors import UserError, closest, on_one_line

UNITS = (
    ("%f", "us"),
    ("%S", "s"),
    ("%M", "m"),
    ("%H", "h"),
    ("%d", "D"),
    ("%m", "M"),
    ("%b", "M"),
    ("%B", "M"),
)
"""Units in which dates are counted, in numpy's notation, by the finest part of their format."""
FIRST_AND_LAST = np.array(["0001-01-01", "9999-12-31"], "datetime64[D]")  # that strftime can write
LONGEST_CELL = 40  # characters of a cell in a message


Kind = Literal["number", "integer", "boolean", "date", "category"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Its numbers are float64: words as indices in `words`, dates as counts since 1970. Its features
    are the numbers of a sample that represent it: the number itself, or a one-hot vector.

    Args:
        name: its name in the header.
        kind: type of its values.
        words: words of a category, in the order of the one-hot vector.
        format: format of dates, for strftime.
        least: lower bound of samples; None for no bound.
        most: upper bound of samples, likewise.
        decimals: decimal places of numbers in a CSV file; None for all.
    """

    name: str
    kind: Kind = "number"
    words: tuple[str, ...] = ()
    format: str = ""
    least: float | None = None
    most: float | None = None
    decimals: Annotated[int, Ge(0), Le(20)] | None = None
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def plain(self) -> dict[str, Any]:
        """The column as plain types, for a checkpoint."""
        return {**asdict(self), "words": list(self.words)}

    @property
    def features(self) -> list[str]:
        """Names of its features."""
        if self.kind == "category":
            return [f"{self.name}={word}" for word in self.words]
        return [self.name]

    @property
    def unit(self) -> str:
        """The unit in which dates are counted, in numpy's notation."""
        return next((unit for part, unit in UNITS if part in self.format), "Y")

    @property
    def description(self) -> str:
        """Its name, and its kind unless it has numbers."""
        kinds = {
            "boolean": "true or false",
            "date": f"dates, {self.format}",
            "category": f"{len(self.words)} words",
        }
        return f"{self.name} ({kinds[self.kind]})" if self.kind in kinds else self.name

    def encoded(self, numbers: np.ndarray) -> np.ndarray:
        """Features (n, number of features) of numbers (n,)."""
        if self.kind != "category":
            return numbers[:, None]
        return (numbers[:, None] == np.arange(len(self.words))).astype(np.float64)

    def decoded(self, features: np.ndarray) -> np.ndarray:
        """Numbers (n,) of features (n, number of features) in the units of the column.

        The largest feature decides in a category; whole numbers and counts are rounded.
        """
        if self.kind == "category":
            return features.argmax(axis=1).astype(np.float64)
        # adding 0 turns -0 into 0
        numbers = features[:, 0] if self.kind == "number" else np.rint(features[:, 0]) + 0.0
        least, most = self._date_bounds() if self.kind == "date" else (self.least, self.most)
        return numbers if least is None and most is None else np.clip(numbers, least, most)

    def _date_bounds(self) -> tuple[float, float]:
        """Counts of the first and the last date that can be written."""
        first, last = FIRST_AND_LAST.astype(f"datetime64[{self.unit}]").astype(np.int64).tolist()
        return first, last

    def typed(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers as the values they represent.

        They are float64, int64 if all of them fit, bool, datetime64 or words.
        """
        if self.kind == "category":
            return np.array(self.words)[numbers.astype(np.int64)]
        if self.kind == "boolean":
            return numbers > 0.5
        if self.kind == "date":
            finite = np.isfinite(numbers)
            counts = np.where(finite, numbers, 0).astype(np.int64)
            return np.where(finite, counts.astype(f"datetime64[{self.unit}]"), np.datetime64("NaT"))
        # NaN is not below 2^63
        whole = self.kind == "integer" and bool((np.abs(numbers) < 2**63).all())
        return numbers.astype(np.int64) if whole else numbers

    def texts(self, numbers: np.ndarray) -> list[str]:
        """Numbers as cells of a CSV file; an empty one for a number that is not finite."""
        if self.kind in ("category", "boolean"):
            return [str(value) for value in self.typed(numbers)]
        if self.kind == "date":
            from pandas import Series

            unit = "us" if self.unit == "us" else "s"
            dates = Series(self.typed(numbers).astype(f"datetime64[{unit}]"))
            dates = dates.dt.tz_localize("UTC") if "%z" in self.format else dates
            return dates.dt.strftime(self.format).tolist()

        digits = 0 if self.kind == "integer" else self.decimals
        write = repr if digits is None else f"{{:.{digits}f}}".format
        return [write(value) if np.isfinite(value) else "" for value in numbers.tolist()]

    def adopted(self, numbers: np.ndarray, other: "Column") -> np.ndarray:
        """Numbers of another table's column, converted to those of this column.

        Raises:
            UserError: the columns differ in kind, or the other one has words that this one lacks.
        """
        if self.kind == "category":
            return self._word_indices(other.texts(numbers))
        if (self.kind == "date") != (other.kind == "date") or other.kind == "category":
            raise UserError(
                f"data.file: its column {self.name} is of kind {other.kind}, the checkpoint's of "
                f"kind {self.kind}."
            )
        if self.kind == "date":
            dates = other.typed(numbers).astype(f"datetime64[{self.unit}]")
            return dates.astype(np.int64).astype(np.float64)
        return numbers

    def _word_indices(self, words: list[str]) -> np.ndarray:
        indices = {word: i for i, word in enumerate(self.words)}
        for word in dict.fromkeys(words):
            if word not in indices:
                raise UserError(
                    f"data.file: its column {self.name} holds "
                    f"{shown(word)}{closest(word, indices)}, the checkpoint knows "
                    f"{listed(list(map(shown, self.words)))}."
                )
        return np.array([indices[word] for word in words], np.float64)


def structured(table: Sequence[tuple[Column, np.ndarray]]) -> np.ndarray:
    """The columns of a table as a structured numpy array, with a field of each column's name."""
    typed = {column.name: column.typed(numbers) for column, numbers in table}
    rows = np.empty(len(table[0][1]), [(name, values.dtype) for name, values in typed.items()])
    for name, values in typed.items():
        rows[name] = values
    return rows


def shown(cell: str) -> str:
    """A cell from somebody else's file for a message: quoted and shortened."""
    short = cell if len(cell) <= LONGEST_CELL else f"{cell[: LONGEST_CELL - 3]}..."
    return repr(on_one_line(short))


def listed(names: list[str], most: int = 20) -> str:
    """Names in one line; only the first ones if there are more than `most`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
