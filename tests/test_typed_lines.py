"""Lines as people type them, by the hundred: each ends well or in one sentence; one that is refused
leaves nothing."""

import os
import random
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command

from gan_cli import registry
from gan_cli.config.options import options
from gan_cli.config.schema import GROUPS
from gan_cli.config.unknown import known_keys
from gan_cli.synonyms import NONE, WORDS

COMMANDS = (
    "gan-sample",
    "gan-evaluate",
    "gan-bench",
    "gan-explore",
    "gan-dissect",
    "gan-export",
    "gan-list",
    "gan-compare",
)
KEYS = {
    "gan-sample": "checkpoint n seed seeds mode classes code dimension steps path truncation "
    "shifts output weights",
    "gan-evaluate": "checkpoint samples real n metrics data weights plugins data.image_size prdc.k",
    "gan-bench": "bench.heats bench.seconds bench.against bench.memory bench.processes steps "
    "model data optimizer.lr",
    "gan-dissect": "checkpoint layer concepts n quantile ablate insert top by output weights",
    "gan-explore": "checkpoint port weights plugins",
    "gan-export": "checkpoint output weights plugins",
    "gan-list": "format",
    "gan-compare": "output curves over by statistic success at best pictures cells title",
}
VALUES = [
    "",
    "0",
    "1",
    "-1",
    "3",
    "1e3",
    "1e400",
    "-1e400",
    "nan",
    "inf",
    "-inf",
    "NaN",
    "true",
    "False",
    "null",
    "none",
    "~",
    "banana",
    "[]",
    "[1,2]",
    "[a,b]",
    "{}",
    "{a:1}",
    "[[1]]",
    "1,2",
    "a,b",
    "range(1,3)",
    "'x'",
    '"x"',
    "'",
    '"',
    "\\",
    "[",
    "]",
    "{",
    "}",
    "(",
    "a=b",
    "=",
    "$",
    "${steps}",
    "${nope}",
    "${",
    "${oc.env:NOPE}",
    "@",
    "#",
    " ",
    "a b",
    "\n",
    "\t",
    "ü",
    "名前",
    "🙂",
    "\u202e",
    "\u0000"[1:],
    "../..",
    "/",
    "/dev/null",
    "/dev/full",
    "~/x",
    ".",
    "nowhere.pt",
    "9" * 30,
    "9" * 5000,
    "0.1" * 300,
    "[" * 200,
    "x" * 3000,
    "0x10",
    "1_000",
    "٣",
    "1.5",
    "-0",
    "+1",
    "01",
    "1e-400",
    "mnist",
    "hinge",
    "auto",
    "gan",
    "cpu",
    "all",
    "*",
    "?",
    "choice(1,2)",
    "glob(*)",
    "sort(1,2)",
    "a:b",
    "%s",
    "{0}",
    "\udcff",
    "a\udce4b",
]
FLAGS = [
    "-m",
    "--multirun",
    "--cfg",
    "--cfg job",
    "--cfg=all",
    "-c hydra",
    "--cfg nonsense",
    "--resolve",
    "-p model",
    "--info",
    "--info all",
    "--info nonsense",
    "--hydra-help",
    "--version",
    "--config-dir nowhere",
    "--config-dir=/dev/null",
    "-cd",
    "--config-name x",
    "--experimental-rerun x",
    "--shell-completion",
    "-sc",
    "--help",
    "-h",
    "--run",
    "-r",
    "--",
    "-",
    "--lr 3",
    "--batch-size=4",
    "--no-such",
    "-x",
    "--dataset mnist",
    "--steps 5",
    "-v",
    "--Help",
    "--package nonsense",
]


def odd_name(luck: random.Random, name: str) -> str:
    """A name with a slip of the finger."""
    if not name:
        return name
    at = luck.randrange(len(name))
    letter = luck.choice(string.ascii_lowercase)
    slips = [
        name[:at] + name[at + 1 :],
        name[:at] + letter + name[at:],
        name[:at] + letter + name[at + 1 :],
        name.upper(),
        name + ".",
        "." + name,
        name.replace("_", "-"),
        name + name,
    ]
    return luck.choice(slips)


def settable() -> list[str]:
    """All that may stand left of `=` behind `gan-train`: the root's keys, and every option of every
    component."""
    known = {
        item.group: item for item in vars(registry).values() if isinstance(item, registry.Registry)
    }
    return [
        *known_keys(),
        *{
            f"{group}.{key}"
            for group in GROUPS
            for name in known[group].components
            for key in known[group].options(name, group)
        },
        "optimizer.players.generator.lr",
        "model.repeat.discriminator",
        "network.generator.width",
        "network.nobody",
        "hydra.run.dir",
        "hydra.sweep.dir",
        "hydra/launcher",
        "hydra.nonsense",
        "hydra.searchpath",
        "a.b.c",
        "name",
    ]


THEIRS = [word for _, words, _ in WORDS for word in words.split()] + list(NONE)


def trained(luck: random.Random, keys: list[str]) -> list[str]:
    """What is typed behind `gan-train`."""
    line = []
    for _ in range(luck.randint(1, 3)):
        key, value = luck.choice(keys), luck.choice(VALUES)
        match luck.randrange(8):
            case 0:
                line.append(f"{odd_name(luck, key)}={value}")
            case 1:
                line.append(f"{luck.choice(THEIRS)}={value}")
            case 2:
                line += luck.choice(FLAGS).split(" ")
            case 3:
                group = luck.choice(GROUPS)
                line.append(f"{group}={odd_name(luck, luck.choice(options(group)))}")
            case 4:
                line.append(
                    luck.choice(["", "+", "++", "~"])
                    + key
                    + luck.choice(["", "=", "==", "@x="])
                    + value
                )
            case _:
                line += [f"{key}={value}"] * luck.choice([1, 1, 1, 2])
    return line


def other(luck: random.Random, command: str) -> list[str]:
    """What is typed behind another command."""
    line = []
    for _ in range(luck.randint(1, 3)):
        key, value = luck.choice(KEYS[command].split()), luck.choice(VALUES)
        match luck.randrange(5):
            case 0:
                line.append(f"{odd_name(luck, key)}={value}")
            case 1:
                line.append(luck.choice(THEIRS) + luck.choice(["", f"={value}"]))
            case 2:
                line += luck.choice(FLAGS).split(" ")
            case _:
                line.append(f"{key}={value}")
    return line


def lines(count: int, seed: int, commands: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    luck, keys = random.Random(seed), sorted(settable())
    for i in range(count):
        command = commands[i % len(commands)]
        yield command, trained(luck, keys) if command == "gan-train" else other(luck, command)


@pytest.fixture
def never_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that would play, measure or wait is good."""
    for name in (
        "gan_cli.runs.job.run",
        "gan_cli.commands.dry_run.measure",
        "gan_cli.commands.bench.measured",
        "gan_cli.commands.bench._memory",
    ):
        monkeypatch.setattr(name, lambda *_, **__: (_ for _ in ()).throw(SystemExit(0)))
    monkeypatch.setattr("torchvision.datasets.utils.download_url", None)


def judge(command: Command, name: str, line: list[str], folder: Path) -> str:
    """What a line came to; what is wrong with the answer, if something is."""
    try:
        code, printed = command(name, *line)
    except BaseException as error:
        return f"{name} {line}: {type(error).__name__}: {str(error)[:200]}"
    told = [row for row in printed.splitlines() if row.startswith(f"{name}: ")]
    if "Traceback" in printed or code not in (0, 2):
        return f"{name} {line}: exit {code}: {printed[-300:]}"
    if code == 2 and (len(told) != 1 or len(told[0]) < len(name) + 10 or len(told[0]) > 3000):
        return f"{name} {line}: {printed[-300:]}"
    # a sweep keeps why its cells failed, and a folder that was typed its log
    keeps = bool({"-m", "--multirun"} & {*line}) or any(".dir=" in item for item in line)
    if code == 2 and not keeps and list(folder.iterdir()):
        return f"{name} {line}: made {[path.name for path in folder.iterdir()]}"
    return ""


def try_lines(
    command: Command, folder: Path, count: int, seed: int, commands: tuple[str, ...]
) -> None:
    wrong = []
    for i, (name, line) in enumerate(lines(count, seed, commands)):
        place = folder / str(i)
        place.mkdir()
        os.chdir(place)
        wrong += filter(None, [judge(command, name, line, place)])
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong)


def test_typed_lines(command: Command, never_played: None, tmp_path: Path) -> None:
    try_lines(command, tmp_path, 60, 1, ("gan-train",))


def test_typed_lines_of_the_other_commands(
    command: Command, never_played: None, tmp_path: Path
) -> None:
    try_lines(command, tmp_path, 200, 2, COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 9))
def test_many_typed_lines(command: Command, never_played: None, tmp_path: Path, seed: int) -> None:
    try_lines(command, tmp_path, 300, seed, ("gan-train", "gan-train", "gan-train", *COMMANDS))
