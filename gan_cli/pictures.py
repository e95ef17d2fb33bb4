"""Pictures of samples: grids of images, scatter plots of points."""

import base64
import gc
import io
import logging
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli.errors import UserError
from gan_cli.files import replacing, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_GIF = 65535  # pixels a side that the GIF format allows
CAPTION = 16  # height in pixels of a line of text below a picture
RESOLUTION = 100  # points a side at which a critic is evaluated for its level sets
SMALLEST_TILE = 40  # pixels a side of an image in a grid, so that 8x8 digits are visible


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def panels(columns: Sequence[Tensor]) -> Tensor:
    """Images side by side for a grid of as many columns, (n * columns, C, H, W).

    Args:
        columns: images of each column, (n, C, H, W); grey ones become colours beside colours, and
            small ones are enlarged to the largest.
    """
    channels = max(images.shape[1] for images in columns)
    size = max((images.shape[2:] for images in columns), key=lambda sides: sides[0] * sides[1])
    alike = [
        interpolate(images, size=size, mode="nearest").expand(-1, channels, -1, -1)
        for images in columns
    ]
    return torch.stack(alike, dim=1).flatten(0, 1)


def side_by_side(columns: Sequence[Tensor]) -> Tensor:
    """Images (n, C, H, W), each beside those of its row in the other columns, (n, C, H, k W); the
    columns as in `panels`, in [-1, 1] or as bytes."""
    rows = panels(columns).unflatten(0, (-1, len(columns)))
    return torch.cat(list(rows.unbind(dim=1)), dim=3)


def enlarged(images: Tensor) -> Tensor:
    """Images (n, C, H, W) as bytes, with pixels repeated so that small images are visible."""
    factor = max(1, ceil(SMALLEST_TILE / images.shape[-1]))
    return to_uint8(images).repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def png(pixels: np.ndarray) -> bytes:
    """The content of a PNG file of pixels (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def data_url(pixels: np.ndarray) -> str:
    """Pixels (H, W, 3) as an address of a PNG that a page shows."""
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"


def write(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG atomically; its folder is created."""
    write_bytes(path, png(pixels))


def write_gif(path: Path, frames: Sequence[np.ndarray], seconds: float = 0.1) -> None:
    """Write frames of equal size as a GIF that repeats, atomically; its folder is created.

    Args:
        path: the file.
        frames: (H, W, 3) uint8 each.
        seconds: duration of a frame.

    Raises:
        UserError: the frames are too large for the format.
    """
    if max(frames[0].shape) > LARGEST_GIF:
        raise UserError(
            f"n: a picture of {frames[0].shape[1]}x{frames[0].shape[0]} is too large for a GIF; "
            "take fewer."
        )
    first, *others = map(Image.fromarray, frames)
    with replacing(path) as temporary:
        first.save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=int(1000 * seconds),
            loop=0,
        )


def captioned(pixels: np.ndarray, text: str) -> np.ndarray:
    """A picture with a line of text below it."""
    height, width, _ = pixels.shape
    sheet = Image.new("RGB", (width, height + CAPTION), "white")
    sheet.paste(Image.fromarray(pixels))
    ImageDraw.Draw(sheet).text((4, height + 2), text, fill="black")
    return np.asarray(sheet)


def level_sets(
    value: Callable[[Tensor], Tensor],
    extent: float,
    shown: Sequence[tuple[Tensor, str]],
    title: str,
) -> "Figure":
    """A figure of a critic's level sets, with points over them.

    Args:
        value: the critic's values, (n,), at points (n, 2).
        extent: half the side of the square that is shown.
        shown: points (n, 2), each set with its colour.
        title: title of the figure.
    """
    from matplotlib.figure import Figure

    axis = torch.linspace(-extent, extent, RESOLUTION)
    with torch.no_grad():
        values = value(torch.cartesian_prod(axis, axis))
    height = values.view(RESOLUTION, RESOLUTION).T.cpu()

    figure = Figure(figsize=(5, 5), dpi=100, layout="tight")
    axes = figure.add_subplot(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    axes.contourf(axis, axis, height, levels=24, cmap="viridis")
    axes.contour(axis, axis, height, levels=24, colors="white", linewidths=0.4)
    for points, colour in shown:
        axes.scatter(points[:, 0], points[:, 1], s=3, c=colour, linewidths=0)
    axes.set_title(title, fontsize=8)
    return figure


def pixels_of(image: Tensor) -> np.ndarray:
    """An image of bytes (C, H, W) with one or three channels, as an array (H, W, 3)."""
    return image.expand(3, -1, -1).permute(1, 2, 0).numpy()


def grid(images: Tensor, columns: int) -> np.ndarray:
    """Images (n, C, H, W) in [-1, 1] in rows of `columns`, as an array (H, W, 3) of bytes."""
    from torchvision.utils import make_grid

    return pixels_of(make_grid(enlarged(images), nrow=columns, padding=2, pad_value=128))


def scatter(
    points: Tensor, extent: float, names: Sequence[str], real: Tensor | None = None
) -> np.ndarray:
    """A scatter plot of the first two coordinates; a histogram if there is only one.

    Args:
        points: (n, coordinates).
        extent: half the side of the square that is shown.
        names: names of the coordinates; empty if they have none.
        real: points to show in grey behind them.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # no messages about fonts
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=100, layout="tight")
    axes = figure.add_subplot(xlim=(-extent, extent))
    for values, colour, label in ((real, "0.7", "held out"), (points, "tab:blue", "samples")):
        if values is not None and points.shape[1] == 1:
            axes.hist(
                values[:, 0].numpy(),
                bins=60,
                density=True,
                histtype="step",
                color=colour,
                label=label,
            )
        elif values is not None:
            axes.scatter(values[:, 0], values[:, 1], s=3, c=colour, linewidths=0, label=label)

    if points.shape[1] > 1:
        axes.set(ylim=(-extent, extent), aspect="equal")
    for axis, name in zip("xy", names, strict=False):
        # a dollar sign would begin a formula
        axes.set(**{f"{axis}label": name.replace("$", r"\$")})
    axes.legend(loc="upper right", markerscale=3)
    return drawn(figure)


def drawn(figure: "Figure") -> np.ndarray:
    """A matplotlib figure as an array of bytes, (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # frees the previous figure: its objects refer to each other, and a loop that creates few
    # objects would not collect them for hours
    gc.collect()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
