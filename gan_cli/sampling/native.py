"""Samples that are made from files in the files' own sizes, whole or tile by tile."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from gan_cli import pictures
from gan_cli.data.dataset import decoded
from gan_cli.data.kinds import kind_of
from gan_cli.errors import UserError, on_one_line
from gan_cli.runs.inputs import HELD_OUT, files_in
from gan_cli.runs.places import expanded
from gan_cli.sampling import tiles
from gan_cli.sampling.folders import Folder, left_out, panels_named, progress, refuse_replacing
from gan_cli.sampling.generator import Generator
from gan_cli.sampling.options import Mode, SampleConfig

BAND = 256  # rows of an input that are made visible at a time
NO_IMAGE = "size=native: the checkpoint's model makes no images from an image."


def write_native(config: SampleConfig, generator: Generator, output: Path) -> str:
    """Write a picture of what becomes of each file, by the name of the file; with `mode=compare`
    beside the input.

    Returns:
        What to tell the user.

    Raises:
        UserError: no files are named, the model's networks are made for one size, or do not take
            such tiles.
    """
    native = Native(generator, _one_image(config, generator), config.tile)
    files = files_in(expanded(str(config.input)), native.described, native.multiple)
    if files is None:
        raise UserError(NO_IMAGE)

    folder, compares = Folder(output), config.mode is Mode.compare
    names = [f"{name}.png" for name in files.names[: config.n]]
    refuse_replacing(config.input, output, names)
    with progress(len(names)) as shown:
        for i, name in enumerate(names):
            stored = files.read(i)
            image = native.made(stored, generator.drawn([config.seed + i]), files.names[i])
            if compares:
                image = _beside(generator, native, stored, image)
            folder.write(name, pictures.pixels_of(image))
            shown.update()

    source = f"{generator.path} (step {generator.step})"
    panels = f"; {panels_named(generator, [native.field])}" if compares else ""
    told = f"{panels}{native.remark}{folder.remark}{left_out(config, files.names)}"
    return on_one_line(f"{len(names)} samples of {source} in {output}, in their own sizes{told}")


@dataclass
class Native:
    """What makes pictures of files in their own sizes.

    Args:
        generator: whose samples they are.
        field: that the files are.
        tile: side of tiles in pixels; None to make every picture in one piece.
        remark: what to tell the user of the tiles, once some were made.
    """

    generator: Generator
    field: str
    tile: int | None = None
    remark: str = ""

    def __post_init__(self) -> None:
        self.described = self.generator.data.seen_as(self.field)
        self.multiple = side_multiple(self.generator)
        if self.tile is not None:
            tiles.refuse_unfit(self.tile, self.multiple)

    @cached_property
    def tiling(self) -> tiles.Tiling:
        """How pictures larger than a tile are cut."""
        assert self.tile is not None
        latents, game = self.generator.drawn([0]), self.generator.game

        def network(x: Tensor) -> Tensor:
            return game.render(latents, x)  # type: ignore[call-arg]

        with torch.no_grad():
            return tiles.tiling(network, self.described.shape[0], self.tile, self.multiple)

    def made(self, stored: Tensor, latents: Tensor, name: str) -> Tensor:
        """The sample of a picture as bytes, (C, height, width).

        Args:
            stored: the picture as it is stored, (..., height, width).
            latents: (1, latent).
            name: of the file, for messages.

        Raises:
            UserError: it cannot be rendered.
        """
        height, width = stored.shape[-2:]

        def part(top: int, left: int, high: int, wide: int) -> Tensor:
            cut = stored[..., top : top + high, left : left + wide]
            return self._rendered(latents, cut, name)

        if self.tile is None or max(height, width) <= self.tile:
            return pictures.to_uint8(part(0, 0, height, width))

        ratio, self.remark = self.tiling.ratio, self.tiling.remark
        channels = self.generator.spec.shape[0]
        image = torch.empty(channels, ratio * height, ratio * width, dtype=torch.uint8)
        for top, strip in tiles.strips(part, height, width, self.tiling):
            image[:, top : top + strip.shape[1]] = pictures.to_uint8(strip)
        return image

    def _rendered(self, latents: Tensor, stored: Tensor, name: str) -> Tensor:
        """The sample of a picture, or of a part of it, (C, height, width)."""
        x = decoded({self.field: stored[None]}, self.generator.data)[self.field]
        try:
            with torch.no_grad():
                sample: Tensor = self.generator.game.render(latents, x)  # type: ignore[call-arg]
        except (RuntimeError, MemoryError) as error:
            remedy = "add tile=256" if self.tile is None else "take smaller tiles"
            raise UserError(
                f"size=native: {name} of {x.shape[3]}x{x.shape[2]} pixels cannot be rendered "
                f"({on_one_line(str(error)):.150}); {remedy}, or leave size out."
            ) from None
        return sample[0]

    def visible(self, stored: Tensor) -> Tensor:
        """A stored picture as bytes, (C, height, width), with the labels of a map in colours."""
        kind, bands = kind_of(self.described), []
        for band in stored.split(BAND, dim=-2):
            x = decoded({self.field: band[None]}, self.generator.data)[self.field]
            bands.append(pictures.to_uint8(kind.images(x, self.described))[0])
        return torch.cat(bands, dim=1)


def side_multiple(generator: Generator) -> int:
    """What the sides of the image that samples are made from must be multiples of; 0 if a network
    takes one size only, or samples are not made from an image."""
    game = generator.game
    if not _from_an_image(generator):
        return 0
    starting = [name for name, role in game.roles.items() if role in game.from_inputs]
    multiples = [getattr(game.get_submodule(name), "multiple", 0) for name in starting]
    return math.lcm(*multiples) if multiples else 0


def _from_an_image(generator: Generator) -> bool:
    """Whether samples are images, each made from an image, or a map of labels, and nothing else."""
    given, spec = generator.game.sampling.given, generator.data
    if len(given) != 1 or given[0] not in ("x", *spec.fields):
        return False
    return len(spec.seen_as(given[0]).shape) == 3 and kind_of(generator.spec).tiles


def _one_image(config: SampleConfig, generator: Generator) -> str:
    """The field that the files are: an image, or a map of labels.

    Raises:
        UserError: samples are made of something else, or of no files, or a network takes one size
            only.
    """
    if not _from_an_image(generator):
        raise UserError(NO_IMAGE)
    if config.input in (None, HELD_OUT):
        raise UserError("size=native: is the size of files; add input=FOLDER, or a file.")
    if not side_multiple(generator):
        raise UserError(
            "size=native: the networks of the checkpoint's model take one size only; leave size "
            "out."
        )
    return generator.game.sampling.given[0]


def _beside(generator: Generator, native: Native, stored: Tensor, image: Tensor) -> Tensor:
    """An input and what became of it, side by side, as bytes, (C, height, width)."""
    known = {"output": image, native.field: native.visible(stored)}
    shown = [known[name][None] for name in generator.game.sampling.panels if name in known]
    return pictures.side_by_side(shown)[0]
