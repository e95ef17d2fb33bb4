"""Option files of one's own: what is wrong with one is said with its name and the line, in whatever
group it lies."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Command, compose

from gan_cli.commands import help
from gan_cli.config import own_options as own
from gan_cli.config.options import groups, options
from gan_cli.errors import UserError

GOOD = {
    "model": "defaults: [two_player, _self_]\nlatent: 7\n",
    "network": "name: mlp\nwidth: 4\n",
    "loss": "name: hinge\n",
    "regularizer": "name: none\n",
    "augmentation": "name: none\n",
    "features": "name: none\n",
    "data": "name: points\nsize: 100\n",
    "optimizer": "name: adam\nlr: 1.0e-3\n",
    "schedule": "name: constant\n",
    "hardware": "device: cpu\n",
    "experiment": "# @package _global_\nsteps: 3\n",
}
FAULTS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "tab": (
        lambda text: f"{text}a:\n\tb: 1\n".encode(),
        "line {next1}: a tab, where YAML takes blanks alone.",
    ),
    "double": (
        lambda text: f"{text}{text.splitlines()[-1]}\n".encode(),
        "line {next}: `{key}` stands there for a second time; delete one.",
    ),
    "indent": (
        lambda text: f"{text}a:\n    b: 1\n  c: 2\n".encode(),
        "line {next2}: is indented otherwise than",
    ),
    "bracket": (
        lambda text: f"{text}a: [1, 2\n".encode(),
        "line {next1}: a bracket is not closed before it; add ].",
    ),
    "colon": (
        lambda text: f"{text}a: b: c\n".encode(),
        "line {next}: a colon and a blank must stand between",
    ),
    "quote": (lambda text: f'{text}a: "b\n'.encode(), "a quotation mark is not closed"),
    "alias": (
        lambda text: f"{text}a: *b\n".encode(),
        "line {next}: a `*name` for which there is no `&name`",
    ),
    "tag": (
        lambda text: f"{text}a: !!python/object:os.system x\n".encode(),
        "only plain values can stand there.",
    ),
    "latin": (
        lambda text: f"{text}# Müller\n".encode("latin-1"),
        "line {next}: is not UTF-8 (in Latin-1 it would be",
    ),
    "utf16": (lambda text: text.encode("utf-16"), "line 1: is UTF-16; save the file as UTF-8."),
    "nul": (lambda text: text.encode() + b"\0", "line {next}: holds a character that is no text."),
    "list": (
        lambda text: b"# @package _global_\n- a\n- b\n",
        "holds a list; an option is made of keys with values",
    ),
    "word": (
        lambda text: b"# @package _global_\nhello\n",
        "holds 'hello' and no key; an option is made of keys",
    ),
    "number": (lambda text: f"{text}1: 2\n".encode(), "1: is no key; put it in quotes"),
    "interpolation": (
        lambda text: f"{text}a: ${{oops\n".encode(),
        "no viable alternative at input",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "own"
    own.use_folders([])


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_good_ones_are_of_all_groups_and_compose(folder: Path) -> None:
    assert sorted(GOOD) == groups()
    for group, text in GOOD.items():
        write(folder, f"{group}/mine.yaml", text)
    config = compose("--config-dir", str(folder), *(f"{group}=mine" for group in GOOD))
    assert config["model"]["latent"] == 7 and config["steps"] == 3 and config["data"]["size"] == 100


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("group", GOOD)
def test_a_faulty_file_is_one_sentence_with_its_line(group: str, fault: str, folder: Path) -> None:
    made, said = FAULTS[fault]
    content = made(GOOD[group])
    path = write(folder, f"{group}/mine.yaml", content)
    lines = GOOD[group].count("\n") + 1
    key = GOOD[group].splitlines()[-1].partition(":")[0]
    with pytest.raises(UserError) as error:
        compose("--config-dir", str(folder), f"{group}=mine")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert said.format(next=lines, next1=lines + 1, next2=lines + 2, key=key) in str(error.value)


@pytest.mark.parametrize("fault", ["tab", "latin", "double"])
def test_a_faulty_file_that_another_one_names(fault: str, folder: Path, command: Command) -> None:
    path = write(folder, "model/base.yaml", FAULTS[fault][0](GOOD["model"]))
    write(folder, "model/mine.yaml", "defaults: [base, _self_]\n")
    code, printed = command("gan-train", "--config-dir", str(folder), "model=mine")
    assert (
        code == 2 and printed.startswith(f"gan-train: {path}, line ") and printed.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("experiment/mine.yaml", "steps: 3\n", "line 1: must be `# @package _global_`"),
        (
            "experiment/mine.yaml",
            "# mine\n# @package _global_\nsteps: 3\n",
            "line 1: must be `# @package _global_`",
        ),
        (
            "experiment/mine.yaml",
            "\ufeff# @package _global_\nsteps: 3\n",
            "line 1: begins with a byte order mark",
        ),
        (
            "experiment/mine.yaml",
            "# @package _global_\nsteps: 1e3\n",
            "steps=1000.0: expected a whole number, written",
        ),
        (
            "experiment/mine.yaml",
            "# @package _global_\nstepss: 3\n",
            "stepss: no such key (did you mean steps?)",
        ),
        (
            "experiment/mine.yaml",
            "# @package _global_\nlr: 3\n",
            "lr: no such key; gan-cli calls it optimizer.lr",
        ),
        (
            "hardware/mine.yaml",
            "devic: cpu\n",
            "hardware.devic: no such key (did you mean hardware.device?)",
        ),
        (
            "hardware/mine.yaml",
            "threads: many\n",
            "hardware.threads=many: value 'many' of type 'str' could not be",
        ),
        (
            "loss/mine.yaml",
            "# @package _global_\nname: hinge\n",
            "line 1: `# @package _global_` takes its keys out of",
        ),
        ("loss/mine.yaml", "real_label: 0.9\n", "needs `name:`, or `defaults:`"),
        (
            "loss/hinge.yaml",
            "name: minimax\n",
            "gan-cli has another loss=hinge, which is the one that is taken",
        ),
        (
            "loss/mine.yaml",
            "defaults: [hing]\nname: hinge\n",
            "loss=hing: no such option (did you mean hinge?)",
        ),
        ("loss/mine.yaml", "defaults: 3\nname: hinge\n", "defaults must be a list (got int)"),
        (
            "model/mine.yaml",
            "defaults:\n  - two_player\n  - override /los@_global_.loss: hinge\n",
            "no such key",
        ),
    ],
)
def test_what_hydra_would_take_otherwise(
    name: str, content: str, said: str, folder: Path, command: Command, tmp_path: Path
) -> None:
    path = write(folder, name, content)
    code, printed = command("gan-train", "--config-dir", "own", f"{path.parent.name}={path.stem}")
    assert (
        code == 2
        and printed.startswith(f"gan-train: {path.relative_to(tmp_path)}")
        and said in printed
    )
    assert printed.count("\n") == 1 and "Traceback" not in printed


def test_an_option_of_ones_own_is_listed_and_meant(folder: Path, command: Command) -> None:
    write(folder, "loss/gentle.yaml", "# A gentle loss of mine.\nname: hinge\n")
    code, printed = command("gan-train", "--config-dir", "own", "loss=gentel")
    assert code == 2 and "(did you mean gentle?)" in printed and ", gentle, " in printed
    assert (
        "A gentle loss of mine" in command("gan-train", "--config-dir", "own", "--help", "loss")[1]
    )
    assert command("gan-train", "--help", "loss=gentle", "--config-dir", "own")[1].startswith(
        "loss=gentle\n"
    )
    assert "gentle" not in command("gan-train", "loss=gentel")[1].replace("gentel", "")
    assert "gentle" not in options("loss")


def test_another_ending_is_said(folder: Path, command: Command) -> None:
    write(folder, "loss/mine.yml", "name: hinge\n")
    code, printed = command("gan-train", "--config-dir", "own", "loss=mine")
    assert (
        code == 2
        and ("own/loss/mine.yml is not seen, for its name does not end in .yaml; rename it.")
        in printed
    )


@pytest.mark.parametrize("command_line", ["gan-train", "gan-bench"])
def test_a_file_is_no_folder(command_line: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("")
    code, printed = command(command_line, "--config-dir", "own.yaml", "model=gan")
    assert code == 2 and "--config-dir own.yaml: is a file; name a folder" in printed


def test_an_experiment_of_ones_own_plays(folder: Path, command: Command, tmp_path: Path) -> None:
    write(
        folder,
        "experiment/short.yaml",
        "# @package _global_\ndefaults:\n  - override /model: gan\n  - override /data: points\n"
        "steps: 2\nevaluate_every: 0\nsample_every: 0\nnetwork: { width: 4 }\n",
    )
    code, printed = command("gan-train", "--config-dir", "own", "experiment=short")
    assert code == 0 and (tmp_path / "outputs" / "gan" / "points").is_dir(), printed
    assert help.page(["experiment"]).count("short") == 1
