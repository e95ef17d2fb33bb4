"""Style-based generators: mixing, truncation, and how smoothly they follow their styles."""

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.errors import UserError
from gan_cli.game import Columns, Terms, player
from gan_cli.games.conditional import ToldGenerator
from gan_cli.games.progressive import Progressive
from gan_cli.games.two_player import TwoPlayer
from gan_cli.networks.layers import widened
from gan_cli.networks.style import Styled
from gan_cli.registry import Count, Fraction, NonNegative, Share, games
from gan_cli.regularizers import input_gradient


class StyleBased(TwoPlayer):
    """Base class: some samples take the styles of their finer layers from another z.

    A row to render is z and psi, which draws w in towards its average (Karras et al., 2019,
    appendix B); 1 leaves it.

    Args:
        mixing: share of the samples in training that have two z's.
    """

    G: Styled
    spaces: ClassVar[tuple[str, ...]] = ("w", "w_each_layer", "z")

    def __init__(self, G: nn.Module, mixing: Share = 0.9, **others: Any) -> None:
        if not isinstance(G, Styled):
            raise UserError(
                "network.generator: this model mixes styles; take network=style or style2."
            )
        super().__init__(G=G, **others)
        self.mixing = mixing

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        if not self.G.training or not self.mixing:
            return super().sample_fakes(x, *given)
        return self.G.drawn(self.sample_styles(len(x), *given))

    def sample_styles(self, n: int, *given: Tensor) -> Tensor:
        """The styles of each layer of n samples, (n, styles, style), some of them mixed."""
        mapping, layers = self.G.mapping, self.G.styles
        twice = [torch.cat([field, field]) for field in given]
        coarse, fine = mapping(torch.cat([self.prior(n), self.prior(n)]), *twice).split(n)
        uniform = noise.rows(torch.rand, n, 2, device=coarse.device)
        # 1 to layers - 1: the first layer that takes the other's
        until = 1 + (uniform[:, 0] * (layers - 1)).long()
        until = torch.where(uniform[:, 1] < self.mixing, until, layers)
        own = torch.arange(layers, device=coarse.device) < until[:, None]
        return torch.where(own[:, :, None], coarse[:, None], fine[:, None])

    def styles_of(self, latents: Tensor) -> Tensor:
        """w of each row, (n, style), before it is drawn in."""
        return self.G.mapping(latents[:, : self.prior.latent], *self.condition_of(latents))

    def condition_of(self, latents: Tensor) -> tuple[Tensor, ...]:
        """What the mapping takes beside z."""
        return ()

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
        z, psi, rest = self._parts(latents)
        return torch.cat([z, factor * psi, rest], dim=1)

    def render(self, latents: Tensor) -> Tensor:
        w = self.G.mapping.truncated(self.styles_of(latents), self._parts(latents)[1])
        return self.G.drawn(self._of_each_layer(w))

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

    def _parts(self, latents: Tensor) -> list[Tensor]:
        """z, psi, and what else a row has."""
        width = self.prior.latent
        return list(latents.split([width, 1, latents.shape[1] - width - 1], dim=1))


@games.register("style")
class Style(StyleBased, Progressive):
    """The two-player game with a style-based generator; some samples take the styles of their finer
    layers from another z.

    Reference: Karras et al., 2019, "A Style-Based Generator Architecture for Generative Adversarial
    Networks", arXiv 1812.04948. It may grow as in the paper, and need not.

    Args:
        growth: share of the run in which the networks grow; 0 plays with the whole networks from
            the start.
    """

    def __init__(self, growth: Share = 0.0, **others: Any) -> None:
        super().__init__(growth=growth, **others)


@games.register("style2")
class Style2(StyleBased):
    """The two-player game with a style-based generator whose images move as far as its styles do.

    Reference: Karras et al., 2020, "Analyzing and Improving the Image Quality of StyleGAN", arXiv
    1912.04958.

    Args:
        path_length: weight of the path length regularisation; 2 in the authors' code, 0 is none.
        path_every: it is added in every so many-th turn of G, that many times as strong.
        path_share: of the batch, for which it is computed.
        path_decay: of the average length, once a computation; the first ones all weigh alike.
    """

    path_mean: Tensor
    path_count: Tensor
    sharding: ClassVar[dict[str, str]] = {"path_mean": "averaged", "path_count": "averaged"}

    def __init__(
        self,
        path_length: NonNegative = 2.0,
        path_every: Count = 4,
        path_share: Annotated[float, Gt(0), Le(1)] = 0.5,
        path_decay: Fraction = 0.99,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.path_length, self.path_every = path_length, path_every
        self.path_share, self.path_decay = path_share, path_decay
        self.register_buffer("path_mean", torch.zeros(()))
        self.register_buffer("path_count", torch.zeros(()))
        self.every = {**self.every, "generator": path_every}

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        terms = super().generator(x, *given)
        if self.path_length and self.due:
            n = max(1, int(self.path_share * len(x)))
            lengths = self.path_lengths(self.sample_styles(n, *(field[:n] for field in given)))
            with torch.no_grad():
                # from 0 on, as in the authors' code, it would shorten all paths for a hundred turns
                self.path_count += 1
                share = (1 / self.path_count).clamp(min=1 - self.path_decay)
                self.path_mean.lerp_(lengths.mean(), share)
            excess = (lengths - self.path_mean).square().mean()
            terms["path_length"] = self.path_every * self.path_length * excess
        return terms

    def path_lengths(self, w: Tensor) -> Tensor:
        """How far images move with their styles, (n,): the norm of J^T y, y random images of unit
        norm on average, J the slope of an image by its styles; the root of the mean over layers.

        Args:
            w: styles of each layer, (n, styles, style); gradients go on into what made them.
        """

        def along(w: Tensor) -> Tensor:
            x = self.G.drawn(w)
            y = noise.rows(torch.randn, *x.shape, device=x.device) / x[0, 0].numel() ** 0.5
            return (x * y).flatten(1).sum(dim=1)

        slopes = input_gradient(along, w, through=True)
        return widened(slopes).square().sum(dim=2).mean(dim=1).sqrt()


class ToldStyles(ToldGenerator, StyleBased):
    """Base class: z and a vector of the class become w, and D projects the class.

    Reference: Karras et al., 2020, "Training Generative Adversarial Networks with Limited Data",
    arXiv 2006.06676. The average of w is one of all classes.
    """

    def condition_of(self, latents: Tensor) -> tuple[Tensor, ...]:
        return (self.labels_of(latents),)

    def render(self, latents: Tensor) -> Tensor:
        return StyleBased.render(self, latents)


@games.register("style_conditional")
class ConditionalStyle(ToldStyles, Style):
    """The style-based game of 2019, given a class."""


@games.register("style2_conditional")
class ConditionalStyle2(ToldStyles, Style2):
    """The style-based game of 2020, given a class."""
