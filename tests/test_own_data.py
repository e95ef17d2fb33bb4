"""Data of one's own: a folder of odd images, a table of numbers."""

import csv
import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, mostly_slow
from PIL import Image

import gan_cli
from gan_cli import files
from gan_cli.data import folder as folders
from gan_cli.data import packing
from gan_cli.data.folder import ImageFolder
from gan_cli.data.table import Table
from gan_cli.errors import UserError

QUICK = ("model=dcgan", "network.width=4", "batch_size=4", "steps=2", "hydra.run.dir=run")


def odd_images(folder: Path) -> None:
    """One image of each kind that people have: 40 wide and 20 high, the middle square of a known
    colour."""
    folder.mkdir(parents=True, exist_ok=True)
    colour = np.zeros((20, 40, 3), np.uint8)
    colour[:, 10:30] = (200, 100, 50)
    Image.fromarray(colour).save(folder / "rgb.png")
    Image.fromarray(colour).save(folder / "rgb.jpg", quality=95)
    Image.fromarray(colour).convert("P", palette=Image.Palette.ADAPTIVE).save(
        folder / "palette.gif"
    )
    Image.fromarray(colour).convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    Image.fromarray(colour).save(folder / "capital.PNG")
    clear = np.dstack([colour, np.zeros((20, 40), np.uint8)])
    Image.fromarray(clear).save(folder / "clear.png")
    Image.fromarray(colour[..., 0]).save(folder / "grey.png")
    Image.fromarray(colour[..., 0].astype(np.uint16) * 257).save(folder / "sixteen.png")
    Image.fromarray(colour[..., 0] / np.float32(255)).save(folder / "float.tif")
    Image.fromarray(np.dstack([colour[..., 0], np.full((20, 40), 255, np.uint8)])).save(
        folder / "grey_alpha.png"
    )
    Image.fromarray(colour).convert("1", dither=Image.Dither.NONE).save(folder / "bits.png")
    frames = [Image.fromarray(colour), Image.fromarray(255 - colour)]
    frames[0].save(
        folder / "moving.gif", save_all=True, append_images=frames[1:], duration=100, loop=0
    )
    Image.fromarray(colour).save(folder / "naïve\N{CAT FACE}.webp", quality=95)
    turned = Image.fromarray(colour.transpose(1, 0, 2))
    exif = Image.Exif()
    exif[0x0112] = 8  # to be turned by a quarter
    turned.save(folder / "turned.jpg", exif=exif, quality=95)
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_bytes(b"")


EXPECTED = {
    "grey.png": (200, 200, 200),
    "sixteen.png": (200, 200, 200),
    "float.tif": (200, 200, 200),
    "clear.png": (255, 255, 255),
    "grey_alpha.png": (200, 200, 200),
    "bits.png": (0, 0, 0),
}


def test_every_kind_of_image_becomes_the_same_bytes(tmp_path: Path) -> None:
    odd_images(tmp_path)
    data = ImageFolder(str(tmp_path), image_size=16)
    listed = folders.listing(tmp_path, True, 0.1)
    images = torch.cat([data.train["x"], data.heldout["x"]])
    assert (
        len(images) == len(listed) == 14
        and images.dtype == torch.uint8
        and images.shape[1:] == (3, 16, 16)
    )
    for path, image in zip(listed.paths(0, 14), images, strict=True):
        expected = torch.tensor(EXPECTED.get(path.name, (200, 100, 50)))[:, None, None]
        assert (image.float() - expected)[:, 2:-2, 2:-2].abs().max() <= 8, path.name
    assert data.spec.classes == 0 and data.default_metrics == ["patches"]
    grey = ImageFolder(str(tmp_path), image_size=16, channels=1)
    assert grey.spec.shape == (1, 16, 16)


def classes(folder: Path, names: tuple[str, ...], each: int = 10) -> None:
    """Folders of plain images: those of class i are of brightness 60 i."""
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(np.full((9, 9, 3), 60 * label, np.uint8)).save(
                folder / name / f"{i}.png"
            )


def test_folders_are_classes(tmp_path: Path) -> None:
    classes(tmp_path / "unpacked" / "pets", ("cat", "dog", "eel"))
    data = ImageFolder(str(tmp_path), image_size=8)
    assert (
        data.spec.classes == 3
        and data.default_metrics == ["patches"]
        and "too few for the scores" in data.note
    )
    assert ImageFolder(str(tmp_path), image_size=8, heldout=0.7).default_metrics == [
        "classifier",
        "patches",
    ]
    for fields, each in ((data.train, 9), (data.heldout, 1)):
        assert torch.equal(fields["x"][:, 0, 0, 0], (60 * fields["y"]).to(torch.uint8))
        assert torch.bincount(fields["y"]).tolist() == [each] * 3
    assert ImageFolder(str(tmp_path), image_size=8, classes=False).spec.classes == 0
    assert len(ImageFolder(str(tmp_path), image_size=8, heldout=0.5).heldout["x"]) == 15


def test_a_split_of_its_own_is_kept(tmp_path: Path) -> None:
    classes(tmp_path / "train", ("cat", "dog"), each=4)
    classes(tmp_path / "val", ("cat", "dog"), each=2)
    data = ImageFolder(str(tmp_path), image_size=8)
    assert data.spec.classes == 2 and data.train["y"].tolist() == [0] * 4 + [1] * 4
    assert torch.equal(data.heldout["x"][:, 0, 0, 0], (60 * data.heldout["y"]).to(torch.uint8))


def test_what_is_held_out_hangs_on_the_names_alone(tmp_path: Path) -> None:
    classes(tmp_path, ("cat", "dog"), each=20)

    def held() -> set[str]:
        listed = folders.listing(tmp_path, True, 0.2)
        return {
            str(path)
            for path, held in zip(listed.paths(0, len(listed)), listed.heldout, strict=True)
            if held
        }

    before = held()
    (tmp_path / "cat" / "new.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    assert len(before) == 8 and len(before & held()) >= 7


def test_a_folder_is_packed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    classes(tmp_path / "pets", ("cat", "dog"))
    first = ImageFolder(str(tmp_path / "pets"), image_size=8)
    (packed,) = (tmp_path / "cache" / "packed").glob("*/images.bin")
    assert packed.stat().st_size == 20 * 3 * 8 * 8
    monkeypatch.setattr(packing, "read", None)  # the second time no image is opened
    second = ImageFolder(str(tmp_path / "pets"), image_size=8)
    assert torch.equal(first.train["x"], second.train["x"])
    monkeypatch.undo()
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    Image.fromarray(np.full((9, 9, 3), 99, np.uint8)).save(tmp_path / "pets" / "cat" / "more.png")
    assert len(ImageFolder(str(tmp_path / "pets"), image_size=8).train["x"]) == 19
    assert len(list((tmp_path / "cache" / "packed").glob("*/images.bin"))) == 2


def test_a_killed_packing_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    classes(tmp_path / "pets", ("cat", "dog"))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(packing.json, "dumps", die)
        # a kill leaves what was written
        patch.setattr(packing.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            ImageFolder(str(tmp_path / "pets"), image_size=8)
    assert list((tmp_path / "cache" / "packed").glob("*.part"))
    assert len(ImageFolder(str(tmp_path / "pets"), image_size=8).train["x"]) == 18
    assert not list((tmp_path / "cache" / "packed").glob("*.part"))


def test_a_full_disk_while_packing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    classes(tmp_path / "pets", ("cat", "dog"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing.json, "dumps", full)
    with pytest.raises(
        UserError,
        match=r"cannot be kept in .* \(No space left on device\); "
        r".*GAN_CACHE",
    ):
        ImageFolder(str(tmp_path / "pets"), image_size=8)
    assert not list((tmp_path / "cache" / "packed").glob("*.part"))


def test_two_folders_alike_in_names_and_times_are_not_one(tmp_path: Path) -> None:
    for name, brightness in (("a", 10), ("b", 240)):
        (tmp_path / name).mkdir()
        for i in range(4):
            path = tmp_path / name / f"{i}.bmp"
            Image.fromarray(np.full((8, 8, 3), brightness, np.uint8)).save(path)
            os.utime(path, (0, 0))
        assert ImageFolder(str(tmp_path / name), image_size=8).train["x"].unique().tolist() == [
            brightness
        ]


def test_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    classes(tmp_path / "elsewhere", ("cat", "dog"))
    (tmp_path / "pets").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "elsewhere" / "dog" / "back").symlink_to(tmp_path / "elsewhere" / "dog")
    (tmp_path / "pets" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    data = ImageFolder(str(tmp_path / "pets"), image_size=8, unreadable=0.1)
    assert data.spec.classes == 2 and len(data.train["x"]) + len(data.heldout["x"]) == 20
    assert "1 cannot be read" in data.note


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    classes(tmp_path, ("cat", "dog"))
    (tmp_path / "cat" / "0.png").rename(tmp_path / "cat" / os.fsdecode(b"caf\xe9.png"))
    assert len(ImageFolder(str(tmp_path), image_size=8).train["x"]) == 18


@pytest.mark.parametrize("damaged", ["images.bin", "index.json"])
def test_a_damaged_packed_file_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    classes(tmp_path / "pets", ("cat", "dog"))
    first = ImageFolder(str(tmp_path / "pets"), image_size=8).train["x"].clone()
    (path,) = (tmp_path / "cache" / "packed").glob(f"*/{damaged}")
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(ImageFolder(str(tmp_path / "pets"), image_size=8).train["x"], first)


def test_a_cache_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "file"))
    classes(tmp_path / "pets", ("cat", "dog"))
    with pytest.raises(UserError, match=r"cannot be kept in .*GAN_CACHE"):
        ImageFolder(str(tmp_path / "pets"), image_size=8)


def test_layouts_that_people_have(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    classes(tmp_path / "kaggle" / "train", ("cat", "dog"), each=4)
    classes(tmp_path / "kaggle" / "val", ("cat", "dog"), each=2)
    (tmp_path / "kaggle" / "test").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "kaggle" / "test" / "1.png")
    data = ImageFolder(str(tmp_path / "kaggle"), image_size=8)
    assert (
        data.spec.classes == 2 and len(data.heldout["x"]) == 4 and "left out: test" in caplog.text
    )
    classes(tmp_path / "alone" / "train", ("cat", "dog"), each=4)
    (tmp_path / "alone" / "README.md").write_text("pets")
    assert ImageFolder(str(tmp_path / "alone"), image_size=8).spec.classes == 2
    classes(tmp_path / "words", ("train", "plane", "ship"), each=4)
    assert ImageFolder(str(tmp_path / "words"), image_size=8).spec.classes == 3
    classes(tmp_path / "cover", ("cat", "dog"), each=4)
    Image.new("RGB", (9, 9)).save(tmp_path / "cover" / "cover.png")
    assert ImageFolder(str(tmp_path / "cover"), image_size=8).spec.classes == 0
    assert "1 images lie beside the folders" in caplog.text


def test_a_run_whose_data_has_changed_is_not_gone_on_with(command: Command, tmp_path: Path) -> None:
    classes(tmp_path / "pets", ("cat", "dog"))
    typed = ("gan-train", "data=image_folder", "data.folder=pets", "data.image_size=8", *QUICK)
    assert command(*typed)[0] == 0
    Image.new("RGB", (9, 9)).save(tmp_path / "pets" / "cat" / "new.png")
    code, printed = command(*typed, "steps=4")
    assert code == 2 and "the data is not what this run began with" in printed
    assert command(*typed, "steps=4", "resume=force")[0] == 0


def test_another_score_of_the_data_may_be_the_objective(command: Command, tmp_path: Path) -> None:
    classes(tmp_path / "pets", ("cat", "dog"), each=30)
    typed = (
        "gan-train",
        "data=image_folder",
        "data.folder=pets",
        "data.heldout=0.5",
        "data.image_size=16",
        *QUICK,
    )
    code, printed = command(*typed, "objective=sliced_wasserstein")
    assert code == 0, printed
    assert (
        json.loads((tmp_path / "run" / "run.json").read_text())["objective"] == "sliced_wasserstein"
    )


@pytest.mark.parametrize("name", mostly_slow(["my photos (1)", "Bücher", "2024"], "Bücher"))
def test_folders_may_have_any_name(command: Command, tmp_path: Path, name: str) -> None:
    classes(tmp_path / name, ("cat", "dog"))
    code, printed = command(
        "gan-train", "data=image_folder", f"data.folder={name}", "data.image_size=8", *QUICK
    )
    assert code == 0, printed


def spoiled_images(folder: Path) -> list[str]:
    """Files that look like images by their names, and cannot be read."""
    good = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        good, "PNG"
    )
    jpeg = io.BytesIO()
    Image.open(good).save(jpeg, "JPEG")
    huge = bytearray(good.getvalue())
    huge[16:24] = struct.pack(">II", 60_000, 60_000)  # a bomb: 10 GiB of pixels by its header
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    png, jpg = good.getvalue(), jpeg.getvalue()
    contents = {
        "empty.png": b"",
        "torn.png": png[:2000],
        "torn.jpg": jpg[: len(jpg) // 2],
        "page.jpg": b"<html>",
        "head.png": png[:8],
        "huge.png": bytes(huge),
        "noise.gif": b"GIF89a" + bytes(50),
        "flipped.png": png[:3000] + b"\xff" * 40 + png[3040:],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "nowhere.png").symlink_to(folder / "missing.png")
    return [*contents, "nowhere.png"]


def test_images_that_cannot_be_read_are_left_out_counted_and_listed(tmp_path: Path) -> None:
    classes(tmp_path, ("cat", "dog"))
    names = spoiled_images(tmp_path / "cat")
    data = ImageFolder(str(tmp_path), image_size=8, unreadable=0.5)
    assert len(data.train["x"]) + len(data.heldout["x"]) == 20
    assert torch.equal(data.train["x"][:, 0, 0, 0], (60 * data.train["y"]).to(torch.uint8))
    assert f"; {len(names)} cannot be read and are left out, see " in data.note
    listed = Path(data.note.split(", see ")[1].split(",")[0]).read_text().splitlines()
    assert sorted(Path(line.split(": ")[0]).name for line in listed) == sorted(names)
    with pytest.raises(
        UserError,
        match=rf"{len(names)} of its {20 + len(names)} images cannot be read .* "
        r"data.unreadable",
    ):
        ImageFolder(str(tmp_path), image_size=8)


def test_what_a_failing_disk_hid_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes(tmp_path, ("cat", "dog"))
    honest = files.opened

    def failing(path: Path) -> object:
        if path.name == "0.png":
            raise OSError(5, "Input/output error")
        return honest(path)

    monkeypatch.setattr(files, "opened", failing)
    with pytest.raises(UserError, match="2 of its 20 images cannot be read"):
        ImageFolder(str(tmp_path), image_size=8)
    monkeypatch.setattr(files, "opened", honest)
    data = ImageFolder(str(tmp_path), image_size=8)
    assert len(data.train["x"]) + len(data.heldout["x"]) == 20


@pytest.mark.slow
def test_a_folder_trains_and_its_samples_are_scored(command: Command, tmp_path: Path) -> None:
    odd_images(tmp_path / "pictures")
    code, printed = command(
        "gan-train",
        "data=image_folder",
        "data.folder=pictures",
        "data.image_size=28",
        "data.flip=true",
        "augmentation=diff_augment",
        *QUICK,
    )
    assert code == 0, printed
    assert (
        "13 images to learn from, 1 held out; without class folders" in printed
        and "sliced_wasserstein" in printed
    )
    scores = json.loads((tmp_path / "run" / "run.json").read_text())["scores"]
    code, printed = command("gan-evaluate", "checkpoint=run")
    assert code == 0 and json.loads(printed)["scores"] == scores
    code, printed = command("gan-evaluate", "checkpoint=run", "metrics=[classifier]")
    assert code == 2 and "its metrics are patches" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "data.folder: missing; add data.folder=VALUE"),
        (["data.folder=nowhere"], "data.folder=nowhere: no such folder"),
        (["data.folder=empty"], "data.folder=empty: no images in it"),
        (["data.folder=partly"], "data.folder=partly: 1 of its 15 images cannot be read"),
        (["data.folder=bad"], "data.folder=bad: none of its 2 images can be read"),
        (["data.folder=one"], "needs at least one image to learn from and one to hold out"),
        (
            ["data.folder=good", "data.image_size=20"],
            "network=dcgan: cannot make samples of shape (3, 20, 20)",
        ),
        (["data.folder=good", "data.channels=2"], "data.channels=2: take 1 (grey) or 3 (colour)"),
        (
            ["data.folder=good", "objective=classifier_score"],
            "objective=classifier_score: this data gives no such score",
        ),
    ],
)
def test_a_mistake_about_a_folder_is_one_sentence(
    command: Command, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    for name in "ab":
        (tmp_path / "bad" / f"{name}.png").write_bytes(b"")
    odd_images(tmp_path / "good")
    odd_images(tmp_path / "partly")
    (tmp_path / "partly" / "empty.png").write_bytes(b"")
    (tmp_path / "one").mkdir()
    (tmp_path / "good" / "rgb.png").rename(tmp_path / "one" / "rgb.png")
    code, printed = command("gan-train", "data=image_folder", *arguments, *QUICK)
    assert code == 2 and said in printed and "Traceback" not in printed, printed
    assert len([line for line in printed.splitlines() if line.startswith("gan-train: ")]) == 1


# --- tables ---------------------------------------------------------------------------------------


def write_table(path: Path, header: bool = True, rows: int = 200) -> np.ndarray:
    """A line of names, a column of text, two of numbers: 1000 +- 10 and -0.5 +- 0.1."""
    values = np.random.default_rng(0).normal([1000, -0.5], [10, 0.1], (rows, 2))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow(["name", "mass", "charge"])
        writer.writerows([f"no {i}", *row] for i, row in enumerate(values.tolist()))
    return values


@pytest.mark.parametrize("header", [True, False])
def test_columns_of_numbers_are_points(tmp_path: Path, header: bool) -> None:
    values = write_table(tmp_path / "a.csv", header)
    data = Table(str(tmp_path / "a.csv"))
    points = torch.cat([data.heldout["x"], data.train["x"]])
    assert points.shape == (200, 2) and len(data.heldout["x"]) == 20
    torch.testing.assert_close(points.mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(points.std(dim=0), torch.ones(2))
    back = data.spec.in_units(points).numpy()
    assert sorted(back[:, 0]) == pytest.approx(sorted(values[:, 0]), rel=1e-5)
    assert [unit[0] for unit in data.spec.units] == (["mass", "charge"] if header else ["1", "2"])
    assert Table(str(tmp_path / "a.csv"), columns=["charge"] if header else [2]).spec.shape == (1,)


@pytest.mark.parametrize("columns", ["[mass,charge]", "[charge]"])
def test_a_table_trains_and_samples_are_in_its_units(
    command: Command, tmp_path: Path, columns: str
) -> None:
    values = write_table(tmp_path / "a.csv")
    code, printed = command(
        "gan-train",
        "data=csv",
        "data.file=a.csv",
        f"data.columns={columns}",
        "network.width=8",
        "steps=3",
        "batch_size=32",
        "evaluate_every=3",
        "hydra.run.dir=run",
    )
    assert code == 0, printed
    assert "180 rows of" in printed and "w1" in printed
    assert command("gan-sample", "checkpoint=run", "mode=npz", "n=500")[0] == 0
    samples = np.load("samples.npz")["samples"]
    assert samples.shape == (500, columns.count(",") + 1)
    plain = gan_cli.load("run").sample(500).numpy()
    assert samples[:, -1] == pytest.approx(
        values[:, 1].mean() + values[:, 1].std(ddof=1) * plain[:, -1], rel=1e-4
    )
    assert command("gan-sample", "checkpoint=run")[0] == 0


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("a,b\n1,2\n3,x\n5,6\n", [], "line 3, column b: 'x' is not a number"),
        ("a,b\n1,2\n3\n5,6\n", [], "line 3 has 1 values, the first has 2"),
        ("a,b\n1,2\n1,3\n1,4\n", [], "column a holds one value only"),
        ("a,b\n1,2\n3,4\n", ["data.heldout=0.9"], "2 rows cannot be split"),
        ("a,b\nx,y\nz,u\nv,w\n", [], "no column of numbers"),
        ("a\n", [], "too few rows"),
        ("a,b\n1,2\n3,4\n5,6\n", ["data.columns=[aa]"], "has no column aa"),
    ],
)
def test_a_mistake_in_a_table_is_one_sentence(
    command: Command, tmp_path: Path, content: str, arguments: list[str], said: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    code, printed = command("gan-train", "data=csv", "data.file=a.csv", *arguments, "steps=1")
    assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed


def test_headers_that_are_nearly_data(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    # as pandas writes it
    path.write_text(",0,1\n" + "".join(f"{i},{i % 3},{i % 5}\n" for i in range(50)))
    assert Table(str(path), columns=["0", "1"]).spec.units[0][1] == pytest.approx(0.98)
    path.write_text("2019,2020\n" + "".join(f"{i % 3},{i % 5}\n" for i in range(50)))
    data = Table(str(path), header=True, columns=[2020])
    assert data.spec.units[0][0] == "2020" and data.spec.units[0][1] == pytest.approx(2)


def test_numbers_too_large_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "a,b\n" + "".join(f"{(-1) ** i}.7e308,{i}\n" for i in range(20))
    )
    with pytest.raises(UserError, match="the numbers of column a are too large"):
        Table(str(tmp_path / "a.csv"))


def test_a_checkpoint_of_a_table_is_scored_in_its_own_units(
    command: Command, tmp_path: Path
) -> None:
    values = write_table(tmp_path / "a.csv")
    typed = (
        "data=csv",
        "data.file=a.csv",
        "network.width=8",
        "steps=2",
        "evaluate_every=2",
        "hydra.run.dir=run",
    )
    assert command("gan-train", *typed)[0] == 0
    with (tmp_path / "b.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["name", "mass", "charge"], *(["x", x + 500, y] for x, y in values.tolist())]
        )
    scores = [json.loads(command("gan-evaluate", "checkpoint=run", *more)[1])["scores"]["w1"]
              for more in ((), ("data.file=b.csv",))]  # fmt: skip
    assert scores[1] - scores[0] > 40  # 500 are 50 deviations


@pytest.mark.parametrize("name", ["body mass (kg)", "Größe", "a$^$"])
def test_columns_may_have_any_name(command: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text(f"{name},b\n" + "".join(f"{i},{i % 7}\n" for i in range(60)))
    code, printed = command(
        "gan-train",
        "data=csv",
        "data.file=a.csv",
        f"data.columns=[{name},b]",
        "network.width=8",
        "steps=2",
        "sample_every=2",
        "evaluate_every=0",
    )
    assert code == 0, printed


def test_a_missing_table_is_one_sentence(command: Command) -> None:
    code, printed = command("gan-train", "data=csv", "data.file=nowhere.csv")
    assert code == 2 and printed == "gan-train: data.file=nowhere.csv: No such file or directory.\n"
