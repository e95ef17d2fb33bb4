"""Data sets that are made of other ones: the images, and what is made of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d
from torchvision.transforms.functional import gaussian_blur

from gan_cli import noise, registry
from gan_cli.data.dataset import Dataset
from gan_cli.errors import UserError

CHUNK = 1000  # images that something is made of at a time
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, as in ITU-R BT.601
HOLE = 0.5  # side of the hole of a masked image, as a fraction of the image's
BLUR = 2.0  # standard deviation of a blurred image's kernel, in pixels
NOISE = 50.0  # standard deviation of the noise of an image, in 256ths of its range
SKETCH = {"deviation": 0.7, "ratio": 1.6, "sharpness": 20.0, "threshold": 0.5, "steepness": 10.0}
"""Of the lines of a sketch: the narrower kernel's deviation in pixels and the wider one's over it,
the weight of their difference, and where and how steeply light turns dark."""


def original(name: str, image_size: int | None, root: str | None, **options: Any) -> Dataset:
    """The data set that another one is made of.

    Args:
        image_size, root: as that data set has them; `root` is left out where it has none.
        options: further ones of that data set.

    Raises:
        UserError: it has images of one size.
    """
    own = registry.datasets.options(name, "data")
    if image_size is not None and "image_size" not in own:
        raise UserError(f"data.image_size={image_size}: data.of={name} has one size; leave it out.")
    given = {"image_size": image_size, "root": root}
    options |= {key: value for key, value in given.items() if key in own and value is not None}
    return registry.datasets.build({"name": name, **options}, "data")


# --- maps from a domain to another ----------------------------------------------------------------


def _negative(x: Tensor) -> Tensor:
    return 255 - x if x.dtype == torch.uint8 else -x


def _edges(x: Tensor) -> Tensor:
    """Edges of bright areas: the difference of the image's 3x3 dilation and the image."""
    values = x.float() if x.dtype == torch.uint8 else (x + 1) * 127.5
    edges = max_pool2d(values, kernel_size=3, stride=1, padding=1) - values
    return edges.round().to(torch.uint8) if x.dtype == torch.uint8 else edges / 127.5 - 1


MAPS: dict[str, Callable[[Tensor], Tensor]] = {"negative": _negative, "edges": _edges}
"""Maps from images of the first domain, bytes or in [-1, 1], to those of the second domain."""


# --- inputs that are made of images ---------------------------------------------------------------


def made(name: str, x: Tensor, factor: int, split: str) -> Tensor:
    """The inputs that are made of images, in bytes or in [-1, 1], as the images are."""
    if name == "grey" and x.shape[1] == 1:
        raise UserError("data.make=grey: the images are grey; take colours, or another data.make.")
    if name in SCALED and x.shape[-1] % factor:
        raise UserError(
            f"data.factor={factor}: does not divide the side of the images, {x.shape[-1]}."
        )
    random = noise.generator(f"made {split}")
    return torch.cat([MAKERS[name](part, factor, random) for part in x.split(CHUNK)])


def _like(values: Tensor, x: Tensor) -> Tensor:
    """Values computed in float32, in the type of the images."""
    return values.round().clamp(0, 255).to(x.dtype) if x.dtype == torch.uint8 else values


def _grey(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The luminance of colours, (N, 3, H, W) -> (N, 1, H, W)."""
    weights = torch.tensor(LUMINANCE, device=x.device).view(1, 3, 1, 1)
    return _like((x.float() * weights).sum(dim=1, keepdim=True), x)


def _edges_of_grey(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The edges of bright areas, (N, C, H, W) -> (N, 1, H, W)."""
    return MAPS["edges"](_grey(x, factor, random) if x.shape[1] == 3 else x)


def _low_resolution(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The image with every `factor` x `factor` pixels averaged."""
    small = interpolate(x.float(), scale_factor=1 / factor, mode="area")
    return _like(interpolate(small, scale_factor=factor, mode="nearest"), x)


def _downscaled(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The image at a `factor`-th of its side, by bicubic interpolation of the smoothed image."""
    small = interpolate(x.float(), scale_factor=1 / factor, mode="bicubic", antialias=True)
    return _like(small, x) if x.dtype == torch.uint8 else small.clamp(-1, 1)


def _blur(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The image, blurred by a Gaussian."""
    return _like(_smoothed(x.float(), BLUR), x)


def _noise(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The image with Gaussian noise in every number, cut to the range of images."""
    scale = NOISE if x.dtype == torch.uint8 else NOISE / 127.5
    noisy = x.float() + scale * torch.randn(x.shape, generator=random).to(x.device)
    return _like(noisy, x) if x.dtype == torch.uint8 else noisy.clamp(-1, 1)


def _sketch(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """Dark lines on white, (N, C, H, W) -> (N, 1, H, W): the extended difference of Gaussians.

    Reference: Winnemoeller et al., 2012, "XDoG: An eXtended difference-of-Gaussians compendium
    including advanced image stylization", equations 7 and 5.
    """
    grey = _grey(x, factor, random) if x.shape[1] == 3 else x
    light = grey.float() / 255 if x.dtype == torch.uint8 else (grey + 1) / 2
    narrow, wide = (
        _smoothed(light, SKETCH["deviation"] * scale) for scale in (1.0, SKETCH["ratio"])
    )
    sharpened = narrow + SKETCH["sharpness"] * (narrow - wide)
    dark = 1 + torch.tanh(SKETCH["steepness"] * (sharpened - SKETCH["threshold"]))
    lines = torch.where(sharpened >= SKETCH["threshold"], torch.ones_like(dark), dark.clamp(0, 1))
    return _like(255 * lines, x) if x.dtype == torch.uint8 else 2 * lines - 1


def _smoothed(x: Tensor, deviation: float) -> Tensor:
    """Images under a Gaussian that reaches as far as their sides allow."""
    reach = min(int(3 * deviation + 0.5), min(x.shape[-2:]) - 1)
    return torch.as_tensor(gaussian_blur(x, [2 * reach + 1] * 2, [deviation] * 2))


def _mask(x: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """The image with a grey hole at a random place."""
    n, _, height, width = x.shape
    rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
    inside = []
    for places, side in ((rows, height), (columns, width)):
        hole = max(1, int(HOLE * side))
        start = torch.randint(side - hole + 1, (n, 1), generator=random).to(x.device)
        inside.append((places >= start) & (places < start + hole))
    hidden = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
    grey = 128 if x.dtype == torch.uint8 else 0
    return torch.where(hidden, torch.full_like(x, grey), x)


MAKERS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "blur": _blur,
    "downscaled": _downscaled,
    "edges": _edges_of_grey,
    "grey": _grey,
    "low_resolution": _low_resolution,
    "mask": _mask,
    "noise": _noise,
    "sketch": _sketch,
}
"""Functions that make inputs of images, by the value of `data.make`."""
SCALED = ("downscaled", "low_resolution")
"""Those of them that need sides which `data.factor` divides."""
