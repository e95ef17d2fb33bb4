"""An adversarial autoencoder that learns classes from a few labels."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_cli.codes import drawn_classes
from gan_cli.data.dataset import Spec
from gan_cli.data.decoded import parts
from gan_cli.errors import UserError
from gan_cli.game import Columns, Fields, Terms, player
from gan_cli.games.aae import AAE
from gan_cli.networks.layers import one_hot
from gan_cli.registry import Count, games


@games.register("semi_supervised_aae")
class SemiSupervisedAAE(AAE):
    """The encoder outputs a class beside the code, with an adversary for each; the classes of a few
    samples are known.

    Reference: Makhzani et al., 2016, arXiv 1511.05644, section 2.4 and figure 8.

    Args:
        E: encoder, (N, *shape) -> (N, classes + latent): logits of the class, and the code.
        D: of codes; D_y: of classes, one-hot or as E's softmax.
        labels_per_class: labelled training samples of each class, chosen by the seed.
    """

    needs_labels: ClassVar[bool] = True
    learns_unlabelled: ClassVar[bool] = True
    roles: ClassVar[dict[str, str]] = {
        "E": "encoder", "G": "generator", "D": "discriminator", "D_y": "discriminator"
    }  # fmt: skip
    order: ClassVar[tuple[str, ...]] = ("reconstruction", "discriminator", "encoder", "classifier")
    objectives: ClassVar[tuple[str, ...]] = (
        "test_error", "reconstruction_error", "reconstruction_ratio", "neighbour_accuracy",
    )  # fmt: skip
    lower_is_better: ClassVar[tuple[str, ...]] = (
        "test_error",
        "reconstruction_error",
        "reconstruction_ratio",
    )

    def __init__(
        self, D_y: nn.Module, spec: Spec, labels_per_class: Count = 10, **aae: Any
    ) -> None:
        super().__init__(**aae)
        self.D_y, self.K = D_y, spec.classes

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        if not spec.classes:
            raise UserError(
                f"model.name={options['name']}: needs labelled data; take data=digits or "
                "data=mnist."
            )
        usual, width = super().shapes(spec, options), spec.classes + options["latent"]
        return {
            "E": {**usual["E"], "outputs": width},
            "G": {**usual["G"], "latent": width},
            "D": usual["D"],
            "D_y": {**usual["D"], "shape": (spec.classes,)},
        }

    @player(moves="D D_y")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        with torch.no_grad():
            y, codes = self.named(x)
        z, law = self.prior(len(x)), self.categories(len(x))
        return {
            "adversarial": self.loss.discriminator(*self.score(self.D, z, codes)),
            "adversarial_class": self.loss.discriminator(*self.score(self.D_y, law, y)),
            **self._constraint(z, codes),
        }

    @player(moves="E")
    def encoder(self, x: Tensor, *given: Tensor) -> Terms:
        y, codes = self.named(x)
        return {
            "adversarial": self.adversarial
            * self.loss.generator(self.D(codes), self.D(self.prior(len(x)))),
            "adversarial_class": self.adversarial
            * self.loss.generator(self.D_y(y), self.D_y(self.categories(len(x)))),
        }

    @player(moves="E")
    def classifier(self, x_labelled: Tensor, y_labelled: Tensor) -> Terms:
        return {"labelled": cross_entropy(self.E(x_labelled)[:, : self.K], y_labelled)}

    def named(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The class of samples as a softmax, (N, K), and their codes, (N, latent)."""
        logits, codes = self.E(x).tensor_split([self.K], dim=1)
        return logits.softmax(dim=1), self.around(codes)

    def categories(self, n: int, source: torch.Generator | None = None) -> Tensor:
        """n classes, evenly drawn, as one-hot rows."""
        return one_hot(drawn_classes(self.K, n, source, self.prior.device.device), self.K)

    def encode(self, x: Tensor) -> Tensor:
        return self.named(x)[1]

    def reconstruct(self, x: Tensor, *given: Tensor) -> Tensor:
        return self.G(torch.cat(self.named(x), dim=1))

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        return self.G(self.latents(len(x)))

    def columns(self) -> list[Columns]:
        return [Columns("class", self.K, "one-hot", self.categories), *super().columns()]

    @torch.no_grad()
    def scores(self, heldout: Fields) -> dict[str, float]:
        """Those of an adversarial autoencoder, and test_error of the class that the encoder names,
        over all samples."""
        wrong = [
            self.named(part["x"])[0].argmax(dim=1) != part["y"]
            for part in parts(heldout, self.chunk_size)
        ]
        return {**super().scores(heldout), "test_error": float(torch.cat(wrong).float().mean())}
