"""What `checkpoint=` may name, the same for all commands: a file, a run's folder, the newest run;
or a sentence."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, save_run

import gan_cli
from gan_cli.errors import UserError
from gan_cli.runs.places import checkpoint_file, runs_below

COMMANDS = ("gan-sample", "gan-evaluate", "gan-export", "gan-explore", "gan-dissect")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(
        tmp_path_factory.mktemp("places") / "run", "model=gan", "data=points", "network.width=4"
    )


@pytest.fixture
def runs(trained: Path, command: Command) -> list[Path]:
    """Three runs below outputs/, where the commands run; those last written to first."""
    found = [
        Path("outputs", *parts)
        for parts in (("b",), ("gan", "points", "c"), ("sweeps", "s", "lr=0.1+seed=1"))
    ]
    for age, folder in enumerate(found):
        shutil.copytree(trained, folder)
        for path in folder.rglob("*"):
            os.utime(path, (10**9 - age, 10**9 - age))
    return found


def test_a_file_a_run_and_the_newest_run_are_a_checkpoint(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    last = runs[0] / "checkpoints" / "last.pt"
    for typed in (last, str(last), runs[0], f"{runs[0]}/", runs[0] / "checkpoints", "latest"):
        assert checkpoint_file(typed) == last
    assert runs_below(Path("outputs")) == runs == runs_below(Path())[:3]
    os.utime(runs[2] / "checkpoints" / "last.pt")  # it went on
    assert checkpoint_file("latest") == runs[2] / "checkpoints" / "last.pt"
    monkeypatch.setenv("HOME", str(Path.cwd()))
    assert checkpoint_file("~/outputs/b") == Path.cwd() / last


def test_a_command_takes_a_place_as_its_checkpoint(runs: list[Path], command: Command) -> None:
    for place in (*map(str, runs), "latest", f"{runs[1]}/checkpoints/last.pt"):
        code, printed = command("gan-sample", "n=2", place, "mode=npz")
        assert code == 0 and f"of {checkpoint_file(place)} (step 1)" in printed
    code, printed = command("gan-export", "latest")
    assert code == 0 and printed.startswith(
        f"{runs[0]}/checkpoints/last.pt (step 1) in generator.pt2"
    )
    code, printed = command("gan-sample", "outputs/b", "checkpoint=latest")
    assert code == 2 and "outputs/b checkpoint=latest: expected one checkpoint" in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_no_run_is_one_sentence_by_every_command(
    name: str, runs: list[Path], command: Command
) -> None:
    if name == "gan-explore":
        pytest.importorskip("nicegui")
    Path("empty", "deep").mkdir(parents=True)
    os.mkfifo("pipe")
    listed = f"a folder with 3 runs in it; name one, the newest first: {', '.join(map(str, runs))}."
    for place, said in (
        ("nowhere", "no such file."),
        ("outputs/c", "no such file"),
        ("outputs", listed),
        ("empty", "no run in that"),
        ("pipe", "is a device or a pipe"),
        ("/dev/null", "is a device or a pipe"),
        ("x" * 300, "File name too long"),
        ("outputs/b/checkpoints/lst.pt", "no such file (did you mean last.pt?)."),
        ("a\0b", "no such file."),
    ):
        for typed in (place, f"checkpoint={place}"):
            code, printed = command(name, typed)
            assert code == 2 and len(printed.splitlines()) == 1
            assert printed.startswith(f"{name}: checkpoint={place[:1]}") and said in printed


def test_a_run_without_its_last_checkpoint_is_said(runs: list[Path], command: Command) -> None:
    folder = runs[0] / "checkpoints"
    shutil.copy(folder / "last.pt", folder / "best.pt")
    (folder / "last.pt").unlink()
    code, printed = command("gan-sample", "latest")
    assert (
        code == 2
        and (f"checkpoint=latest: {runs[0]}, the newest run, has no last.pt; name one of its")
        in printed
    )
    assert f"{folder}/best.pt, {folder}/step_00000001.pt" in printed
    shutil.rmtree(folder)
    code, printed = command("gan-sample", str(runs[0]))
    assert (
        code == 2
        and f"checkpoint={runs[0]}: has no checkpoint yet; gan-train writes one" in printed
    )
    shutil.rmtree("outputs")
    code, printed = command("gan-sample", "latest")
    assert code == 2 and "checkpoint=latest: no run below" in printed


def test_a_folder_above_many_runs_names_some(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"run{i:02d}").mkdir()
        (tmp_path / f"run{i:02d}" / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"a folder with 20 runs in it; .*, and 14 more\."):
        checkpoint_file(tmp_path)


def test_a_file_where_a_folder_of_runs_is_wanted_is_called_one(
    runs: list[Path], command: Command
) -> None:
    code, printed = command("gan-compare", f"{runs[0]}/run.json")
    assert code == 2 and printed.startswith(
        f"gan-compare: {runs[0]}/run.json: a file, not a folder; name the folder"
    )


@pytest.mark.parametrize("typed", [None, 3, "", b"run", ["run"], True])
def test_what_is_no_path_is_said(typed: Any) -> None:
    with pytest.raises(
        UserError,
        match=r"^checkpoint=.*: expected the path of a checkpoint or of "
        r"a run's folder\.$",
    ):
        gan_cli.load(typed)
