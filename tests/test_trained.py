"""Runs of minutes that must reach what the README says, and the package as it is installed. All
slow."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, Command

pytestmark = pytest.mark.slow


def scores(folder: Path) -> dict[str, float]:
    return json.loads((folder / "run.json").read_text())["scores"]


def test_the_demo_learns_digits(command: Command, tmp_path: Path) -> None:
    code, printed = command("gan-train", "experiment=demo", "hydra.run.dir=run")
    assert code == 0, printed
    reached = scores(tmp_path / "run")
    assert reached["classifier_score"] >= 8.5
    assert reached["classes_covered"] == 10


@pytest.mark.parametrize(
    ("distribution", "regularizer", "limit", "modes"),
    [
        ("eight_gaussians", "gradient_penalty", 0.12, 8),
        ("twenty_five_gaussians", "gradient_penalty_toy", 0.16, 25),
        ("swiss_roll", "gradient_penalty_toy", 0.12, None),
    ],
)
def test_wgan_gp_learns_a_toy(
    command: Command,
    tmp_path: Path,
    distribution: str,
    regularizer: str,
    limit: float,
    modes: int | None,
) -> None:
    code, printed = command(
        "gan-train",
        "experiment=toy",
        f"data.distribution={distribution}",
        f"regularizer={regularizer}",
        "hydra.run.dir=run",
    )
    assert code == 0, printed
    reached = scores(tmp_path / "run")
    assert reached["w1"] <= limit + 0.03  # the README's limits are for the median of three seeds
    assert reached.get("modes") == modes


def test_the_wheel_carries_the_configuration(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert f"gan_cli/configs/{path.relative_to(ROOT / 'configs')}" in names
