"""Runs read from their folders, and grouped by what they learn. Nothing here imports torch.

Runs may come from strangers: nothing in a folder is run, and nothing unfolds to more than was read.
A file that is damaged costs its run, not the comparison: the run is left out, and a sentence says
so.
"""

import functools
import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gan_cli.config.identity import HARMLESS, flatten
from gan_cli.config.objectives import lower_is_better
from gan_cli.config.options import configs
from gan_cli.config.schema import DEFAULTS
from gan_cli.errors import UserError, on_one_line
from gan_cli.files import SMALL, leads_out, read_text
from gan_cli.reading.safe_yaml import read_yaml
from gan_cli.runs.rundir import CARD, checked

SEED = "seed"
EQUAL = HARMLESS - {"steps", "minutes", "evaluate_samples"}
"""Keys that may differ between the seeds of one group. (Another budget, or fewer samples scored, is
another trial.)"""


@dataclass(frozen=True)
class Run:
    """One run: its card, its configuration as leaves, its rows of scalars, and what was typed for
    it.

    Args:
        overrides: as they were typed; None if the folder does not say.
    """

    folder: Path
    card: dict[str, Any]
    config: dict[str, Any]
    overrides: list[str] | None
    rows: list[dict[str, float]]

    @functools.cached_property
    def typed(self) -> dict[str, str]:
        """What was typed, by key."""
        return dict(item.lstrip("+").split("=", 1) for item in self.overrides or [] if "=" in item)

    @functools.cached_property
    def scores(self) -> dict[str, float]:
        """The last scores."""
        return _numbers(self.card.get("scores", {}))

    @property
    def objective(self) -> str:
        """The score that the run's best checkpoint goes by, or nothing before the first
        evaluation."""
        return str(self.card.get("objective") or "")

    @property
    def seed(self) -> str:
        return shown(self.config.get(SEED, ""))

    @property
    def health(self) -> list[str]:
        """The verdicts of the health report; none if the run has not ended."""
        return list(self.card.get("health", []))

    @property
    def command(self) -> str:
        """What to type to train this run again; nothing if the folder does not say."""
        return "" if self.overrides is None else shlex.join(["gan-train", *self.overrides])

    @property
    def pictures(self) -> list[Path]:
        """Its samples, PNG or text, the newest last; neither pipes nor what links bring in from
        elsewhere."""
        found = [
            path for path in (self.folder / "samples").glob("*") if path.suffix in (".png", ".txt")
        ]
        return sorted(path for path in found if path.is_file() and not leads_out(path, self.folder))

    def setting(self, key: str) -> str:
        """What the run has for a key: a leaf of its configuration, an option of a group, or what
        was typed."""
        if key in self.config:
            return shown(self.config[key])
        if (
            key == "model"
            and not {"model", "experiment"} & self.typed.keys()
            and self.overrides is not None
        ):
            return _usual_model()
        return shown(self.typed.get(key, self.config.get(f"{key}.name", "")))

    def value(self, name: str) -> float | None:
        """A score of the card, or the last value of a scalar that the run has logged."""
        if name in self.scores:
            return self.scores[name]
        return next(
            (
                row[tag]
                for row in reversed(self.rows)
                for tag in (name, f"metrics/{name}")
                if tag in row
            ),
            None,
        )

    def best(self, score: str) -> float | None:
        """The best value that a score ever had; None if it never had one, or cannot get better."""
        lower = self.directions.get(score)
        if lower is None:
            return None
        logged = [row[f"metrics/{score}"] for row in self.rows if f"metrics/{score}" in row]
        values = [
            value for value in logged or [self.scores.get(score, math.nan)] if math.isfinite(value)
        ]
        return (min if lower else max)(values, default=None)

    @functools.cached_property
    def directions(self) -> dict[str, bool]:
        """Of every score that can get better, whether lower is; its objective may be that of a
        plug-in."""
        said = self.card.get("lower_is_better")
        return ({self.objective: said} if isinstance(said, bool) else {}) | lower_is_better()


@dataclass(frozen=True)
class Group:
    """Runs whose configurations differ in nothing but the seed."""

    runs: list[Run]

    def setting(self, key: str) -> str:
        """What its runs have for a key."""
        return next(filter(None, (run.setting(key) for run in self.runs)), "")


def shown(value: Any) -> str:
    """A value of a configuration as one types it."""
    return on_one_line(
        value if isinstance(value, str) else json.dumps(value, default=str, skipkeys=True)
    )


@functools.cache
def _usual_model() -> str:
    """The option of `model` where neither it nor an experiment is typed; a node names its game
    only."""
    defaults = yaml.safe_load((configs() / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    return next(
        str(item["model"]) for item in defaults if isinstance(item, Mapping) and "model" in item
    )


# --- reading --------------------------------------------------------------------------------------


def found(places: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs in these folders, at any depth, and a sentence for each that is left out because it
    is damaged.

    Raises:
        UserError: a folder does not exist or has no run in it, or not one run can be read.
    """
    cards = {os.path.realpath(card.parent): card for place in places for card in _cards(place)}
    runs, damaged = [], []
    for card in cards.values():
        try:
            runs.append(read(card.parent))
        except UserError as error:
            damaged.append(str(error))
    if not runs:
        raise UserError(f"not one of {len(damaged)} runs can be read; the first: {damaged[0]}")
    return runs, damaged


def _cards(place: Path) -> list[Path]:
    if not place.is_dir():
        what = "a file, not a folder" if place.exists() else "no such folder"
        raise UserError(f"{place}: {what}; name the folder of a run, or one with runs in it.")
    # a folder of links to runs will do; deeper down none is followed
    linked = place.glob(f"*/{CARD}")
    cards = [place / CARD] if (place / CARD).is_file() else sorted({*place.rglob(CARD), *linked})
    if not cards:
        raise UserError(
            f"{place}: no runs in it; a run is a folder with a {CARD}, as gan-train writes it."
        )
    return cards


def read(folder: Path) -> Run:
    """The run in a folder. Raises UserError that names the file which is damaged."""
    with _readable(folder, CARD) as text:
        card = checked(_mapping(json.loads(text)))
    with _readable(folder, ".hydra/config.yaml") as text:
        # a key that a later version has added, added
        config = flatten(DEFAULTS) | flatten(_mapping(read_yaml(text)))
    overrides = None
    if os.path.lexists(folder / ".hydra" / "overrides.yaml"):
        with _readable(folder, ".hydra/overrides.yaml") as text:
            overrides = [str(item) for item in read_yaml(text) or []]
    rows: list[dict[str, float]] = []
    if os.path.lexists(folder / "metrics.jsonl"):  # a run that has just begun has none
        with _readable(folder, "metrics.jsonl", LONGEST) as text:
            whole, _, _ = text.rpartition("\n")  # a row without its end is still being written
            rows = [_numbers(_mapping(json.loads(line))) for line in whole.splitlines()]
    return Run(folder, card, config, overrides, rows)


LONGEST = 2**28  # bytes of the rows of a run


@contextmanager
def _readable(folder: Path, name: str, most: int = SMALL) -> Iterator[str]:
    """The text of a file of a run; whatever is wrong with it ends in one sentence."""
    path = folder / name
    try:
        if leads_out(path, folder):
            raise ValueError("it is a link that leads out of the run's folder")
        yield read_text(path, most)
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        raise UserError(
            f"{path}: cannot be read ({reason:.200}), so its run is left out."
        ) from None


def _mapping(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError("names with values are expected")
    return content


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    return {
        str(name): float(value)
        for name, value in content.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


# --- grouping -------------------------------------------------------------------------------------


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Runs that differ in nothing but the seed, together; in the order of their first ones."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        telling = {
            key: value for key, value in run.config.items() if key not in EQUAL and key != SEED
        }
        groups.setdefault(repr(sorted(telling.items())), []).append(run)
    return [Group(members) for members in groups.values()]


def differing(groups: Sequence[Group]) -> list[str]:
    """The keys that tell the groups apart: those typed differently, and leaves that do not follow
    from these.

    What was typed decides a configuration: `model=wgan` against `model=wgan_gp` is one difference,
    however many options follow from it. Where a folder does not say what was typed, all leaves that
    differ are named.
    """
    runs = [run for group in groups for run in group.runs]
    typed = [key for key in dict.fromkeys(key for run in runs for key in run.typed) if _counts(key)]
    named = [key for key in typed if _differs(key, groups)]
    leaves = [key for key in different_leaves(groups) if key not in named]
    if all(run.overrides is not None for run in runs):
        leaves = [key for key in leaves if not _follows(key, named, groups)]
    return named + leaves


def different_leaves(groups: Sequence[Group]) -> list[str]:
    """The leaves of the configurations that differ between groups."""
    keys = dict.fromkeys(key for group in groups for run in group.runs for key in run.config)
    return [key for key in keys if _counts(key) and _differs(key, groups)]


def _counts(key: str) -> bool:
    return key not in EQUAL and key != SEED and not key.startswith("hydra.")


def _differs(key: str, groups: Sequence[Group]) -> bool:
    return len({group.setting(key) for group in groups}) > 1


def _follows(key: str, named: Sequence[str], groups: Sequence[Group]) -> bool:
    """Whether the value of a leaf is the same wherever the named settings are."""
    settings = {tuple(group.setting(name) for name in named) for group in groups}
    return len(
        {(*(group.setting(name) for name in named), group.setting(key)) for group in groups}
    ) == len(settings)
