"""What is black and what is white in files of more than 8 bits: one range of values for all of a
folder."""

from typing import Any

import numpy as np
from PIL import Image

Range = tuple[float, float]
KINDS = {"integers": "integers of more than 8 bits", "floats": "values with a point"}
# by how much of 1 or 255 values with a point may pass it: what resampling and rounding leave
OVER = 0.05


def kind(image: Image.Image) -> str:
    """`integers` or `floats` if the values of an image need a range, nothing if they are bytes."""
    if image.mode == "F":
        return "floats"
    return "integers" if image.mode == "I" or image.mode.startswith("I;16") else ""


def values(image: Image.Image) -> Any:
    """The values of a wide image, (H, W) float32; 0 where there is no number, infinite ones as the
    largest there."""
    found = np.asarray(image)
    if np.isfinite(found).all():
        return found.astype(np.float32)
    finite = found[np.isfinite(found)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    return np.nan_to_num(found.astype(np.float32), nan=0.0, posinf=high, neginf=low)


def of_folder(kind: str, low: float, high: float) -> Range:
    """The values that are black and white, where those of a folder's files run from `low` to
    `high`.

    Integers are counts of a camera of so many bits: from 0 to the next 2^bits - 1, 255 or more.
    Values with a point lie in [0, 1], [-1, 1] or [0, 255], and may pass these ends by a little.
    Whatever is none of these has its own range.
    """
    if kind == "integers":
        return (0, 2 ** max(8, int(high).bit_length()) - 1) if low >= 0 else (low, high)
    if low >= -OVER * max(high, 0) and high <= 1 + OVER:
        return 0, 1
    if low >= -1 - OVER and high <= 1 + OVER:
        return -1, 1
    if low >= -OVER * high and 127.5 <= high <= 255 * (1 + OVER):
        return 0, 255
    return low, high


def as_bytes(values: Any, black_to_white: Range) -> Any:
    """Values as bytes: the lower end of the range is 0, the upper 255, and what lies outside is cut
    off."""
    low, high = black_to_white
    width = high - low or 1  # all values of the folder are one
    return ((values.astype(np.float64) - low) * (255 / width)).round().clip(0, 255).astype(np.uint8)
