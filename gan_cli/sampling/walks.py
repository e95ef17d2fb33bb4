"""Ways through the space that samples are drawn from: between samples, along one number, towards
the middle; and what lies nearest to a sample in the training data.
"""

import functools
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.networks.layers import WEIGHTED
from gan_cli.sampling.generator import Generator
from gan_cli.sampling.options import SampleConfig

REACH = 2.5  # how far a traversal goes from the middle, in deviations of a normal prior
DIRECTIONS = 16  # that one may go along
SEEN = 512  # samples whose features tell the principal ones


def slerp(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    """From a to b on the great circle between their directions, the lengths going from |a| to |b|:
    (steps, latent).

    Reference: White, 2016, "Sampling Generative Networks", arXiv 1609.04468, section 2: a normal
    prior has its samples on a shell, through which a straight line leads inside.

    Args:
        a, b: (latent,).
        shares: of the way, (steps,), from 0 to 1.
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if angle.sin() < 1e-4 or not a.any() or not b.any():  # there is no circle, or more than one
        return lerp(a, b, shares)
    t = shares[:, None]
    direction = (
        torch.sin((1 - t) * angle) * a / a.norm() + torch.sin(t * angle) * b / b.norm()
    ) / angle.sin()
    return direction * torch.lerp(a.norm(), b.norm(), t)


def lerp(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    """The straight line from a to b, as `slerp`."""
    return torch.lerp(a, b, shares[:, None])


def between(game: Game, latents: Tensor, steps: int, path: str) -> Tensor:
    """From each row of latents to the next in so many steps, both ends included: ((n - 1) * steps,
    latent). What chooses a class or a category changes in the middle of the way.
    """
    if len(latents) < 2:
        raise UserError(
            f"n={len(latents)}: mode=interpolate goes from one sample to the next; take n=2 or "
            "more."
        )
    way, shares = {"slerp": slerp, "lerp": lerp}[path], torch.linspace(0, 1, steps)
    choices, second = game.choices(latents.shape[1]), shares[:, None] >= 0.5

    def leg(a: Tensor, b: Tensor) -> Tensor:
        rows = torch.where(second, b, a)
        rows[:, ~choices] = way(a[~choices], b[~choices], shares)
        return rows

    return torch.cat([leg(a, b) for a, b in pairwise(latents)])


def along(latents: Tensor, dimension: int, steps: int) -> Tensor:
    """Each row with so many values of one of its numbers, side by side: (n * steps, latent)."""
    if not 0 <= dimension < latents.shape[1]:
        raise UserError(
            f"dimension={dimension}: the numbers of the latent are 0 to {latents.shape[1] - 1}."
        )
    rows = latents.repeat_interleave(steps, dim=0)
    rows[:, dimension] = torch.linspace(-REACH, REACH, steps).repeat(len(latents))
    return rows


def truncation_sweep(game: Game, latents: Tensor, steps: int) -> Tensor:
    """Each row from the middle of the prior outwards to itself, side by side: (n * steps,
    latent)."""
    shares = torch.linspace(0, 1, steps).repeat(len(latents))
    return game.truncated(latents.repeat_interleave(steps, dim=0), shares[:, None])


def shifted(generator: Generator, latents: Tensor, kind: str, shifts: Sequence[float]) -> Tensor:
    """Rows moved along the first directions of a kind, so far along each of them.

    Raises:
        UserError: there are not as many directions.
    """
    found = directions(generator, kind)
    if len(shifts) > len(found):
        raise UserError(f"shifts={list(shifts)}: there are {len(found)} directions only.")
    return latents + torch.tensor(shifts) @ found[: len(shifts)]


@functools.lru_cache(maxsize=4)
def directions(generator: Generator, kind: str, count: int = DIRECTIONS) -> Tensor:
    """At most so many unit vectors of the latent space, (count, latent), always the same ones for a
    checkpoint.

    `random` ones are orthogonal. `principal` ones move the features of the generator's middle layer
    the most: Haerkoenen et al., 2020, "GANSpace", arXiv 2004.02546, section 2.1 - principal
    components of the features, brought back to the latent space by least squares.
    """
    latents = generator.drawn(range(SEEN))
    count = min(count, latents.shape[1])
    if kind == "random":
        drawn = torch.randn(latents.shape[1], count, generator=noise.generator("directions"))
        drawn[generator.game.choices(len(drawn))] = 0
        return torch.linalg.qr(drawn).Q.T.contiguous()
    features = _features(generator, latents)
    features = features - features.mean(dim=0)
    # of the samples
    components = torch.linalg.eigh(features @ features.T).eigenvectors[:, -count:].flip(1)
    ways = torch.linalg.lstsq(components, latents - latents.mean(dim=0)).solution
    # an eigenvector has none of its own
    signs = torch.where(ways.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return signs * ways / ways.norm(dim=1, keepdim=True)


def _features(generator: Generator, latents: Tensor) -> Tensor:
    """What the middle one of the generator's linear and convolutional layers gives, (n,
    features)."""
    layers = [
        layer
        for layer in generator.game.get_submodule("G").modules()
        if isinstance(layer, WEIGHTED)
    ]
    seen: list[Tensor] = []
    own = threading.get_ident()

    def keep(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        if threading.get_ident() == own:  # others may be rendering too
            seen.append(output)

    handle = layers[len(layers) // 2].register_forward_hook(keep)
    try:
        generator.render(latents)
    finally:
        handle.remove()
    return torch.cat([output.flatten(1) for output in seen])[: len(latents)]


def latents_of(
    config: SampleConfig, generator: Generator, seeds: Sequence[int], labels: Sequence[int] = ()
) -> Tensor:
    """What is rendered, or walked between: drawn, drawn in, and moved."""
    latents = generator.game.truncated(generator.drawn(seeds, labels), config.truncation)
    return (
        shifted(generator, latents, config.directions.value, config.shifts)
        if config.shifts
        else latents
    )
