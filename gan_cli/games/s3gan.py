"""A conditional game at scale that knows few labels: its discriminator names the others."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_cli import noise
from gan_cli.codes import drawn_classes
from gan_cli.data.dataset import UNKNOWN, Dataset, Spec
from gan_cli.data.decoded import Decoded, parts
from gan_cli.errors import UserError
from gan_cli.game import Fields, Terms, player
from gan_cli.games.biggan import BigGAN
from gan_cli.networks.layers import constrain, feature_size
from gan_cli.networks.offers import featured
from gan_cli.registry import NonNegative, games

ROTATIONS = 4  # by quarters of a turn
SCORED = 2000  # unlabelled training samples that are scored, at most


@games.register("s3gan")
class S3GAN(BigGAN):
    """BigGAN from few labels: a head C on D's features learns the classes of the labelled real
    samples and names those of the others for the projection; a head R tells how images are turned.

    Reference: Lucic et al., 2019, "High-Fidelity Image Generation With Fewer Labels", arXiv
    1903.02271, section 3 (S2GAN-CO; with rotations S3GAN-CO), and the authors' code. Rotations are
    those of Chen et al., 2019, arXiv 1811.11212.

    Args:
        predictor: weight of C's cross entropy on labelled samples; at 0 the classes of unlabelled
            ones are drawn at random (the paper's baseline).
        rotation: weight of R's cross entropy on real images, in D's turn; at 0 nothing is turned
            (S2GAN).
        rotation_generator: its weight on samples of G, in G's turn.
    """

    learns_unlabelled: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("unlabelled_accuracy", "test_error")
    lower_is_better: ClassVar[tuple[str, ...]] = ("test_error",)

    def __init__(
        self,
        D: nn.Module,
        spec: Spec,
        predictor: NonNegative = 1.0,
        rotation: NonNegative = 0.5,
        rotation_generator: NonNegative = 0.2,
        **biggan: Any,
    ) -> None:
        super().__init__(D=D, spec=spec, **biggan)
        self.predictor = predictor
        self.rotation, self.rotation_generator = rotation, rotation_generator
        self.C = nn.Linear(feature_size(D), spec.classes)
        self.R = nn.Linear(feature_size(D), ROTATIONS)
        for head in (self.C, self.R):
            constrain(head, self.critic_norm)
        self.unlabelled: Decoded | None = None

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        usual = super().shapes(spec, options)
        weight = options.get("rotation")
        if weight and (len(spec.shape) != 3 or spec.shape[1] != spec.shape[2]):
            raise UserError(
                f"model.rotation={weight}: turns square images by quarters, and these samples are "
                f"of shape {tuple(spec.shape)}; set model.rotation=0, or take square images."
            )
        return usual

    def attach(self, dataset: Dataset, device: torch.device) -> None:
        super().attach(dataset, device)
        self.unlabelled = _unlabelled(dataset)

    @player(moves="D C R")
    def discriminator(
        self, x: Tensor, y_known: Tensor, x_labelled: Tensor, y_labelled: Tensor
    ) -> Terms:
        n, y_fake = len(x), self.any_classes(len(x))
        x, x_fake = self.real_and_fake(x, y_fake)
        turned, quarters = turned_by_quarters(x[: n if self.rotation else 0])

        # one forward of all that D sees, since nothing couples the samples of a batch
        seen = torch.cat([x, x_fake, self.T(x_labelled), turned])
        features = featured(self.D).features(seen)
        real_and_fake, labelled, rotated = features.split([2 * n, n, len(turned)])
        guessed, named = self.C(torch.cat([features[:n].detach(), labelled])).split(n)

        y = self.completed(y_known, guessed)
        real, fake = featured(self.D).score(real_and_fake, torch.cat([y, y_fake])).split(n)
        return {
            "adversarial": self.tell_apart(real, fake),
            **weighted("predictor", self.predictor, named, y_labelled),
            **weighted("rotation", self.rotation, self.R(rotated), quarters),
            **self.penalty(x, x_fake, y),
        }

    @player(moves="G")
    def generator(self, x: Tensor, y_known: Tensor) -> Terms:
        n, y_fake = len(x), self.any_classes(len(x))
        x_fake = self.T(self.sample_fakes(x, y_fake))
        weight = self.rotation_generator if self.rotation else 0.0
        turned, quarters = turned_by_quarters(x_fake[: n if weight else 0])

        features = featured(self.D).features(torch.cat([x_fake, turned]))
        fake = featured(self.D).score(features[:n], y_fake)
        real = self._real_scores(self.T(x), y_known) if self.loss.uses_real else None
        return {
            "adversarial": self.loss.generator(fake, real),
            **weighted("rotation", weight, self.R(features[n:]), quarters),
            **self.orthogonality(),
        }

    def _real_scores(self, x: Tensor, y_known: Tensor) -> Tensor:
        features = featured(self.D).features(x)
        return featured(self.D).score(features, self.completed(y_known, self.C(features)))

    def any_classes(self, n: int) -> Tensor:
        """n classes, evenly drawn by the turn's own noise, (n,)."""
        return drawn_classes(self.classes, n, None, self.prior.device.device)

    def completed(self, y_known: Tensor, logits: Tensor) -> Tensor:
        """The class of each sample: its label where that is kept, else what C names, which has no
        gradient; (N,).

        Args:
            y_known: labels, `UNKNOWN` where they are not kept.
            logits: C's, (N, classes).
        """
        named = logits.argmax(dim=1) if self.predictor else self.any_classes(len(y_known))
        return torch.where(y_known == UNKNOWN, named, y_known)

    @torch.no_grad()
    def scores(self, heldout: Fields) -> dict[str, float]:
        """test_error: share of the held-out samples whose class C gets wrong.
        unlabelled_accuracy: share of the unlabelled training samples whose class it gets right;
        scored_unlabelled: how many there are, 2000 at most. rotation_accuracy: share of the
        held-out images, each turned in all four ways, of which R tells the rotation."""
        scores = {"test_error": 1 - self._right(heldout)}
        if self.unlabelled is not None:
            scores["unlabelled_accuracy"] = self._right(self.unlabelled)
            scores["scored_unlabelled"] = float(self.unlabelled.samples)
        if self.rotation:
            scores["rotation_accuracy"] = self._turns_told(heldout)
        return scores

    def _right(self, fields: Fields) -> float:
        """Share of samples whose class C gets right."""
        right = [
            self.C(self._features(part["x"])).argmax(dim=1) == part["y"].to(self.C.weight.device)
            for part in parts(fields, self.chunk_size)
        ]
        return float(torch.cat(right).float().mean())

    def _turns_told(self, fields: Fields) -> float:
        """Share of images, each turned in all four ways, of which R tells the rotation."""
        right = [
            self.R(self._features(part["x"].rot90(quarter, (2, 3)))).argmax(dim=1) == quarter
            for part in parts(fields, self.chunk_size)
            for quarter in range(ROTATIONS)
        ]
        return float(torch.cat(right).float().mean())

    def _features(self, x: Tensor) -> Tensor:
        return featured(self.D).features(x.to(self.C.weight.device))


def weighted(name: str, weight: float, logits: Tensor, y: Tensor) -> Terms:
    """The cross entropy as a term of that name; none where it has no weight."""
    return {name: weight * cross_entropy(logits, y)} if weight else {}


def turned_by_quarters(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each image turned by a drawn number of quarters, (N, C, S, S), and these numbers, (N,)."""
    drawn = noise.rows(torch.rand, len(x), 1, device=x.device)[:, 0]
    quarters = (ROTATIONS * drawn).long().clamp_max(ROTATIONS - 1)
    ways = torch.stack([x.rot90(quarter, (2, 3)) for quarter in range(ROTATIONS)])
    return ways[quarters, torch.arange(len(x), device=x.device)], quarters


def _unlabelled(dataset: Dataset) -> Decoded | None:
    """Training samples whose labels are not kept, 2000 at most; None where there are none. Of data
    of which no labels were kept, any training samples."""
    y = dataset.train.get("y")
    if y is None:
        return None
    hidden = dataset.y_known == UNKNOWN if dataset.y_known is not None else torch.ones_like(y) > 0
    rows = hidden.nonzero()[:, 0]
    if not len(rows):
        return None
    order = torch.randperm(len(rows), generator=noise.generator("unlabelled"))[:SCORED]
    rows = rows[order.to(rows.device)]
    return Decoded(dataset, {"x": dataset.train["x"][rows], "y": y[rows]})
