"""`gan-evaluate`: the figures of a checkpoint are those that its run logged."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import MODELS, TINY, Command, fitting, mostly_slow, write_mnist
from torch import nn

from gan_cli.runs import health_hook, picture_hooks, scores
from gan_cli.training import rendering


@pytest.mark.parametrize("data", mostly_slow(["digits", "points"], "points"))
def test_a_checkpoint_scores_what_its_run_logged(
    trained: Callable[..., Command], data: str
) -> None:
    command = trained(f"data={data}") if data != "digits" else trained()
    logged = json.loads(Path("run/run.json").read_text())["scores"]
    for named in ("run", "run/checkpoints/last.pt"):
        code, printed = command("gan-evaluate", f"checkpoint={named}")
        assert code == 0, printed
        result = json.loads(printed)
        assert result["step"] == 3 and logged.items() <= result["scores"].items()
    result = json.loads(command("gan-evaluate", "checkpoint=run", "n=100")[1])
    assert not logged.items() <= result["scores"].items()


SCORED = [model for model in MODELS if model != "fixed_generator"]


@pytest.mark.parametrize("model", mostly_slow(SCORED, "vae_gan", "sgan", "cogan"))
def test_the_card_of_every_model_is_what_gan_evaluate_says(
    command: Command, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of the game behaves otherwise in training, and whatever it draws: the same file has
    the same scores."""
    monkeypatch.setattr("gan_cli.metrics.classifier.STEPS", 20)
    typed = (*fitting(model, "data=digits"), *TINY, "steps=2", "evaluate_every=2", "sample_every=0")
    assert command("gan-train", *typed, "hydra.run.dir=run", "evaluate_samples=200")[0] == 0
    logged = json.loads(Path("run/run.json").read_text())["scores"]
    code, printed = command("gan-evaluate", "checkpoint=run", "n=200", "weights=auto")
    assert code == 0, printed
    found = json.loads(printed)["scores"]
    assert {name: found[name] for name in logged} == pytest.approx(logged, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("model", ["vae_gan", "dcgan_conditional"])
def test_nothing_is_scored_or_drawn_in_training_mode(
    command: Command, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the turns, no module of the game that computes something is in training mode, in any
    command."""
    monkeypatch.setattr("gan_cli.metrics.classifier.STEPS", 20)
    typed = (
        f"model={model}",
        *TINY,
        "steps=2",
        "evaluate_every=1",
        "log_every=0",
        "hydra.run.dir=run",
    )
    trained: list[str] = []
    looking = []

    def note(module: nn.Module, _: object) -> None:
        if looking and module.training:
            trained.append(type(module).__name__)

    def watched(module: object, name: str) -> None:
        before = getattr(module, name)

        def call(*arguments: object) -> object:
            looking.append(name)
            try:
                return before(*arguments)
            finally:
                looking.pop()

        monkeypatch.setattr(module, name, call)

    for module, name in (
        (rendering, "render"),
        (picture_hooks, "render"),
        (health_hook, "render"),
        (scores, "own_scores"),
    ):
        watched(module, name)
    handle = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        assert command("gan-train", *typed)[0] == 0
        looking.append("everything")  # outside gan-train nothing learns
        assert command("gan-evaluate", "checkpoint=run", "n=20", "metrics=[prdc]")[0] == 0
        for mode in ("grid", *(["reconstruct"] if model == "vae_gan" else [])):
            assert (
                command("gan-sample", "checkpoint=run", f"mode={mode}", "n=4", "output=x.png")[0]
                == 0
            )
    finally:
        handle.remove()
    assert trained == []


def test_rest_ends_in_the_mode_in_which_it_began() -> None:
    game = nn.ModuleDict({"resting": nn.Dropout().eval(), "playing": nn.Sequential(nn.Dropout())})
    with rendering.at_rest(game):  # type: ignore[arg-type]
        assert not any(module.training for module in game.modules())
    assert [module.training for module in game.modules()] == [True, False, True, True]


def test_another_data_set(
    command: Command,
    trained: Callable[..., Command],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gan_cli.metrics.classifier.STEPS", 20)
    trained("data.image_size=32", "evaluate_every=0")
    write_mnist(tmp_path / "root", packed=True)
    code, printed = command(
        "gan-evaluate", "checkpoint=run", "data=mnist", f"data.root={tmp_path / 'root'}", "n=10"
    )
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
def test_a_mistake_is_one_sentence(
    trained: Callable[..., Command], arguments: list[str], said: str
) -> None:
    command = trained()
    code, printed = command("gan-evaluate", "checkpoint=run", *arguments)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1


def test_missing_files_and_help(command: Command) -> None:
    assert command("gan-evaluate", "checkpoint=nowhere")[1] == (
        "gan-evaluate: checkpoint=nowhere: no such file.\n"
    )
    assert "FILE|RUN|latest" in command("gan-evaluate", "--help")[1]
