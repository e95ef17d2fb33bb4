"""Black and white points of images of more than 8 bits: one range of values for a whole folder."""

from typing import Any

import numpy as np
from PIL import Image

Range = tuple[float, float]
KINDS = {"integers": "integers of more than 8 bits", "floats": "values with a point"}
TOLERANCE = 0.05  # fraction of 1 or 255 by which resampling and rounding may exceed it


def kind(image: Image.Image) -> str:
    """`integers` or `floats` if the values of an image need a range; empty if they are bytes."""
    if image.mode == "F":
        return "floats"
    return "integers" if image.mode == "I" or image.mode.startswith("I;16") else ""


def values(image: Image.Image) -> Any:
    """The values of an image of more than 8 bits, (H, W) float32.

    NaN becomes 0, and infinite values become the largest or smallest finite one.
    """
    pixels = np.asarray(image)
    if np.isfinite(pixels).all():
        return pixels.astype(np.float32)
    finite = pixels[np.isfinite(pixels)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    return np.nan_to_num(pixels.astype(np.float32), nan=0.0, posinf=high, neginf=low)


def of_folder(kind: str, low: float, high: float) -> Range:
    """The values of black and white in a folder whose files have values from `low` to `high`.

    Integers are taken for counts of a camera: from 0 to the next 2^bits - 1, 255 or more. Values
    with a point are taken for [0, 1], [-1, 1] or [0, 255] if they exceed these ranges by no more
    than `TOLERANCE`. Any other values have their own range.
    """
    if kind == "integers":
        return (0, 2 ** max(8, int(high).bit_length()) - 1) if low >= 0 else (low, high)
    if low >= -TOLERANCE * max(high, 0) and high <= 1 + TOLERANCE:
        return 0, 1
    if low >= -1 - TOLERANCE and high <= 1 + TOLERANCE:
        return -1, 1
    if low >= -TOLERANCE * high and 127.5 <= high <= 255 * (1 + TOLERANCE):
        return 0, 255
    return low, high


def as_bytes(values: Any, black_to_white: Range) -> Any:
    """Values as bytes: black becomes 0, white becomes 255, and values outside are clipped."""
    low, high = black_to_white
    width = high - low or 1  # 0 if all values of the folder are equal
    return ((values.astype(np.float64) - low) * (255 / width)).round().clip(0, 255).astype(np.uint8)
