"""How often the verdicts of the health report are right, over finished runs. Nothing here imports
torch.

Each verdict is computed again, and compared with scores of the finished run that it does not read.
Where no such score is known, it has no rates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_cli.config.identity import unflatten
from gan_cli.errors import UserError
from gan_cli.reports.formats import MISSING, Cell, Column, Sheet
from gan_cli.runs import health
from gan_cli.runs.finished import Run

MIN_RECALL = 0.5  # below it samples lack variety
MIN_COVERAGE = 0.75  # share of real samples with a sample near them; below it samples are far off


@dataclass(frozen=True)
class Criterion:
    """What a run with a verdict must be like, by scores that the verdict does not read.

    Args:
        text: for the table.
        holds: whether a run is so; None if it lacks the scores.
    """

    text: str
    holds: Callable[[Run], bool | None]


# --- criteria -------------------------------------------------------------------------------------


def _score(run: Run, name: str) -> float | None:
    """A score of the last evaluation, or one that was measured once the run was over."""
    value = run.value(name)
    return run.further.get(name) if value is None else value


def _lacks_variety(run: Run) -> bool | None:
    recall = _score(run, "recall")
    return None if recall is None else recall < MIN_RECALL


def _is_far_off(run: Run) -> bool | None:
    """Far from the data; a translation or a caption's image: as far as from another input's."""
    coverage = _score(run, "coverage")
    if coverage is not None:
        return coverage < MIN_COVERAGE
    return health.is_by_chance(run.scores, run.objective)


def _is_near(run: Run) -> bool | None:
    far_off = _is_far_off(run)
    return None if far_off is None else not far_off


def _is_past_its_best(run: Run) -> bool | None:
    """Worse at the end than at its best, by more than the floor of the objective."""
    best, last = run.best(run.objective), run.value(run.objective)
    return None if best is None or last is None else _exceeds_floor(run, last - best)


def _gets_worse(run: Run) -> bool | None:
    """Worse at the end than halfway, by more than the floor; None without an estimate."""
    decline = health.decline(run.rows, run.objective)
    if decline is None or run.value("wasserstein/heldout") is None:
        return None
    return _exceeds_floor(run, decline)


def _exceeds_floor(run: Run, change: float) -> bool | None:
    floor = run.value(f"{run.objective}_floor")
    return None if floor is None else change > floor


VARIETY = Criterion(f"recall below {MIN_RECALL}", _lacks_variety)
FAR = Criterion(f"coverage below {MIN_COVERAGE}, or no better with its own input", _is_far_off)
NEAR = Criterion("neither of the two", _is_near)
PAST = Criterion("last score worse than the best by a floor", _is_past_its_best)
WORSE = Criterion("last score worse than halfway by a floor", _gets_worse)

VERDICTS: Mapping[str, Criterion | None] = {
    "collapsed": VARIETY,
    "alike": VARIETY,
    "too early to tell": None,
    "modes are missing": VARIETY,
    "classes are missing": VARIETY,
    "weak critic": None,
    "weak penalty": None,
    "lambda is small": None,
    "overfitting critic": None,
    "the discriminator wins": None,
    "the estimate is rising": WORSE,
    "classes are exchanged": None,
    "past its best": PAST,
    "not there yet": FAR,
    "healthy": NEAR,
}
"""Beginnings of all verdicts, and how each is judged; None where no score of the samples can."""


# --- table ----------------------------------------------------------------------------------------


def build_verdict_sheet(runs: Sequence[Run]) -> Sheet:
    """Each verdict: how many finished runs it is told of, and how often rightly.

    Raises:
        UserError: no run is finished.
    """
    told = {run.folder: _tell(run) for run in runs if run.card.get("finished")}
    finished = [run for run in runs if run.folder in told]
    if not finished:
        raise UserError("verdicts=true: no run is finished; name folders of runs that have ended.")

    rows = []
    for verdict, criterion in VERDICTS.items():
        raised = sum(verdict in told[run.folder] for run in finished)
        cells = [_count(raised), *_judge(finished, told, verdict, criterion)]
        rows.append([Cell(verdict), Cell(criterion.text if criterion else MISSING), *cells])

    numbers = ("raised", "judged", "right", "wrong", "missed", "true alarms", "false alarms")
    words = [Column(title, is_number=False) for title in ("verdict", "right if")]
    return Sheet([*words, *map(Column, numbers)], rows)


def _tell(run: Run) -> set[str]:
    """Beginnings of the verdicts on a run by the present rules."""
    facts = (run.card.get("diversity"), run.card.get("classes", 0), run.objective or None)
    try:
        sentences = health.verdicts(run.rows, unflatten(run.config), *facts)
    except (AttributeError, KeyError, TypeError, ValueError):  # a folder may come from strangers
        raise UserError(
            f"{run.folder}: its configuration or its rows are none of gan-train's; leave it out."
        ) from None
    return {verdict for verdict in VERDICTS if any(told.startswith(verdict) for told in sentences)}


def _judge(
    runs: Sequence[Run],
    told: Mapping[Path, set[str]],
    verdict: str,
    criterion: Criterion | None,
) -> list[Cell]:
    """How many runs have the scores of a criterion, and how many are rightly told, wrongly, or not
    at all; the share of those that it holds for that are not missed, and of the others that are
    told."""
    if criterion is None:
        return [Cell(MISSING)] * 6

    # a run is missed if no verdict with the same criterion is told of it
    alike = {other for other, judged_by in VERDICTS.items() if judged_by is criterion}
    holding: list[set[str]] = []
    others: list[set[str]] = []
    for run in runs:
        holds = criterion.holds(run)
        if holds is not None:
            (holding if holds else others).append(told[run.folder])

    right, wrong = (sum(verdict in said for said in group) for group in (holding, others))
    missed = sum(not said & alike for said in holding)
    return [
        *map(_count, (len(holding) + len(others), right, wrong, missed)),
        _share(len(holding) - missed, len(holding)),
        _share(wrong, len(others)),
    ]


def _count(value: int) -> Cell:
    return Cell(str(value), (value,))


def _share(part: int, whole: int) -> Cell:
    return Cell(f"{part / whole:.0%}", (part / whole,)) if whole else Cell(MISSING)
