"""Folders of pictures, one of each sample; of those from inputs a few are made at a time."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from gan_cli import pictures
from gan_cli.data.kinds import kind_of
from gan_cli.errors import UserError
from gan_cli.runs.inputs import Inputs, panel_fields
from gan_cli.runs.places import expanded
from gan_cli.runs.progress import bar
from gan_cli.sampling.generator import Generator
from gan_cli.sampling.options import Mode, SampleConfig
from gan_cli.training.rendering import CHUNK

MAX_NAME = 40  # characters of a class's name in a file name
SOON = 1.0  # seconds until a progress line is shown


class Folder:
    """A folder that pictures are written into; those of other names stay."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.existing = {found.name for found in path.glob("*.png")}
        self.written: set[str] = set()

    def write(self, name: str, pixels: np.ndarray) -> None:
        """Write a picture, (H, W, 3) uint8, by this file name."""
        pictures.write(self.path / name, pixels)
        self.written.add(name)

    @property
    def remark(self) -> str:
        """What to tell the user of pictures that were there before."""
        remark = ""
        if replaced := len(self.existing & self.written):
            remark += f"; {replaced} that were there are replaced"
        if others := len(self.existing - self.written):
            remark += f"; {others} others lie there"
        return remark


def file_name(generator: Generator, seed: int, label: Sequence[int]) -> str:
    """Name of a sample's picture.

    Args:
        label: the class, as a list of one; empty if none was chosen.
    """
    parts = [f"seed_{seed:08d}", *(f"class_{number:03d}" for number in label)]
    if generator.names:
        parts += [re.sub(r"[^\w-]+", "_", generator.names[number][:MAX_NAME]) for number in label]
    return "_".join(parts) + ".png"


def write_images(
    samples: Tensor, generator: Generator, folder: Folder, names: Sequence[str]
) -> None:
    """Write a picture of each sample, by these file names.

    Rows of a table result in a single picture, of the first name.
    """
    kind = kind_of(generator.spec)
    if kind.tiles:
        shown = [pictures.pixels_of(image) for image in pictures.to_uint8(samples)]
    elif kind.tabular:
        shown, names = [kind.picture(samples, generator.spec)], names[:1]
    else:
        shown = [kind.picture(sample[None], generator.spec) for sample in samples]
    for name, pixels in zip(names, shown, strict=True):
        folder.write(name, pixels)


def write_from_inputs(
    config: SampleConfig,
    generator: Generator,
    latents_of: Callable[[Sequence[int]], Tensor],
    seeds: Sequence[int],
    inputs: Inputs,
    output: Path,
) -> str:
    """Write a picture of each sample that is made from inputs, or of the sample beside its input.

    A few are in memory at a time. Pictures are named by the files of the inputs, or by the seeds.

    Args:
        latents_of: the latents of places in `seeds`, (n, latent).

    Returns:
        A remark for the user.

    Raises:
        UserError: `mode=compare` of inputs that have no picture.
    """
    folder = Folder(output)
    compares = config.mode is Mode.compare
    names = [file_name(generator, seed, []) for seed in seeds]
    if inputs.names:
        names = [f"{inputs.names[seed % len(inputs)]}.png" for seed in seeds]
        refuse_replacing(config.input, output, names)
    if compares and set(generator.game.sampling.panels) <= {"output"}:
        raise UserError(
            "mode=compare: the checkpoint's model has no pictures of its inputs; take mode=images."
        )

    # rows of a table are one picture
    step = len(seeds) if kind_of(generator.spec).tabular else CHUNK
    with progress(len(seeds)) as shown:
        for start in range(0, len(seeds), step):
            places = range(start, min(start + step, len(seeds)))
            fields = inputs.rows([seeds[i] for i in places])
            given = [fields[name] for name in generator.game.sampling.given]
            samples = generator.render(latents_of(places), *given)
            if compares:
                columns = panel_fields(generator.game, generator.data, samples, fields)
                beside = pictures.to_uint8(pictures.side_by_side(columns))
                for i, image in zip(places, beside, strict=True):
                    folder.write(names[i], pictures.pixels_of(image))
            else:
                write_images(samples, generator, folder, [names[i] for i in places])
            shown.update(len(places))

    remark = folder.remark + left_out(config, inputs.names)
    return f"; {panels_named(generator, fields)}{remark}" if compares else remark


def panels_named(generator: Generator, fields: Sequence[str] | dict[str, Tensor]) -> str:
    """What a picture shows from left to right, such as `x_a | output | x`.

    Args:
        fields: the known ones beside `output`.
    """
    panels = generator.game.sampling.panels
    return " | ".join(name for name in panels if name == "output" or name in fields)


def left_out(config: SampleConfig, files: Sequence[str]) -> str:
    """A remark on the files beyond the first n; empty if there are none."""
    more = len(files) - config.n
    if more <= 0 or config.seeds is not None:
        return ""
    return f"; {more} more files are left out (n={config.n})"


def refuse_replacing(typed: str | None, output: Path, names: Sequence[str]) -> None:
    """Raise UserError if pictures would take the place of their own inputs.

    Args:
        typed: value of the key `input`, a file or a folder.
        names: file names of the pictures.
    """
    given = expanded(typed or "").resolve()
    replaced = [given / name for name in names] if given.is_dir() else [given]
    if any((output / path.name).resolve() == path and path.exists() for path in replaced):
        raise UserError(
            f"output={output}: holds the inputs, which pictures of the same names would replace; "
            "name another folder."
        )


def progress(total: int, of: str = "pictures") -> tqdm:
    """A progress line on a terminal, for what takes longer than a moment.

    Args:
        total: number of pictures, or of what else it counts.
        of: its name.
    """
    return bar(total=total, desc=of, unit="", delay=SOON, disable=None)
