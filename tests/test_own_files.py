"""A trained model on people's own files: read as in training, tile by tile, side by side with what
they become, any number of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_cli.data.folder import ImageFolder
from gan_cli.data.pairs import Pairs
from gan_cli.data.spec import Field
from gan_cli.runs.inputs import samples_in

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
