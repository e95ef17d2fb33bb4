"""`gan-evaluate truncation=[...]`: scores over truncations, as a table and a picture."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, save_run
from PIL import Image

BOUNDS = [0.25, 0.5, 1, 1.5, 2]
SCORED = ("metrics=[prdc]", "n=60")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`made("biggan")`: the folder of a run of one round."""
    folder = tmp_path_factory.mktemp("curves")
    options = {
        "biggan": ("model=biggan", "data=digits", "network.width=4", "model.latent=8"),
        "pix2pix": ("model=pix2pix", "data.of=digits", "network.width=4", "batch_size=6"),
    }
    return lambda name: (
        folder / name if (folder / name).exists() else save_run(folder / name, *options[name])
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that is hardly trained: whatever it says is the same in every command."""
    monkeypatch.setattr("gan_cli.metrics.classifier.STEPS", 20)


@pytest.mark.usefixtures("quick")
def test_several_truncations_are_a_table_and_a_picture(
    made: Callable[[str], Path], command: Command
) -> None:
    """Each column is what its truncation alone gives."""
    typed = ("gan-evaluate", str(made("biggan")), *SCORED)
    code, printed = command(*typed, "truncation=[1,0.25,2]", "output=curve.svg")
    assert code == 0, printed
    curve = json.loads(printed)
    assert curve["truncation"] == [0.25, 1, 2]
    assert curve["picture"] == "curve.svg" and "<svg" in Path("curve.svg").read_text()

    with Path("curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["truncation"]) for row in rows] == curve["truncation"]
    for name, values in curve["scores"].items():
        assert [float(row[name]) for row in rows] == pytest.approx(values)

    alone = json.loads(command(*typed, "truncation=0.25")[1])
    assert alone["truncation"] == 0.25 and "spearman" not in alone
    assert alone["scores"] == {name: values[0] for name, values in curve["scores"].items()}
    whole = json.loads(command(*typed)[1])
    assert whole["scores"] != alone["scores"] and "truncation" not in whole

    fresh = json.loads(command(*typed, "truncation=[2]", "statistics=batch")[1])
    assert fresh["scores"]["density"] != curve["scores"]["density"][2:]
    assert fresh["spearman"] == {}  # of one truncation there is none
    assert Image.open("truncation.png").size[0] > 100


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("biggan", ["truncation=[]"], "truncation=[]: expected a number from 0 up, or several"),
        ("biggan", ["truncation=[0.5,a]"], "truncation=[0.5,a]: expected a number from 0 up"),
        ("biggan", ["truncation=-1"], "truncation=-1: expected a number from 0 up, or several"),
        ("biggan", ["truncation=[1,1.0]"], "truncation=[1,1.0]: has one number twice; leave it"),
        ("biggan", ["output=a.png"], "output=a.png: is of several truncations; add truncation=["),
        ("biggan", ["truncation=[1,2]", "output=a.gif"], "output=a.gif: gan-evaluate writes a"),
        ("biggan", ["truncation=1", "metrics=[path_length]"], "truncation=1: path_length walks"),
        ("pix2pix", ["truncation=1", "metrics=[pairs]"], "truncation=1: the checkpoint's model d"),
    ],
)
def test_what_is_no_curve_is_one_sentence(
    name: str, typed: list[str], said: str, made: Callable[[str], Path], command: Command
) -> None:
    code, printed = command("gan-evaluate", str(made(name)), "n=20", *typed)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed


def test_folders_are_not_truncated(command: Command) -> None:
    for typed, said in (
        ("truncation=0.5", "truncation=0.5: not beside samples= and real=; leave it out"),
        ("statistics=batch", "statistics=batch: folders have no batch norm; leave it out."),
    ):
        code, printed = command("gan-evaluate", "samples=a", "real=b", typed)
        assert code == 2 and said in printed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_less_of_z_is_more_precise_and_less_diverse(command: Command) -> None:
    """The paper's trade on digits, with the statistics of each truncation."""
    typed = ("model=biggan", "seed=1", "steps=600", "evaluate_every=0", "sample_every=0")
    assert command("gan-train", *typed, "hydra.run.dir=run")[0] == 0
    code, printed = command(
        "gan-evaluate", "run", "metrics=[classifier,prdc]", "statistics=batch",
        f"truncation={BOUNDS}".replace(" ", ""),
    )  # fmt: skip
    assert code == 0, printed
    ranks = json.loads(printed)["spearman"]
    assert ranks["precision"] <= -0.9
    assert ranks["recall"] >= 0.9 and ranks["intra_class_diversity"] >= 0.9
