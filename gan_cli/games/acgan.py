"""A discriminator that also classifies samples."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_cli.data.dataset import Spec
from gan_cli.game import Fields, Terms, player
from gan_cli.games.conditional import Labelled
from gan_cli.games.two_player import batch_statistics
from gan_cli.networks.layers import feature_size
from gan_cli.networks.offers import featured
from gan_cli.registry import NonNegative, games


@games.register("acgan")
class ACGAN(Labelled):
    """D scores samples and classifies them by a second head C on its features; G learns samples
    that C assigns to their class.

    Reference: Odena et al., 2017, "Conditional Image Synthesis with Auxiliary Classifier GANs",
    arXiv 1610.09585, equations 2 and 3. WGAN-GP with an auxiliary classifier (Gulrajani et al.,
    2017, the authors' code for CIFAR-10) has classify_fake 0 and classify_generator 0.1.

    Args:
        classify_real, classify_fake: weights of the classes of real and fake samples in D's turn.
        classify_generator: weight of the class in G's turn.
    """

    needs_features: ClassVar[bool] = True

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
        self.weights = {
            "real": classify_real,
            "fake": classify_fake,
            "generator": classify_generator,
        }

    @player(moves="D C")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        (y,) = given
        x, x_fake = self.real_and_fake(x, y)
        (real, class_real), (fake, class_fake) = self.judge(x), self.judge(x_fake)
        return {
            "adversarial": self.tell_apart(real, fake),
            "class_real": self.weights["real"] * cross_entropy(class_real, y),
            "class_fake": self.weights["fake"] * cross_entropy(class_fake, y),
            **self.penalty(x, x_fake, y),
        }

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        (y,) = given
        fake, classes = self.judge(self.T(self.sample_fakes(x, y)))
        real = self.value(self.T(x)) if self.loss.uses_real else None
        return {
            "adversarial": self.loss.generator(fake, real),
            "class": self.weights["generator"] * cross_entropy(classes, y),
        }

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """D's score, (N,), and C's logits, (N, classes)."""
        features = featured(self.D).features(x)
        return featured(self.D).score(features), self.C(features)

    def value(self, x: Tensor, *given: Tensor) -> Tensor:
        return self.D(x)

    def diagnostics(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        with torch.no_grad(), batch_statistics(self.D):
            right = {
                "class/accuracy_heldout": (self.judge(self.T(unseen["x"]))[1], unseen["y"]),
                "class/accuracy_fake": (
                    self.judge(self.T(self.sample_fakes(seen["x"], seen["y"])))[1],
                    seen["y"],
                ),
            }
        told = {
            tag: (logits.argmax(dim=1) == y).float().mean() for tag, (logits, y) in right.items()
        }
        return {**super().diagnostics(seen, unseen), **told}
