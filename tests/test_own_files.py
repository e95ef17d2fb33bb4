"""A trained model on people's own files: read as in training, tile by tile, side by side with what
they become, any number of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, mostly_slow, save_run
from PIL import Image
from torch import Tensor, nn

import gan_cli
from gan_cli.data.folder import ImageFolder
from gan_cli.data.pairs import Pairs
from gan_cli.data.spec import Field
from gan_cli.errors import UserError
from gan_cli.games.pix2pix import Pix2Pix
from gan_cli.networks import spade, super_resolution, translation, unet
from gan_cli.runs import inputs
from gan_cli.runs.inputs import samples_in
from gan_cli.sampling import formats, tiles

ENLARGING = (
    "model=srresnet", "data.of=digits", "data.factor=2", "network.generator.width=4",
    "network.generator.blocks=1", "network.discriminator.width=4",
    "network.discriminator.halvings=2", "batch_size=6",
)  # fmt: skip
PAIRS = (
    "model=pix2pix", "data.of=digits", "network.width=4", "network.discriminator.width=4",
    "batch_size=6",
)  # fmt: skip

# --- reading --------------------------------------------------------------------------------------


def turned(folder: Path, count: int, alpha: bool) -> None:
    """Random pictures of 8x8 that lie on their side, by EXIF, some of them transparent in part."""
    random = np.random.default_rng(int(alpha))
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = random.integers(0, 256, (8, 8, 3 + alpha), np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter, clockwise
        Image.fromarray(pixels).save(folder / f"{i:02d}.png", exif=exif)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("multiple", [0, 8], ids=["trained", "native"])
def test_a_file_is_read_as_in_training(tmp_path: Path, alpha: bool, multiple: int) -> None:
    turned(tmp_path / "x", 8, alpha)
    turned(tmp_path / "a" / "x_a", 8, alpha)
    read = samples_in(tmp_path / "a" / "x_a", Field("image", (3, 8, 8)), multiple)
    assert read is not None
    own = torch.stack(read[0])

    pairs = Pairs(
        folder=str(tmp_path / "x"), inputs=str(tmp_path / "a" / "x_a"), image_size=8, heldout=0.3
    )
    alone = ImageFolder(str(tmp_path / "a" / "x_a"), image_size=8, heldout=0.3)
    for split in (
        torch.cat([pairs.train["x_a"], pairs.heldout["x_a"]]),
        torch.cat([alone.train["x"], alone.heldout["x"]]),
    ):
        assert sorted(map(bytes, split.numpy())) == sorted(map(bytes, own.numpy()))

    # a quarter clockwise, on white
    pixels = np.asarray(Image.open(tmp_path / "a" / "x_a" / "00.png").convert("RGBA")).astype(float)
    opaque = 255 + (pixels[..., :3] - 255) * pixels[..., 3:] / 255
    expected = np.rot90(opaque, -1).transpose(2, 0, 1)
    assert np.abs(own[0].numpy() - expected).max() <= 1


# --- tiles ----------------------------------------------------------------------------------------


def network_of(name: str) -> tuple[Callable[[Tensor], Tensor], int]:
    """A network with random weights and statistics, of three channels, and what sides of its inputs
    must be multiples of."""
    torch.manual_seed(0)
    small = {"width": 4}
    made: nn.Module = {
        "enlarging": lambda: super_resolution.Generator((3, 16, 16), (3, 8, 8), blocks=1, **small),
        "unet": lambda: unet.Generator((3, 16, 16), (3, 16, 16), **small),
        "local": lambda: translation.Generator(
            (3, 16, 16), (3, 16, 16), generator_norm="batch", blocks=1, **small
        ),
        "global": lambda: translation.Generator((3, 16, 16), (3, 16, 16), **small),
        "spade": lambda: spade.Generator((3, 16, 16), (3, 16, 16), hidden=4, **small),
    }[name]()
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0.0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    if name == "enlarging":
        nn.init.normal_(made.last.weight, 0.0, 0.05)
    made.eval()
    multiple: int = made.multiple

    @torch.no_grad()
    def network(x: Tensor) -> Tensor:
        result: Tensor = made(x, torch.empty(len(x), 0))
        return result

    return network, multiple


def joined_of(network: Callable[[Tensor], Tensor], x: Tensor, tiling: tiles.Tiling) -> Tensor:
    """What a network makes of a picture (C, H, W) tile by tile."""
    largest = 0

    def part(top: int, left: int, high: int, wide: int) -> Tensor:
        nonlocal largest
        largest = max(largest, high, wide)
        return network(x[None, :, top : top + high, left : left + wide])[0]

    _, height, width = x.shape
    made = torch.full((3, tiling.ratio * height, tiling.ratio * width), torch.nan)
    for top, strip in tiles.strips(part, height, width, tiling):
        made[:, top : top + strip.shape[1]] = strip
    assert largest <= tiling.side
    return made


def picture(name: str, height: int, width: int) -> Tensor:
    """A constant, a gradient or noise, (3, height, width)."""
    if name == "constant":
        return torch.full((3, height, width), 0.3)
    if name == "gradient":
        return torch.linspace(-1, 1, width).expand(3, height, width)
    return 2 * torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.parametrize(
    ("name", "side", "far"), [("enlarging", 64, 10), ("unet", 64, 15), ("local", 64, None)]
)
@pytest.mark.parametrize("shown", ["constant", "gradient", "noise"])
@pytest.mark.parametrize("sides", [(64, 200), (136, 72), (48, 160)])
def test_a_local_network_leaves_no_seams(
    name: str, side: int, far: int | None, shown: str, sides: tuple[int, int]
) -> None:
    network, multiple = network_of(name)
    tiling = tiles.tiling(network, 3, side, multiple)
    assert tiling.exact and not tiling.remark and far in (None, tiling.reach)
    x = picture(shown, *sides)
    torch.testing.assert_close(
        joined_of(network, x, tiling), network(x[None])[0], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("side", [64, 96])
def test_a_network_of_everything_is_blended_and_the_user_is_told(side: int) -> None:
    """What differs from tile to tile changes along a line, without an edge."""

    def network(x: Tensor) -> Tensor:
        return x - x.mean(dim=(2, 3), keepdim=True)

    tiling = tiles.tiling(network, 3, side, 1)
    assert tiling.reach is None and "looks more than 128 pixels around each" in tiling.remark
    constant = joined_of(network, picture("constant", 136, 200), tiling)
    torch.testing.assert_close(constant, torch.zeros(3, 136, 200), rtol=0, atol=1e-5)

    # the means of two neighbours are those of the gradient at a tile's distance
    x = picture("gradient", 136, 200)
    slope, step = 2 / 199, side - tiling.overlap
    ramp = tiling.overlap - 2 * tiling.margin
    made = joined_of(network, x, tiling)
    steepest = float(made.diff(dim=2).abs().max())
    assert steepest == pytest.approx((step / ramp - 1) * slope, rel=0.01)
    alone = torch.cat([network(part[None])[0] for part in x.split(side, dim=2)], dim=2)
    assert steepest < float(alone.diff(dim=2).abs().max()) / 4
    assert float(made.diff(dim=1).abs().max()) < 1e-5


def test_instance_norm_is_of_the_whole_picture() -> None:
    network, multiple = network_of("global")
    tiling = tiles.tiling(network, 3, 64, multiple)
    assert tiling.reach is None and not tiling.exact
    assert joined_of(network, picture("noise", 136, 200), tiling).isfinite().all()


def test_a_network_that_sees_farther_than_a_tile_says_which_tile_would_do() -> None:
    network, multiple = network_of("unet")
    tiling = tiles.tiling(network, 3, 48, multiple)
    assert (
        not tiling.exact and tiling.reach == 15 and "tile=64 would make the same" in (tiling.remark)
    )
    assert tiles.tiling(network, 3, 64, multiple).exact


@pytest.mark.parametrize(
    ("tile", "multiple", "why"),
    [
        (8, 1, "tile=8: too small for the networks of the checkpoint's model; take 16 or more."),
        (64, 32, "tile=64: too small for .*; take 128 or more."),
        (250, 32, "tile=250: .* multiples of 32; take tile=256."),
    ],
)
def test_tiles_that_a_network_cannot_take_are_refused(tile: int, multiple: int, why: str) -> None:
    with pytest.raises(UserError, match=why):
        tiles.refuse_unfit(tile, multiple)


# --- use ------------------------------------------------------------------------------------------


def waves(path: Path, width: int, height: int) -> None:
    """A picture of waves."""
    y, x = np.mgrid[:height, :width]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((127 + 100 * np.sin(x / 9) * np.cos(y / 7)).astype(np.uint8)).save(path)


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")).astype(int)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`made("enlarging", *ENLARGING)`: the folder of a run of one round."""
    folder = tmp_path_factory.mktemp("own")
    return lambda name, *typed: (
        folder / name if (folder / name).exists() else save_run(folder / name, *typed)
    )


def test_a_large_picture_is_made_of_tiles(made: Callable[..., Path], command: Command) -> None:
    run = made("enlarging", *ENLARGING)
    waves(Path("mine/large.png"), 150, 70)
    waves(Path("mine/small.png"), 20, 30)
    typed = ("gan-sample", str(run), "input=mine", "mode=images", "size=native")
    assert command(*typed, "output=whole")[0] == 0
    code, printed = command(*typed, "output=tiled", "tile=48")
    assert code == 0 and printed.endswith(" in tiled, in their own sizes\n"), printed
    for name, sides in (("large", (300, 140)), ("small", (40, 60))):
        assert Image.open(f"tiled/{name}.png").size == sides
        assert np.abs(pixels(f"tiled/{name}.png") - pixels(f"whole/{name}.png")).max() <= 1

    for more, why in (
        ("tile=8", "tile=8: too small"),
        ("tile=0", "tile=0: must be at least 1"),
    ):
        code, printed = command(*typed, "output=no", more)
        assert code == 2 and why in printed and len(printed.splitlines()) == 1, printed
    code, printed = command(*typed, "output=tiled", "tile=16")
    assert code == 0 and "looks 10 pixels around each" in printed
    assert "tile=40 would make the same; 2 that were there are replaced" in printed


@pytest.mark.parametrize("size", ["trained", "native"])
def test_an_input_and_its_output_are_side_by_side(
    made: Callable[..., Path], command: Command, size: str
) -> None:
    run = made("enlarging", *ENLARGING)
    waves(Path("mine/cat.png"), 4, 4)
    typed = ("gan-sample", str(run), "input=mine", f"size={size}")
    assert command(*typed, "mode=images", "output=alone")[0] == 0
    code, printed = command(*typed, "mode=compare", "output=beside")
    assert code == 0 and "; x_a | output" in printed and "| x" not in printed.split("output")[-1]
    beside = pixels("beside/cat.png")
    given = pixels("mine/cat.png").repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(beside, np.concatenate([given, pixels("alone/cat.png")], axis=1))


def test_inputs_without_a_picture_are_not_shown_beside(
    made: Callable[..., Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pix2Pix, "panels", ("output",))
    typed = ("gan-sample", str(made("pairs", *PAIRS)), "input=heldout", "mode=compare")
    code, printed = command(*typed)
    assert code == 2 and printed == (
        "gan-sample: mode=compare: the checkpoint's model has no pictures of its inputs; take "
        "mode=images.\n"
    )


def test_the_true_image_is_shown_where_it_is_known(
    made: Callable[..., Path], command: Command
) -> None:
    typed = ("gan-sample", str(made("pairs", *PAIRS)), "input=heldout", "mode=compare", "n=20")
    code, printed = command(*typed, "output=beside")
    assert code == 0 and "20 samples" in printed and "; x_a | output | x" in printed
    assert len(list(Path("beside").iterdir())) == 20
    data = Pairs(of="digits")
    found = pixels("beside/seed_00000017.png")
    assert found.shape == (8, 24)
    assert np.array_equal(found[:, :8], data.heldout["x_a"][17, 0].numpy())
    assert np.array_equal(found[:, 16:], data.heldout["x"][17, 0].numpy())


def test_a_long_folder_is_read_a_few_files_at_a_time(
    made: Callable[..., Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made("pairs", *PAIRS)
    for i in range(40):
        waves(Path(f"mine/{i:02d}.png"), 8 + i, 9)
    typed = ("gan-sample", str(run), "input=mine", "mode=images")
    assert command(*typed, "output=all")[0] == 0

    taken: list[int] = []
    honest = inputs.OnDemand.rows
    monkeypatch.setattr(
        inputs.OnDemand, "rows", lambda self, rows: (taken.append(len(rows)), honest(self, rows))[1]
    )
    code, printed = command(*typed, "output=few", "n=35")
    assert code == 0 and taken == [16, 16, 3]
    assert "35 samples" in printed and "; 5 more files are left out (n=35)" in printed
    # each file has the output that it has among any others
    for i in (0, 17, 34):
        same = Path(f"few/{i:02d}.png").read_bytes()
        assert same == Path(f"all/{i:02d}.png").read_bytes()
        assert command(*typed[:2], f"input=mine/{i:02d}.png", typed[3], "output=one")[0] == 0
        assert same == Path(f"one/{i:02d}.png").read_bytes()


def test_memory_bounds_no_folder(made: Callable[..., Path], command: Command) -> None:
    """What is in memory at a time is a few samples, whatever their number."""
    generator = gan_cli.load(made("pairs", *PAIRS))
    with pytest.raises(UserError, match="samples need"):
        generator.refuse_more_than_fits(10**9, "n=1000000000")
    waves(Path("mine/a.png"), 8, 8)
    typed = ("gan-sample", str(made("pairs", *PAIRS)), "input=mine", "n=1000000000")
    assert command(*typed, "mode=images")[0] == 0


@pytest.mark.parametrize("size", ["trained", "native"])
def test_pictures_do_not_take_the_place_of_their_inputs(
    made: Callable[..., Path], command: Command, size: str
) -> None:
    waves(Path("mine/a.png"), 8, 8)
    before = Path("mine/a.png").read_bytes()
    typed = ("gan-sample", str(made("pairs", *PAIRS)), "mode=images", f"size={size}", "output=mine")
    for given in ("mine", "mine/a.png"):
        code, printed = command(*typed, f"input={given}")
        assert code == 2 and "output=mine: holds the inputs" in printed, printed
        assert Path("mine/a.png").read_bytes() == before


# --- files that run without gan-cli ---------------------------------------------------------------


NETWORKS = {
    "enlarging": (ENLARGING, 1, 2),
    "pairs": (PAIRS, 4, 1),
    "noisy": ((*PAIRS, "model.latent=3"), 4, 1),
    "unpaired": (
        ("model=cyclegan", "data.of=digits", "network.generator.width=4", "batch_size=6",
         "network.discriminator.width=4"), 2, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("suffix", mostly_slow(["pt2", "onnx"], "onnx"))
@pytest.mark.parametrize("name", mostly_slow(NETWORKS, "enlarging"))
def test_an_exported_file_takes_images_of_other_sides(
    made: Callable[..., Path], command: Command, name: str, suffix: str
) -> None:
    typed, multiple, ratio = NETWORKS[name]
    run = made(name, *typed)
    output = Path(f"a.{suffix}")
    with pytest.MonkeyPatch.context() as patch:
        # runs of a test carry no inputs
        generator = gan_cli.load(run)
        (first,) = generator.game.sampling.given
        shape = generator.data.seen_as(first).shape
        own = inputs.Inputs({first: torch.rand(50, *shape)})
        patch.setattr("gan_cli.runs.inputs.carried", lambda *_: own)
        code, printed = command("gan-export", str(run), f"output={output}")
    assert code == 0 and f"height and width may be other multiples of {multiple}" in printed

    height, width = 16 * multiple, 29 * multiple
    latents = generator.drawn(range(2))
    x = torch.rand(2, shape[0], height, width)
    fields = [latents, x] if latents.shape[1] else [x]
    with torch.no_grad():
        expected = generator.game.render(latents, x)  # type: ignore[call-arg]
    rendered = formats.LOADERS[f".{suffix}"](output)(*fields)
    assert rendered.shape[2:] == (ratio * height, ratio * width)
    torch.testing.assert_close(rendered, expected, rtol=0, atol=1e-5)


def test_a_network_that_cannot_be_exported_so_keeps_its_sides(
    made: Callable[..., Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made("pairs", *PAIRS)
    own = inputs.Inputs({"x_a": torch.rand(50, 1, 8, 8)})
    monkeypatch.setattr("gan_cli.runs.inputs.carried", lambda *_: own)

    def fixed(self: unet.Generator, x: Tensor, z: Tensor) -> Tensor:
        return x.view(-1, 1, 8, 8) * 0.5

    monkeypatch.setattr(unet.Generator, "forward", fixed)
    code, printed = command("gan-export", str(run), "output=a.pt2")
    assert code == 0 and printed.endswith(
        "; height and width are fixed, as it cannot be exported for others\n"
    ), printed
