"""Label maps in pairs: what files say, what networks see, how they are shown, scored and used."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, make_trainer, save_run
from PIL import Image
from torch import Tensor

import gan_cli
from gan_cli.data import label_maps
from gan_cli.data.batches import Batches
from gan_cli.data.kinds import kind_of
from gan_cli.data.pairs import Pairs
from gan_cli.data.spec import Spec
from gan_cli.errors import UserError
from gan_cli.main import train
from gan_cli.metrics.segmentation import Segmentation

COLOURS = ((0, 0, 170), (0, 170, 255), (255, 0, 0))


def street(folder: Path, colours: tuple[tuple[int, int, int], ...] = COLOURS, n: int = 12) -> Path:
    """Photographs, and maps of three labels: sky over houses over a road."""
    random = np.random.default_rng(0)
    for name in ("photos", "maps"):
        (folder / name).mkdir(parents=True)
    for i in range(n):
        skyline, kerb = sorted(random.choice(np.arange(4, 28), 2, replace=False))
        labels = np.zeros((32, 32), np.uint8)
        labels[skyline:], labels[kerb:] = 1, 2
        photo = random.integers(0, 80, (32, 32, 3)) + 70 * labels[..., None]
        Image.fromarray(photo.astype(np.uint8)).save(folder / "photos" / f"{i:02d}.png")
        painted = np.array(colours, np.uint8)[labels]
        Image.fromarray(painted).save(folder / "maps" / f"{i:02d}.png")
    return folder


def pairs(folder: Path, **options: object) -> Pairs:
    usual = {"image_size": 16, "labels": 3, "heldout": 0.3}
    return Pairs(folder=str(folder / "photos"), inputs=str(folder / "maps"), **{**usual, **options})  # type: ignore[arg-type]


# --- the cross-entropy of colours -----------------------------------------------------------------


def test_the_cross_entropy_is_that_of_the_labels(tmp_path: Path) -> None:
    """Of logits that are squared distances of colours; at the labels' own colours nearly 0."""
    folder = street(tmp_path / "street")
    typed = (
        "model=pix2pix", f"data.folder={folder / 'maps'}", f"data.inputs={folder / 'photos'}",
        "data.labels=3", "data.labelled=images", "data.image_size=16", "data.heldout=0.3",
        "network.width=4", "batch_size=4", "model.l1=0", "model.labelled=2",
    )  # fmt: skip
    trainer = make_trainer(*typed)
    game, spec = trainer.game, trainer.batches.dataset.spec
    x = trainer.batches.next()["x"]
    x_fake = torch.rand_like(x) * 2 - 1
    colours = torch.tensor(spec.palette).float() / 127.5 - 1
    logits = -8 * torch.cdist(x_fake.movedim(1, -1).reshape(-1, 3), colours) ** 2
    labels = torch.cdist(x.movedim(1, -1).reshape(-1, 3), colours).argmin(dim=1)
    wanted = 2 * torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(game.distances(x_fake, x)["labelled"], wanted)
    assert game.distances(x, x)["labelled"] < 0.02
    with pytest.raises(UserError, match=r"model.labelled=1.0: is of images that are label maps"):
        make_trainer("model=pix2pix", "model.labelled=1", "network.width=4")


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("colours", [COLOURS, ((0, 0, 0), (1, 1, 1), (2, 2, 2))])
def test_colours_and_numbers_are_labels(
    tmp_path: Path, colours: tuple[tuple[int, int, int], ...]
) -> None:
    data = pairs(street(tmp_path, colours))
    field = data.spec.fields["x_a"]
    assert field.kind == "labels" and field.shape == (3, 16, 16) and field.palette == colours
    seen = data.decode(data.train)["x_a"]
    assert seen.shape[1:] == (3, 16, 16) and torch.equal(
        seen.sum(dim=1), torch.ones_like(seen[:, 0])
    )
    # from top to bottom: sky, houses, road, in whole rows
    rows = seen.argmax(dim=1)
    assert (rows.diff(dim=1) >= 0).all() and (rows.diff(dim=2) == 0).all()
    assert set(rows.flatten().tolist()) == {0, 1, 2}
    # houses are lighter than the sky, the road than houses: map and photograph belong together
    light = data.decode(data.train)["x"].mean(dim=1)
    means = [float(light[rows == label].mean()) for label in range(3)]
    assert means == sorted(means) and means[1] - means[0] > 0.3


def test_a_palette_survives_compression(tmp_path: Path) -> None:
    folder = street(tmp_path)
    for path in (folder / "maps").glob("*.png"):
        Image.open(path).resize((256, 256), 0).save(path.with_suffix(".jpg"), quality=75)
        path.unlink()
    data = pairs(folder)
    clean = pairs(street(tmp_path / "clean"))
    for found, wanted in zip(data.palette, COLOURS, strict=True):
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 32
    same = (data.train["x_a"] == clean.train["x_a"]).float().mean()
    assert same > 0.9


def test_jitter_mixes_no_labels(tmp_path: Path) -> None:
    street(tmp_path / "street")
    folder = tmp_path / "street"
    batches = Batches(pairs(folder, labels=3, jitter=0.3), 4, seed=0)
    maps = batches.next()["x_a"]
    assert ((maps == 0) | (maps == 1)).all() and (maps.sum(dim=1) == 1).all()


def test_maps_of_other_colours_are_counted(tmp_path: Path) -> None:
    folder = street(tmp_path)
    with pytest.raises(UserError, match=r"data.labels=2: \d+ of \d+ label maps have colours"):
        pairs(folder, labels=2)
    with pytest.raises(UserError, match=r"2 names, and the maps have 3 labels"):
        pairs(folder, label_names=["sky", "road"])
    with pytest.raises(UserError, match=r"data.labels=3: label maps are those of files"):
        Pairs(labels=3)


def test_a_specification_with_a_palette_comes_back(tmp_path: Path) -> None:
    spec = pairs(street(tmp_path), label_names=["sky", "house", "road"]).spec
    again = Spec.restore(spec.plain())
    assert again == spec and again.fields["x_a"].names == ("sky", "house", "road")
    plain = spec.plain()
    plain["fields"]["x_a"]["palette"][0] = [0, 0, 999]
    with pytest.raises(ValueError, match="palette"):
        Spec.restore(plain)


def test_a_painted_map_is_the_map_of_its_numbers() -> None:
    for palette in (
        [(shade, shade, shade) for shade in range(5)],
        [(shade, shade, shade) for shade in range(label_maps.GREY)],
        [(10, 20, 30), (200, 0, 0), (0, 200, 0), (0, 0, 200), (255, 255, 255)],
    ):
        numbers = torch.arange(72).view(2, 6, 6) % len(palette)
        painted = label_maps.painted(numbers, palette)
        assert torch.equal(label_maps.labels(painted, palette).long(), numbers)
        assert not label_maps.strange(painted, palette).any()
        # of a file: the same, and numbers as shades of grey
        for pixels in (painted[0], numbers[0].expand(3, -1, -1).to(torch.uint8)):
            assert torch.equal(label_maps.read(pixels, palette).long(), numbers[0])


def test_a_dark_palette_is_one_of_colours() -> None:
    dark = [(0, 0, 0), (5, 5, 5), (9, 9, 9)]
    pixels = torch.tensor([[0, 9], [5, 5]], dtype=torch.uint8).expand(3, -1, -1)
    assert label_maps.read(pixels, dark).tolist() == [[0, 2], [1, 1]]


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (torch.full((3, 4, 4), 3), "has numbers up to 3; those of the labels are 0 to 2"),
        (torch.full((3, 4, 4), 128), "100% of its pixels have a colour that is none of the 3"),
        (torch.full((3, 4, 4), 255).index_fill(0, torch.tensor(1), 9), "100% of its pixels"),
    ],
)
@pytest.mark.parametrize("palette", [COLOURS, [(shade, shade, shade) for shade in range(3)]])
def test_what_is_no_label_map_is_told(
    pixels: Tensor, said: str, palette: label_maps.Colours
) -> None:
    with pytest.raises(UserError, match=said):
        label_maps.read(pixels.to(torch.uint8), palette)


# --- scores ---------------------------------------------------------------------------------------


def test_scores_of_maps_whose_scores_are_known(tmp_path: Path) -> None:
    folder = street(tmp_path)
    data = Pairs(
        folder=str(folder / "maps"), inputs=str(folder / "photos"), labels=3, labelled="images",
        image_size=16, heldout=0.3,
    )  # fmt: skip
    assert data.spec.palette == COLOURS and "segmentation" in data.default_metrics
    metric = Segmentation(data, torch.device("cpu"))
    fields = data.decode(data.heldout)
    truth = label_maps.labels(data.heldout["x"], COLOURS).long()

    def scores(samples: Tensor) -> dict[str, float]:
        return metric.compute([metric.extract_pairs(samples, fields)])

    same = scores(fields["x"] + 0.1 * torch.randn_like(fields["x"]))
    assert same["miou"] == same["pixel_accuracy"] == same["class_accuracy"] == 1
    assert same["miou_majority"] < 0.95

    # everything is sky
    sky = label_maps.coloured(torch.zeros_like(truth), COLOURS)
    told, share = scores(sky), float((truth == 0).float().mean())
    assert told["pixel_accuracy"] == pytest.approx(share)
    assert told["miou"] == pytest.approx(share / 3)
    assert told["class_accuracy"] == pytest.approx(1 / 3)


# --- use ------------------------------------------------------------------------------------------


def test_a_painted_file_becomes_a_picture(command: Command, tmp_path: Path) -> None:
    folder = street(tmp_path / "street")
    run = tmp_path / "run"
    typed = (
        "model=pix2pix", f"data.folder={folder / 'photos'}", f"data.inputs={folder / 'maps'}",
        "data.labels=3", "data.image_size=16", "data.heldout=0.3", "network.width=4",
        "network.discriminator.width=4", "batch_size=4", "steps=2", f"hydra.run.dir={run}",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gan-train", *typed])
        train()
    assert (run / "samples" / "step_00000002.png").exists()
    generator = gan_cli.load(str(run))
    field = generator.data.fields["x_a"]
    assert field.palette == COLOURS and kind_of(field).stored(field) == (16, 16)

    code, printed = command(
        "gan-sample", str(run), f"input={folder / 'maps'}", "mode=images", "output=made"
    )
    assert code == 0, printed
    assert len(list(Path("made").glob("*.png"))) == 12
    code, printed = command("gan-evaluate", str(run), "metrics=[pairs]")
    assert code == 0, printed


@pytest.mark.parametrize("model", ["pix2pix", "spade"])
def test_a_map_becomes_a_picture_of_its_own_size(
    model: str, command: Command, tmp_path: Path
) -> None:
    folder = street(tmp_path / "street")
    save_run(
        tmp_path / "run", f"model={model}", f"data.folder={folder / 'photos'}",
        f"data.inputs={folder / 'maps'}", "data.labels=3", "data.image_size=16", "data.heldout=0.3",
        "network.generator.width=4", "network.discriminator.width=4", "batch_size=4",
    )  # fmt: skip
    maps = np.kron(np.random.default_rng(0).integers(0, 3, (15, 10)), np.ones((5, 5), int))
    Path("mine").mkdir()
    Image.fromarray(np.array(COLOURS, np.uint8)[maps]).save("mine/painted.png")
    indexed = Image.fromarray(maps.astype(np.uint8), "P")
    indexed.putpalette(bytes(np.array(COLOURS, np.uint8).ravel()))
    indexed.save("mine/indexed.png")

    typed = ("gan-sample", "run", "input=mine", "size=native")
    assert command(*typed, "mode=images", "output=whole")[0] == 0
    for more in ((), ("tile=64",)):
        code, printed = command(*typed, "mode=compare", "output=made", *more)
        assert code == 0 and "; x_a | output" in printed, printed

    # 75x50, of which 72x48 from the middle; every pixel is of one label
    made, whole = (np.asarray(Image.open(f"{name}/indexed.png")) for name in ("made", "whole"))
    assert whole.shape == (72, 48, 3) and made.shape == (72, 96, 3)
    assert np.array_equal(made[:, :48], np.array(COLOURS, np.uint8)[maps][1:73, 1:49])
    difference = np.abs(made[:, 48:].astype(int) - whole)
    exact = "in one piece" not in printed
    assert exact == (model == "pix2pix")
    assert difference.max() <= 1 if exact else difference.mean() < 3
    assert np.array_equal(np.asarray(Image.open("made/painted.png")), made)
