"""Drawn faces: `x`, one from the front, `x_a`, the same one from the side, and `i`, whose it is."""

import functools
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le, Len
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.spec import Field, Spec
from gan_cli.registry import Count, datasets

TRAITS: dict[str, tuple[float, float]] = {
    "skin_red": (0.55, 0.95), "skin_green": (0.75, 0.85), "skin_blue": (0.70, 0.90),
    "hair_red": (0.05, 0.75), "hair_green": (0.55, 0.85), "hair_blue": (0.40, 0.80),
    "eye_red": (0.1, 0.5), "eye_green": (0.2, 0.6), "eye_blue": (0.1, 0.8),
    "width": (0.62, 0.78), "height": (0.82, 0.94), "hairline": (-0.62, -0.38),
    "eye_distance": (0.38, 0.56), "eye_width": (0.13, 0.20), "eye_height": (0.06, 0.11),
    "brow": (0.02, 0.06), "brow_height": (0.13, 0.20), "nose": (0.10, 0.24),
    "nose_length": (0.22, 0.36), "mouth_width": (0.22, 0.42), "mouth_height": (0.04, 0.10),
    "mouth": (0.50, 0.62), "lips": (0.1, 0.9), "beard": (0.0, 0.7),
}  # fmt: skip
"""What makes a face, and its range: colours as shares (green and blue of the one before), lengths
in radians around the head and in fractions of half its height."""
DEPTH = 0.8  # half the depth of a head, in fractions of half the side
EYES = -0.08  # height of the eyes
SIDE_HAIR = 1.45  # radians from the middle of the face to the hair
GROUND = (0.45, 0.5, 0.55)
FINER = 2  # pixels a side that are drawn for one
CHUNK = 25  # faces drawn at a time
ANGLES = (30.0, 45.0, 60.0, 75.0)
NEARLY_FRONT = 20.0  # degrees that faces of a judge are turned, at most
TILT, SHIFT, LIGHT = 5.0, 0.04, 0.08
"""By how much a picture from the side varies: degrees, fractions of half the side, brightness."""
JUDGED, VIEWS = 200, {"train": 12, "held out": 2}  # faces of a judge, and pictures of each

Angle = Annotated[float, Ge(0), Le(90)]


@datasets.register("faces")
class Faces(Dataset):
    """Faces, symmetric from the front, each from several sides; those held out are of others.

    A head is an ellipsoid with what is painted on it, so that a picture from the side hides what
    the front shows, and the symmetry of a face tells it.

    Args:
        image_size: side.
        identities: faces to learn from.
        unseen: faces held out.
        angles: degrees by which a head is turned, to the left and to the right; null takes 30, 45,
            60 and 75.
        shots: pictures of each face from each side.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "x_a", "i")
    metrics: ClassVar[tuple[str, ...]] = ("identification", "pairs", "patches")
    judged = True

    def __init__(
        self,
        image_size: Annotated[int, Ge(8), Le(256)] = 32,
        identities: Count = 300,
        unseen: Count = 100,
        angles: Annotated[list[Angle], Len(1, 16)] | None = None,
        shots: Count = 1,
    ) -> None:
        shape = (3, image_size, image_size)
        self.spec = Spec("image", shape, fields={"x_a": Field("image", shape)})
        turned = tuple(sign * angle for sign in (1, -1) for angle in angles or ANGLES) * shots
        self.train = dict(_split("train", identities, turned, image_size))
        others = _split("held out", unseen, turned, image_size)
        self.heldout = {**others, "i": identities + others["i"]}
        self.note = (
            f"{len(self.train['x'])} pictures of {identities} drawn faces to learn from, "
            f"{len(self.heldout['x'])} of {unseen} others held out"
        )

    def judge(self, purpose: str = "scores") -> Dataset:
        """Faces of others, nearly from the front, whose class is whose face it is."""
        judge = Dataset()
        judge.spec = Spec("image", self.spec.shape, classes=JUDGED)
        judge.train, judge.heldout = (
            dict(_portraits(purpose, split, self.spec.shape[-1])) for split in VIEWS
        )
        return judge


def people(n: int, random: torch.Generator) -> Tensor:
    """Traits of n faces, each uniform in its range, (n, traits)."""
    least, most = torch.tensor(list(TRAITS.values())).unbind(dim=1)
    return least + (most - least) * torch.rand(n, len(TRAITS), generator=random)


@functools.lru_cache(maxsize=4)
def _split(split: str, n: int, turned: tuple[float, ...], side: int) -> Fields:
    """A picture of each of n faces from each side, with that from the front."""
    random = noise.generator(f"faces {split}")
    traits = people(n, random)
    front = drawn(traits, torch.zeros(n), torch.zeros(n, 3), side)
    i = torch.arange(n).repeat_interleave(len(turned))
    x_a = drawn(traits[i], *_varied(torch.tensor(turned).repeat(n), random), side)
    return {"x": front[i], "x_a": x_a, "i": i}


@functools.lru_cache(maxsize=4)
def _portraits(purpose: str, split: str, side: int) -> Fields:
    """Labelled pictures of each face of a judge, nearly from the front."""
    traits = people(JUDGED, noise.generator(f"faces of {purpose}"))
    random = noise.generator(f"faces of {purpose}, {split}")
    y = torch.arange(JUDGED).repeat(VIEWS[split])
    turned = NEARLY_FRONT * (2 * torch.rand(len(y), generator=random) - 1)
    return {"x": drawn(traits[y], *_varied(turned, random), side), "y": y}


def _varied(turned: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Angles with a random part, and the place and the light of each picture, (n, 3)."""
    parts = 2 * torch.rand(len(turned), 4, generator=random) - 1
    return turned + TILT * parts[:, 0], parts[:, 1:] * torch.tensor([SHIFT, SHIFT, LIGHT])


# --- drawing --------------------------------------------------------------------------------------


def drawn(traits: Tensor, turned: Tensor, varied: Tensor, side: int) -> Tensor:
    """Pictures of faces as bytes, (n, 3, side, side).

    Args:
        traits: see `TRAITS`, (n, traits).
        turned: degrees, (n,).
        varied: shifts to the right and down, and additional light, (n, 3).
    """
    fine = zip(traits.split(CHUNK), turned.split(CHUNK), varied.split(CHUNK), strict=True)
    parts = [avg_pool2d(_drawn(*part, FINER * side), FINER) for part in fine]
    return (255 * torch.cat(parts)).round().clamp(0, 255).to(torch.uint8)


def _drawn(traits: Tensor, turned: Tensor, varied: Tensor, side: int) -> Tensor:
    face = {
        name: value[:, None, None] for name, value in zip(TRAITS, traits.unbind(dim=1), strict=True)
    }
    right, down, light = (value[:, None, None] for value in varied.unbind(dim=1))
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    x, y = axis[None, None, :] - right, axis[None, :, None] - down
    across, height, towards, inside = _surface(face, turned.deg2rad()[:, None, None], x, y)
    painted = _painted(face, across, height)
    shaded = painted * ((0.55 + 0.45 * towards) * (1 + light))[:, None]
    ground = torch.tensor(GROUND)[None, :, None, None]
    return torch.where(inside[:, None], shaded, ground).clamp(0, 1)


def _surface(
    face: Mapping[str, Tensor], turned: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where the line of sight through each pixel meets a turned head.

    Returns:
        Radians around the head from the middle of the face; the height in fractions of half the
        head's; the cosine of the angle to the line of sight; whether it meets the head at all.
    """
    a, b, c = face["width"], face["height"], DEPTH
    sin, cos = turned.sin(), turned.cos()

    # the ellipsoid (X/a)^2 + (y/b)^2 + (Z/c)^2 = 1 of X = x cos - z sin, Z = x sin + z cos
    square = sin**2 / a**2 + cos**2 / c**2
    linear = 2 * x * sin * cos * (1 / c**2 - 1 / a**2)
    constant = x**2 * (cos**2 / a**2 + sin**2 / c**2) + y**2 / b**2 - 1
    root = linear**2 - 4 * square * constant
    z = (root.clamp(min=0).sqrt() - linear) / (2 * square)
    X, Z = x * cos - z * sin, x * sin + z * cos

    along, out = X / a**2, Z / c**2  # of the normal, whose third part is y / b^2
    length = (along**2 + (y / b**2) ** 2 + out**2).clamp(min=1e-12).sqrt()
    towards = (out * cos - along * sin) / length
    return torch.atan2(X / a, Z / c), (y / b).expand_as(X), towards.clamp(min=0), root > 0


def _painted(face: Mapping[str, Tensor], across: Tensor, height: Tensor) -> Tensor:
    """The colour of each place of a head, (n, 3, ...); symmetric in `across`."""
    colours = _colours({name: value[:, 0, 0] for name, value in face.items()})
    parts = [*colours]
    across = across.abs()
    shown = torch.zeros_like(across, dtype=torch.long)

    def paint(part: str, where: Tensor) -> None:
        shown.masked_fill_(where, parts.index(part))

    def within(middle: Tensor | float, at: Tensor | float, wide: Tensor, tall: Tensor) -> Tensor:
        """An ellipse."""
        return ((across - middle) / wide) ** 2 + ((height - at) / tall) ** 2 < 1

    middle, wide, tall = face["eye_distance"], face["eye_width"], face["eye_height"]
    nose, tip = face["nose"], EYES + face["nose_length"]
    paint("beard", (height > face["mouth"] - 0.18) & (across < 1.2))
    below = (height > EYES) & (height < tip)
    paint("nose", below & (across < nose * (height - EYES) / face["nose_length"]))
    paint("nostrils", within(0, tip, nose, 0.35 * nose))
    paint("lips", within(0, face["mouth"], face["mouth_width"], face["mouth_height"]))
    paint("white", within(middle, EYES, wide, tall))
    paint("iris", within(middle, EYES, 0.5 * wide, 0.8 * tall))
    paint("brow", within(middle, EYES - face["brow_height"], 1.3 * wide, face["brow"]))
    paint("hair", (height < face["hairline"] + 0.15 * across**2) | (across > SIDE_HAIR))

    palette = torch.stack([*colours.values()], dim=2)  # (n, 3, parts)
    places = shown.flatten(1)[:, None].expand(-1, 3, -1)
    return palette.gather(2, places).unflatten(2, across.shape[1:])


def _colours(face: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The colour of each part of a face, (n, 3), from below to above."""

    def mixed(name: str) -> Tensor:
        red = face[f"{name}_red"]
        green = red * face[f"{name}_green"]
        return torch.stack([red, green, green * face[f"{name}_blue"]], dim=1)

    skin, hair = mixed("skin"), mixed("hair")
    redness = torch.stack([torch.zeros_like(face["lips"]), 0.7 * face["lips"], 0.6 * face["lips"]])
    return {
        "skin": skin,
        "beard": skin + face["beard"][:, None] * (hair - skin),
        "nose": 0.85 * skin,
        "nostrils": 0.7 * skin,
        "lips": skin * (1 - redness.T),
        "white": torch.full_like(skin, 0.95),
        "iris": torch.stack([face[f"eye_{part}"] for part in ("red", "green", "blue")], dim=1),
        "brow": 0.8 * hair,
        "hair": hair,
    }
