"""Messages and exceptions of other libraries that gan-cli recognises: each is raised by the library
itself, so that a version which words or names it otherwise fails here."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import hydra
import pytest
import yaml
from omegaconf import OmegaConf

from gan_cli.commands import mistakes, train
from gan_cli.commands.mistakes import explain
from gan_cli.config import own_options as own
from gan_cli.config import unknown
from gan_cli.errors import UserError
from gan_cli.sweeps import launchers, multirun


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the user's options, `own`, beside which a test works."""
    monkeypatch.chdir(tmp_path)
    for group in ("model", "experiment", "hardware"):
        (tmp_path / "own" / group).mkdir(parents=True)
    yield tmp_path / "own"
    own.use_folders([])


def raised(*arguments: str) -> list[BaseException]:
    """The exception that Hydra raises for these arguments, its cause, and so on."""
    with pytest.raises(Exception) as error:
        train.plain(train.compose(list(arguments)))
    assert not isinstance(error.value, UserError)
    return list(mistakes._chain(error.value))


# --- Hydra and OmegaConf --------------------------------------------------------------------------

MESSAGES: list[tuple[re.Pattern[str], list[str], tuple[str, ...], str]] = [
    (mistakes.NOT_OVERRIDDEN, ["stepss=3"], ("stepss",), "did you mean steps?"),
    (mistakes.NOT_OVERRIDDEN, ["nope.a.b=3"], ("nope.a.b",), "nope.a.b=3: no such key"),
    (mistakes.NOT_OVERRIDDEN, ["hydra/launchr=x"], ("hydra/launchr",), "no such key"),
    (mistakes.AMBIGUOUS, ["seed=1,2"], ("seed", "1,2"), "gan-train -m seed=1,2."),
    (mistakes.AMBIGUOUS, ["+data.x=1,2"], ("data.x", "1,2"), "data.x=1,2: several values"),
    (mistakes.NOT_MERGED, ["steps=abc"], ("steps=abc",), "steps=abc: value 'abc' of type"),
    (mistakes.NO_INTERPOLATION, ["seed=${nope}"], ("nope",), "set nope=VALUE"),
]


@pytest.mark.parametrize(("pattern", "typed", "groups", "said"), MESSAGES)
def test_hydra_says_it_in_these_words(
    pattern: re.Pattern[str], typed: list[str], groups: tuple[str, ...], said: str
) -> None:
    chain = raised(*typed)
    matches = [match for link in chain if (match := pattern.search(str(link)))]
    assert matches and matches[0].groups() == groups
    assert said in str(explain(chain[0], typed))


def test_hydra_names_the_file_whose_base_is_missing(folder: Path) -> None:
    (folder / "model" / "mine.yaml").write_text("defaults: [nope, _self_]\n")
    typed = ["--config-dir", "own", "model=mine"]
    chain = raised(*typed)
    match = unknown.PARENT.match(str(chain[0]))
    assert match and match.groups() == ("model", "mine")
    assert chain[0].missing_cfg_file == "model/nope"  # type: ignore[attr-defined]
    assert str(explain(chain[0], typed)).startswith("own/model/mine.yaml: model=nope: no such")


def test_hydra_names_the_file_whose_defaults_are_no_list(folder: Path) -> None:
    (folder / "model" / "mine.yaml").write_text("defaults: nope\n")
    typed = ["--config-dir", "own", "model=mine"]
    chain = raised(*typed)
    match = mistakes.INVALID_DEFAULTS.search(str(chain[0]))
    assert match and match[1] == "model/mine"
    assert explain(chain[0], typed) == "own/model/mine.yaml: defaults must be a list (got str)."


def test_an_interpolation_in_a_file_is_named_with_the_file(folder: Path) -> None:
    (folder / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: ${nope}\n")
    typed = ["--config-dir", "own", "experiment=mine"]
    told = str(explain(raised(*typed)[0], typed))
    assert told.startswith("own/experiment/mine.yaml: ${nope}: stands for a key that nothing sets")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["steps=1e3"], "steps=1e3: expected a whole number, written out: steps=1000."),
        (["steps=1.5"], "steps=1.5: expected a whole number."),
        (["figures=3"], "figures=3: expected a list: figures=[3]."),
        (["seed=[1"], "seed=[1: expected key=value, with the value in quotes"),
        (["hydra/launcher=nope"], "hydra/launcher=nope: no such option; if a plug-in has it"),
    ],
)
def test_types_and_attributes_of_exceptions_are_enough(typed: list[str], said: str) -> None:
    assert str(explain(raised(*typed)[0], typed)).startswith(said)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("experiment", "# @package _global_\nfigures: 3\n", "figures=3: expected a list"),
        ("experiment", "# @package _global_\nstepz: 3\n", "stepz: no such key"),
        ("hardware", "threads: 1.5\n", "hardware.threads=1.5: expected a whole number."),
        ("hardware", "foo: 3\n", "hardware.foo: no such key"),
    ],
)
def test_keys_of_files_come_from_attributes(name: str, text: str, said: str, folder: Path) -> None:
    (folder / name / "mine.yaml").write_text(text)
    typed = ["--config-dir", "own", f"{name}=mine"]
    assert str(explain(raised(*typed)[0], typed)).startswith(f"own/{name}/mine.yaml: {said}")


def test_the_configuration_to_start_from_is_known_by_what_is_typed() -> None:
    for start in ("nope", "a/nope"):
        with hydra.initialize_config_module("gan_cli.configs", version_base="1.3"):
            with pytest.raises(hydra.errors.MissingConfigException) as error:
                hydra.compose(start)
            told = str(explain(error.value, ["--config-name", start]))
        assert told.startswith(f"{start}: no such file to start from")


def test_the_default_folder_of_a_sweep_is_recognised() -> None:
    typed = ["seed=1,2", "-m"]
    assert multirun._named_folder(typed, train.hydra_node(typed)) is None
    named = [*typed, "hydra.sweep.dir='here'"]
    assert multirun._named_folder(named, train.hydra_node(named)) == "here"


# --- YAML -----------------------------------------------------------------------------------------

FAULTS = {
    "a:\n\tb: 1\n": "a tab",
    "a: 1\na: 2\n": "`a` stands there for a second time",
    "a:\n    b: 1\n  c: 2\n": "is indented otherwise",
    "a: 1\nb\nc: 2\n": "a colon and a blank",
    "a: b: c\n": "a colon and a blank",
    "a: [1, 2\n": "a bracket is not closed before it; add ]",
    "a: {b: 2\n": "a bracket is not closed before it; add }",
    "a: *b\n": "a `*name` for which there is no `&name`",
    "a: !!python/object:os.system x\n": "only plain values can stand there",
    "a: \0\n": "a character that is no text",
    'a: "b\n': "a quotation mark is not closed",
}


@pytest.mark.parametrize("text", FAULTS, ids=ascii)
def test_pyyaml_says_it_in_these_words(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(FAULTS[text])):
        own.read(path)


def test_pyyaml_raises_every_message_of_the_table() -> None:
    said = []
    for text in FAULTS:
        with pytest.raises(yaml.YAMLError) as error:
            OmegaConf.create(text)
        problem = getattr(error.value, "problem", None) or getattr(error.value, "reason", None)
        said.append(str(problem or error.value))
    for pattern in own.PROBLEMS:
        for part in pattern.split("|"):
            assert any(re.search(part, words) for words in said), part


# --- launchers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [name for launcher in launchers.LAUNCHERS for name in launcher.failures]
)
def test_a_launchers_exception_exists(name: str) -> None:
    module, _, kind = name.rpartition(".")
    pytest.importorskip(name.partition(".")[0])
    error = type("Derived", (getattr(import_module(module), kind),), {"__init__": lambda _: None})
    assert launchers.meaning_of(error()) == launchers.meaning_of(error())
    assert launchers.meaning_of(error()) in {
        words for launcher in launchers.LAUNCHERS for words in launcher.failures.values()
    }
    assert launchers.meaning_of(ValueError()) is None


@pytest.mark.parametrize("option", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_a_launcher_is_known_by_its_node(option: str) -> None:
    (launcher,) = [item for item in launchers.LAUNCHERS if item.options == option.partition("_")[0]]
    pytest.importorskip(launcher.package)
    node = train.hydra_node([f"hydra/launcher={option}", "-m"])["launcher"]
    assert launcher.chosen_in(node) and (launchers.pool_in(node) is launcher) is launcher.pooled
    assert launchers.extra_for(option) == launcher.extra


def test_the_search_is_known_by_its_node() -> None:
    pytest.importorskip(launchers.OPTUNA.package)
    assert launchers.OPTUNA.chosen_in(train.hydra_node(["hydra/sweeper=optuna", "-m"])["sweeper"])
    assert not launchers.OPTUNA.chosen_in(train.hydra_node(["-m"])["sweeper"])
