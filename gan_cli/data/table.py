"""Columns of numbers in a CSV file, a row a point."""

import csv
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.errors import UserError, closest
from gan_cli.registry import datasets


@datasets.register("csv")
class Table(Dataset):
    """Rows of numbers as points. Each column is brought to mean 0 and deviation 1; samples come out in its own units.

    Args:
        file: comma-separated values, with or without a line of names.
        columns: names, or numbers from 0; null takes every column whose first value is a number.
        header: whether the first line is names; null takes it for one if something in it is no number and the line
            below it has a number there.
        heldout: share of the rows held out, always the same ones.
    """

    kind: ClassVar[str] = "points"
    metrics: ClassVar[tuple[str, ...]] = ("points",)

    def __init__(
        self,
        file: str,
        columns: list[str | int] | None = None,
        header: bool | None = None,
        heldout: Annotated[float, Gt(0), Lt(1)] = 0.1,
    ) -> None:
        names, values = _numbers(Path(file).expanduser(), columns, header)
        count = max(1, round(heldout * len(values)))
        if not 0 < count < len(values):
            raise UserError(f"data.file={file}: {len(values)} rows cannot be split; data.heldout={heldout}.")
        order = torch.randperm(len(values), generator=noise.generator("table"))
        offset, scale = values.mean(dim=0), values.std(dim=0)
        for name, deviation in zip(names, scale.tolist(), strict=True):
            if not 0 <= deviation < float("inf"):
                raise UserError(f"data.file={file}: the numbers of column {name} are too large to be averaged.")
            if deviation == 0:
                raise UserError(f"data.file={file}: column {name} holds one value only; leave it out of data.columns.")
        points = ((values - offset) / scale).float()[order]
        self.train, self.heldout = {"x": points[count:]}, {"x": points[:count]}
        units = tuple(zip(names, offset.tolist(), scale.tolist(), strict=True))
        self.spec = Spec("points", (len(names),), bounded=False, extent=4.0, units=units)
        self.note = f"{len(values) - count} rows of {', '.join(names)} to learn from, {count} held out"


def _numbers(path: Path, columns: list[str | int] | None, header: bool | None) -> tuple[list[str], Tensor]:
    """Names and values, float64 (rows, columns). Raises UserError with the line of a value that is no number."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(number, line) for number, line in enumerate(csv.reader(file), start=1) if line]
    except OSError as error:
        raise UserError(f"data.file={path}: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.file={path}: not a CSV file ({error}).") from None
    if len(lines) < 3:
        raise UserError(f"data.file={path}: too few rows.")
    width = len(lines[0][1])
    if header is None:
        pairs = zip(lines[0][1], lines[1][1], strict=False)
        header = any(_is_number(below) and not _is_number(cell) for cell, below in pairs)
    names = [cell.strip() for cell in lines[0][1]] if header else [str(i) for i in range(width)]
    lines = lines[1:] if header else lines
    chosen = _chosen(path, names, columns, lines[0][1])
    values = []
    for number, line in lines:
        if len(line) != width:
            raise UserError(f"data.file={path}: line {number} has {len(line)} values, the first has {width}.")
        values.append([_number(path, number, names[i], line[i]) for i in chosen])
    return [names[i] for i in chosen], torch.tensor(values, dtype=torch.float64)


def _chosen(path: Path, names: list[str], columns: list[str | int] | None, first: list[str]) -> list[int]:
    if columns is None:
        found = [i for i, cell in enumerate(first) if _is_number(cell)]
        if not found:
            raise UserError(f"data.file={path}: no column of numbers.")
        return found
    for column in columns:
        if str(column) not in names and not (isinstance(column, int) and 0 <= column < len(names)):
            raise UserError(
                f"data.columns: {path} has no column {column}{closest(str(column), names)}; it has {', '.join(names)}."
            )
    return [names.index(str(column)) if str(column) in names else int(column) for column in columns]


def _is_number(cell: str) -> bool:
    try:
        return abs(float(cell)) < float("inf")
    except ValueError:
        return False


def _number(path: Path, line: int, name: str, cell: str) -> float:
    if not _is_number(cell):
        raise UserError(f"data.file={path}: line {line}, column {name}: {cell!r} is not a number.")
    return float(cell)
