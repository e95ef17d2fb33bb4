"""Walks through the latent space: interpolation, traversal and shifts.

The latents of a walk are rows, (n, latent).
"""

import functools
import threading
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.networks.layers import WEIGHTED
from gan_cli.priors import lerp, slerp
from gan_cli.sampling.generator import Generator
from gan_cli.sampling.options import Mode, SampleConfig
from gan_cli.training.rendering import in_chunks

MAX_DEVIATION = 2.5  # of a traversed component, in standard deviations of a normal prior
MAX_DIRECTIONS = 16  # directions for shifts
FEATURE_SAMPLES = 512  # samples from whose features the principal directions are computed


def between(game: Game, latents: Tensor, steps: int, path: str) -> Tensor:
    """Walk from each row of latents to the next, ((n - 1) * steps, latent), both ends included.

    Components that encode a class or a category change half-way between the rows.

    Args:
        path: `slerp` or `lerp`.

    Raises:
        UserError: there are fewer than two rows.
    """
    if len(latents) < 2:
        raise UserError(
            f"n={len(latents)}: mode=interpolate goes from one sample to the next; take n=2 or "
            "more."
        )
    interpolate = {"slerp": slerp, "lerp": lerp}[path]
    fractions = torch.linspace(0, 1, steps)[:, None]
    is_second_half = fractions >= 0.5
    is_choice = game.choices(latents.shape[1])

    def walk(a: Tensor, b: Tensor) -> Tensor:
        rows = torch.where(is_second_half, b, a)
        rows[:, ~is_choice] = interpolate(a[None, ~is_choice], b[None, ~is_choice], fractions)
        return rows

    return torch.cat([walk(a, b) for a, b in pairwise(latents)])


def along(game: Game, latents: Tensor, dimension: int, steps: int) -> Tensor:
    """Each row with `steps` values of one component in turn, (n * steps, latent).

    Args:
        game: whose latents they are.
        dimension: index of the component.

    Raises:
        UserError: the latent has no component of that index.
    """
    if not 0 <= dimension < latents.shape[1]:
        raise UserError(
            f"dimension={dimension}: the numbers of the latent are 0 to {latents.shape[1] - 1}."
        )
    deviations = [part.deviation for part in game.columns() for _ in range(part.width)]
    most = MAX_DEVIATION * (deviations[dimension] if dimension < len(deviations) else 1.0)
    rows = latents.repeat_interleave(steps, dim=0)
    rows[:, dimension] = torch.linspace(-most, most, steps).repeat(len(latents))
    return rows


def shifted(generator: Generator, latents: Tensor, kind: str, shifts: Sequence[float]) -> Tensor:
    """Latents moved along the first directions of a kind.

    Args:
        kind: `principal` or `random`.
        shifts: distance along each direction.

    Raises:
        UserError: there are more distances than directions.
    """
    vectors = directions(generator, kind)
    if len(shifts) > len(vectors):
        raise UserError(f"shifts={list(shifts)}: there are {len(vectors)} directions only.")
    return latents + torch.tensor(shifts) @ vectors[: len(shifts)]


@functools.lru_cache(maxsize=4)
def directions(generator: Generator, kind: str, count: int = MAX_DIRECTIONS) -> Tensor:
    """At most `count` unit vectors of the latent space, (count, latent); fixed for a checkpoint.

    `random` directions are orthogonal. `principal` directions change the features of the
    generator's middle layer the most: principal components of the features, mapped to the latent
    space by least squares.

    Reference: Haerkoenen et al., 2020, "GANSpace", arXiv 2004.02546, section 2.1.
    """
    latents = generator.drawn(range(FEATURE_SAMPLES))
    count = min(count, latents.shape[1])

    if kind == "random":
        vectors = torch.randn(latents.shape[1], count, generator=noise.generator("directions"))
        vectors[generator.game.choices(len(vectors))] = 0
        return torch.linalg.qr(vectors).Q.T.contiguous()

    features = _features(generator, latents)
    features = features - features.mean(dim=0)

    # coordinates of the samples along the principal components, largest first
    gram = features @ features.T
    coordinates = torch.linalg.eigh(gram).eigenvectors[:, -count:].flip(1)
    vectors = torch.linalg.lstsq(coordinates, latents - latents.mean(dim=0)).solution

    # the sign of an eigenvector is arbitrary: make each sum positive
    signs = torch.where(vectors.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return signs * vectors / vectors.norm(dim=1, keepdim=True)


def _features(generator: Generator, latents: Tensor) -> Tensor:
    """Output of the middle linear or convolutional layer of the generator, (n, features)."""
    layers = [
        layer
        for layer in generator.game.get_submodule("G").modules()
        if isinstance(layer, WEIGHTED)
    ]
    outputs: list[Tensor] = []
    this_thread = threading.get_ident()

    def append(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if threading.get_ident() == this_thread:  # other threads may render at the same time
            outputs.append(output)

    handle = layers[len(layers) // 2].register_forward_hook(append)
    try:
        in_chunks(generator.game.render, latents)  # whatever is done to units
    finally:
        handle.remove()

    rows = torch.cat([output.flatten(1) for output in outputs])
    return rows[: len(latents)]  # without the padding of the last chunk


def latents_of(
    config: SampleConfig, generator: Generator, seeds: Sequence[int], labels: Sequence[int] = ()
) -> Tensor:
    """Latents of the seeds and classes, truncated and shifted as configured; mode=truncate
    truncates them itself."""
    truncation = None if config.mode is Mode.truncate else config.truncation
    latents = generator.drawn(seeds, labels, truncation)
    if not config.shifts:
        return latents
    return shifted(generator, latents, config.directions.value, config.shifts)
