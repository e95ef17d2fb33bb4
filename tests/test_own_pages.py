"""The plug-ins of docs/your_own_gan.md in their whole use: trained, continued bit for bit, sampled,
scored or refused, compared, exported."""

import re
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Command
from pages import blocks

PAGE = ROOT / "docs" / "your_own_gan.md"
NAMED = re.compile(r"# (my_gan/\S+)\n")
SHORT = ("network.width=8", "batch_size=8", "checkpoint_every=1", "sample_every=2")
USES = {
    "careful": ("model=careful", "data=points", "evaluate_samples=50"),
    "dual": ("model=dual", "data=points", "evaluate_samples=50"),
    "blind": ("model=blind", "data.of=digits"),
    "clips": ("model=wgan_gp", "data=moving_squares"),
}
SCORED = {"careful": "w1", "dual": "w1", "blind": "l1"}


@pytest.fixture
def folder(command: Command, plugins_forgotten: None, tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    for block in blocks(PAGE):
        if found := NAMED.match(block.text):
            path = tmp_path / found[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    return tmp_path


@pytest.mark.parametrize("plugin", USES)
def test_a_plugin_of_the_page_in_its_whole_use(plugin: str, command: Command, folder: Path) -> None:
    plugins = f"plugins=[my_gan/{plugin}.py]"
    typed = (plugins, "--config-dir", "my_gan", *USES[plugin], *SHORT)
    for steps, run in ((4, "whole"), (2, "parts"), (4, "parts")):
        code, printed = command("gan-train", *typed, f"steps={steps}", f"hydra.run.dir={run}")
        assert code == 0, printed
    assert "going on at step 2" in printed
    whole, parts = (
        torch.load(folder / run / "checkpoints" / "last.pt", weights_only=True)["game"]
        for run in ("whole", "parts")
    )
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert list((folder / "whole" / "samples").glob("*.png"))

    trusted = ("checkpoint=whole", plugins)
    code, printed = command("gan-sample", *trusted, "n=4", "output=four.png")
    assert code == 0 and (folder / "four.png").stat().st_size > 200, printed
    code, printed = command("gan-evaluate", *trusted, "n=20")
    if score := SCORED.get(plugin):
        assert code == 0 and f'"{score}"' in printed
    else:
        assert code == 2 and "no metric" in printed and "Traceback" not in printed
    code, printed = command("gan-compare", "whole", "parts")
    assert code == 0 and printed.splitlines()[1].split()[0] == "2", printed
    code, printed = command("gan-export", *trusted, "output=exported.pt2")
    assert code == 0, printed
