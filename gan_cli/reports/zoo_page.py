"""Every model at an equal budget: a table for each data set, and a gallery, in Markdown.

Nothing here imports torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gan_cli.config.papers import Entry
from gan_cli.errors import UserError, explain_os
from gan_cli.files import write_bytes, write_text
from gan_cli.reports.formats import MISSING, Cell, Column, Sheet, render_markdown
from gan_cli.reports.grids import Arrangement
from gan_cli.reports.statistics import Median, format_number
from gan_cli.runs.finished import Run

START, END = "<!-- measured by gan-zoo -->", "<!-- end -->"
BESIDE = ("classifier_score", "classes_covered", "modes", "high_quality")
"""Scores that are shown beside the objective, where the data have them."""
ESTIMATE = "wasserstein/heldout"
"""Scalar of the critics that measure a Wasserstein distance."""
TITLES = {ESTIMATE: "Wasserstein estimate"}
LONGEST_TEXT = 12  # lines of a sample that is text


@dataclass(frozen=True)
class Standing:
    """What came out of one model.

    Args:
        runs: one for each seed, at least one.
        further: scores of the middle run that it did not log.
    """

    entry: Entry
    runs: Sequence[Run]
    further: Mapping[str, float] = field(default_factory=dict)

    @property
    def objective(self) -> str:
        """Name of the objective; empty for a model without scores."""
        return self.runs[0].objective

    @property
    def data(self) -> str:
        """Option of the data, with the distribution of points."""
        run = self.runs[0]
        distribution = run.config.get("data.distribution")
        return run.setting("data") + (f" ({distribution})" if distribution else "")

    @property
    def middle(self) -> Run:
        """The run in the middle of the objective; the worse of two."""
        ordered = sorted(self.runs, key=lambda run: self._badness(run))
        return ordered[len(ordered) // 2]

    @property
    def badness(self) -> float:
        """What standings are ordered by, the best first."""
        return self._badness(self.middle)

    def summary(self, score: str) -> Median | None:
        """Median and range of a score over the seeds; None if a run lacks it."""
        values = [value for run in self.runs if (value := run.value(score)) is not None]
        return Median.of(values) if len(values) == len(self.runs) else None

    def _badness(self, run: Run) -> float:
        """The objective, so signed that less is better; infinite without one."""
        value = run.value(self.objective)
        if value is None or math.isnan(value):
            return math.inf
        return value if run.directions.get(self.objective, True) else -value


def write(page: Path, standings: Sequence[Standing], budget: str, left_out: Sequence[str]) -> None:
    """Write the tables into the page, the gallery beside it, and the pictures into a folder.

    What stands outside the two markers of the page is kept.

    Args:
        budget: what each model had, in words.
        left_out: a sentence for each model without a run.

    Raises:
        UserError: a file cannot be written.
    """
    gallery = page.with_name(f"{page.stem}_gallery.md")
    head = f"# The zoo: every model at an equal budget\n\n{START}\n{END}\n"
    before, _, rest = _text_of(page, head).partition(START)
    _, _, after = rest.partition(END)
    link = f"Samples and claims: [gallery]({gallery.name})."
    body = "\n\n".join([budget, *_sections(standings), *_left_out(left_out), link])
    try:
        write_text(page, f"{before}{START}\n\n{body}\n\n{END}{after}")
        write_text(gallery, _gallery(standings, page))
    except OSError as error:
        raise UserError(explain_os(error)) from None


def _text_of(page: Path, otherwise: str) -> str:
    """Text of a page with both markers; another text if there is none yet.

    Raises:
        UserError: there is a file, without the markers.
    """
    if not page.exists():
        return otherwise
    text = page.read_text(encoding="utf-8", errors="replace")
    if START not in text or END not in text:
        raise UserError(
            f"zoo.output={page}: is not a page of gan-zoo, which has the lines {START} and {END}; "
            "name another file."
        )
    return text


# --- tables ---------------------------------------------------------------------------------------


def _sections(standings: Sequence[Standing]) -> list[str]:
    """A heading and a table for each data set and objective, the largest first."""
    sections: dict[tuple[str, str], list[Standing]] = {}
    for standing in standings:
        sections.setdefault((standing.data, standing.objective), []).append(standing)
    ordered = sorted(sections.items(), key=lambda item: -len(item[1]))
    return [
        f"## {data}{f', {objective}' if objective else ''}\n\n{render_markdown(_sheet(members))}"
        for (data, objective), members in ordered
    ]


def _sheet(members: Sequence[Standing]) -> Sheet:
    """Table of the standings on one data set, the best first."""
    objective = members[0].objective
    beside = [name for name in BESIDE if any(item.summary(name) for item in members)]
    further = list(dict.fromkeys(name for item in members for name in item.further))

    first = [objective, "over the floor"] if objective else []
    last = [ESTIMATE, "rounds", "seconds", "parameters"]
    titles = ["model", "year", *first, *beside, *further, *last]
    columns = [Column(TITLES.get(title, title), is_number=title != "model") for title in titles]

    rows = []
    for item in sorted(members, key=lambda item: item.badness):
        own = [_summary(item, objective), _over_the_floor(item)] if objective else []
        own += [_summary(item, name) for name in beside]
        own += [_number(item.further.get(name)) for name in further]
        cells = [item.entry.model, item.entry.year, *own, _summary(item, ESTIMATE), *_costs(item)]
        rows.append([Cell(text) for text in cells])
    return Sheet(columns, rows)


def _costs(item: Standing) -> list[str]:
    """Rounds, seconds and parameters of the middle run."""
    card = item.middle.card
    counts = card.get("parameters") or {}
    return [
        f"{card.get('step', 0):,}",
        _number(card.get("seconds")),
        f"{sum(counts.values()):,}" if counts else MISSING,
    ]


def _summary(item: Standing, score: str) -> str:
    summary = item.summary(score)
    return summary.text if summary else MISSING


def _over_the_floor(item: Standing) -> str:
    """The objective of the middle run over that of real samples."""
    value, floor = item.middle.value(item.objective), item.middle.value(f"{item.objective}_floor")
    return f"{value / floor:.1f}x" if value is not None and floor else MISSING


def _number(value: float | None) -> str:
    return MISSING if value is None else format_number(value, 3)


def _left_out(sentences: Sequence[str]) -> list[str]:
    """The models without a run, as a list."""
    if not sentences:
        return []
    return ["## Left out\n\n" + "\n".join(f"- {sentence}" for sentence in sentences)]


# --- gallery --------------------------------------------------------------------------------------


def _gallery(standings: Sequence[Standing], page: Path) -> str:
    """Samples of the middle run of each model, in the order of the years, with the claim."""
    ordered = sorted(standings, key=lambda item: (item.entry.year, item.entry.model))
    source = f"[{page.stem}]({page.name})"
    head = f"# Gallery\n\nThe last samples of the middle run of each model of {source}."
    return "\n\n".join([head, *(_exhibit(item, page) for item in ordered)]) + "\n"


def _exhibit(item: Standing, page: Path) -> str:
    """One model: paper, claim, command and its samples."""
    entry = item.entry
    lines = [f"## {entry.model}", f"{entry.paper} ({entry.year}): {entry.shows}."]
    if entry.claim:
        lines.append(f"*Claim:* {entry.claim}.")
    if item.objective:
        lines.append(f"*Here:* {item.objective} {_summary(item, item.objective)}.")
    lines.append(f"`{item.middle.command}`")
    return "\n\n".join([*lines, *_samples(item, page)])


def _samples(item: Standing, page: Path) -> list[str]:
    """The newest samples, whose picture is copied beside the page."""
    newest = Arrangement().newest(item.middle)
    if newest is None:
        return []
    if newest.suffix == ".txt":
        lines = newest.read_text(encoding="utf-8", errors="replace").splitlines()
        return ["\n".join(["```text", *lines[:LONGEST_TEXT], "```"])]

    copy = page.with_name(page.stem) / f"{item.entry.model}.png"
    write_bytes(copy, newest.read_bytes())
    return [f"![samples of {item.entry.model}]({page.stem}/{copy.name})"]
