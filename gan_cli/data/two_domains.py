"""Unpaired images of two domains: `x` of the first one, `x_b` of the second one."""

from dataclasses import replace
from typing import ClassVar, Literal

import torch

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.derived import MAPS, original
from gan_cli.data.spec import Field
from gan_cli.errors import UserError
from gan_cli.registry import Count, datasets


@datasets.register("two_domains")
class TwoDomains(Dataset):
    """Images of a data set, and a second domain: negatives or edges of other images, or USPS.

    Reference: Liu and Tuzel, 2016, "Coupled Generative Adversarial Networks", arXiv 1606.07536,
    sections 3 and 5. The training images are cut into halves, one for each domain, so that no image
    is seen in both.

    Args:
        of: the data set of the first domain.
        domain: what the second domain shows of the images of its half; `usps` takes that set
            instead, in a frame like that of the first.
        image_size: of both, where the data set has it.
        root: folder above the files, as the data set has it.
        subset: the first so many training images of each domain only; null takes all.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "y", "x_b")
    metrics: ClassVar[tuple[str, ...]] = ("classifier", "patches")

    def __init__(
        self,
        of: Literal[
            "digits", "mnist", "fashion_mnist", "kmnist", "usps", "shapes", "cifar10", "svhn"
        ] = "digits",
        domain: Literal["negative", "edges", "usps"] = "negative",
        image_size: int | None = None,
        root: str | None = None,
        subset: Count | None = None,
    ) -> None:
        first = original(of, image_size, root)
        other = Field(first.spec.kind, first.spec.shape)
        self.spec = replace(first.spec, domain=domain, fields={"x_b": other})
        self.resizing = first.resizing
        if domain == "usps":
            self._pair_with_usps(first, of, image_size, root, subset)
        else:
            self._halve(first, of, domain, subset)

    def _pair_with_usps(
        self, first: Dataset, of: str, image_size: int | None, root: str | None, subset: int | None
    ) -> None:
        """Set the fields, with USPS as the second domain."""
        border = 3 if self.spec.shape[-1] == 28 else 5  # that of MNIST's digits
        options = {} if of in ("usps", "digits") else {"border": border}
        second = original("usps", image_size, root, **options)
        if second.spec.classes != self.spec.classes:
            raise UserError(
                f"data.domain=usps: has ten classes, and {of} in {root} has "
                f"{self.spec.classes}; take others."
            )
        if second.spec.shape != self.spec.shape:
            raise UserError(
                f"data.domain=usps: its images are {second.spec.shape}, those of {of} "
                f"{self.spec.shape}; set data.image_size=16."
            )

        subsets = [
            {name: values[:subset] for name, values in dataset.train.items()}
            for dataset in (first, second)
        ]
        self.train, self.heldout = _joined(*subsets), _joined(first.heldout, second.heldout)

    def _halve(self, first: Dataset, of: str, domain: str, subset: int | None) -> None:
        """Set the fields: half of the images for each domain, those of the second one mapped."""
        order = torch.randperm(len(first.train["x"]), generator=noise.generator("halves"))
        if len(order) < 2:
            raise UserError(
                f"data.of={of}: one training image cannot be cut into two halves; take more images."
            )

        half = min(len(order) // 2, subset or len(order))
        halves = [
            {name: values[rows] for name, values in first.train.items()}
            for rows in order.split(half)[:2]
        ]
        self.train = _joined(halves[0], {**halves[1], "x": MAPS[domain](halves[1]["x"])})
        self.heldout = _joined(
            first.heldout, {**first.heldout, "x": MAPS[domain](first.heldout["x"])}
        )
        self.note = f"data.domain={domain}: {half} training images in each domain, none in both"


def _joined(a: Fields, b: Fields) -> Fields:
    """Fields of both domains, those of the second with `_b`; samples of the smaller one repeat."""
    rows = max(len(a["x"]), len(b["x"]))
    first = {name: values[torch.arange(rows) % len(a["x"])] for name, values in a.items()}
    return first | {
        f"{name}_b": values[torch.arange(rows) % len(b["x"])] for name, values in b.items()
    }
