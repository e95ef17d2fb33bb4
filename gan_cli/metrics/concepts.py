"""Concepts in images, pixel by pixel: by a segmenter that is trained on labelled data, or by
colours with names.

They tell what the units of a generator stand for, see `gan_cli.sampling.dissection`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, max_pool2d

from gan_cli import noise
from gan_cli.data.dataset import Dataset, count
from gan_cli.errors import UserError
from gan_cli.metrics.judges import kept_or_trained

STEPS, BATCH = 1500, 32  # of the segmenter's training
LEARNING_RATE = 3e-3  # at its first step; it decays linearly to 0
WIDTH = 16  # channels of the segmenter at the image's side
TRAINED, HELDOUT = 5000, 500  # images that it learns from, and is tested on, at most
CHUNK = 250  # images that are segmented at a time
GREY = 0.25  # saturation below which a colour has no hue
DARK, BRIGHT = 0.3, 0.75  # of the value, from 0 to 1
HUES = {"red": 0, "yellow": 55, "green": 120, "cyan": 180, "blue": 220, "violet": 290}
"""Hues with names, in degrees; a hue has the name of the nearest one."""


@dataclass(frozen=True)
class Concepts:
    """Named concepts and where images show them.

    Args:
        names: of the concepts.
        segment: images (n, C, H, W) in [-1, 1] -> masks (n, concepts, H, W), true where a pixel
            shows the concept; a pixel may show several.
        description: one line on how it is done.
        accuracy: intersection over union with the true masks of held-out images, by concept; empty
            where concepts are colours by definition.
    """

    names: tuple[str, ...]
    segment: Callable[[Tensor], Tensor]
    description: str
    accuracy: tuple[float, ...] = ()

    def masks(self, images: Tensor) -> Tensor:
        """Masks of images, in chunks; see `segment`."""
        return torch.cat([self.segment(part) for part in images.split(CHUNK)])


# --- colours --------------------------------------------------------------------------------------


def colours_of(shape: tuple[int, ...]) -> Concepts:
    """Colours with names; of grey images, dark and bright ones only.

    Args:
        shape: of an image, (C, H, W).
    """
    names = ("dark", "bright", *(HUES if shape[0] == 3 else ()))
    text = f"value below {DARK:g} is dark, grey above {BRIGHT:g} bright"
    if shape[0] == 3:
        text += f"; saturation from {GREY:g} on is a hue"
    return Concepts(names, _colours, f"colours with names ({text})")


def _colours(images: Tensor) -> Tensor:
    """Masks of dark, bright and of each hue, (n, 8, H, W); (n, 2, H, W) of grey images."""
    pixels = (images.clamp(-1, 1) + 1) / 2
    if pixels.shape[1] != 3:
        grey = pixels.mean(dim=1)
        return torch.stack([grey < DARK, grey > BRIGHT], dim=1)

    from matplotlib.colors import rgb_to_hsv

    hue, saturation, value = np.moveaxis(rgb_to_hsv(pixels.movedim(1, -1).numpy()), -1, 0)
    distances = np.abs(360 * hue[..., None] - np.array([*HUES.values()]))
    nearest = np.minimum(distances, 360 - distances).argmin(axis=-1)
    dark = value < DARK
    bright = (value > BRIGHT) & (saturation < GREY)
    vivid = (saturation >= GREY) & ~dark
    hues = [vivid & (nearest == i) for i in range(len(HUES))]
    return torch.from_numpy(np.stack([dark, bright, *hues], axis=1))


# --- a segmenter ----------------------------------------------------------------------------------


class Segmenter(nn.Module):
    """A small U-Net: (N, C, H, W) -> logits of each concept, (N, concepts, H, W), for any sides."""

    def __init__(self, channels: int, concepts: int, width: int = WIDTH) -> None:
        super().__init__()
        self.first = _twice(channels, width)
        self.second = _twice(width, 2 * width)
        self.third = _twice(2 * width, 4 * width)
        self.inner = _twice(4 * width, 4 * width)
        self.up_third = _twice(8 * width, 2 * width)
        self.up_second = _twice(4 * width, width)
        self.head = nn.Conv2d(2 * width, concepts, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(_halved(first))
        third = self.third(_halved(second))
        inner = self.inner(_halved(third))
        x = self.up_third(torch.cat([third, _grown(inner, third)], dim=1))
        x = self.up_second(torch.cat([second, _grown(x, second)], dim=1))
        logits: Tensor = self.head(torch.cat([first, _grown(x, first)], dim=1))
        return logits


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


def _halved(x: Tensor) -> Tensor:
    return max_pool2d(x, 2, ceil_mode=True)


def _grown(x: Tensor, like: Tensor) -> Tensor:
    return interpolate(x, size=like.shape[2:], mode="nearest")


def learnt_from(dataset: Dataset) -> Concepts:
    """Concepts of the data's own masks, by a segmenter that is trained once and kept in the cache.

    Raises:
        UserError: the data have no masks.
    """
    names = dataset.concepts
    if not names:
        raise UserError(
            "concepts=masks: the data have no masks to learn from, as data=shapes has; take "
            "concepts=colours."
        )
    network = kept_or_trained(
        "segmenter",
        _digest(dataset),
        lambda: Segmenter(dataset.spec.shape[0], len(names)),
        lambda: _train(dataset),
    )
    network.eval().requires_grad_(False)
    concepts = Concepts(names, lambda images: network(images) > 0, "")

    n = min(HELDOUT, count(dataset.heldout))
    found = concepts.masks(dataset.decode({"x": dataset.heldout["x"][:n]})["x"])
    ious = tuple(intersection_over_union(found, dataset.masks("heldout", slice(0, n))).tolist())
    text = f"a segmenter trained on the data's masks, tested on {n} held-out images"
    return Concepts(names, concepts.segment, text, ious)


def intersection_over_union(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of masks (n, concepts, H, W) over all images and pixels, (concepts,);
    0 where both are empty."""
    both, either = ((a & b).sum(dim=(0, 2, 3)), (a | b).sum(dim=(0, 2, 3)))
    return both / either.clamp_min(1)


def _digest(dataset: Dataset) -> str:
    """A digest of everything that decides the segmenter: images, masks and the constants."""
    digest = hashlib.sha256(f"{dataset.concepts} {WIDTH} {STEPS} {BATCH} {TRAINED}".encode())
    digest.update(dataset.train["x"][:TRAINED].cpu().contiguous().numpy().tobytes())
    digest.update(dataset.masks("train", slice(0, TRAINED)).numpy().tobytes())
    return digest.hexdigest()[:16]


def _train(dataset: Dataset) -> Segmenter:
    """Train a segmenter by Adam, reproducibly: its random numbers depend on the data alone."""
    noise.begin_turn("segmenter")
    network = Segmenter(dataset.spec.shape[0], len(dataset.concepts))
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    masks = dataset.masks("train", slice(0, TRAINED))

    for _ in range(STEPS):
        rows = torch.randint(len(masks), (BATCH,))
        x = dataset.decode({"x": dataset.train["x"][rows]})["x"]
        loss = binary_cross_entropy_with_logits(network(x), masks[rows].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    return network
