"""One run, read from its folder: card, configuration, overrides and logged scalars. Nothing here
imports torch.

Folders may come from strangers: no code in them is executed, and no file expands to more than its
size. A damaged file excludes its run only, with a sentence that says so.
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

from gan_cli.config.identity import flatten
from gan_cli.config.objectives import lower_is_better
from gan_cli.config.options import configs
from gan_cli.config.schema import DEFAULTS
from gan_cli.errors import UserError, on_one_line
from gan_cli.files import SMALL, leads_out, read_json, read_text
from gan_cli.reading.safe_yaml import read_yaml
from gan_cli.runs.rundir import CARD, checked

SAMPLES = "samples/*"
"""Pattern of the files of samples, below the folder of a run."""
SAMPLE_SUFFIXES = (".png", ".txt")
FURTHER = "prdc.json"
"""The file of the scores that are measured once a run is over, in the folder of the run."""
LARGEST_LOG = 2**28
"""Largest size of `metrics.jsonl` in bytes."""


@dataclass(frozen=True)
class Run:
    """One run: card, configuration, overrides and logged scalars.

    Args:
        card: content of `run.json`.
        config: leaves of the configuration, by their dotted keys.
        overrides: arguments as typed; None if the folder does not have them.
        rows: logged scalars, in order.
    """

    folder: Path
    card: dict[str, Any]
    config: dict[str, Any]
    overrides: list[str] | None
    rows: list[dict[str, float]]

    @functools.cached_property
    def typed(self) -> dict[str, str]:
        """Values of the overrides, by key."""
        return dict(item.lstrip("+").split("=", 1) for item in self.overrides or [] if "=" in item)

    @functools.cached_property
    def scores(self) -> dict[str, float]:
        """Scores of the last evaluation."""
        return _select_numbers(self.card.get("scores", {}))

    @functools.cached_property
    def further(self) -> dict[str, float]:
        """Scores that were measured once the run was over, by `gan-zoo` or `gan-evaluate`."""
        file = self.folder / FURTHER
        known = {} if leads_out(file, self.folder) else read_json(file)
        inner = known.get("scores")
        return _select_numbers(inner if isinstance(inner, dict) else known)

    @property
    def objective(self) -> str:
        """Name of the score that selects the best checkpoint; empty before the first evaluation."""
        return str(self.card.get("objective") or "")

    @property
    def seed(self) -> str:
        """Seed as one types it."""
        return format_value(self.config.get("seed", ""))

    @property
    def health(self) -> list[str]:
        """Verdicts of the health report; empty before the end of the run."""
        return list(self.card.get("health", []))

    @property
    def command(self) -> str:
        """Command that trains this run again; empty if the folder does not have the overrides."""
        return "" if self.overrides is None else shlex.join(["gan-train", *self.overrides])

    def samples(self, pattern: str = SAMPLES) -> list[Path]:
        """Regular PNG and text files that match a pattern, sorted by name, the newest last.

        Files outside the folder, reached by links or by `..`, are left out.
        """
        matches = [
            path
            for path in self.folder.glob(pattern)
            if path.suffix in SAMPLE_SUFFIXES and path.is_file()
        ]
        return sorted(path for path in matches if not leads_out(path, self.folder))

    def setting(self, key: str) -> str:
        """Value of a key: a leaf of the configuration, a group's option or an override."""
        if key in self.config:
            return format_value(self.config[key])
        if (
            key == "model"
            and not {"model", "experiment"} & self.typed.keys()
            and self.overrides is not None
        ):
            return _default_model()
        return format_value(self.typed.get(key, self.config.get(f"{key}.name", "")))

    def value(self, name: str) -> float | None:
        """Score on the card, or last value of a logged scalar; None if the run has neither."""
        if name in self.scores:
            return self.scores[name]
        tags = (name, f"metrics/{name}")
        return next((row[tag] for row in reversed(self.rows) for tag in tags if tag in row), None)

    def best(self, score: str) -> float | None:
        """Best value of a score over the run; None without values or without a direction."""
        lower = self.directions.get(score)
        if lower is None:
            return None
        logged = [row[f"metrics/{score}"] for row in self.rows if f"metrics/{score}" in row]
        values = logged or [self.scores.get(score, math.nan)]
        return (min if lower else max)(filter(math.isfinite, values), default=None)

    @functools.cached_property
    def directions(self) -> dict[str, bool]:
        """Whether lower is better, for every score with a direction.

        The objective of a plug-in is unknown to the registries: its direction is on the card.
        """
        lower = self.card.get("lower_is_better")
        return ({self.objective: lower} if isinstance(lower, bool) else {}) | lower_is_better()


def format_value(value: Any) -> str:
    """Value of a configuration as one types it."""
    return on_one_line(
        value if isinstance(value, str) else json.dumps(value, default=str, skipkeys=True)
    )


@functools.cache
def _default_model() -> str:
    """Option of `model` where neither it nor an experiment is typed.

    The configuration of a run does not have it, only the name of the game.
    """
    defaults = yaml.safe_load((configs() / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    return next(
        str(item["model"]) for item in defaults if isinstance(item, Mapping) and "model" in item
    )


# --- reading --------------------------------------------------------------------------------------


def find_runs(places: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Runs in these folders, at any depth, and a sentence for each damaged run.

    Raises:
        UserError: a folder does not exist or has no run in it, or no run can be read.
    """
    cards = {os.path.realpath(card.parent): card for place in places for card in _find_cards(place)}
    runs, damaged = [], []
    for card in cards.values():
        try:
            runs.append(read(card.parent))
        except UserError as error:
            damaged.append(str(error))

    if not runs:
        raise UserError(f"not one of {len(damaged)} runs can be read; the first: {damaged[0]}")
    return runs, damaged


def _find_cards(place: Path) -> list[Path]:
    """Cards below a folder. Raises UserError without any."""
    if not place.is_dir():
        what = "a file, not a folder" if place.exists() else "no such folder"
        raise UserError(f"{place}: {what}; name the folder of a run, or one with runs in it.")

    # rglob follows no links; those of the folder itself are followed, for a selection of runs
    linked = place.glob(f"*/{CARD}")
    cards = [place / CARD] if (place / CARD).is_file() else sorted({*place.rglob(CARD), *linked})
    if not cards:
        raise UserError(
            f"{place}: no runs in it; a run is a folder with a {CARD}, as gan-train writes it."
        )
    return cards


def read(folder: Path) -> Run:
    """Run in a folder. Raises UserError with the name of the damaged file."""
    with _open_text(folder, CARD) as text:
        card = checked(_check_mapping(json.loads(text)))
    with _open_text(folder, ".hydra/config.yaml") as text:
        # keys of later versions have their defaults
        config = flatten(DEFAULTS) | flatten(_check_mapping(read_yaml(text)))

    overrides = None
    if os.path.lexists(folder / ".hydra" / "overrides.yaml"):
        with _open_text(folder, ".hydra/overrides.yaml") as text:
            overrides = [str(item) for item in read_yaml(text) or []]

    rows: list[dict[str, float]] = []
    if os.path.lexists(folder / "metrics.jsonl"):  # absent until the first row
        with _open_text(folder, "metrics.jsonl", LARGEST_LOG) as text:
            complete, _, _ = text.rpartition("\n")  # the last row may still be being written
            rows = [
                _select_numbers(_check_mapping(json.loads(line))) for line in complete.splitlines()
            ]
    return Run(folder, card, config, overrides, rows)


@contextmanager
def _open_text(folder: Path, name: str, limit: int = SMALL) -> Iterator[str]:
    """Text of a file of a run. Any error, of the block too, is raised as one UserError."""
    path = folder / name
    try:
        if leads_out(path, folder):
            raise ValueError("it is a link that leads out of the run's folder")
        yield read_text(path, limit)
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        raise UserError(
            f"{path}: cannot be read ({reason:.200}), so its run is left out."
        ) from None


def _check_mapping(content: Any) -> dict[str, Any]:
    """The content, if it is a mapping. Raises ValueError otherwise."""
    if not isinstance(content, dict):
        raise ValueError("names with values are expected")
    return content


def _select_numbers(content: Mapping[str, Any]) -> dict[str, float]:
    """Entries whose values are numbers."""
    return {
        str(name): float(value)
        for name, value in content.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
