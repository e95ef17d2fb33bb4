"""`gan-compare`: seeds grouped, differences as columns, four formats, pictures, and a page that a
browser opens."""

import csv
import html
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import Command
from PIL import Image

from gan_cli.errors import UserError
from gan_cli.reports import charts, formats, grids, statistics, tables
from gan_cli.reports.groups import group_runs
from gan_cli.runs.finished import find_runs

CONFIG = {
    "model": {"name": "two_player", "repeat": {"discriminator": 1}},
    "loss": {"name": "hinge"},
    "data": {"name": "points", "root": None},
    "optimizer": {"name": "adam", "lr": 0.001},
    "seed": 1,
    "steps": 300,
}
BLUE, RED = (0, 0, 255), (255, 0, 0)


def fake(
    folder: Path,
    *typed: str,
    config: dict[str, Any] | None = None,
    w1: tuple[float, ...] = (0.5, 0.2, 0.3),
    modes: tuple[float, ...] = (2, 8, 7),
    colour: tuple[int, int, int] = BLUE,
    **card: Any,
) -> Path:
    """A run's folder as gan-train leaves it, with an evaluation at rounds 100, 200, ..."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(
        yaml.safe_dump({**CONFIG, **(config or {})}, sort_keys=False)
    )
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(typed)))
    rows = [
        {
            "step": 100 * i,
            "seconds": 1.0 * i,
            "metrics/w1": a,
            "metrics/modes": b,
            "wasserstein/heldout": 2 * a,
        }
        for i, (a, b) in enumerate(zip(w1, modes, strict=True), 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = {"w1": w1[-1], "w1_floor": 0.08, "modes": modes[-1]} if w1 else {}
    told = {
        "step": 100 * len(rows),
        "seconds": 3.0,
        "finished": True,
        "objective": "w1",
        "scores": scores,
    }
    (folder / "run.json").write_text(
        json.dumps({**told, "health": ["healthy: nothing shows"], **card})
    )
    (folder / "samples").mkdir()
    for step, shade in ((100, (9, 9, 9)), (300, colour)):
        Image.new("RGB", (40, 40), shade).save(folder / "samples" / f"step_{step:08d}.png")
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two learning rates, three seeds each."""
    finals = {0.001: (0.1, 0.2, 0.6), 0.01: (0.5, 0.7, 0.9)}
    for lr, values in finals.items():
        for seed, last in enumerate(values, 1):
            name, changed = (
                f"optimizer.lr={lr}+seed={seed}",
                {"optimizer": {"name": "adam", "lr": lr}, "seed": seed},
            )
            colour = BLUE if lr == 0.001 else RED
            typed = ("data=points", f"optimizer.lr={lr}", f"seed={seed}")
            fake(
                tmp_path / "sweep" / name,
                *typed,
                config=changed,
                w1=(last + 1, last / 2, last),
                colour=colour,
            )
    return tmp_path / "sweep"


def table(*places: Path, scores: tuple[str, ...] = ()) -> tables.Table:
    return tables.build_table(group_runs(find_runs(places)[0]), scores)


def titles(made: tables.Table) -> list[str]:
    return [column.title for column in made.to_sheet().columns]


# --- grouping and columns -------------------------------------------------------------------------


def test_seeds_are_one_row_with_mean_and_std(sweep: Path) -> None:
    made = table(sweep)
    assert titles(made) == ["optimizer.lr", "runs", "w1", "best w1", "modes"]
    assert [row.settings for row in made.rows] == [["0.001"], ["0.01"]]
    assert [len(row.group.runs) for row in made.rows] == [3, 3]
    final, best, modes = made.rows[0].scores
    assert final and best and modes
    # 0.1, 0.2, 0.6
    assert final.middle == pytest.approx(0.3) and final.std == pytest.approx((0.14 / 2) ** 0.5)
    # 0.05, 0.1, 0.3
    assert best.middle == pytest.approx(0.15) and best.std == pytest.approx((0.035 / 2) ** 0.5)
    assert modes.middle == 7 and modes.std == 0
    assert made.leading == [pytest.approx(0.3), pytest.approx(0.15), None]  # all have as many modes


def test_the_best_score_is_the_lowest_or_the_highest_as_the_metric_says(tmp_path: Path) -> None:
    fake(tmp_path / "run", w1=(0.5, 0.2, 0.3), modes=(2, 8, 7))
    made = table(tmp_path, scores=("w1", "modes", "wasserstein/heldout"))
    assert titles(made) == ["runs", "w1", "best w1", "modes", "best modes", "wasserstein/heldout"]
    (row,) = made.rows
    assert [entry.text for entry in row.scores if entry] == ["0.3", "0.2", "7", "8", "0.6"]


def test_only_what_differs_is_a_column(tmp_path: Path) -> None:
    fake(tmp_path / "a", "hardware.threads=1", config={"data": {"name": "points", "root": "/here"}})
    fake(tmp_path / "b", "log_every=7", config={"log_every": 7, "seed": 2})
    assert titles(table(tmp_path))[0] == "runs" and len(table(tmp_path).rows) == 1
    fake(tmp_path / "c", "steps=900", config={"steps": 900})
    assert table(tmp_path).keys == ["steps"]
    assert [(row.settings, len(row.group.runs)) for row in table(tmp_path).rows] == [
        (["300"], 2),
        (["900"], 1),
    ]


def test_what_follows_from_an_option_is_no_column_of_its_own(tmp_path: Path) -> None:
    fake(tmp_path / "a", "loss=wasserstein", config={"loss": {"name": "wasserstein"}})
    wgan = {
        "model": {"name": "two_player", "repeat": {"discriminator": 5}},
        "optimizer": {"name": "rmsprop", "lr": 1},
    }
    fake(
        tmp_path / "b",
        "model=wgan",
        "loss=wasserstein",
        config={**wgan, "loss": {"name": "wasserstein"}},
    )
    made = table(tmp_path)
    assert made.keys == ["model"]
    # gan-train's default, where none is typed
    assert [row.settings for row in made.rows] == [["wgan_gp"], ["wgan"]]
    (tmp_path / "b" / ".hydra" / "overrides.yaml").unlink()  # nobody knows what was typed
    assert table(tmp_path).keys == ["model.repeat.discriminator", "optimizer.name", "optimizer.lr"]


def test_a_run_of_an_older_version_has_the_defaults_of_later_keys(tmp_path: Path) -> None:
    fake(tmp_path / "old", config={"steps": 100_000})
    fake(
        tmp_path / "new",
        config={"steps": 100_000, "init_from": None, "hardware": {"precision": "fp32"}, "seed": 2},
    )
    assert len(table(tmp_path).rows) == 1


def test_runs_named_twice_count_once_and_a_run_can_be_named_itself(sweep: Path) -> None:
    one = next(iter(sorted(sweep.iterdir())))
    assert len(find_runs([sweep, one, sweep.parent])[0]) == 6
    assert [run.folder for run in find_runs([one])[0]] == [one]
    (sweep.parent / "chosen").mkdir()
    (sweep.parent / "chosen" / "link").symlink_to(one)
    assert len(find_runs([sweep.parent / "chosen"])[0]) == 1


def test_scores_that_are_missing_or_infinite(sweep: Path, command: Command) -> None:
    card = json.loads((sweep / "optimizer.lr=0.01+seed=3" / "run.json").read_text())
    card["scores"]["w1"] = float("inf")
    (sweep / "optimizer.lr=0.01+seed=3" / "run.json").write_text(json.dumps(card))
    fake(sweep / "begun", "loss=rpgan", config={"loss": {"name": "rpgan"}}, w1=(), modes=())
    text = formats.render_terminal(table(sweep).to_sheet())
    assert "inf" in text and text.splitlines()[1].split()[-3:] == ["-", "-", "-"]
    odd = [
        {"step": 1, "metrics/w1": 1e308},
        {"step": 2, "metrics/w1": -1e308},
        {"step": float("inf"), "metrics/w1": 0},
    ]
    with (sweep / "begun" / "metrics.jsonl").open("a") as file:
        file.writelines(
            json.dumps(row) + "\n" for row in [*odd, {"step": 1e308, "metrics/w1": float("nan")}]
        )
    assert command("gan-compare", str(sweep), "output=page.html")[0] == 0


# --- formats --------------------------------------------------------------------------------------


def test_the_table_on_a_terminal(sweep: Path, command: Command) -> None:
    code, printed = command("gan-compare", str(sweep))
    assert code == 0 and printed.splitlines() == [
        "optimizer.lr  runs           w1       best w1   modes",
        "0.001            3  0.3 +- 0.26  0.15 +- 0.13  7 +- 0",
        "0.01             3   0.7 +- 0.2   0.35 +- 0.1  7 +- 0",
    ]


def test_the_table_as_csv(sweep: Path, command: Command) -> None:
    _, printed = command("gan-compare", str(sweep), "format=csv", "scores=[w1]")
    first, second = csv.DictReader(printed.splitlines())
    assert list(first) == ["optimizer.lr", "runs", "w1", "w1 std", "best w1", "best w1 std"]
    assert first["optimizer.lr"] == "0.001" and float(first["w1 std"]) == pytest.approx(
        0.2645751311
    )
    assert float(second["w1"]) == pytest.approx(0.7) and second["runs"] == "3"


def test_the_table_as_markdown(sweep: Path, command: Command) -> None:
    code, printed = command("gan-compare", str(sweep), "output=made/table.md", "scores=[w1]")
    assert code == 0 and printed.strip() == "made/table.md"
    assert Path("made/table.md").read_text().splitlines() == [
        "| optimizer.lr | runs | w1 | best w1 |",
        "| --- | ---: | ---: | ---: |",
        "| 0.001 | 3 | **0.3 ± 0.26** | **0.15 ± 0.13** |",
        "| 0.01 | 3 | 0.7 ± 0.2 | 0.35 ± 0.1 |",
    ]


def test_the_table_as_latex(tmp_path: Path, command: Command) -> None:
    fake(
        tmp_path / "a",
        "data.file=50%_{x}",
        config={"data": {"name": "csv", "file": "50%_{x}"}},
        w1=(1,),
        modes=(8,),
    )
    fake(
        tmp_path / "b",
        "data.file=~\\y",
        config={"data": {"name": "csv", "file": "~\\y"}},
        w1=(2,),
        modes=(8,),
    )
    _, printed = command("gan-compare", str(tmp_path), "format=latex", "scores=[w1]")
    lines = printed.splitlines()
    assert lines[0].startswith(r"\begin{tabular}{lrrr}") and lines[-1] == r"\end{tabular}"
    assert r"50\%\_\{x\} & 1 & \textbf{1} & \textbf{1} \\" in lines
    assert r"\textasciitilde{}\textbackslash{}y & 1 & 2 & 2 \\" in lines


def test_figures_are_short_and_never_in_powers_where_one_can_read_them() -> None:
    assert statistics.Mean(117.512, 139.9).text == "117.5 +- 140"
    assert statistics.Mean(41035.2, 3.14159).text == "41035 +- 3.1"
    assert statistics.Mean(0.0000123, None).text == "1.23e-05"
    assert statistics.format_number(999.7, 3) == "1000"


def test_medians_with_the_range(sweep: Path, command: Command) -> None:
    code, printed = command("gan-compare", str(sweep), "statistic=median", "best=false")
    assert code == 0 and printed.splitlines() == [
        "optimizer.lr  runs                w1  modes",
        "0.001            3  0.2 (0.1 to 0.6)      7",
        "0.01             3  0.7 (0.5 to 0.9)      7",
    ]
    typed = ("statistic=median", "scores=[w1]", "best=false", "format=csv")
    _, printed = command("gan-compare", str(sweep), *typed)
    assert printed.splitlines()[:2] == [
        "optimizer.lr,runs,w1,w1 min,w1 max",
        "0.001,3,0.2,0.1,0.6",
    ]


def test_all_scores_can_be_asked_for(sweep: Path, command: Command) -> None:
    _, printed = command("gan-compare", str(sweep), "scores=[all]", "best=false")
    assert printed.splitlines()[0].split() == ["optimizer.lr", "runs", "w1", "w1_floor", "modes"]


def test_rows_can_stand_for_named_options_alone(sweep: Path, command: Command) -> None:
    typed = ("by=[loss]", "statistic=median", "scores=[w1]", "best=false")
    _, printed = command("gan-compare", str(sweep), *typed)
    assert [line.split() for line in printed.splitlines()] == [
        ["loss", "runs", "w1"],
        ["hinge", "6", "0.55", "(0.1", "to", "0.9)"],
    ]
    found, _ = find_runs([sweep])
    (line,) = charts.lines_over_option(found, "optimizer.lr", "w1", ["loss"])
    assert line.label == "loss=hinge" and line.values.shape == (3, 2)
    assert command("gan-compare", str(sweep), "by=[seed]", "output=page.html")[0] == 0


def test_successes_are_counted_by_seed(sweep: Path, command: Command) -> None:
    (sweep / "optimizer.lr=0.01+seed=3" / "run.json").write_text("{}")
    (sweep / "optimizer.lr=0.01+seed=3" / "metrics.jsonl").unlink()
    typed = ("success=optimizer.lr", "scores=[w1]")
    code, printed = command("gan-compare", str(sweep), *typed, "at=[0.15,0.55]", "format=markdown")
    assert code == 0 and printed.splitlines() == [
        "| w1 at most | only 0.001 | only 0.01 | both | neither |",
        "| ---: | ---: | ---: | ---: | ---: |",
        "| 0.15 | 1 | 0 | 0 | 2 |",
        "| 0.55 | 1 | 0 | 1 | 1 |",
    ]
    typed = ("success=optimizer.lr", "scores=[modes]", "output=x.csv")
    assert command("gan-compare", str(sweep), *typed)[0] == 0
    rows = list(csv.reader(Path("x.csv").read_text().splitlines()))
    assert rows[0][0] == "modes at least" and rows[1:] == [["7.0", "1", "0", "2", "0"]] * 8


# --- curves and pictures --------------------------------------------------------------------------


def test_a_band_counts_every_curve_as_far_as_it_goes() -> None:
    long, short = np.array([[0, 10, 20], [0.0, 2.0, 8.0]]), np.array([[0, 10], [4.0, 6.0]])
    steps, values = charts.align_curves([long, short])
    mean, low, high = statistics.Mean.band(values)
    assert steps.tolist() == [0, 10, 20] and mean.tolist() == [2, 4, 8]
    assert (high - mean).tolist() == pytest.approx([8**0.5, 8**0.5, 0])
    assert (mean - low).tolist() == pytest.approx([8**0.5, 8**0.5, 0])
    assert [edge.tolist() for edge in statistics.Median.band(values)] == [
        [2, 4, 8], [0, 2, 8], [4, 6, 8]
    ]  # fmt: skip
    mean, _, _ = statistics.Mean.band(np.array([[np.nan, 1.0]]))
    assert np.isnan(mean[0]) and mean[1] == 1


def test_curves_are_drawn_of_the_objective_or_of_what_is_named(
    sweep: Path, command: Command
) -> None:
    found, _ = find_runs([sweep])
    assert charts.find_tags(found, []) == ["metrics/w1", "wasserstein/heldout"]
    assert charts.find_tags(found, ["modes"]) == ["metrics/modes"]
    groups = group_runs(found)
    lines = charts.lines_over_rounds(groups, ["a $x$", "b"], "metrics/w1")
    panel = charts.draw_panels({"metrics/w1": lines}).axes[0]
    assert [line.get_ydata().tolist() for line in panel.lines] == [
        pytest.approx([1.3, 0.15, 0.3]), pytest.approx([1.7, 0.35, 0.7])
    ]  # fmt: skip
    assert len(panel.collections) == 2  # the bands
    assert command("gan-compare", str(sweep), "output=curves.png", "curves=[modes,w1]")[0] == 0
    assert np.asarray(Image.open("curves.png")).std() > 5


def test_curves_over_an_option_have_a_line_for_each_other_setting(
    tmp_path: Path, command: Command
) -> None:
    for loss in ("hinge", "rpgan"):
        for width in (8, 4):
            for seed in (1, 2):
                changed = {"loss": {"name": loss}, "network": {"shift": [width, 0]}, "seed": seed}
                typed = (f"loss={loss}", f"network.shift=[{width},0]", f"seed={seed}")
                folder = tmp_path / f"{loss}{width}{seed}"
                fake(folder, *typed, config=changed, w1=(9, width * seed), modes=(1, 2))
    found, _ = find_runs([tmp_path])
    first, second = charts.lines_over_option(found, "network.shift", "w1")
    assert (first.label, second.label) == ("loss=hinge", "loss=rpgan")
    assert first.x.tolist() == [4, 8] and first.values.tolist() == [[4, 8], [8, 16]]
    typed = ("over=network.shift", "statistic=median")
    for output in ("over.png", "over.html"):
        assert command("gan-compare", ".", *typed, f"output={output}")[0] == 0
    page = Path("over.html").read_text()
    assert "Over network.shift: median (lowest to highest) over the runs" in page
    (one,) = charts.lines_over_option(found[:2], "network.shift", "w1_floor")
    assert one.label == "" and one.values.tolist() == [[0.08], [0.08]]


def test_pictures_by_a_pattern_of_ones_own(sweep: Path, command: Command) -> None:
    for folder in sweep.iterdir():
        (folder / "figures").mkdir()
        Image.new("RGB", (9, 9), (0, 255, 0)).save(folder / "figures" / "a.png")
    typed = ("pictures=figures/*.png", "rows=optimizer.lr", "output=grid.png")
    assert command("gan-compare", str(sweep), *typed)[0] == 0
    pixels = np.asarray(Image.open("grid.png").convert("RGB"))
    assert (pixels == (0, 255, 0)).all(axis=2).mean() > 0.2
    (sweep / "optimizer.lr=0.01+seed=3" / "figures" / "b.png").symlink_to("/dev/zero")
    assert command("gan-compare", str(sweep), typed[0], "output=page.html")[0] == 0


def test_a_picture_of_grids_by_any_two_overrides(tmp_path: Path, command: Command) -> None:
    for loss in ("hinge", "rpgan"):
        for lr in (0.001, 0.01):
            changed = {"loss": {"name": loss}, "optimizer": {"name": "adam", "lr": lr}}
            colour = RED if (loss, lr) == ("rpgan", 0.001) else BLUE
            fake(
                tmp_path / f"{loss}{lr}",
                f"loss={loss}",
                f"optimizer.lr={lr}",
                config=changed,
                colour=colour,
            )
    found, _ = find_runs([tmp_path])
    grid = grids.arrange_runs(found, grids.Arrangement("loss", "optimizer.lr"))
    assert (grid.rows, grid.columns) == (["hinge", "rpgan"], ["0.001", "0.01"])
    typed = ("rows=loss", "columns=optimizer.lr")
    assert command("gan-compare", str(tmp_path), *typed, "output=grid.png")[0] == 0
    pixels = np.asarray(Image.open("grid.png").convert("RGB")).astype(int)
    down, across = np.nonzero((pixels == RED).all(axis=2))
    height, width, _ = pixels.shape
    # the lower left one, and the newest
    assert down.min() > 0.45 * height and across.max() < 0.55 * width
    assert (pixels == BLUE).all(axis=2).sum() == pytest.approx(3 * len(down), rel=0.05)

    assert command("gan-compare", str(tmp_path), *typed, "output=grid.html")[0] == 0
    page = Path("grid.html").read_text()
    grid = page[page.index('<table class="grid">') :]
    grid = grid[: grid.index("</table>")]
    assert re.findall(r"<th>([^<]*)</th>", grid) == [
        r"loss \ optimizer.lr",
        "0.001",
        "0.01",
        "hinge",
        "rpgan",
    ]
    assert grid.count("<img") == 4


def test_samples_of_text_are_shown_as_text(tmp_path: Path, command: Command) -> None:
    for picture in (fake(tmp_path / "run") / "samples").iterdir():
        picture.unlink()
    (tmp_path / "run" / "samples" / "step_00000300.txt").write_text("the <cat> sat\n$on$ the mat\n")
    assert command("gan-compare", "run", "output=page.html")[0] == 0
    assert "<pre>the &lt;cat&gt; sat\n$on$ the mat</pre>" in Path("page.html").read_text()
    assert command("gan-compare", "run", "rows=seed", "output=grid.png")[0] == 0


# --- the page -------------------------------------------------------------------------------------


def test_the_page_holds_everything_and_names_nothing_outside(sweep: Path, command: Command) -> None:
    odd = "++data.file=a b's.csv"
    fake(
        sweep / "odd",
        odd,
        config={"loss": {"name": "rpgan"}, "data": {"name": "csv", "file": "a b's.csv"}},
    )
    assert command("gan-compare", str(sweep), "output=page.html")[0] == 0
    page = Path("page.html").read_text()
    for link in re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s>)]+)""", page):
        assert link.startswith("data:"), link[:80]
    assert (
        page.count('src="data:image/png;base64,') == 3
        and page.count('src="data:image/svg+xml;base64,') == 1
    )
    text = html.unescape(page)
    assert "healthy: nothing shows" in text and "model.repeat.discriminator" in text
    command_of_odd = shlex.join(["gan-train", odd])
    assert command_of_odd in text and shlex.split(command_of_odd) == ["gan-train", odd]


def test_what_strangers_write_is_never_obeyed(tmp_path: Path, command: Command) -> None:
    evil = "<script>alert(1)</script>|\x1b[31m\n\"'"
    for seed, name in enumerate(("a", "<img src=x onerror=alert(1)>")):
        changed = {"data": {"name": "csv", "file": f"{evil}{seed}"}, evil: evil, "seed": seed}
        folder = fake(
            tmp_path / "all" / name,
            f"data.file={evil}{seed}",
            f"{evil}={seed}",
            config=changed,
            health=[evil],
        )
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 400, "metrics/<b>$\\frac{": 1.0}) + "\n")
    assert (
        command("gan-compare", "all", "output=page.html", "curves=[w1,metrics/<b>$\\frac{]")[0] == 0
    )
    page = Path("page.html").read_text()
    assert (
        "<script>alert" not in page and "<img src=x" not in page and "&lt;script&gt;alert" in page
    )
    for kind in formats.FORMATS:
        code, printed = command("gan-compare", "all", f"format={kind}")
        assert code == 0 and "\x1b" not in printed
    code, printed = command("gan-compare", "all", "format=markdown")
    assert "<script>" not in printed and len(printed.splitlines()) == 4
    assert command("gan-compare", "all", "output=grid.png", "rows=data.file")[0] == 0


def test_the_page_in_a_browser(sweep: Path, command: Command, browser: Any, tmp_path: Path) -> None:
    assert command("gan-compare", str(sweep), "output=page.html")[0] == 0
    browser.get_log("browser")  # of other pages
    browser.get((tmp_path / "page.html").as_uri())
    column = (
        "return [...document.querySelectorAll('#scores tbody tr')].map(row => "
        "row.cells[2].textContent.trim())"
    )
    heading = browser.find_elements("css selector", "#scores th button")[2]
    assert heading.text == "w1"
    heading.click()
    assert [text[:3] for text in browser.execute_script(column)] == ["0.3", "0.7"]
    heading.click()
    assert [text[:3] for text in browser.execute_script(column)] == ["0.7", "0.3"]
    assert heading.find_element("xpath", "..").get_attribute("aria-sort") == "descending"

    widths = browser.execute_script(
        "return [...document.images].map(image => image.complete && image.naturalWidth)"
    )
    assert len(widths) == 3 and all(widths)
    assert (
        browser.execute_script(
            "return performance.getEntriesByType('resource').filter(r => "
            "!r.name.startsWith('data:'))"
        )
        == []
    )
    assert browser.get_log("browser") == []


def test_the_policy_of_the_page_stops_a_script_that_slipped_in(
    sweep: Path, command: Command, browser: Any, tmp_path: Path
) -> None:
    assert command("gan-compare", str(sweep), "output=page.html")[0] == 0
    page = (
        (tmp_path / "page.html")
        .read_text()
        .replace("</body>", "<script>window.slipped = 1</script></body>")
    )
    (tmp_path / "page.html").write_text(page)
    browser.get((tmp_path / "page.html").as_uri())
    assert browser.execute_script("return window.slipped") is None
    assert "Content Security Policy" in browser.get_log("browser")[0]["message"]


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["nowhere"], "nowhere: no such folder; name the folder of a run"),
        (["sweeps/seed=1"], "sweeps/seed=1: no such folder"),
        (["empty"], "empty: no runs in it; a run is a folder with a run.json"),
        (["format=csv"], "no run is named; name folders of runs"),
        (
            ["sweep", "format=cvs"],
            "format=cvs: no such format (did you mean csv?); take terminal, csv, markdown, latex.",
        ),
        (
            ["sweep", "output=x.pdf"],
            "output=x.pdf: the name must end in .html, .png, .csv, .md, .tex",
        ),
        (["sweep", "output=x.csv", "format=latex"], "format=latex: output=x.csv says another one"),
        (["sweep", "outptu=x.csv"], "outptu=x.csv: expected key=value (did you mean output?)"),
        (
            ["sweep", "scores=[modse]"],
            "scores=[modse]: no run has such a score (did you mean modes?); they have w1, ",
        ),
        (
            ["sweep", "output=x.png", "curves=[metrics/w2]"],
            "curves=[metrics/w2]: no run has logged such a scalar (did",
        ),
        (
            ["sweep", "output=x.png", "rows=optimiser.lr"],
            "rows=optimiser.lr: no run has such a key (did you mean opt",
        ),
        (["sweep", "rows=seed"], "rows=seed: for pictures only; add output=FILE.png or output="),
        (["sweep", "output=x.md", "curves=[w1]"], "curves=[w1]: for pictures only; add output"),
        (["sweep", "over=seed"], "over=seed: for pictures only; add output=FILE.png"),
        (["sweep", "pictures=a"], "pictures=a: for pictures only; add output=FILE.png"),
        (
            ["sweep", "output=x.png", "rows=seed", "over=seed"],
            "over=seed: a .png holds samples in rows and columns, or curves; leave one of them out",
        ),
        (["sweep", "output=x.png", "pictures=a"], "pictures=a: add rows=OPTION or columns=OPTION"),
        (
            ["sweep", "output=x.html", "pictures=../*"],
            "pictures=../*: expected a pattern below the folder of a run, such as samples/*.",
        ),
        (
            ["sweep", "output=x.html", "pictures=*.gif"],
            "pictures=*.gif: no run has a PNG or text file of that name; name a pattern",
        ),
        (
            ["sweep", "output=x.png", "over=loss.name"],
            "over=loss.name: sweep/optimizer.lr=0.001+seed=1 has hinge; name an option that is a",
        ),
        (
            ["sweep", "output=x.png", "over=optimiser.lr"],
            "over=optimiser.lr: sweep/optimizer.lr=0.001+seed=1 has no such key (did you mean opt",
        ),
        (
            ["sweep", "output=x.png", "over=seed", "curves=[w2]"],
            "curves=[w2]: no run has such a score (did you mean w1?); they have w1, ",
        ),
        (
            ["sweep", "statistic=medain"],
            "statistic=medain: no such statistic (did you mean median?); take mean, median.",
        ),
        (
            ["sweep", "by=[optimiser.lr]"],
            "by=[optimiser.lr]: no run has such a key (did you mean optimizer.lr?); name what di",
        ),
        (["sweep", "best=perhaps"], "best=perhaps: Value 'perhaps' is not a valid bool"),
        (
            ["sweep", "success=optimiser.lr", "scores=[w1]"],
            "success=optimiser.lr: no run has such a key (did you mean optimizer.lr?); name what",
        ),
        (["sweep", "success=seed"], "success=seed: name the one score to reach, by scores=[NAME]."),
        (
            ["sweep", "success=seed", "scores=[w1,modes]"],
            "success=seed: name the one score to reach, by scores=[NAME].",
        ),
        (
            ["sweep", "success=seed", "scores=[w1]", "output=x.png"],
            "success=seed: a table; take output=FILE.csv, .md or .tex instead of x.png.",
        ),
        (
            ["sweep", "success=loss", "scores=[w1]"],
            "success=loss: sweep/optimizer.lr=0.001+seed=1 and sweep/optimizer.lr=0.01+seed=1 have "
            "the same loss and seed; name folders in which nothing else differs.",
        ),
        (
            ["sweep/optimizer.lr=0.01+seed=1", "success=loss", "scores=[w1]"],
            "success=loss: the runs have hinge; name an option with two choices.",
        ),
        (
            [
                "sweep/optimizer.lr=0.01+seed=1",
                "sweep/optimizer.lr=0.001+seed=2",
                "success=optimizer.lr",
                "scores=[w1]",
            ],
            "success=optimizer.lr: no seed was trained with both 0.01 and 0.001; name folders",
        ),
        (["sweep", "at=[1,2]"], "at=[1,2]: thresholds of success; add success=OPTION."),
        (["sweep", "at=[x]", "success=seed"], "at=[x]: Value 'x' of type 'str' could not be"),
        (
            ["sweep", "at=[nan]", "success=optimizer.lr", "scores=[w1]"],
            "at=[nan]: expected finite numbers.",
        ),
        (
            ["sweep", "cells=true", "output=x.csv"],
            "output=x.csv: cells=true prints the state of each cell alone; leave one of them out.",
        ),
        (["sweep", "output=sweep/sweep.html/x.md"], "sweep/sweep.html"),
    ],
)
def test_a_mistake_is_one_sentence(
    sweep: Path, command: Command, typed: list[str], sentence: str
) -> None:
    (sweep.parent / "empty").mkdir()
    (sweep / "sweep.html").touch()  # a file where a folder is asked for
    code, printed = command("gan-compare", *typed)
    assert (
        code == 2
        and len(printed.splitlines()) == 1
        and printed.startswith(f"gan-compare: {sentence}")
    ), printed


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "{"),
        ("run.json", "[1]"),
        ("run.json", "[" * 100_000),
        ("metrics.jsonl", '{"step": 1}\n{"st\n{"step": 3}\n'),
        ("metrics.jsonl", "3\n"),
        ("metrics.jsonl", '{"step": 1' + "0" * 400 + "}\n"),
        (".hydra/config.yaml", "a: ]"),
        (".hydra/config.yaml", "a: !!python/object/apply:os.system [touch obeyed]"),
        (".hydra/config.yaml", "a: &a {x: 1}\nb: &b {x: *a, y: *a}\nc: {x: *b, y: *b}"),
        (".hydra/config.yaml", ""),
        (".hydra/overrides.yaml", "3"),
        (".hydra/overrides.yaml", "\x00"),
    ],
)
def test_a_damaged_run_is_left_out_and_named(
    sweep: Path, command: Command, name: str, content: str
) -> None:
    folder = sweep / "optimizer.lr=0.01+seed=3"
    bad = folder / name
    bad.write_text(content)
    code, printed = command("gan-compare", str(sweep), "output=page.html")
    assert (
        code == 0 and f"{bad}: cannot be read (" in printed and "so its run is left out" in printed
    )
    assert str(bad) in html.unescape(Path("page.html").read_text())
    assert [len(row.group.runs) for row in table(sweep).rows] == [3, 2]
    assert not Path("obeyed").exists()
    code, printed = command("gan-compare", str(folder))
    assert code == 2 and printed.startswith(
        "gan-compare: not one of 1 runs can be read; the first: "
    )


def test_a_row_that_is_still_being_written_is_no_damage(sweep: Path) -> None:
    with (sweep / "optimizer.lr=0.01+seed=3" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 400, "metr')
    assert len(find_runs([sweep])[0]) == 6


def test_a_damaged_picture_is_told_of_in_its_place(sweep: Path, command: Command) -> None:
    for path in sweep.glob("*seed=1/samples/step_00000300.png"):
        path.write_bytes(path.read_bytes()[:60])
    assert command("gan-compare", str(sweep), "output=page.html")[0] == 0
    assert "cannot be read as a picture" in Path("page.html").read_text()
    assert command("gan-compare", str(sweep), "output=grid.png", "rows=optimizer.lr")[0] == 0


def test_a_name_that_no_run_has_is_a_mistake(sweep: Path) -> None:
    with pytest.raises(UserError, match=r"columns=nothing: no run has such a key"):
        grids.arrange_runs(find_runs([sweep])[0], grids.Arrangement("seed", "nothing"))


# --- together with gan-train ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_that_was_trained_is_compared_without_torch(
    command: Command, tmp_path: Path
) -> None:
    typed = (
        "data=points",
        "network.width=4",
        "batch_size=8",
        "steps=4",
        "log_every=2",
        "evaluate_every=2",
        "evaluate_samples=200",
        "sample_every=2",
        "hydra.sweep.dir=sweep",
    )
    assert command("gan-train", "-m", "model=gan,wgan_gp", "seed=1,2", *typed)[0] == 0
    code = (
        "import sys; from gan_cli.main import compare; compare();"
        "assert not {'torch', 'torchvision', 'tensorboard'} & sys.modules.keys()"
    )
    for output in ("page.html", "curves.png", "table.md"):
        subprocess.run(
            [sys.executable, "-c", code, "sweep", f"output={output}"], check=True, cwd=tmp_path
        )
    lines = Path("table.md").read_text().splitlines()
    assert lines[0].startswith("| model | runs | w1 | best w1 |")
    assert [line.split(" | ")[:2] for line in lines[2:]] == [["| gan", "2"], ["| wgan_gp", "2"]]
    again = next(run for run in find_runs([tmp_path / "sweep"])[0] if run.seed == "2").command
    assert again.startswith("gan-train ") and " seed=2" in again and " model=gan" in again
    assert again in html.unescape(Path("page.html").read_text())
