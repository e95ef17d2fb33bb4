"""Networks of torchvision that were trained on ImageNet."""

import hashlib
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_cli.data.dataset import Dataset
from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.features.base import Features
from gan_cli.reading.weights import downloaded, kept
from gan_cli.registry import Count, features

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels


@features.register("torchvision")
class Pretrained(Features):
    """Layers of a network of torchvision, VGG16 by default.

    The default layers are relu1_2, relu2_2, relu3_3 and relu4_3, those of Johnson et al., 2016,
    "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", arXiv 1603.08155.

    Args:
        network: its name in torchvision, such as vgg19.
        layers: names of its modules, whose outputs are the features.
        weights_file: a file of its weights; null takes torchvision's own, which are downloaded
            where they are not in torch's cache.
        side: images are enlarged to this side; null leaves them.
    """

    def __init__(
        self,
        network: str = "vgg16",
        layers: list[str] | None = None,
        weights_file: str | None = None,
        side: Count | None = None,
    ) -> None:
        self.name, self.side, self.weights_file = network, side, weights_file
        self.layers = layers or ["features.3", "features.8", "features.15", "features.22"]
        self.source = ""

    def build(self, dataset: Dataset) -> nn.Module:
        from torchvision.models.feature_extraction import create_feature_extractor

        model = self._model()
        known = [name for name, _ in model.named_modules() if name]
        if wrong := [name for name in self.layers if name not in known]:
            raise UserError(
                f"features.layers=[{wrong[0]}]: {self.name} has no such "
                f"module{closest(wrong[0], known)}."
            )
        self._load_weights(model)
        extractor = create_feature_extractor(model.eval(), self.layers)
        return _OfImageNet(extractor, self.side)

    def describe(self) -> str:
        return f"{self.name} of torchvision, {self.source}: {', '.join(self.layers)}"

    def _model(self) -> nn.Module:
        from torchvision import models

        known = models.list_models(module=models)
        if self.name not in known:
            raise UserError(
                f"features.network={self.name}: no network of torchvision"
                f"{closest(self.name, known)}."
            )
        with torch.random.fork_rng():
            model: nn.Module = models.get_model(self.name, weights=None)
        return model

    def _load_weights(self, model: nn.Module) -> None:
        remedy = "name it by features.weights_file=FILE, or take features=random"
        path = (
            Path(self.weights_file).expanduser()
            if self.weights_file
            else downloaded(self.name, "features=torchvision", remedy)
        )
        said = f"features.weights_file={path}"
        if not path.is_file():
            raise UserError(f"{said}: no such file.")
        try:
            model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, OSError, EOFError, ValueError, TypeError, AttributeError,
                pickle.UnpicklingError) as error:  # fmt: skip
            reason = on_one_line(str(error).strip().split("\n")[0] or type(error).__name__)
            raise UserError(
                f"{said}: not the weights of torchvision's {self.name} ({reason:.200}); take the "
                "file that it downloads."
            ) from None
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        self.source = f"{path.name} (SHA-256 {digest}...)"

    @property
    def at_hand(self) -> bool:
        """Whether the weights need no download. A file that is named is, even if it is missing."""
        if self.weights_file:
            return True
        self._model()  # refuses an unknown network
        return kept(self.name)[0].is_file()


class _OfImageNet(nn.Module):
    """Images in [-1, 1] of one or three channels, as networks for ImageNet see them."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, extractor: nn.Module, side: int | None) -> None:
        super().__init__()
        self.extractor, self.side = extractor, side
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = (x.expand(-1, 3, -1, -1) + 1) / 2
        if self.side:
            x = interpolate(x, size=(self.side, self.side), mode="bilinear", antialias=True)
        return list(self.extractor((x - self.mean) / self.deviation).values())
