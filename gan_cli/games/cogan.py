"""Two coupled games, whose shared layers learn what two domains without pairs have in common."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_cli.data.dataset import Spec
from gan_cli.data.decoded import parts
from gan_cli.data.derived import MAPS
from gan_cli.data.kinds import kind_of
from gan_cli.errors import UserError
from gan_cli.game import Direction, Fields, Terms, Turn, in_parts, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.networks.layers import feature_size, tie
from gan_cli.networks.offers import featured
from gan_cli.registry import NonNegative, games


@games.register("cogan")
class CoGAN(TwoPlayer):
    """G, D play for domain a and G_b, D_b for domain b, from the same z; the generators share all
    but their last layer, the discriminators all but their first.

    Reference: Liu and Tuzel, 2016, "Coupled Generative Adversarial Networks", arXiv 1606.07536,
    equation 2. The batch holds `x` and `x_b`, which do not belong together (data=two_domains).

    Args:
        share: whether layers are shared; without it pairs have nothing in common but z.
        classify: weight of the classes of domain a, named by a head C on D's features: D_b's
            accuracy on domain b is what was adapted (section 5).
        align: weight of the squared distance between D's features of G(z) and D_b's of G_b(z), as
            in the authors' code for adaptation.
    """

    needs_labels: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True
    roles: ClassVar[dict[str, str]] = {
        "G": "generator", "G_b": "generator", "D": "discriminator", "D_b": "discriminator",
    }  # fmt: skip
    averaged: ClassVar[tuple[str, ...]] = ("G", "G_b")
    directions: ClassVar[dict[str, Direction]] = {"b": Direction("x_b")}
    objectives: ClassVar[tuple[str, ...]] = (
        "agreement",
        "pixel_agreement",
        "target_accuracy",
        "source_accuracy",
    )

    def __init__(
        self,
        G_b: nn.Module,
        D: nn.Module,
        D_b: nn.Module,
        spec: Spec,
        share: bool = True,
        classify: NonNegative = 0.0,
        align: NonNegative = 0.0,
        **two_player: Any,
    ) -> None:
        super().__init__(D=D, **two_player)
        self.G_b = G_b
        self.D_b = D_b
        self.domain = spec.domain
        self.classify = classify
        self.align = align
        self.C = nn.Linear(feature_size(D), spec.classes)
        if share:
            tie(self.G, self.G_b, apart=-1)
            tie(self.D, self.D_b, apart=0)

    @player(moves="D D_b C")
    def discriminator(self, x: Tensor, y: Tensor, x_b: Tensor) -> Terms:
        z = self.prior(len(x))
        with torch.no_grad():
            fakes = self.G(z), self.G_b(z)
        terms: Terms = {}
        for name, D, real, fake in (("a", self.D, x, fakes[0]), ("b", self.D_b, x_b, fakes[1])):
            real, fake = self.T(real), self.T(fake)
            terms[f"adversarial_{name}"] = self.tell_apart(*self.score(D, real, fake))
            if self.due:
                terms |= {
                    f"{term}_{name}": value
                    for term, value in self.regularizer(D, real, fake).items()
                }
        features = featured(self.D).features(self.T(x))
        terms["class"] = self.classify * cross_entropy(self.C(features), y)
        if self.align:
            a, b = featured(self.D).features(fakes[0]), featured(self.D_b).features(fakes[1])
            terms["align"] = self.align * (a - b).square().sum(dim=1).mean()
        return terms

    @player(moves="G G_b")
    def generator(self, x: Tensor, x_b: Tensor) -> Terms:
        z = self.prior(len(x))
        terms: Terms = {}
        for name, G, D, data in (("a", self.G, self.D, x), ("b", self.G_b, self.D_b, x_b)):
            real = D(self.T(data)) if self.loss.uses_real else None
            terms[f"adversarial_{name}"] = self.loss.generator(D(self.T(G(z))), real)
        return terms

    def after_step(self, turn: Turn) -> None:
        for critic in (self.D, self.D_b):
            self.regularizer.project(critic)

    def render(self, latents: Tensor) -> Tensor:
        return self.G_b(latents) if self.direction else self.G(latents)

    def pairs(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Samples of both domains from the same latents."""
        return self.G(z), self.G_b(z)

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        if not spec.classes or not kind_of(spec).tiles:
            raise UserError(
                f"model={options['name']}: plays for two domains of labelled images; take "
                "data=two_domains."
            )
        return super().shapes(spec, options)

    @torch.no_grad()
    def scores(self, heldout: Fields) -> dict[str, float]:
        """Agreement of pairs, and accuracy of D_b on classes that only D has learned.

        - pixel_agreement: share of the pixels (light or dark) in which G_b(z) is what domain b
          shows of G(z); `_shuffled` is that of unrelated pairs; agreement: how far it is from there
          to 1.
        - target_accuracy: of C on D_b's features, on domain b; source_accuracy: on domain a;
          source_only_accuracy: of C on D's features, on domain b, as if nothing had to be adapted;
          scored_heldout: of how many samples.
        """
        told = {}
        if self.domain in MAPS:
            z = self.prior(SCORED)
            a, b = (in_parts(G, z, rows=self.chunk_size) for G in (self.G, self.G_b))
            shown = MAPS[self.domain](a) > 0
            related, unrelated = (
                float((shown == (other > 0)).float().mean()) for other in (b, b.roll(1, dims=0))
            )
            told = {
                "pixel_agreement": related,
                "pixel_agreement_shuffled": unrelated,
                "agreement": (related - unrelated) / max(1 - unrelated, 1e-9),
            }
        if self.classify:
            judged = {
                "source": (self.D, ""),
                "target": (self.D_b, "_b"),
                "source_only": (self.D, "_b"),
            }
            right: dict[str, list[Tensor]] = {name: [] for name in judged}
            for part in parts(heldout, self.chunk_size):
                for name, (D, domain) in judged.items():
                    guessed = self.C(featured(D).features(part[f"x{domain}"])).argmax(dim=1)
                    right[name].append(guessed == part[f"y{domain}"])
            told |= {
                f"{name}_accuracy": float(torch.cat(found).float().mean())
                for name, found in right.items()
            }
            told["scored_heldout"] = float(sum(map(len, right["source"])))
        return told


SCORED = 1000  # pairs that are scored
