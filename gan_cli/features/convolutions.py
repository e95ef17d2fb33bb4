"""A network of convolutions whose weights are drawn and stay as they are."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.data.dataset import Dataset
from gan_cli.errors import UserError
from gan_cli.features.base import Features
from gan_cli.metrics.classifier import load_or_train
from gan_cli.registry import Count, features


class Stages(nn.Module):
    """Modules one after the other, each of which gives features."""

    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


@features.register("random")
class RandomConvolutions(Features):
    """Convolutions with random weights, which keep what is near what; no file is needed.

    Args:
        width: channels of the first convolution; each further one has twice as many.
        depth: convolutions; each but the first halves the sides.
        draw: seed of the weights, apart from that of the run.
    """

    def __init__(
        self,
        width: Count = 32,
        depth: Annotated[int, Ge(1), Le(6)] = 3,
        draw: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.width, self.depth, self.draw = width, depth, draw

    def build(self, dataset: Dataset) -> nn.Module:
        random, stages = noise.generator("features", self.draw), []
        channels = dataset.spec.shape[0]
        for i in range(self.depth):
            width = self.width * 2**i
            convolution = nn.Conv2d(channels, width, 3, stride=2 if i else 1, padding=1)
            scale = (2 / (9 * channels)) ** 0.5
            with torch.no_grad():
                convolution.weight.copy_(
                    scale * torch.randn(convolution.weight.shape, generator=random)
                )
                nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            stages.append(nn.Sequential(convolution, nn.LeakyReLU(0.2)))
            channels = width
        return Stages(stages)

    def describe(self) -> str:
        return f"{self.depth} random convolutions, drawn by seed {self.draw}"


@features.register("classifier")
class ClassifierFeatures(Features):
    """The layers of the classifier that scores are computed by, trained on the classes of the data.

    It is trained once and kept in the cache. Where classes of others judge the samples (drawn
    faces, captions), it learns from yet others than those of the scores.
    """

    def build(self, dataset: Dataset) -> nn.Module:
        if dataset.judged:
            dataset = dataset.judge("features")
        if not dataset.classifiable:
            raise UserError(
                "features=classifier: learns from classes, and this data has none, or too few "
                "held-out samples; take features=random."
            )
        layers = [*load_or_train(dataset, torch.device("cpu")).features.children()]
        return Stages([nn.Sequential(*layers[i:j]) for i, j in ((0, 2), (2, 4), (4, None))])

    def describe(self) -> str:
        return "the classifier of the scores, trained on this data"
