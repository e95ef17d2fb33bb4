"""`gan-explore`: what it shows is what `gan-sample` writes; the page itself in a headless
Chromium."""

import base64
import io
import os
import re
import shlex
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import Image
from test_resume import until

import gan_cli
from gan_cli.commands.explore import STOPS, ExploreConfig, View, picture, run
from gan_cli.errors import UserError
from gan_cli.sampling import walks
from gan_cli.sampling.generator import Weights

pytest.importorskip("nicegui")


@pytest.fixture
def conditional(trained: Callable[..., Command]) -> Command:
    """The command, in a folder with a conditional run on digits."""
    return trained("model=cgan")


def decoded(address: str) -> np.ndarray:
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))
    )


def tile(path: str, place: int) -> np.ndarray:
    """One 8x8 digit of a grid of one row, of which each pixel is shown five times."""
    left = 2 + place * 42
    return np.asarray(Image.open(path))[4:42:5, left + 2 : left + 40 : 5]


VIEWS = {
    "plain": View(seed=7, label=3),
    "moved": View(seed=1, label=0, shifts=[2.0, 0, -1.5], truncation=0.5),
    "random": View(seed=2, label=1, shifts=[0, 1.2], directions="random"),
    "on the way": View(seed=9, label=5, shifts=[0.4], saved={"A": 3, "B": 4}, stop=8),
    "begun": View(seed=9, label=5, saved={"A": 3}, stop=8),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_the_command_makes_the_same_picture(conditional: Command, view: View) -> None:
    shown = decoded(picture(gan_cli.load("run"), view))
    name, *arguments = shlex.split(view.command("run"))
    assert conditional(name, *arguments)[0] == 0
    assert np.array_equal(tile("sample.png", view.stop if view.walks else 0), shown)


def test_the_command_takes_the_same_weights(conditional: Command) -> None:
    config = ExploreConfig(checkpoint="run", weights=Weights.raw, plugins=["mine.py"])
    assert config.typed() == ["weights=raw", "plugins=[mine.py]"]
    view = View(seed=7, label=3)
    words = shlex.split(view.command("run", ["weights=raw"]))
    assert conditional(*words)[0] == 0
    shown = decoded(picture(gan_cli.load("run", weights="raw"), view))
    assert np.array_equal(tile("sample.png", 0), shown)


def test_directions_are_always_the_same_unit_vectors(conditional: Command) -> None:
    generator = gan_cli.load("run")
    for kind in ("principal", "random"):
        # without its cache
        found, again = (walks.directions.__wrapped__(generator, kind) for _ in range(2))
        assert torch.equal(found, again) and found.shape[0] == walks.MAX_DIRECTIONS
        torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)))
    gram = found @ found.T
    torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="there are 16 directions only"):
        walks.shifted(generator, generator.drawn([0]), "random", [1.0] * 17)


def test_the_first_principal_direction_moves_the_features_most() -> None:
    """Of a linear generator: that of the largest singular value."""

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 6, bias=False)
            left, right = (torch.linalg.qr(torch.randn(n, n))[0] for n in (6, 4))
            values = torch.tensor([9.0, 3.0, 1.0, 0.5])
            self.layer.weight.data = left[:, :4] @ torch.diag(values) @ right.T
            self.right = right

    torch.manual_seed(0)
    G = Linear()
    members = {"get_submodule": lambda self, name: G, "render": lambda self, z: G.layer(z)}
    game = type("Game", (), members)()

    class Generator:
        def __init__(self) -> None:
            self.game = game

        def drawn(self, seeds: range) -> torch.Tensor:
            return torch.randn(len(seeds), 4, generator=torch.Generator().manual_seed(1))

    found = walks.directions(Generator(), "principal", 2)  # type: ignore[arg-type]
    assert (found @ G.right[:, :2]).abs().diagonal().min() > 0.97


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture
def page(conditional: Command, tmp_path: Path) -> Iterator[str]:
    """The address of gan-explore over the run."""
    with served("run", tmp_path) as address:
        yield address


@contextmanager
def served(checkpoint: str, folder: Path) -> Iterator[str]:
    """The address of gan-explore over a checkpoint, started in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from gan_cli.main import explore; explore()"
    server = subprocess.Popen(
        [sys.executable, "-c", code, f"checkpoint={checkpoint}", f"port={port}", "show=false"],
        cwd=folder,
        # NiceGUI looks
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        stdout=(folder / "server.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        log = folder / "server.log"
        until(lambda: "?token=" in log.read_text())
        address = re.findall(r"http://127.0.0.1:\S+", log.read_text())[0]
        until(lambda: status(address) == 200)
        yield address
    finally:
        server.kill()
        server.wait()


def status(address: str, **headers: str) -> int:
    """What a page answers; 0 if nothing answers."""
    try:
        return int(
            urllib.request.urlopen(
                urllib.request.Request(address, headers=headers), timeout=10
            ).status
        )
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def opened(address: str, **headers: str) -> int:
    """What a WebSocket of the page answers: 101 if it is opened."""
    place = urllib.parse.urlsplit(address)
    lines = {
        "Host": place.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        **headers,
    }
    path = f"/_nicegui_ws/socket.io/?EIO=4&transport=websocket&{place.query}"
    with socket.create_connection((place.hostname, place.port), 10) as client:
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        client.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        return int(client.recv(64).split()[1])


def test_nobody_comes_in_without_the_address_that_was_printed(page: str) -> None:
    bare, _, token = page.partition("/?token=")
    port = bare.rpartition(":")[2]
    cookie = {"Cookie": f"gan_explore_{port}={token}"}
    assert (
        status(page)
        == status(bare, **cookie)
        == status(page.replace("127.0.0.1", "localhost"))
        == 200
    )
    assert status(bare) == status(f"{page}x") == status(f"{bare}/_nicegui/{port}/x.js") == 403
    # DNS rebinding
    assert status(page, Host=f"evil.example:{port}") == status(page, Host="evil.example") == 403
    for origin in (
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        f"https://127.0.0.1:{port}",
    ):
        assert status(page, Origin=origin) == opened(page, Origin=origin) == 403
    assert opened(page, Origin=bare) == opened(page) == 101
    assert opened(bare) == opened(page, Host=f"evil.example:{port}") == 403


ODD_EVENTS = (
    None,
    "x",
    "",
    [],
    {},
    True,
    -1,
    10**30,
    1e300,
    float("nan"),
    float("inf"),
    -float("inf"),
)


def test_whatever_a_hand_made_event_brings_is_shown_as_something(conditional: Command) -> None:
    generator = gan_cli.load("run")
    for odd in ODD_EVENTS:
        settled = View(odd, odd, odd, odd, [odd, 1.0], {"A": odd, "B": odd}, odd).settled(
            classes=10
        )
        assert settled.settled(10) == settled and settled.shifts[1] == 1
        assert decoded(picture(generator, settled)).shape[:2] == (8, 8), odd
        assert shlex.split(settled.command("run"))[0] == "gan-sample"


def test_what_can_be_shown_is_left_as_it_is() -> None:
    for view in VIEWS.values():
        assert view.settled(10) == view


def test_a_slider_moves_the_picture_and_the_command(
    browser: Any, page: str, tmp_path: Path
) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.get(page)

    def source() -> str:
        return str(
            browser.execute_script(
                "const i = document.querySelector('.sample img'); return i ? i.src : ''"
            )
        )

    def shown_command() -> str:
        return str(browser.execute_script("return document.querySelector('.command').textContent"))

    until(lambda: source().startswith("data:image/png") and "seeds=0" in shown_command())
    before = source()
    thumb = browser.find_element(By.CSS_SELECTOR, ".shift0 [tabindex='0']")
    thumb.send_keys(Keys.ARROW_RIGHT * 20)
    until(lambda: source() != before and re.search(r"shifts=\[2,0,", shown_command()) is not None)
    for button in browser.find_elements(By.CSS_SELECTOR, "button"):
        if button.text == "save as A":
            button.click()
    seed = browser.find_element(By.CSS_SELECTOR, ".seed input")
    seed.send_keys(Keys.BACKSPACE + "5" + Keys.ENTER)
    until(lambda: "seeds=5" in shown_command())
    next(
        b for b in browser.find_elements(By.CSS_SELECTOR, "button") if b.text == "save as B"
    ).click()
    browser.find_element(By.CSS_SELECTOR, ".walk [tabindex='0']").send_keys(Keys.ARROW_RIGHT * 3)
    until(lambda: f"mode=interpolate 'seeds=[0,5]' steps={STOPS}" in shown_command())
    view = View(seed=5, label=0, shifts=[2.0, *[0.0] * 7], saved={"A": 0, "B": 5}, stop=3)
    until(lambda: source() == picture(gan_cli.load(tmp_path / "run"), view))
    assert view.command("run/checkpoints/last.pt") == shown_command()
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["checkpoint=nowhere"], "checkpoint=nowhere: no such file"),
        (["checkpoint=run", "port=99999"], "port=99999: cannot be used"),
        (["checkpoint=run", "port=0"], "port=0: must be at least 1"),
        (["port=8081"], "checkpoint: missing"),
    ],
)
def test_a_mistake_is_one_sentence(conditional: Command, arguments: list[str], said: str) -> None:
    code, printed = conditional("gan-explore", *arguments)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1


def test_a_port_in_use_and_other_kinds_of_data_are_told(
    trained: Callable[..., Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = trained("data=points")
    code, printed = command("gan-explore", "checkpoint=run")
    assert code == 2 and "makes points; gan-explore shows images" in printed
    monkeypatch.setattr("gan_cli.commands.explore.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the extra `explore`"):
        run(ExploreConfig(checkpoint="run"))
