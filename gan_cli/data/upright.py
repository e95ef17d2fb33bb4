"""Images of files as they are seen: turned as EXIF says, and on white.

Training data and the inputs of a trained model are read by the same functions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from gan_cli.data import brightness
from gan_cli.errors import UserError
from gan_cli.reading import images as decoding

Shape = tuple[int, int, int]
PASSING = "(now) "  # begins the line of a file that may be readable another time


@dataclass(frozen=True)
class Stored:
    """An image of the sides of the packed file.

    Args:
        values: its bytes (channels, height, width); float32 (height, width) for a wide image.
        side: the shorter side of the image in its file.
        truncated: whether it was reduced to the upper 8 of 16 bits.
        kind: see `brightness.kind`.
        extremes: smallest and largest value of a wide image.
    """

    values: bytes
    side: int
    truncated: bool = False
    kind: str = ""
    extremes: brightness.Range = (0, 0)


@dataclass(frozen=True)
class _Upright:
    """An image as it is seen: turned as its EXIF orientation says, and on white.

    Args:
        pixels: grey, or of three channels; of mode F for a wide image.
        side: its shorter side in the file.
        truncated, kind: see `Stored`.
    """

    pixels: Image.Image
    side: int
    truncated: bool
    kind: str


@contextmanager
def _upright(path: Path, channels: int, needed: int = 0) -> Iterator[_Upright]:
    """The image in a file, for which memory is reserved in the block: the only way in which images
    are read, for training and for use.

    A grey one stays grey, since it is resized faster, with the same result.

    Args:
        channels: 1 or 3, of the images that are wanted.
        needed: the side that it will be resized to; 0 for none.

    Raises:
        Exception: any type that a decoder raises for a damaged file.
    """
    with decoding.opened(path) as image:
        side, truncated = min(image.size), decoding.loses_bits(image)
        if needed:
            decoding.draft(image, needed)
        ImageOps.exif_transpose(image, in_place=True)
        if kind := brightness.kind(image):
            yield _Upright(Image.fromarray(brightness.values(image)), side, truncated, kind)
            return

        opaque = _on_white(image)
        mode = "L" if channels == 1 or opaque.mode in ("1", "L") else "RGB"
        pixels = opaque if opaque.mode == mode else opaque.convert(mode)
        yield _Upright(pixels, side, truncated, kind)


def read(path: Path, shape: Shape, exact: bool = False) -> Stored | str:
    """The image in a file; if it cannot be read, its path and the reason."""
    try:
        with _upright(path, shape[0], needed=shape[1]) as found:
            if found.kind:
                before = np.asarray(found.pixels)
                extremes = float(before.min()), float(before.max())
                values = np.asarray(_fit(found.pixels, shape)).tobytes()
                return Stored(values, found.side, kind=found.kind, extremes=extremes)
            fitted = _fit(found.pixels, shape, exact)
            return Stored(_channels_first(fitted, shape[0]).tobytes(), found.side, found.truncated)
    except Exception as error:  # decoders raise any type for a damaged file
        return f"{PASSING if decoding.is_passing(error) else ''}{path}: {decoding.why(error)}"


def _channels_first(image: Image.Image, channels: int) -> Any:
    """An image of 8 bits as bytes, (channels, height, width)."""
    mode = "L" if channels == 1 else "RGB"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1))


def fitted(path: Path, shape: tuple[int, ...], exact: bool = False) -> torch.Tensor:
    """The image in a file as bytes, (channels, height, width), resized and cropped as a folder's.

    Raises:
        UserError: it cannot be read, or has more than 8 bits; the message does not name the file.
    """
    channels, height, width = shape
    image = read(path, (channels, height, width), exact)
    if isinstance(image, str):
        reason = image.removeprefix(PASSING).removeprefix(f"{path}: ")
        raise UserError(f"cannot be read as an image ({reason}).")
    if image.kind:
        raise UserError("has more than 8 bits a value; save it with 8.")
    return torch.frombuffer(bytearray(image.values), dtype=torch.uint8).reshape(shape)


def uncropped(path: Path, channels: int, multiple: int) -> torch.Tensor:
    """The image in a file as bytes, (channels, height, width), in its own size: of each side as
    much as is a multiple, from the middle.

    Raises:
        UserError: as `fitted`, or a side is shorter than that.
    """
    try:
        with _upright(path, channels) as found:
            pixels: Any = None if found.kind else _channels_first(found.pixels, channels)
    except Exception as error:  # decoders raise any type for a damaged file
        raise UserError(f"cannot be read as an image ({decoding.why(error)}).") from None
    if found.kind:
        raise UserError("has more than 8 bits a value; save it with 8.")

    whole = pixels.shape[1:]
    height, width = (side - side % multiple for side in whole)
    if not height or not width:
        raise UserError(f"is {whole[1]}x{whole[0]}; both sides must be {multiple} or more.")
    top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
    cut = pixels[:, top : top + height, left : left + width]
    return torch.from_numpy(cut.copy())


def _fit(image: Image.Image, shape: Shape, exact: bool = False) -> Image.Image:
    """An image resized to cover height and width, and its middle."""
    _, height, width = shape
    way = Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS
    return ImageOps.fit(image, (width, height), way)


def _on_white(image: Image.Image) -> Image.Image:
    """The image on a white background, if it is transparent anywhere."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
