"""A small world whose truth is known: drawn shapes over textures."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Dataset
from gan_cli.data.spec import Field, Spec
from gan_cli.registry import Count, datasets

SHAPES = ("disc", "square", "triangle", "cross")
COLOURS = {
    "red": (220, 50, 47),
    "green": (64, 160, 43),
    "blue": (38, 100, 210),
    "yellow": (235, 190, 40),
    "violet": (150, 70, 190),
    "white": (240, 240, 240),
}
SIZES = {"small": 0.18, "large": 0.3}
"""Names of the sizes, and half the extent of a shape as a fraction of the image's side."""
WAVES = {"shaded": (0.2, 0.6), "striped": (2.0, 5.0)}
"""How many waves of a texture fit into an image, from least to most."""
GROUND = ((70, 82, 95), (120, 105, 88), (96, 120, 112), (150, 140, 128))
"""Colours of the two parts of a texture."""
CHUNK = 500  # scenes drawn at a time


@dataclass(frozen=True)
class Scenes:
    """What scenes show, one row for each; objects are ordered from the farthest to the nearest.

    Args:
        shape, colour, size: indices in SHAPES, COLOURS and SIZES, (n, objects).
        place: centres in fractions of the side, x and y, (n, objects, 2).
        texture: angle, waves across the image and phase, (n, 3).
        ground: indices of its two colours in GROUND, (n, 2).
    """

    shape: Tensor
    colour: Tensor
    size: Tensor
    place: Tensor
    texture: Tensor
    ground: Tensor

    def __len__(self) -> int:
        return len(self.shape)

    def rows(self, rows: slice) -> "Scenes":
        """Some of the scenes."""
        return Scenes(*(values[rows] for values in vars(self).values()))


def scenes(n: int, objects: int, texture: str, random: torch.Generator) -> Scenes:
    """n random scenes; every property is drawn independently of the others."""

    def index(most: int, *sizes: int) -> Tensor:
        return torch.randint(most, (n, *sizes), generator=random)

    margin = max(SIZES.values()) + 0.02
    angle, waves, phase = (torch.rand(n, generator=random) for _ in range(3))
    least, most = WAVES[texture]
    first = index(len(GROUND))
    other = (first + 1 + index(len(GROUND) - 1)) % len(GROUND)
    return Scenes(
        shape=index(len(SHAPES), objects),
        colour=index(len(COLOURS), objects),
        size=index(len(SIZES), objects),
        place=margin + (1 - 2 * margin) * torch.rand(n, objects, 2, generator=random),
        texture=torch.stack(
            [angle * torch.pi, least + (most - least) * waves, phase * 2 * torch.pi], dim=1
        ),
        ground=torch.stack([first, other], dim=1),
    )


def drawn(world: Scenes, side: int) -> Tensor:
    """Pictures of scenes as bytes, (n, 3, side, side), with smooth edges."""
    parts = [
        _drawn(world.rows(slice(start, start + CHUNK)), side)
        for start in range(0, len(world), CHUNK)
    ]
    return torch.cat(parts)


def _drawn(world: Scenes, side: int) -> Tensor:
    image = _texture(world, side)
    colours = torch.tensor(list(COLOURS.values())).float()
    for i in range(world.shape.shape[1]):
        cover = coverage(world, i, side)[:, None]
        image = image + cover * (colours[world.colour[:, i]][:, :, None, None] - image)
    return image.round().clamp(0, 255).to(torch.uint8)


def _texture(world: Scenes, side: int) -> Tensor:
    """Waves between two colours, (n, 3, side, side)."""
    x, y = _grid(side)
    angle, waves, phase = (part[:, None, None] for part in world.texture.unbind(dim=1))
    along = x * angle.cos() + y * angle.sin()
    share = ((2 * torch.pi * waves * along + phase).sin()[:, None] + 1) / 2
    first, second = torch.tensor(GROUND).float()[world.ground][..., None, None].unbind(dim=1)
    return first + share * (second - first)


def coverage(world: Scenes, i: int, side: int) -> Tensor:
    """The share of each pixel that object i covers, (n, side, side), as if it were alone."""
    x, y = _grid(side)
    radius = torch.tensor(list(SIZES.values()))[world.size[:, i]][:, None, None]
    across, down = (
        grid - place[:, None, None]
        for grid, place in zip((x, y), world.place[:, i].unbind(dim=1), strict=True)
    )
    inside = torch.stack([DISTANCES[name](across, down, radius) for name in SHAPES])
    chosen = inside.gather(0, world.shape[:, i][None, :, None, None].expand(1, *inside.shape[1:]))
    return (0.5 - side * chosen[0]).clamp(0, 1)


def _grid(side: int) -> tuple[Tensor, Tensor]:
    """Coordinates of the pixels' centres in fractions of the side, each (side, side)."""
    middle = (torch.arange(side) + 0.5) / side
    return middle.expand(side, side), middle[:, None].expand(side, side)


def shown(world: Scenes, side: int) -> Tensor:
    """Where each shape and each colour is seen, (n, shapes + colours, side, side) of truth values;
    nearer objects hide others."""
    seen = torch.zeros(len(world), len(SHAPES) + len(COLOURS), side, side, dtype=torch.bool)
    every = torch.arange(len(world))
    for i in range(world.shape.shape[1]):
        cover = coverage(world, i, side) > 0.5
        seen &= ~cover[:, None]
        seen[every, world.shape[:, i]] |= cover
        seen[every, len(SHAPES) + world.colour[:, i]] |= cover
    return seen


# --- signed distances from a shape's edge, negative inside ----------------------------------------


def _disc(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    return (x.square() + y.square()).sqrt() - radius


def _square(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.85 * radius


def _triangle(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Of equal sides, a corner at the top."""
    slanted = 3**0.5 / 2 * x.abs() - y / 2
    return torch.maximum(slanted, y) - radius / 2


def _cross(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    wide, narrow = radius, radius / 3
    first = torch.maximum(x.abs() - wide, y.abs() - narrow)
    return torch.minimum(first, torch.maximum(x.abs() - narrow, y.abs() - wide))


DISTANCES = {"disc": _disc, "square": _square, "triangle": _triangle, "cross": _cross}


# --- a second look at the same scene --------------------------------------------------------------


def looked(world: Scenes, side: int, look: str, random: torch.Generator) -> Tensor:
    """The scenes once more, as bytes.

    - edges: the outlines of the objects alone, (n, 1, side, side);
    - noise: the picture with noise of a standard deviation of 40, (n, 3, side, side);
    - recoloured: every object in the next colour, (n, 3, side, side).
    """
    if look == "edges":
        return _outlines(world, side)
    if look == "recoloured":
        colour = (world.colour + 1) % len(COLOURS)
        return drawn(Scenes(**{**vars(world), "colour": colour}), side)

    x = drawn(world, side).float()
    x = x + 40 * torch.randn(x.shape, generator=random)
    return x.round().clamp(0, 255).to(torch.uint8)


def _outlines(world: Scenes, side: int) -> Tensor:
    """The outlines of the objects, white on black, nearer objects before others."""
    lines = torch.zeros(len(world), side, side)
    for i in range(world.shape.shape[1]):
        cover = coverage(world, i, side)
        grown = torch.nn.functional.max_pool2d(cover[:, None], 3, stride=1, padding=1)[:, 0]
        lines = torch.maximum(lines * (1 - cover), grown - cover)
    return (255 * lines).round().to(torch.uint8)[:, None]


@datasets.register("shapes")
class Shapes(Dataset):
    """Drawn scenes: discs, squares, triangles and crosses in six colours and two sizes, anywhere,
    over textures. They are drawn by code, always the same, and need no download.

    The class is the shape of the nearest object. With `look`, the field `x_a` is a second look at
    the same scene, so that the data are pairs.

    Args:
        image_size: side.
        objects: in every scene; nearer ones hide others.
        texture: behind the objects, between two colours: `shaded` changes once or less across the
            image, `striped` two to five times.
        size: scenes to learn from; a fifth as many more are held out.
        look: what `x_a` shows of the scene: its `edges`, the picture with `noise`, or every object
            `recoloured`; null gives no pairs (`data=pairs` makes others of the pictures).

    Attributes:
        truth: the scenes of the training data, and those that are held out.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "y", "x_a")
    metrics: ClassVar[tuple[str, ...]] = ("classifier", "patches")

    def __init__(
        self,
        image_size: Annotated[int, Ge(16), Le(64)] = 32,
        objects: Annotated[int, Ge(1), Le(4)] = 1,
        texture: Literal["shaded", "striped"] = "shaded",
        size: Count = 5000,
        look: Literal["edges", "noise", "recoloured"] | None = None,
    ) -> None:
        self.truth, splits = [], []
        for split, n in (("train", size), ("heldout", max(1, size // 5))):
            random = noise.generator(f"shapes {split}")
            world = scenes(n, objects, texture, random)
            fields = {"x": drawn(world, image_size), "y": world.shape[:, -1]}
            if look:
                fields["x_a"] = looked(world, image_size, look, random)
            self.truth.append(world)
            splits.append(fields)

        self.train, self.heldout = splits
        self.side = image_size
        others = {"x_a": Field("image", tuple(self.train["x_a"].shape[1:]))} if look else {}
        self.spec = Spec(
            "image",
            (3, image_size, image_size),
            classes=len(SHAPES),
            names=SHAPES,
            fields=others,
        )

    @property
    def concepts(self) -> tuple[str, ...]:
        return (*SHAPES, *COLOURS)

    def masks(self, split: Literal["train", "heldout"], rows: slice) -> Tensor:
        world = self.truth[0 if split == "train" else 1]
        return shown(world.rows(rows), self.side)
