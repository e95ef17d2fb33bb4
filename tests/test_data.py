"""Data sets: exact definitions, files that are read and never written, batches that cover every
sample."""

import bz2
import gzip
import os
import threading
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import (
    REAL_DATA,
    Command,
    compose,
    make_trainer,
    write_cifar10,
    write_mnist,
    write_svhn,
    write_usps,
)

from gan_cli import registry
from gan_cli.data import dataset
from gan_cli.data.batches import Batches
from gan_cli.data.benchmarks import CIFAR10, KMNIST, MNIST, SVHN, USPS, FashionMNIST
from gan_cli.data.dataset import Dataset, Fields, Spec, fits
from gan_cli.data.digits import Digits
from gan_cli.data.points import Points
from gan_cli.errors import UserError
from gan_cli.metrics.scoring import Scoring


def test_eight_gaussians() -> None:
    data = Points("eight_gaussians")
    assert data.centres is not None
    torch.testing.assert_close(data.centres.norm(dim=1), torch.full((8,), 2 / 1.414))
    neighbours = torch.cdist(data.centres, data.centres).sort(dim=1).values[:, 1]
    torch.testing.assert_close(neighbours, torch.full((8,), 1.0825), atol=1e-3, rtol=0)
    distance, mode = torch.cdist(data.train["x"], data.centres).min(dim=1)
    assert distance.square().mean().sqrt() == pytest.approx(2**0.5 * 0.0141, rel=0.02)
    assert torch.bincount(mode).min() > 0.9 * len(mode) / 8


def test_twenty_five_gaussians() -> None:
    data = Points("twenty_five_gaussians")
    assert data.centres is not None and len(data.centres) == 25
    assert torch.pdist(data.centres).min() == pytest.approx(0.7072, abs=1e-3)
    distance = torch.cdist(data.train["x"], data.centres).min(dim=1).values
    assert distance.square().mean().sqrt() == pytest.approx(2**0.5 * 0.01768, rel=0.02)


@pytest.mark.parametrize("distribution", ["swiss_roll", "moons"])
def test_curves_fill_the_picture(distribution: str) -> None:
    data = Points(distribution, size=5000)  # type: ignore[arg-type]
    assert data.train["x"].shape == (5000, 2) and data.train["x"].abs().max() < data.spec.extent
    assert not torch.equal(data.train["x"][:100], data.heldout["x"][:100])


def test_digits_are_real_and_split_evenly() -> None:
    data = Digits()
    assert data.train["x"].shape == (1347, 1, 8, 8) and len(data.heldout["x"]) == 450
    x = data.decode(data.train)["x"]
    assert x.min() == -1 and x.max() == 1
    assert torch.bincount(data.heldout["y"]).min() >= 43
    assert Digits(image_size=32).spec.shape == (1, 32, 32)


class Counted(Dataset):
    """Samples that are their own numbers."""

    def __init__(self, n: int) -> None:
        self.spec = Spec("points", (), bounded=False)
        self.train = self.heldout = {"x": torch.arange(n)}


@pytest.mark.parametrize(("n", "size"), [(10, 3), (10, 10), (3, 7), (100, 64)])
def test_every_sample_is_seen_once_an_epoch(n: int, size: int) -> None:
    batches = Batches(Counted(n), size, seed=1)
    drawn = [batches.next()["x"] for _ in range(3 * n)]
    assert all(len(batch) == size for batch in drawn)
    stream = torch.cat(drawn)
    for epoch in range(3):
        assert stream[epoch * n : (epoch + 1) * n].sort().values.tolist() == list(range(n))
    resumed = Batches(Counted(n), size, seed=1)
    resumed.position = 4
    assert torch.equal(resumed.next()["x"], drawn[4])


FILES = MNIST.files


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("size", [28, 32])
def test_mnist_files_are_read_and_nothing_is_written(
    tmp_path: Path, packed: bool, size: int
) -> None:
    contents = write_mnist(tmp_path, packed)
    before = sorted(tmp_path.rglob("*"))
    data = MNIST(str(tmp_path), image_size=size)  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before
    border = (size - 28) // 2
    assert data.train["x"].shape == (20, 1, size, size)
    inner = data.train["x"][:, 0, border : border + 28, border : border + 28]
    assert torch.equal(inner, torch.from_numpy(contents["train-images-idx3-ubyte"]))
    assert data.train["x"].sum() == contents["train-images-idx3-ubyte"].astype(int).sum()
    assert torch.equal(
        data.heldout["y"], torch.from_numpy(contents["t10k-labels-idx1-ubyte"]).long()
    )


def test_a_subset_is_the_first_training_images_and_all_held_out(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=False)
    whole, few = MNIST(str(tmp_path), image_size=28), MNIST(str(tmp_path), image_size=28, subset=2)
    assert torch.equal(few.train["x"], whole.train["x"][:2]) and torch.equal(
        few.train["y"], whole.train["y"][:2]
    )
    assert torch.equal(few.heldout["x"], whole.heldout["x"])


def test_the_smallest_laws() -> None:
    line, gaussian, dirac = (Points(name, size=2000) for name in ("line", "gaussian", "dirac"))
    assert line.spec.shape == (2,) and not line.train["x"][:, 0].any()
    assert line.train["x"][:, 1].abs().max() <= 1 and line.train["x"][
        :, 1
    ].std().item() == pytest.approx(3**-0.5, rel=0.05)
    assert gaussian.spec.shape == (1,) and gaussian.train["x"].std().item() == pytest.approx(
        1, rel=0.05
    )
    assert dirac.spec.shape == (1,) and not dirac.train["x"].any()


def test_a_damaged_mnist_file_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "MNIST" / "raw" / f"{FILES[0]}.gz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz is damaged"):
        MNIST(str(tmp_path))


def test_a_flipped_byte_in_a_packed_file_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "MNIST" / "raw" / f"{FILES[0]}.gz"
    content = bytearray(path.read_bytes())
    for at in range(200, 260):
        content[at] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz is damaged"):
        MNIST(str(tmp_path))


def idx(values: Any) -> bytes:
    """Bytes as an idx file."""
    array = np.asarray(values, np.uint8)
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def write_idx(root: Path, train: Any, t10k: Any) -> Path:
    """Two splits, (images, labels) each, as .gz."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, values in (("train", train), ("t10k", t10k)):
        for kind, content in zip(("images-idx3", "labels-idx1"), values, strict=True):
            (raw / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(content)))
    return raw


@pytest.mark.parametrize("names", [range(1, 27), range(2), (3, 7), range(10)])
def test_the_labels_of_the_files_are_the_classes(tmp_path: Path, names: Any) -> None:
    labels = np.resize(list(names), 60)
    images = labels[:, None, None] + np.zeros((60, 28, 28))
    write_idx(tmp_path, (images, labels), (images[:52], labels[:52]))
    data = MNIST(str(tmp_path), image_size=28)
    assert data.spec.classes == len(names)
    assert data.spec.names == tuple(map(str, names))
    for fields in (data.train, data.heldout):  # a pixel says what the file called the class
        assert [list(names)[label] for label in fields["y"].tolist()] == fields["x"][
            :, 0, 0, 0
        ].tolist()
    assert Spec.restore(data.spec.plain()) == data.spec


def test_letters_train_a_conditional_model(command: Command, tmp_path: Path) -> None:
    labels = np.resize(range(1, 27), 60)
    write_idx(tmp_path, (np.zeros((60, 28, 28)), labels), (np.zeros((30, 28, 28)), labels[:30]))
    typed = (
        "model=cgan",
        "data=mnist",
        "data.root=.",
        "steps=1",
        "network.width=4",
        "evaluate_every=0",
    )
    code, printed = command("gan-train", *typed, "sample_every=0", "hydra.run.dir=run")
    assert code == 0, printed
    assert command("gan-sample", "checkpoint=run", "classes=[25]", "n=2")[0] == 0


@pytest.mark.parametrize(("size", "expected"), [(32, 64), (28, 64), (16, 16)])
def test_images_of_another_side_keep_it(tmp_path: Path, size: Any, expected: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 64, 64))
    write_idx(tmp_path, (images, range(20)), (images, range(20)))
    data = MNIST(str(tmp_path), image_size=size)
    assert data.spec.shape == (1, expected, expected) == tuple(data.train["x"].shape[1:])
    assert "64x64" in data.note and (data.resizing == "none") == (expected == 64)
    assert expected != 64 or torch.equal(
        data.train["x"][:, 0], torch.from_numpy(images).to(torch.uint8)
    )


WELL = (np.zeros((4, 28, 28)), range(4))


@pytest.mark.parametrize(
    ("train", "t10k", "said"),
    [
        (
            (np.zeros((4, 28, 20)), range(4)),
            WELL,
            "images in .* are 28x20 and 28x28; expected squares of one side",
        ),
        (
            WELL,
            (np.zeros((4, 16, 16)), range(4)),
            "images in .* are 28x28 and 16x16; expected squares of one side",
        ),
        (
            (np.zeros((4, 28, 28)), range(3)),
            WELL,
            r"do not belong together: .* \(4, 28, 28\) and "
            r"\(3,\)",
        ),
        ((np.zeros((4, 784)), range(4)), WELL, r"do not belong together: .* \(4, 784\) and \(4,\)"),
        ((np.zeros((4, 28, 28, 3)), range(4)), WELL, "do not belong together"),
        ((np.zeros((0, 28, 28)), ()), WELL, "the train files in .* hold no image"),
        (WELL, (np.zeros((0, 28, 28)), ()), "the t10k files in .* hold no image"),
        ((np.zeros((4, 0, 0)), range(4)), WELL, "expected squares of one side"),
    ],
)
def test_idx_files_that_do_not_fit_are_one_sentence(
    tmp_path: Path, train: Any, t10k: Any, said: str
) -> None:
    write_idx(tmp_path, train, t10k)
    with pytest.raises(UserError, match=f"^data=mnist: .*{said}"):
        MNIST(str(tmp_path))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0\0",
        b"\0\0\x08",
        b"\0\0\x0d\x03",
        b"\x7fELF",
        b"\0\0\x08\xff",
        b"\0\0\x08\0",
        b"\0\0\x08\x03\0\0",
        b"\0\0\x08\x03" + b"\xff" * 12,
        b"\0\0\x08\x03" + b"\x7f\xff\xff\xff" * 3,
        b"\0\0\x08\x03" + b"\0\1\0\0" * 4,
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_header_is_not_believed(tmp_path: Path, head: bytes, packed: bool) -> None:
    write_mnist(tmp_path, packed)
    path = tmp_path / "MNIST" / "raw" / (FILES[0] + ".gz" * packed)
    path.write_bytes(gzip.compress(head + bytes(100)) if packed else head + bytes(100))
    with pytest.raises(
        UserError,
        match=r"^data=mnist: .*train-images-idx3-ubyte\S* is damaged: "
        r"it (begins|says)",
    ):
        MNIST(str(tmp_path))


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=False)
    path = tmp_path / "MNIST" / "raw" / FILES[1]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="train-labels-idx1-ubyte is a named pipe, not a file"):
        MNIST(str(tmp_path))
    write_usps(tmp_path)
    (tmp_path / "usps" / "usps.t.bz2").unlink()
    os.mkfifo(tmp_path / "usps" / "usps.t.bz2")
    with pytest.raises(UserError, match=r"usps\.t\.bz2 cannot be read \(is a named pipe"):
        USPS(str(tmp_path))


def no_download(*_: object, **__: object) -> None:
    raise AssertionError("it downloads over what is there")


def test_nothing_is_downloaded_over_files_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", no_download)
    write_mnist(tmp_path, packed=True)
    (tmp_path / "MNIST" / "raw" / f"{FILES[2]}.gz").unlink()
    with pytest.raises(
        UserError,
        match=r"data=mnist: .*MNIST/raw lacks t10k-images-idx3-ubyte; "
        r"put it there",
    ):
        MNIST(str(tmp_path))
    write_svhn(tmp_path, [1, 2])
    with pytest.raises(UserError, match=r"data=svhn: what is in .*svhn cannot be read .*delete it"):
        SVHN(str(tmp_path))  # not the checksums that torchvision knows
    write_cifar10(tmp_path, [1, 2])
    with pytest.raises(UserError, match=r"data=cifar10: what is in .* cannot be read .*delete it"):
        CIFAR10(str(tmp_path))


def test_missing_mnist_files_are_downloaded_by_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def download(root: str, download: bool) -> None:
        calls.append((root, download))
        write_mnist(Path(root), packed=False)

    monkeypatch.setattr("torchvision.datasets.MNIST", download)
    assert len(MNIST(str(tmp_path / "new")).train["x"]) == 20
    assert calls == [(str(tmp_path / "new"), True)]


def test_the_root_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_DATA_ROOT", "/data/of/mine")
    assert compose("data=mnist")["data"]["root"] == "/data/of/mine"
    assert compose("data=mnist", "data.root=/other")["data"]["root"] == "/other"
    monkeypatch.delenv("GAN_DATA_ROOT")
    assert compose("data=mnist")["data"]["root"] is None


@pytest.mark.parametrize(("data", "folder"), [(FashionMNIST, "FashionMNIST"), (KMNIST, "KMNIST")])
def test_relatives_of_mnist_lie_in_folders_of_their_own(
    tmp_path: Path, data: type[MNIST], folder: str
) -> None:
    contents = write_mnist(tmp_path, packed=True, name=folder)
    images = data(str(tmp_path), image_size=28).train["x"][:, 0]
    assert torch.equal(images, torch.from_numpy(contents["train-images-idx3-ubyte"]))


def test_usps_is_read(tmp_path: Path) -> None:
    write_usps(tmp_path)
    data = USPS(str(tmp_path))
    assert data.train["x"].shape == (12, 1, 16, 16) and data.heldout["y"].tolist() == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert data.train["x"][3].flatten().argmax() == 3 and data.train["x"].max() == 255
    assert USPS(str(tmp_path), image_size=32).spec.shape == (1, 32, 32)


def test_usps_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    import torchvision.datasets

    (tmp_path / "usps").mkdir()
    values = np.random.default_rng(0).uniform(-1, 1, (30, 256))
    values[0, ::2], values[1] = -1, 1
    lines = [
        f"{i % 10 + 1} " + " ".join(f"{j + 1}:{v:.4f}" for j, v in enumerate(row))
        for i, row in enumerate(values)
    ]
    for name in USPS.files:
        (tmp_path / "usps" / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    there = torchvision.datasets.USPS(str(tmp_path / "usps"))
    found = USPS(str(tmp_path)).train
    assert (
        torch.equal(found["x"][:, 0], torch.from_numpy(there.data))
        and found["y"].tolist() == there.targets
    )


@pytest.mark.parametrize(
    "line",
    ["12 1:0.5", "0 1:0.5", "1.5 1:0.5", "3 1:7", "3 1:nan", "3 257:0.5", "three", "\0\xff", ""],
)
def test_a_damaged_usps_file_is_named(tmp_path: Path, line: str) -> None:
    write_usps(tmp_path)
    path = tmp_path / "usps" / "usps.t.bz2"
    path.write_bytes(bz2.compress(line.encode("latin-1")))
    with pytest.raises(UserError, match=r"^data=usps: what is in .*usps\.t\.bz2 cannot be read"):
        USPS(str(tmp_path))
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(UserError, match=r"usps\.t\.bz2 cannot be read \(is damaged"):
        USPS(str(tmp_path))


def test_svhn_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_svhn(tmp_path, [1, 2, 3, 4, 5, 6, 10])
    monkeypatch.setattr("torchvision.datasets.SVHN._check_integrity", lambda self: True)
    data = SVHN(str(tmp_path))
    assert data.train["y"].tolist() == [1, 2, 3, 4, 5, 6, 0]
    assert torch.equal(data.train["x"][2], torch.from_numpy(images[..., 2].transpose(2, 0, 1)))


def test_cifar10_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = write_cifar10(tmp_path, [3, 1, 4, 1])
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    data = CIFAR10(str(tmp_path), flip=True)
    assert data.train["x"].shape == (20, 3, 32, 32) and data.heldout["y"].tolist() == [3, 1, 4, 1]
    assert torch.equal(data.heldout["x"], torch.from_numpy(pixels))
    assert CIFAR10(str(tmp_path), image_size=16).spec.shape == (3, 16, 16)


@pytest.mark.parametrize("data", ["mnist", "fashion_mnist", "kmnist", "usps", "cifar10", "svhn"])
def test_without_files_or_network_there_is_one_sentence(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(
        UserError,
        match=rf"data={data}: no files in .* no download .* set "
        r"data.root .* data=digits",
    ):
        registry.datasets.build({"name": data, "root": str(tmp_path)}, "data")


@pytest.mark.parametrize("name", ["svhn", "cifar10"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", bytes(5000)])
def test_damaged_files_of_torchvision_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    monkeypatch.setattr("torchvision.datasets.SVHN._check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    write_svhn(tmp_path, [1, 2])
    write_cifar10(tmp_path, [1, 2])
    for file in ("svhn/test_32x32.mat", "cifar-10-batches-py/test_batch"):
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=f"^data={name}: what is in .* cannot be read"):
        registry.datasets.build({"name": name, "root": str(tmp_path)}, "data")


def test_mirror_images_double_an_epoch() -> None:
    data = Digits()
    plain, batches = Batches(data, 100, seed=0), Batches(data, 100, seed=0, mirrored=True)
    count = len(data.train["x"])
    assert (plain.size, batches.size) == (count, 2 * count)
    both = batches.gather(torch.tensor([5, count + 5]))
    assert torch.equal(both["x"][0].flip(-1), both["x"][1]) and both["y"][0] == both["y"][1]
    assert torch.equal(both["x"][0], plain.gather(torch.tensor([5]))["x"][0])
    assert make_trainer("data=digits").batches.mirrored is False


@pytest.mark.skipif(
    not (REAL_DATA and Path(REAL_DATA, "MNIST").is_dir()), reason="GAN_DATA_ROOT holds no MNIST"
)
def test_the_real_mnist() -> None:
    data = MNIST(REAL_DATA)
    assert len(data.train["x"]) == 60_000 and len(data.heldout["x"]) == 10_000
    assert data.train["y"][:5].tolist() == [5, 0, 4, 1, 9]


def test_every_data_set_names_registered_metrics() -> None:
    for component in registry.datasets.components.values():
        assert set(component.attributes["metrics"]) <= registry.metrics.components.keys()


@pytest.mark.parametrize("mirrored", [False, True])
def test_batches_that_are_sent_ahead_are_the_same(
    mirrored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cpu:0` stands for another device than `cpu`, where the data lies."""
    now: list[int] = []
    send = Batches._send

    def watched(self: Batches, rows: torch.Tensor) -> object:
        if threading.current_thread() is threading.main_thread():
            now.append(len(rows))
        return send(self, rows)

    monkeypatch.setattr(Batches, "_send", watched)
    data = Digits()
    plain = Batches(data, 100, seed=0, mirrored=mirrored)
    sent = Batches(data, 100, seed=0, mirrored=mirrored, device=torch.device("cpu", 0))
    assert sent._thread is not None and plain._thread is None
    for _ in range(40):  # over the end of an epoch
        a, b = plain.next_rows(), sent.next_rows()
        assert torch.equal(a, b)
        for start, part, other in zip(range(0, 100, 25), a.chunk(4), b.chunk(4), strict=True):
            assert all(
                torch.equal(plain.gather(part)[name], values)
                for name, values in sent.gather(other, b, start).items()
            )
    assert now == [25] * 4, "only the parts of the first batch were not sent ahead"
    plain.position = sent.position = 3  # as after a resume
    plain.seed = sent.seed = 5  # as after a rollback
    for _ in range(3):
        assert torch.equal(plain.next()["x"], sent.next()["x"])
    assert torch.equal(plain.gather(torch.arange(7))["x"], sent.gather(torch.arange(7))["x"])


def test_data_stays_on_the_host_where_the_device_has_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu, data = torch.device("cuda", 0), {"x": torch.zeros(1000, dtype=torch.uint8)}
    for free, room in ((2000, True), (1999, False)):
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda device, free=free: (free, 10**9))
        assert fits(data, gpu) is room
    assert fits(data, torch.device("cpu"))


def test_former_names_of_data_sets_and_metrics_are_called_and_defined() -> None:
    """Plug-ins that were written for an earlier version define and call members by these."""

    class Old(Digits):
        def some(self, fields: Fields, n: int, purpose: str = "scored") -> torch.Tensor:
            return torch.full((n,), 7.0)

    class OldMetric(Scoring):
        def seen(self, samples: torch.Tensor, y: torch.Tensor | None, start: int) -> int:
            return len(samples)

        def judged(self, kept: list[int]) -> dict[str, float]:
            return {"count": float(sum(kept))}

    data, old = Digits(), Old()
    for present, former in dataset.FORMER_NAMES.items():
        assert hasattr(data, present) and hasattr(data, former)
    assert data.mark == data.digest and data.scored_by == data.default_metrics  # type: ignore[attr-defined]
    assert torch.equal(data.some(data.train, 5), data.sample_x(data.train, 5))  # type: ignore[attr-defined]
    assert old.sample_x(old.train, 2).tolist() == [7, 7]
    metric = OldMetric()
    assert metric(torch.zeros(3, 2)) == {"count": 3} and not hasattr(metric, "provenance")
