"""Description of a data set that models and checkpoints need: kind, shape, classes, units."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Len
from torch import Tensor

from gan_cli.data.columns import Column, listed
from gan_cli.data.records import tidy_names
from gan_cli.errors import UserError, on_one_line
from gan_cli.registry import kinds

Byte = Annotated[int, Ge(0), Le(255)]
LARGEST = 2**24  # side of a sample, length of a text or row, number of classes in a checkpoint
LONGEST_NAME = 100  # characters of a class's name


Colour = tuple[Byte, Byte, Byte]
"""Red, green and blue."""
Sides = Annotated[tuple[Annotated[int, Ge(1), Le(LARGEST)], ...], Len(0, 4)]
"""Shape of a sample, without the batch; () of a number."""


@dataclass(frozen=True)
class Field:
    """A field that a data set has beside `x` and its class: the other image of a pair.

    Args:
        kind: as that of `Spec`.
        shape: shape of one sample, without the batch.
        bounded: whether its values lie in [-1, 1].
        size: number of values of a choice, which is one of 0 to size - 1; 0 for what is none.
        names: what each of these values is called, such as the words of a caption.
        palette: the colour of each of these values, red, green and blue of 0 to 255.
    """

    kind: str
    shape: Sides
    bounded: bool = True
    size: Annotated[int, Ge(0), Le(LARGEST)] = 0
    names: tuple[str, ...] = ()
    palette: tuple[Colour, ...] = ()


@dataclass(frozen=True)
class Spec:
    """Everything that a game must know about the data.

    It is saved in the checkpoint, so that sampling needs no data.

    Args:
        kind: `points`, `image`, `text`, `none` or one of a plug-in; see `gan_cli.data.kinds`.
        shape: shape of one sample, without the batch; () of data without samples.
        classes: number of classes; 0 for unlabelled data.
        bounded: whether samples lie in [-1, 1].
        extent: half the side of the square that a scatter plot of points shows.
        units: name, offset and scale of each number of a table's sample: value = offset + scale *
            sample.
        vocabulary: the characters of a text, in the order of their one-hot indices.
        domain: the map from the first domain to the second, see `gan_cli.data.two_domains`.
        names: names of the classes, in the order of their labels; empty if they have none. Names
            from a file are cleaned by `class_names` first.
        columns: columns of a table, each of one or more numbers of a sample; if empty, every number
            is a column.
        fields: the fields beside `x` and the class `y`, by name.
        palette: of images that are label maps, the colour of each label.
    """

    kind: str
    shape: Sides
    classes: Annotated[int, Ge(0), Le(LARGEST)] = 0
    bounded: bool = True
    extent: Annotated[float, Gt(0)] = 1.0
    units: tuple[tuple[str, float, float], ...] = ()
    vocabulary: str = ""
    domain: str = ""
    names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    fields: dict[Annotated[str, Len(1, LONGEST_NAME)], Field] = field(default_factory=dict)
    palette: tuple[Colour, ...] = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def plain(self) -> dict[str, Any]:
        """The specification as plain types, for a checkpoint."""
        lists = {
            "shape": list(self.shape),
            "units": [list(unit) for unit in self.units],
            "names": list(self.names),
            "palette": [list(colour) for colour in self.palette],
            "columns": [column.plain() for column in self.columns],
            "fields": {
                name: {
                    **asdict(other),
                    "shape": list(other.shape),
                    "names": list(other.names),
                    "palette": [list(colour) for colour in other.palette],
                }
                for name, other in self.fields.items()
            },
        }
        return {**asdict(self), **lists}

    @classmethod
    def restore(cls, plain: dict[str, Any]) -> "Spec":
        """The inverse of `plain`.

        Raises:
            ValueError: no data set has such a specification; checkpoints may come from strangers.
        """
        from pydantic import TypeAdapter, ValidationError

        names = class_names(plain.get("names", ()), plain.get("classes", 0))
        try:  # through JSON, because its lists become tuples
            spec: Spec = TypeAdapter(cls).validate_json(
                json.dumps({**plain, "names": names}), strict=True
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"its data has {place}={first['input']!s:.40} ({first['msg']})."
            ) from None

        spec._refuse_inconsistent()
        return spec

    def _refuse_inconsistent(self) -> None:
        """Raise ValueError if no data set has this kind, or the sizes contradict each other."""
        for kind in (self.kind, *(other.kind for other in self.fields.values())):
            if kind not in kinds.components:
                raise ValueError(
                    f"its data is of kind {kind:.40}, which no data set of this gan-cli is."
                )

        of_kind = kinds.loaded(self.kind, "data")()
        if wrong := next(of_kind.violations(self), ""):
            raise ValueError(f"{wrong}.")

        units, width = len(self.units), next(iter(self.shape), 0)
        if units not in (0, width):
            raise ValueError(f"its data has {units} units for samples of {self.shape}.")

        features = sum(len(column.features) for column in self.columns)
        if self.columns and (features, units) != (width, width):
            raise ValueError(
                f"its data has columns of {features} numbers for samples of {self.shape}."
            )

    def seen_as(self, field: str) -> "Spec":
        """The specification of data whose samples are a field of these."""
        if field == "x":
            return self
        other = self.fields[field]
        return replace(
            self, kind=other.kind, shape=other.shape, bounded=other.bounded,
            units=(), vocabulary="", columns=(), palette=other.palette,
        )  # fmt: skip

    def in_units(self, samples: Tensor) -> Tensor:
        """Samples in the units of the data.

        Samples of a table are float64 (n, columns): whole numbers in integer columns, 0 and 1 for
        truth values, indices for words, counts since 1970 for dates.
        """
        if not self.units:
            return samples
        return torch.stack([torch.from_numpy(numbers) for _, numbers in self.table(samples)], dim=1)

    def table(self, samples: Tensor) -> list[tuple[Column, np.ndarray]]:
        """Columns of a table, each with its numbers in `samples`, float64 (n,); see `Column`."""
        columns, offset, scale = self._layout()
        values = offset + scale * samples.cpu().double()
        parts = values.split([len(column.features) for column in columns], dim=1)
        return [
            (column, column.decoded(part.numpy()))
            for column, part in zip(columns, parts, strict=True)
        ]

    def adopted(self, table: Sequence[tuple[Column, np.ndarray]]) -> Tensor:
        """Samples with this specification from the columns of another table, matched by name.

        Raises:
            UserError: the table lacks a column, or a column is of another kind.
        """
        named = {column.name: (column, numbers) for column, numbers in table}
        columns, offset, scale = self._layout()
        if missing := [column.name for column in columns if column.name not in named]:
            raise UserError(
                f"data.file: has no column {listed(missing)}, which the checkpoint knows; it has "
                f"{listed([*named])}."
            )

        features = []
        for column in columns:
            other, numbers = named[column.name]
            features.append(torch.from_numpy(column.encoded(column.adopted(numbers, other))))

        return ((torch.cat(features, dim=1) - offset) / scale).float()

    def _layout(self) -> tuple[Sequence[Column], Tensor, Tensor]:
        """Columns, and offset and scale of each number of a sample.

        Points that are no table have a column for each coordinate.
        """
        units = self.units or tuple((str(index), 0.0, 1.0) for index in range(self.shape[0]))
        names, _ = tidy_names([name for name, *_ in units])
        offset, scale = (
            torch.tensor([unit[i] for unit in units], dtype=torch.float64) for i in (1, 2)
        )
        return self.columns or [Column(name) for name in names], offset, scale


def class_names(candidates: Any, classes: int) -> tuple[str, ...]:
    """Names of classes from somebody else's file, each on one line and shortened.

    Empty unless there is one name for each class and all of them differ: only then does a name
    identify a class.
    """
    if (
        not isinstance(candidates, list | tuple)
        or len(candidates) != classes
        or not all(isinstance(name, str) for name in candidates)
    ):
        return ()
    names = tuple(on_one_line(name[:LONGEST_NAME]) for name in candidates)
    return names if len(set(names)) == classes else ()
