"""What people see: TensorBoard in a headless Chromium; skipped without one."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from test_resume import until

TEXT = """
    const found = [];
    const walk = node => {
        if (node.shadowRoot) walk(node.shadowRoot);
        for (const child of node.childNodes)
            if (child.nodeType == 3 && child.textContent.trim())
                found.push(child.textContent.trim());
            else walk(child);
    };
    walk(document.body);
    return found;
"""
"""Every piece of text on the page, inside shadow trees too."""
PICTURES = """
    const found = [];
    const walk = node => {
        if (node.nodeName == 'IMG' && node.complete)
            found.push([node.naturalWidth, node.naturalHeight]);
        if (node.shadowRoot) walk(node.shadowRoot);
        node.childNodes.forEach(walk);
    };
    walk(document.body);
    return found;
"""


@pytest.fixture
def page(browser: Any, command: Command, tmp_path: Path) -> Iterator[str]:
    """The address of a TensorBoard over two short runs."""
    typed = (
        "data=points",
        "network.width=8",
        "batch_size=8",
        "steps=6",
        "log_every=2",
        "sample_every=3",
        "evaluate_every=3",
        "++model.ema=0.9",
        "schedule=linear",
    )
    for name, model in (("first", "wgan_gp"), ("second", "gan")):
        assert command("gan-train", f"model={model}", *typed, f"hydra.run.dir=runs/{name}")[0] == 0
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tensorboard.main",
            "--logdir",
            str(tmp_path / "runs"),
            "--port",
            str(port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://localhost:{port}"
    until(lambda: len(runs_served(address)) == 2)
    yield address
    server.kill()
    server.wait()


def runs_served(address: str) -> list[str]:
    """The runs that the server has read so far."""
    try:
        with urllib.request.urlopen(f"{address}/data/runs") as answer:
            return json.load(answer)
    except OSError:
        return []


def seen(browser: Any, address: str, script: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
    """What the script finds on a page, once it is enough."""
    browser.get(address)
    limit = time.monotonic() + 60
    found: list[Any] = []
    while not enough(found):
        assert time.monotonic() < limit, found
        time.sleep(0.5)
        found = browser.execute_script(script)
    return found


def test_scalars_are_grouped_pictures_are_there_and_the_table_is_filled(
    browser: Any, page: str, tmp_path: Path
) -> None:
    groups = {
        "critic",
        "discriminator",
        "ema",
        "generator",
        "metrics",
        "performance",
        "wasserstein",
    }
    words = seen(browser, f"{page}/#timeseries", TEXT, lambda found: groups <= set(found))
    assert {
        "first/tensorboard",
        "second/tensorboard",
        "/learning_rate",
        "/gradient_norm_mean",
    } <= set(words)

    pictures = seen(browser, f"{page}/#images", PICTURES, lambda found: [500, 500] in found)
    assert pictures.count([500, 500]) >= 1

    scores = json.loads((tmp_path / "runs" / "first" / "run.json").read_text())["scores"]
    cell = f"{scores['w1']:#.5g}"
    words = seen(browser, f"{page}/#hparams", TEXT, lambda found: cell in found)
    assert {"model", "loss", "optimizer.lr", "metrics/w1", "points", "eight_gaussians"} <= set(
        words
    )

    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [
        entry
        for entry in severe
        if page not in entry["message"] or "favicon" not in entry["message"]
    ], severe
