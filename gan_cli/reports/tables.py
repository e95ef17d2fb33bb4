"""Groups of runs as a table, for a terminal, a spreadsheet, a README, a paper or the page of
`gan-compare`."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.files import csv_text
from gan_cli.runs.finished import Group, Run, differing

NOTHING = "-"


@dataclass(frozen=True)
class Score:
    """A column: the last value of a score, or the best one that it ever had."""

    name: str
    best: bool = False

    @property
    def title(self) -> str:
        return f"best {self.name}" if self.best else self.name

    def of(self, run: Run) -> float | None:
        """A run's value."""
        return run.best(self.name) if self.best else run.value(self.name)


@dataclass(frozen=True)
class Summary:
    """A score over the seeds of a group. The std is that of a sample (n - 1); one seed has
    none."""

    mean: float
    std: float | None

    @property
    def sortable(self) -> str:
        """The mean for a script to sort by; nothing where it is not finite."""
        return repr(self.mean) if np.isfinite(self.mean) else ""

    def text(self, plus_minus: str = "+-") -> str:
        """`0.0743 +- 0.011`."""
        return self.mean_text + ("" if self.std is None else f" {plus_minus} {self.std_text}")

    @property
    def mean_text(self) -> str:
        return _short(self.mean, 4)

    @property
    def std_text(self) -> str:
        return "" if self.std is None else _short(self.std, 2)


@dataclass(frozen=True)
class Row:
    """A group: its settings, how many runs it has, its scores (None: no run has that one)."""

    group: Group
    settings: list[str]
    scores: list[Summary | None]


@dataclass(frozen=True)
class Table:
    """What every format is written from.

    Args:
        leading: for each score, the best mean of a group; None where no group can be said to do
            best.
    """

    keys: list[str]
    scores: list[Score]
    rows: list[Row]
    leading: list[float | None]

    @property
    def labels(self) -> list[str]:
        """What to call each group: its settings; the folder of its first run where it has none."""
        pairs = [zip(self.keys, row.settings, strict=True) for row in self.rows]
        named = [
            ", ".join(f"{key}={value}" for key, value in settings if value != NOTHING)
            for settings in pairs
        ]
        names = [
            name or row.group.runs[0].folder.name
            for name, row in zip(named, self.rows, strict=True)
        ]
        return list(map(on_one_line, names))

    @property
    def titles(self) -> list[str]:
        return [
            *map(on_one_line, self.keys),
            "runs",
            *(on_one_line(score.title) for score in self.scores),
        ]


def build_table(groups: Sequence[Group], named: Sequence[str] = ()) -> Table:
    """The table of these groups.

    Args:
        named: scores, or scalars that the runs have logged. If there are none: those that can get
            better, and the best value of each run's objective.

    Raises:
        UserError: no run has a score that is named.
    """
    keys = differing(groups)
    scores = _scores([run for group in groups for run in group.runs], named)
    rows = [
        Row(
            group,
            [group.setting(key) or NOTHING for key in keys],
            [summary(group, score) for score in scores],
        )
        for group in groups
    ]
    lower = _directions([run for group in groups for run in group.runs])
    columns = [[row.scores[i] for row in rows] for i in range(len(scores))]
    leading = [
        _leading(lower.get(score.name), column)
        for score, column in zip(scores, columns, strict=True)
    ]
    return Table(keys, scores, rows, leading)


def _directions(runs: Sequence[Run]) -> dict[str, bool]:
    """Of every score that can get better, whether lower is better."""
    return {score: lower for run in runs for score, lower in run.directions.items()}


def _scores(runs: Sequence[Run], named: Sequence[str]) -> list[Score]:
    known = list(dict.fromkeys(name for run in runs for name in run.scores))
    for name in named:
        if all(run.value(name) is None for run in runs):
            tags = dict.fromkeys(
                [*known, *(tag for run in runs for row in run.rows for tag in row)]
            )
            raise UserError(
                f"scores=[{name}]: no run has such a score{closest(name, tags)}; they have "
                f"{', '.join(tags) or 'none'}."
            )
    directions, objectives = _directions(runs), dict.fromkeys(run.objective for run in runs)
    better = [name for name in (*objectives, *directions) if name in known]
    shown = list(named) or list(dict.fromkeys(better)) or known
    best = (set(named) or {*objectives}) & directions.keys()
    pairs = [
        [Score(name), Score(name, best=True)] if name in best else [Score(name)] for name in shown
    ]
    return [score for pair in pairs for score in pair]


def summary(group: Group, score: Score) -> Summary | None:
    """Mean and std over a group's runs that have the score."""
    values = [value for run in group.runs if (value := score.of(run)) is not None]
    if not values:
        return None
    with np.errstate(all="ignore"):  # a run that diverged may have scored infinity
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return Summary(float(np.mean(values)), std)


def _leading(lower: bool | None, column: Sequence[Summary | None]) -> float | None:
    """The best mean, if the score is one that can get better (not None) and there is something to
    win against."""
    means = {entry.mean for entry in column if entry is not None and np.isfinite(entry.mean)}
    if lower is None or len(means) < 2:
        return None
    return (min if lower else max)(means)


def _short(value: float, digits: int) -> str:
    """So many digits; whole numbers with all of theirs, as long as one can read them."""
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e6 else f"{value:.{digits}g}"


# --- formats --------------------------------------------------------------------------------------


def terminal(table: Table) -> str:
    """Columns under each other; numbers to the right."""
    rows = [[*row.settings, str(len(row.group.runs)), *_texts(row, "+-")] for row in table.rows]
    return aligned([table.titles, *rows], len(table.keys))


def aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    """Columns under each other: the first few to the left, the others, which are numbers, to the
    right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [
            text.ljust(width) if i < left else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def spreadsheet(table: Table) -> str:
    """CSV, with all digits: a column for each mean, and one behind it for the std."""
    count = len(table.keys)
    keys, scores = table.titles[:count], table.titles[count + 1 :]
    rows: list[list[object]] = [
        [*keys, "runs", *(title for score in scores for title in (score, f"{score} std"))]
    ]
    for row in table.rows:
        pairs = [(entry.mean, entry.std) if entry else (None, None) for entry in row.scores]
        settings = map(on_one_line, row.settings)
        rows.append([*settings, len(row.group.runs), *(value for pair in pairs for value in pair)])
    return csv_text(rows).rstrip("\n")


def markdown(table: Table) -> str:
    """A table for a README, the best of a column in bold."""
    rule = ["---"] * len(table.keys) + ["---:"] * (1 + len(table.scores))
    titles = [_markdown(title) for title in table.titles]
    lines = _emphasised(table, "±", "**{}**".format, _markdown)
    return "\n".join(f"| {' | '.join(line)} |" for line in [titles, rule, *lines])


def latex(table: Table) -> str:
    """A table for a paper that loads booktabs, the best of a column in bold."""
    titles = [_latex(title) for title in table.titles]
    lines = _emphasised(table, r"$\pm$", r"\textbf{{{}}}".format, _latex)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * len(table.keys)}{'r' * (1 + len(table.scores))}}}  % "
            rf"\usepackage{{booktabs}}",
            r"\toprule",
            " & ".join(titles) + r" \\",
            r"\midrule",
            *(" & ".join(line) + r" \\" for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


FORMATS: dict[str, Callable[[Table], str]] = {
    "terminal": terminal,
    "csv": spreadsheet,
    "markdown": markdown,
    "latex": latex,
}


def _texts(row: Row, plus_minus: str) -> list[str]:
    """The scores of a row."""
    return [entry.text(plus_minus) if entry else NOTHING for entry in row.scores]


def _emphasised(
    table: Table, plus_minus: str, bold: Callable[[str], str], escape: Callable[[str], str]
) -> list[list[str]]:
    """The cells' texts, settings escaped, the best of each column in bold."""
    lines = []
    for row in table.rows:
        texts = zip(_texts(row, plus_minus), row.scores, table.leading, strict=True)
        scores = [
            bold(text) if entry and entry.mean == first else text for text, entry, first in texts
        ]
        lines.append([*map(escape, row.settings), str(len(row.group.runs)), *scores])
    return lines


def _markdown(text: str) -> str:
    """Neither markup nor a picture from elsewhere."""
    return html.escape(text, quote=False).replace("|", r"\|").replace("](", r"]\(")


LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": "$<$",
        ">": "$>$",
    }
)


def _latex(text: str) -> str:
    return text.translate(LATEX)
