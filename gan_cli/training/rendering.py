"""Samples of a game while it trains and afterwards, and the rows that they are rendered from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Spec
from gan_cli.data.decoded import part_of
from gan_cli.game import Game, in_parts
from gan_cli.metrics.scoring import Part


@contextmanager
def at_rest(game: Game) -> Iterator[None]:
    """Evaluation mode for a while: dropout off, batch norm by its running statistics, which stay as
    they are.

    Afterwards every module is in the mode in which it was.
    """
    before = {module: module.training for module in game.modules()}
    game.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


@torch.no_grad()
def render(game: Game, latents: Tensor) -> Tensor:
    """Samples of a game, on the CPU."""
    device = next(game.parameters()).device
    with at_rest(game):
        return in_parts(
            lambda part: game.render(part.to(device)).cpu(), latents, rows=game.chunk_size
        )


def own_scores(game: Game, heldout: Mapping[str, Tensor]) -> dict[str, float]:
    """What a game says of itself, at rest and with the same random numbers each time."""
    noise.begin_turn("scores")
    with at_rest(game):
        return game.scores(heldout)


def rendered_parts(game: Game, latents: Tensor, spec: Spec) -> Iterator[Part]:
    """Samples of a game, a part at a time, and the classes that they were asked for."""
    for part in latents.split(part_of(spec)):
        yield render(game, part), game.labels_of(part)


def fixed_latents(game: Game, n: int) -> Tensor:
    """What the first n samples of `gan-sample seed=0` are rendered from."""
    return torch.stack([game.draw(noise.generator("sample", i)) for i in range(n)])


def shown_latents(game: Game, n: int) -> Tensor:
    """What the picture of about n samples is rendered from: where classes can be asked for, a
    column for each."""
    if not game.classes:
        return fixed_latents(game, n)
    rows = fixed_latents(game, max(1, n // game.classes)).repeat_interleave(game.classes, dim=0)
    return game.of_class(rows, torch.arange(len(rows)) % game.classes)


CHUNK = 16
"""Every forward has this many rows, padded if need be: CPU results differ in the last bits across
batch sizes, and image i of seed s must be image 0 of seed s + i, bit for bit."""


def in_chunks(render: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
    """What `render` makes of rows, CHUNK of them at a time, the last ones padded by the last
    row."""
    n = len(latents)
    padding = latents[-1:].expand(-n % CHUNK, *latents.shape[1:])
    with torch.no_grad():
        chunks = [render(chunk) for chunk in torch.cat([latents, padding]).split(CHUNK)]
    return torch.cat(chunks)[:n]
