"""What every data set must keep to, plug-ins included: it is checked once, where data sets are
built.

What breaks it would end in a traceback far away from its cause, or in numbers that look like any
others.
"""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.spec import Spec
from gan_cli.errors import UserError, on_one_line

log = logging.getLogger(__name__)

PARTS = {"train": "training", "heldout": "held-out"}


def check(dataset: Any, name: str) -> None:
    """Raise UserError with the first sentence that a data set called `name` gives cause for.

    - `train` and `heldout` are the same fields of tensors: as many rows of each, one at least, of
      one type and shape.
    - A decoded sample is float32 of the shape that the spec names.
    - Labels (`y`, and `y_b` of a second domain) are whole numbers from 0 to classes - 1.
    - Numbers are finite.

    A class without a training sample is a warning, and so are values outside [-1, 1] where the spec
    says otherwise.
    """
    for complaint in _complaints(dataset):
        raise UserError(f"data={name}: {on_one_line(complaint)}.")
    _warn_of_empty_classes(dataset, name)
    _warn_of_wide_ranges(dataset, name)


def _complaints(dataset: Any) -> Iterator[str]:
    if not isinstance(dataset, Dataset):
        yield "is no data set; derive its class from gan_cli.data.dataset.Dataset"
    if missing := [name for name in ("spec", *PARTS) if not hasattr(dataset, name)]:
        yield f"its class sets no {missing[0]}"
    yield from _about_spec(dataset.spec)
    for part, said in PARTS.items():
        fields = getattr(dataset, part)
        yield from _about_fields(fields, said)
        yield from _about_labels(fields, dataset.spec, said)
        yield from _about_numbers(fields, said)
    yield from _about_both(dataset.train, dataset.heldout)
    yield from _about_a_sample(dataset)
    if dataset.flip and dataset.spec.kind != "image":
        yield f"flip is for images, and these are {dataset.spec.kind}"


def _about_spec(spec: Spec) -> Iterator[str]:
    if spec.kind == "image" and len(spec.shape) != 3:
        yield f"its spec says images of shape {spec.shape}; expected (channels, height, width)"
    if spec.kind == "text" and spec.shape[:1] != (len(spec.vocabulary),):
        yield (
            f"its spec says texts of shape {spec.shape}; expected ({len(spec.vocabulary)} "
            "characters, length)"
        )
    if spec.names and len(spec.names) != spec.classes:
        yield f"its spec has {len(spec.names)} names for {spec.classes} classes"


def _about_fields(fields: Fields, said: str) -> Iterator[str]:
    if not isinstance(fields, dict) or "x" not in fields:
        yield f"its {said} data is no dictionary of fields with x among them"
    for name, values in fields.items():
        if not isinstance(values, Tensor) or not values.dim():
            yield (
                f"{name} of its {said} data is no tensor with a row for each sample, but "
                f"{type(values).__name__}"
            )
    counts = {name: len(values) for name, values in fields.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} of {name}" for name, count in counts.items())
        yield f"its {said} fields are not equally long: {listed}"
    if not counts["x"]:
        yield f"there is no {said} sample"


def _about_labels(fields: Fields, spec: Spec, said: str) -> Iterator[str]:
    if not spec.classes:
        return
    if "y" not in fields:
        yield f"its spec says {spec.classes} classes, but its {said} data has no labels y"
    for name, y in fields.items():
        if name.split("_")[0] != "y":
            continue
        if y.dim() != 1 or y.dtype != torch.int64:
            yield f"its {said} labels {name} are {_told(y)}; expected one int64 number a sample"
        least, most = (int(value) for value in y.aminmax())
        if least < 0 or most >= spec.classes:
            yield (
                f"its {said} labels {name} lie between {least} and {most}, but with "
                f"{spec.classes} classes they are 0 to {spec.classes - 1}"
            )


def _about_numbers(fields: Fields, said: str) -> Iterator[str]:
    for name, values in fields.items():
        if not values.is_floating_point() or values.isfinite().all():
            continue
        bad = int((~values.isfinite()).reshape(len(values), -1).any(dim=1).sum())
        yield (
            f"{name} of its {said} data is not finite in {bad} of {len(values)} samples; mend "
            "or leave out these"
        )


def _about_both(train: Fields, heldout: Fields) -> Iterator[str]:
    if train.keys() != heldout.keys():
        yield (
            f"its training data has the fields {', '.join(train)}, its held-out data "
            f"{', '.join(heldout)}"
        )
    for name, values in train.items():
        if (values.shape[1:], values.dtype) != (heldout[name].shape[1:], heldout[name].dtype):
            yield (
                f"{name} is {_told(values)} in its training data and {_told(heldout[name])} in "
                "its held-out data"
            )


def _about_a_sample(dataset: Dataset) -> Iterator[str]:
    x = dataset.decode({name: values[:1] for name, values in dataset.train.items()})["x"]
    if tuple(x.shape[1:]) != tuple(dataset.spec.shape):
        yield (
            f"its samples are of shape {tuple(x.shape[1:])}, but its spec says "
            f"{tuple(dataset.spec.shape)}"
        )
    if x.dtype != torch.float32:
        yield f"its samples are {_told(x)} once they are decoded; expected float32 (x.float())"


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
    x = dataset.train["x"]
    if not dataset.spec.bounded or not x.is_floating_point():
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


def _told(values: Tensor) -> str:
    """Type and shape of a row, in words."""
    shape = f" of shape {tuple(values.shape[1:])}" if values.dim() > 1 else ""
    return f"{str(values.dtype).removeprefix('torch.')}{shape}"
