"""Numbers of components that change over the run: `ramps.regularizer.weight.to=0.5` lets the weight
go from what it is to 0.5.

A ramp is a function of the round, so that nothing of it is saved. This module does not import
torch.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import cos, isfinite, pi
from typing import Any

from gan_cli import registry
from gan_cli.errors import UserError, closest

GROUPS = {
    "model": registry.games,
    "loss": registry.losses,
    "regularizer": registry.regularizers,
    "augmentation": registry.augmentations,
    "features": registry.features,
    "optimizer": registry.optimizers,
}
"""Groups whose numbers may change."""
SHAPES = {
    "cosine": lambda done: (1 - cos(pi * done)) / 2,
    "linear": lambda done: done,
}
"""The share of the way that is gone after a share of the rounds."""
KEYS = ("to", "over", "shape")


@dataclass(frozen=True)
class Ramp:
    """A number that goes from one value to another.

    Args:
        path: of the number in the configuration, such as `regularizer.weight`.
        first, last: its values in the first round and from the end of the ramp on.
        over: share of the run that it takes.
        shape: one of `SHAPES`.
    """

    path: str
    first: float
    last: float
    over: float = 1.0
    shape: str = "cosine"

    def at(self, position: int, total: int) -> float:
        """The number in a round of a run of `total` rounds."""
        done = min(1.0, position / (self.over * total))
        return self.first + (self.last - self.first) * SHAPES[self.shape](done)

    def describe(self, total: int) -> str:
        """In words, for a run of `total` rounds."""
        rounds = max(1, round(self.over * total))
        return f"{self.path}: {self.first:g} to {self.last:g} over {rounds:,} rounds ({self.shape})"


def ramps_of(config: Mapping[str, Any]) -> list[Ramp]:
    """The ramps of a configuration whose other groups were checked.

    Raises:
        UserError: there is no such number, or its last value is not allowed.
    """
    return [_ramp(config, path, node) for path, node in _leaves(config.get("ramps") or {}, "")]


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The innermost mappings, by the path of their number."""
    if not isinstance(node, Mapping):
        raise UserError(f"ramps.{path}={node}: expected where it goes, such as ramps.{path}.to=1.")
    if path and ("to" in node or not node):
        yield path, node
        return
    for key, inner in node.items():
        yield from _leaves(inner, f"{path}.{key}".lstrip("."))


def _ramp(config: Mapping[str, Any], path: str, node: Mapping[str, Any]) -> Ramp:
    said = f"ramps.{path}"
    if unknown := [key for key in node if key not in KEYS]:
        raise UserError(
            f"{said}.{unknown[0]}={node[unknown[0]]}: a ramp has no such key"
            f"{closest(unknown[0], KEYS)}; it has {', '.join(KEYS)}."
        )
    first = _number_at(config, path)
    last, over = (_typed_number(node.get(key, 1.0), f"{said}.{key}") for key in ("to", "over"))
    shape = node.get("shape", "cosine")
    if not 0 < over <= 1:
        raise UserError(
            f"{said}.over={over:g}: expected a share of the run, above 0 and at most 1."
        )
    if shape not in SHAPES:
        raise UserError(
            f"{said}.shape={shape}: not known{closest(str(shape), SHAPES)}; take "
            f"{' or '.join(SHAPES)}."
        )
    _check_last(config, path, last)
    return Ramp(path, first, last, over, shape)


def _number_at(config: Mapping[str, Any], path: str) -> float:
    """The number of a path.

    Raises:
        UserError: there is none, or it cannot change.
    """
    group, *keys = path.split(".")
    if group not in GROUPS:
        raise UserError(
            f"ramps.{path}: numbers of {group} do not change over a run"
            f"{closest(group, GROUPS)}; those of {', '.join(GROUPS)} may."
        )
    if keys and group == "optimizer" and keys[-1] == "lr":
        raise UserError(f"ramps.{path}: the learning rate follows schedule=; set that.")
    node: Any = config[group]
    for key in keys:
        inner = dict(enumerate(node)) if isinstance(node, list) else node
        known = {str(name): value for name, value in inner.items()} if inner else {}
        if not isinstance(node, Mapping | list) or key not in known:
            raise UserError(
                f"ramps.{path}: {group}={config[group].get('name')} has no such option"
                f"{closest(key, known)}."
            )
        node = known[key]
    if isinstance(node, bool) or not isinstance(node, int | float):
        raise UserError(
            f"ramps.{path}: {path}={node} is no number; set it to where the ramp starts."
        )
    return float(node)


def _typed_number(value: Any, said: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise UserError(f"{said}={value}: expected a number.")
    return float(value)


def _check_last(config: Mapping[str, Any], path: str, last: float) -> None:
    """Raise UserError for a last value that the option itself would refuse."""
    group, *keys = path.split(".")
    changed = copy.deepcopy(dict(config[group]))
    place: Any = changed
    for key in keys[:-1]:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(keys[-1]) if isinstance(place, list) else keys[-1]] = last
    if group == "optimizer":
        shared = {key: value for key, value in changed.items() if key != "players"}
        own = changed.get("players", {}).get(keys[1]) if keys[0] == "players" else {}
        changed = {**shared, **(own or {})}
    try:
        GROUPS[group].check(changed, group)
    except UserError as error:
        raise UserError(f"ramps.{path}.to={last:g}: {error}") from None
