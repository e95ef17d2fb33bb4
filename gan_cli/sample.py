"""`gan-sample`: render what a checkpoint has learnt. Needs nothing but the file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from gan_cli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 16
"""Every forward has this many rows, padded if need be: CPU results differ in the last bits across batch sizes, and
image i of seed s must be image 0 of seed s + i, bit for bit."""


class Mode(Enum):
    """What is written."""

    grid = "grid"  # one PNG of all samples
    images = "images"  # a folder of PNGs; for points, one scatter
    text = "text"  # lines of text, printed or written to a .txt file
    npz = "npz"  # one array `samples`, (n, ...); a table's in its own units


class Weights(Enum):
    """Which weights are rendered."""

    auto = "auto"  # the average if there is one
    ema = "ema"
    raw = "raw"


@dataclass
class SampleConfig:
    """The keys of `gan-sample`."""

    checkpoint: str = field(default="???", metadata={"help": "FILE that gan-train wrote, or a run's folder (its last)"})
    n: int = field(default=64, metadata={"least": 1, "help": "how many samples"})
    seed: int = field(default=0, metadata={"least": 0, "help": "sample i of seed s is sample 0 of seed s + i"})
    mode: Mode = field(default=Mode.grid, metadata={"help": "grid, images (a folder), npz, or text"})
    classes: str | None = field(
        default=None,
        metadata={"help": "of a conditional model: a class, [a,list] or all; each z is shown in all of them"},
    )
    output: str | None = field(default=None, metadata={"help": "PATH to write; named after the mode if not given"})
    weights: Weights = field(default=Weights.auto, metadata={"help": "ema, raw, or auto: the average if there is one"})
    plugins: list[str] = field(default_factory=list, metadata={"help": "plug-ins of the checkpoint that you trust"})


class Generator:
    """A trained generator, for notebooks: `gan_cli.load(FILE).sample(n, seed)`.

    Args:
        path: a checkpoint that gan-train wrote, or a run's folder (its last).
        weights: `ema`, `raw`, or `auto`: the average if there is one.
        plugins: plug-ins that the checkpoint needs and you trust.

    Attributes:
        spec: kind and shape of a sample.
        step: rounds it was trained for.

    Raises:
        UserError: missing, damaged or hostile file; no average where `ema` is asked for.
    """

    def __init__(self, path: str | Path, weights: str = "auto", plugins: Sequence[str] = ()) -> None:
        from gan_cli.job import load_game

        if weights not in Weights.__members__:
            raise UserError(f"weights={weights}: expected one of {', '.join(Weights.__members__)}.")
        self.game, self.spec, state = load_game(Path(path), weights, plugins)
        self.step: int = state["step"]

    def sample(self, n: int, seed: int = 0, classes: Sequence[int] = ()) -> "Tensor":
        """n samples, float32 of shape (n, *spec.shape); images in [-1, 1]. Sample i depends on seed + i alone.

        Args:
            classes: of a conditional game: sample i is of the class i modulo their number, and as many neighbours as
                there are classes share what else they are drawn from. The game draws the classes if none are given.
        """
        import torch

        from gan_cli import noise

        if n < 1:
            raise UserError(f"n={n}: must be at least 1.")
        each = max(1, len(classes))
        latents = torch.stack([self.game.draw(noise.generator("sample", seed + i // each)) for i in range(n)])
        if classes:
            latents = self.game.of_class(latents, torch.tensor([classes[i % each] for i in range(n)]))
        padding = latents[-1:].expand(-n % CHUNK, *latents.shape[1:])
        with torch.no_grad():
            chunks = [self.game.render(chunk) for chunk in torch.cat([latents, padding]).split(CHUNK)]
        return torch.cat(chunks)[:n]

    def classes(self, typed: str | None) -> list[int]:
        """The classes that `classes=all`, `classes=3` or `classes=[1,2]` means. Raises UserError for others."""
        if typed is None:
            return []
        known = range(self.game.classes)
        if not known:
            raise UserError(f"classes={typed}: the checkpoint's model is not conditional; leave classes out.")
        named = list(map(str, known)) if typed == "all" else [part.strip() for part in typed.strip("[]").split(",")]
        if not set(named) <= set(map(str, known)):
            raise UserError(f"classes={typed}: expected all, or some of 0 to {known[-1]}, such as classes=[0,1].")
        return [int(label) for label in named]


def run(config: SampleConfig) -> None:
    """Render and write what the configuration asks for; prints where it is."""
    generator = Generator(config.checkpoint, config.weights.value, config.plugins)
    mode, classes = config.mode, generator.classes(config.classes)
    if (generator.spec.kind == "text") != (mode is Mode.text) and mode is not Mode.npz:
        raise UserError(f"mode={mode.value}: the checkpoint makes {generator.spec.kind}; take {_fitting(generator)}.")
    if mode is Mode.text and config.output is None:
        print("\n".join(_lines(generator, generator.sample(config.n, config.seed, classes))))
        return
    suffix = {Mode.grid: ".png", Mode.images: "", Mode.npz: ".npz", Mode.text: ".txt"}[config.mode]
    output = Path(config.output or f"samples{suffix}")
    if suffix and output.suffix != suffix:
        raise UserError(f"output={output}: mode={config.mode.value} writes a {suffix} file; name one.")
    if suffix and output.is_dir():
        raise UserError(f"output={output}: a folder of that name is there; name a file.")
    samples = generator.sample(config.n, config.seed, classes)
    WRITERS[config.mode](samples, generator, output, len(classes) if len(classes) > 1 else 0)
    print(f"{config.n} samples of {config.checkpoint} (step {generator.step}) in {output}")


def _fitting(generator: Generator) -> str:
    return "mode=text or mode=npz" if generator.spec.kind == "text" else "mode=grid, mode=images or mode=npz"


def _lines(generator: Generator, samples: "Tensor") -> list[str]:
    from gan_cli.data.text import lines

    return lines(samples, generator.spec.vocabulary)


def _write_text(samples: "Tensor", generator: Generator, output: Path, columns: int) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(_lines(generator, samples)) + "\n", encoding="utf-8")


def _write_grid(samples: "Tensor", generator: Generator, output: Path, columns: int) -> None:
    from gan_cli import pictures

    pictures.write(output, pictures.picture(samples, generator.spec, columns=columns))


def _write_images(samples: "Tensor", generator: Generator, output: Path, columns: int) -> None:
    from gan_cli import pictures

    if generator.spec.kind == "points":
        pictures.write(output / "points.png", pictures.picture(samples, generator.spec))
        return
    for i, image in enumerate(pictures.to_uint8(samples)):
        pictures.write(output / f"{i:05d}.png", pictures.pixels_of(image))


def _write_npz(samples: "Tensor", generator: Generator, output: Path, columns: int) -> None:
    import numpy as np

    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output, samples=generator.spec.in_units(samples).numpy())


WRITERS = {Mode.grid: _write_grid, Mode.images: _write_images, Mode.npz: _write_npz, Mode.text: _write_text}
