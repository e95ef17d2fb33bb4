"""Autoencoders whose codes an adversary compares with a prior."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Spec
from gan_cli.game import Fields, Terms, in_parts, player
from gan_cli.games.conditional import Labelled
from gan_cli.games.encoders import Encoding, scored
from gan_cli.networks.offers import likely
from gan_cli.registry import NonNegative, Positive, games


@games.register("aae")
class AAE(Encoding):
    """An autoencoder E, G, whose codes D cannot distinguish from the prior.

    Reference: Makhzani et al., 2016, "Adversarial Autoencoders", arXiv 1511.05644, section 2 and
    figure 1: first the reconstruction, then D, then E against D.

    Args:
        E: encoder, (N, *shape) -> (N, latent).
        D: of codes, (N, latent) -> (N,).
        adversarial: weight of E's adversarial term; 0 is a plain autoencoder.
        spread: in training q(z|x) is a Gaussian of this deviation around E(x); 0 is the paper's
            deterministic encoder.
        prior_deviation: what the numbers of the prior are multiplied by: the standard deviation of
            the normal one, 5 in the paper.
    """

    order: ClassVar[tuple[str, ...]] = ("reconstruction", "discriminator", "encoder")
    augments: ClassVar[bool] = False  # D sees codes

    def __init__(
        self,
        adversarial: NonNegative = 1.0,
        spread: NonNegative = 0.0,
        prior_deviation: Positive = 1.0,
        **encoding: Any,
    ) -> None:
        super().__init__(**encoding)
        self.adversarial, self.spread = adversarial, spread
        self.prior.deviation = prior_deviation

    def encode(self, x: Tensor) -> Tensor:
        return self.around(super().encode(x))

    def around(self, codes: Tensor) -> Tensor:
        """Samples of q(z|x) around these codes in training; the codes themselves otherwise."""
        if not (self.spread and self.training):
            return codes
        return codes + self.spread * noise.rows(torch.randn, *codes.shape, device=codes.device)

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        usual = super().shapes(spec, options)
        return {**usual, "D": {**usual["D"], "shape": (options["latent"],)}}

    @player(moves="E G")
    def reconstruction(self, x: Tensor, *given: Tensor) -> Terms:
        return {"error": self.error(x, *given)}

    def error(self, x: Tensor, *given: Tensor) -> Tensor:
        """Reconstruction loss: mean squared error, or for sequences nats per character."""
        if not hasattr(self.G, "log_likelihood"):
            return (self.reconstruct(x, *given) - x).square().mean()
        return -likely(self.G).log_likelihood(self.encode(x), x).mean() / x.shape[2]

    @player(moves="D")
    def discriminator(self, x: Tensor, *given: Tensor) -> Terms:
        with torch.no_grad():
            codes = self.encode(x)
        z = self.prior(len(x))
        scores = self.score(self.D, z, codes)
        return {"adversarial": self.loss.discriminator(*scores), **self._constraint(z, codes)}

    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        """No turn of its own: the generator is the decoder."""
        raise NotImplementedError

    @player(moves="E")
    def encoder(self, x: Tensor, *given: Tensor) -> Terms:
        real = self.D(self.prior(len(x))) if self.loss.uses_real else None
        return {"adversarial": self.adversarial * self.loss.generator(self.D(self.encode(x)), real)}

    def _constraint(self, z: Tensor, codes: Tensor) -> Terms:
        return self.regularizer(self.D, z, codes) if self.due else {}

    def diagnostics(self, seen: Fields, unseen: Fields) -> dict[str, Tensor]:
        """D's accuracy on codes and prior, and the distribution of the codes."""
        with torch.no_grad():
            z = self.prior(len(seen["x"]))
            codes = self.encode(seen["x"])
            new = self.encode(unseen["x"])
            real, fake, heldout = (self.D(part) for part in (z, codes, new))
            error = self.error(unseen["x"], *(unseen[name] for name in self.condition))
        return {
            "discriminator/score_gap": real.mean() - fake.mean(),
            "discriminator/score_gap_heldout": real.mean() - heldout.mean(),
            "codes/mean": codes.mean(dim=0).abs().max(),
            "codes/deviation": codes.std(dim=0).mean(),
            "reconstruction/heldout": error,
            "scores/real": real,
            "scores/fake": fake,
        }

    def how_to_read(self) -> str:
        return (
            "discriminator/score_gap: how D tells the prior from codes, about 0 where it cannot; "
            "reconstruction/heldout: mean squared error, of strings nats a character; codes/mean "
            "and codes/deviation should come to the prior's."
        )

    @torch.no_grad()
    def scores(self, heldout: Fields) -> dict[str, float]:
        """Those of an encoder, and latent_accuracy: a classifier's, of held-out codes against the
        prior; 0.5 is best."""
        codes = in_parts(self.encode, scored(heldout)["x"], rows=self.chunk_size)
        random = noise.generator("latent accuracy")
        z = self.prior(len(codes), random).to(codes)
        return {**super().scores(heldout), "latent_accuracy": told_apart(z, codes)}


@games.register("labelled_aae")
class LabelledAAE(Labelled, AAE):
    """An adversarial autoencoder whose decoder takes the class, so that the code is the style.

    Reference: Makhzani et al., 2016, arXiv 1511.05644, section 2.3 and figure 6.
    """

    needs_labels: ClassVar[bool] = True


def told_apart(a: Tensor, b: Tensor) -> float:
    """Held-out accuracy of a logistic regression on coordinates and their products, two halves in
    turn."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    x = torch.cat([a, b]).double().cpu().numpy()
    y = [0] * len(a) + [1] * len(b)
    degree = 2 if x.shape[1] <= 20 else 1
    judge = make_pipeline(
        StandardScaler(), PolynomialFeatures(degree), LogisticRegression(max_iter=1000)
    )
    return float(cross_val_score(judge, x, y, cv=2).mean())
