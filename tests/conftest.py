"""What the tests share: a configuration from overrides, a tiny trainer, the commands as a user types them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: tiny networks lose by threads, most of all on a busy machine

import torch

from gan_cli import build, main, registry
from gan_cli import train as train_command
from gan_cli.processes import World
from gan_cli.trainer import Trainer

ROOT = Path(__file__).parent.parent
REAL_DATA = os.environ.pop("GAN_DATA_ROOT", None)
"""Where real data sets lie, if the environment says so; the tests themselves do without."""
MODELS = sorted(path.stem for path in (ROOT / "configs" / "model").glob("*.yaml"))
TINY = ("batch_size=6", "network.width=8")
OFFLINE_DATA = ("digits", "points")
"""Data that comes with the packages, and trains anything but text."""
TEXT = ("wgan_gp_text",)
"""Models of characters; the laws of the others are tried on images and points."""
LABELLED = (
    "aae_labelled", "aae_semi_supervised", "acgan", "cgan", "cogan", "dcgan_conditional", "sgan", "wgan_gp_acgan",
    "wgan_gp_conditional",
)  # fmt: skip
"""Models that need classes; points have none."""
UNAVERAGED = ("fixed_generator", "two_critics")
"""Models that average no network."""
PAIRED = ("cogan",)
"""Models that play for two domains."""


def fitting(model: str, *data: str) -> tuple[str, ...]:
    """`model=` with these data overrides; with text for a model of characters, with digits where it needs classes."""
    if model in TEXT:
        return (f"model={model}", "data=text")
    if model in PAIRED:
        return (f"model={model}", *(item for item in data if item.startswith("data.")))
    return (f"model={model}", *(("data=digits",) if model in LABELLED and "data=points" in data else data))


def compose(*overrides: str) -> dict[str, Any]:
    """The checked configuration of `gan-train OVERRIDES`."""
    return train_command.composed(list(overrides))


def make_trainer(*overrides: str, world: World | None = None) -> Trainer:
    """A trainer of tiny networks on the CPU."""
    config = compose(*overrides)
    dataset = registry.datasets.build(config["data"], "data")
    build.prepare(dataset, config)
    return build.build_trainer(config, dataset, torch.device("cpu"), world)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, shared by all of them."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["GAN_CACHE"] = str(folder)
    yield folder


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """`command("gan-train", "steps=3")` in an empty folder: exit code and all that was printed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        code = 0
        try:
            getattr(main, {"gan-list": "zoo"}.get(name, name.removeprefix("gan-")))()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium (Debian: chromium, chromium-driver); tests that need it are skipped without one."""
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1600,1400"):
        options.add_argument(flag)
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield window
    window.quit()


def start(arguments: list[str], folder: Path, start_new_session: bool = False) -> "subprocess.Popen[str]":
    """`gan-train ARGUMENTS` as a process of its own in `folder`."""
    code = "from gan_cli.main import train; train()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=start_new_session,
    )
