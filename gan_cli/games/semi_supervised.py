"""A classifier that also learns from samples without a label, and from those of a generator."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from gan_cli.data.dataset import Spec
from gan_cli.data.decoded import parts
from gan_cli.errors import UserError
from gan_cli.game import Fields, Terms, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.networks.offers import featured
from gan_cli.registry import Count, NonNegative, games


@games.register("semi_supervised")
class SemiSupervised(TwoPlayer):
    """D has K logits and a further one, fixed at 0, for fakes; G matches the mean of D's features.

    Reference: Salimans et al., 2016, "Improved Techniques for Training GANs", arXiv 1606.03498,
    sections 3.1 and 5, and the authors' code for MNIST. With Z = logsumexp of the K logits, P(real)
    = sigmoid(Z).

    Args:
        labels_per_class: labelled training samples of each class, chosen by the seed.
        unlabelled: weight of the samples without a label; 0 leaves the supervised classifier alone.
    """

    needs_labels: ClassVar[bool] = True
    learns_unlabelled: ClassVar[bool] = True
    roles: ClassVar[dict[str, str]] = {"G": "generator", "D": "classifier"}
    averaged: ClassVar[tuple[str, ...]] = ("G", "D")
    own_objective: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("test_error",)
    lower_is_better: ClassVar[tuple[str, ...]] = ("test_error",)

    def __init__(
        self, labels_per_class: Count = 10, unlabelled: NonNegative = 1.0, **two_player: Any
    ) -> None:
        super().__init__(**two_player)
        self.unlabelled = unlabelled

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        if not spec.classes:
            raise UserError(
                "model=sgan: needs labelled data, and this has no labels; take data=digits or "
                "data=mnist."
            )
        usual = super().shapes(spec, options)
        return {**usual, "D": {**usual["D"], "outputs": spec.classes}}

    @player(moves="D")
    def discriminator(self, x: Tensor, x_labelled: Tensor, y_labelled: Tensor) -> Terms:
        x, x_fake = self.real_and_fake(x)
        real, fake = self.score(self.value, x, x_fake)
        return {
            "labelled": cross_entropy(self.D(self.T(x_labelled)), y_labelled),
            "unlabelled": self.unlabelled * 0.5 * (softplus(-real).mean() + softplus(fake).mean()),
            **self.penalty(x, x_fake),
        }

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        fake = featured(self.D).features(self.T(self.sample_fakes(x))).mean(dim=0)
        real = featured(self.D).features(self.T(x)).mean(dim=0)
        return {"features": (fake - real).square().mean()}

    def batch_dependencies(self) -> list[str]:
        return [*super().batch_dependencies(), "the means of features"]

    def value(self, x: Tensor, *given: Tensor) -> Tensor:
        """The logit of being real: logsumexp of the logits of the K classes, against the 0 of
        fakes."""
        return self.D(x).logsumexp(dim=1)

    @torch.no_grad()
    def scores(self, heldout: Fields) -> dict[str, float]:
        """test_error: share of the held-out samples whose class D gets wrong; scored_heldout: how
        many there are."""
        wrong = torch.cat(
            [
                self.D(part["x"]).argmax(dim=1) != part["y"]
                for part in parts(heldout, self.chunk_size)
            ]
        )
        return {"test_error": float(wrong.float().mean()), "scored_heldout": float(len(wrong))}
