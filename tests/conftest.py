"""What the tests share: a configuration from overrides, a tiny trainer, the commands as a user
types them."""

import bz2
import copy
import functools
import gzip
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# before torch: tiny networks lose by threads, most of all on a busy machine
os.environ["OMP_NUM_THREADS"] = "1"
# as in the background of a shell; what tests start must hear it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# before CUDA: what must be exact on a GPU needs it
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
import yaml

from gan_cli import files, main, noise, registry
from gan_cli.commands import train as train_command
from gan_cli.data.benchmarks import MNIST
from gan_cli.data.dataset import Dataset
from gan_cli.devices.processes import World
from gan_cli.optimizers import Rate
from gan_cli.runs import checkpoint, rundir
from gan_cli.training import build
from gan_cli.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
REAL_DATA = os.environ.pop("GAN_DATA_ROOT", None)
"""Where real data sets lie, if the environment says so; the tests themselves do without."""
MODELS = sorted(path.stem for path in (ROOT / "configs" / "model").glob("*.yaml"))
TINY = ("batch_size=6", "network.width=8")
TRAINED = ("classifier", "auto")  # features whose network may be trained first
TINY_RUN = (
    "++model.ema=0.5",
    "steps=3",
    "batch_size=8",
    "network.width=8",
    "evaluate_every=3",
    "sample_every=0",
    "hydra.run.dir=run",
)
OFFLINE_DATA = ("digits", "points")
"""Data that comes with the packages, and trains anything but text."""
Command = Callable[..., tuple[int, str]]
"""`command("gan-train", "steps=3")`: exit code and all that was printed."""


# --- what the sources say of a model, before anything is composed ---------------------------------


@functools.cache
def written(model: str) -> dict[str, Any]:
    """The keys of a model's file, and the options of other groups that it picks, those of the model
    it builds on included."""
    content = yaml.safe_load((ROOT / "configs" / "model" / f"{model}.yaml").read_text())
    found: dict[str, Any] = {}
    for item in content.pop("defaults", []):
        if isinstance(item, str):
            found |= {} if item == "_self_" else written(item)
        else:
            ((target, option),) = item.items()
            found[target.rpartition(".")[2]] = option
    return found | content


@functools.cache
def facts(model: str) -> dict[str, Any]:
    """What the class of its game says of itself."""
    return registry.games.attributes(written(model)["name"], "model")


@functools.cache
def kinds(model: str) -> tuple[str, ...]:
    """The kinds of data that the networks it picks are for; none if they are for any."""
    option = written(model).get("network", "auto")
    family = yaml.safe_load((ROOT / "configs" / "network" / f"{option}.yaml").read_text())["name"]
    found = registry.networks.components.get(f"{family}.generator")
    return found.attributes.get("kinds", ()) if found else ()


def takes(model: str, data: str) -> bool:
    """Whether a model plays with these data of the packages: points have neither classes nor
    pixels, and some models bring their own data."""
    if own := written(model).get("data"):
        return bool(own == data)
    kind, labelled = {"digits": ("image", True), "points": ("points", False)}[data]
    return kind in (kinds(model) or (kind,)) and (labelled or not facts(model)["needs_labels"])


def of_text(model: str) -> bool:
    """Whether it is a model of characters; the laws of the others are tried on images and
    points."""
    return kinds(model) == ("text",)


def averages(model: str) -> bool:
    """Whether an average follows any of its networks."""
    return bool(facts(model)["averaged"])


def fitting(model: str, *data: str) -> tuple[str, ...]:
    """`model=` with these data overrides, or with data that the model does take. Networks that grow
    are whole from the start, since laws over all weights are tried on grown ones; see
    tests/test_progressive.py."""
    if own := written(model).get("data"):
        kept = () if of_text(model) else [item for item in data if item.startswith("data.")]
        # laws need no features of a classifier, which would be trained first
        quick = ("features=random",) if written(model).get("features") in TRAINED else ()
        return (f"model={model}", f"data={own}", *kept, *quick)
    whole = ("model.growth=0",) if written(model).get("growth") else ()
    other = "data=points" in data and not takes(model, "points")
    return (f"model={model}", *whole, *(("data=digits",) if other else data))


# --- configurations, data and trainers ------------------------------------------------------------


FAMILIES = (
    "aae",
    "acgan",
    "bigan",
    "cogan",
    "dcgan",
    "ebgan",
    "infogan",
    "pix2pix",
    "sgan",
    "stylegan",
    "vae_gan",
    "wgan_gp",
)
"""Of models that are much alike, one: what `make test` takes of laws that a model cannot break by
itself."""


def mostly_slow(rows: Iterable[Any], *quick: Any) -> list[Any]:
    """Rows for `parametrize`, of which `make test` takes those that begin with one of `quick`, and
    test-all all."""
    cells = [row if isinstance(row, tuple) else (row,) for row in rows]
    return [
        pytest.param(*cell, marks=() if cell[0] in quick else pytest.mark.slow) for cell in cells
    ]


def compose(*overrides: str) -> dict[str, Any]:
    """The checked configuration of `gan-train OVERRIDES`; the same one is composed once."""
    if not _repeats(overrides):
        return train_command.composed(list(overrides))
    return copy.deepcopy(_composed(overrides, _surroundings()))


def _repeats(overrides: Iterable[str]) -> bool:
    """Whether nothing is loaded while a configuration is composed."""
    effects = ("plugins", "--")
    return not (registry.PLUGINS or any(item.startswith(effects) for item in overrides))


def _surroundings() -> tuple[Any, ...]:
    """What a configuration depends on besides its overrides; pytest sets variables of its own."""
    kept = [item for item in os.environ.items() if not item[0].startswith("PYTEST_")]
    return (str(Path.cwd()), *sorted(kept))


@functools.cache
def _composed(overrides: tuple[str, ...], _: tuple[Any, ...]) -> dict[str, Any]:
    return train_command.composed(list(overrides))


def dataset_of(config: Mapping[str, Any]) -> Dataset:
    """The data set of a checked configuration. What comes with the packages is built once; a copy
    shares its tensors, which nobody changes in place."""
    if config["data"]["name"] not in OFFLINE_DATA:
        return registry.datasets.build(config["data"], "data")
    return _sharing(_built(json.dumps(config["data"])))


@functools.cache
def _built(node: str) -> Dataset:
    return registry.datasets.build(json.loads(node), "data")


def _sharing(dataset: Dataset) -> Dataset:
    twin = copy.copy(dataset)
    twin.train, twin.heldout = dict(dataset.train), dict(dataset.heldout)
    return twin


def trainer_of(config: Mapping[str, Any], world: World | None = None) -> Trainer:
    """A new trainer of a checked configuration, on the CPU."""
    dataset = dataset_of(config)
    build.keep_few_labels(dataset, config)
    return build.build_trainer(config, dataset, torch.device("cpu"), world)


def make_trainer(*overrides: str, world: World | None = None) -> Trainer:
    """A trainer of tiny networks on the CPU, before its first round: for overrides that were seen
    before, a copy of the one that was built then. `trainer_of` builds anew."""
    config = compose(*overrides)
    if world or not _repeats(overrides) or config["data"]["name"] not in OFFLINE_DATA:
        return trainer_of(config, world)
    trainer, drawn = _first_trainer(overrides, _surroundings())
    noise.begin_turn("weights", config["seed"])
    torch.set_rng_state(drawn)  # as building leaves it
    return copied(trainer)


@functools.lru_cache(maxsize=200)
def _first_trainer(overrides: tuple[str, ...], _: tuple[Any, ...]) -> tuple[Trainer, torch.Tensor]:
    trainer = trainer_of(compose(*overrides))
    return trainer, torch.get_rng_state()


def copied(trainer: Trainer) -> Trainer:
    """An equal trainer; it shares the tensors of its data."""
    dataset = trainer.batches.dataset
    # a schedule of torch does not know itself again in a copy, and says so
    afresh = {id(dataset): _sharing(dataset), id(trainer.rate): Rate(dict(trainer.rate._node))}
    return copy.deepcopy(trainer, afresh)


def tiny(model: str, data: str, *more: str) -> Trainer:
    """A trainer of a model with tiny networks, without the rounds of its warm-up."""
    return make_trainer(*fitting(model, f"data={data}"), *TINY, "model.warm_up=null", *more)


def save_run(folder: Path, *overrides: str, rounds: int = 1) -> Path:
    """A run's folder with a checkpoint of each round, as gan-train leaves it, without a process
    that trains it."""
    trainer = make_trainer(*overrides)
    frame = {
        "config": yaml.safe_dump(compose(*overrides)),
        "data": trainer.batches.dataset.spec.plain(),
    }
    for _ in range(rounds):
        trainer.game.train()
        trainer.play_round()
        content = {"format": checkpoint.FORMAT, **frame, **trainer.state_dict()}
        for name in (f"step_{trainer.step:08d}.pt", "last.pt"):
            checkpoint.save(content, folder / "checkpoints" / name)
    files.write_json(folder / rundir.CARD, {"step": trainer.step})
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, shared by all of them."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["GAN_CACHE"] = str(folder)
    yield folder


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`command("gan-train", "steps=3")` in an empty folder: exit code and all that was printed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        code, handlers = 0, logging.root.handlers[:]
        try:
            getattr(main, {"gan-list": "list_models"}.get(name, name.removeprefix("gan-")))()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:  # a run's handlers write to streams that are closed after the test
            logging.root.handlers[:] = handlers
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


@pytest.fixture
def plugins_forgotten() -> Iterator[None]:
    """Forgets, after the test, the plug-ins that it has loaded."""
    yield
    registry.PLUGINS.clear()
    for known in vars(registry).values():
        built = known._built if isinstance(known, registry.Registry) else {}
        for name in [name for name, item in built.items() if _of_plugin(item.__module__)]:
            del built[name]
    for name in filter(_of_plugin, list(sys.modules)):
        del sys.modules[name]


def _of_plugin(module: str) -> bool:
    return module.startswith("gan_plugin")


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny runs that this session has trained, see `trained`."""
    return tmp_path_factory.mktemp("tiny_runs")


@pytest.fixture
def trained(command: Command, tiny_runs: Path, tmp_path: Path) -> Callable[..., Command]:
    """`trained("model=cgan")`: the command, in a folder whose `run` is that of a tiny model with an
    average, scored at its end. The same one is trained once a session, and copied."""

    def run(*typed: str) -> Command:
        kept = tiny_runs / f"{zlib.crc32(repr(typed).encode()):08x}"
        if not kept.exists():
            code, printed = command("gan-train", *TINY_RUN, *typed)
            assert code == 0, printed
            shutil.copytree(tmp_path / "run", kept)
        else:
            shutil.copytree(kept, tmp_path / "run")
        return command

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium (Debian: chromium, chromium-driver); tests that need it are skipped
    without one."""
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1600,1400",
    ):
        options.add_argument(flag)
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield window
    window.quit()


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state of torch-fidelity's Inception network, drawn so that images leave it as different as
    they entered."""
    torch_fidelity = pytest.importorskip("torch_fidelity")

    path = tmp_path_factory.mktemp("inception") / "random.pth"
    with pytest.MonkeyPatch.context() as patch:
        source = "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url"
        patch.setattr(source, lambda *_, **__: {})
        patch.setattr(
            torch_fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None
        )
        torch.manual_seed(0)
        network = torch_fidelity.FeatureExtractorInceptionV3("random", ["2048", "logits_unbiased"])
    for weight in network.parameters():
        if weight.dim() == 4:
            torch.nn.init.kaiming_normal_(weight)
    torch.save(network.state_dict(), path)
    return path


def start(
    arguments: list[str], folder: Path, start_new_session: bool = False
) -> "subprocess.Popen[str]":
    """`gan-train ARGUMENTS` as a process of its own in `folder`."""
    code = "from gan_cli.main import train; train()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=start_new_session,
    )


# --- benchmarks as files: made up, in the real formats --------------------------------------------


def write_mnist(
    root: Path, packed: bool, name: str = "MNIST", count: int = 20
) -> dict[str, np.ndarray]:
    """So many made-up images a split in MNIST's format, as many of each class."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    contents = {}
    for name in MNIST.files:
        images = "images" in name
        values = (
            random.integers(0, 256, (count, 28, 28), dtype=np.uint8) if images else _labels(count)
        )
        head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
        content = head + values.tobytes()
        (raw / (f"{name}.gz" if packed else name)).write_bytes(
            gzip.compress(content) if packed else content
        )
        contents[name] = values
    return contents


def _labels(count: int) -> np.ndarray:
    return (np.arange(count) % 10).astype(np.uint8)


def write_usps(root: Path, train: int = 12, heldout: int = 5) -> None:
    """Image i is black but for the pixel i modulo 256, and of the class i modulo 10."""
    (root / "usps").mkdir()
    for name, count in (("usps.bz2", train), ("usps.t.bz2", heldout)):
        lines = [
            f"{i % 10 + 1} "
            + " ".join(f"{j + 1}:{-1 + 2 * (j == i % 256):.1f}" for j in range(256))
            for i in range(count)
        ]
        (root / "usps" / name).write_bytes(bz2.compress("\n".join(lines).encode()))


def write_svhn(root: Path, labels: list[int]) -> np.ndarray:
    """An image for each label, in each split; the label 10 stands for the digit 0."""
    import scipy.io

    (root / "svhn").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, len(labels)), dtype=np.uint8)
    for name in ("train_32x32.mat", "test_32x32.mat"):
        scipy.io.savemat(
            root / "svhn" / name, {"X": images, "y": np.array(labels, dtype=np.uint8)[:, None]}
        )
    return images


def write_cifar10(root: Path, labels: list[int]) -> np.ndarray:
    """An image for each label, in each of the six files."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(
            pickle.dumps({"data": pixels.reshape(len(labels), -1), "labels": labels})
        )
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    return pixels


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all benchmarks, made up: 200 images a split or so."""
    root = tmp_path_factory.mktemp("benchmarks")
    for name in ("MNIST", "FashionMNIST", "KMNIST"):
        write_mnist(root, packed=False, name=name, count=200)
    write_usps(root, train=200, heldout=100)
    write_svhn(root, [i % 10 + 1 for i in range(100)])
    write_cifar10(root, [i % 10 for i in range(40)])
    return root


@pytest.fixture
def benchmarks(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`$GAN_DATA_ROOT` with made-up benchmarks, whose checksums nobody compares."""
    monkeypatch.setenv("GAN_DATA_ROOT", str(made_up))
    monkeypatch.setattr("torchvision.datasets.SVHN._check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    return made_up
