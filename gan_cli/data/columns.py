"""What the columns of a table are: numbers, whole numbers, truth values, dates or words; and their
way to a network."""

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
"""What dates are counted in, by the finest part of their format."""
YEARS = np.array(["0001-01-01", "9999-12-31"], "datetime64[D]")  # what a calendar can write


Kind = Literal["number", "integer", "boolean", "date", "category"]


@dataclass(frozen=True)
class Column:
    """A column of a table. In numbers it is float64: words by their places in `words`, dates as
    counts since 1970.

    Args:
        name: as the header has it.
        kind: what it holds.
        words: of a category, in the order of their one-hot places.
        format: of dates, as strftime has it.
        least: no sample lies below; None for no bound.
        most: no sample lies above.
        decimals: how many of them numbers have in a CSV file; None for all.
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
        """As plain types, for a checkpoint."""
        return {**asdict(self), "words": list(self.words)}

    @property
    def features(self) -> list[str]:
        """Names of the numbers that stand for it in a sample."""
        return (
            [f"{self.name}={word}" for word in self.words]
            if self.kind == "category"
            else [self.name]
        )

    @property
    def unit(self) -> str:
        """What dates are counted in, as numpy writes it."""
        return next((unit for part, unit in UNITS if part in self.format), "Y")

    @property
    def told(self) -> str:
        """Its name, and what it is if not a number, for a line of text."""
        kinds = {
            "boolean": "true or false",
            "date": f"dates, {self.format}",
            "category": f"{len(self.words)} words",
        }
        return f"{self.name} ({kinds[self.kind]})" if self.kind in kinds else self.name

    def encoded(self, numbers: np.ndarray) -> np.ndarray:
        """Features (n, places) of numbers (n,): themselves, or one-hot."""
        if self.kind != "category":
            return numbers[:, None]
        return (numbers[:, None] == np.arange(len(self.words))).astype(np.float64)

    def decoded(self, features: np.ndarray) -> np.ndarray:
        """Numbers (n,) of features (n, places) in the column's units: the largest place, or rounded
        where it counts."""
        if self.kind == "category":
            return features.argmax(axis=1).astype(np.float64)
        # no -0
        numbers = features[:, 0] if self.kind == "number" else np.rint(features[:, 0]) + 0.0
        least, most = self._calendar() if self.kind == "date" else (self.least, self.most)
        return numbers if least is None and most is None else np.clip(numbers, least, most)

    def _calendar(self) -> tuple[float, float]:
        first, last = YEARS.astype(f"datetime64[{self.unit}]").astype(np.int64).tolist()
        return first, last

    def typed(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers as what they stand for: float64, int64 where all fit, bool, datetime64 or
        words."""
        if self.kind == "category":
            return np.array(self.words)[numbers.astype(np.int64)]
        if self.kind == "boolean":
            return numbers > 0.5
        if self.kind == "date":
            dates = (
                np.where(np.isfinite(numbers), numbers, 0)
                .astype(np.int64)
                .astype(f"datetime64[{self.unit}]")
            )
            return np.where(np.isfinite(numbers), dates, np.datetime64("NaT"))
        whole = self.kind == "integer" and bool((np.abs(numbers) < 2**63).all())  # nor NaN
        return numbers.astype(np.int64) if whole else numbers

    def texts(self, numbers: np.ndarray) -> list[str]:
        """Numbers as a CSV file has them; nothing for what is not finite."""
        if self.kind in ("category", "boolean"):
            return [str(value) for value in self.typed(numbers)]
        if self.kind == "date":
            from pandas import Series

            fine = "us" if self.unit == "us" else "s"
            dates = Series(self.typed(numbers).astype(f"datetime64[{fine}]"))
            return (
                (dates.dt.tz_localize("UTC") if "%z" in self.format else dates)
                .dt.strftime(self.format)
                .tolist()
            )
        digits = 0 if self.kind == "integer" else self.decimals
        write = repr if digits is None else f"{{:.{digits}f}}".format
        return [write(value) if np.isfinite(value) else "" for value in numbers.tolist()]

    def adopted(self, numbers: np.ndarray, other: "Column") -> np.ndarray:
        """The numbers that another table's column has, as this column counts them.

        Raises:
            UserError: it is a column of something else, or holds words that this one has not.
        """
        if self.kind == "category":
            return self._places(other.texts(numbers))
        if (self.kind == "date") != (other.kind == "date") or other.kind == "category":
            raise UserError(
                f"data.file: its column {self.name} is of kind {other.kind}, the checkpoint's of "
                f"kind {self.kind}."
            )
        if self.kind == "date":
            return (
                other.typed(numbers)
                .astype(f"datetime64[{self.unit}]")
                .astype(np.int64)
                .astype(np.float64)
            )
        return numbers

    def _places(self, words: list[str]) -> np.ndarray:
        places = {word: i for i, word in enumerate(self.words)}
        for word in dict.fromkeys(words):
            if word not in places:
                raise UserError(
                    f"data.file: its column {self.name} holds "
                    f"{shown(word)}{closest(word, places)}, the checkpoint knows "
                    f"{listed(list(map(shown, self.words)))}."
                )
        return np.array([places[word] for word in words], np.float64)


def structured(table: Sequence[tuple[Column, np.ndarray]]) -> np.ndarray:
    """The columns of a table in a numpy array with a field for each, by its name."""
    typed = {column.name: column.typed(numbers) for column, numbers in table}
    rows = np.empty(len(table[0][1]), [(name, values.dtype) for name, values in typed.items()])
    for name, values in typed.items():
        rows[name] = values
    return rows


def shown(cell: str) -> str:
    """A cell that a stranger wrote, quoted and short."""
    return repr(on_one_line(cell if len(cell) <= 40 else f"{cell[:37]}..."))


def listed(names: list[str], most: int = 20) -> str:
    """Names in a line, of many the first ones."""
    more = len(names) - most
    return ", ".join(names if more <= 0 else names[:most]) + (
        f" and {more} more" if more > 0 else ""
    )
