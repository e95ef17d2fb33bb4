"""The law of all data sets: each keeps it, and one that breaks it is refused by a sentence, a
plug-in's too."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from PIL import Image

from gan_cli import registry
from gan_cli.data.batches import Batches
from gan_cli.data.dataset import Dataset, count
from gan_cli.data.kinds import kind_of
from gan_cli.data.two_domains import TwoDomains
from gan_cli.errors import UserError


@pytest.fixture
def needed(tmp_path: Path, benchmarks: Path) -> dict[str, dict[str, Any]]:
    """What data sets need to be built, where it is not the folder of all benchmarks or nothing."""
    (tmp_path / "a.csv").write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(30)))
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (9, 8), (40 * i, 0, 99)).save(tmp_path / "pets" / name / f"{i}.png")
    return {
        "csv": {"file": str(tmp_path / "a.csv")},
        "image_folder": {"folder": str(tmp_path / "pets")},
        "points": {"size": 500},
        "text": {},
        "smiles": {},
        "two_domains": {},
    }


@pytest.mark.parametrize("name", sorted(registry.datasets.components))
def test_every_data_set_keeps_the_law(
    name: str, needed: dict[str, dict[str, Any]], benchmarks: Path
) -> None:
    rooted = "root" in registry.datasets.options(name, "data")
    options = needed.get(name, {"root": str(benchmarks)} if rooted else {})
    data: Dataset = registry.datasets.build({"name": name, **options}, "data")
    assert data.train.keys() == data.heldout.keys()
    for fields in (data.train, data.heldout):
        assert len({len(values) for values in fields.values()}) == 1 and count(fields) > 0
        few = data.decode({field: values[:64] for field, values in fields.items()})
        assert all(values.isfinite().all() for values in few.values())
        assert ("x" in few) == kind_of(data.spec).sampled
        if "x" in few:
            assert few["x"].shape[1:] == data.spec.shape and few["x"].dtype == torch.float32
            assert not data.spec.bounded or few["x"].abs().max() <= 1
        for labels in {"y", "y_b"} & fields.keys() if data.spec.classes else ():
            assert set(fields[labels].tolist()) <= set(range(data.spec.classes))


PLUGIN = '''
"""A data set that breaks the law as it is told to."""
import torch
from gan_cli.data.dataset import Dataset, count
from gan_cli.data.kinds import kind_of, Spec
from gan_cli.registry import datasets


@datasets.register("broken")
class Broken(Dataset):
    kind = "image"
    metrics = ("classifier", "patches")

    def __init__(self, how: str = "not") -> None:
        self.spec = Spec("image", (1, 8, 8), classes=4)
        self.train, self.heldout = (
            {"x": torch.zeros(n, 1, 8, 8), "y": torch.arange(n) % 4} for n in (60, 40)
        )
        exec(how)


@datasets.register("no_data_set")
class NoDataSet:
    kind = "image"
    metrics = ()
'''

BREACHES = [
    (
        "self.heldout['y'][3] = 4",
        "its held-out labels y lie between 0 and 4, but with 4 classes they are 0 to 3",
    ),
    ("self.train['y'] -= 1", "its training labels y lie between -1 and 2"),
    (
        "self.train['y'] = self.train['y'].float()",
        "its training labels y are float32; expected one int64 number",
    ),
    (
        "self.train['y'] = self.train['y'].int()",
        "its training labels y are int32; expected one int64 number",
    ),
    (
        "self.heldout['y'] = self.heldout['y'][:, None]",
        "its held-out labels y are int64 of shape (1,)",
    ),
    ("del self.train['y']", "its spec says 4 classes, but its training data has no labels y"),
    ("self.train['y_b'] = self.train['y'] + 9", "its training labels y_b lie between 9 and 12"),
    (
        "self.train['x'] = torch.zeros(60, 1, 8, 9)",
        "x is float32 of shape (1, 8, 9) in its training data and",
    ),
    (
        "self.spec = Spec('image', (3, 8, 8), classes=4)",
        "are of shape (1, 8, 8), but its spec says (3, 8, 8)",
    ),
    ("self.spec = Spec('image', (8, 8), classes=4)", "expected (channels, height, width)"),
    ("self.spec = Spec('text', (4, 8), vocabulary='abc')", "expected (3 characters, length)"),
    (
        "self.train['x'][5, 0, 2] = float('nan')",
        "x of its training data is not finite in 1 of 60 samples",
    ),
    (
        "self.heldout['x'][:2] = float('inf')",
        "x of its held-out data is not finite in 2 of 40 samples",
    ),
    (
        "self.train['x'] = self.train['x'][:59]",
        "its training fields are not equally long: 59 of x, 60 of y",
    ),
    ("self.heldout = {k: v[:0] for k, v in self.heldout.items()}", "there is no held-out sample"),
    (
        "self.train = self.heldout = {name: values.double() if name == 'x' else values for name, "
        "values in self.train.items()}",
        "its samples are float64 of shape (1, 8, 8) once they are decoded; expected float32",
    ),
    (
        "self.train['x'] = self.train['x'].numpy()",
        "x of its training data is no tensor with a row for each sample",
    ),
    ("self.train = self.train['x']", "its training data is no dictionary of fields"),
    (
        "self.train['z'] = self.train['y']",
        "its training data has the fields x, y, z, its held-out data x, y",
    ),
    ("del self.heldout", "its class sets no heldout"),
    ("self.spec = Spec('points', (1, 8, 8), classes=4); self.flip = True", "flip is for images"),
]


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "broken.py").write_text(PLUGIN)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "broken.yaml").write_text("name: broken\nhow: pass\n")
    registry.add_plugin(str(tmp_path / "broken.py"))
    yield str(tmp_path / "broken.py")
    registry.PLUGINS.clear()
    for name in [name for name in sys.modules if name.startswith("gan_plugin")]:
        del sys.modules[name]
    for name in ("broken", "no_data_set"):
        registry.datasets._built.pop(name, None)


@pytest.mark.parametrize(("how", "said"), BREACHES)
def test_what_breaks_the_law_is_named(plugin: str, how: str, said: str) -> None:
    with pytest.raises(UserError) as told:
        registry.datasets.build({"name": "broken", "how": how}, "data")
    assert str(told.value).startswith("data=broken: ") and said in str(told.value), told.value


def test_what_is_no_data_set_is_named(plugin: str) -> None:
    with pytest.raises(UserError, match="data=no_data_set: is no data set"):
        registry.datasets.build({"name": "no_data_set"}, "data")


def test_a_breach_is_one_sentence_of_every_command(
    plugin: str, command: Command, tmp_path: Path
) -> None:
    typed = (
        f"plugins=[{plugin}]",
        "--config-dir",
        ".",
        "data=broken",
        "data.how='self.train[\"y\"] += 3'",
        "model=cgan",
    )
    for name in ("gan-train", "gan-bench"):
        code, printed = command(name, *typed)
        assert (
            code == 2
            and "data=broken: its training labels y lie between 3 and 6" in printed.splitlines()[-1]
        ), printed
    assert "Traceback" not in printed


def test_an_empty_class_and_a_wide_range_are_warnings(
    plugin: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        registry.datasets.build(
            {"name": "broken", "how": "self.train['y'] %= 3; self.train['x'] += 7"}, "data"
        )
    assert (
        "no training sample is of class 3" in caplog.text and "lie between 7 and 7" in caplog.text
    )
    caplog.clear()
    registry.datasets.build({"name": "broken", "how": "pass"}, "data")
    assert not caplog.text


def test_all_images_of_a_sample_are_mirrored_by_one_draw() -> None:
    data = TwoDomains()
    count = len(data.train["x"])
    batch = Batches(data, 10, seed=0, mirrored=True).gather(
        torch.tensor([5, count + 5, 6, count + 6])
    )
    for name in ("x", "x_b"):
        assert torch.equal(batch[name][::2].flip(-1), batch[name][1::2])
        assert not torch.equal(batch[name][::2], batch[name][1::2])
    assert torch.equal(batch["y_b"][::2], batch["y_b"][1::2])
