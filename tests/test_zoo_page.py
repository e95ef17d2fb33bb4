"""`gan-zoo`: every model at an equal budget, a table of what came out, and a gallery."""

from pathlib import Path

import pytest
from conftest import Command
from test_compare import fake

from gan_cli.config.papers import Entry
from gan_cli.errors import UserError
from gan_cli.reports import zoo_page
from gan_cli.runs.finished import read

ENTRY = Entry("wgan", "2017", "Arjovsky et al., arXiv 1701.07875", "a critic", "", "it is stable")


def standing(
    folder: Path, *last: float, model: str = "wgan", **further: float
) -> zoo_page.Standing:
    """A model whose runs ended at these distances."""
    runs = [
        read(fake(folder / f"{model}{i}", f"model={model}", w1=(0.5, value), modes=(2, 8)))
        for i, value in enumerate(last)
    ]
    return zoo_page.Standing(Entry(model, *list(vars(ENTRY).values())[1:]), runs, further)


def test_the_middle_run_stands_for_the_seeds(tmp_path: Path) -> None:
    item = standing(tmp_path, 0.3, 0.1, 0.2)
    assert item.middle is item.runs[2] and item.badness == 0.2
    summary = item.summary("w1")
    assert summary and (summary.middle, summary.low, summary.high) == (0.2, 0.1, 0.3)


def test_the_page_and_the_gallery(tmp_path: Path) -> None:
    members = [
        standing(tmp_path, 0.3, 0.2, 0.4, precision=0.9),
        standing(tmp_path, 0.1, model="wgan_gp"),
    ]
    page = tmp_path / "zoo.md"
    zoo_page.write(page, members, "Two minutes each.", ["vae: does not fit."])
    lines = page.read_text(encoding="utf-8").splitlines()

    assert "Two minutes each." in lines and "- vae: does not fit." in lines
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    assert table[0][:4] == ["model", "year", "w1", "over the floor"]
    best, other = (dict(zip(table[0], row, strict=True)) for row in table[2:])
    assert (best["model"], best["w1"], best["over the floor"]) == ("wgan_gp", "0.1", "1.2x")
    assert best["precision"] == "-" and best["Wasserstein estimate"] == "0.2"
    assert other["w1"] == "0.3 (0.2 to 0.4)" and other["precision"] == "0.9"

    gallery = (tmp_path / "zoo_gallery.md").read_text(encoding="utf-8")
    assert "*Claim:* it is stable." in gallery and "![samples of wgan](zoo/wgan.png)" in gallery
    assert (tmp_path / "zoo" / "wgan.png").is_file()


def test_what_stands_around_the_table_is_kept(tmp_path: Path) -> None:
    page = tmp_path / "zoo.md"
    page.write_text(f"before\n{zoo_page.START}\nold\n{zoo_page.END}\nafter\n", encoding="utf-8")
    zoo_page.write(page, [standing(tmp_path, 0.1)], "new", [])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "old" not in text and "new" in text


def test_a_file_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("mine")
    with pytest.raises(UserError, match=r"README.md: is not a page of gan-zoo"):
        zoo_page.write(page, [standing(tmp_path, 0.1)], "", [])
    assert page.read_text() == "mine"


def test_models_of_an_equal_budget(command: Command) -> None:
    shared = ["zoo.models=[gan,wgan_gp_text]", "zoo.seeds=[1]", "data=points", "steps=2"]
    code, printed = command("gan-zoo", *shared)
    folder = Path("outputs/zoo/data=points+steps=2")  # another line has another one
    assert code == 0 and printed.rstrip().endswith(f"{folder}/zoo.md")
    page = (folder / "zoo.md").read_text(encoding="utf-8")
    assert "| gan | 2014 |" in page and "- wgan_gp_text: network=text_resnet: " in page
    assert (folder / "zoo" / "gan.png").is_file()

    code, printed = command("gan-zoo", *shared)  # a second time: nothing is left to do
    assert code == 0 and "played before" in printed


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("zoo.models=[wgn]", "zoo.models=[wgn]: no such model (did you mean wgan?)"),
        ("zoo.seeds=[1,1]", "zoo.seeds=[1, 1]: expected different numbers"),
        ("zoo.jobs=0", "zoo.jobs=0: must be at least 1"),
        ("zoo.output=zoo.html", "zoo.output=zoo.html: the name must end in .md"),
        ("seed=1,2", "seed=1,2: gan-zoo decides it; take zoo.seeds=[NUMBERS]"),
        ("zoo.models=[wgan_gp_text] data=points", "no model fits; the first: wgan_gp_text: "),
    ],
)
def test_mistakes_are_answered_in_words(command: Command, typed: str, says: str) -> None:
    code, printed = command("gan-zoo", *typed.split())
    assert code == 2 and says in printed
