"""Every command of the README and of docs/ is run, in the order of the page, in an empty folder of
the page's own.

A block without a language (or `bash`) holds commands and nothing else. They are run with small
budgets typed behind (`SHORT`): two rounds on one thread. A sweep is composed in all its cells (one
seed of each), and two of them are run. A `console` block shows commands behind `$ ` and what they
print: run exactly as typed, compared word for word, where `...` stands for anything. `text` is not
run. A `python` or `yaml` block that begins with `# path` is written to that file; if the project
has that file, the block must be a part of it. Another `python` block is run.

RUN, FILE and FOLDER, and paths below outputs/ with a date, `...` or capitals in them, stand for the
newest that the page's earlier commands have made and that fits the command.
"""

import contextlib
import importlib.util
import io
import itertools
import re
import runpy
import shlex
import socket
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT, Command, compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from pages import LINK, SPAN, agrees, anchors, blocks, commands, exchanges, prose, spans
from PIL import Image

from gan_cli import registry
from gan_cli.commands import (
    bench,
    compare,
    dissect,
    evaluate,
    explore,
    export,
    list_models,
    sample,
    zoo,
)
from gan_cli.config import commandline, ramps
from gan_cli.config.identity import HARMLESS
from gan_cli.config.options import groups, options
from gan_cli.config.roles import SIMPLE
from gan_cli.config.schema import Hardware, TrainConfig

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

HARMLESS_PROGRAMS = ("cd", "git", "tensorboard", "export", ".", "python3")
"""Programs of others that lines may begin with; they are not run."""

STARTERS = ("time", "torchrun", "srun")
"""Programs that start one of ours, which is run by itself."""

SHORT = {
    "gan-train": [
        "steps=2",
        "minutes=null",
        "batch_size=8",
        "log_every=1",
        "checkpoint_every=1",
        "evaluate_samples=24",
        "hardware.threads=1",
        "hardware.devices=1",
        "hardware.nodes=1",
        "hardware.rendezvous=null",
    ],
    "gan-bench": [
        "bench.heats=1",
        "bench.seconds=0.01",
        "bench.memory=false",
        "bench.start=false",
        "bench.processes=[]",
        "bench.against=[bare]",
        "batch_size=2",
        "network.width=8",
        "hardware.compile=false",
        "hardware.threads=1",
    ],
    "gan-evaluate": ["n=40"],
    "gan-dissect": ["n=100"],
    "gan-zoo": ["zoo.models=[dcgan]", "zoo.seeds=[1]", "steps=1", "evaluate_samples=20"],
}
"""What is typed behind each command; what is typed last wins. (One process, nothing compiled.)"""

LAUNCHING = re.compile(r"hydra/(launcher|sweeper)=|hydra\.(launcher|sweeper)\.")
"""Where cells are played, and how they are chosen: left out, the cells are played here one after
the other."""


# --- reading a page as a person would -------------------------------------------------------------


class Reader:
    """Types what a page says, in one folder, and remembers nothing but that folder."""

    def __init__(self, command: Command, monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
        self.command, self.monkeypatch, self.weights = command, monkeypatch, weights

    def read(self, page: Path) -> None:
        """All blocks of a page."""
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            if block.language in ("python", "yaml"):
                self.file_or_script(block.text, block.language, where)
            elif block.language == "console":
                for shown in exchanges(block.text):
                    self.compare(shown.typed, shown.printed, where)
            elif block.language in ("", "bash"):
                checked = subprocess.run(
                    ["bash", "-n"], input=block.text, text=True, capture_output=True
                )
                assert checked.returncode == 0, f"{where}: {checked.stderr}"
                for words in commands(block.text):
                    self.type(words, where)
            else:
                assert block.language == "text", f"{where}: what is a block of {block.language}?"
                assert not re.search(r"^(\$ )?gan-\w+ ", block.text, re.MULTILINE), (
                    f"{where}: commands, and not run"
                )

    def file_or_script(self, text: str, language: str, where: str) -> None:
        """A block of Python or YAML: a file of the reader's, a part of one of ours, or a script."""
        named = re.match(r"# ([\w./-]+\.(?:py|ya?ml))\n", text)
        if named and (ROOT / named[1]).is_file():
            shown = text[named.end() :].strip()
            assert shown in (ROOT / named[1]).read_text(encoding="utf-8"), (
                f"{where}: not what {named[1]} says"
            )
        elif named:
            Path(named[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(named[1]).write_text(text, encoding="utf-8")
        elif language == "yaml":
            yaml.safe_load(text)
        else:
            filled = re.sub(r"\bFILE\b|\bRUN\b", lambda _: str(newest_run(lambda _: True)), text)
            exec(compile(filled, where, "exec"), {"__name__": "page"})

    def compare(self, typed: str, shown: str, where: str) -> None:
        """A command exactly as typed, and what it prints. One that refuses shows `gan-train: why`,
        and exits 2."""
        words = self.filled(next(commands(typed)))
        refused = re.search(rf"^{words[0]}: ", shown, re.MULTILINE) is not None
        code, printed = self.run(words)
        assert code == (2 if refused else 0), f"{where}: {typed} exits {code}\n{printed}"
        assert not shown.strip() or agrees(printed, shown), (
            f"{where}: {typed} prints\n{printed}\nand not\n{shown}"
        )

    def type(self, words: list[str], where: str) -> None:
        """One command of a block, shortened."""
        text = " ".join(words)
        while words and (assigned := re.fullmatch(r"([A-Z_]+)=(.*)", words[0])):
            self.monkeypatch.setenv(assigned[1], assigned[2])
            words = words[1:]
        if words and words[0] in STARTERS:
            words = words[next(i for i, word in enumerate(words) if word in PROJECT["scripts"]) :]
        if not words or words[0] in HARMLESS_PROGRAMS:
            return
        if words[0] in ("make", "pip", "pytest") or words[1:3] == ["-m", "pytest"]:
            self.of_others(words, where)
            return
        assert words[0] in PROJECT["scripts"] or words[0].endswith("python"), (
            f"{where}: no such command: {text}"
        )
        # a refusal that is shown
        expected, words = (2, words[:-2]) if words[-2:] == ["||", "true"] else (0, words)
        words = self.shortened(self.filled(words), where)
        code, printed = self.run(words)
        assert code == expected, (
            f"{where}: {text}\nrun as {' '.join(words)} exits {code}\n{printed}"
        )

    def of_others(self, words: list[str], where: str) -> None:
        """make, pip and pytest: what they are told to take must exist; `make demo` is played."""
        if words[0] == "make":
            for target in [word for word in words[1:] if "=" not in word]:
                assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), (
                    f"{where}: make {target}: no such target"
                )
                if target == "demo":
                    for line in recipe(target):
                        self.type(line, where)
        elif words[0] == "pip":
            for extras in re.findall(r"\[([\w,]+)\]", " ".join(words)):
                assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys(), (
                    f"{where}: {words}"
                )
        else:
            for named in [word for word in words if word.startswith("tests/")]:
                assert test_exists(named), f"{where}: {named}: no such test"

    def run(self, words: list[str]) -> tuple[int, str]:
        """Exit code and all that is printed: one of our commands, or `python -m gan_cli.NAME`."""
        if words[0] in PROJECT["scripts"]:
            return self.command(*words)
        assert words[1] == "-m" and words[2].startswith("gan_cli."), words
        self.monkeypatch.setattr(sys, "argv", words[2:])
        code, printed = 0, io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(printed), redirect_stderr(printed):
            # runpy: the module has been imported before
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                runpy.run_module(words[2], run_name="__main__", alter_sys=True)
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
                print(stop.code)
        return code, printed.getvalue()

    # --- placeholders -----------------------------------------------------------------------------

    def filled(self, words: list[str]) -> list[str]:
        """The words with what is really there in place of RUN, FILE, FOLDER and dates."""
        return [words[0], *(self.filled_word(word, words) for word in words[1:])]

    def filled_word(self, word: str, words: list[str]) -> str:
        head, equals, value = word.partition("=") if re.match(r"[\w.+]+=", word) else ("", "", word)
        if value.startswith("outputs/") and is_pattern(value):
            return head + equals + newest_path(value)
        folders = ("data.folder", "data.inputs", "data.a", "data.b", "input", "samples", "real")
        if head in folders and (value == "..." or (value.isupper() and value != "FILE")):
            return f"{head}=photos"
        if word == "input=FILE":
            return f"input={next(Path('photos').rglob('*.png'))}"
        if head == "data.file" and value in ("FILE", "..."):
            return f"{head}=table.csv"
        if value in ("RUN", "FILE", "FOLDER") and head in ("", "checkpoint", "init_from"):
            found = newest_run(fitting(words))
            return (
                f"{head}{equals}{found / 'checkpoints' / 'last.pt' if value == 'FILE' else found}"
            )
        return word

    # --- small budgets ----------------------------------------------------------------------------

    def shortened(self, words: list[str], where: str) -> list[str]:
        """The command with a small budget typed behind it; a sweep cut to two of its cells, if all
        compose."""
        name, typed = words[0], words[1:]
        if "mode=project" in typed:
            return [*words, "iterations=2", "n=2"]
        # in place of the weights that one would download, random ones
        if "metrics=[inception]" in typed:
            return [
                *words,
                "n=8",
                "inception.reference=10",
                f"inception.weights_file={self.weights}",
            ]
        if name != "gan-train" or {"--help", "-h"} & set(typed) or commandline.SHOWING & set(typed):
            helps = name == "gan-train" or "--help" in typed
            own = [word.partition("=")[0] for word in typed if word.startswith("bench.against")]
            return [
                *words,
                *(
                    word
                    for word in SHORT.get(name, [])
                    if not helps and word.partition("=")[0] not in own
                ),
            ]
        typed = [word for word in typed if not LAUNCHING.match(word)]
        swept: dict[str, list[str]] = {}
        if {"-m", "--multirun"} & set(typed):
            typed, swept = parted(typed)
            self.all_compose(typed, swept, where)
            typed += ["hydra.sweeper.params=null"] if of_the_experiment(typed) else []
            typed += ["hydra.sweeper.n_trials=1"] if "experiment=search" in typed else []
        cells = cut(swept)
        short = [word for word in SHORT[name] if word.partition("=")[0] not in swept]
        both = [f"{key}={','.join(values)}" for key, values in cells.items()]
        first = [f"{key}={values[0]}" for key, values in cells.items()]
        return [name, *typed, *both, *short, *narrow([*overrides(typed), *first], swept)]

    def all_compose(self, typed: list[str], swept: dict[str, list[str]], where: str) -> None:
        """Every cell of a sweep, one seed of each, is one that `gan-train` would play."""
        if "--config-dir" in typed:
            return
        choices = [
            [f"{key}={value}" for value in (values[:1] if key == "seed" else values)]
            for key, values in swept.items()
        ]
        for cell in itertools.product(*choices):
            try:
                compose(*overrides(typed), *cell)
            except Exception as error:
                raise AssertionError(f"{where}: {' '.join(cell)}: {error}") from None


def recipe(target: str) -> Iterator[list[str]]:
    """The commands of ours in a recipe of the Makefile."""
    lines = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert lines
    for line in lines[1].splitlines():
        yield shlex.split(line.strip().removeprefix("@").removeprefix("$(BIN)/"))


def test_exists(named: str) -> bool:
    """Whether `tests/FILE.py` or `tests/FILE.py::NAME` is there."""
    path, _, name = named.partition("::")
    return (ROOT / path).is_file() and f"def {name}" in (ROOT / path).read_text(encoding="utf-8")


test_exists.__test__ = False  # type: ignore[attr-defined]


def overrides(typed: Iterable[str]) -> list[str]:
    """What is typed without Hydra's flags."""
    return [word for word in typed if not word.startswith("-")]


def parted(typed: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The words of a sweep that are the same in all cells, and each swept key with its values."""
    same, swept = [], {}
    for word in [*typed, *of_the_experiment(typed)]:
        parsed = (
            None
            if word.startswith("-") or "=" not in word
            else OverridesParser.create().parse_override(word)
        )
        if parsed is None or not parsed.is_sweep_override():
            same.append(word)
        elif parsed.is_discrete_sweep():
            swept[parsed.get_key_element()] = list(parsed.sweep_string_iterator())
        else:
            swept[parsed.get_key_element()] = [str(parsed.value().start)]
    return same, swept


def of_the_experiment(typed: list[str]) -> list[str]:
    """What an experiment's own file sweeps over."""
    named = [word.removeprefix("experiment=") for word in typed if word.startswith("experiment=")]
    nodes = [
        yaml.safe_load((ROOT / "configs" / "experiment" / f"{name}.yaml").read_text())
        for name in named
    ]
    params = [node.get("hydra", {}).get("sweeper", {}).get("params", {}) for node in nodes]
    return [f"{key}={value}" for found in params for key, value in found.items()]


def cut(swept: dict[str, list[str]]) -> dict[str, list[str]]:
    """Two values of the first key that is not the seed (of the seed, if it is all), one of every
    other."""
    chosen = next(
        (key for key, values in swept.items() if key != "seed" and len(values) > 1), "seed"
    )
    return {key: values[: 2 if key == chosen else 1] for key, values in swept.items()}


def narrow(typed: list[str], swept: Iterable[str]) -> list[str]:
    """Narrow networks and no warm-up, where the configuration has a place for them."""
    both = ["network.width=8", "model.warm_up=null"]
    for words in (both, both[:1], both[1:]):
        if {word.partition("=")[0] for word in words} & set(swept):
            continue
        # no such option there, or a model of a plug-in's folder
        with contextlib.suppress(Exception):
            compose("guard=warn", *typed, *words)
            return words
    return []


def is_pattern(path: str) -> bool:
    """Whether a path holds something that stands for a name."""
    return any(
        re.fullmatch(r"\.\.\.|[A-Z]+|<.*>|\d{4}-\d\d-\d\d_.*", part) for part in path.split("/")
    )


def newest_path(pattern: str) -> str:
    """The newest path that a pattern such as `outputs/.../checkpoints/last.pt` or
    `outputs/sweeps/FOLDER` means."""
    stars = {"...": "**"}
    parts = [stars.get(part, "*" if is_pattern(part) else part) for part in pattern.split("/")]
    found = [path for path in Path().glob("/".join(parts)) if not path.name.startswith(".")]
    assert found, f"{pattern}: the page has made nothing of the kind before"
    return str(max(found, key=lambda path: path.stat().st_mtime_ns))


def newest_run(fits: Callable[[dict[str, Any]], bool]) -> Path:
    """The folder of the newest run whose configuration fits, or of the newest one."""
    cards = sorted(Path().rglob("run.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    assert cards, "the page has trained nothing before"
    runs = [
        (card.parent, yaml.safe_load((card.parent / ".hydra" / "config.yaml").read_text()))
        for card in cards
    ]
    return next((folder for folder, node in runs if fits(node)), runs[0][0])


def fitting(words: list[str]) -> Callable[[dict[str, Any]], bool]:
    """Which runs a command is for: a mode of points wants points, a code its name, classes a
    conditional model."""
    options = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    mode, plugins = options.get("mode"), options.get("plugins", "[]")[1:-1].split(",")

    def fits(node: dict[str, Any]) -> bool:
        kind = registry.datasets.component(node["data"]["name"], "data").attributes["kind"]
        wanted = {"points": "points", "csv": "points", "text": "text"}.get(str(mode), "image")
        if "code" in options:
            return options["code"] in (node["model"].get("codes") or {})
        if node["plugins"] != list(filter(None, plugins)):
            return False
        return (
            plugins != [""] or kind == wanted
            if mode or words[0] in ("gan-explore", "gan-sample")
            else True
        )

    return fits


# --- what a page may find -------------------------------------------------------------------------


@pytest.fixture
def reader(
    command: Command,
    plugins_forgotten: None,
    benchmarks: Path,
    random_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Reader:
    """A reader in an empty folder with some photos and a table, made-up benchmarks and weights, and
    no network."""
    monkeypatch.setattr("gan_cli.metrics.classifier.STEPS", 20)
    monkeypatch.setattr("gan_cli.metrics.concepts.STEPS", 2)
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    for rate in ("matrix_rate", "copy_rate"):  # what the machine could do takes seconds to measure
        monkeypatch.setattr(f"gan_cli.benchmarks.speed.{rate}", lambda *_: 1e9)
    if importlib.util.find_spec("nicegui"):
        monkeypatch.setattr("nicegui.ui.run", lambda **_: None)
    make_photos(Path("photos"))
    make_captions(Path("photos"))
    make_table(Path("table.csv"))
    return Reader(command, monkeypatch, random_weights)


def unreachable(self: socket.socket, address: Any) -> None:
    """In place of `socket.connect`."""
    raise AssertionError(f"a page wants the network: {address}")


def make_photos(folder: Path) -> None:
    """Two classes of thirty pictures, of so few colours that they are label maps too."""
    random = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for i in range(30):
            pixels = 255 * random.integers(0, 2, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def make_captions(folder: Path) -> None:
    """A caption of each picture of a folder as a table, and two captions as lines."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
    rows = [f"{path},small red {path.parent}" for path in files]
    Path("captions.csv").write_text("\n".join(["file,caption", *rows]) + "\n", encoding="utf-8")
    Path("captions.txt").write_text("small red disc\nlarge blue disc\n", encoding="utf-8")


def make_table(path: Path) -> None:
    """Two hundred rows of two columns."""
    rows = np.random.default_rng(0).normal(size=(200, 2))
    path.write_text(
        "mass,charge\n" + "\n".join(f"{a:.4f},{b:.4f}" for a, b in rows) + "\n", encoding="utf-8"
    )


LONG = (
    "README",
    "configuration",
    "dissection",
    "labels_and_codes",
    "metrics",
    "performance",
    "quick_start",
    "reading_curves",
    "styles",
    "sweeps",
    "translation",
    "wgan",
    "your_own_gan",
)
"""Pages of many runs, which `make test-all` reads."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow) if page.stem in LONG else page for page in PAGES],
    ids=lambda page: page.stem,
)
def test_every_command_of_the_page(page: Path, reader: Reader) -> None:
    reader.read(page)


# --- what a page names ----------------------------------------------------------------------------

WRONG_ON_PURPOSE = {"network=True", "model.latent=10^30"}
"""What pages show as mistakes, outside console blocks."""

TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md"]
SCHEMAS = (TrainConfig, sample.SampleConfig, evaluate.EvaluateConfig, compare.CompareConfig,
           explore.ExploreConfig, dissect.DissectConfig, export.ExportConfig,
           list_models.ListConfig, zoo.ZooConfig)  # fmt: skip
BUILT = {**SIMPLE, "network": registry.networks, "optimizer": registry.optimizers}
PARTS = (
    "name", "players", "discriminator", "generator", "encoder", "classifier", "text_encoder",
)  # fmt: skip
"""What may stand behind a group beside the options of its components."""


def named(page: Path) -> Iterator[tuple[str, str]]:
    """Every `key=value` between the backticks of a page."""
    for word in " ".join(spans(page)).split():
        if (
            found := re.fullmatch(r"'?\+*([a-z_]\w*(?:\.\w+)*)=(\S*)", word)
        ) and word not in WRONG_ON_PURPOSE:
            yield found[1], found[2]


def known(key: str) -> bool:
    """Whether a key is one of a command, or an option of a component."""
    group, _, rest = key.partition(".")
    if not rest:
        return group in groups() or any(
            group == item.name for schema in SCHEMAS for item in fields(schema)
        )
    if group == "ramps":
        number, _, last = rest.rpartition(".")
        return last in ramps.KEYS and known(number)
    owners = {"hardware": Hardware, "bench": bench.BenchConfig, "zoo": zoo.ZooConfig}
    if group in owners:
        return rest in [item.name for item in fields(owners[group])]
    if group in BUILT:
        names = {
            name for one in BUILT[group].components for name in BUILT[group].options(one, group)
        }
        return rest.split(".")[0] in {*names, *PARTS}
    if group in registry.metrics.components:
        return rest in registry.metrics.options(group, group)
    return group in ("hydra", "input")  # any field of the data follows `input.`


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)
def test_every_key_is_known(page: Path) -> None:
    assert [f"{key}={value}" for key, value in named(page) if not known(key)] == []


def test_the_harmless_keys_are_listed() -> None:
    listed = re.search(
        r"^- \*\*Harmless\*\*: (.*?)\.$", prose(ROOT / "docs" / "configuration.md"), re.M | re.S
    )
    assert listed and set(SPAN.findall(listed[1])) == HARMLESS


def test_every_verdict_is_explained() -> None:
    source = (ROOT / "gan_cli" / "runs" / "health.py").read_text(encoding="utf-8")
    found = re.findall(
        r"^ +(?:return |return sentences or \[|)f?\"((?:the |)[a-z]+ ?[a-z ]*)(?::| \(\{)",
        source,
        re.MULTILINE,
    )
    verdicts = list(dict.fromkeys(found))
    page = prose(ROOT / "docs" / "reading_curves.md")
    assert len(verdicts) == 13 and [said for said in verdicts if f"| `{said}" not in page] == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)
def test_every_option_is_there(page: Path) -> None:
    own = re.findall(r"^# \S+/(\w+)/(\w+)\.yaml$", page.read_text(encoding="utf-8"), re.MULTILINE)
    said = [block.text for block in blocks(page) if block.language in ("", "bash")]
    typed = [
        tuple(word.split("=", 1))
        for text in said
        for words in commands(text)
        for word in words
        if "=" in word
    ]
    for group, values in [*named(page), *typed]:
        if group in groups():
            for option in values.split(","):
                there = option in options(group) or (group, option) in own
                assert there or re.fullmatch(r"[A-Z]*|\.\.\.|null", option), f"{group}={option}"


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)
def test_commands_between_backticks_compose(page: Path, benchmarks: Path) -> None:
    for text in spans(page):
        if text.startswith("gan-train") and not re.search(
            r"\.\.\.|=[A-Z]+\b|--config-dir|--help", text
        ):
            typed, swept = parted(shlex.split(text)[1:])
            compose(*overrides(typed), *(f"{key}={values[0]}" for key, values in swept.items()))


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)
def test_every_test_and_target_is_there(page: Path) -> None:
    for text in spans(page):
        assert all(test_exists(found) for found in re.findall(r"tests/\w+\.py(?:::\w+)?", text)), (
            text
        )
        for target in re.findall(r"^make ([a-z-]+)", text):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), text


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{page.name}: {target}: no such heading"


def test_every_file_in_docs_is_linked() -> None:
    linked = {
        page: {
            (page.parent / path.partition("#")[0]).resolve() for path in LINK.findall(prose(page))
        }
        for page in TEXTS
    }
    for path in filter(Path.is_file, (ROOT / "docs").rglob("*")):
        from_here = (
            linked[ROOT / "README.md"] if path.suffix == ".md" else set().union(*linked.values())
        )
        assert path.resolve() in from_here, f"{path.name} is linked from nowhere"


@pytest.mark.parametrize(
    "line",
    [
        "gan-trian",
        "gan-train loss=hing",
        "gan-train stepss=3",
        "make dmo",
        "pytest tests/test_zo.py",
        "rm -r outputs",
        "pip install x[y]",
        "gan-sample checkpoint=RUN",
        "gan-train seed=range(1,3)",
        "gan-train -m loss=hinge,hing",
    ],
)
def test_a_page_with_a_mistake_is_found_out(line: str, reader: Reader, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```\n{line}\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        reader.read(page)


def test_what_a_page_shows_is_compared(reader: Reader, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = (
        "```console\n$ gan-train steps=abc\ngan-train: steps=abc: value 'abc' of ... converted "
        "to\nInteger.\n```\n"
    )
    page.write_text(text, encoding="utf-8")
    reader.read(page)
    page.write_text(text.replace("Integer", "Float"), encoding="utf-8")
    with pytest.raises(AssertionError, match="and not"):
        reader.read(page)
