"""`gan-compare verdicts=true`: how often the verdicts of the health report are right."""

from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Command
from pages import prose
from test_compare import fake

from gan_cli.config.identity import flatten, unflatten
from gan_cli.reports import verdicts
from gan_cli.runs.finished import find_runs

OTHERS = "judged", "right", "wrong", "missed", "true alarms", "false alarms"


def judged(folder: Path, verdict: str) -> dict[str, str]:
    """The row of a verdict."""
    sheet = verdicts.build_verdict_sheet(find_runs([folder])[0])
    titles = [column.title for column in sheet.columns]
    (row,) = [row for row in sheet.rows if row[0].text == verdict]
    return dict(zip(titles, (cell.text for cell in row), strict=True))


def make(folder: Path, *, diversity: float = 1.0, **scores: float) -> None:
    """A run with these scores beside the usual ones."""
    usual = {"w1": 0.1, "w1_floor": 0.08}
    fake(folder, w1=(0.1,) * 3, modes=(8,) * 3, scores={**usual, **scores}, diversity=diversity)


def test_a_verdict_is_right_wrong_or_missed(tmp_path: Path) -> None:
    """Collapsed by the distance of samples; the criterion is recall."""
    for name, diversity, recall in (
        ("right", 0.1, 0.0),
        ("right too", 0.2, 0.1),
        ("wrong", 0.1, 0.9),
        ("missed", 1.0, 0.1),
        ("well", 1.0, 0.9),
        ("well too", 0.8, 0.9),
    ):
        make(tmp_path / name, diversity=diversity, recall=recall)
    make(tmp_path / "unknown", diversity=0.1)

    row = judged(tmp_path, "collapsed")
    assert row.pop("raised") == "4"
    assert [row[title] for title in OTHERS] == ["6", "2", "1", "1", "67%", "33%"]


def test_a_run_that_a_like_verdict_is_told_of_is_not_missed(tmp_path: Path) -> None:
    make(tmp_path / "run", diversity=0.1, recall=0.0)
    assert judged(tmp_path, "modes are missing")["missed"] == "0"


def test_what_no_score_can_judge_has_no_rate(tmp_path: Path) -> None:
    make(tmp_path / "run")
    assert {judged(tmp_path, "weak critic")[title] for title in OTHERS} == {"-"}


@pytest.mark.parametrize("content", ['{"coverage": 0.2}', '{"scores": {"coverage": 0.2}}'])
def test_scores_that_were_measured_later_are_read(tmp_path: Path, content: str) -> None:
    make(tmp_path / "run")
    assert judged(tmp_path, "healthy")["judged"] == "0"
    (tmp_path / "run" / "prdc.json").write_text(content)
    assert judged(tmp_path, "healthy")["wrong"] == "1"


def test_every_verdict_is_one_of_the_page() -> None:
    listed = prose(ROOT / "docs" / "reading_curves.md")
    for verdict in verdicts.VERDICTS:
        assert f"`{verdict}" in listed


def test_the_table_is_written_and_unfinished_runs_are_left_out(
    command: Command, tmp_path: Path
) -> None:
    make(tmp_path / "runs" / "a")
    fake(tmp_path / "runs" / "b", finished=False)
    code, printed = command("gan-compare", str(tmp_path / "runs"), "verdicts=true")
    assert code == 0 and "healthy" in printed
    assert judged(tmp_path, "healthy")["raised"] == "1"


@pytest.mark.parametrize(
    ("typed", "card", "sentence"),
    [
        ((), {"finished": False}, "verdicts=true: no run is finished; name folders of runs that"),
        (("output=x.png",), {}, "verdicts=true: a table; take output=FILE.csv, .md or .tex"),
        (("scores=[w1]",), {}, "scores=[w1]: verdicts=true is a table of its own; leave one"),
        (("config",), {}, "run: its configuration or its rows are none of gan-train's"),
    ],
)
def test_a_mistake_is_one_sentence(
    command: Command, tmp_path: Path, typed: tuple[str, ...], card: dict[str, Any], sentence: str
) -> None:
    strange = {"regularizer": "none"} if typed == ("config",) else {}
    fake(tmp_path / "run", config=strange, **card)
    code, printed = command("gan-compare", "run", "verdicts=true", *set(typed) - {"config"})
    assert code == 2 and printed.startswith(f"gan-compare: {sentence}"), printed
    assert len(printed.splitlines()) == 1


def test_leaves_become_the_configuration_that_they_are_of() -> None:
    config = {"a": {"b": 1, "c": {"d": [2]}}, "e": None}
    assert unflatten(flatten(config)) == config
    assert unflatten({"a": None, "a.b": 1}) == unflatten({"a.b": 1, "a": None}) == {"a": {"b": 1}}
