"""The best features that can be had without a download."""

from torch import nn

from gan_cli.data.dataset import Dataset
from gan_cli.features.base import Features
from gan_cli.features.convolutions import ClassifierFeatures, RandomConvolutions
from gan_cli.features.pretrained import Pretrained
from gan_cli.registry import features


@features.register("auto")
class Auto(Features):
    """The first of these that can be had; the run says which:

    - a network of torchvision, where its weights are at hand: `weights_file`, or a file that torch
      keeps since it was downloaded (`features=torchvision` downloads it);
    - the classifier that scores are computed by, of data with classes;
    - random convolutions.

    Args:
        network, layers, weights_file: as those of `torchvision`; by default the last convolution of
            VGG19, which Ledig et al., 2017, arXiv 1609.04802, compare.
    """

    def __init__(
        self,
        network: str = "vgg19",
        layers: list[str] | None = None,
        weights_file: str | None = None,
    ) -> None:
        self.pretrained = Pretrained(network, layers or ["features.34"], weights_file)
        self.chosen: Features = self.pretrained

    def build(self, dataset: Dataset) -> nn.Module:
        if not self.pretrained.at_hand:
            shown = dataset.judge("features") if dataset.judged else dataset
            self.chosen = ClassifierFeatures() if shown.classifiable else RandomConvolutions()
        return self.chosen.build(dataset)

    def describe(self) -> str:
        return self.chosen.describe()
