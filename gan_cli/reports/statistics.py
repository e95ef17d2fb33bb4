"""Statistics over the seeds of a setting: mean with standard deviation, median with range."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

Band = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Middle, lower edge and upper edge of a curve, each (n,)."""


@dataclass(frozen=True)
class Summary(ABC):
    """One score over the seeds of a group: its middle, and the spread of the seeds."""

    middle: float

    title: ClassVar[str]
    """Statistic in words."""
    columns: ClassVar[tuple[str, ...]]
    """Names of the numbers of `spread`."""
    digits: ClassVar[int]
    """Significant digits of the middle."""

    @classmethod
    @abstractmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summary of at least one value."""

    @classmethod
    @abstractmethod
    def band(cls, values: np.ndarray) -> Band:
        """The same for curves (runs, n), of which nan is missing."""

    @property
    @abstractmethod
    def spread(self) -> tuple[float | None, ...]:
        """Spread as numbers."""

    @property
    @abstractmethod
    def spread_text(self) -> str:
        """Spread as text; empty where the seeds do not differ or there is one."""

    @property
    def middle_text(self) -> str:
        """Middle as text."""
        return format_number(self.middle, self.digits)

    @property
    def text(self) -> str:
        """Middle and spread, such as `0.0743 +- 0.011`."""
        return f"{self.middle_text} {self.spread_text}".rstrip()

    @property
    def sort_key(self) -> str:
        """Middle for a script to sort by; empty if it is not finite."""
        return repr(self.middle) if np.isfinite(self.middle) else ""


@dataclass(frozen=True)
class Mean(Summary):
    """Mean and standard deviation of a sample (n - 1), which one seed does not have."""

    std: float | None

    title = "mean +- standard deviation"
    columns = ("std",)
    digits = 4

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Mean and standard deviation of the values."""
        with np.errstate(all="ignore"):  # runs that diverged may have infinite scores
            std = float(np.std(values, ddof=1)) if len(values) > 1 else None
            return cls(float(np.mean(values)), std)

    @classmethod
    def band(cls, values: np.ndarray) -> Band:
        """Mean, and one standard deviation below and above."""
        with _missing_values():
            count = np.isfinite(values).sum(axis=0)
            mean = np.nanmean(values, axis=0)
            std = np.where(count > 1, np.nanstd(values, axis=0, ddof=1), 0.0)
        return mean, mean - std, mean + std

    @property
    def spread(self) -> tuple[float | None, ...]:
        return (self.std,)

    @property
    def spread_text(self) -> str:
        return "" if self.std is None else f"+- {format_number(self.std, 2)}"


@dataclass(frozen=True)
class Median(Summary):
    """Median and range."""

    low: float
    high: float

    title = "median (lowest to highest)"
    columns = ("min", "max")
    digits = 3

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Median and range of the values."""
        with np.errstate(all="ignore"):  # two infinite scores have no middle
            return cls(float(np.median(values)), float(min(values)), float(max(values)))

    @classmethod
    def band(cls, values: np.ndarray) -> Band:
        """Median, lowest and highest value."""
        with _missing_values():
            return (
                np.nanmedian(values, axis=0),
                np.nanmin(values, axis=0),
                np.nanmax(values, axis=0),
            )

    @property
    def spread(self) -> tuple[float | None, ...]:
        return (self.low, self.high)

    @property
    def spread_text(self) -> str:
        if self.low == self.high:
            return ""
        return f"({format_number(self.low, 3)} to {format_number(self.high, 3)})"


STATISTICS: dict[str, type[Summary]] = {"mean": Mean, "median": Median}


def format_number(value: float, digits: int) -> str:
    """Number with so many significant digits; all digits of whole numbers below a million."""
    is_long = 10**digits - 0.5 <= abs(value) < 1e6
    return f"{value:.0f}" if is_long else f"{value:.{digits}g}"


@contextmanager
def _missing_values() -> Iterator[None]:
    """Accept points without a finite value: they are gaps in the curve."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
