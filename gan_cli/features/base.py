"""The base of all features, and `none`."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_cli.data.dataset import Dataset
from gan_cli.errors import UserError, on_one_line
from gan_cli.registry import features


class Features:
    """Features of samples by a network that nobody trains.

    The network is none of the game's: it is in no checkpoint, and samples are rendered without it.
    It is loaded where a game is trained, or scored by scores of its own.

    Attributes:
        kinds: the kinds of data that it takes, a literal.
        used: whether there are any, a literal.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    used: ClassVar[bool] = True

    def load(self, dataset: Dataset, device: torch.device) -> None:
        """Make the network ready for samples of this data, and try it on two of them.

        Raises:
            UserError: its weights are not there or not those of the network, or it does not take
                such samples.
        """
        self.network = self.build(dataset).to(device).eval().requires_grad_(False)
        x = dataset.sample_x(dataset.heldout, 2).to(device)
        try:
            with torch.no_grad():
                layers = self(x)
        except RuntimeError as error:
            raise UserError(
                f"features: {self.describe()} takes no samples of {dataset.spec.shape} "
                f"({on_one_line(str(error)):.200}); take other layers, larger images, or "
                "features=random."
            ) from None
        if not layers or any(len(layer) != len(x) for layer in layers):
            raise UserError(
                f"features: {self.describe()} gives no list of tensors with a row a sample."
            )

    def build(self, dataset: Dataset) -> nn.Module:
        """The network with its weights: (n, *shape) -> a sequence of features, (n, ...) each."""
        raise NotImplementedError

    def describe(self) -> str:
        """The network in a few words, for the log of a run."""
        raise NotImplementedError

    def __call__(self, x: Tensor) -> list[Tensor]:
        """The features of samples, from the first layer to the last; gradients flow through."""
        return list(self.network(x.float()))

    def distance(self, samples: Tensor, targets: Tensor) -> Tensor:
        """Mean absolute difference of the features of samples and those of targets, each layer
        with the same weight; no gradient flows to the targets."""
        with torch.no_grad():
            wanted = self(targets)
        return self.distances(self(samples), wanted).mean()

    @staticmethod
    def distances(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Mean absolute difference of the features of each sample and others, (n,)."""
        pairs = zip(found, wanted, strict=True)
        each = [(mine - theirs).abs().flatten(1).mean(dim=1) for mine, theirs in pairs]
        return torch.stack(each).mean(dim=0)

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "Features":
        """Itself: a game and its average share it."""
        return self


@features.register("none")
class NoFeatures(Features):
    """No features."""

    used: ClassVar[bool] = False

    def load(self, dataset: Dataset, device: torch.device) -> None:
        """Nothing is needed."""
