"""The painter of label maps: what it saves is read back, what it shows is what `gan-sample` makes,
and nothing but label maps gets in; the page itself in a headless Chromium."""

import base64
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import Image
from test_explore import served, status
from test_label_maps import COLOURS, street
from test_resume import until

import gan_cli
from gan_cli.commands.painter import Painter
from gan_cli.data.spec import Field
from gan_cli.errors import UserError
from gan_cli.main import train
from gan_cli.runs.inputs import Inputs
from gan_cli.sampling.painting import canvas_of

NAMES = ("sky", "<house>", "road")
SIDE = 16
RUNS = {
    "colours": (
        COLOURS,
        ("model=spade", "model.latent=3", "data.label_names=[sky,'<house>',road]"),
    ),
    "numbers": (((0, 0, 0), (1, 1, 1), (2, 2, 2)), ("model=pix2pix",)),
}
"""Of maps of colours with noise, and of maps of numbers without."""


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two rounds."""
    folder = tmp_path_factory.mktemp(request.param)
    return trained(folder, request.param)


def trained(folder: Path, kind: str) -> Path:
    colours, typed = RUNS[kind]
    pairs = street(folder / "street", colours)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [
            "gan-train", *typed, f"data.folder={pairs / 'photos'}", f"data.inputs={pairs / 'maps'}",
            "data.labels=3", f"data.image_size={SIDE}", "data.heldout=0.3", "network.width=4",
            "network.discriminator.width=4", "batch_size=4", "steps=2", "evaluate_every=0",
            "sample_every=0", f"hydra.run.dir={folder / 'run'}",
        ])  # fmt: skip
        train()
    return folder / "run"


@pytest.fixture
def site(run: Path) -> Any:
    """The page's answers, without a server."""
    testing = pytest.importorskip("starlette.testclient")
    canvas = canvas_of(gan_cli.load(run))
    assert canvas is not None
    return testing.TestClient(Painter(canvas).site())


def drawn(seed: int = 0) -> np.ndarray:
    """A map of three labels in blocks of pixels."""
    blocks = np.random.default_rng(seed).integers(0, 3, (4, 4), np.uint8)
    return np.kron(blocks, np.ones((SIDE // 4, SIDE // 4), np.uint8))


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def content(address: str) -> bytes:
    return base64.b64decode(address.removeprefix("data:image/png;base64,"))


# --- what it answers ------------------------------------------------------------------------------


def test_the_command_makes_the_same_picture_to_the_last_byte(
    site: Any, command: Command, tmp_path: Path
) -> None:
    labels = drawn().tobytes()
    Path("labels.png").write_bytes(site.post("/map", content=labels).content)
    shown = [site.post(f"/picture?seed={seed}", content=labels).json() for seed in (0, 7)]
    # a seed counts where there is noise
    assert ("seed=7" in shown[1]["command"]) == (shown[0]["picture"] != shown[1]["picture"])
    for answer in shown:
        code, printed = command(*shlex.split(answer["command"]))
        assert code == 0, printed
        assert Path("painted", "labels.png").read_bytes() == content(answer["picture"])


def test_a_saved_map_is_read_back(site: Any) -> None:
    labels = drawn()
    saved = site.post("/map", content=labels.tobytes()).content
    shades = np.asarray(Image.open(io.BytesIO(saved)))
    enlarged = shades.repeat(3, axis=0).repeat(3, axis=1)
    for file in (saved, png(enlarged), png(labels), png(labels.repeat(5, 0).repeat(5, 1))):
        answer = site.post("/upload", content=file)
        assert answer.status_code == 200 and answer.content == labels.tobytes(), answer.text


def test_it_starts_from_the_inputs_of_the_checkpoint(site: Any, run: Path) -> None:
    inputs = gan_cli.load(run).inputs
    maps = inputs.fields["x_a"].argmax(dim=1).to(torch.uint8).numpy()
    for number in (0, 1, len(inputs)):
        answer = site.get(f"/input?number={number}").content
        assert answer == maps[number % len(inputs)].tobytes()


def test_the_page_names_the_labels(site: Any, run: Path) -> None:
    page = site.get("/").text
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page)[0])
    canvas = canvas_of(gan_cli.load(run))
    assert canvas is not None and data["colours"] == canvas.colours
    assert (data["width"], data["height"]) == (SIDE, SIDE) and data["inputs"] > 1
    named = canvas.names == NAMES
    for name in ("sky", "&lt;house&gt;", "road") if named else ("0", "1", "2"):
        assert f"</span>{name}</button>" in page
    assert "<house>" not in page
    # the model of named colours has noise
    assert ('id="seed"' in page) == canvas.seeded == named
    assert "script-src 'self'" in page
    for place in ("/painter.js", "/painter.css"):
        assert site.get(place).status_code == 200


PHOTO = png(np.random.default_rng(0).integers(90, 160, (20, 20, 3), np.uint8))
BLANK = bytes(SIDE * SIDE)


@pytest.mark.parametrize(
    ("place", "body", "said"),
    [
        ("/picture?seed=0", b"", "label map: 0 pixels; expected 16x16"),
        ("/picture?seed=0", BLANK[1:], "label map: 255 pixels"),
        ("/picture?seed=0", BLANK + b"\0", "more than 256 bytes were sent"),
        ("/picture?seed=0", BLANK[1:] + b"\3", "label map: has the label 3; expected 0 to 2"),
        ("/map", BLANK[1:] + b"\xff", "label map: has the label 255; expected 0 to 2"),
        ("/picture", BLANK, "seed=: expected a whole number from 0"),
        ("/picture?seed=-1", BLANK, "seed=-1: expected a whole number from 0"),
        ("/picture?seed=1e3", BLANK, "seed=1e3: expected a whole number from 0"),
        ("/picture?seed=99999999999999999999", BLANK, "seed: expected less than 2^63"),
        (f"/picture?seed={'9' * 5000}", BLANK, "expected a whole number from 0"),
        ("/upload", b"", "uploaded file: cannot be read as an image"),
        ("/upload", b"no picture", "uploaded file: cannot be read as an image"),
        ("/upload", PHOTO[:60], "uploaded file: cannot be read as an image"),
        ("/upload", PHOTO, "% of its pixels have a colour that is none"),
        ("/upload", png(np.full((9, 9), 3, np.uint8)), "uploaded file: has numbers up to 3"),
        ("/upload", b"\0" * (2**24 + 1), "more than 16777216 bytes were sent"),
    ],
    ids=count(),
)
def test_what_is_no_label_map_is_one_sentence(
    site: Any, place: str, body: bytes, said: str
) -> None:
    answer = site.post(place, content=body)
    assert answer.status_code == 400 and said in answer.text, answer.text
    assert len(answer.text.splitlines()) == 1 and len(answer.text) < 300
    assert "/tmp" not in answer.text


def test_numbers_of_inputs_are_checked(site: Any) -> None:
    for typed in ("", "x", "-1", "1.5", "9" * 40):
        assert site.get("/input", params={"number": typed}).status_code == 400
    assert site.get("/picture").status_code == 405
    assert site.get("/../secrets").status_code == 404


def test_without_inputs_it_starts_from_the_first_label(run: Path) -> None:
    generator = gan_cli.load(run)
    generator.inputs = Inputs({})
    canvas = canvas_of(generator)
    assert canvas is not None and not canvas.carried(3).any()


def test_a_palette_that_does_not_fit_is_refused() -> None:
    """Checkpoints may come from strangers."""

    def generator(field: Field) -> Any:
        game = SimpleNamespace(sampling=SimpleNamespace(given=("x_a",)))
        data = SimpleNamespace(fields={"x_a": field})
        spec = Field("image", (3, 4, 4))
        return SimpleNamespace(game=game, data=data, spec=spec, path="run.pt")

    assert canvas_of(generator(Field("labels", (2, 4, 4), palette=COLOURS[:2]))) is not None
    assert canvas_of(generator(Field("image", (3, 4, 4)))) is None
    for field in (
        Field("labels", (2, 4, 4)),
        Field("labels", (2, 4), palette=COLOURS[:2]),
        Field("labels", (300, 4, 4), palette=COLOURS * 100),
    ):
        with pytest.raises(UserError, match=r"checkpoint=run.pt: damaged: its palette has"):
            canvas_of(generator(field))


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture
def page(run: Path, tmp_path: Path) -> Iterator[str]:
    """The address of gan-explore over the run."""
    pytest.importorskip("nicegui")
    shutil.copytree(run, tmp_path / "run")
    with served("run", tmp_path) as address:
        yield address


@pytest.mark.parametrize("run", ["colours"], indirect=True)
@pytest.mark.slow
def test_nobody_paints_without_the_address_that_was_printed(page: str) -> None:
    parts = urlsplit(page)
    bare = f"{parts.scheme}://{parts.netloc}"
    for place in ("/", "/painter.js", "/input?number=0", "/picture?seed=0", "/upload", "/map"):
        assert status(bare + place) == 403
    cookie = {"Cookie": f"gan_explore_{parts.port}={parts.query.removeprefix('token=')}"}
    assert status(f"{bare}/input?number=0", **cookie) == 200
    assert status(f"{bare}/input?number=0", Origin="http://evil.example", **cookie) == 403


@pytest.mark.parametrize("run", ["colours"], indirect=True)
def test_a_stroke_changes_the_picture_and_undo_takes_it_back(
    browser: Any, page: str, tmp_path: Path
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    canvas = canvas_of(gan_cli.load(tmp_path / "run"))
    assert canvas is not None
    # an earlier page may still ask for its server
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(page)

    def shown(script: str) -> Any:
        return browser.execute_script(f"return {script}")

    def labels() -> np.ndarray:
        return np.array(shown("[...map]"), np.uint8).reshape(SIDE, SIDE)

    def picture() -> bytes:
        return content(str(shown("document.getElementById('picture').src")))

    def follows(seed: int = 0) -> bool:
        """Whether the picture is that of the map."""
        return picture() == png(canvas.picture(torch.from_numpy(labels()), seed))

    def press(name: str) -> None:
        next(b for b in browser.find_elements(By.CSS_SELECTOR, "button") if b.text == name).click()

    until(follows)
    first, unpainted = labels(), picture()
    assert np.array_equal(first, canvas.carried(0).numpy())
    board = browser.find_element(By.ID, "map")
    pixel = board.size["width"] / SIDE

    # a vertical stroke of the label 1 through the middle, one pixel wide
    press("<house>")
    stroke = ActionChains(browser).move_to_element_with_offset(board, 1, round(-5 * pixel))
    stroke.click_and_hold().move_by_offset(0, round(10 * pixel)).release().perform()
    until(follows)
    painted = labels()
    assert picture() != unpainted
    assert (painted[4:12, 8] == 1).all()
    assert np.array_equal(np.delete(painted, 8, axis=1), np.delete(first, 8, axis=1))

    # filled: all that hangs together, and nothing else
    browser.execute_script("map.fill(0); for (let i = 0; i < 16; i++) map[16 * i + 5] = 1; draw();")
    press("fill")
    press("road")
    ActionChains(browser).move_to_element_with_offset(board, round(4 * pixel), 0).click().perform()
    until(follows)
    assert (labels()[:, 6:] == 2).all() and (labels()[:, 5] == 1).all()
    assert not labels()[:, :5].any()

    press("undo")
    press("undo")
    until(lambda: np.array_equal(labels(), first) and picture() == unpainted)

    file = tmp_path / "mine.png"
    file.write_bytes(png(drawn(3)))
    browser.find_element(By.ID, "upload").send_keys(str(file))
    until(lambda: np.array_equal(labels(), drawn(3)) and follows())
    file.write_text("no picture")
    browser.find_element(By.ID, "upload").send_keys(str(file))
    notice = browser.find_element(By.ID, "notice")
    until(lambda: "cannot be read as an image" in notice.text)

    browser.find_element(By.ID, "next").click()
    until(lambda: np.array_equal(labels(), canvas.carried(1).numpy()) and follows())
    browser.find_element(By.ID, "seed").send_keys(Keys.END + Keys.BACKSPACE + "5" + Keys.ENTER)
    until(lambda: follows(seed=5) and not notice.is_displayed())
    assert shown("document.getElementById('command').textContent").split()[3] == "seed=5"

    # what a click on a link would save
    browser.execute_script(
        "HTMLAnchorElement.prototype.click ="
        " function() { window.saved = [this.download, this.href]; }"
    )
    press("picture")
    until(lambda: shown("window.saved") == ["picture.png", shown("picture.src")])
    press("label map")
    until(lambda: shown("window.saved[0]") == "labels.png")
    # the browser tells of the file that was refused
    severe = [
        entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"
    ]
    assert [message for message in severe if "/upload" not in message] == []
