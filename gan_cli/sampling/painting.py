"""Label maps that a user paints, and what a generator makes of them."""

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_cli import pictures
from gan_cli.data import label_maps
from gan_cli.data.dataset import decoded
from gan_cli.data.kinds import Labels, kind_of
from gan_cli.data.spec import Field, class_names
from gan_cli.errors import UserError
from gan_cli.files import write_bytes
from gan_cli.runs.inputs import Inputs
from gan_cli.sampling.generator import Generator, whole

MOST_LABELS = 256  # a label is a byte
SAVED = "labels.png"
"""Name of the file of a saved label map."""


@dataclass(frozen=True)
class Canvas:
    """The label maps that a generator makes images of.

    Args:
        generator: makes its samples from the field alone, and from latents if it has some.
        name: the field.
        field: shape (labels, height, width), and the palette.
    """

    generator: Generator
    name: str
    field: Field

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a map in pixels."""
        _, height, width = self.field.shape
        return height, width

    @property
    def names(self) -> tuple[str, ...]:
        """What each label is called; its number where it has no name."""
        count = self.field.shape[0]
        return class_names(self.field.names, count) or tuple(map(str, range(count)))

    @property
    def colours(self) -> list[list[int]]:
        """The colour in which each label is painted: red, green and blue of 0 to 255."""
        numbers = torch.arange(self.field.shape[0]).view(1, 1, -1)
        colours: list[list[int]] = label_maps.painted(numbers, self.field.palette)[
            0, :, 0
        ].T.tolist()
        return colours

    @property
    def seeded(self) -> bool:
        """Whether a picture also depends on a seed."""
        return self.generator.drawn([0]).shape[1] > 0

    def map_of(self, content: bytes) -> Tensor:
        """A map of labels, (height, width) of bytes, from its rows one after the other.

        Raises:
            UserError: another number of pixels, or no such label.
        """
        height, width = self.sides
        count = self.field.shape[0]
        if len(content) != height * width:
            raise UserError(
                f"label map: {len(content)} pixels; expected {width}x{height}, a byte each."
            )
        numbers = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(height, width)
        if int(numbers.max()) >= count:
            raise UserError(
                f"label map: has the label {int(numbers.max())}; expected 0 to {count - 1}."
            )
        return numbers

    def carried(self, number: int) -> Tensor:
        """The map of an input that the checkpoint carries, (height, width) of bytes; without any, a
        map of the label 0. The first input follows the last one.
        """
        if not len(self.generator.inputs):
            return torch.zeros(self.sides, dtype=torch.uint8)
        (one_hot,) = self.generator.inputs.rows([number])[self.name]
        return one_hot.argmax(dim=0).to(torch.uint8)

    def read(self, content: bytes) -> Tensor:
        """The map in an uploaded file, (height, width) of bytes, as `gan-sample input=` reads it.

        Raises:
            UserError: it is no image, or no map of these labels.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / SAVED
            write_bytes(path, content)
            try:
                numbers = kind_of(self.field).from_file(path, self.field)
            except UserError as error:
                raise UserError(f"uploaded file: {error}") from None
        assert numbers is not None  # label maps are read from files
        return numbers

    def painted(self, numbers: Tensor) -> np.ndarray:
        """A map (height, width) in the colours of the labels, (height, width, 3) of bytes."""
        return pictures.pixels_of(label_maps.painted(numbers[None], self.field.palette)[0])

    def picture(self, numbers: Tensor, seed: int) -> np.ndarray:
        """What the generator makes of a map (height, width), as pixels (height, width, 3).

        Raises:
            UserError: no such seed, or the picture is not of finite numbers.
        """
        latents = self.generator.drawn([whole("seed", seed, 0)])
        inputs = Inputs(decoded({self.name: numbers[None]}, self.generator.data))
        samples = self.generator.render(latents, *self.generator.given([seed], inputs))
        return pictures.pixels_of(pictures.to_uint8(samples)[0])

    def command(self, seed: int, typed: Sequence[str] = ()) -> str:
        """The `gan-sample` command that makes the same picture of the saved map.

        Args:
            typed: other keys of the generator, such as `weights=raw`.
        """
        seeds = [f"seed={seed}"] if self.seeded else []
        words = [f"checkpoint={self.generator.path}", *typed, f"input={SAVED}", *seeds]
        return shlex.join(["gan-sample", *words, "mode=images", "output=painted"])


def canvas_of(generator: Generator) -> Canvas | None:
    """The canvas of a generator that makes images of label maps; None of any other.

    Raises:
        UserError: its palette does not fit its label maps; checkpoints may come from strangers.
    """
    given = generator.game.sampling.given
    field = generator.data.fields.get(given[0]) if len(given) == 1 else None
    if field is None or not isinstance(kind_of(field), Labels):
        return None
    if not kind_of(generator.spec).tiles:
        return None
    labels = field.shape[0] if len(field.shape) == 3 else 0
    if len(field.palette) != labels or not 0 < labels <= MOST_LABELS:
        raise UserError(
            f"checkpoint={generator.path}: damaged: its palette has {len(field.palette)} colours "
            f"for label maps of shape {field.shape}."
        )
    return Canvas(generator, given[0], field)
