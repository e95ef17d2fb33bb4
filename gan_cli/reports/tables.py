"""Scores of groups of runs as a table, and pairs of runs that reach a score."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.reports.formats import MISSING, Cell, Column, Sheet
from gan_cli.reports.groups import Group, check_option, differing_keys
from gan_cli.reports.statistics import Mean, Summary, format_number
from gan_cli.runs.finished import Run

ALL = "all"
"""Name that stands for every score of the runs."""
THRESHOLDS = 8
"""Thresholds of a table of successes, if none are named."""


@dataclass(frozen=True)
class Score:
    """A column: last value of a score, or its best value over the run."""

    name: str
    best: bool = False

    @property
    def title(self) -> str:
        """Title of the column."""
        return f"best {self.name}" if self.best else self.name

    def read(self, run: Run) -> float | None:
        """Value of a run."""
        return run.best(self.name) if self.best else run.value(self.name)


@dataclass(frozen=True)
class Row:
    """A group: its settings, and a summary of each score; None if no run of it has the score."""

    group: Group
    settings: list[str]
    scores: list[Summary | None]


@dataclass(frozen=True)
class Table:
    """Scores of groups of runs.

    Args:
        keys: keys that distinguish the groups.
        leading: best middle of each score; None for scores without a direction and for ties of all
            groups.
        statistic: class of the summaries.
    """

    keys: list[str]
    scores: list[Score]
    rows: list[Row]
    leading: list[float | None]
    statistic: type[Summary] = Mean

    @property
    def labels(self) -> list[str]:
        """Names of the groups: their settings; without any, the folder of the first run."""
        return [
            label_settings(self.keys, row.settings) or on_one_line(row.group.runs[0].folder.name)
            for row in self.rows
        ]

    def to_sheet(self) -> Sheet:
        """Columns for settings, the number of runs and scores."""
        columns = [
            *(Column(key, is_number=False) for key in self.keys),
            Column("runs"),
            *(Column(score.title, self.statistic.columns) for score in self.scores),
        ]
        return Sheet(columns, [self._to_cells(row) for row in self.rows])

    def _to_cells(self, row: Row) -> list[Cell]:
        """Cells of a group, in the order of the columns."""
        count = len(row.group.runs)
        return [
            *map(Cell, row.settings),
            Cell(str(count), (count,)),
            *(
                Cell(entry.text, (entry.middle, *entry.spread), entry.middle == best)
                if entry
                else Cell(MISSING)
                for entry, best in zip(row.scores, self.leading, strict=True)
            ),
        ]


def label_settings(keys: Sequence[str], settings: Sequence[str]) -> str:
    """Settings as `key=value, key=value`; those without a value are left out."""
    pairs = zip(keys, settings, strict=True)
    return on_one_line(
        ", ".join(f"{key}={value}" for key, value in pairs if value not in ("", MISSING))
    )


# --- scores of groups -----------------------------------------------------------------------------


def build_table(
    groups: Sequence[Group],
    names: Sequence[str] = (),
    statistic: type[Summary] = Mean,
    best: bool = True,
    by: Sequence[str] = (),
) -> Table:
    """Table of these groups.

    Args:
        names: scores or logged scalars; by default the scores with a direction. `[all]` is every
            score.
        best: whether the best value of a score over the run stands beside its last one; by default
            names, for objectives only.
        by: options that the groups were made by; by default all keys that distinguish them.

    Raises:
        UserError: no run has a named score.
    """
    runs = [run for group in groups for run in group.runs]
    keys, scores = list(by) or differing_keys(groups), _select_scores(runs, names, best)
    rows = [
        Row(
            group,
            [group.setting(key) or MISSING for key in keys],
            [summarise(group, score, statistic) for score in scores],
        )
        for group in groups
    ]

    lower = _directions(runs)
    leading = [
        _find_leading(lower.get(score.name), [row.scores[i] for row in rows])
        for i, score in enumerate(scores)
    ]
    return Table(keys, scores, rows, leading, statistic)


def _directions(runs: Sequence[Run]) -> dict[str, bool]:
    """Whether lower is better, for every score with a direction."""
    return {score: lower for run in runs for score, lower in run.directions.items()}


def _select_scores(runs: Sequence[Run], names: Sequence[str], best: bool) -> list[Score]:
    """Columns of a table: named scores, or those with a direction."""
    known = list(dict.fromkeys(name for run in runs for name in run.scores))
    if list(names) == [ALL] and ALL not in known:
        names = known
    check_scores(runs, names)

    directions, objectives = _directions(runs), dict.fromkeys(run.objective for run in runs)
    directed = dict.fromkeys(name for name in (*objectives, *directions) if name in known)
    shown = list(names) or list(directed) or known
    with_best = (set(names or objectives) & directions.keys()) if best else set()
    columns = [
        (Score(name), Score(name, best=True)) if name in with_best else (Score(name),)
        for name in shown
    ]
    return [score for column in columns for score in column]


def check_scores(runs: Sequence[Run], names: Sequence[str], key: str = "scores") -> None:
    """Raise UserError for a name that is neither a score nor a logged scalar of some run."""
    for name in names:
        if all(run.value(name) is None for run in runs):
            known = dict.fromkeys(
                [
                    *(score for run in runs for score in run.scores),
                    *(tag for run in runs for row in run.rows for tag in row),
                ]
            )
            raise UserError(
                f"{key}=[{name}]: no run has such a score{closest(name, known)}; they have "
                f"{', '.join(known) or 'none'}."
            )


def summarise(group: Group, score: Score, statistic: type[Summary]) -> Summary | None:
    """Summary of a score over the runs of a group that have it."""
    values = [value for run in group.runs if (value := score.read(run)) is not None]
    return statistic.of(values) if values else None


def _find_leading(lower: bool | None, column: Sequence[Summary | None]) -> float | None:
    """Best middle of a column; None without a direction or with fewer than two values."""
    values = {entry.middle for entry in column if entry is not None and np.isfinite(entry.middle)}
    if lower is None or len(values) < 2:
        return None
    return (min if lower else max)(values)


# --- successes ------------------------------------------------------------------------------------


def build_success_sheet(
    runs: Sequence[Run], option: str, score: str, thresholds: Sequence[float] = ()
) -> Sheet:
    """Numbers of seeds that reach a score under one choice of an option, the other, both, neither.

    A run without the score (one that diverged) has failed.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, table 5, where a seed stands for a random
    architecture.

    Args:
        thresholds: by default eight from the lowest to the highest value.

    Raises:
        UserError: the option does not have two choices, seeds are ambiguous, or no run has the
            score.
    """
    check_option(runs, f"success={option}", option)
    check_scores(runs, [score])
    (first, of_first), (second, of_second) = _pair_seeds(runs, option, score).items()
    pairs = [(of_first[seed], of_second[seed]) for seed in of_first.keys() & of_second.keys()]
    if not pairs:
        raise UserError(
            f"success={option}: no seed was trained with both {first} and {second}; name folders "
            "of runs with the same seeds."
        )

    thresholds = thresholds or _spread_thresholds([value for pair in pairs for value in pair])
    lower = _directions(runs).get(score, False)
    titles = [f"{score} at {'most' if lower else 'least'}", f"only {first}", f"only {second}"]
    return Sheet(
        [Column(title) for title in (*titles, "both", "neither")],
        [_count_successes(pairs, threshold, lower) for threshold in thresholds],
    )


Value = float | None


def _spread_thresholds(values: Sequence[Value]) -> list[float]:
    """Thresholds from the lowest to the highest finite value; none without such values."""
    finite = [value for value in values if value is not None and np.isfinite(value)]
    return [float(x) for x in np.linspace(min(finite), max(finite), THRESHOLDS)] if finite else []


def _pair_seeds(runs: Sequence[Run], option: str, score: str) -> dict[str, dict[str, Value]]:
    """Score of each seed, for both choices of an option."""
    found: dict[str, dict[str, Run]] = {}
    for run in runs:
        seeds = found.setdefault(run.setting(option), {})
        if run.seed in seeds:
            raise UserError(
                f"success={option}: {seeds[run.seed].folder} and {run.folder} have the same "
                f"{option} and seed; name folders in which nothing else differs."
            )
        seeds[run.seed] = run
    if len(found) != 2:
        choices = ", ".join(choice or MISSING for choice in found)
        raise UserError(
            f"success={option}: the runs have {choices}; name an option with two choices."
        )
    return {
        choice: {seed: run.value(score) for seed, run in seeds.items()}
        for choice, seeds in found.items()
    }


def _count_successes(
    pairs: Sequence[tuple[Value, Value]], threshold: float, lower: bool
) -> list[Cell]:
    """A threshold, and how many pairs of runs reach it in each of four ways."""

    def reaches(value: Value) -> bool:
        return value is not None and (value <= threshold if lower else value >= threshold)

    reached = [(reaches(first), reaches(second)) for first, second in pairs]
    outcomes = ((True, False), (False, True), (True, True), (False, False))
    counts = [reached.count(outcome) for outcome in outcomes]
    return [
        Cell(format_number(threshold, 3), (threshold,)),
        *(Cell(str(count), (count,)) for count in counts),
    ]
