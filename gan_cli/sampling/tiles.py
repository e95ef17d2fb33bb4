"""Pictures too large for a network in one piece: made of tiles that overlap, without seams."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gan_cli.errors import UserError

FEWEST = 4  # multiples of what a network needs that a tile consists of, at least
SMALLEST = 16  # pixels a side of a tile, at least
REACHES = 4  # times a network's reach that a tile has, at least, for margins to hide its edges
SHARE = 4  # else 1 / SHARE of a tile overlaps the next one,
DROPPED = 4  # and 1 / DROPPED of that overlap is left out at either tile's edge
PROBED = 256  # pixels a side of the picture on which the reach of a network is found, at least
HARD = 1e-6  # width in pixels of a ramp that is none

Render = Callable[[int, int, int, int], Tensor]
"""Makes the samples of a part of a picture, (C, r height, r width), from its top, its left, its
height and its width."""


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut into tiles; all in pixels of the input.

    Args:
        side: of a tile.
        overlap: of a tile and the next one.
        margin: of a tile's edge towards another tile, where it is not used.
        ratio: how many times larger the output is.
        reach: how far from a pixel the network looks, see `reach`.
        probed: side of the picture on which that was found.
        multiple: what the sides of a tile are multiples of.
    """

    side: int
    overlap: int
    margin: int
    ratio: int
    reach: int | None
    probed: int
    multiple: int

    @property
    def exact(self) -> bool:
        """Whether tiles join to what the network makes of the whole picture."""
        return self.reach is not None and self.margin >= self.reach

    @property
    def remark(self) -> str:
        """What to tell the user where they do not; empty where they do."""
        if self.exact:
            return ""
        far, remedy = f"more than {self.probed // 2}", ""
        if self.reach is not None:
            least = _up(REACHES * self.reach, self.multiple)
            far, remedy = str(self.reach), f"; tile={least} would make the same"
        return (
            f"; the network looks {far} pixels around each pixel, so that pictures made of tiles "
            f"of {self.side} differ from those in one piece; tiles are blended where they "
            f"overlap{remedy}"
        )


def refuse_unfit(tile: int, multiple: int) -> None:
    """Raise UserError for a side of tiles that a network cannot take.

    Args:
        multiple: what the sides of its inputs must be multiples of.
    """
    least = max(FEWEST * multiple, _up(SMALLEST, multiple))
    if tile < least:
        raise UserError(
            f"tile={tile}: too small for the networks of the checkpoint's model; take {least} or "
            "more."
        )
    if tile % multiple:
        raise UserError(
            f"tile={tile}: the networks of the checkpoint's model take sides that are multiples of "
            f"{multiple}; take tile={_up(tile, multiple)}."
        )


def tiling(network: Callable[[Tensor], Tensor], channels: int, tile: int, multiple: int) -> Tiling:
    """The tiles for a network: of an overlap that hides their edges if that is at most half of
    them, else of a fixed one.

    Args:
        network: (1, channels, h, w) -> (1, C, r h, r w).
        tile: side of the tiles.
        multiple: what the sides of its inputs must be multiples of.

    Raises:
        UserError: see `refuse_unfit`.
    """
    refuse_unfit(tile, multiple)
    probed = max(tile, _up(PROBED, multiple))
    found, ratio = reach(network, channels, probed, multiple)
    if found is not None and REACHES * found <= tile:
        overlap, margin = _up(2 * found, multiple), found
    else:
        overlap = _up(tile // SHARE, multiple)
        margin = overlap // DROPPED
    return Tiling(tile, overlap, margin, ratio, found, probed, multiple)


def reach(
    network: Callable[[Tensor], Tensor], channels: int, side: int, multiple: int
) -> tuple[int | None, int]:
    """How far from a pixel a network looks, in pixels of its input, at most; None if as far as the
    edge of a square of this side. And how many times larger its output is.

    A few pixels that are no numbers make all outputs that see them no numbers, whatever the
    weights are.

    Args:
        network, channels, multiple: see `tiling`.
    """
    x = torch.zeros(1, channels, side, side)
    start = side // 2 // multiple * multiple
    stop = start + multiple  # at all places that halvings treat differently
    x[..., start:stop, start:stop] = torch.nan
    seen = network(x)[0].isnan().any(dim=0)

    ratio, furthest = seen.shape[-1] // side, 0
    for line in (seen.any(dim=0), seen.any(dim=1)):
        places = line.nonzero()
        if not len(places):  # it does not look at its input
            continue
        first, last = int(places[0]), int(places[-1])
        if first == 0 or last == len(line) - 1:
            return None, ratio
        furthest = max(furthest, ratio * start - first, last + 1 - ratio * stop)
    return -(-furthest // ratio), ratio


def strips(render: Render, height: int, width: int, tiles: Tiling) -> Iterator[tuple[int, Tensor]]:
    """The output in strips as high as a tile, each with its top row: (C, rows, r width).

    A strip takes the place of the rows of the one before that it overlaps.

    Args:
        render: see `Render`.
        height, width: of the input.
    """
    ratio, before, top_before = tiles.ratio, torch.empty(0), 0
    high, wide = min(tiles.side, height), min(tiles.side, width)
    for top in starts(height, tiles):
        strip: Tensor | None = None
        stop = 0
        for left in starts(width, tiles):
            made = render(top, left, high, wide)
            if strip is None:
                strip = made.new_empty(*made.shape[:2], ratio * width)
            elif stop > left:
                covered = strip[..., ratio * left : ratio * stop]
                made = joined(covered, made, ratio * tiles.margin, dim=2)
            stop = left + wide
            strip[..., ratio * left : ratio * stop] = made

        assert strip is not None  # a picture has a tile
        if 0 < top < top_before + high:
            covered = before[:, ratio * (top - top_before) :]
            strip = joined(covered, strip, ratio * tiles.margin, dim=1)
        yield ratio * top, strip
        before, top_before = strip, top


def starts(length: int, tiles: Tiling) -> list[int]:
    """Where tiles start along a side; the last one ends with it."""
    step = tiles.side - tiles.overlap
    return [*range(0, length - tiles.side, step), max(0, length - tiles.side)]


def joined(before: Tensor, after: Tensor, margin: int, dim: int) -> Tensor:
    """`after` with its beginning along a dimension blended with what lies there already: linearly,
    but for a margin at either edge.

    Args:
        before: what `after` overlaps, as long along `dim` as the overlap.
        margin: see `Tiling`, in pixels of the output.
    """
    overlap = before.shape[dim]
    places = torch.arange(overlap) + 0.5 - margin
    weight = (places / max(overlap - 2 * margin, HARD)).clamp(0, 1)
    along = weight.view([-1 if i == dim else 1 for i in range(after.dim())])
    beginning, rest = after.split([overlap, after.shape[dim] - overlap], dim=dim)
    return torch.cat([torch.lerp(before, beginning, along), rest], dim=dim)


def _up(number: int, multiple: int) -> int:
    """The next multiple that is not smaller."""
    return -(-number // multiple) * multiple
