"""`gan-sample`: render what a checkpoint has learnt. Needs nothing but the file."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_cli.errors import UserError, on_one_line

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


class Directions(Enum):
    """Which ways through the latent space `shifts` are along."""

    principal = "principal"
    random = "random"


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
    seeds: Any = field(default=None, metadata={"help": "FIRST-LAST, or [a,list]: in place of n and seed"})
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
    truncation: float = field(
        default=1.0, metadata={"least": 0, "help": "what is drawn is multiplied by it; of StyleGAN, psi"}
    )
    directions: Directions = field(
        default=Directions.principal, metadata={"help": "of shifts: principal (of the features) or random ones"}
    )
    shifts: list[float] = field(
        default_factory=list, metadata={"help": "[1.5,0,-2]: how far to go along the first, second, ... direction"}
    )
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
        return in_chunks(self.game.render, latents)

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


def in_chunks(render: "Callable[[Tensor], Tensor]", latents: "Tensor") -> "Tensor":
    """What `render` makes of rows, CHUNK of them at a time, the last ones padded by the last row."""
    import torch

    n = len(latents)
    padding = latents[-1:].expand(-n % CHUNK, *latents.shape[1:])
    with torch.no_grad():
        chunks = [render(chunk) for chunk in torch.cat([latents, padding]).split(CHUNK)]
    return torch.cat(chunks)[:n]


THROUGH_CODES = (Mode.reconstruct, Mode.encode)
SUFFIXES: dict[Mode, tuple[str, ...]] = {
    Mode.images: ("",), Mode.npz: (".npz",), Mode.text: (".txt",), Mode.encode: (".npz",),
    Mode.interpolate: (".png", ".gif"), Mode.timeline: (".gif",),
}  # fmt: skip
"""What a mode writes, its own choice first; a PNG if it is not here."""


def run(config: SampleConfig) -> None:
    """Render and write what the configuration asks for; prints where it is."""
    from gan_cli import modes

    seeds = seeds_of(config)
    if config.mode is Mode.timeline:
        modes.write_timeline(config, seeds, _output(config))
        return
    generator = prepared(config, Path(config.checkpoint))
    mode, classes = config.mode, generator.classes(config.classes)
    if (generator.spec.kind == "text") != (mode is Mode.text) and mode not in (Mode.npz, Mode.encode):
        raise UserError(f"mode={mode.value}: the checkpoint makes {generator.spec.kind}; take {_fitting(generator)}.")
    latents = latents_of(config, generator, seeds, classes) if mode not in THROUGH_CODES else None
    if mode is Mode.text and config.output is None:
        assert latents is not None
        print("\n".join(map(on_one_line, modes.lines(generator, generator.render(latents)))))
        return
    output = _output(config)
    if latents is None:
        modes.write_through_codes(config, generator, output)
        return
    samples, columns, said = modes.made(config, generator, latents, len(classes) if len(classes) > 1 else 0)
    modes.write(samples, generator, mode, output, columns)
    print(f"{len(seeds)} samples of {config.checkpoint} (step {generator.step}) in {output}{said}")


def prepared(config: SampleConfig, path: Path) -> Generator:
    """The generator in a file, with the statistics that the configuration asks for."""
    generator = Generator(path, config.weights.value, config.plugins)
    if config.statistics is Statistics.batch:
        from gan_cli import walks

        walks.estimate_statistics(generator)
    return generator


def latents_of(config: SampleConfig, generator: Generator, seeds: list[int], classes: list[int]) -> "Tensor":
    """What is rendered, or walked between: drawn, drawn in, and moved."""
    from gan_cli import walks

    latents = generator.game.truncated(generator.drawn(seeds, classes), config.truncation)
    return walks.shifted(generator, latents, config.directions.value, config.shifts) if config.shifts else latents


def seeds_of(config: SampleConfig) -> list[int]:
    """The seeds that `seeds=0-63`, `seeds=[3,5]`, `seeds=7`, or else n and seed mean. Raises UserError for others."""
    if config.seeds is not None and config.mode in THROUGH_CODES:
        raise UserError(
            f"seeds={config.seeds}: mode={config.mode.value} takes held-out samples; choose them by n, seed."
        )
    if config.seeds is None:
        return list(range(config.seed, config.seed + config.n))
    typed = config.seeds if isinstance(config.seeds, list) else [config.seeds]
    try:
        if match := re.fullmatch(r"(\d+)-(\d+)", str((*typed, "")[0])):
            seeds = list(range(int(match[1]), int(match[2]) + 1))
        else:
            seeds = [int(part) for part in typed]
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


def _fitting(generator: Generator) -> str:
    return "mode=text or mode=npz" if generator.spec.kind == "text" else "mode=grid, mode=images or mode=npz"
