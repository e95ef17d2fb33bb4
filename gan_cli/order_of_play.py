"""The order of play: how many turns each player has in a round, phase after phase."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Annotated, Any

from annotated_types import Ge, Le

from gan_cli.errors import UserError, closest
from gan_cli.registry import REQUIRED, Count, validate

Turns = Annotated[int, Ge(0), Le(10_000)]
"""Turns of a player in a round; a round with more would hardly ever end."""
KEYS = {
    "name": (str, REQUIRED),
    "turns": (dict[str, Turns] | None, None),
    "rounds": (Count | None, None),
    "until": (dict[str, float] | None, None),
}
"""Types and defaults of the keys of a phase."""


@dataclass(frozen=True)
class Phase:
    """A stretch of rounds.

    Args:
        name: unique among the phases.
        turns: of each player in a round; players that it does not name rest.
        rounds: how many it has at most; None: it lasts.
        until: values of scores that end it, once an evaluation reaches all of them.
        pace: turns of each player by which its lazy terms are counted.
    """

    name: str
    turns: Mapping[str, int]
    rounds: int | None = None
    until: Mapping[str, float] = field(default_factory=dict)
    pace: Mapping[str, int] = field(default_factory=dict)


class OrderOfPlay:
    """The phases of a game, in order; the last one lasts.

    A warm-up is phases too: its first rounds come before all others. Only rounds that return
    (`every`) lie beside them.

    Args:
        players: their names.
        repeat: turns of each player in a round.
        warm_up: by player, `{repeat, rounds, every}`; see `Game`.
        phases: nodes `{name, turns, rounds, until}`; see `Game`.

    Attributes:
        ends: the rounds at which phases were ended by their scores, by name; part of a checkpoint.

    Raises:
        UserError: an unknown player, or phases that contradict each other.
    """

    def __init__(
        self,
        players: Sequence[str],
        repeat: Mapping[str, int],
        warm_up: Mapping[str, Mapping[Any, int]],
        phases: Sequence[Mapping[Any, Any]],
    ) -> None:
        self.repeat, self.warm_up = repeat, warm_up
        refuse_unknown("repeat", repeat, players)
        refuse_unknown("warm_up", warm_up, players)
        if warm_up and phases:
            raise UserError(
                "model.phases: not beside model.warm_up, which is a phase too; set "
                "model.warm_up=null."
            )

        self.phases = tuple(
            _typed_phases(phases, players, repeat) if phases else _warming(repeat, warm_up)
        )
        self.ends: dict[str, int] = {}

    def at(self, step: int) -> Phase:
        """The phase of round `step`, counted from 0."""
        return next(phase for phase, _, end in self._stretches() if step < end)

    def start(self, step: int) -> int:
        """The first round of the phase that round `step` is in."""
        return next(int(start) for _, start, end in self._stretches() if step < end)

    def began(self, name: str) -> float:
        """The first round of a phase, infinity where only a score can end one before it."""
        return next(start for phase, start, _ in self._stretches() if phase.name == name)

    def turns(self, step: int) -> dict[str, int]:
        """Turns of each player in round `step`."""
        turns = dict(self.at(step).turns)
        for name, special in self.warm_up.items():
            if "every" in special and step % special["every"] == 0:
                turns[name] = special["repeat"]
        return turns

    def before(self, name: str, step: int) -> int:
        """Turns of a player before round `step`, as if all rounds had been like this one; those of
        a warm-up do not count."""
        return step * self.at(step).pace[name]

    def total(self, first: int, last: int) -> int:
        """Turns of all players in the rounds from `first` to `last` - 1; a phase that a score may
        end is taken to last as long as it may."""
        total = 0
        for phase, start, end in self._stretches():
            low, high = max(first, start), min(last, end)
            if low >= high:
                continue
            total += int(high - low) * sum(phase.turns.values())
            for name, special in self.warm_up.items():
                if "every" in special:
                    returns = _multiples(special["every"], int(low), int(high))
                    total += returns * (special["repeat"] - phase.turns[name])
        return total

    def end(self, step: int) -> None:
        """End the phase of round `step` before that round."""
        self.ends[self.at(step).name] = step

    def _stretches(self) -> Iterator[tuple[Phase, float, float]]:
        """Each phase with its first round and the round after its last."""
        start: float = 0
        for phase in self.phases:
            end = start + (inf if phase.rounds is None else phase.rounds)
            end = min(end, self.ends.get(phase.name, inf))
            yield phase, start, end
            start = end


def reached(
    until: Mapping[str, float], scores: Mapping[str, float], lower_is_better: Mapping[str, bool]
) -> bool:
    """Whether scores are at least as good as all values of `until`."""
    return all(
        name in scores
        and (scores[name] <= value if lower_is_better.get(name) else scores[name] >= value)
        for name, value in until.items()
    )


def _warming(
    repeat: Mapping[str, int], warm_up: Mapping[str, Mapping[Any, int]]
) -> Iterator[Phase]:
    """The first rounds of a warm-up as phases, and the game itself."""
    start = 0
    for end in sorted({special.get("rounds", 0) for special in warm_up.values()} - {0}):
        special = {
            name: node["repeat"] for name, node in warm_up.items() if node.get("rounds", 0) >= end
        }
        yield Phase(f"warm_up_{end}", {**repeat, **special}, end - start, pace=repeat)
        start = end
    yield Phase("game", repeat, pace=repeat)


def _typed_phases(
    nodes: Sequence[Mapping[Any, Any]], players: Sequence[str], repeat: Mapping[str, int]
) -> Iterator[Phase]:
    checked = [validate(node, KEYS, f"model.phases.{i}", "a phase") for i, node in enumerate(nodes)]
    names = [node["name"] for node in checked]
    for i, node in enumerate(checked):
        name, rounds, until = node["name"], node.get("rounds"), node.get("until") or {}
        path = f"model.phases.{name}"
        if names.count(name) > 1:
            raise UserError(f"{path}: two phases have this name; rename one.")
        refuse_unknown(f"phases.{name}.turns", node.get("turns") or {}, players)
        ends = rounds is not None or bool(until)
        if not ends and i < len(nodes) - 1:
            raise UserError(
                f"{path}: never ends, and others follow it; add `rounds: NUMBER` or `until: "
                "{SCORE: VALUE}`."
            )
        if ends and i == len(nodes) - 1:
            raise UserError(
                f"{path}: the last phase lasts; leave out its {'until' if until else 'rounds'}, or "
                "add a phase after it."
            )

        turns = dict.fromkeys(players, 0) | dict(node.get("turns") or repeat)
        if not any(turns.values()):
            raise UserError(f"{path}: nobody has a turn in it; add `turns: {{{players[0]}: 1}}`.")
        yield Phase(name, turns, rounds, until, pace=turns)


def refuse_unknown(option: str, named: Mapping[str, Any], players: Sequence[str]) -> None:
    """Raise UserError where an option of the model names a player that the game does not have."""
    for name in named:
        if name not in players:
            raise UserError(
                f"model.{option}.{name}: no such player{closest(name, players)}; they are "
                f"{', '.join(players)}."
            )


def _multiples(of: int, first: int, last: int) -> int:
    """How many numbers from `first` to `last` - 1 are multiples."""
    return (last - 1) // of - (first - 1) // of
