"""Configuration of `gan-sample`: keys, the modes that read them, and the resulting seeds."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from itertools import chain, islice
from typing import Any

from gan_cli.errors import UserError
from gan_cli.sampling.generator import Generator, Statistics, Weights, shown
from gan_cli.sampling.keys import (
    checkpoint_key,
    direction_key,
    plugins_key,
    statistics_key,
    weights_key,
)


class Mode(Enum):
    """Content and format of the output."""

    grid = "grid"  # one PNG of all samples
    images = "images"  # a folder of PNGs, named by their seeds; for points, one scatter
    text = "text"  # lines of text, printed or written to a .txt file
    # one PNG: a row for each sample, a column for each value of one code or component of the latent
    traverse = "traverse"
    # a PNG with a row from each sample to the next, or a GIF of the whole walk
    interpolate = "interpolate"
    # one PNG: a row for each sample, from the mean of the prior outwards, to `truncation`
    truncate = "truncate"
    nearest = "nearest"  # one PNG: each sample followed by its nearest training samples
    points = "points"  # one PNG: samples in the plane over the critic's level sets
    timeline = "timeline"  # a GIF: the same samples by each checkpoint of a run
    reconstruct = "reconstruct"  # one PNG: held-out samples, each above its reconstruction
    encode = "encode"  # one array `codes`, (n, latent), of held-out samples, and their classes `y`
    # one array `samples`, (n, ...), of a table in its own units; and `table`, with named columns
    npz = "npz"
    # a table: a header, then a line for each sample, with words, dates and whole numbers as such
    csv = "csv"
    # a folder of PNGs: what each sample is made from, the sample, and the true image if it is known
    compare = "compare"
    # a folder of PNGs: the sample that comes closest to each picture; and their codes, as codes.npz
    project = "project"


class Interpolation(Enum):
    """Path between two latents: spherical or linear."""

    slerp = "slerp"
    lerp = "lerp"


class Directions(Enum):
    """Directions of the latent space for `shifts`."""

    principal = "principal"
    random = "random"


class Size(Enum):
    """Size of the samples that are made from files."""

    trained = "trained"  # that of the training data
    native = "native"  # that of each file


@dataclass
class SampleConfig:
    """The keys of `gan-sample`."""

    checkpoint: str = checkpoint_key()
    n: int = field(default=64, metadata={"least": 1, "help": "how many samples"})
    seed: int = field(
        default=0, metadata={"least": 0, "help": "sample i of seed s is sample 0 of seed s + i"}
    )
    seeds: Any = field(
        default=None,
        metadata={"help": "FIRST-LAST, or [a,list]: in place of n and seed; each in all classes"},
    )
    mode: Mode = field(
        default=Mode.grid, metadata={"help": f"one of {', '.join(Mode.__members__)}"}
    )
    classes: Any = field(
        default=None,
        metadata={"help": "of a conditional model: a class by name or number, [a,list] or all"},
    )
    input: str | None = field(
        default=None,
        metadata={
            "help": "FOLDER, FILE, or heldout: what samples are made from, where not from noise "
            "alone, or what mode=reconstruct, encode and project take; if not given, what the "
            "checkpoint carries, or held-out samples; input.FIELD=VALUE names one field of several"
        },
    )
    caption: str | None = field(
        default=None,
        metadata={"help": "TEXT, or a FILE of a caption a line: what samples show, of such models"},
    )
    size: Size = field(
        default=Size.trained,
        metadata={"help": "of mode=images, mode=compare: trained, or native, the files' own size"},
    )
    tile: int | None = field(
        default=None,
        metadata={
            "least": 1,
            "help": "of size=native: PIXELS a side of the tiles that large pictures are made of; "
            "none if not given",
        },
    )
    code: str | None = field(
        default=None, metadata={"help": "of mode=traverse: the name of a code of the model"}
    )
    dimension: int | None = field(
        default=None, metadata={"least": 0, "help": "of mode=traverse: a number of the latent"}
    )
    steps: int = field(
        default=10,
        metadata={"least": 2, "help": "of traverse, interpolate, truncate: pictures a row"},
    )
    path: Interpolation = field(
        default=Interpolation.slerp, metadata={"help": "of mode=interpolate: slerp or lerp"}
    )
    truncation: float | None = field(
        default=None,
        metadata={
            "least": 0,
            "help": "what is drawn is multiplied by it; of StyleGAN, psi; of BigGAN, the largest "
            "number of z: what is larger is drawn anew",
        },
    )
    directions: Directions = field(
        default=Directions.principal,
        metadata={"help": "of shifts: principal (of the features) or random ones"},
    )
    shifts: list[float] = field(
        default_factory=list,
        metadata={"help": "[1.5,0,-2]: how far to go along the first, second, ... direction"},
    )
    space: str | None = field(
        default=None,
        metadata={
            "help": "of mode=project: z; of models with styles also w, or w_each_layer; w if not "
            "given, and z where there is no w"
        },
    )
    iterations: int = field(
        default=300, metadata={"least": 1, "help": "of mode=project: steps of the descent"}
    )
    rate: float = field(
        default=0.1,
        metadata={"least": 0, "help": "of mode=project: largest step, in deviations of the codes"},
    )
    starts: int = field(
        default=4,
        metadata={"least": 1, "help": "of mode=project: codes to start from, for each picture"},
    )
    features: str = field(
        default="auto",
        metadata={
            "help": "of mode=project: what pictures are compared by beside pixels: auto, "
            "classifier, random, torchvision, or none"
        },
    )
    feature_weight: float = field(
        default=1.0,
        metadata={"least": 0, "help": "of mode=project: weight of the features beside the pixels"},
    )
    codes: str | None = field(
        default=None,
        metadata={"help": "FILE of codes that mode=project wrote, to be rendered again"},
    )
    layer: str | None = field(
        default=None,
        metadata={"help": "the SIDE of its maps or its NAME (gan-dissect lists them), for units"},
    )
    units: list[int] = field(
        default_factory=list,
        metadata={"help": "[3,7]: channels of the layer, which are multiplied by strength"},
    )
    strength: float = field(
        default=0.0,
        metadata={
            "least": 0,
            "help": "of units: 0 switches them off, 2 makes them twice as strong",
        },
    )
    statistics: Statistics = statistics_key()
    data: str | None = field(
        default=None,
        metadata={"help": "of reconstruct, encode, nearest, project: other data; data.KEY=VALUE"},
    )
    output: str | None = field(
        default=None, metadata={"help": "PATH to write; named after the mode if not given"}
    )
    direction: str | None = direction_key()
    weights: Weights = weights_key()
    plugins: list[str] = plugins_key()


THROUGH_CODES = (Mode.reconstruct, Mode.encode)  # modes that encode held-out samples
ONE_BY_ONE = (Mode.images, Mode.compare)  # modes that write a picture of each sample
FROM_INPUTS = (Mode.grid, *ONE_BY_ONE, Mode.npz, Mode.timeline)  # modes that show inputs too
FROM_CODES = (Mode.grid, Mode.images, Mode.npz)  # modes that render codes of a file
# modes that draw latents
DRAWN = tuple(mode for mode in Mode if mode not in (*THROUGH_CODES, Mode.project))
CHANGED = tuple(mode for mode in DRAWN if mode not in (Mode.timeline, Mode.compare))
"""Modes in which units of a layer can be scaled."""
READ_BY: dict[str, tuple[Mode, ...]] = {
    **dict.fromkeys(("seeds", "truncation", "directions", "shifts"), DRAWN),
    **dict.fromkeys(("layer", "units", "strength"), CHANGED),
    "classes": (*DRAWN, Mode.project),
    "input": (*FROM_INPUTS, *THROUGH_CODES, Mode.project),
    "codes": FROM_CODES,
    **dict.fromkeys(
        ("space", "iterations", "rate", "starts", "features", "feature_weight"), (Mode.project,)
    ),
    "caption": FROM_INPUTS,
    **dict.fromkeys(("size", "tile"), ONE_BY_ONE),
    "code": (Mode.traverse,),
    "dimension": (Mode.traverse,),
    "path": (Mode.interpolate,),
    "steps": (Mode.traverse, Mode.interpolate, Mode.truncate),
    "data": (Mode.nearest, *THROUGH_CODES, Mode.project),
}
"""Modes that read a key; `data` includes data.KEY. All modes read the keys that are not here."""
TILE_BYTES = 12_000  # memory of a small image while a picture is assembled
MAX_SEED_DIGITS = 30  # digits of a typed seed


def refuse_unread(config: SampleConfig, changed: Sequence[str] = ()) -> None:
    """Raise UserError for a typed key that the mode does not read, or an invalid combination.

    Args:
        changed: typed `data.KEY=VALUE` and `input.FIELD=VALUE`.
    """
    mode = config.mode
    typed = {key: shown(value) for key, value in _typed_keys(config).items()}
    pairs = [*typed.items(), *(item.split("=", 1) for item in changed)]
    for key, value in pairs:
        readers = READ_BY.get(key.partition(".")[0], tuple(Mode))
        if mode not in readers:
            raise UserError(
                f"{key}={value}: mode={mode.value} does not read it; {_listed(readers)} would."
            )

    numbers = {key: getattr(config, key) for key in ("truncation", "rate", "feature_weight")}
    bounds = [(key, number) for key, number in numbers.items() if number is not None]
    for key, number in [*bounds, *(("shifts", shift) for shift in config.shifts)]:
        if not math.isfinite(number):
            raise UserError(f"{key}={number}: expected a finite number.")

    if message := _contradiction(config, typed):
        raise UserError(message)


def _listed(modes: Sequence[Mode]) -> str:
    """Modes, listed for a message."""
    others = [mode.value for mode in Mode if mode not in modes]
    if len(others) < len(modes):
        return f"all modes but {', '.join(others)}"
    return ", ".join(f"mode={mode.value}" for mode in modes)


def _typed_keys(config: SampleConfig) -> dict[str, Any]:
    """Keys whose values differ from the defaults, with their values."""
    typed = {}
    for item in fields(SampleConfig):
        default = item.default
        if item.default_factory is not MISSING:
            default = item.default_factory()
        value = getattr(config, item.name)
        if value != default:
            typed[item.name] = value
    return typed


def _contradiction(config: SampleConfig, typed: Mapping[str, str]) -> str:
    """A message on keys that contradict each other or need another key; empty if all is well."""
    if config.seeds is not None:
        for key in ("n", "seed"):
            if key in typed:
                return (
                    f"{key}={typed[key]}: seeds={typed['seeds']} takes the place of n and "
                    "seed; leave one out."
                )
    if "directions" in typed and not config.shifts:
        return f"directions={typed['directions']}: says where shifts= go; add shifts=[1.5] or so."
    if config.codes is not None:
        for key in ("seeds", "seed", "classes", "truncation", "shifts", "input", "caption", "size"):
            if key in typed:
                return f"{key}={typed[key]}: not beside codes={config.codes}; leave one out."
    if config.tile is not None and config.size is not Size.native:
        return f"tile={config.tile}: is of pictures in their own size; add size=native."
    if config.mode is not Mode.traverse:
        return ""

    if (config.code is None) == (config.dimension is None):
        return (
            "mode=traverse: add code=NAME, a code of the model, or dimension=NUMBER, one of "
            "the latent; one of them."
        )
    if config.code is not None and "steps" in typed:
        return f"steps={config.steps}: a code is shown at values of its own; leave steps out."
    return ""


def seeds_and_labels(config: SampleConfig, generator: Generator) -> tuple[list[int], list[int]]:
    """The seed and the class of each sample; the classes are empty unless some are chosen.

    Each seed is used once for every chosen class.

    Raises:
        UserError: no such class or seed, or more samples than fit into the memory.
    """
    classes = generator.classes(config.classes)
    spans = seed_ranges(config)
    samples_per_seed = max(1, len(classes))
    if config.seeds is None:
        count = config.n
    else:
        count = samples_per_seed * sum(span.stop - span.start for span in spans)
    _refuse_too_many(config, generator, count)

    repeated = (seed for seed in chain(*spans) for _ in range(samples_per_seed))
    seeds = list(islice(repeated, count))
    labels = [classes[i % samples_per_seed] for i in range(count)] if classes else []
    return seeds, labels


def _refuse_too_many(config: SampleConfig, generator: Generator, count: int) -> None:
    """Raise UserError if `count` samples, with all steps of their walks, need too much memory."""
    typed = f"n={config.n}" if config.seeds is None else f"seeds={shown(config.seeds)}"
    is_walk = config.mode in READ_BY["steps"] and config.code is None
    if is_walk:
        count *= config.steps
        typed += f", steps={config.steps}"

    from gan_cli.data.kinds import kind_of

    if config.mode in ONE_BY_ONE and generator.game.sampling.given:
        generator.refuse_more_than_fits(count, typed, copies=0)  # a few at a time are in memory
        return
    is_picture = kind_of(generator.spec).tiles and config.mode not in (*ONE_BY_ONE, Mode.npz)
    generator.refuse_more_than_fits(count, typed, TILE_BYTES if is_picture else 0)


def seed_ranges(config: SampleConfig) -> list[range]:
    """Ranges of seeds, by `seeds=0-63`, `seeds=[3,5,10-19]` or `seeds=7`, else by n and seed.

    Raises:
        UserError: another form of `seeds`, or an empty range.
    """
    if config.seeds is None:
        return [range(config.seed, config.seed + config.n)]

    number = rf"(\d{{1,{MAX_SEED_DIGITS}}})"
    parts = config.seeds if isinstance(config.seeds, list) else [config.seeds]

    matches = [re.fullmatch(f"{number}(?:-{number})?", str(part), re.ASCII) for part in parts]
    spans = [range(int(match[1]), int(match[2] or match[1]) + 1) for match in matches if match]
    if not spans or not all(matches) or not all(span.stop > span.start for span in spans):
        raise UserError(
            f"seeds={shown(config.seeds)}: expected FIRST-LAST such as 0-63, or a list such as "
            "[3,5,10-19]."
        )
    return spans
