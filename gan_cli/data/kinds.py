"""Kinds of data: what the rest of the tool asks of points, images, text, or a plug-in's own kind.

A kind is a class registered here. A plug-in registers one in the same way:

    @kinds.register("clips")
    class Clips(Kind):
        network = "mlp"
"""

import functools
import logging
from collections.abc import Iterator, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from gan_cli import pictures
from gan_cli.data import label_maps
from gan_cli.data.spec import Field, Spec
from gan_cli.data.words import encoded, words_of
from gan_cli.errors import UserError
from gan_cli.networks.layers import one_hot
from gan_cli.registry import kinds

log = logging.getLogger(__name__)

NAMED = 12  # words that a message names, at most


class Kind:
    """Base class of all kinds of data.

    The class attributes are literals; `network` is read before torch is imported.

    Attributes:
        network: the family of networks that `network=auto` is.
        shown: number of samples that a run shows while it trains.
        backdrop: number of held-out samples that a picture shows behind them.
        numbers: what the numbers of a sample are, for descriptions.
        readable: whether samples are lines of text; else pictures show them.
        tiles: whether each sample is an image, (channels, height, width).
        tabular: whether each sample is a row of a table, (numbers,).
        mirrors: whether the mirror image of a sample, along its last dimension, is a sample too.
        resampled: how places between pixels are filled: `bilinear`, or `nearest`.
        comparable: whether the distance between two samples says how different they are.
        sampled: whether there are samples at all, the field `x`.
    """

    network: ClassVar[str]
    shown: ClassVar[int] = 64
    backdrop: ClassVar[int] = 0
    numbers: ClassVar[str] = "numbers"
    readable: ClassVar[bool] = False
    tiles: ClassVar[bool] = False
    tabular: ClassVar[bool] = False
    mirrors: ClassVar[bool] = False
    resampled: ClassVar[str] = "bilinear"
    comparable: ClassVar[bool] = True
    sampled: ClassVar[bool] = True

    def violations(self, spec: Spec) -> Iterator[str]:
        """Descriptions of what is wrong with a specification of this kind."""
        if self.sampled != bool(spec.shape):
            yield f"its spec says samples of shape {spec.shape}, which the kind {spec.kind} has not"

    def extremes(self, spec: Spec | Field) -> list[float] | None:
        """Least and largest value of a sample; None if there are none."""
        return [-1, 1] if spec.bounded else None

    def picture(
        self, samples: Tensor, spec: Spec, real: Tensor | None = None, columns: int = 0
    ) -> np.ndarray:
        """A picture of samples, (height, width, 3) uint8.

        Args:
            samples: (n, *shape), on the CPU.
            spec: specification of the data.
            real: held-out samples to show behind them; only for kinds with a `backdrop`.
            columns: number of columns, for kinds that are shown in rows; 0 makes a square.
        """
        images = self.images(samples, spec)
        return pictures.grid(images, columns or ceil(sqrt(len(images))))

    def images(self, samples: Tensor, spec: Spec | Field) -> Tensor:
        """Each sample as an image, (n, channels, height, width) in [-1, 1], as a grid shows it."""
        raise NotImplementedError

    def frames(self, samples: Tensor, spec: Spec) -> Sequence[np.ndarray]:
        """Pictures of equal size for a GIF: by default one for each sample."""
        return [self.picture(sample[None], spec) for sample in samples]

    def lines(self, samples: Tensor, spec: Spec) -> list[str]:
        """A line for each sample; only of kinds that are `readable`."""
        raise NotImplementedError

    def read(self, file: Path, shape: Sequence[int], multiple: int = 0) -> Tensor | None:
        """A sample from a file, as it is stored; None if this kind is not read from files.

        Args:
            shape: of the sample.
            multiple: if not 0, it keeps the size of the file, cut to sides that are multiples.

        Raises:
            UserError: the file cannot be read; the message does not name it.
        """
        return None

    def from_file(self, file: Path, described: Spec | Field, multiple: int = 0) -> Tensor | None:
        """As `read`, for kinds that must know more of a sample than its shape."""
        return self.read(file, described.shape, multiple)

    def decoded(self, values: Tensor, described: Spec | Field) -> Tensor:
        """Samples that are stored as bytes, as the networks see them: (n, *shape) in [-1, 1]."""
        return values.float().div_(127.5).sub_(1)

    def stored(self, described: Spec | Field) -> tuple[int, ...]:
        """The shape of a sample as it is stored."""
        return tuple(described.shape)

    def written(self, text: str, field: Spec | Field) -> Tensor | None:
        """A sample that a text says, as it is stored; None if no text says a sample of this kind.

        Raises:
            UserError: the text says none; the message does not repeat it.
        """
        return None


@functools.cache
def _instance(component: type[Kind]) -> Kind:
    return component()


def kind_of(spec: Spec | Field) -> Kind:
    """The kind of a data set, or of one of its fields."""
    return _instance(kinds.loaded(spec.kind, "data"))


def kind_of_field(spec: Spec, name: str) -> Kind | None:
    """The kind of a field; None for classes, and others that the specification does not have."""
    if name == "x":
        return kind_of(spec)
    return kind_of(spec.fields[name]) if name in spec.fields else None


@kinds.register("points")
class Points(Kind):
    """Points, and the rows of a table: a picture is a scatter plot of two coordinates."""

    network: ClassVar[str] = "mlp"
    shown: ClassVar[int] = 2000
    backdrop: ClassVar[int] = 2000
    numbers: ClassVar[str] = "coordinates"
    tabular: ClassVar[bool] = True

    def picture(
        self, samples: Tensor, spec: Spec, real: Tensor | None = None, columns: int = 0
    ) -> np.ndarray:
        names = [f"{name} (standardised)" for name, *_ in spec.units]
        return pictures.scatter(samples, spec.extent, names, real)


@kinds.register("image")
class Image(Kind):
    """Images of one or three channels: a picture is a grid."""

    network: ClassVar[str] = "dcgan"
    numbers: ClassVar[str] = "pixels"
    tiles: ClassVar[bool] = True
    mirrors: ClassVar[bool] = True

    def violations(self, spec: Spec) -> Iterator[str]:
        if len(spec.shape) != 3:
            yield f"its spec says images of shape {spec.shape}; expected (channels, height, width)"

    def images(self, samples: Tensor, spec: Spec | Field) -> Tensor:
        return samples

    def read(self, file: Path, shape: Sequence[int], multiple: int = 0) -> Tensor | None:
        from gan_cli.data.upright import fitted, uncropped

        return uncropped(file, shape[0], multiple) if multiple else fitted(file, tuple(shape))


@kinds.register("labels")
class Labels(Kind):
    """Maps of labels, as one-hot vectors of each pixel, (labels, height, width) of 0 and 1; stored
    as numbers from 0, (height, width). Only fields are of this kind."""

    network: ClassVar[str] = "unet"
    numbers: ClassVar[str] = "pixels"
    mirrors: ClassVar[bool] = True
    resampled: ClassVar[str] = "nearest"

    def violations(self, spec: Spec) -> Iterator[str]:
        yield "its samples are of the kind labels, which only other fields can be"

    def extremes(self, spec: Spec | Field) -> list[float] | None:
        return [0, 1]

    def decoded(self, values: Tensor, described: Spec | Field) -> Tensor:
        return one_hot(values.long(), described.shape[0]).movedim(-1, -3)

    def stored(self, described: Spec | Field) -> tuple[int, ...]:
        return tuple(described.shape[1:])

    def images(self, samples: Tensor, spec: Spec | Field) -> Tensor:
        return label_maps.coloured(samples.argmax(dim=1), spec.palette)

    def read(self, file: Path, shape: Sequence[int], multiple: int = 0) -> Tensor | None:
        from gan_cli.data.upright import fitted, uncropped

        if multiple:
            return uncropped(file, 3, multiple)
        return fitted(file, (3, *shape[1:]), exact=True)

    def from_file(self, file: Path, described: Spec | Field, multiple: int = 0) -> Tensor | None:
        colours = self.read(file, described.shape, multiple)
        assert colours is not None  # label maps are read from files
        return label_maps.read(colours, described.palette)


@kinds.register("text")
class Characters(Kind):
    """Lines of characters, as one-hot vectors or probabilities, (vocabulary, length)."""

    network: ClassVar[str] = "text_resnet"
    shown: ClassVar[int] = 32
    numbers: ClassVar[str] = "characters"
    readable: ClassVar[bool] = True
    comparable: ClassVar[bool] = False

    def violations(self, spec: Spec) -> Iterator[str]:
        if spec.shape[:1] != (len(spec.vocabulary),):
            yield (
                f"its spec says texts of shape {spec.shape}; expected ({len(spec.vocabulary)} "
                "characters, length)"
            )

    def extremes(self, spec: Spec | Field) -> list[float] | None:
        return [0, 1]

    def lines(self, samples: Tensor, spec: Any) -> list[str]:
        """A line for each sample; a visible sign replaces line breaks in the text."""
        return [
            "".join(spec.vocabulary[i] for i in row)
            .replace("\n", "\N{RETURN SYMBOL}")
            .replace("\t", " ")
            for row in samples.argmax(dim=1).tolist()
        ]


@kinds.register("choice")
class Choice(Kind):
    """One of so many: whole numbers from 0, as actions are. Only fields are of this kind."""

    network: ClassVar[str] = "mlp"
    numbers: ClassVar[str] = "choices"
    comparable: ClassVar[bool] = False

    def violations(self, spec: Spec) -> Iterator[str]:
        yield "its samples are of the kind choice, which only other fields can be"


@kinds.register("words")
class Words(Kind):
    """A row of words, as their places in `names`: 0 follows the last word, 1 stands for an unknown
    one. Only fields are of this kind."""

    network: ClassVar[str] = "mlp"
    numbers: ClassVar[str] = "words"
    comparable: ClassVar[bool] = False

    def violations(self, spec: Spec) -> Iterator[str]:
        yield "its samples are of the kind words, which only other fields can be"

    def written(self, text: str, field: Spec | Field) -> Tensor | None:
        known = {word: i for i, word in enumerate(field.names)}
        words = words_of(text)
        strange = [word for word in words if word not in known]
        if len(strange) == len(words):
            others = len(known) - 2 - NAMED
            more = f", and {others} others" if others > 0 else ""
            raise UserError(
                f"has no word that was learnt; they are {', '.join(field.names[2:][:NAMED])}{more}."
            )
        if strange:
            log.warning("not among the words that were learnt: %s", ", ".join(strange[:NAMED]))
        return encoded([words], known, *field.shape)[0]


@kinds.register("none")
class Unsampled(Kind):
    """No samples: data of other fields, or none, for games that render nothing."""

    network: ClassVar[str] = "mlp"
    comparable: ClassVar[bool] = False
    sampled: ClassVar[bool] = False
