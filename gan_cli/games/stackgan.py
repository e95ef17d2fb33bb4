"""Images of what a text says, made in two stages."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from gan_cli.data.spec import Spec
from gan_cli.divergences import kl_from_normal
from gan_cli.errors import UserError
from gan_cli.game import Columns, Direction, Terms, Turn, player
from gan_cli.games.encoders import posterior
from gan_cli.games.gan_cls import GANCLS, another, head
from gan_cli.priors import Prior
from gan_cli.registry import Count, NonNegative, games


class Played(nn.Module):
    """Whether the second stage was ever played; part of a checkpoint."""

    sharding: ClassVar[dict[str, str]] = {"yes": "same"}  # see `gan_cli.training.shards`
    yes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("yes", torch.zeros((), dtype=torch.bool))


@games.register("stackgan")
class StackGAN(GANCLS):
    """G makes a small image of z and a caption, as in GAN-CLS; then, in a second game, G_2 makes a
    large image of the small one and the caption. D judges small images, D_2 large ones.

    Reference: Zhang et al., 2017, "StackGAN: Text to Photo-realistic Image Synthesis with Stacked
    Generative Adversarial Networks", arXiv 1612.03242. A generator is not told the code of a
    caption, but a draw of a normal law around it, N(mean, variance) by a linear map of the code, A
    and A_2 (conditioning augmentation, section 3.2). The second stage changes neither the first one
    nor the encoders of captions. Until it is played, samples are the small images, enlarged.

    Args:
        G_2: generator of the second stage, (N, C, h, w), (N, code) -> (N, C, H, W).
        D_2: its discriminator.
        spec: of the data.
        factor: sides of the data over those of small images.
        kl: weight of the Kullback-Leibler divergence of the laws of codes from N(0, I), the mean
            over the numbers of a code, as in the authors' code.
        varied: false tells the generators the mean itself.
    """

    roles: ClassVar[dict[str, str]] = {
        "G": "generator", "D": "discriminator", "E": "text_encoder", "E_d": "text_encoder",
        "G_2": "refiner", "D_2": "discriminator",
    }  # fmt: skip
    averaged: ClassVar[tuple[str, ...]] = ("G", "E", "A", "G_2", "A_2")
    directions: ClassVar[dict[str, Direction]] = {"stage_one": Direction("x", ("t",), ("output",))}

    def __init__(
        self,
        G_2: nn.Module,
        D_2: nn.Module,
        spec: Spec,
        factor: Literal[2, 4] = 2,
        kl: NonNegative = 2.0,
        varied: bool = True,
        code: Count = 64,
        **gan_cls: Any,
    ) -> None:
        super().__init__(code=code, **gan_cls)
        self.G_2, self.D_2 = G_2, D_2
        self.A, self.A_2 = (nn.Linear(code, 2 * code) for _ in range(2))
        self.M_2 = head(D_2, code)
        self.variation = Prior(code, "normal")
        self.played = Played()
        self.size = spec.shape[1:]
        self.factor = factor
        self.kl = kl
        self.varied = varied
        self.every["discriminator_2"] = self.regularizer.every

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        usual, factor = super().shapes(spec, options), options["factor"]
        channels, *sides = spec.shape
        if any(side % factor for side in sides):
            raise UserError(
                f"model.factor={factor}: does not divide images of {sides[0]}x{sides[1]}; set "
                "data.image_size to a multiple of it."
            )
        small = (channels, *(side // factor for side in sides))
        return {
            **usual,
            "G": {**usual["G"], "shape": small},
            "D": {**usual["D"], "shape": small},
            "G_2": {"shape": spec.shape, "inputs": small, "latent": options["code"]},
            "D_2": usual["D"],
        }

    # --- the first stage --------------------------------------------------------------------------

    @player(moves="D E_d M")
    def discriminator(self, x: Tensor, t: Tensor, i: Tensor) -> Terms:
        return super().discriminator(self.small(x), t, i)

    @player(moves="G E A")
    def generator(self, x: Tensor, t: Tensor) -> Terms:
        terms = super().generator(self.small(x), t)
        return terms | self.divergence(self.A, self.E(t))

    def made(self, code: Tensor) -> Tensor:
        n = len(code)
        return self.first(self.prior(n), code, self.variation(n))

    def first(self, z: Tensor, code: Tensor, variation: Tensor) -> Tensor:
        """Small images of z and of codes, each with its variation, (N, code)."""
        told = self.told(self.A, code, variation)
        return torch.as_tensor(self.G(torch.cat([z, told], dim=1)))

    def small(self, x: Tensor) -> Tensor:
        """Images of the data at the sides of the first stage: means of squares of pixels."""
        height, width = self.size
        return adaptive_avg_pool2d(x, (height // self.factor, width // self.factor))

    def enlarged(self, x: Tensor) -> Tensor:
        """Small images at the sides of the data."""
        return interpolate(x, size=self.size, mode="bicubic", align_corners=False).clamp(-1, 1)

    # --- the second stage -------------------------------------------------------------------------

    @player(moves="D_2 M_2")
    def discriminator_2(self, x: Tensor, t: Tensor, i: Tensor) -> Terms:
        others = another(t, i)
        with torch.no_grad():
            (x_fake, _), code = self.made_large(t), self.E_d(t)
        terms, _ = self.told_apart(self.judged_2, self.T(x), self.T(x_fake), code, others)
        return terms

    @player(moves="G_2 A_2")
    def generator_2(self, x: Tensor, t: Tensor) -> Terms:
        self.played.yes.fill_(True)
        (x_fake, code), code_d = self.made_large(t), self.E_d(t).detach()
        real = self.judged_2(self.T(x), code_d) if self.loss.uses_real else None
        adversarial = self.loss.generator(self.judged_2(self.T(x_fake), code_d), real)
        return {"adversarial": adversarial, **self.divergence(self.A_2, code)}

    def made_large(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Large images of captions, and the codes of these; only the second stage has gradients."""
        with torch.no_grad():
            code = self.E(t)
            x_small = self.made(code)
        return self.second(x_small, code, self.variation(len(t))), code

    def second(self, x: Tensor, code: Tensor, variation: Tensor) -> Tensor:
        """Large images of small ones and of codes, each with its variation, (N, code)."""
        return torch.as_tensor(self.G_2(x, self.told(self.A_2, code, variation)))

    def judged_2(self, x: Tensor, code: Tensor) -> Tensor:
        """D_2's scores of large images with codes, (N,)."""
        return self.judged_by(self.D_2, self.M_2, x, code)

    # --- both -------------------------------------------------------------------------------------

    def told(self, A: nn.Module, code: Tensor, variation: Tensor) -> Tensor:
        """What a generator is told of codes: mean + deviation * variation."""
        mean, logvar = posterior(A, code)
        return mean + (0.5 * logvar).exp() * variation if self.varied else mean

    def divergence(self, A: nn.Module, code: Tensor) -> Terms:
        """That of the laws around codes from N(0, I), if it is weighted."""
        if not self.kl or not self.varied:
            return {}
        return {"kl": self.kl * kl_from_normal(*posterior(A, code)).mean()}

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        return self.render(self.rows(len(x)), *given)

    def value(self, x: Tensor, *given: Tensor) -> Tensor:
        """The scores of the stage that is played."""
        (t,) = given
        code = self.E_d(t)
        return torch.where(
            self.played.yes, self.judged_2(x, code), self.judged(self.small(x), code)
        )

    def after_step(self, turn: Turn) -> None:
        super().after_step(turn)
        self.regularizer.project(self.D_2)

    def columns(self) -> list[Columns]:
        width = self.variation.latent
        return [
            *super().columns(),
            *(Columns(name, width, "normal", self.variation) for name in ("stage_1", "stage_2")),
        ]

    def rows(self, n: int) -> Tensor:
        """n latents, by the turn's own noise, (n, latent)."""
        return torch.cat([self.prior(n), self.variation(n), self.variation(n)], dim=1)

    def render(self, latents: Tensor, *given: Tensor) -> Tensor:
        (t,) = given
        width, code = self.variation.latent, self.E(t)
        z, first, second = latents.split([latents.shape[1] - 2 * width, width, width], dim=1)
        x_small = self.first(z, code, first)
        enlarged = self.enlarged(x_small)
        if self.direction == "stage_one":
            return enlarged
        return torch.where(self.played.yes, self.second(x_small, code, second), enlarged)
