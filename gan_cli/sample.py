"""`gan-sample`: render what a checkpoint has learnt. Needs nothing but the file."""

import re
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
    traverse = "traverse"  # one PNG: a row for each sample, a column for each value of one code or number of the latent
    interpolate = "interpolate"  # a PNG with a row from each sample to the next, or a GIF of the whole way
    truncate = "truncate"  # one PNG: a row for each sample, from the middle of the prior outwards
    nearest = "nearest"  # one PNG: each sample beside its nearest training samples
    points = "points"  # one PNG: samples in the plane over the critic's level sets
    timeline = "timeline"  # a GIF: the same samples by each checkpoint of a run
    reconstruct = "reconstruct"  # one PNG: held-out samples, each above what comes back of it
    encode = "encode"  # one array `codes`, (n, latent), of held-out samples, and their classes `y`
    npz = "npz"  # one array `samples`, (n, ...); a table's in its own units


class Way(Enum):
    """How an interpolation goes."""

    slerp = "slerp"
    lerp = "lerp"


class Statistics(Enum):
    """Which means and variances a generator's batch norm uses."""

    saved = "saved"
    batch = "batch"


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
    seeds: str | None = field(default=None, metadata={"help": "FIRST-LAST, or [a,list]: in place of n and seed"})
    mode: Mode = field(default=Mode.grid, metadata={"help": f"one of {', '.join(Mode.__members__)}"})
    classes: Any = field(
        default=None,
        metadata={"help": "of a conditional model: a class, [a,list] or all; each z is shown in all of them"},
    )
    code: str | None = field(default=None, metadata={"help": "of mode=traverse: the name of a code of the model"})
    dimension: int | None = field(
        default=None, metadata={"least": 0, "help": "of mode=traverse: a number of the latent"}
    )
    steps: int = field(default=10, metadata={"least": 2, "help": "of traverse, interpolate, truncate: pictures a row"})
    path: Way = field(default=Way.slerp, metadata={"help": "of mode=interpolate: slerp or lerp"})
    truncation: float = field(default=1.0, metadata={"least": 0, "help": "what is drawn is multiplied by it"})
    statistics: Statistics = field(
        default=Statistics.saved, metadata={"help": "of batch norm: saved, or estimated over fresh batches (batch)"}
    )
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
        if n < 1:
            raise UserError(f"n={n}: must be at least 1.")
        return self.render(self.drawn(range(seed, seed + n), classes))

    def drawn(self, seeds: Sequence[int], classes: Sequence[int] = ()) -> "Tensor":
        """What as many samples as there are seeds are rendered from; with classes, see `sample`."""
        import torch

        from gan_cli import noise

        each = max(1, len(classes))
        rows = [self.game.draw(noise.generator("sample", seeds[i // each])) for i in range(len(seeds))]
        latents = torch.stack(rows)
        if classes:
            latents = self.game.of_class(latents, torch.tensor([classes[i % each] for i in range(len(seeds))]))
        return latents

    def traversed(self, latents: "Tensor", code: str | None) -> "Tensor":
        """Each row with every value of one code, side by side."""
        named: Any = getattr(self.game, "codes", None)
        codes = list(named.widths) if named else []
        if code not in codes:
            known = f"; its codes are {', '.join(codes)}" if codes else " at all; model=infogan learns some"
            raise UserError(f"code={code}: the checkpoint's model has no such code{known}.")
        return self.game.traverse(latents, code)  # type: ignore[operator]

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
    seeds = seeds_of(config)
    if config.mode is Mode.timeline:
        _write_timeline(config, seeds)
        return
    generator = Generator(config.checkpoint, config.weights.value, config.plugins)
    if config.statistics is Statistics.batch:
        from gan_cli import walks

        walks.estimate_statistics(generator)
    mode, classes = config.mode, generator.classes(config.classes)
    if (generator.spec.kind == "text") != (mode is Mode.text) and mode not in (Mode.npz, Mode.encode):
        raise UserError(f"mode={mode.value}: the checkpoint makes {generator.spec.kind}; take {_fitting(generator)}.")
    latents = config.truncation * generator.drawn(seeds, classes) if mode not in THROUGH_CODES else None
    if mode is Mode.text and config.output is None:
        assert latents is not None
        print("\n".join(_lines(generator, generator.render(latents))))
        return
    output = _output(config)
    if latents is None:
        _write_through_codes(config, generator, output)
        return
    samples, columns, said = _made(config, generator, latents, len(classes) if len(classes) > 1 else 0)
    WRITERS.get(mode, _write_grid)(samples, generator, output, columns)
    print(f"{len(seeds)} samples of {config.checkpoint} (step {generator.step}) in {output}{said}")


def seeds_of(config: SampleConfig) -> list[int]:
    """The seeds that `seeds=0-63`, `seeds=[3,5]`, `seeds=7`, or else n and seed mean. Raises UserError for others."""
    if config.seeds is None:
        return list(range(config.seed, config.seed + config.n))
    try:
        if match := re.fullmatch(r"(\d+)-(\d+)", config.seeds):
            seeds = list(range(int(match[1]), int(match[2]) + 1))
        else:
            seeds = [int(part) for part in config.seeds.strip("[]").split(",")]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0:
        raise UserError(f"seeds={config.seeds}: expected FIRST-LAST such as 0-63, or a list such as [3,5].")
    return seeds


def _output(config: SampleConfig) -> Path:
    """Where to write. Raises UserError for a name that does not fit the mode."""
    suffixes = SUFFIXES.get(config.mode, (".png",))
    output = Path(config.output or f"samples{suffixes[0]}")
    if suffixes[0] and output.suffix not in suffixes:
        raise UserError(f"output={output}: mode={config.mode.value} writes a {' or '.join(suffixes)} file; name one.")
    if suffixes[0] and output.is_dir():
        raise UserError(f"output={output}: a folder of that name is there; name a file.")
    return output


def _made(config: SampleConfig, generator: Generator, latents: "Tensor", columns: int) -> "tuple[Tensor, int, str]":
    """The samples that a mode shows, the columns of their picture (0: a square), and what is to be said of them."""
    from gan_cli import walks

    steps = config.steps
    if config.mode is Mode.interpolate:
        return generator.render(walks.between(latents, steps, config.path.value)), steps, ""
    if config.mode is Mode.truncate:
        return generator.render(walks.inwards(latents, steps)), steps, ""
    if config.mode is Mode.traverse and config.dimension is not None:
        return generator.render(walks.along(latents, config.dimension, steps)), steps, ""
    if config.mode is Mode.traverse:
        rows = generator.traversed(latents, config.code)
        return generator.render(rows), len(rows) // len(latents), ""
    samples = generator.render(latents)
    return _beside_nearest(config, generator, samples) if config.mode is Mode.nearest else (samples, columns, "")


def _beside_nearest(config: SampleConfig, generator: Generator, samples: "Tensor") -> "tuple[Tensor, int, str]":
    """Each sample, then its nearest training samples; and whether it lies nearer to them than held-out samples do."""
    import torch

    from gan_cli import walks
    from gan_cli.evaluate import own_or_other_data

    if generator.spec.kind != "image":
        raise UserError(f"mode=nearest: shows images; the checkpoint makes {generator.spec.kind}.")
    dataset = own_or_other_data(generator.config, generator.spec, config.data, [])
    found, distances = walks.nearest(samples, dataset)
    _, usual = walks.nearest(dataset.some(dataset.heldout, len(samples)), dataset, 1)
    said = f"; nearest training sample at {distances[:, 0].median():.3g}, from held-out samples at {usual.median():.3g}"
    return torch.cat([samples[:, None], found], dim=1).flatten(0, 1), 1 + found.shape[1], said


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

    if output.suffix == ".gif":
        pictures.write_gif(output, [pictures.picture(sample[None], generator.spec) for sample in samples])
        return
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


def _write_points(samples: "Tensor", generator: Generator, output: Path, columns: int) -> None:
    """Samples over the level sets of the critic that is in the checkpoint."""
    from gan_cli import pictures

    value = getattr(generator.game, "value", None)
    if generator.spec.shape != (2,) or value is None:
        raise UserError("mode=points: draws points of two coordinates and the critic before them; take mode=grid.")
    title = f"critic and {len(samples)} samples after {generator.step} rounds"
    figure = pictures.level_sets(value, generator.spec.extent, [(samples, "tab:orange")], title)
    pictures.write(output, pictures.drawn(figure))


def _write_timeline(config: SampleConfig, seeds: list[int]) -> None:
    """The same samples by each checkpoint of a run, a frame each."""
    from gan_cli import pictures, walks

    output, frames = _output(config), []
    for path in walks.frames_of(Path(config.checkpoint)):
        generator = Generator(path, config.weights.value, config.plugins)
        if generator.spec.kind == "text":
            raise UserError("mode=timeline: shows pictures; the checkpoint makes text.")
        classes = generator.classes(config.classes)
        samples = generator.render(config.truncation * generator.drawn(seeds, classes))
        pixels = pictures.picture(samples, generator.spec, columns=len(classes) if len(classes) > 1 else 0)
        frames.append(pictures.captioned(pixels, f"step {generator.step}"))
    pictures.write_gif(output, frames, seconds=0.4)
    print(f"{len(seeds)} samples by each of {len(frames)} checkpoints of {config.checkpoint} in {output}")


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


THROUGH_CODES = (Mode.reconstruct, Mode.encode)
SUFFIXES: dict[Mode, tuple[str, ...]] = {
    Mode.images: ("",), Mode.npz: (".npz",), Mode.text: (".txt",), Mode.encode: (".npz",),
    Mode.interpolate: (".png", ".gif"), Mode.timeline: (".gif",),
}  # fmt: skip
"""What a mode writes, its own choice first; a PNG if it is not here."""
WRITERS = {Mode.images: _write_images, Mode.npz: _write_npz, Mode.text: _write_text, Mode.points: _write_points}
"""How a mode writes; a grid if it is not here."""
