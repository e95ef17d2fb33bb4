"""A style-based generator, with style mixing."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.errors import UserError
from gan_cli.game import Columns
from gan_cli.games.progressive import Progressive
from gan_cli.networks.style import Generator
from gan_cli.registry import Share, games


@games.register("style")
class Style(Progressive):
    """The two-player game with a style-based generator; some samples take the styles of their finer
    layers from another z.

    Reference: Karras et al., 2019, "A Style-Based Generator Architecture for Generative Adversarial
    Networks", arXiv 1812.04948. It may grow as in the paper, and need not. A row to render is z and
    psi, which draws w in towards its average (the paper's appendix B); 1 leaves it.

    Args:
        mixing: share of the samples in training that have two z's.
    """

    G: Generator
    spaces: ClassVar[tuple[str, ...]] = ("w", "w_each_layer", "z")

    def __init__(
        self, G: nn.Module, mixing: Share = 0.9, growth: Share = 0.0, **others: Any
    ) -> None:
        if not isinstance(G, Generator):
            raise UserError("network.generator: model.name=style mixes styles; take network=style.")
        super().__init__(G=G, growth=growth, **others)
        self.mixing = mixing

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        if not self.G.training or not self.mixing:
            return super().sample_fakes(x, *given)
        mapping, layers, n = self.G.mapping, self.G.styles, len(x)
        coarse, fine = mapping(torch.cat([self.prior(n), self.prior(n)])).split(n)
        uniform = noise.rows(torch.rand, n, 2, device=x.device)
        # 1 to layers - 1: the first layer that takes the other's
        until = 1 + (uniform[:, 0] * (layers - 1)).long()
        until = torch.where(uniform[:, 1] < self.mixing, until, layers)
        own = torch.arange(layers, device=x.device) < until[:, None]
        return self.G.drawn(torch.where(own[:, :, None], coarse[:, None], fine[:, None]))

    def mixed(self, latents: Tensor, coarse: int) -> Tensor:
        """Every pair of rows, (n * n, *shape): the first so many layers have the styles of the row
        above, the others those of the row at the left.
        """
        w = self.styles_of(latents)
        above, left = w.repeat(len(w), 1), w.repeat_interleave(len(w), dim=0)
        first = torch.arange(self.G.styles, device=w.device)[:, None] < coarse
        return self.G.drawn(torch.where(first, above[:, None], left[:, None]))

    def columns(self) -> list[Columns]:
        return [*super().columns(), Columns("psi", 1, "psi", self._psi)]

    def _psi(self, n: int, source: torch.Generator | None) -> Tensor:
        """1: what is drawn lies where its style says."""
        return torch.ones(n, 1, device=None if source else self.prior.device.device)

    def truncated(self, latents: Tensor, factor: Tensor | float) -> Tensor:
        return torch.cat([latents[:, :-1], factor * latents[:, -1:]], dim=1)

    def render(self, latents: Tensor) -> Tensor:
        w = self.G.mapping.truncated(self.styles_of(latents), latents[:, -1:])
        return self.G.drawn(self._of_each_layer(w))

    def styles_of(self, latents: Tensor) -> Tensor:
        """w of rows of latents before any truncation, (n, width)."""
        return self.G.mapping(latents[:, :-1])

    def to_code(self, latents: Tensor, space: str) -> Tensor:
        """w, (n, width), or a w of each layer, (n, layers, width)."""
        if space == "z":
            return super().to_code(latents, space)
        w = self.styles_of(latents)
        return self._of_each_layer(w) if space == "w_each_layer" else w

    def mean_code(self, latents: Tensor, space: str) -> Tensor:
        """The average of w in training, where a truncation draws it to; or zeros in z."""
        if space == "z":
            return super().mean_code(latents, space)
        w = self.G.mapping.average.expand(len(latents), -1)
        return self._of_each_layer(w) if space == "w_each_layer" else w

    def render_code(self, codes: Tensor, latents: Tensor, space: str) -> Tensor:
        if space == "z":
            return super().render_code(codes, latents, space)
        return self.G.drawn(codes if space == "w_each_layer" else self._of_each_layer(codes))

    def _of_each_layer(self, w: Tensor) -> Tensor:
        """The same w for each layer, (n, layers, width)."""
        return w[:, None].expand(-1, self.G.styles, -1)
