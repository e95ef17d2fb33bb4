"""What every data set is: named fields of tensors for training, the same held out, and how to
decode a batch."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Len
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli import noise
from gan_cli.data.columns import Column, listed
from gan_cli.data.records import tidy_names
from gan_cli.errors import UserError, on_one_line
from gan_cli.files import cache_folder
from gan_cli.registry import datasets, metrics

Fields = dict[str, Tensor]
__all__ = [
    "FEW", "Dataset", "Fields", "Spec", "cache_folder", "class_names", "fits", "installed",
    "resized", "resizing",
]  # fmt: skip
# side of a sample, length of a text or row, number of classes: what a checkpoint may say
LONGEST = 2**24
FEW = 20  # held-out samples below which a classifier's scores say nothing
LONGEST_NAME = 100  # characters of a class's name


@dataclass(frozen=True)
class Spec:
    """What a game must know of the data. It travels in the checkpoint, so that sampling needs no
    data.

    Args:
        kind: `points`, `image` or `text`.
        shape: of one sample, without the batch.
        classes: how many labels there are; 0 for unlabelled data.
        bounded: whether samples lie in [-1, 1].
        extent: half the side of the square that a picture of points shows.
        units: for each number of a table's sample its name, offset and scale: value = offset +
            scale * sample.
        vocabulary: the characters of a text, in the order of their one-hot places.
        domain: what a second domain shows of an image of the first, see `gan_cli.data.two_domains`.
        names: of the classes, in the order of their labels; empty where they have none. They go
            through `class_names`.
        columns: of a table, each of one number or more of a sample; without them every number is a
            column.
    """

    kind: str
    shape: Annotated[tuple[Annotated[int, Ge(1), Le(LONGEST)], ...], Len(1, 4)]
    classes: Annotated[int, Ge(0), Le(LONGEST)] = 0
    bounded: bool = True
    extent: Annotated[float, Gt(0)] = 1.0
    units: tuple[tuple[str, float, float], ...] = ()
    vocabulary: str = ""
    domain: str = ""
    names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def plain(self) -> dict[str, Any]:
        """As plain types, for a checkpoint."""
        lists = {
            "shape": list(self.shape),
            "units": [list(unit) for unit in self.units],
            "names": list(self.names),
            "columns": [column.plain() for column in self.columns],
        }
        return {**asdict(self), **lists}

    @classmethod
    def restore(cls, plain: dict[str, Any]) -> "Spec":
        """The inverse of `plain`. Raises ValueError for what no data set has, as a stranger's file
        may say it."""
        from pydantic import TypeAdapter, ValidationError

        names = class_names(plain.get("names", ()), plain.get("classes", 0))
        try:  # as JSON, whose lists become tuples
            spec: Spec = TypeAdapter(cls).validate_json(
                json.dumps({**plain, "names": names}), strict=True
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"its data has {place}={first['input']!s:.40} ({first['msg']})."
            ) from None
        if spec.kind not in {
            component.attributes.get("kind") for component in datasets.components.values()
        }:
            raise ValueError(
                f"its data is of kind {spec.kind:.40}, which no data set of this gan-cli is."
            )
        words, units = len(spec.vocabulary), len(spec.units)
        if (spec.kind == "text" and words < spec.shape[0]) or units not in (0, spec.shape[0]):
            raise ValueError(
                f"its data has {words} characters and {units} units for samples of {spec.shape}."
            )
        places = sum(len(column.features) for column in spec.columns)
        if spec.columns and (places, units) != (spec.shape[0], spec.shape[0]):
            raise ValueError(
                f"its data has columns of {places} numbers for samples of {spec.shape}."
            )
        return spec

    def in_units(self, samples: Tensor) -> Tensor:
        """Samples as the data has them. A table's are float64 (n, columns) in its own units: whole
        where its numbers are, 0 and 1 for truth values, words by their places, dates as counts
        since 1970."""
        if not self.units:
            return samples
        return torch.stack([torch.from_numpy(numbers) for _, numbers in self.table(samples)], dim=1)

    def table(self, samples: Tensor) -> list[tuple[Column, np.ndarray]]:
        """The columns of a table and their numbers, float64 (n,), in samples; see `Column`."""
        columns, offset, scale = self._layout()
        values = offset + scale * samples.cpu().double()
        parts = values.split([len(column.features) for column in columns], dim=1)
        return [
            (column, column.decoded(part.numpy()))
            for column, part in zip(columns, parts, strict=True)
        ]

    def adopted(self, table: Sequence[tuple[Column, np.ndarray]]) -> Tensor:
        """Another table as samples of this one, whose columns are found by their names.

        Raises:
            UserError: it lacks a column, or one holds something else.
        """
        named = {column.name: (column, numbers) for column, numbers in table}
        columns, offset, scale = self._layout()
        if lacking := [column.name for column in columns if column.name not in named]:
            raise UserError(
                f"data.file: has no column {listed(lacking)}, which the checkpoint knows; it has "
                f"{listed([*named])}."
            )
        features = []
        for column in columns:
            other, numbers = named[column.name]
            features.append(torch.from_numpy(column.encoded(column.adopted(numbers, other))))
        return ((torch.cat(features, dim=1) - offset) / scale).float()

    def _layout(self) -> tuple[Sequence[Column], Tensor, Tensor]:
        """The columns, and offset and scale of each number of a sample; of other points each
        coordinate by itself."""
        units = self.units or tuple((str(place), 0.0, 1.0) for place in range(self.shape[0]))
        names, _ = tidy_names([name for name, *_ in units])
        offset, scale = (
            torch.tensor([unit[i] for unit in units], dtype=torch.float64) for i in (1, 2)
        )
        return self.columns or [Column(name) for name in names], offset, scale


def class_names(found: Any, classes: int) -> tuple[str, ...]:
    """Names of classes that somebody else has chosen, each on one line and not too long; none at
    all unless there is one for each class and all differ, so that a name says which class is
    meant."""
    if (
        not isinstance(found, list | tuple)
        or len(found) != classes
        or not all(isinstance(n, str) for n in found)
    ):
        return ()
    names = tuple(on_one_line(name[:LONGEST_NAME]) for name in found)
    return names if len(set(names)) == classes else ()


def installed(package: str | None) -> bool:
    """Whether a package that something needs, if it needs one, can be imported."""
    return package is None or find_spec(package) is not None


def resized(images: Tensor, size: int) -> Tensor:
    """Images (N, C, H, W) with values in [0, 255] as bytes of side `size`, by (antialiased)
    bilinear interpolation."""
    if images.shape[-1] == size:
        return images.round().to(torch.uint8) if images.is_floating_point() else images
    shrinks = images.shape[-1] > size
    chunks = [
        interpolate(part.float(), size=size, mode="bilinear", antialias=shrinks)
        for part in images.split(5000)
    ]
    return torch.cat([chunk.round().clamp(0, 255).to(torch.uint8) for chunk in chunks])


def resizing(before: int, after: int) -> str:
    """What `resized` does to images of the side `before`, in words."""
    how = "antialiased bilinear" if after < before else "bilinear"
    return (
        "none"
        if before == after
        else (f"{before}x{before} to {after}x{after} by {how} interpolation")
    )


def fits(fields: Fields, device: torch.device) -> bool:
    """Whether the fields need at most half of the memory that the device has free."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(values.numel() * values.element_size() for values in fields.values()) <= free // 2


class Dataset:
    """Base of all data sets. Fields are kept as they are stored (uint8 for images) and decoded a
    batch at a time.

    Class attributes, read before torch loads: `kind`, which `network=auto` goes by, `metrics`, the
    scores that make sense for this data, and `fields`, so that a game can be told which data has
    what it looks at.
    """

    kind: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    fields: ClassVar[tuple[str, ...]] = ("x",)  # those that it always has
    spec: Spec
    train: Fields
    heldout: Fields
    flip: bool = False  # whether training sees every image's mirror image too
    note: str = ""  # what a run should say of its data
    resizing: str = "none"  # what was done to images before anything sees them
    # the training samples whose labels a semi-supervised game may see
    labelled: Fields | None = None

    @property
    def default_metrics(self) -> list[str]:
        """The metrics that this data and the packages allow: without classes, or with few held-out
        samples, those without labels."""
        return self._allowed(self.metrics)

    @property
    def available_metrics(self) -> list[str]:
        """Those, and the metrics that are for any data of this kind with more than a few held-out
        samples."""
        others = [
            name
            for name, found in metrics.components.items()
            if self.kind in found.attributes.get("kinds", ())
        ]
        enough = len(self.heldout["x"]) >= FEW
        return self._allowed(list(dict.fromkeys([*self.metrics, *(others if enough else [])])))

    @property
    def classifiable(self) -> bool:
        """Whether there are classes, and held-out samples enough to say how well a classifier knows
        them."""
        return self.spec.classes > 1 and len(self.heldout["x"]) >= FEW

    def _allowed(self, names: Sequence[str]) -> list[str]:
        facts = {name: metrics.component(name, "metrics").attributes for name in names}
        able = [name for name in names if installed(facts[name].get("needs_package"))]
        return [name for name in able if self.classifiable or not facts[name].get("needs_labels")]

    def decode(self, stored: Fields) -> Fields:
        """A batch as the networks see it: float32, images in [-1, 1]."""
        x = stored["x"]
        return {**stored, "x": x.float().div_(127.5).sub_(1) if x.dtype == torch.uint8 else x}

    def sample_x(self, fields: Fields, n: int, purpose: str = "scored") -> Tensor:
        """At most n samples of a split, decoded; always the same ones for a purpose."""
        return self.sample({"x": fields["x"]}, n, purpose)["x"]

    def sample(self, fields: Fields, n: int, purpose: str = "scored") -> Fields:
        """As `some`, with all fields of the samples."""
        rows = self.rows(fields, n, purpose)
        return self.decode({name: values[rows] for name, values in fields.items()})

    def rows(self, fields: Fields, n: int, purpose: str = "scored") -> Tensor:
        """Which samples `few` takes."""
        order = torch.randperm(len(fields["x"]), generator=noise.generator(purpose))
        return order[:n].to(fields["x"].device)

    @cached_property
    def digest(self) -> str:
        """A short name for the data itself: how many samples there are, and the bytes of a thousand
        of them."""
        digest = hashlib.sha256(self.spec.vocabulary.encode())
        for fields in (self.train, self.heldout):
            for name, values in sorted(fields.items()):
                some = values[:: max(1, len(values) // 1000)].cpu().contiguous().numpy()
                digest.update(
                    f"{name} {tuple(values.shape)} {values.dtype}".encode() + some.tobytes()
                )
        return digest.hexdigest()[:16]

    def rescale_like(self, spec: Spec) -> None:
        """Bring a table to the columns and units of another, so that the samples of a checkpoint
        can be compared with it. Raises UserError where it has not what the other has."""
        if (
            self.spec.units
            and spec.units
            and (self.spec.units, self.spec.columns) != (spec.units, spec.columns)
        ):
            for fields in (self.train, self.heldout):
                fields["x"] = spec.adopted(self.spec.table(fields["x"]))
            self.spec = spec

    def keep_labels(self, per_class: int, seed: int) -> None:
        """Let batches hold `x_labelled` and `y_labelled` too: so many training samples of each
        class, by the seed.

        Raises UserError where a class has fewer.
        """
        order = torch.randperm(len(self.train["y"]), generator=noise.generator("labelled", seed))
        y = self.train["y"].cpu()[order]
        rows = [order[y == label][:per_class] for label in range(self.spec.classes)]
        if few := [label for label, found in enumerate(rows) if len(found) < per_class]:
            raise UserError(
                f"model.labels_per_class={per_class}: class {few[0]} has {len(rows[few[0]])} "
                "training samples only."
            )
        kept = torch.cat(rows).to(self.train["x"].device)
        self.labelled = {name: values[kept] for name, values in self.train.items()}

    def to(self, device: torch.device) -> "Dataset":
        """Move every field to the device, where batches are then cut without a copy from the host.

        Training data of more than half of the device's free memory stays where it is; `Batches`
        sends what it needs.
        """
        if fits(self.train, device):
            self.train = {name: values.to(device) for name, values in self.train.items()}
        self.heldout = {name: values.to(device) for name, values in self.heldout.items()}
        return self
