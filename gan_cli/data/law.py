"""Checks of every data set, plug-ins included, once when it is built.

Without them, an invalid data set would fail far away from the cause, or result in wrong but
plausible numbers.
"""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.kinds import kind_of
from gan_cli.data.spec import Spec
from gan_cli.errors import UserError, on_one_line

log = logging.getLogger(__name__)

SPLITS = {"train": "training", "heldout": "held-out"}  # adjectives for messages


def check(dataset: Any, name: str) -> None:
    """Raise UserError for the first rule that the data set called `name` violates.

    - `train` and `heldout` have the same fields: tensors with one row for each sample, at least one
      sample, and equal types and shapes of rows in both splits.
    - There is a field `x`, unless the kind of data has no samples. A decoded one is float32 and has
      the shape in the specification.
    - Labels (`y`, and `y_b` of a second domain) are whole numbers from 0 to classes - 1.
    - Numbers are finite.

    A class without a training sample causes a warning, and so do values outside [-1, 1] if the
    specification says that samples are bounded.
    """
    for violation in _violations(dataset):
        raise UserError(f"data={name}: {on_one_line(violation)}.")
    _warn_of_empty_classes(dataset, name)
    _warn_of_wide_ranges(dataset, name)


def _violations(dataset: Any) -> Iterator[str]:
    """Descriptions of violated rules.

    Only the first one is reliable: the checks after it may rely on the violated rule.
    """
    if not isinstance(dataset, Dataset):
        yield "is no data set; derive its class from gan_cli.data.dataset.Dataset"
    if missing := [name for name in ("spec", *SPLITS) if not hasattr(dataset, name)]:
        yield f"its class sets no {missing[0]}"
    yield from _of_spec(dataset.spec)
    for split, adjective in SPLITS.items():
        fields = getattr(dataset, split)
        yield from _of_fields(fields, dataset.spec, adjective)
        yield from _of_labels(fields, dataset.spec, adjective)
        yield from _of_choices(fields, dataset.spec, adjective)
        yield from _of_numbers(fields, adjective)
    yield from _of_differences(dataset.train, dataset.heldout)
    yield from _of_sample(dataset)
    if dataset.has_world != (dataset.world is not None):
        yield f"its class says has_world = {dataset.has_world}, and its world is {dataset.world}"
    for name in ("flip", "jitter"):
        if getattr(dataset, name) and not kind_of(dataset.spec).mirrors:
            yield f"{name} is for images, and these are {dataset.spec.kind}"


def _of_spec(spec: Spec) -> Iterator[str]:
    yield from kind_of(spec).violations(spec)
    if spec.names and len(spec.names) != spec.classes:
        yield f"its spec has {len(spec.names)} names for {spec.classes} classes"


def _of_fields(fields: Fields, spec: Spec, split: str) -> Iterator[str]:
    if not isinstance(fields, dict) or not fields:
        yield f"its {split} data is no dictionary of fields"
    if kind_of(spec).sampled and "x" not in fields:
        yield f"its {split} data is no dictionary of fields with x among them"
    for name, values in fields.items():
        if not isinstance(values, Tensor) or not values.dim():
            yield (
                f"{name} of its {split} data is no tensor with a row for each sample, but "
                f"{type(values).__name__}"
            )
    counts = {name: len(values) for name, values in fields.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} of {name}" for name, count in counts.items())
        yield f"its {split} fields are not equally long: {listed}"
    if 0 in counts.values():
        yield f"there is no {split} sample"


def _of_labels(fields: Fields, spec: Spec, split: str) -> Iterator[str]:
    if not spec.classes:
        return
    if "y" not in fields:
        yield f"its spec says {spec.classes} classes, but its {split} data has no labels y"
    for name, y in fields.items():
        if name.split("_")[0] != "y":
            continue

        if y.dim() != 1 or y.dtype != torch.int64:
            yield (
                f"its {split} labels {name} are {_type_and_shape(y)}; expected one int64 number a "
                "sample"
            )
        least, most = (int(value) for value in y.aminmax())
        if least < 0 or most >= spec.classes:
            yield (
                f"its {split} labels {name} lie between {least} and {most}, but with "
                f"{spec.classes} classes they are 0 to {spec.classes - 1}"
            )


def _of_choices(fields: Fields, spec: Spec, split: str) -> Iterator[str]:
    for name, field in spec.fields.items():
        if not field.size or name not in fields:
            continue
        if fields[name].is_floating_point():
            yield f"its {split} {name} are {_type_and_shape(fields[name])}; expected whole numbers"
        least, most = (int(value) for value in fields[name].aminmax())
        if least < 0 or most >= field.size:
            yield (
                f"its {split} {name} lie between {least} and {most}, but its spec says 0 to "
                f"{field.size - 1}"
            )


def _of_numbers(fields: Fields, split: str) -> Iterator[str]:
    for name, values in fields.items():
        if not values.is_floating_point() or values.isfinite().all():
            continue
        invalid = int((~values.isfinite()).reshape(len(values), -1).any(dim=1).sum())
        yield (
            f"{name} of its {split} data is not finite in {invalid} of {len(values)} samples; mend "
            "or leave out these"
        )


def _of_differences(train: Fields, heldout: Fields) -> Iterator[str]:
    if train.keys() != heldout.keys():
        yield (
            f"its training data has the fields {', '.join(train)}, its held-out data "
            f"{', '.join(heldout)}"
        )
    for name, values in train.items():
        if (values.shape[1:], values.dtype) != (heldout[name].shape[1:], heldout[name].dtype):
            yield (
                f"{name} is {_type_and_shape(values)} in its training data and "
                f"{_type_and_shape(heldout[name])} in its held-out data"
            )


def _of_sample(dataset: Dataset) -> Iterator[str]:
    sample = dataset.decode({name: values[:1] for name, values in dataset.train.items()})
    for name, field in dataset.spec.fields.items():
        if name in sample and tuple(sample[name].shape[1:]) != tuple(field.shape):
            yield (
                f"its {name} are of shape {tuple(sample[name].shape[1:])}, but its spec says "
                f"{tuple(field.shape)}"
            )
    if "x" not in sample:
        return
    x = sample["x"]
    if tuple(x.shape[1:]) != tuple(dataset.spec.shape):
        yield (
            f"its samples are of shape {tuple(x.shape[1:])}, but its spec says "
            f"{tuple(dataset.spec.shape)}"
        )
    if x.dtype != torch.float32:
        yield (
            f"its samples are {_type_and_shape(x)} once they are decoded; expected float32 "
            "(x.float())"
        )


def _warn_of_empty_classes(dataset: Dataset, name: str) -> None:
    if dataset.spec.classes:
        (empty,) = torch.where(
            torch.bincount(dataset.train["y"], minlength=dataset.spec.classes) == 0
        )
        known = dataset.spec.names or [str(label) for label in range(dataset.spec.classes)]
        if len(empty):
            named = ", ".join(on_one_line(known[label]) for label in empty.tolist())
            log.warning(
                "data=%s: no training sample is of class %s; nothing can be learnt of it",
                name,
                named,
            )


def _warn_of_wide_ranges(dataset: Dataset, name: str) -> None:
    x = dataset.train.get("x")
    if x is None or not dataset.spec.bounded or not x.is_floating_point():
        return
    least, most = (float(value) for value in x.aminmax())
    if least < -1 or most > 1:
        log.warning(
            "data=%s: its values lie between %.4g and %.4g, but its spec says that they lie in "
            "[-1, 1], beyond which a generator makes none; scale them, or say bounded=False",
            name,
            least,
            most,
        )


def _type_and_shape(values: Tensor) -> str:
    """Description of the type and the shape of a row."""
    shape = f" of shape {tuple(values.shape[1:])}" if values.dim() > 1 else ""
    return f"{str(values.dtype).removeprefix('torch.')}{shape}"
