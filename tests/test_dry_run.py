"""`dry_run=true`: it says what the run would be, and leaves nothing behind."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from conftest import Command, compose, make_trainer, mostly_slow

from gan_cli.benchmarks import speed
from gan_cli.commands import dry_run
from gan_cli.training import build

QUICK = ("network.width=8", "batch_size=8", "hardware.threads=1")


def test_a_run_is_told_and_nothing_is_written(command: Command, tmp_path: Path) -> None:
    code, printed = command("gan-train", "dry_run=true", "data=points", *QUICK, "steps=3")
    assert code == 0, printed
    assert list(tmp_path.iterdir()) == []
    text, _, told = printed.partition("\n\n")
    assert yaml.safe_load(text) == compose("data=points", *QUICK, "steps=3")
    parameters = sum(
        weight.numel() for weight in make_trainer("data=points", *QUICK).game.parameters()
    )
    assert f"{parameters:,} in all" in told
    assert "6 turns, 48 samples" in told and "for 3 rounds" in told and "warnings      none" in told


def test_the_time_to_the_end_is_that_of_the_rounds_or_of_the_clock() -> None:
    config = compose("data=points", *QUICK, "steps=1000", "minutes=0.01")
    measured = dry_run.measure(config, 0.01)
    assert measured.seconds == min(1000 * measured.round, 0.6) and measured.turns == 6
    assert dry_run.measure({**config, "minutes": None}, 0.01).limit is None


def test_what_an_optimizer_holds_is_measured() -> None:
    """Adam remembers two numbers for each weight (and a few of its own)."""
    config = compose("data=points", *QUICK, "network.width=64", "model.ema=null")
    held = dry_run.measure(config, 0.01).memory
    assert held["optimizers"] == pytest.approx(2 * held["weights"], rel=1e-2)
    assert held["gradients"] == held["weights"] and held["average"] == 0 and held["peak"] > 10


@pytest.mark.parametrize(("guard", "expected"), [("error", 2), ("warn", 0)])
def test_guards_are_told_after_all_else(
    guard: str, expected: int, command: Command, tmp_path: Path
) -> None:
    line = (
        "gan-train",
        "dry_run=true",
        "data=points",
        "regularizer=none",
        "optimizer.betas=[0.9,0.99]",
        *QUICK,
    )
    code, printed = command(*line, f"guard={guard}")
    assert code == expected and "in all" in printed
    assert len(re.findall(r"^warning  .*(no optimum|momentum)", printed, re.MULTILINE)) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "typed",
    [
        ("seed=1,2", "optimizer.lr=1e-3,1e-4", "data=points", "evaluate_every=0"),
        pytest.param(("experiment=parallel_lines", "minutes=1"), marks=pytest.mark.slow),
        ("experiment=parallel_lines", "seed=1,2", "network.generator.shift=[0.5,0]"),
    ],
)
def test_the_cells_of_a_sweep_are_those_that_it_plays(
    typed: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    code, printed = command("gan-train", "-m", "dry_run=true", *typed, *QUICK)
    told = re.findall(r"^#\d+ (.*?): [\d,]+ parameters", printed, re.MULTILINE)
    assert code == 0 and len(told) > 1 and list(tmp_path.iterdir()) == []
    code, _ = command(
        "gan-train", "-m", *typed, *QUICK, "steps=1", "figures=[]", "log_every=0", "sample_every=0"
    )
    assert code == 0
    assert sorted(told) == sorted(
        path.name for path in tmp_path.glob("outputs/sweeps/*/*") if path.is_dir()
    )


def test_cells_that_would_fail_are_told(command: Command) -> None:
    code, printed = command(
        "gan-train", "-m", "dry_run=true", "data=points", "network=mlp,dcgan", "seed=1", *QUICK
    )
    assert code == 0 and "#0 network=mlp: " in printed
    assert (
        "#1 network=dcgan: would fail: network=dcgan: its generator is for data of the kind image"
        in printed
    )
    assert "\n2 cells: " in printed


def test_a_search_is_told_by_one_trial(command: Command) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    code, printed = command("gan-train", "-m", "dry_run=true", "experiment=search", *QUICK)
    assert code == 0 and "#0 a trial: " in printed and "20 trials like this one" in printed


@pytest.mark.parametrize("typed", mostly_slow(["true", "1"], "true"))
def test_a_dry_run_however_it_is_typed(typed: str, command: Command, tmp_path: Path) -> None:
    for more in ((), ("-m",), ("hydra.run.dir=here",)):
        code, printed = command(
            "gan-train", *more, f"dry_run={typed}", "data=points", *QUICK, "seed=1"
        )
        assert code == 0 and "to the end" in printed and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_own_folders_of_options_work(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "mine.yaml").write_text("defaults: [gan, _self_]\nlatent: 7\n")
    for flag in (("--config-dir", "own"), ("--config-dir=own",)):
        code, printed = command(
            "gan-train", "dry_run=true", *flag, "model=mine", "data=points", *QUICK
        )
        assert code == 0 and "latent: 7" in printed
        code, printed = command(
            "gan-train", "-m", "dry_run=true", *flag, "model=mine,gan", "data=points", *QUICK
        )
        assert code == 0 and "2 cells" in printed


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("dry_run=maybe",), "dry_run=maybe"),
        (("dry_run=true", "stepss=3"), "stepss=3: no such key (did you mean steps?)"),
        (("dry_run=true", "--cfg", "job"), "--cfg"),
        (("dry_run=true", "data.folder=/nowhere", "data=image_folder"), "/nowhere"),
        (
            ("dry_run=true", "-m", "seed=1,2", "modell=gan"),
            "modell=gan: no such key (did you mean model?)",
        ),
        (
            ("dry_run=true", "-m", "optimizer.lr=interval(1e-4,1e-3)"),
            "only a search takes an interval; add hydra/sweeper=optuna.",
        ),
    ],
)
def test_mistakes_are_answered_in_one_sentence(
    typed: tuple[str, ...], said: str, command: Command, tmp_path: Path
) -> None:
    code, printed = command("gan-train", *typed)
    assert code == 2 and said in printed.splitlines()[-1] and "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_that_stands_in_a_file_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "e.yaml").write_text("# @package _global_\ndry_run: true\n")
    for more in ((), ("-m", "seed=1"), ("hydra.run.dir=here",)):
        code, printed = command(
            "gan-train", "--config-dir", "own", "experiment=e", "data=points", *QUICK, *more
        )
        assert code == 2 and "dry_run=true: stands in a file" in printed


@pytest.mark.parametrize("fits", [False, True])
def test_what_does_not_fit_is_told_from_two_samples(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    monkeypatch.setattr(dry_run, "LARGE", 1)
    monkeypatch.setattr(dry_run, "FITS", 1.0 if fits else 0.0)
    typed = ("model=dcgan", "data=digits", "network.width=8", "batch_size=64", "steps=9")
    code, printed = command("gan-train", "dry_run=true", *typed)
    assert code == 0, printed
    assert ("a batch of 64 does not fit" in printed) != fits
    assert re.search(r"^a round +[\d.e+]+ ms: 2 turns, 128 samples", printed, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_memory_grows_with_the_samples_of_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "LARGE", 1)
    monkeypatch.setattr(dry_run, "FITS", 0.0)
    monkeypatch.setattr(speed, "own_peak_memory", lambda: 0.0)
    needed = []
    for shards, batch in ((1, 64), (1, 128), (2, 128)):
        config = compose("model=dcgan", "data=digits", "network.width=8", f"batch_size={batch}")
        config["hardware"]["shards"] = shards
        dataset = build.build_dataset(config, torch.device("cpu"))
        found = dry_run._probed(config, dataset, torch.device("cpu"))
        assert found is not None
        needed.append(found[1])
    assert needed[1] == pytest.approx(2 * needed[0]) and needed[2] == pytest.approx(needed[0])
