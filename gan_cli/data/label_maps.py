"""Maps of labels in files: colours, or numbers as shades of grey, and their palettes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_cli.errors import UserError

NEAR = 48.0  # distance of two colours, of 255 each, up to which one may be a blurred other
FAR = 100.0  # from here on it is another label's, even in the midst of a compressed edge
STRANGE = 0.2  # share of a map's pixels that may have another colour
ROUGH = 32  # shades of a colour that count as one where labels are put in order
SAMPLED = 200  # maps whose colours are counted
CHUNK = 2**20  # pixels whose nearest colours are found at a time
GREY = 32  # shades up to which grey maps are numbers of labels
Colours = Sequence[tuple[int, int, int]]
SHOWN: Colours = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75),
    (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207), (174, 199, 232),
    (255, 187, 120), (152, 223, 138), (255, 152, 150), (197, 176, 213), (196, 156, 148),
    (247, 182, 210), (199, 199, 199), (219, 219, 141), (158, 218, 229),
    (0, 0, 102), (0, 0, 255), (255, 0, 255), (102, 0, 0), (0, 255, 102), (102, 0, 153),
    (102, 255, 0), (0, 255, 0), (102, 0, 255), (204, 0, 153), (255, 255, 0), (102, 153, 255),
)  # fmt: skip
"""Colours in which maps of numbers are shown, one for each of GREY (the tab20 of matplotlib, and
colours far from them)."""


def palette(maps: Tensor, count: int) -> list[tuple[int, int, int]]:
    """The colours of labels, at most so many, in maps of bytes (n, 3, height, width).

    The most frequent ones that differ visibly, since a compressed picture has others around every
    edge; of maps of numbers, all shades.
    """
    pixels = maps[:SAMPLED].movedim(1, -1).reshape(-1, 3)
    colours, counts = pixels.unique(dim=0, return_counts=True)
    if numbered(colours):
        return [(shade, shade, shade) for shade in range(min(count, int(colours.max()) + 1))]

    # flat areas of a compressed picture keep one colour, its edges have many
    order = counts.argsort(descending=True)
    chosen: list[tuple[int, int, int]] = []
    for red, green, blue in colours[order].tolist():
        apart = all(
            (red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2 > NEAR**2 for r, g, b in chosen
        )
        if apart or len(colours) <= count:
            chosen.append((red, green, blue))
        if len(chosen) == count:
            break
    # by rough shades, so that compression does not change the order
    return sorted(chosen, key=lambda colour: ([round(shade / ROUGH) for shade in colour], colour))


def numbered(colours: Tensor | Colours) -> bool:
    """Whether colours, (n, 3), are shades of grey that stand for numbers of labels."""
    table = torch.as_tensor(colours).long()
    grey = (table == table[:, :1]).all()
    return bool(grey) and int(table.max()) < GREY


def labels(maps: Tensor, colours: Colours) -> Tensor:
    """The number of the nearest colour of each pixel, (n, 3, height, width) -> (n, height, width).

    A map of numbers may also be painted in the colours in which such maps are shown.
    """
    pixels = maps.movedim(1, -1).reshape(-1, 3).float()
    table = torch.tensor(_used(maps, colours)).float()
    found = [torch.cdist(part, table).argmin(dim=1) for part in pixels.split(CHUNK)]
    return torch.cat(found).to(torch.uint8).view(len(maps), *maps.shape[2:])


def _used(maps: Tensor, colours: Colours) -> Colours:
    """The colours in which maps are painted: the palette, or those in which numbers are shown."""
    shown = numbered(colours) and int(maps.max()) >= GREY
    return SHOWN[: len(colours)] if shown else colours


def read(pixels: Tensor, colours: Colours) -> Tensor:
    """The labels in a file's bytes, (3, height, width) -> (height, width): colours of the palette,
    or numbers as shades of grey.

    Raises:
        UserError: other numbers or colours; the message does not name the file.
    """
    last, most = len(colours) - 1, int(pixels.max())
    shades = {(shade, shade, shade) for shade in pixels[0].unique().tolist()}
    grey = bool((pixels == pixels[0]).all())
    # a palette may have dark shades of grey itself
    if grey and most < max(GREY, len(colours)) and not shades <= set(colours):
        if most > last:
            raise UserError(f"has numbers up to {most}; those of the labels are 0 to {last}.")
        return pixels[0]

    share = float(strange(pixels[None], colours))
    if share > STRANGE:
        raise UserError(
            f"{share:.0%} of its pixels have a colour that is none of the {len(colours)} labels; "
            f"take a map in the colours of the checkpoint's palette, or of numbers 0 to {last}."
        )
    return labels(pixels[None], colours)[0]


def strange(maps: Tensor, colours: Colours) -> Tensor:
    """The share of the pixels of each map whose colour is none of the palette's, (n,)."""
    table = torch.tensor(_used(maps, colours))
    nearest = table[labels(maps, colours).long()].movedim(-1, 1)
    far = (maps.float() - nearest).square().sum(dim=1).sqrt() > FAR
    return far.flatten(1).float().mean(dim=1)


def coloured(numbers: Tensor, colours: Colours) -> Tensor:
    """Maps of labels in colours, (n, height, width) -> (n, 3, height, width) in [-1, 1]."""
    shown = SHOWN if numbered(colours) else colours
    table = torch.tensor(shown, device=numbers.device).float() / 127.5 - 1
    return table[numbers.long() % len(table)].movedim(-1, 1)


def painted(numbers: Tensor, colours: Colours) -> Tensor:
    """As `coloured`, in bytes."""
    return ((coloured(numbers, colours) + 1) * 127.5).round().to(torch.uint8)
