"""Games whose samples have a class that can be chosen."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_cli.codes import drawn_classes
from gan_cli.data.dataset import Spec
from gan_cli.errors import UserError
from gan_cli.game import Columns
from gan_cli.games.two_player import TwoPlayer
from gan_cli.networks.conditional import Concatenated, Projected, told_shape
from gan_cli.networks.layers import constrain
from gan_cli.registry import games


class Labelled(TwoPlayer):
    """Base class: G takes a class beside z, by concatenation unless it takes classes itself; a
    latent is z and, as its last number, the class."""

    needs_labels: ClassVar[bool] = True
    condition: ClassVar[tuple[str, ...]] = ("y",)

    def __init__(self, G: nn.Module, spec: Spec, **two_player: Any) -> None:
        itself = self.roles["G"] in self.classes_in_networks
        told = G if itself else Concatenated(G, spec.classes)
        super().__init__(G=told, **two_player)
        self.classes = spec.classes

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        if not spec.classes:
            raise UserError(
                f"model.name={options['name']}: needs labelled data, and this has no labels; take "
                "data=digits, data=mnist, or an image_folder with a folder for each class."
            )
        shapes = super().shapes(spec, options)
        shapes |= {"G": {**shapes["G"], "latent": options["latent"] + spec.classes}}
        told = {"latent": options["latent"], "classes": spec.classes}
        return {
            name: {**shape, **(told if cls.roles[name] in cls.classes_in_networks else {})}
            for name, shape in shapes.items()
        }

    def columns(self) -> list[Columns]:
        return [*super().columns(), Columns("class", 1, "class", self._any_class)]

    def _any_class(self, n: int, source: torch.Generator | None) -> Tensor:
        y = drawn_classes(self.classes, n, source, self.prior.device.device)
        return y[:, None].float()

    def render(self, latents: Tensor) -> Tensor:
        return self.G(latents[:, :-1], self.labels_of(latents))

    def labels_of(self, latents: Tensor) -> Tensor:
        return latents[:, -1].long()

    def of_class(self, latents: Tensor, y: Tensor) -> Tensor:
        return torch.cat([latents[:, :-1], y[:, None].to(latents)], dim=1)


@games.register("conditional")
class Conditional(Labelled):
    """min_G max_D V(D, G), all given y: D judges pairs of a sample and its class.

    Reference: Mirza and Osindero, 2014, "Conditional Generative Adversarial Nets", arXiv 1411.1784.
    Any model of two players becomes conditional by a YAML of three lines, such as
    configs/model/wgan_gp_conditional.yaml.

    Args:
        labels: how D takes the class: `concat` as in the paper, or `projection` (Miyato and
            Koyama, 2018, arXiv 1802.05637).
    """

    def __init__(
        self,
        D: nn.Module,
        spec: Spec,
        labels: Literal["concat", "projection"] = "concat",
        **labelled: Any,
    ) -> None:
        given = Concatenated if labels == "concat" else Projected
        super().__init__(D=given(D, spec.classes), spec=spec, **labelled)

    @classmethod
    def shapes(cls, spec: Spec, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        usual = super().shapes(spec, options)
        if options.get("labels") == "projection":
            return usual
        return {**usual, "D": {**usual["D"], "shape": told_shape(spec.shape, spec.classes)}}


class ToldGenerator(Labelled):
    """Base class: G takes the class itself, D by a projection.

    Reference: Miyato and Koyama, 2018, "cGANs with Projection Discriminator", arXiv 1802.05637. The
    vectors of the classes in D have the norm of its layers, if that is spectral.
    """

    classes_in_networks: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, D: nn.Module, spec: Spec, **labelled: Any) -> None:
        super().__init__(D=Projected(D, spec.classes), spec=spec, **labelled)
        constrain(self.D, self.critic_norm, (nn.Embedding,))


@games.register("conditional_generator")
class ConditionalGenerator(ToldGenerator):
    """min_G max_D V(D, G), all given y, which G is told in a way of its own and D by a projection.

    Reference: as that of SAGAN (Zhang et al., 2019, arXiv 1805.08318): conditional batch norm in G,
    a projection in D.
    """
