"""Translation of images between two domains, learnt without pairs."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from gan_cli.data.dataset import Spec
from gan_cli.errors import UserError
from gan_cli.game import Direction, Terms, Turn, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.pools import Pool
from gan_cli.registry import NonNegative, games


@games.register("cyclegan")
class CycleGAN(TwoPlayer):
    """G turns images of domain a, `x_a`, into images like those of domain b, `x`, and F turns them
    back; D judges domain b, D_a domain a. An image must survive the way there and back.

    Reference: Zhu et al., 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent
    Adversarial Networks", arXiv 1703.10593, equation 3. The rows of `x` and `x_a` need not belong
    together.

    Args:
        F: generator from domain b to domain a.
        D_a: discriminator of domain a.
        adversarial: weight of what the discriminators say, for G and F: 2, since loss=least_squares
            has a factor of 1/2 that the paper's squares have not.
        cycle: weight of the L1 distance of an image from what comes back of it.
        identity: weight of the L1 distance of an image from what its own domain's generator makes
            of it (section 5.2), which keeps the colours of paintings; both domains need as many
            channels. The paper's is 0, but for paintings 5.
        pool: made images that each discriminator keeps; half of those it sees are older ones from
            there. 0 shows it the new ones only.
        latent: width of z beside the image; the paper's generators have no noise.
    """

    condition: ClassVar[tuple[str, ...]] = ("x_a",)
    given: ClassVar[tuple[str, ...]] = ("x_a",)
    from_inputs: ClassVar[tuple[str, ...]] = ("generator",)
    panels: ClassVar[tuple[str, ...]] = ("x_a", "output")
    directions: ClassVar[dict[str, Direction]] = {
        "b_to_a": Direction("x_a", ("x",), ("x", "output")),
    }
    roles: ClassVar[dict[str, str]] = {
        "G": "generator", "F": "generator", "D": "discriminator", "D_a": "discriminator",
    }  # fmt: skip
    averaged: ClassVar[tuple[str, ...]] = ("G", "F")
    diverse: ClassVar[bool] = False
    augments: ClassVar[bool] = False

    def __init__(
        self,
        F: nn.Module,
        D_a: nn.Module,
        spec: Spec,
        adversarial: NonNegative = 2.0,
        cycle: NonNegative = 10.0,
        identity: NonNegative = 0.0,
        pool: Annotated[int, Ge(0), Le(10_000)] = 50,
        latent: Annotated[int, Ge(0)] = 0,
        **two_player: Any,
    ) -> None:
        super().__init__(latent=latent, **two_player)
        shape, other = spec.shape, spec.fields["x_a"].shape
        if identity and shape != other:
            raise UserError(
                f"model.identity={identity}: compares images of both domains, and they are {shape} "
                f"and {other}; set it to 0."
            )
        self.F, self.D_a = F, D_a
        self.adversarial = adversarial
        self.cycle = cycle
        self.identity = identity
        self.pools = nn.ModuleList([Pool(pool, *shape), Pool(pool, *other)]) if pool else None

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        if "x_a" not in spec.fields:
            raise UserError(
                f"model.name={options['name']}: translates between two domains of images, and this "
                "data has one; take data=unpaired or data=pairs."
            )
        b = {"shape": spec.shape, "bounded": spec.bounded, "latent": options.get("latent", 0)}
        a = {**b, "shape": spec.fields["x_a"].shape}
        return {
            "G": {**b, "inputs": a["shape"]},
            "F": {**a, "inputs": b["shape"]},
            "D": b,
            "D_a": a,
        }

    @player(moves="D D_a")
    def discriminator(self, x: Tensor, x_a: Tensor) -> Terms:
        with torch.no_grad():
            fakes = [self.translate(self.G, x_a), self.translate(self.F, x)]
            if self.pools is not None:
                fakes = [
                    pool.exchange(fake)  # type: ignore[operator]
                    for pool, fake in zip(self.pools, fakes, strict=True)
                ]

        terms: Terms = {}
        for name, D, real, fake in (("b", self.D, x, fakes[0]), ("a", self.D_a, x_a, fakes[1])):
            terms[f"adversarial_{name}"] = self.tell_apart(*self.score(D, real, fake))
            if self.due:
                penalty = self.regularizer(D, real, fake)
                terms |= {f"{term}_{name}": value for term, value in penalty.items()}
        return terms

    @player(moves="G F")
    def generator(self, x: Tensor, x_a: Tensor) -> Terms:
        fake, fake_a = self.translate(self.G, x_a), self.translate(self.F, x)
        terms: Terms = {}
        for name, D, real, made in (("b", self.D, x, fake), ("a", self.D_a, x_a, fake_a)):
            scores = D(real) if self.loss.uses_real else None
            terms[f"adversarial_{name}"] = self.adversarial * self.loss.generator(D(made), scores)

        if self.cycle:
            there, back = self.translate(self.F, fake), self.translate(self.G, fake_a)
            terms["cycle_a"] = self.cycle * (there - x_a).abs().mean()
            terms["cycle_b"] = self.cycle * (back - x).abs().mean()
        if self.identity:
            same, same_a = self.translate(self.G, x), self.translate(self.F, x_a)
            terms["identity"] = self.identity * (
                (same - x).abs().mean() + (same_a - x_a).abs().mean()
            )
        return terms

    def translate(self, generator: nn.Module, images: Tensor) -> Tensor:
        """What a generator makes of images."""
        return torch.as_tensor(generator(images, self.prior(len(images))))

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        return self.translate(self.G, *given)

    def value(self, x: Tensor, *given: Tensor) -> Tensor:
        return torch.as_tensor(self.D(x))

    def after_step(self, turn: Turn) -> None:
        for critic in (self.D, self.D_a):
            self.regularizer.project(critic)

    def render(self, latents: Tensor, *given: Tensor) -> Tensor:
        (start,) = given
        return torch.as_tensor((self.F if self.direction else self.G)(start, latents))
