"""Tables in CSV files, whose rows are points."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Gt, Lt

from gan_cli import noise
from gan_cli.data.cells import Found
from gan_cli.data.columns import Column, listed, shown
from gan_cli.data.dataset import Dataset
from gan_cli.data.sheet import Reader
from gan_cli.data.spec import Spec
from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.files import memory
from gan_cli.registry import Count, datasets

log = logging.getLogger(__name__)

MOST_INCOMPLETE = 0.1  # fraction of the rows that may lack a value without a warning
# distance of a repeated number from all others, as a multiple of their range, from which on it may
# mean a missing value
FAR = 10
COPIES = 3  # float64 copies of all features that exist while they are standardised


@datasets.register("csv")
class Table(Dataset):
    """Rows of numbers, dates and words as points; samples are written in the units of the file.

    Each column is scaled to mean 0 and standard deviation 1; a column of few words is one-hot, with
    a total standard deviation of 1. The file may be compressed (.gz). Rows that lack a value are
    left out, and the run logs how many.

    Args:
        file: comma-separated values or the like, with or without a line of names.
        columns: names, or numbers from 0; null takes every column of numbers, truth values, dates
            or few words.
        separator: comma, semicolon, tab, bar, space (any white space) or another sign; null finds
            it.
        decimal: point or comma; null finds it.
        header: whether the first line is names; null takes it for one if something in it could not
            stand below.
        missing: what stands for a missing value, besides an empty cell, NA, NaN, null, ? and the
            like.
        words: most different words of a column that is taken for a category; they fill less than
            half of the rows.
        heldout: share of the rows held out, always the same ones.
    """

    kind: ClassVar[str] = "points"
    metrics: ClassVar[tuple[str, ...]] = ("points",)

    def __init__(
        self,
        file: str,
        columns: list[str | int] | None = None,
        separator: str | None = None,
        decimal: str | None = None,
        header: bool | None = None,
        missing: list[str | int | float] | None = None,
        words: Count = 20,
        heldout: Annotated[float, Gt(0), Lt(1)] = 0.1,
    ) -> None:
        path = Path(file).expanduser()
        reader = Reader(separator, decimal, header, tuple(map(str, missing or ())), words)
        every, remarks = reader.read(path)
        chosen = _chosen(path, every, columns)
        complete = _complete_rows(path, chosen)
        count = max(1, round(heldout * int(complete.sum())))
        if not 0 < count < complete.sum():
            raise UserError(
                f"data.file={file}: {complete.sum()} rows cannot be split; data.heldout={heldout}."
            )

        kinds = [found.column for found in chosen if found.column]
        values = _features(path, kinds, [found.numbers[complete] for found in chosen])
        offset, scale = values.mean(dim=0), _scales(path, kinds, values)
        points = ((values - offset) / scale).float()
        points = points[torch.randperm(len(points), generator=noise.generator("table"))]
        self.train, self.heldout = {"x": points[count:]}, {"x": points[:count]}

        names = [name for column in kinds for name in column.features]
        units = tuple(zip(names, offset.tolist(), scale.tolist(), strict=True))
        self.spec = Spec(
            "points", (len(names),), bounded=False, extent=4.0, units=units, columns=tuple(kinds)
        )
        names_of_columns = listed([column.description for column in kinds])
        remarks += _left_out(every, columns, len(complete) - int(complete.sum()))
        counts = f"{len(points) - count} rows of {names_of_columns} to learn from, {count} held out"
        self.note = "; ".join([counts, *remarks])


def _chosen(path: Path, every: Sequence[Found], columns: list[str | int] | None) -> list[Found]:
    """The columns that the user names, or all that can be learnt.

    Raises:
        UserError: there are none, or one of them cannot be learnt.
    """
    if columns is None:
        for found in every:
            _refuse_stray(path, found)
        chosen = [found for found in every if found.column and not found.why]
        if not chosen:
            reasons = listed([f"{found.name} ({found.why})" for found in every])
            raise UserError(
                f"data.file={path}: no column of numbers, or of few words; left out: {reasons}."
            )
        return chosen

    if not columns:
        raise UserError(
            "data.columns=[]: name one column at least, or take all of them by data.columns=null."
        )
    indices = [_index(path, [found.name for found in every], column) for column in columns]
    if repeated := [index for i, index in enumerate(indices) if index in indices[:i]]:
        raise UserError(f"data.columns={columns}: names column {every[repeated[0]].name} twice.")
    chosen = [every[index] for index in indices]
    for found in chosen:
        _refuse_stray(path, found)
        if found.column is None:
            raise UserError(
                f"data.columns: column {found.name} of {path} cannot be learnt ({found.why})."
            )
    return chosen


def _index(path: Path, names: list[str], column: str | int) -> int:
    """Index of a column that the user names, by its name or its number.

    Raises:
        UserError: there is no such column.
    """
    if str(column) in names:
        return names.index(str(column))
    if isinstance(column, int) and 0 <= column < len(names):
        return column
    raise UserError(
        f"data.columns: {path} has no column {column}{closest(str(column), names)}; it has "
        f"{listed(names)}."
    )


def _refuse_stray(path: Path, found: Found) -> None:
    """Raise UserError for a column of numbers with a cell that is no number."""
    if found.stray:
        line, cell = found.stray
        typed = on_one_line(cell[:40])
        typed = typed if re.fullmatch(r"[\w.+-]+", typed) else repr(typed)
        raise UserError(
            f"data.file={path}: line {line}, column {found.name}: {shown(cell)} is not a number; "
            f"if it means that there is none, add data.missing=[{typed}], or name the other "
            "columns by data.columns."
        )


def _complete_rows(path: Path, chosen: Sequence[Found]) -> np.ndarray:
    """Mask of the rows without a missing value, (rows,).

    Raises:
        UserError: there is no such row.
    """
    missing = {found.name: np.isnan(found.numbers) for found in chosen}
    complete = ~np.logical_or.reduce(list(missing.values()))
    worst = max(missing, key=lambda name: int(missing[name].sum()))
    if not complete.any():
        raise UserError(
            f"data.file={path}: every row lacks a value, {missing[worst].sum()} of {len(complete)} "
            f"in column {worst}; leave columns out by data.columns."
        )

    if (incomplete := (~complete).sum()) > MOST_INCOMPLETE * len(complete):
        log.warning(
            "%d of %d rows lack a value and are left out; column %s lacks %d",
            incomplete,
            len(complete),
            worst,
            missing[worst].sum(),
        )
    for found in chosen:
        if found.column and found.column.kind in ("number", "integer"):
            _warn_of_outliers(found.name, found.numbers[complete])
    return complete


def _warn_of_outliers(name: str, numbers: np.ndarray) -> None:
    """Warn if the smallest or largest number is repeated and far from all others, such as -9999."""
    levels, counts = np.unique(numbers, return_counts=True)
    for end, others in ((0, levels[1:]), (-1, levels[:-1])):
        if len(others) < 3 or counts[end] < 2:
            continue
        if np.abs(others - levels[end]).min() > FAR * (others[-1] - others[0]):
            log.warning(
                "%d rows have %g in column %s, far from all others; if it means that there is "
                "none, add data.missing=[%g]",
                counts[end],
                levels[end],
                name,
                levels[end],
            )


def _features(path: Path, columns: Sequence[Column], numbers: Sequence[np.ndarray]) -> torch.Tensor:
    """Features of all columns, float64 (rows, features).

    Raises:
        UserError: they need too much memory.
    """
    rows, width = len(numbers[0]), sum(len(column.features) for column in columns)
    needed = COPIES * 8 * rows * width  # bytes
    if needed > memory() / 2:
        raise UserError(
            f"data.file={path}: {rows} rows of {width} numbers need {needed / 2**30:.3g} GiB of "
            "memory; choose fewer by data.columns."
        )
    encoded = [column.encoded(part) for column, part in zip(columns, numbers, strict=True)]
    return torch.from_numpy(np.hstack(encoded))


def _scales(path: Path, columns: Sequence[Column], values: torch.Tensor) -> torch.Tensor:
    """Standard deviation of each feature; all features of a category have their total one.

    Raises:
        UserError: the numbers of a column are all equal, or too large.
    """
    parts = values.std(dim=0).split([len(column.features) for column in columns])
    scales = []
    for column, part in zip(columns, parts, strict=True):
        std = float(part.norm()) if len(part) > 1 else float(part)
        if not 0 <= std < float("inf"):
            raise UserError(
                f"data.file={path}: the numbers of column {column.name} are too large to be "
                "averaged."
            )
        if std == 0:
            raise UserError(
                f"data.file={path}: column {column.name} holds one value only, or numbers that "
                "float64 does not tell apart; leave it out of data.columns."
            )
        scales.append(torch.full_like(part, std))
    return torch.cat(scales)


def _left_out(every: Sequence[Found], columns: list[str | int] | None, rows: int) -> list[str]:
    """Remarks on incomplete rows, and on columns left out by default."""
    remarks = [f"left out: rows that lack a value ({rows})"] if rows else []
    unused = [f"{found.name} ({found.why})" for found in every if found.why and columns is None]
    return [*remarks, f"left out: {listed(unused)}"] if unused else remarks
