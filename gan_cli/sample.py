"""`gan-sample`: render what a checkpoint has learnt. Needs nothing but the file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    traverse = "traverse"  # one PNG: a row for each sample, a column for each value of one code
    reconstruct = "reconstruct"  # one PNG: held-out samples, each above what comes back of it
    encode = "encode"  # one array `codes`, (n, latent), of held-out samples, and their classes `y`
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
    mode: Mode = field(
        default=Mode.grid, metadata={"help": "grid, images (a folder), npz, text; traverse, reconstruct, encode"}
    )
    classes: Any = field(
        default=None,
        metadata={"help": "of a conditional model: a class, [a,list] or all; each z is shown in all of them"},
    )
    code: str | None = field(default=None, metadata={"help": "of mode=traverse: the name of a code of the model"})
    data: str | None = field(default=None, metadata={"help": "of reconstruct and encode: not the model's own data"})
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
        from gan_cli.build import load_game

        if weights not in Weights.__members__:
            raise UserError(f"weights={weights}: expected one of {', '.join(Weights.__members__)}.")
        self.game, self.spec, state = load_game(Path(path), weights, plugins)
        self.step: int = state["step"]
        self.config = state["config"]

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
        return self.render(latents)

    def traverse(self, n: int, seed: int, code: str | None) -> "tuple[Tensor, int]":
        """The first n samples with every value of one code, side by side; and how many values those are."""
        import torch

        from gan_cli import noise

        named: Any = getattr(self.game, "codes", None)
        codes = list(named.widths) if named else []
        if code not in codes:
            known = f"; its codes are {', '.join(codes)}" if codes else " at all; model=infogan learns some"
            raise UserError(f"code={code}: the checkpoint's model has no such code{known}.")
        latents = torch.stack([self.game.draw(noise.generator("sample", seed + i)) for i in range(n)])
        rows = self.game.traverse(latents, code)  # type: ignore[operator]
        return self.render(rows), len(rows) // n

    def render(self, latents: "Tensor") -> "Tensor":
        """Samples for rows of what `game.draw` draws, in chunks of one size."""
        import torch

        n = len(latents)
        padding = latents[-1:].expand(-n % CHUNK, *latents.shape[1:])
        with torch.no_grad():
            chunks = [self.game.render(chunk) for chunk in torch.cat([latents, padding]).split(CHUNK)]
        return torch.cat(chunks)[:n]

    def classes(self, typed: Any) -> list[int]:
        """The classes that `classes=all`, `classes=3` or `classes=[1,2]` means. Raises UserError for others."""
        if typed is None:
            return []
        known = range(self.game.classes)
        if not known:
            raise UserError(f"classes={typed}: the checkpoint's model is not conditional; leave classes out.")
        named = list(map(str, known if typed == "all" else typed if isinstance(typed, list) else [typed]))
        if not set(named) <= set(map(str, known)):
            raise UserError(f"classes={typed}: expected all, or some of 0 to {known[-1]}, such as classes=[0,1].")
        return [int(label) for label in named]


def run(config: SampleConfig) -> None:
    """Render and write what the configuration asks for; prints where it is."""
    generator = Generator(config.checkpoint, config.weights.value, config.plugins)
    mode, classes = config.mode, generator.classes(config.classes)
    if (generator.spec.kind == "text") != (mode is Mode.text) and mode not in (Mode.npz, Mode.encode):
        raise UserError(f"mode={mode.value}: the checkpoint makes {generator.spec.kind}; take {_fitting(generator)}.")
    if mode is Mode.text and config.output is None:
        print("\n".join(_lines(generator, generator.sample(config.n, config.seed, classes))))
        return
    suffix = SUFFIXES[mode]
    output = Path(config.output or f"samples{suffix}")
    if suffix and output.suffix != suffix:
        raise UserError(f"output={output}: mode={config.mode.value} writes a {suffix} file; name one.")
    if suffix and output.is_dir():
        raise UserError(f"output={output}: a folder of that name is there; name a file.")
    columns = len(classes) if len(classes) > 1 else 0
    if mode is Mode.traverse:
        samples, columns = generator.traverse(config.n, config.seed, config.code)
    elif mode in (Mode.reconstruct, Mode.encode):
        _write_through_codes(config, generator, output)
        return
    else:
        samples = generator.sample(config.n, config.seed, classes)
    WRITERS[mode](samples, generator, output, columns)
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


def _write_through_codes(config: SampleConfig, generator: Generator, output: Path) -> None:
    """Held-out samples of the model's own data, or of another: their codes, or what comes back by way of them."""
    import numpy as np
    import torch

    from gan_cli.evaluate import own_or_other_data

    if not generator.game.encodes:
        raise UserError(f"mode={config.mode.value}: the checkpoint's model has no encoder; model=bigan or aae has one.")
    dataset = own_or_other_data(generator.config, generator.spec, config.data, [])
    batch = dataset.few(dataset.heldout, config.n, f"sampled {config.seed}")
    with torch.no_grad():
        if config.mode is Mode.encode:
            output.parent.mkdir(parents=True, exist_ok=True)
            labels = {"y": batch["y"].numpy()} if "y" in batch else {}
            np.savez_compressed(output, codes=generator.game.encode(batch["x"]).numpy(), **labels)
        else:
            again = generator.game.reconstruct(batch["x"], *(batch[name] for name in generator.game.condition))
            _write_grid(_interleaved(batch["x"], again), generator, output, WIDE)
    print(f"{len(batch['x'])} held-out samples through {config.checkpoint} (step {generator.step}) in {output}")


WIDE = 16  # columns of a picture of reconstructions


def _interleaved(x: "Tensor", again: "Tensor") -> "Tensor":
    """A row of samples, a row of what comes back, and so on."""
    import torch

    rows = zip(x.split(WIDE), again.split(WIDE), strict=True)
    blank = torch.full_like(x[:1], -1).expand(-len(x) % WIDE, *x.shape[1:])
    return torch.cat([torch.cat([part, blank[: WIDE - len(part)]]) for row in rows for part in row])


SUFFIXES = {
    Mode.grid: ".png", Mode.images: "", Mode.npz: ".npz", Mode.text: ".txt", Mode.traverse: ".png",
    Mode.reconstruct: ".png", Mode.encode: ".npz",
}  # fmt: skip
WRITERS = {
    Mode.grid: _write_grid, Mode.images: _write_images, Mode.npz: _write_npz, Mode.text: _write_text,
    Mode.traverse: _write_grid,
}  # fmt: skip
