"""Resizing of stored images."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

CHUNK = 5000  # images that are converted to floats at a time


def resized(images: Tensor, size: int) -> Tensor:
    """Images scaled to squares of side `size` by (antialiased) bilinear interpolation, as bytes.

    Args:
        images: (N, C, H, W), with values in [0, 255].
        size: the new side in pixels.
    """
    if images.shape[-1] == size:
        return images.round().to(torch.uint8) if images.is_floating_point() else images

    shrinks = images.shape[-1] > size
    chunks = [
        interpolate(chunk.float(), size=size, mode="bilinear", antialias=shrinks)
        for chunk in images.split(CHUNK)
    ]
    return torch.cat([chunk.round().clamp(0, 255).to(torch.uint8) for chunk in chunks])


def resizing(before: int, after: int) -> str:
    """Description of what `resized` does to images of side `before`; `none` if it does nothing."""
    if before == after:
        return "none"
    method = "antialiased bilinear" if after < before else "bilinear"
    return f"{before}x{before} to {after}x{after} by {method} interpolation"
