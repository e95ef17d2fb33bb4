"""Truncation: latents nearer to the middle of their law make samples that are better and less
diverse."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.errors import UserError
from gan_cli.game import Game

WIDEST = 2.0
"""Where a sweep of redrawn latents ends: there the deviation is 0.88 of that of all."""


def truncated(
    game: Game, latents: Tensor, seeds: Sequence[int], truncation: Tensor | float | None
) -> Tensor:
    """Latents truncated as the game does it: multiplied, or drawn anew where it `redraws`.

    Args:
        latents: (n, latent), as the game has drawn them.
        seeds: of the rows.
        truncation: the factor, or the largest number of z; one for all rows or (n, 1). None leaves
            them.
    """
    if truncation is None:
        return latents
    if game.redraws:
        return redrawn(game, latents, seeds, truncation)
    return game.truncated(latents, truncation)


def redrawn(game: Game, latents: Tensor, seeds: Sequence[int], bound: Tensor | float) -> Tensor:
    """Latents in which each normal number beyond the bound is drawn anew from the normal law within
    it; what is drawn depends on the row's own seed alone.

    Reference: Brock et al., 2019, arXiv 1809.11096, section 3.1. There a number is drawn until it
    lies within; here once, from the same law, by the inverse of its distribution function.

    Args:
        bound: the largest distance from 0, in deviations of the law; 0 leaves only zeros.

    Raises:
        UserError: nothing in the latents is normal.
    """
    deviations = torch.tensor(
        [
            part.deviation if part.law == "normal" else torch.inf
            for part in game.columns()
            for _ in range(part.width)
        ]
    )
    if deviations.isinf().all():
        laws = ", ".join(dict.fromkeys(part.law for part in game.columns()))
        raise UserError(
            f"truncation={_shown(bound)}: draws normal numbers anew, and the latents of the "
            f"checkpoint's model are {laws}; leave truncation out."
        )

    uniform = torch.stack(
        [
            torch.rand(len(deviations), generator=noise.generator("truncation", seed))
            for seed in seeds
        ]
    )
    edge = torch.as_tensor(bound, dtype=torch.float64)
    share = (2 * uniform.double() - 1) * torch.erf(edge / 2**0.5)
    within = (2**0.5 * torch.erfinv(share)).to(latents) * deviations
    return torch.where(latents.abs() > edge.to(latents) * deviations, within, latents)


def sweep(game: Game, latents: Tensor, seeds: Sequence[int], steps: int, most: float) -> Tensor:
    """Each row at truncations from 0, the middle of the law, to `most` in turn, (n * steps,
    latent)."""
    rows = latents.repeat_interleave(steps, dim=0)
    each = [seed for seed in seeds for _ in range(steps)]
    return truncated(game, rows, each, torch.linspace(0, most, steps).repeat(len(latents))[:, None])


def whole(game: Game) -> float:
    """The truncation at which a sweep ends if none is given."""
    return WIDEST if game.redraws else 1.0


def _shown(bound: Tensor | float) -> str:
    """The bound of a message; the largest one of several."""
    return f"{float(torch.as_tensor(bound).max()):g}"
