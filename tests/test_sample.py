"""`gan-sample` and `gan_cli.load`: the same samples whatever is asked for beside them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import Image

import gan_cli
from gan_cli.errors import UserError

FILE = "checkpoint=run/checkpoints/last.pt"


@pytest.fixture
def digits(trained: Callable[..., Command]) -> Command:
    """The command, in a folder with a run on digits that keeps an average."""
    return trained()


def samples(path: str) -> np.ndarray:
    with np.load(path) as content:
        assert content.files == ["samples"]
        return content["samples"]


def test_image_i_of_seed_s_is_image_0_of_seed_s_plus_i(digits: Command) -> None:
    assert digits("gan-sample", FILE, "n=40", "seed=7", "mode=npz", "output=many.npz")[0] == 0
    many = samples("many.npz")
    assert many.shape == (40, 1, 8, 8) and many.dtype == np.float32 and np.abs(many).max() <= 1
    for i in (0, 5, 17, 39):
        digits("gan-sample", FILE, "n=1", f"seed={7 + i}", "mode=npz", "output=one.npz")
        assert np.array_equal(samples("one.npz")[0], many[i])
    generator = gan_cli.load("run/checkpoints/last.pt")
    assert np.array_equal(generator.sample(23, seed=10).numpy(), many[3:26])
    assert generator.step == 3


def test_the_average_and_the_raw_weights_differ(digits: Command) -> None:
    raw, ema, auto = (
        gan_cli.load("run/checkpoints/last.pt", w).sample(2) for w in ("raw", "ema", "auto")
    )
    assert not torch.equal(raw, ema)
    assert torch.equal(auto, ema)


def test_a_grid_and_a_folder_of_images(digits: Command) -> None:
    code, printed = digits("gan-sample", FILE, "n=10", "output=deep/grid.png")
    assert code == 0 and "deep/grid.png" in printed
    assert Image.open("deep/grid.png").size[0] > 100
    assert digits("gan-sample", FILE, "n=3", "mode=images", "output=pictures")[0] == 0
    assert sorted(path.name for path in Path("pictures").iterdir()) == [
        f"seed_0000000{i}.png" for i in range(3)
    ]
    assert Image.open("pictures/seed_00000000.png").size == (8, 8)


def test_a_run_folder_is_its_last_checkpoint(digits: Command) -> None:
    assert digits("gan-sample", "checkpoint=run", "n=2")[0] == 0
    code, printed = digits("gan-sample", "checkpoint=run", "output=run.png")
    Path("folder.png").mkdir()
    code, printed = digits("gan-sample", "checkpoint=run", "output=folder.png")
    assert code == 2 and "output=folder.png: a folder of that name is there" in printed
    with pytest.raises(UserError, match="n=0"):
        gan_cli.load("run").sample(0)
    with pytest.raises(UserError, match="weights=emma"):
        gan_cli.load("run", "emma")


def test_points_are_scattered(trained: Callable[..., Command]) -> None:
    command = trained("data=points")
    assert command("gan-sample", FILE, "n=100")[0] == 0
    assert Image.open("samples.png").size == (500, 500)
    assert command("gan-sample", FILE, "n=100", "mode=images", "output=folder")[0] == 0
    command("gan-sample", FILE, "n=5", "mode=npz")
    assert samples("samples.npz").shape == (5, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["n=0"], "n=0: must be at least 1"),
        (["n=abc"], "could not be converted to Integer"),
        (["seed=-1"], "seed=-1: must be at least 0"),
        (["sed=1"], "(did you mean seed?)"),
        (["mode=gird"], "expected one of [grid, images, text, traverse, interpolate, truncate,"),
        (["weights=emma"], "expected one of"),
        (["mode=npz", "output=a.png"], "mode=npz writes a .npz file"),
        (["output"], "expected key=value"),
    ],
)
def test_a_mistake_is_one_sentence(digits: Command, arguments: list[str], said: str) -> None:
    code, printed = digits("gan-sample", FILE, *arguments)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1


def test_no_average_is_said(trained: Callable[..., Command]) -> None:
    command = trained("model.ema=null", "evaluate_every=0")
    code, printed = command("gan-sample", FILE, "weights=ema")
    assert code == 2 and "take weights=raw" in printed


def test_a_folder_that_cannot_be_written(digits: Command) -> None:
    Path("file").write_text("")
    code, printed = digits("gan-sample", FILE, "output=file/grid.png")
    assert (
        code == 2
        and "file" in printed
        and ".part" not in printed
        and len(printed.splitlines()) == 1
    )


def test_help_and_a_missing_checkpoint(command: Command) -> None:
    assert "FILE|RUN|latest" in command("gan-sample", "--help")[1]
    code, printed = command("gan-sample", "n=3")
    assert code == 2 and "checkpoint: missing" in printed
