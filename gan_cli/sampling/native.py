"""Samples that are made from files in the files' own sizes."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gan_cli import pictures
from gan_cli.data.dataset import decoded
from gan_cli.data.kinds import kind_of
from gan_cli.errors import UserError, on_one_line
from gan_cli.game import Game
from gan_cli.runs.inputs import HELD_OUT, samples_in
from gan_cli.runs.places import expanded
from gan_cli.sampling.generator import Generator
from gan_cli.sampling.options import SampleConfig


def write_native(config: SampleConfig, generator: Generator, output: Path) -> str:
    """Write a picture of what becomes of each file, by the name of the file.

    Returns:
        What to tell the user.

    Raises:
        UserError: no files are named, or the model's networks are made for one size.
    """
    field = _one_image(config, generator)
    multiple = _multiple(generator.game)
    read = samples_in(expanded(str(config.input)), generator.data.seen_as(field), multiple)
    assert read is not None  # images are read from files

    files = list(zip(*read, strict=True))[: config.n]
    latents = generator.drawn(range(config.seed, config.seed + len(files)))
    for (stored, name), row in zip(files, latents, strict=True):
        x = decoded({field: stored[None]}, generator.data)[field]
        sample = _rendered(generator, row[None], x, name)
        pictures.write(output / f"{name}.png", pictures.pixels_of(pictures.to_uint8(sample)[0]))
    source = f"{generator.path} (step {generator.step})"
    return on_one_line(f"{len(files)} samples of {source} in {output}, in their own sizes")


def _one_image(config: SampleConfig, generator: Generator) -> str:
    """The field that the files are.

    Raises:
        UserError: the samples are made of something else, or of no files.
    """
    given, spec = generator.game.sampling.given, generator.data
    fits = len(given) == 1 and all(kind_of(spec.seen_as(name)).tiles for name in given)
    if not fits or not kind_of(generator.spec).tiles:
        raise UserError("size=native: the checkpoint's model makes no images from an image.")
    if config.input in (None, HELD_OUT):
        raise UserError("size=native: is the size of files; add input=FOLDER, or a file.")
    return given[0]


def _multiple(game: Game) -> int:
    """What the sides of an input must be multiples of.

    Raises:
        UserError: a network takes one size only.
    """
    starting = [name for name, role in game.roles.items() if role in game.from_inputs]
    multiples = [getattr(game.get_submodule(name), "multiple", 0) for name in starting]
    if not multiples or 0 in multiples:
        raise UserError(
            "size=native: the networks of the checkpoint's model take one size only; leave size "
            "out."
        )
    return math.lcm(*multiples)


def _rendered(generator: Generator, latents: Tensor, x: Tensor, name: str) -> Tensor:
    render: Callable[..., Tensor] = generator.game.render
    try:
        with torch.no_grad():
            return render(latents, x)
    except (RuntimeError, MemoryError) as error:
        raise UserError(
            f"size=native: {name} of {x.shape[3]}x{x.shape[2]} pixels cannot be rendered "
            f"({on_one_line(str(error)):.150}); make it smaller, or leave size out."
        ) from None
