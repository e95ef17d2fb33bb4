"""Games whose samples have a class, which one may ask for."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_cli.data.dataset import Spec
from gan_cli.errors import UserError
from gan_cli.game import Fields, Terms, player
from gan_cli.games.two_player import TwoPlayer, batch_statistics
from gan_cli.networks.conditional import Concatenated, Projected, told_shape
from gan_cli.networks.layers import feature_size
from gan_cli.registry import NonNegative, games


class Labelled(TwoPlayer):
    """Base: G is given a class beside z, by concatenation; a row to render is z and, as its last number, the class."""

    condition: ClassVar[tuple[str, ...]] = ("y",)

    def __init__(self, G: nn.Module, spec: Spec, **two_player: Any) -> None:
        super().__init__(G=Concatenated(G, spec.classes), **two_player)
        self.classes = spec.classes

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        if not spec.classes:
            raise UserError(
                f"model.name={options['name']}: needs labelled data, and this has no labels; take data=digits, "
                "data=mnist, or an image_folder with a folder for each class."
            )
        usual = super().shapes(spec, options)
        return {**usual, "G": {**usual["G"], "latent": options["latent"] + spec.classes}}

    def draw(self, generator: torch.Generator) -> Tensor:
        z = super().draw(generator)
        return torch.cat([z, torch.randint(self.classes, (1,), generator=generator)])

    def render(self, latents: Tensor) -> Tensor:
        return self.G(latents[:, :-1], self.labels_of(latents))

    def labels_of(self, latents: Tensor) -> Tensor:
        return latents[:, -1].long()

    def of_class(self, latents: Tensor, y: Tensor) -> Tensor:
        return torch.cat([latents[:, :-1], y[:, None].to(latents)], dim=1)


@games.register("conditional")
class Conditional(Labelled):
    """min_G max_D V(D, G), all given y: D judges pairs of a sample and its class.

    Reference: Mirza and Osindero, 2014, "Conditional Generative Adversarial Nets", arXiv 1411.1784. Any model of
    two players becomes conditional by a YAML of three lines, such as configs/model/wgan_gp_conditional.yaml.

    Args:
        labels: how D is given the class: `concat` as in the paper, or `projection` (Miyato and Koyama, 2018, arXiv
            1802.05637).
    """

    def __init__(
        self, D: nn.Module, spec: Spec, labels: Literal["concat", "projection"] = "concat", **labelled: Any
    ) -> None:
        given = Concatenated if labels == "concat" else Projected
        super().__init__(D=given(D, spec.classes), spec=spec, **labelled)

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        usual = super().shapes(spec, options)
        if options.get("labels") == "projection":
            return usual
        return {**usual, "D": {**usual["D"], "shape": told_shape(spec.shape, spec.classes)}}


@games.register("acgan")
class ACGAN(Labelled):
    """D says real or fake and, by a second head C on its features, which class; G wants C to see the class it is given.

    Reference: Odena et al., 2017, "Conditional Image Synthesis with Auxiliary Classifier GANs", arXiv 1610.09585,
    equations 2 and 3. WGAN-GP with an auxiliary classifier (Gulrajani et al., 2017, the authors' code for CIFAR-10) has
    classify_fake 0 and classify_generator 0.1.

    Args:
        classify_real, classify_fake: weights of the classes of real and fake samples in D's turn.
        classify_generator: weight of the class in G's turn.
    """

    def __init__(
        self,
        D: nn.Module,
        spec: Spec,
        classify_real: NonNegative = 1.0,
        classify_fake: NonNegative = 1.0,
        classify_generator: NonNegative = 1.0,
        **labelled: Any,
    ) -> None:
        super().__init__(D=D, spec=spec, **labelled)
        self.C = nn.Linear(feature_size(D), spec.classes)
        self.weights = {"real": classify_real, "fake": classify_fake, "generator": classify_generator}

    @player(moves="D C")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        (y,) = given
        x, x_fake = self.shown(x, y)
        (real, class_real), (fake, class_fake) = self.judge(x), self.judge(x_fake)
        return {
            "adversarial": self.loss.discriminator(real, fake),
            "class_real": self.weights["real"] * cross_entropy(class_real, y),
            "class_fake": self.weights["fake"] * cross_entropy(class_fake, y),
            **self.penalty(x, x_fake, y),
        }

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        (y,) = given
        fake, classes = self.judge(self.T(self.fakes(x, y)))
        real = self.value(self.T(x)) if self.loss.uses_real else None
        return {
            "adversarial": self.loss.generator(fake, real),
            "class": self.weights["generator"] * cross_entropy(classes, y),
        }

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """D's score, (N,), and C's logits, (N, classes)."""
        features = self.D.features(x)  # type: ignore[operator]
        return self.D.score(features), self.C(features)  # type: ignore[operator]

    def value(self, x: Tensor, *given: Tensor) -> Tensor:
        return self.D(x)

    def observe(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        with torch.no_grad(), batch_statistics(self.D):
            right = {
                "class/accuracy_heldout": (self.judge(self.T(unseen["x"]))[1], unseen["y"]),
                "class/accuracy_fake": (self.judge(self.T(self.fakes(seen["x"], seen["y"])))[1], seen["y"]),
            }
        told = {tag: (logits.argmax(dim=1) == y).float().mean() for tag, (logits, y) in right.items()}
        return {**super().observe(seen, unseen), **told}
