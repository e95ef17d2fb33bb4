"""Translation of images, learnt from pairs."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from gan_cli.data.dataset import Spec
from gan_cli.data.label_maps import Colours, painted
from gan_cli.errors import UserError
from gan_cli.features.base import Features
from gan_cli.game import Terms, player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.registry import NonNegative, games


class LabelEntropy(nn.Module):
    """Cross-entropy of the labels of images that are label maps, from the distances of the pixels'
    colours from those of the labels."""

    SHARPNESS = 8.0  # what a squared distance of colours in [-1, 1] is multiplied by
    colours: Tensor
    sharding: ClassVar[dict[str, str]] = {"colours": "same"}  # see `gan_cli.training.shards`

    def __init__(self, palette: Colours) -> None:
        super().__init__()
        colours = torch.empty(0, 3)
        if palette:  # as maps are painted
            colours = painted(torch.arange(len(palette))[None, None], palette)[0, :, 0].T
        self.register_buffer("colours", colours.float() / 127.5 - 1, persistent=False)

    def forward(self, x_fake: Tensor, x: Tensor) -> Tensor:
        """Mean over all pixels, in nats."""
        told = -self.SHARPNESS * self._distances(x_fake)
        return cross_entropy(told, self._distances(x).argmin(dim=1))

    def _distances(self, x: Tensor) -> Tensor:
        """Squared distances of the pixels' colours from those of all labels, (n, labels, h, w)."""
        return (x[:, None] - self.colours[None, :, :, None, None]).square().sum(dim=2)


@games.register("pix2pix")
class Pix2Pix(TwoPlayer):
    """G turns the input `x_a` into an image close to `x`; D judges pairs of an input and an image.

    Reference: Isola et al., 2017, "Image-to-Image Translation with Conditional Adversarial
    Networks", arXiv 1611.07004, equation 4: the game of 2014, both given the input, and the L1
    distance to the true image for G.

    Args:
        features: what `perceptual` compares, see `gan_cli.features`.
        l1: weight of the L1 distance, the mean over all numbers of a sample.
        l2: weight of the mean squared error.
        adversarial: weight of what D says, for G; 0 leaves the L1 distance alone.
        perceptual: weight of the distance of `features` from those of the true image (as Wang et
            al., 2018, arXiv 1711.11585, equation 6 of its appendix); 0 is the paper's.
        labelled: weight of the cross-entropy of the labels of an image's pixels, of images that are
            label maps: a colour is the likelier a label's, the nearer it is to that label's colour.
        judged: what D sees: `pairs` of an input and an image, or `images` alone; an input of other
            sides is enlarged.
        latent: width of z beside the dropout, which is the paper's noise.
    """

    condition: ClassVar[tuple[str, ...]] = ("x_a",)
    given: ClassVar[tuple[str, ...]] = ("x_a",)
    from_inputs: ClassVar[tuple[str, ...]] = ("generator",)
    panels: ClassVar[tuple[str, ...]] = ("x_a", "output", "x")
    diverse: ClassVar[bool] = False
    needs_pairs: ClassVar[bool] = True
    augments: ClassVar[bool] = False

    def __init__(
        self,
        features: Features,
        spec: Spec,
        l1: NonNegative = 100.0,
        l2: NonNegative = 0.0,
        adversarial: NonNegative = 1.0,
        perceptual: NonNegative = 0.0,
        labelled: NonNegative = 0.0,
        judged: Literal["pairs", "images"] = "pairs",
        latent: Annotated[int, Ge(0)] = 0,
        **two_player: Any,
    ) -> None:
        super().__init__(latent=latent, **two_player)
        self.features = features
        self.l1 = l1
        self.l2 = l2
        self.judged = judged
        self.adversarial = adversarial
        self.perceptual = perceptual
        self.labelled = labelled
        self.entropy = LabelEntropy(spec.palette)
        if labelled and not spec.palette:
            raise UserError(
                f"model.labelled={labelled}: is of images that are label maps; take "
                "data.labels=N data.labelled=images, or set it to 0."
            )
        if perceptual and not self.features.used:
            raise UserError(
                f"model.perceptual={perceptual}: compares features, and features=none has none; "
                "take features=random, features=classifier or features=torchvision."
            )

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        if "x_a" not in spec.fields:
            raise UserError(
                f"model.name={options['name']}: learns from pairs of images, and this data has "
                "none; take data=pairs."
            )
        usual, inputs = super().shapes(spec, options), spec.fields["x_a"].shape
        beside = inputs[0] if options["judged"] == "pairs" else 0
        judged = (beside + spec.shape[0], *spec.shape[1:])
        return {"G": {**usual["G"], "inputs": inputs}, "D": {**usual["D"], "shape": judged}}

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        x_fake = self.sample_fakes(x, *given)
        terms = self.distances(x_fake, x)
        if self.adversarial:
            real = self.value(x, *given) if self.loss.uses_real else None
            fake = self.value(x_fake, *given)
            terms["adversarial"] = self.adversarial * self.loss.generator(fake, real)
        return terms

    def distances(self, x_fake: Tensor, x: Tensor) -> Terms:
        """How far images are from the true ones, by each weighted distance."""
        terms: Terms = {}
        if self.l1:
            terms["l1"] = self.l1 * (x_fake - x).abs().mean()
        if self.l2:
            terms["l2"] = self.l2 * (x_fake - x).square().mean()
        if self.perceptual:
            terms["perceptual"] = self.perceptual * self.features.distance(x_fake, x)
        if self.labelled:
            terms["labelled"] = self.labelled * self.entropy(x_fake, x)
        return terms

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        (x_a,) = given
        return self.G(x_a, self.prior(len(x)))

    def value(self, x: Tensor, *given: Tensor) -> Tensor:
        """D's scores of images, with their inputs or alone, (N, P) for P patches; high for real
        ones."""
        return torch.as_tensor(self.D(self.seen(x, *given)))

    def seen(self, x: Tensor, *given: Tensor) -> Tensor:
        """What D sees of images: them alone, or with their inputs."""
        if self.judged == "images":
            return x
        (x_a,) = given
        if x_a.shape[2:] != x.shape[2:]:
            x_a = interpolate(x_a, size=x.shape[2:], mode="nearest")
        return torch.cat([x, x_a], dim=1)

    def render(self, latents: Tensor, *given: Tensor) -> Tensor:
        (x_a,) = given
        return self.G(x_a, latents)
