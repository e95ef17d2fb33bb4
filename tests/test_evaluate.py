"""`gan-evaluate`: the figures of a checkpoint are those that its run logged."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import write_mnist

Command = Callable[..., tuple[int, str]]
QUICK = ("steps=3", "batch_size=8", "network.width=8", "sample_every=0", "evaluate_every=3", "hydra.run.dir=run")


@pytest.mark.parametrize("data", ["digits", "points"])
def test_a_checkpoint_scores_what_its_run_logged(command: Command, data: str) -> None:
    assert command("gan-train", f"data={data}", *QUICK)[0] == 0
    logged = json.loads(Path("run/run.json").read_text())["scores"]
    for named in ("run", "run/checkpoints/last.pt"):
        code, printed = command("gan-evaluate", f"checkpoint={named}")
        assert code == 0, printed
        result = json.loads(printed)
        assert result["step"] == 3 and logged.items() <= result["scores"].items()
    result = json.loads(command("gan-evaluate", "checkpoint=run", "n=100")[1])
    assert not logged.items() <= result["scores"].items()


def test_another_data_set(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_cli.metrics.classifier.STEPS", 20)
    assert command("gan-train", "data.image_size=32", *QUICK)[0] == 0
    write_mnist(tmp_path / "root", packed=True)
    code, printed = command("gan-evaluate", "checkpoint=run", "data=mnist", f"data.root={tmp_path / 'root'}", "n=10")
    assert code == 0, printed
    assert json.loads(printed[printed.index("{") :])["data"]["name"] == "mnist"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data=points"], "data=points: its samples are (2,), the checkpoint's (1, 8, 8)"),
        (["data=pints"], "(did you mean points?)"),
        (["metrics=[points]"], "its metrics are classifier"),
        (["n=1"], "n=1: must be at least 2"),
        (["data.image_size=9"], "data.image_size=9"),
        (["data.imagesize=8"], "(did you mean image_size?)"),
    ],
)
def test_a_mistake_is_one_sentence(command: Command, arguments: list[str], said: str) -> None:
    command("gan-train", *QUICK)
    code, printed = command("gan-evaluate", "checkpoint=run", *arguments)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1


def test_missing_files_and_help(command: Command) -> None:
    assert command("gan-evaluate", "checkpoint=nowhere")[1] == "gan-evaluate: checkpoint=nowhere: no such file.\n"
    assert "FILE|RUN|latest" in command("gan-evaluate", "--help")[1]
