"""A folder of images of one's own: brightness, formats, what strangers put there, and the names of
its classes."""

import fcntl
import json
import os
import re
import struct
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import EpsImagePlugin, Image, ImageFile

from gan_cli import files, registry
from gan_cli.data import packing, upright
from gan_cli.data.dataset import Spec
from gan_cli.data.folder import ImageFolder, usual_size
from gan_cli.data.listing import listing
from gan_cli.errors import UserError
from gan_cli.reading import images as decoding
from gan_cli.reports import grids


def plain_images(folder: Path, count: int, brightness: int = 100, side: int = 16) -> None:
    """So many square images of one colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(np.full((side, side, 3), brightness, np.uint8)).save(folder / f"{i}.png")


def levels(folder: Path, *values: float, kind: Any) -> None:
    """An image for each value, all of that value: a TIFF called after its place."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, value in enumerate(values):
        Image.fromarray(np.full((8, 8), value, kind)).save(folder / f"{i:02}.tif")


def packed_bytes(folder: Path, **options: Any) -> dict[str, Any]:
    """The middle pixel of each image, by the name of its file."""
    data = ImageFolder(str(folder), image_size=8, classes=False, **options)
    found = listing(folder, False, 0.1)
    images = torch.cat([data.train["x"], data.heldout["x"]])
    return {
        path.name: image[0, 4, 4].item()
        for path, image in zip(found.paths(0, len(found)), images, strict=True)
    }


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own: where images are packed."""
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packed"


# --- brightness -----------------------------------------------------------------------------------

SCALES = {
    "twelve bits": (np.uint16, [0, 250, 2048, 4095], (0, 4095)),
    "twelve bits, none of them white": (np.uint16, [100, 3000], (0, 4095)),
    "sixteen bits": (np.uint16, [250, 4095, 30000, 65535], (0, 65535)),
    "bytes in a wide format": (np.uint16, [3, 200], (0, 255)),
    "signed integers": (np.int32, [-1000, 0, 3000], (-1000, 3000)),
    "0 to 1": (np.float32, [0, 0.25, 0.5, 1], (0, 1)),
    "just above 1": (np.float32, [0, 0.5, 1, 1.01], (0, 1)),
    "-1 to 1": (np.float32, [-1, -0.5, 0, 1], (-1, 1)),
    "0 to 255": (np.float32, [0, 60, 255], (0, 255)),
    "a little below 0": (np.float32, [-0.01, 0.5, 1], (0, 1)),
    "temperatures": (np.float32, [-20, 15, 30], (-20, 30)),
    "one value": (np.float32, [7.5, 7.5], (7.5, 7.5)),
}  # fmt: skip


@pytest.mark.parametrize("case", SCALES)
def test_a_folder_has_one_brightness(tmp_path: Path, case: str) -> None:
    """A value is as bright in every file: (value - black) / (white - black) of 255."""
    kind, values, (black, white) = SCALES[case]
    levels(tmp_path, *values, kind=kind)
    expected = [
        min(max(round(255 * (float(v) - black) / (white - black or 1)), 0), 255) for v in values
    ]
    found = [level for _, level in sorted(packed_bytes(tmp_path).items())]
    assert np.abs(np.subtract(found, expected)).max() <= (kind is np.float32), (
        found,
        expected,
    )  # a half rounds so or so
    assert f": {black:g} is black, {white:g} white" in ImageFolder(str(tmp_path), image_size=8).note


def test_sixteen_bits_are_divided_by_257_everywhere(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for i in range(3):
        Image.fromarray(ramp // (1, 16, 256)[i]).save(tmp_path / f"{i}.png")
    data = ImageFolder(str(tmp_path), image_size=8)
    images = torch.cat([data.train["x"], data.heldout["x"]])[:, 0].numpy().astype(int)
    for image in images:
        assert any(np.array_equal(image, np.round(ramp // by / 257)) for by in (1, 16, 256))


def test_black_and_white_may_be_said(tmp_path: Path) -> None:
    levels(tmp_path / "ints", 100, 1000, kind=np.uint16)
    assert packed_bytes(tmp_path / "ints") == {"00.tif": 25, "01.tif": 249}  # of 1023
    assert packed_bytes(tmp_path / "ints", range=[0, 4095]) == {"00.tif": 6, "01.tif": 62}
    assert packed_bytes(tmp_path / "ints", range=[500, 600]) == {"00.tif": 0, "01.tif": 255}
    with pytest.raises(UserError, match=r"data\.range=\[5.0, 1.0\]: expected \[BLACK,WHITE\]"):
        ImageFolder(str(tmp_path / "ints"), range=[5.0, 1.0])


def test_bytes_are_what_they_are_beside_wide_values_and_no_number_is_none(tmp_path: Path) -> None:
    levels(tmp_path, 0, 4095, kind=np.uint16)
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / "byte.png")
    odd = np.full((8, 8), 0.5, np.float32)
    odd[0, 0], odd[0, 1], odd[0, 2] = np.nan, np.inf, -np.inf
    Image.fromarray(odd).save(tmp_path / "float.tif")
    found = packed_bytes(tmp_path)
    assert found["byte.png"] == 7 and found["01.tif"] == 255 and found["float.tif"] in (127, 128)


def sixteen_bit_colours(path: Path, value: int) -> None:
    """A PNG of 8 x 8 such pixels, which Pillow itself cannot write."""
    row = b"\0" + struct.pack(">H", value) * 24
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * 8)),
        (b"IEND", b""),
    ]
    whole = [
        struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(whole))


def test_colours_that_lose_bits_are_told(tmp_path: Path) -> None:
    plain_images(tmp_path, 2)
    sixteen_bit_colours(tmp_path / "deep.png", 0x1234)
    assert packed_bytes(tmp_path)["deep.png"] == 0x12
    assert (
        "; 1 colour images of 16 bits: the upper 8 are taken"
        in ImageFolder(str(tmp_path), image_size=8).note
    )


def test_folders_that_are_compared_have_one_brightness(command: Command, tmp_path: Path) -> None:
    levels(tmp_path / "a", *[4095] * 4, kind=np.uint16)
    levels(tmp_path / "b", *[500] * 4, kind=np.uint16)
    typed = ("gan-evaluate", "samples=a", "real=b", "metrics=[patches]")
    code, printed = command(*typed)
    assert (
        code == 2
        and "run from 0 to 4095 in the samples and from 0 to 511 in the real images" in printed
    )
    code, printed = command(*typed, "data.range=[0,4095]")
    assert (
        code == 0
        and json.loads(printed[: printed.rindex("}") + 1])["scores"]["sliced_wasserstein"] > 100
    ), printed


def test_a_run_with_a_range_goes_on(command: Command, tmp_path: Path) -> None:
    levels(tmp_path / "a", 100, 1000, 4095, 70, 80, kind=np.uint16)
    typed = (
        "gan-train",
        "model=gan",
        "network.width=4",
        "batch_size=4",
        "data=image_folder",
        "data.folder=a",
        "data.image_size=8",
        "evaluate_every=0",
        "sample_every=0",
        "hydra.run.dir=run",
    )
    assert command(*typed, "data.range=[0,4095]", "steps=1")[0] == 0
    code, printed = command(*typed, "data.range=[0,4095]", "steps=2")
    assert code == 0 and "0 is black, 4095 white" in printed, printed


# --- formats --------------------------------------------------------------------------------------

Image.init()
# not written, or told by names
UNKNOWN = {"TGA", "MPO", "DIB", "SPIDER", "BLP", "BUFR", "GRIB", "HDF5", "IM", "WMF"}
WRITTEN = sorted(set(Image.SAVE) & set(Image.OPEN) - UNKNOWN)


@pytest.mark.parametrize("format", WRITTEN)
def test_files_are_read_by_what_they_hold_and_only_of_some_formats(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An EPS called .png would start Ghostscript."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", refuse)
    plain_images(tmp_path, 4, 50)
    Image.new("1" if format in ("MSP", "XBM") else "RGB", (16, 16)).save(tmp_path / "0.png", format)
    good = format in decoding.FORMATS
    data = ImageFolder(str(tmp_path), image_size=8, unreadable=0.5, heldout=0.5)
    assert (
        len(data.train["x"]) + len(data.heldout["x"]) == 3 + good
        and ("1 cannot be read" in data.note) != good
    )
    if good:
        grids.read_pixels(tmp_path / "0.png")
    else:
        with pytest.raises(UserError, match="holds no image of a format that is read here"):
            grids.read_pixels(tmp_path / "0.png")


def test_a_very_large_picture_of_a_run_is_drawn_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_images(tmp_path, 1, 90, side=100)
    assert grids.read_pixels(tmp_path / "0.png").shape == (100, 100, 3)
    monkeypatch.setattr(grids, "LARGEST_SIDE", 30)
    small = grids.read_pixels(tmp_path / "0.png")
    assert small.shape == (25, 25, 3) and np.all(small == 90)


def test_every_suffix_is_taken_or_counted(tmp_path: Path) -> None:
    plain_images(tmp_path, 2)
    image = Image.new("RGB", (16, 16))
    for name, format in (
        ("a.jfif", "JPEG"),
        ("b.tga", "TGA"),
        ("c.jp2", "JPEG2000"),
        ("d", "PNG"),
        ("e.JPE", "JPEG"),
    ):
        image.save(tmp_path / name, format)
    for name in ("f.heic", "g.heic", "h.npy", "README"):
        (tmp_path / name).write_bytes(b"something else")
    data = ImageFolder(str(tmp_path), image_size=8)
    assert len(data.train["x"]) + len(data.heldout["x"]) == 7
    assert data.note.endswith("passed over: .heic (2), no suffix (1), .npy (1)")
    for path in (
        *tmp_path.glob("*.png"),
        *tmp_path.glob("*.j*"),
        tmp_path / "e.JPE",
        tmp_path / "b.tga",
        tmp_path / "d",
    ):
        path.unlink()
    with pytest.raises(
        UserError,
        match=r"no images in it .*; there are \.heic \(2\), no suffix "
        r"\(1\), \.npy \(1\)",
    ):
        ImageFolder(str(tmp_path))


def test_a_very_large_jpeg_is_decoded_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    ramp = np.linspace(0, 255, 400)[None].repeat(400, 0).astype(np.uint8)
    for name in "ab":
        Image.fromarray(ramp).convert("RGB").save(tmp_path / f"{name}.jpg", quality=95)
    whole = ImageFolder(str(tmp_path), image_size=16).train["x"].float()
    monkeypatch.setattr(decoding, "LARGE", 10**4)
    sizes: list[tuple[int, int]] = []
    honest = upright._fit
    monkeypatch.setattr(
        upright, "_fit", lambda image, *rest: (sizes.append(image.size), honest(image, *rest))[1]
    )
    for path in own_cache.glob("*/index.json"):
        path.unlink()
    part = ImageFolder(str(tmp_path), image_size=16)
    assert sizes == [(50, 50)] * 2 and (part.train["x"].float() - whole).abs().max() <= 3
    assert "shorter side of 400 pixels to 16" in part.resizing


# --- what strangers put there ---------------------------------------------------------------------

ERRORS = [
    MemoryError(),
    RecursionError("deep"),
    struct.error("short"),
    zlib.error("-3"),
    OverflowError("much"),
    AssertionError("never"),
    ZeroDivisionError(),
    SystemError("tile"),
    EOFError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_decoder_raises_costs_its_image(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_images(tmp_path, 3)
    honest = ImageFile.ImageFile.load

    def load(image: ImageFile.ImageFile) -> Any:
        if image.size == (9, 9):
            raise error
        return honest(image)

    Image.new("RGB", (9, 9)).save(tmp_path / "bad.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    data = ImageFolder(str(tmp_path), image_size=8, unreadable=0.5, heldout=0.5)
    assert len(data.train["x"]) + len(data.heldout["x"]) == 3 and "1 cannot be read" in data.note
    with pytest.raises(UserError, match=r"bad\.png: cannot be read as a picture"):
        grids.read_pixels(tmp_path / "bad.png")


def test_pipes_devices_and_circles_are_passed_over(tmp_path: Path) -> None:
    plain_images(tmp_path, 3)
    for name in ("pipe.png", "pipe"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    data = ImageFolder(str(tmp_path), image_size=8, unreadable=0.5)
    assert len(data.train["x"]) + len(data.heldout["x"]) == 3
    assert "passed over: pipes or devices (2), no suffix (1); 1 cannot be read" in data.note
    assert usual_size(tmp_path) == 16


def test_a_folder_that_cannot_be_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog", "eel"):
        plain_images(tmp_path / name, 3)
    honest = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("eel"):
            raise PermissionError(13, "Permission denied")
        return honest(path)

    (tmp_path / "fox").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    note = ImageFolder(str(tmp_path), image_size=8).note
    assert "folders that cannot be opened (1)" in note and "folders without images (2)" in note


def test_an_image_too_large_for_the_memory_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_images(tmp_path, 3)
    Image.new("RGB", (2000, 2000)).save(tmp_path / "large.png")
    monkeypatch.setattr(files, "memory", lambda: 2**25)
    data = ImageFolder(str(tmp_path), image_size=8, unreadable=0.5)
    assert len(data.train["x"]) + len(data.heldout["x"]) == 3
    listed = Path(data.note.split(", see ")[1]).read_text()
    assert (
        "large.png: its 2000 x 2000 pixels need 0.0298 GiB, more than the share of the memory"
        in listed
    )


def test_images_decoded_at_a_time_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum never passes the share; one that alone passes it has the room for itself; all come to
    their turn."""
    monkeypatch.setattr(files, "memory", lambda: 800)
    budget, lock, now, most = decoding._MemoryBudget(), threading.Lock(), [0], [0]

    def decode(size: int) -> None:
        with budget.reserved(size):
            with lock:
                now[0] += size
                most[0] = max(most[0], now[0])
                assert now[0] <= 100 or now[0] == size
            time.sleep(0.002)
            with lock:
                now[0] -= size

    sizes = [10, 60, 99, 300, 1, 50, 50, 40, 120, 30] * 3
    threads = [threading.Thread(target=decode, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads) and most[0] == 300 and now[0] == 0


@pytest.mark.parametrize(
    ("folder", "arguments", "said"),
    [
        ("file", (), r"data\.folder=file: is a file or a pipe, not a folder"),
        ("pipe", (), r"data\.folder=pipe: is a file or a pipe, not a folder"),
        (
            "bad",
            (),
            r"none of its 1 images can be read; the first: bad/a\.png: holds no image of "
            r"a format",
        ),
        (
            "good",
            ("data.image_size=1000000",),
            r"data\.image_size=1000000: 64 images of that size "
            r"need 7\.15e\+5 GiB",
        ),
        ("good", ("data.range=[5]",), r"data\.range=\[5\]: list should have at least 2 items"),
    ],
)
def test_what_cannot_be_a_folder_is_one_sentence(
    command: Command, tmp_path: Path, folder: str, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"<html>")
    plain_images(tmp_path / "good", 4)
    code, printed = command(
        "gan-train", "model=gan", "data=image_folder", f"data.folder={folder}", *arguments
    )
    sentences = [line for line in printed.splitlines() if line.startswith("gan-train: ")]
    assert code == 2 and len(sentences) == 1 and "Traceback" not in printed
    assert re.search(said, sentences[0]), printed


def test_more_than_the_disk_holds_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    plain_images(tmp_path / "a", 4)
    usage = type("Usage", (), {"free": 4 * 3 * 8 * 8 - 1})
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"data\.image_size=8: the packed images need .* free"):
        ImageFolder(str(tmp_path / "a"), image_size=8)
    assert not [*own_cache.iterdir()]


# --- the packed file ------------------------------------------------------------------------------


def test_what_killed_packers_left_is_removed_and_what_is_packed_now_stays(
    tmp_path: Path, own_cache: Path
) -> None:
    for name in ("killed", "working"):
        (own_cache / f"{name}.part").mkdir(parents=True)
        (own_cache / f"{name}.lock").touch()
    plain_images(tmp_path / "a", 4)
    with (own_cache / "working.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ImageFolder(str(tmp_path / "a"), image_size=8)
    left = {path.name for path in own_cache.iterdir()}
    assert {"working.part", "working.lock"} < left and len(left) == 3  # and the packed file


@pytest.mark.parametrize("damage", ["zeroed images", "another index", "no checksum"])
def test_a_packed_file_is_not_believed(tmp_path: Path, own_cache: Path, damage: str) -> None:
    plain_images(tmp_path / "a", 6)
    (tmp_path / "a" / "5.png").write_bytes(b"")
    first = ImageFolder(str(tmp_path / "a"), image_size=8, unreadable=0.5).train["x"].clone()
    (place,) = own_cache.iterdir()
    if damage == "zeroed images":
        (place / "images.bin").write_bytes(bytes((place / "images.bin").stat().st_size))
    elif damage == "another index":
        index = json.loads((place / "index.json").read_text())
        index["readable"] = packing.b85encode(np.packbits([0, 1, 1, 1, 1, 1]).tobytes()).decode()
        (place / "index.json").write_text(json.dumps(index))
    else:
        (place / "index.json.sum").unlink()
    again = ImageFolder(str(tmp_path / "a"), image_size=8, unreadable=0.5)
    assert torch.equal(again.train["x"], first) and files.is_sealed(place / "index.json")


# --- sizes ----------------------------------------------------------------------------------------


def test_a_thumbnail_does_not_set_the_size_of_a_comparison(
    command: Command, tmp_path: Path
) -> None:
    plain_images(tmp_path / "a", 5, side=24)
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "!thumb.png")
    plain_images(tmp_path / "b", 5, side=40)
    assert usual_size(tmp_path / "a") == 24
    code, printed = command("gan-evaluate", "samples=a", "real=b", "metrics=[patches]")
    assert (
        code == 0 and '"image_size": 24' in printed and "shorter side of 40 pixels to 24" in printed
    ), printed


def test_sizes_that_differ_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain_images(tmp_path, 5, side=24)
    Image.new("RGB", (8, 80)).save(tmp_path / "!thumb.png")
    usual_size(tmp_path)
    assert "1 of its 6 images have another shorter side than 24, 8 to 24 pixels" in caplog.text
    assert (
        "shorter side of 8 to 24 pixels to 16" in ImageFolder(str(tmp_path), image_size=16).resizing
    )


# --- classes --------------------------------------------------------------------------------------


def test_classes_stand_in_natural_order(tmp_path: Path) -> None:
    names = ("1", "2", "10", "11", "a2b", "a10", "b")
    for i, name in enumerate(reversed(names)):
        plain_images(tmp_path / name, 3, 30 * (len(names) - 1 - i))
    data = ImageFolder(str(tmp_path), image_size=8)
    assert data.spec.names == names
    assert torch.equal(data.train["x"][:, 0, 0, 0].long(), 30 * data.train["y"])


def test_a_class_that_a_part_lacks_is_told(tmp_path: Path) -> None:
    for part, names in (("train", "abc"), ("val", "bcd")):
        for name in names:
            plain_images(tmp_path / part / name, 3)
    note = ImageFolder(str(tmp_path), image_size=8).note
    assert "; class d: no image to learn from; class a: no image held out" in note


def test_names_of_classes_travel_in_a_checkpoint(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        plain_images(tmp_path / name, 4)
    spec = ImageFolder(str(tmp_path), image_size=8).spec
    assert spec.names == ("cat", "dog") and Spec.restore(spec.plain()) == spec
    old = spec.plain()
    del old["names"]
    assert Spec.restore(old).names == ()
    assert registry.datasets.build({"name": "digits"}, "data").spec.names == tuple("0123456789")


@pytest.mark.parametrize("names", [["a"], ["a", "a"], "ab", {"a": "b"}, [1, 2], None, ["a", ["b"]]])
def test_names_from_a_stranger_that_name_no_class_are_none(names: object) -> None:
    assert Spec.restore({**Spec("image", (1, 8, 8), classes=2).plain(), "names": names}).names == ()


def test_names_from_a_stranger_are_cleaned() -> None:
    plain = {**Spec("image", (1, 8, 8), classes=2).plain(), "names": ["\x1b[2Jcat\n", "d" * 10**6]}
    first, second = Spec.restore(plain).names
    assert first == "\N{REPLACEMENT CHARACTER}[2Jcat " and second == "d" * 100
