"""The plug-ins of docs/your_own_gan.md in their whole use: trained, continued bit for bit, sampled,
scored or refused, compared, exported."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Command, mostly_slow
from pages import write_plugins
from test_torture import outcome
from test_zoo import assert_same_state
from torture import Forge

SHORT = ("batch_size=8", "checkpoint_every=1", "sample_every=2")
USES = {
    "careful": ("model=careful", "data=points", "evaluate_samples=50"),
    "dual": ("model=dual", "data=points", "evaluate_samples=50"),
    "blind": ("model=blind", "data.of=digits"),
    "clips": ("model=wgan_gp", "data=moving_squares"),
    "moments": (
        "model=moments",
        "data=points",
        "evaluate_samples=50",
        "model.phases=[{name: a, rounds: 1, turns: {match: 1}}, {name: b, turns: {generator: 2}}]",
    ),
    "walk": ("model=imitation", "evaluate_every=2"),
}
SCORED = {"careful": "w1", "dual": "w1", "blind": "l1", "moments": "w1", "walk": "occupancy"}
RENDERS_NOTHING = ("walk",)
WIDTH = {"walk": ()}


@pytest.fixture
def folder(command: Command, plugins_forgotten: None, tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    write_plugins(tmp_path)
    return tmp_path


def arguments(plugin: str) -> tuple[str, ...]:
    """What trains a plug-in of the page, but for the number of rounds."""
    width = WIDTH.get(plugin, ("network.width=8",))
    named = (f"plugins=[my_gan/{plugin}.py]", "--config-dir", "my_gan")
    return (*named, *USES[plugin], *width, *SHORT)


@pytest.mark.parametrize("plugin", mostly_slow(USES, "careful", "blind"))
def test_a_plugin_of_the_page_in_its_whole_use(plugin: str, command: Command, folder: Path) -> None:
    plugins, typed = f"plugins=[my_gan/{plugin}.py]", arguments(plugin)
    for steps, run in ((4, "whole"), (2, "parts"), (4, "parts")):
        code, printed = command("gan-train", *typed, f"steps={steps}", f"hydra.run.dir={run}")
        assert code == 0, printed
    assert "going on at step 2" in printed
    whole, parts = (
        torch.load(folder / run / "checkpoints" / "last.pt", weights_only=True)["game"]
        for run in ("whole", "parts")
    )
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())

    trusted = ("checkpoint=whole", plugins)
    renders = plugin not in RENDERS_NOTHING
    assert renders == bool(list((folder / "whole" / "samples").glob("*.png")))
    code, printed = command("gan-sample", *trusted, "n=4", "output=four.png")
    if renders:
        assert code == 0 and (folder / "four.png").stat().st_size > 200, printed
    else:
        assert code == 2 and "makes no samples" in printed and "Traceback" not in printed
    code, printed = command("gan-evaluate", *trusted, "n=20")
    if score := SCORED.get(plugin):
        assert code == 0 and f'"{score}"' in printed
    else:
        assert code == 2 and "no metric" in printed and "Traceback" not in printed
    code, printed = command("gan-compare", "whole", "parts")
    assert code == 0 and printed.splitlines()[1].split()[0] == "2", printed
    code, printed = command("gan-export", *trusted, "output=exported.pt2")
    assert code == (0 if renders else 2) and "Traceback" not in printed, printed


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    made = Forge()
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("plugin", USES)
def test_a_plugin_of_the_page_is_killed_and_goes_on(
    plugin: str, forge: Forge, tmp_path: Path
) -> None:
    """Killed by SIGKILL at random instants; the end is that of the run that was never killed."""
    typed = [*arguments(plugin), "steps=6", "hydra.run.dir=run"]
    for name in ("whole", "killed"):
        write_plugins(tmp_path / name)
    code, counts = forge.run(tmp_path / "whole", typed)
    assert code == 0, (tmp_path / "whole" / "printed.txt").read_text()
    assert forge.torment(tmp_path / "killed", typed, counts, seed=0, kills=3) >= 1

    whole, killed = outcome(tmp_path / "whole"), outcome(tmp_path / "killed")
    assert whole["rows"] == killed["rows"] and whole["samples"] == killed["samples"]
    assert_same_state(whole["state"], killed["state"])
