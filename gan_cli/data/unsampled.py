"""No data: for games that draw themselves whatever they play with."""

from typing import ClassVar

import torch

from gan_cli.data.dataset import Dataset
from gan_cli.data.spec import Spec
from gan_cli.registry import Count, datasets

HELD_OUT = 1000


@datasets.register("none")
class NoData(Dataset):
    """Rows that say nothing but their number, from 0 in both splits.

    Args:
        size: rows of an epoch; 1000 more are held out.
    """

    kind: ClassVar[str] = "none"
    metrics: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[tuple[str, ...]] = ("row",)

    def __init__(self, size: Count = 10_000) -> None:
        self.train, self.heldout = {"row": torch.arange(size)}, {"row": torch.arange(HELD_OUT)}
        self.spec = Spec("none", ())
