"""How good the best of so many runs is: methods under a search of equal budget. Nothing here
imports torch.

Reference: Lucic et al., 2018, "Are GANs Created Equal?", arXiv 1711.10337, where a budget is a
number of random settings that are tried.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import comb

import numpy as np

from gan_cli.errors import UserError
from gan_cli.reports.charts import Line, choose_colours
from gan_cli.reports.formats import MISSING, Cell, Column, Sheet
from gan_cli.reports.groups import check_option
from gan_cli.reports.statistics import format_number
from gan_cli.reports.tables import check_scores
from gan_cli.runs.finished import Run

ORDERS = 1000  # random orders of the runs that a curve is drawn from
BUDGETS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Numbers of runs that are columns of the table, with that of all."""


def chances(n: int, budget: int) -> np.ndarray:
    """Probability that each of n ranked runs is the best of a random `budget` of them, (n,)."""
    return np.array([comb(n - 1 - i, budget - 1) / comb(n, budget) for i in range(n)])


def build_budget_sheet(runs: Sequence[Run], option: str, score: str) -> Sheet:
    """Expected best score of so many runs, and its standard deviation, for each choice of an
    option.

    Raises:
        UserError: no run has the option or the score, or the score has no direction.
    """
    ranked = _ranked(runs, option, score)
    most = max(map(len, ranked.values()))
    budgets = sorted({*(budget for budget in BUDGETS if budget < most), most})
    columns = [Column(option, is_number=False), Column("runs")]
    columns += [Column(f"best of {budget}", ("std",)) for budget in budgets]
    rows = [
        [Cell(choice), Cell(str(len(values)), (len(values),))]
        + [_expected(values, budget) for budget in budgets]
        for choice, values in ranked.items()
    ]
    return Sheet(columns, rows)


def _expected(values: Sequence[float], budget: int) -> Cell:
    """Mean and standard deviation of the best of so many; values are the best first."""
    if budget > len(values):
        return Cell(MISSING)
    p, x = chances(len(values), budget), np.array(values)
    mean = float(p @ x)
    std = float(np.sqrt(p @ (x - mean) ** 2))
    spread = f" +- {format_number(std, 2)}" if budget < len(values) else ""
    return Cell(f"{format_number(mean, 4)}{spread}", (mean, std))


def lines_over_budget(runs: Sequence[Run], option: str, score: str) -> list[Line]:
    """A line for each choice of an option: the best so far, over random orders of its runs."""
    ranked = _ranked(runs, option, score)
    lower = _lower(runs, score)
    best, random = (min if lower else max), np.random.default_rng(0)
    return [
        Line(
            f"{option}={choice}",
            colour,
            np.arange(1, len(values) + 1),
            np.array([list(accumulate(random.permutation(values), best)) for _ in range(ORDERS)]),
        )
        for (choice, values), colour in zip(
            ranked.items(), choose_colours(len(ranked)), strict=True
        )
    ]


def _ranked(runs: Sequence[Run], option: str, score: str) -> dict[str, list[float]]:
    """Finite scores of the runs of each choice, the best first; choices by their best."""
    check_option(runs, f"budget={option}", option)
    check_scores(runs, [score])
    lower = _lower(runs, score)

    found: dict[str, list[float]] = {}
    for run in runs:
        value = run.value(score)
        if value is not None and np.isfinite(value):
            found.setdefault(run.setting(option) or MISSING, []).append(value)
    ranked = {choice: sorted(values, reverse=not lower) for choice, values in found.items()}
    return dict(sorted(ranked.items(), key=lambda item: item[1][0], reverse=not lower))


def _lower(runs: Sequence[Run], score: str) -> bool:
    """Whether less of the score is better. Raises UserError for a score without a direction."""
    for run in runs:
        if score in run.directions:
            return run.directions[score]
    raise UserError(f"scores=[{score}]: neither more nor less of it is better; name another score.")
