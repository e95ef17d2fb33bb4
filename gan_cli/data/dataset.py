"""Base class of all data sets: named fields of tensors for training and for the held-out set."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.data.kinds import Labels, kind_of
from gan_cli.data.resize import resized, resizing
from gan_cli.data.spec import Spec, class_names
from gan_cli.errors import UserError
from gan_cli.files import cache_folder
from gan_cli.former_names import accept_former_names
from gan_cli.registry import metrics
from gan_cli.worlds import World

Fields = dict[str, Tensor]
__all__ = [
    "FEW", "UNKNOWN", "Dataset", "Fields", "Spec", "cache_folder", "class_names", "count",
    "device_of", "fits", "installed", "resized", "resizing",
]  # fmt: skip
UNKNOWN = -1  # the label of a sample whose label is not kept
FEW = 20  # held-out samples below which the scores of a classifier mean nothing
DIGESTED = 1000  # samples of a split that enter its digest, about
FORMER_NAMES = {
    "available_metrics": "measured_by",
    "default_metrics": "scored_by",
    "digest": "mark",
    "rescale_like": "in_terms_of",
    "sample": "few",
    "sample_x": "some",
}
"""Members by their former names, which plug-ins written for an earlier version define and call."""


def installed(package: str | None) -> bool:
    """Whether an optional package can be imported; true if none is needed (None)."""
    return package is None or find_spec(package) is not None


def fits(fields: Fields, device: torch.device) -> bool:
    """Whether the fields take at most half of the device's free memory."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(values.numel() * values.element_size() for values in fields.values()) <= free // 2


def count(fields: Mapping[str, Tensor]) -> int:
    """Number of samples in a batch or a split: that of the rows of each field."""
    return len(next(iter(fields.values())))


def device_of(fields: Mapping[str, Tensor]) -> torch.device:
    """The device of a batch or a split."""
    return next(iter(fields.values())).device


def decoded(stored: Fields, spec: Spec) -> Fields:
    """Fields as the networks see them: bytes of `x` and of the spec's other fields as their kind
    says, most of them in [-1, 1]."""
    return {
        name: kind.decoded(values, described)
        if values.dtype == torch.uint8
        and (described := spec if name == "x" else spec.fields.get(name))
        and (kind := kind_of(described))
        else values
        for name, values in stored.items()
    }


class Dataset:
    """Base class of all data sets.

    Fields are stored compactly (uint8 for images) and decoded one batch at a time.

    The class attributes are read before torch is imported: `kind` decides what `network=auto`
    means, `metrics` are the default metrics of runs on this data, and `fields` are those that every
    batch has, so that a game without the data it needs is refused early.
    """

    kind: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    fields: ClassVar[tuple[str, ...]] = ("x",)
    # of a sample, where all data sets of the class have as many
    numbers: ClassVar[int | None] = None
    # whether the fields of a training row belong together
    aligned: ClassVar[bool] = True
    # whether it has a `world`, for games that act
    has_world: ClassVar[bool] = False
    spec: Spec
    train: Fields
    heldout: Fields
    flip: bool = False  # whether training also uses the mirror image of every image
    # by how much training enlarges images, as a fraction of the side, to cut them at a random place
    jitter: float = 0.0
    note: str = ""  # a sentence about the data that every run logs
    resizing: str = "none"  # description of how the images were resized
    paired: bool = True  # whether the fields of a held-out row belong together
    judged: bool = False  # whether its `judge()` gives labelled data for a classifier of samples
    # training samples whose labels are kept, for games that learn from few, and the label of every
    # training sample, UNKNOWN where it is not kept
    labelled: Fields | None = None
    y_known: Tensor | None = None
    world: World | None = None  # what answers to the actions of games that act

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        accept_former_names(cls, FORMER_NAMES)

    @property
    def default_metrics(self) -> list[str]:
        """The metrics in `metrics` that can be computed here.

        Needed are the metric's package and, for those that need them, `classifiable`, `paired` or
        `judged` data, or images that are label maps; some are for data that are not `judged`.
        """
        return self._computable(self.metrics)

    @property
    def available_metrics(self) -> list[str]:
        """The default metrics and, with enough held-out samples, all others for this kind."""
        others = [
            name
            for name, metric in metrics.components.items()
            if self.kind in metric.attributes.get("kinds", ())
        ]
        enough = count(self.heldout) >= FEW
        return self._computable(list(dict.fromkeys([*self.metrics, *(others if enough else [])])))

    @property
    def classifiable(self) -> bool:
        """Whether there are classes, and enough held-out samples to test a classifier on."""
        return self.spec.classes > 1 and count(self.heldout) >= FEW

    def judge(self, purpose: str = "scores") -> "Dataset":
        """Data with classes by which a classifier judges samples, of data that are `judged`; other
        data for another purpose, such as `features`."""
        raise NotImplementedError

    def _computable(self, names: Sequence[str]) -> list[str]:
        attributes = {name: metrics.component(name, "metrics").attributes for name in names}
        return [
            name
            for name in names
            if installed(attributes[name].get("needs_package"))
            and (self.classifiable or not attributes[name].get("needs_labels"))
            and (self.paired or not attributes[name].get("needs_truth"))
            and (self.spec.palette or not attributes[name].get("needs_palette"))
            and (self.judged or not attributes[name].get("needs_judge"))
            and not (self.judged and attributes[name].get("unless_judged"))
        ]

    def decode(self, stored: Fields) -> Fields:
        """A batch as the networks see it: float32, images in [-1, 1]; see `decoded`."""
        return decoded(stored, self.spec)

    def sample_x(self, fields: Fields, n: int, purpose: str = "scored") -> Tensor:
        """The decoded field `x` of at most n samples of a split; see `sample`."""
        return self.sample({"x": fields["x"]}, n, purpose)["x"]

    def sample(self, fields: Fields, n: int, purpose: str = "scored") -> Fields:
        """At most n samples of a split, decoded; the same purpose always draws the same ones."""
        rows = self.rows(fields, n, purpose)
        return self.decode({name: values[rows] for name, values in fields.items()})

    def rows(self, fields: Fields, n: int, purpose: str = "scored") -> Tensor:
        """Indices of the samples that `sample` draws."""
        order = torch.randperm(count(fields), generator=noise.generator(purpose))
        return order[:n].to(device_of(fields))

    @cached_property
    def digest(self) -> str:
        """A short digest of the data, by the numbers of samples and about a thousand of them."""
        digest = hashlib.sha256(self.spec.vocabulary.encode())
        for fields in (self.train, self.heldout):
            for name, values in sorted(fields.items()):
                subset = values[:: max(1, len(values) // DIGESTED)].cpu().contiguous().numpy()
                header = f"{name} {tuple(values.shape)} {values.dtype}".encode()
                digest.update(header + subset.tobytes())
        return digest.hexdigest()[:16]

    def seen_as(self, field: str) -> "Dataset":
        """The data with a field, such as `x_b`, in the place of `x`, and with its class, `y_b`, if
        there is one."""
        if field == "x":
            return self
        twin = copy.copy(self)
        vars(twin).pop("digest", None)
        twin.spec = self.spec.seen_as(field)
        label = f"y{field[1:]}"
        twin.train, twin.heldout = (
            {**fields, "x": fields[field]} | ({"y": fields[label]} if label in fields else {})
            for fields in (self.train, self.heldout)
        )
        return twin

    @property
    def concepts(self) -> tuple[str, ...]:
        """Names of what `masks` shows; empty if the data have no masks. By default those of the
        labels of a field of label maps."""
        name = self._label_maps()
        if name is None:
            return ()
        field = self.spec.fields[name]
        count = field.shape[0]
        return class_names(field.names, count) or tuple(f"label {i}" for i in range(count))

    def masks(self, split: Literal["train", "heldout"], rows: slice) -> Tensor:
        """Where images of a split show each of the `concepts`, (n, concepts, height, width) of
        truth values; a pixel may show several."""
        name = self._label_maps()
        assert name is not None  # there are concepts
        stored = {"train": self.train, "heldout": self.heldout}[split][name][rows]
        return self.decode({name: stored})[name].cpu() > 0.5

    def _label_maps(self) -> str | None:
        """The field of label maps of the images in `x`, pixel by pixel; None without any."""
        return next(
            (
                name
                for name, field in self.spec.fields.items()
                if isinstance(kind_of(field), Labels)
                and field.shape[1:] == self.spec.shape[1:]
                and self.aligned
                and self.paired
            ),
            None,
        )

    def rescale_like(self, spec: Spec) -> None:
        """Convert a table to the columns and units of a checkpoint, so that samples are comparable.

        Raises:
            UserError: the table lacks a column of the checkpoint.
        """
        if (
            self.spec.units
            and spec.units
            and (self.spec.units, self.spec.columns) != (spec.units, spec.columns)
        ):
            for fields in (self.train, self.heldout):
                fields["x"] = spec.adopted(self.spec.table(fields["x"]))
            self.spec = spec

    def keep_labels(self, per_class: int, seed: int) -> None:
        """Choose labelled samples at random; batches then have `x_labelled`, `y_labelled` and
        `y_known` too.

        Args:
            per_class: number of labelled training samples of each class; 0 keeps all labels.
            seed: decides which ones.

        Raises:
            UserError: a class has fewer samples.
        """
        if not per_class:
            self.labelled, self.y_known = self.train, self.train["y"]
            return

        order = torch.randperm(len(self.train["y"]), generator=noise.generator("labelled", seed))
        y = self.train["y"].cpu()[order]
        rows = [order[y == label][:per_class] for label in range(self.spec.classes)]

        if short := [label for label, chosen in enumerate(rows) if len(chosen) < per_class]:
            raise UserError(
                f"model.labels_per_class={per_class}: class {short[0]} has {len(rows[short[0]])} "
                "training samples only."
            )

        labelled = torch.cat(rows).to(self.train["x"].device)
        self.labelled = {name: values[labelled] for name, values in self.train.items()}
        self.y_known = torch.full_like(self.train["y"], UNKNOWN)
        self.y_known[labelled] = self.labelled["y"]

    def only_labelled(self) -> "Dataset":
        """The data as if the training samples whose labels are not kept did not exist."""
        twin = copy.copy(self)
        vars(twin).pop("digest", None)
        twin.train, twin.labelled, twin.y_known = self.labelled or self.train, None, None
        return twin

    def to(self, device: torch.device) -> "Dataset":
        """Move every field to the device, so that cutting a batch needs no copy from the host.

        Training data that takes more than half of the device's free memory stays where it is;
        `Batches` sends each batch instead.
        """
        if fits(self.train, device):
            self.train = {name: values.to(device) for name, values in self.train.items()}
        self.heldout = {name: values.to(device) for name, values in self.heldout.items()}
        return self


accept_former_names(Dataset, FORMER_NAMES)
