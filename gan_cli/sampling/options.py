"""The keys of `gan-sample`: what is asked for, which modes read it, and where it is written."""

import math
import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from itertools import chain, islice
from typing import Any

from gan_cli.errors import UserError
from gan_cli.sampling.generator import Generator, Statistics, Weights, shown
from gan_cli.sampling.keys import checkpoint_key, plugins_key, statistics_key, weights_key


class Mode(Enum):
    """What is written."""

    grid = "grid"  # one PNG of all samples
    images = "images"  # a folder of PNGs, named by their seeds; for points, one scatter
    text = "text"  # lines of text, printed or written to a .txt file
    # one PNG: a row for each sample, a column for each value of one code or number of the latent
    traverse = "traverse"
    # a PNG with a row from each sample to the next, or a GIF of the whole way
    interpolate = "interpolate"
    truncate = "truncate"  # one PNG: a row for each sample, from the middle of the prior outwards
    nearest = "nearest"  # one PNG: each sample beside its nearest training samples
    points = "points"  # one PNG: samples in the plane over the critic's level sets
    timeline = "timeline"  # a GIF: the same samples by each checkpoint of a run
    reconstruct = "reconstruct"  # one PNG: held-out samples, each above what comes back of it
    encode = "encode"  # one array `codes`, (n, latent), of held-out samples, and their classes `y`
    # one array `samples`, (n, ...); of a table in its own units, and `table`, with a name for each
    # column
    npz = "npz"
    # of a table: a line of names, and a line for each sample, with words, dates and whole numbers
    # as such
    csv = "csv"


class Way(Enum):
    """How an interpolation goes."""

    slerp = "slerp"
    lerp = "lerp"


class Directions(Enum):
    """Which ways through the latent space `shifts` are along."""

    principal = "principal"
    random = "random"


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
    path: Way = field(default=Way.slerp, metadata={"help": "of mode=interpolate: slerp or lerp"})
    truncation: float = field(
        default=1.0,
        metadata={"least": 0, "help": "what is drawn is multiplied by it; of StyleGAN, psi"},
    )
    directions: Directions = field(
        default=Directions.principal,
        metadata={"help": "of shifts: principal (of the features) or random ones"},
    )
    shifts: list[float] = field(
        default_factory=list,
        metadata={"help": "[1.5,0,-2]: how far to go along the first, second, ... direction"},
    )
    statistics: Statistics = statistics_key()
    data: str | None = field(
        default=None,
        metadata={"help": "of reconstruct, encode, nearest: other data; or data.KEY=VALUE"},
    )
    output: str | None = field(
        default=None, metadata={"help": "PATH to write; named after the mode if not given"}
    )
    weights: Weights = weights_key()
    plugins: list[str] = plugins_key()


THROUGH_CODES = (Mode.reconstruct, Mode.encode)


DRAWN = tuple(mode for mode in Mode if mode not in THROUGH_CODES)


READ_BY: dict[str, tuple[Mode, ...]] = {
    **dict.fromkeys(("seeds", "classes", "truncation", "directions", "shifts"), DRAWN),
    "code": (Mode.traverse,), "dimension": (Mode.traverse,), "path": (Mode.interpolate,),
    "steps": (Mode.traverse, Mode.interpolate, Mode.truncate), "data": (Mode.nearest,
    *THROUGH_CODES),
}  # fmt: skip
"""Which modes read a key; those that are not here are read by all. `data` stands for data.KEY
too."""


def refuse_unread(config: SampleConfig, changed: Sequence[str] = ()) -> None:
    """Raise UserError for a key that was given and is not read, or a number that is none."""
    mode = config.mode
    given = [(key, shown(value)) for key, value in _given(config).items()]
    for key, value in [*given, *(item.split("=", 1) for item in changed)]:
        readers = READ_BY.get(key.partition(".")[0], tuple(Mode))
        if mode not in readers:
            others = ", ".join(f"mode={reader.value}" for reader in readers)
            what = (
                f"all modes but {', '.join(m.value for m in THROUGH_CODES)}"
                if readers == DRAWN
                else others
            )
            raise UserError(f"{key}={value}: mode={mode.value} does not read it; {what} would.")
    for key, number in (
        ("truncation", config.truncation),
        *(("shifts", shift) for shift in config.shifts),
    ):
        if not math.isfinite(number):
            raise UserError(f"{key}={number}: expected a finite number.")
    if sentence := _at_odds(config, [key for key, _ in given]):
        raise UserError(sentence)


def _given(config: SampleConfig) -> dict[str, Any]:
    """The keys whose values are not the usual ones."""
    usual = {
        item.name: item.default_factory() if item.default_factory is not MISSING else item.default
        for item in fields(SampleConfig)
    }
    return {key: getattr(config, key) for key in usual if getattr(config, key) != usual[key]}


def _at_odds(config: SampleConfig, given: Sequence[str]) -> str:
    """What is wrong with keys that the mode reads, each beside the others; nothing if they go
    together."""
    typed = {key: shown(getattr(config, key)) for key in given}
    counted = next(
        (key for key in ("n", "seed") if key in given and config.seeds is not None), None
    )
    if counted:
        return (
            f"{counted}={typed[counted]}: seeds={typed['seeds']} takes the place of n and "
            "seed; leave one out."
        )
    if "directions" in given and not config.shifts:
        return f"directions={typed['directions']}: says where shifts= go; add shifts=[1.5] or so."
    if config.mode is not Mode.traverse:
        return ""
    if (config.code is None) == (config.dimension is None):
        return (
            "mode=traverse: add code=NAME, a code of the model, or dimension=NUMBER, one of "
            "the latent; one of them."
        )
    if config.code is not None and "steps" in given:
        return f"steps={config.steps}: a code is shown at values of its own; leave steps out."
    return ""


def rows_of(config: SampleConfig, generator: Generator) -> tuple[list[int], list[int]]:
    """The seed of each sample, and its class where classes are asked for: each seed is shown in all
    of them.

    Raises:
        UserError: no such class or seed, or more samples than the memory holds.
    """
    classes, spans = generator.classes(config.classes), spans_of(config)
    each, walks = max(1, len(classes)), config.mode in READ_BY["steps"] and config.code is None
    count = (
        config.n if config.seeds is None else each * sum(span.stop - span.start for span in spans)
    )
    asked = f"n={config.n}" if config.seeds is None else f"seeds={shown(config.seeds)}"
    tile = (
        TILE if generator.spec.kind == "image" and config.mode not in (Mode.images, Mode.npz) else 0
    )
    generator.refuse_more_than_fits(
        count * (config.steps if walks else 1),
        f"{asked}, steps={config.steps}" if walks else asked,
        tile,
    )
    seeds = list(islice((seed for seed in chain(*spans) for _ in range(each)), count))
    return seeds, [classes[i % each] for i in range(count)] if classes else []


TILE = 12_000  # bytes that a small image needs while it is put into a picture


def spans_of(config: SampleConfig) -> list[range]:
    """The seeds that `seeds=0-63`, `seeds=[3,5,10-19]`, `seeds=7`, or else n and seed mean. Raises
    UserError for others."""
    if config.seeds is None:
        return [range(config.seed, config.seed + config.n)]
    typed = config.seeds if isinstance(config.seeds, list) else [config.seeds]
    found = [re.fullmatch(r"(\d{1,30})(?:-(\d{1,30}))?", str(part), re.ASCII) for part in typed]
    spans = [range(int(match[1]), int(match[2] or match[1]) + 1) for match in found if match]
    if not spans or not all(found) or not all(span.stop > span.start for span in spans):
        raise UserError(
            f"seeds={shown(config.seeds)}: expected FIRST-LAST such as 0-63, or a list such as "
            "[3,5,10-19]."
        )
    return spans
