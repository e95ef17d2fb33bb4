"""Samples of a game, in training and after it, and the latents that they are rendered from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.data.decoded import Decoded, part_of
from gan_cli.game import Game, in_parts
from gan_cli.metrics.scoring import Part


@contextmanager
def at_rest(game: Game) -> Iterator[None]:
    """Evaluation mode while this lasts: no dropout, batch norm by its running statistics.

    Afterwards every module has the mode that it had before.
    """
    before = {module: module.training for module in game.modules()}
    game.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


@torch.no_grad()
def render(game: Game, latents: Tensor, *given: Tensor) -> Tensor:
    """Samples of a game, on the CPU; for the arguments see `Game.render`."""
    device = next(game.parameters()).device

    def part(*rows: Tensor) -> Tensor:
        return game.render(*(field.to(device) for field in rows)).cpu()

    with at_rest(game):
        return in_parts(part, latents, *given, rows=game.chunk_size)


def own_scores(game: Game, heldout: Mapping[str, Tensor]) -> dict[str, float]:
    """The scores that a game gives itself, in evaluation mode, always with the same seed."""
    noise.begin_turn("scores")
    with at_rest(game):
        return game.scores(heldout)


def rendered_parts(game: Game, latents: Tensor, heldout: Decoded) -> Iterator[Part]:
    """Samples of a game in parts that fit into memory, each with the classes it was to have.

    A game that makes samples from inputs gets those of the held-out samples in their order, from
    the first one again after the last one; each part then has the held-out samples themselves.
    """
    start = 0
    for part in latents.split(part_of(heldout.dataset.spec)):
        fields = dict(heldout.cycled(start, start + len(part))) if game.sampling.given else {}
        given = [fields[name] for name in game.sampling.given]
        yield render(game, part, *given), game.labels_of(part), _in_direction(game, fields)
        start += len(part)


def _in_direction(game: Game, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Held-out fields as metrics see them: `x` is the field that samples are like and `x_a` the
    input; `y` and `y_a` are their classes."""
    output, (start, *_) = game.sampling.output, (*game.sampling.given, "")
    seen = {"x": output, "x_a": start, "y": _label(output), "y_a": _label(start)}
    ends = {name: fields[of] for name, of in seen.items() if of in fields}
    return {**fields, **ends} if fields else {}


def _label(field: str) -> str:
    """The field of the class of a field: `y` of `x`, `y_a` of `x_a`."""
    return f"y{field[1:]}"


def scored_samples(game: Game, wanted: int, heldout: Decoded) -> int:
    """Number of samples to score: no more than there are inputs, if a game makes them of inputs."""
    return min(wanted, heldout.samples) if game.sampling.given else wanted


@dataclass(frozen=True)
class LatentWalks:
    """Ways through the latent space of a game, each between two latents of its own seed.

    Args:
        most: number of ways, at most; None for as many as are asked for.
    """

    game: Game
    most: int | None = None

    @property
    def spaces(self) -> tuple[str, ...]:
        """The spaces of the game."""
        return self.game.spaces

    @torch.no_grad()
    def steps(self, space: str, n: int, length: float) -> Iterator[tuple[Tensor, Tensor]]:
        """See `gan_cli.metrics.scoring.Walks`. Both ends of a way have the choices of the first,
        such as the class."""
        game, device = self.game, next(self.game.parameters()).device
        for places in torch.arange(min(n, self.most or n)).split(game.chunk_size):
            sources = [noise.generator("walk", i) for i in places.tolist()]
            a, b = (torch.stack([game.draw(source) for source in sources]) for _ in range(2))
            b = torch.where(game.choices(a.shape[1]), a, b)
            at = torch.stack([torch.rand(1, generator=source) for source in sources])
            a, b, at = a.to(device), b.to(device), at.to(device)
            with at_rest(game):
                before, after = (
                    game.render_code(game.between(a, b, place, space), a, space).cpu()
                    for place in (at, at + length)
                )
            yield before, after


def fixed_latents(game: Game, n: int) -> Tensor:
    """Latents of the first n samples of `gan-sample seed=0`, (n, latent)."""
    rows = [game.draw(noise.generator("sample", i)) for i in range(n)]
    return torch.stack(rows) if rows else torch.empty(0, 0)


def given_by(game: Game, heldout: Decoded, n: int) -> list[Tensor]:
    """The fields that n samples of a game are made from: those of the first held-out samples."""
    fields = heldout.cycled(0, n) if game.sampling.given else {}
    return [fields[name] for name in game.sampling.given]


def shown_latents(game: Game, n: int) -> Tensor:
    """Latents of a picture of about n samples; of a conditional game, a column for each class."""
    if not game.classes:
        return fixed_latents(game, n)
    rows = fixed_latents(game, max(1, n // game.classes)).repeat_interleave(game.classes, dim=0)
    return game.of_class(rows, torch.arange(len(rows)) % game.classes)


CHUNK = 16
"""Rows of every forward, padded where fewer are left: on a CPU the last bits depend on the batch
size, and sample i of seed s must be sample 0 of seed s + i, bit for bit."""


def in_chunks(render: Callable[..., Tensor], *fields: Tensor) -> Tensor:
    """Apply `render` to chunks of CHUNK rows and join the results; the last chunk is padded.

    Args:
        render: gets the rows of each field.
        fields: equally many rows each.
    """
    n = len(fields[0])
    padded = [
        torch.cat([field, field[-1:].expand(-n % CHUNK, *field.shape[1:])]) for field in fields
    ]
    with torch.no_grad():
        chunks = zip(*(field.split(CHUNK) for field in padded), strict=True)
        return torch.cat([render(*chunk) for chunk in chunks])[:n]
