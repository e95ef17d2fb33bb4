"""`gan-compare budget=`: the best of so many runs, against a count over all subsets."""

import itertools
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from conftest import Command
from test_compare import fake

from gan_cli.reports import budgets
from gan_cli.runs.finished import find_runs


@pytest.mark.parametrize("budget", [1, 2, 4, 5])
def test_the_chances_are_those_of_all_subsets(budget: int) -> None:
    n = 5
    best = [min(subset) for subset in itertools.combinations(range(n), budget)]
    counted = [best.count(i) / len(best) for i in range(n)]
    assert budgets.chances(n, budget) == pytest.approx(counted)


@pytest.fixture
def search(tmp_path: Path) -> Path:
    """Two methods: one that is good now and then, one that is always middling."""
    found = {"wgan": (0.9, 0.1, 0.8, 0.7), "gan": (0.5, 0.4, 0.45, 0.55)}
    for model, values in found.items():
        for seed, w1 in enumerate(values):
            fake(
                tmp_path / "runs" / f"{model}{seed}", f"model={model}", f"seed={seed}",
                config={"seed": seed}, w1=(w1,), modes=(8,),
            )  # fmt: skip
    return tmp_path / "runs"


def test_a_larger_budget_turns_the_order(search: Path) -> None:
    runs, _ = find_runs([search])
    sheet = budgets.build_budget_sheet(runs, "model", "w1")
    titles = [column.title for column in sheet.columns]
    assert titles == ["model", "runs", "best of 1", "best of 2", "best of 3", "best of 4"]
    wgan, gan = sheet.rows  # by the best of all
    assert wgan[0].text == "wgan" and wgan[2].values[0] == pytest.approx(mean((0.9, 0.1, 0.8, 0.7)))
    assert gan[2].values[0] < wgan[2].values[0]
    assert gan[-1].values[0] == pytest.approx(0.4) and wgan[-1].text == "0.1"

    pairs = [min(pair) for pair in itertools.combinations((0.9, 0.1, 0.8, 0.7), 2)]
    assert wgan[3].values == pytest.approx((mean(pairs), np.std(pairs)))


def test_the_curves_agree_with_the_table(search: Path) -> None:
    runs, _ = find_runs([search])
    sheet = budgets.build_budget_sheet(runs, "model", "w1")
    for row, line in zip(sheet.rows, budgets.lines_over_budget(runs, "model", "w1"), strict=True):
        assert line.label == f"model={row[0].text}" and line.values.shape == (budgets.ORDERS, 4)
        expected = [cell.values[0] for cell in row[2:]]
        assert line.values.mean(axis=0) == pytest.approx(expected, abs=0.03)
        assert (np.diff(line.values) <= 0).all()


def test_budgets_as_typed(search: Path, command: Command) -> None:
    code, printed = command("gan-compare", str(search), "budget=model")
    assert code == 0 and "best of 4" in printed
    for output in ("curves.png", "page.html"):
        assert command("gan-compare", str(search), "budget=model", f"output={output}")[0] == 0
    assert "of which the best counts" in Path("page.html").read_text(encoding="utf-8")

    for typed, says in (
        ("budget=colour", "budget=colour: no run has such a key"),
        ("budget=model success=model", "success=model: budget= is a table or curves of its own"),
        ("budget=model scores=[w1,modes]", "budget=model: name one score"),
        ("budget=model scores=[w1_floor]", "scores=[w1_floor]: neither more nor less of it"),
    ):
        code, printed = command("gan-compare", str(search), *typed.split())
        assert code == 2 and says in printed
