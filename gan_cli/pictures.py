"""Samples as something to look at: a grid of images, a scatter of points."""

import gc
import logging
from collections.abc import Callable, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gan_cli.data.spec import Spec
from gan_cli.errors import UserError
from gan_cli.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_GIF = 65535  # pixels a side that the format can say
CAPTION = 16  # pixels of a line below a picture
FINENESS = 100  # values a side of level sets
SMALLEST_TILE = 40  # pixels a side, so that 8x8 digits can be seen


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def picture(
    samples: Tensor, spec: Spec, real: Tensor | None = None, columns: int = 0
) -> np.ndarray:
    """One picture of many samples, (H, W, 3) uint8.

    Args:
        samples: (n, *spec.shape).
        real: points to show in grey behind the samples.
        columns: of a grid of images; 0 makes it square.
    """
    return _scatter(samples, spec, real) if spec.kind == "points" else _grid(samples, columns)


def enlarged(images: Tensor) -> Tensor:
    """Bytes of (n, C, H, W), each pixel repeated until a tile can be seen."""
    factor = max(1, ceil(SMALLEST_TILE / images.shape[-1]))
    return to_uint8(images).repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def write(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG, atomically; its folder is made."""
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def write_gif(path: Path, frames: Sequence[np.ndarray], seconds: float = 0.1) -> None:
    """Write frames of one size as a GIF that begins again at its end, atomically; its folder is
    made."""
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
    """A critic's level sets over the square of half side `extent`, and points in their colours over
    them."""
    from matplotlib.figure import Figure

    axis = torch.linspace(-extent, extent, FINENESS)
    with torch.no_grad():
        height = value(torch.cartesian_prod(axis, axis)).view(FINENESS, FINENESS).T.cpu()
    figure = Figure(figsize=(5, 5), dpi=100, layout="tight")
    axes = figure.add_subplot(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    axes.contourf(axis, axis, height, levels=24, cmap="viridis")
    axes.contour(axis, axis, height, levels=24, colors="white", linewidths=0.4)
    for points, colour in shown:
        axes.scatter(points[:, 0], points[:, 1], s=3, c=colour, linewidths=0)
    axes.set_title(title, fontsize=8)
    return figure


def pixels_of(image: Tensor) -> np.ndarray:
    """(C, H, W) bytes of one or three channels as (H, W, 3)."""
    return (
        image.expand(3, -1, -1).permute(1, 2, 0).numpy()
        if len(image) == 1
        else image.permute(1, 2, 0).numpy()
    )


def _grid(images: Tensor, columns: int) -> np.ndarray:
    from torchvision.utils import make_grid

    return pixels_of(
        make_grid(
            enlarged(images), nrow=columns or ceil(sqrt(len(images))), padding=2, pad_value=128
        )
    )


def _scatter(points: Tensor, spec: Spec, real: Tensor | None) -> np.ndarray:
    """The first two coordinates, or a histogram where there is one only."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # no word about fonts
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=100, layout="tight")
    axes = figure.add_subplot(xlim=(-spec.extent, spec.extent))
    for values, colour, label in ((real, "0.7", "held out"), (points, "tab:blue", "samples")):
        if values is not None and spec.shape[0] == 1:
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
    if spec.shape[0] > 1:
        axes.set(ylim=(-spec.extent, spec.extent), aspect="equal")
    names = [name.replace("$", r"\$") for name, *_ in spec.units]
    axes.set(
        **{
            f"{axis}label": f"{name} (standardised)"
            for axis, name in zip("xy", names, strict=False)
        }
    )
    axes.legend(loc="upper right", markerscale=3)
    return drawn(figure)


def drawn(figure: "Figure") -> np.ndarray:
    """A matplotlib figure as bytes, (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # the figure before: a knot of references, which a loop that makes few objects leaves lying for
    # hours
    gc.collect()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
