"""A folder of images of one's own: brightness, formats, what strangers put there, and the names of its classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_cli import registry
from gan_cli.data.dataset import Spec
from gan_cli.data.folder import ImageFolder


def plain_images(folder: Path, count: int, brightness: int = 100) -> None:
    """So many images of one colour, and of 16 x 16 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(np.full((16, 16, 3), brightness, np.uint8)).save(folder / f"{i}.png")


# --- names of classes -------------------------------------------------------------------------------------------------


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
