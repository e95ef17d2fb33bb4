"""Columns of a CSV file, a row a point."""

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

WARNED = 0.1  # share of the rows that lack something, from which on a warning says so
# times the range of all others: a number there that stands in several rows may mean that there is
# none
FAR = 10


@datasets.register("csv")
class Table(Dataset):
    """Rows of numbers, dates and words as points; samples come out in their own units.

    Each column is brought to mean 0 and standard deviation 1; a column of few words is one-hot,
    with a standard deviation of 1 in all. The file may be compressed (.gz). Rows that lack a value
    are left out, and the run says how many.

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
        found, remarks = reader.read(path)
        chosen = _chosen(path, found, columns)
        whole = _whole_rows(path, chosen)
        count = max(1, round(heldout * int(whole.sum())))
        if not 0 < count < whole.sum():
            raise UserError(
                f"data.file={file}: {whole.sum()} rows cannot be split; data.heldout={heldout}."
            )

        kinds = [one.column for one in chosen if one.column]
        values = _features(path, kinds, [one.numbers[whole] for one in chosen])
        offset, scale = values.mean(dim=0), _scales(path, kinds, values)
        points = ((values - offset) / scale).float()
        points = points[torch.randperm(len(points), generator=noise.generator("table"))]
        self.train, self.heldout = {"x": points[count:]}, {"x": points[:count]}

        names = [name for column in kinds for name in column.features]
        units = tuple(zip(names, offset.tolist(), scale.tolist(), strict=True))
        self.spec = Spec(
            "points", (len(names),), bounded=False, extent=4.0, units=units, columns=tuple(kinds)
        )
        told = listed([column.description for column in kinds])
        remarks += _left_out(found, columns, len(whole) - int(whole.sum()))
        self.note = "; ".join(
            [f"{len(points) - count} rows of {told} to learn from, {count} held out", *remarks]
        )


def _chosen(path: Path, found: Sequence[Found], columns: list[str | int] | None) -> list[Found]:
    """The columns that are named, else all that can be learnt. Raises UserError where there are
    none."""
    if columns is None:
        for one in found:
            _refuse_stray(path, one)
        chosen = [one for one in found if one.column and not one.why]
        if not chosen:
            reasons = listed([f"{one.name} ({one.why})" for one in found])
            raise UserError(
                f"data.file={path}: no column of numbers, or of few words; left out: {reasons}."
            )
        return chosen
    if not columns:
        raise UserError(
            "data.columns=[]: name one column at least, or take all of them by data.columns=null."
        )
    places = [_place(path, [one.name for one in found], column) for column in columns]
    if twice := [place for i, place in enumerate(places) if place in places[:i]]:
        raise UserError(f"data.columns={columns}: names column {found[twice[0]].name} twice.")
    for one in (found[place] for place in places):
        _refuse_stray(path, one)
        if one.column is None:
            raise UserError(
                f"data.columns: column {one.name} of {path} cannot be learnt ({one.why})."
            )
    return [found[place] for place in places]


def _place(path: Path, names: list[str], column: str | int) -> int:
    if str(column) in names:
        return names.index(str(column))
    if isinstance(column, int) and 0 <= column < len(names):
        return column
    raise UserError(
        f"data.columns: {path} has no column {column}{closest(str(column), names)}; it has "
        f"{listed(names)}."
    )


def _refuse_stray(path: Path, one: Found) -> None:
    if one.stray:
        line, cell = one.stray
        typed = on_one_line(cell[:40])
        typed = typed if re.fullmatch(r"[\w.+-]+", typed) else repr(typed)
        raise UserError(
            f"data.file={path}: line {line}, column {one.name}: {shown(cell)} is not a number; if "
            f"it means that there is none, add data.missing=[{typed}], or name the other columns "
            "by data.columns."
        )


def _whole_rows(path: Path, chosen: Sequence[Found]) -> np.ndarray:
    """Which rows lack nothing. Raises UserError where none does not."""
    lacking = {one.name: np.isnan(one.numbers) for one in chosen}
    whole = ~np.logical_or.reduce(list(lacking.values()))
    worst = max(lacking, key=lambda name: int(lacking[name].sum()))
    if not whole.any():
        raise UserError(
            f"data.file={path}: every row lacks a value, {lacking[worst].sum()} of {len(whole)} "
            f"in column {worst}; leave columns out by data.columns."
        )
    if (left := (~whole).sum()) > WARNED * len(whole):
        log.warning(
            "%d of %d rows lack a value and are left out; column %s lacks %d",
            left,
            len(whole),
            worst,
            lacking[worst].sum(),
        )
    for one in chosen:
        if one.column and one.column.kind in ("number", "integer"):
            _warn_of_far(one.name, one.numbers[whole])
    return whole


def _warn_of_far(name: str, numbers: np.ndarray) -> None:
    """Say so where the smallest or largest number stands in several rows, far from all others, as
    -9999 does."""
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
    """What stands for the columns, float64 (rows, places). Raises UserError where that fills the
    memory."""
    rows, places = len(numbers[0]), sum(len(column.features) for column in columns)
    needed = 3 * 8 * rows * places  # with what is computed of it
    if needed > memory() / 2:
        raise UserError(
            f"data.file={path}: {rows} rows of {places} numbers need {needed / 2**30:.3g} GiB of "
            "memory; choose fewer by data.columns."
        )
    return torch.from_numpy(
        np.hstack([c.encoded(values) for c, values in zip(columns, numbers, strict=True)])
    )


def _scales(path: Path, columns: Sequence[Column], values: torch.Tensor) -> torch.Tensor:
    """The standard deviation of each column; those of a category share what they have in all.

    Raises:
        UserError: a column is constant, or too large.
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


def _left_out(found: Sequence[Found], columns: list[str | int] | None, rows: int) -> list[str]:
    """What a run says of the columns that it was not told to leave out, and of rows."""
    said = [f"left out: rows that lack a value ({rows})"] if rows else []
    left = [f"{one.name} ({one.why})" for one in found if one.why and columns is None]
    return [*said, f"left out: {listed(left)}"] if left else said
