"""Images of what a text says."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_cli.data.spec import Spec
from gan_cli.errors import UserError
from gan_cli.game import Terms, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.networks.layers import feature_size
from gan_cli.networks.offers import featured
from gan_cli.registry import Count, NonNegative, games

Judged = Callable[[Tensor, Tensor], Tensor]


@games.register("gan_cls")
class GANCLS(TwoPlayer):
    """G makes an image of z and a caption; D says whether an image is real *and* shows what its
    caption says. It learns the second from real images with captions of others.

    Reference: Reed et al., 2016, "Generative Adversarial Text to Image Synthesis", arXiv
    1605.05396, Algorithm 1 (GAN-CLS) and equation 5 (GAN-INT). Each side reads captions by an
    encoder of its own, E and E_d, which learns with it. D's score is that of the image and that of
    the image's features with the caption's code, by a head M.

    Args:
        E, E_d: encoders of captions, of G and of D.
        wrong: weight of real images with wrong captions, beside 1 for made ones; 0 leaves them out.
        interpolation: weight of images that are made of the mean of two captions' codes (GAN-INT).
        code: width of the code of a caption.
    """

    condition: ClassVar[tuple[str, ...]] = ("t",)
    given: ClassVar[tuple[str, ...]] = ("t",)
    needs_features: ClassVar[bool] = True
    diverse: ClassVar[bool] = False
    roles: ClassVar[dict[str, str]] = {
        "G": "generator", "D": "discriminator", "E": "text_encoder", "E_d": "text_encoder",
    }  # fmt: skip
    averaged: ClassVar[tuple[str, ...]] = ("G", "E")

    def __init__(
        self,
        D: nn.Module,
        E: nn.Module,
        E_d: nn.Module,
        wrong: NonNegative = 1.0,
        interpolation: NonNegative = 1.0,
        code: Count = 64,
        **two_player: Any,
    ) -> None:
        super().__init__(D=D, **two_player)
        self.E, self.E_d = E, E_d
        self.wrong = wrong
        self.interpolation = interpolation
        self.M = head(D, code)

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        if "t" not in spec.fields:
            raise UserError(
                f"model.name={options['name']}: makes images of captions, and this data has none; "
                "take data=captions."
            )
        usual, code = super().shapes(spec, options), options["code"]
        words = spec.fields["t"]
        encoder = {"shape": (words.size, *words.shape), "outputs": code}
        return {
            "G": {**usual["G"], "latent": options["latent"] + code},
            "D": usual["D"],
            "E": encoder,
            "E_d": encoder,
        }

    @player(moves="D E_d M")
    def discriminator(self, x: Tensor, t: Tensor, i: Tensor) -> Terms:
        others = another(t, i)
        with torch.no_grad():
            x_fake, x_mixed = self.T(self.made(self.E(t))), self.T(self.made(self.mixed(self.E, t)))
        x, code = self.T(x), self.E_d(t)
        terms, real = self.told_apart(self.judged, x, x_fake, code, others)
        if self.interpolation:
            between = self.judged(x_mixed, self.mixed(self.E_d, t))
            terms["interpolated"] = self.interpolation * self.loss.discriminator(real, between)
        return terms

    @player(moves="G E")
    def generator(self, x: Tensor, t: Tensor) -> Terms:
        made = self.judged(self.T(self.made(self.E(t))), self.E_d(t))
        real = self.judged(self.T(x), self.E_d(t)) if self.loss.uses_real else None
        terms = {"adversarial": self.loss.generator(made, real)}
        if self.interpolation:
            x_mixed = self.T(self.made(self.mixed(self.E, t)))
            between = self.judged(x_mixed, self.mixed(self.E_d, t))
            terms["interpolated"] = self.interpolation * self.loss.generator(between, real)
        return terms

    def told_apart(
        self,
        judged: Judged,
        x: Tensor,
        x_fake: Tensor,
        code: Tensor,
        others: tuple[Tensor, Tensor],
    ) -> tuple[Terms, Tensor]:
        """The terms of a discriminator: made images, and real ones with wrong captions, are wrong.
        Beside them its scores of real images with their captions.

        Args:
            judged: its scores of images with codes.
            x, x_fake: real and made images.
            code: of their captions.
            others: what `another` gives for them.
        """
        real, fake = judged(x, code), judged(x_fake, code)
        terms = {"adversarial": self.tell_apart(real, fake)}
        if self.wrong:
            # where all captions of the batch are the same, there is no wrong one
            rows, found = others
            mismatched = torch.where(found, judged(x, code[rows]), fake)
            terms["wrong"] = self.wrong * self.loss.discriminator(real, mismatched)
        due = self.regularizer(lambda at: judged(at, code), x, x_fake) if self.due else {}
        return terms | due, real

    def made(self, code: Tensor) -> Tensor:
        """Images of codes, each with a z of its own."""
        return torch.as_tensor(self.G(torch.cat([self.prior(len(code)), code], dim=1)))

    def judged(self, x: Tensor, code: Tensor) -> Tensor:
        """D's scores of images with codes, (N,)."""
        return self.judged_by(self.D, self.M, x, code)

    def judged_by(self, D: nn.Module, M: nn.Module, x: Tensor, code: Tensor) -> Tensor:
        """A discriminator's scores of images plus its head's of features with codes, (N,)."""
        features = featured(D).features(x)
        matched = M(torch.cat([features, code], dim=1)).flatten()
        return featured(D).score(features) + matched

    def mixed(self, encoder: nn.Module, t: Tensor) -> Tensor:
        """The mean of each caption's code and that of the caption of the next row."""
        code: Tensor = encoder(t)
        return (code + code.roll(1, dims=0)) / 2

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        (t,) = given
        return self.made(self.E(t))

    def value(self, x: Tensor, *given: Tensor) -> Tensor:
        (t,) = given
        return self.judged(x, self.E_d(t))

    def batch_dependencies(self) -> list[str]:
        return [*super().batch_dependencies(), "captions of other rows"]

    def render(self, latents: Tensor, *given: Tensor) -> Tensor:
        (t,) = given
        return torch.as_tensor(self.G(torch.cat([latents, self.E(t)], dim=1)))


def head(D: nn.Module, code: int) -> nn.Module:
    """From the features of D and the code of a caption to a score of the two, (N, 1)."""
    return nn.Sequential(
        nn.Linear(feature_size(D) + code, 2 * code), nn.LeakyReLU(0.2), nn.Linear(2 * code, 1)
    )


def another(t: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
    """For each row a random other one whose caption is not right for its image.

    Args:
        t: captions, (N, length).
        i: numbers of their images, (N,).

    Returns:
        The rows, (N,), and whether there is such a row, (N,).
    """
    same = (t[:, None] == t[None]).all(dim=2) | (i[:, None] == i[None])
    # a caption is right for all images that any row shows it with
    right = (same.float() @ same.float()) > 0
    drawn = torch.rand(right.shape, device=t.device).masked_fill(right, -1.0)
    best, rows = drawn.max(dim=1)
    return rows, best >= 0
