"""The commands as a user types them: defaults that yield, mistakes as one sentence, folders,
sweeps, start-up."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from conftest import Command, compose, start
from hydra.errors import MissingConfigException
from test_typed_lines import settable

import gan_cli
from gan_cli import files
from gan_cli.commands.evaluate import EvaluateConfig
from gan_cli.commands.mistakes import explain
from gan_cli.config.unknown import known_keys, unknown_key
from gan_cli.errors import UserError
from gan_cli.runs import rundir
from gan_cli.sampling.options import SampleConfig
from gan_cli.synonyms import WORDS

QUICK = ("steps=2", "batch_size=4", "network.width=4", "evaluate_every=0", "sample_every=0")
POINTS = ("data=points", "model=gan", *QUICK)


# --- what the user types wins ---------------------------------------------------------------------


def test_the_model_picks_its_papers_parts() -> None:
    named = ("wgan_gp", "wgan", "lsgan", "dcgan", "gan")
    parts = {model: compose(f"model={model}") for model in named}
    assert parts["wgan_gp"]["loss"]["name"] == "wasserstein"
    penalty = {
        "name": "gradient_penalty",
        "weight": 10,
        "target": 1,
        "where": "line",
        "order": 2,
        "sides": "two",
    }
    assert parts["wgan_gp"]["regularizer"].items() >= penalty.items()
    assert parts["wgan_gp"]["optimizer"]["betas"] == [0.0, 0.9]
    assert parts["wgan"]["optimizer"] == {"name": "rmsprop", "lr": 5e-5, "players": {}}
    assert parts["wgan"]["regularizer"] == {"name": "weight_clip", "clip": 0.01}
    assert parts["lsgan"]["loss"]["name"] == "least_squares"
    assert parts["lsgan"]["model"] == parts["dcgan"]["model"]  # inherited
    assert parts["gan"]["network"]["name"] == "mlp"


@pytest.mark.parametrize("order", [0, 1])
def test_the_command_line_wins_over_the_model_wherever_it_stands(order: int) -> None:
    typed = ["model=wgan_gp", "loss=hinge", "optimizer=rmsprop", "network=mlp", "regularizer=none"]
    config = compose(*(typed if order else reversed(typed)))
    assert [config[group]["name"] for group in ("loss", "optimizer", "network", "regularizer")] == [
        "hinge", "rmsprop", "mlp", "none",
    ]  # fmt: skip
    assert config["model"]["repeat"]["discriminator"] == 5


def test_the_command_line_wins_over_an_inherited_model() -> None:
    assert compose("model=lsgan", "loss=hinge")["loss"]["name"] == "hinge"
    assert (
        compose("model=lsgan", "model.critic_norm=layer")["network"]["discriminator"]["critic_norm"]
        == "layer"
    )


def test_any_option_of_a_component_can_be_typed_without_a_plus() -> None:
    config = compose(
        "optimizer.players.generator.lr=1e-3",
        "network.discriminator.width=7",
        "regularizer.target=0.5",
    )
    assert config["optimizer"]["players"]["generator"] == {"lr": 1e-3}
    assert config["network"]["discriminator"]["width"] == 7
    assert config["network"]["generator"]["width"] == 32
    assert config["regularizer"]["target"] == 0.5


@pytest.mark.parametrize(("data", "family"), [("digits", "dcgan"), ("points", "mlp")])
def test_auto_takes_the_family_that_fits(data: str, family: str) -> None:
    assert compose(f"data={data}")["network"]["name"] == family


def test_integers_are_taken_for_floats() -> None:
    from gan_cli.registry import optimizers, validate

    checked = validate(
        {"lr": 1, "betas": [0, 0.9]}, optimizers.options("adam", "optimizer"), "optimizer", "adam"
    )
    assert [type(value) for value in (checked["lr"], *checked["betas"])] == [float, float, float]


# --- mistakes -------------------------------------------------------------------------------------

MISTAKES = [
    (["stepss=3"], "stepss=3: no such key (did you mean steps?)"),
    (["+stepss=3"], "stepss=3: no such key (did you mean steps?)"),
    (["los=hinge"], "(did you mean loss?)"),
    (["steps=abc"], "steps=abc: value 'abc' of type 'str' could not be converted to Integer"),
    (["batch_size=-1"], "batch_size=-1: must be at least 1"),
    (["minutes=-1"], "minutes=-1.0: must be at least 0"),
    (["loss=wassersten"], "loss=wassersten: no such option (did you mean wasserstein?)"),
    (
        ["hardware.precision=bf17"],
        "hardware.precision=bf17: invalid value 'bf17', expected one of [auto, fp32, tf32, bf16, "
        "fp16]",
    ),
    (["hardware.device=mps"], "hardware=cpu"),
    (["resume=maybe"], "resume=maybe"),
    (
        ["regularizer.weigth=3"],
        "regularizer.weigth=3: regularizer=gradient_penalty has no such option (did you mean",
    ),
    (["regularizer.weight=-3"], "regularizer.weight=-3: input should be greater than 0"),
    (["regularizer.name=weight_clip"], "take regularizer=weight_clip"),
    (["optimizer.betas=[0,1]"], "optimizer.betas.1=1: input should be less than 1"),
    (["optimizer.players.generatr.lr=1"], "(did you mean generator?)"),
    (["optimizer.players.generator.rl=1"], "optimizer.players.generator.rl=1"),
    (["model.repeat.generatr=2"], "model.repeat.generatr"),
    (["model.latent=0"], "model.latent=0: input should be greater than or equal to 1"),
    (["network.wdth=3"], "(did you mean width?)"),
    (["network.discriminator.latent=3"], "network.discriminator.latent=3"),
    (["network=dcgan", "data=points"], "take network=auto"),
    (["data.image_size=9"], "data.image_size=9: input should be 8, 16 or 32"),
    (["data.distribution=ring", "data=points"], "data.distribution=ring"),
    (["objective=fid"], "objective=fid: not an objective of this data"),
    (["experiment=nope"], "the options are"),
    (["network=null"], "network=null: needs an option; they are affine, auto"),
    (["model="], "model=: needs an option"),
    (["~model"], "model=None: choose an option of the group"),
    (["optimizer.players=3"], "optimizer.players=3: expected options"),
    (["optimizer.players.generator=3"], "optimizer.players.generator=3: expected options"),
    (["network.generator=[1]"], "network.generator=[1]: expected options"),
    (["network.width=true"], "network.width=True: not a truth value"),
    (["regularizer.weight=inf"], "regularizer.weight=inf"),
    (["minutes=0"], "minutes=0.0: must be at least"),
    (["minutes=nan"], "minutes=nan: must be at least"),
    (["model.warm_up={discriminator:{repeat:100}}"], "needs `repeat`, and `rounds` or `every`"),
    (
        ["schedule=linear", "schedule.start=2"],
        "schedule.start=2: input should be less than or equal to 1",
    ),
    (["objective=w1_floor", "data=points"], "take one of w1"),
    (["seed=${oc.env:NOPE}"], "NOPE"),
    (
        ["hydra/launcher=nope"],
        "hydra/launcher=nope: no such option; if a plug-in has it, install that",
    ),
    (
        ["network=mlp", "network.discriminator.name=dcgan", "data=points"],
        "network.critic_norm=batch",
    ),
    (["network.width=100000000"], "network.width=100000000"),
    (["init_from=missing.pt", "steps=1"], "init_from=missing.pt: no such file"),
    (["foo"], "foo: expected key=value"),
    (["--multrun"], "--multrun: no such flag (did you mean --multirun?)"),
    (["seed=1", "--config-dir", "/nowhere", "steps=1"], "'/nowhere' not found"),
    (
        ["loss=wasserstein", "regularizer=none"],
        "take regularizer=gradient_penalty, regularizer=weight_clip or",
    ),
    (
        ["model=dcgan", "regularizer=gradient_penalty"],
        "set model.critic_norm=layer or model.critic_norm=none",
    ),
    (["regularizer.clip=0.01"], "set regularizer.clip=null"),
    (["network.discriminator.squash=sigmoid"], "set network.discriminator.squash=none"),
    (["data=mnist", "data.root=/nowhere"], "data=digits works without a download"),
    (["steps=1e400"], "steps=1e400: expected a whole number."),
    (["steps=1e30"], "steps=1e30: expected a whole number."),
    (["seed=9223372036854775808"], "seed=9223372036854775808: must be below 2**63"),
    (["model.latent=" + "9" * 5000], "model.latent=9999999999...: a number of 5000 digits"),
    (["data=" + "[" * 2000], "data: more than 50 brackets open in its value"),
    (
        ["data=[mnist,digits]"],
        "takes one option; several are a sweep: gan-train -m data=mnist,digits.",
    ),
    (
        ["data=mnist,digits"],
        "several values are a sweep, which wants -m: gan-train -m data=mnist,digits.",
    ),
    (["seed=1,2"], "several values are a sweep, which wants -m: gan-train -m seed=1,2."),
    (["optimizer.betas=0,0.9"], "a list wants brackets: optimizer.betas=[0,0.9]."),
    (["experiment=null"], "experiment=null: needs an option; they are"),
    (["data.folder=\udcff"], "is not UTF-8; give the file or folder another name."),
    (["--experimental-rerun", "x"], "--experimental-rerun: is not supported"),
    (["--resolve"], "--resolve: says how --cfg shows the configuration; add --cfg job"),
    (["--package", "model"], "--package: says how --cfg shows the configuration"),
    (
        ["--cfg", "job", "-p", "nope"],
        "--cfg job --package nope: package 'nope' not found in config.",
    ),
    (["--cfg", "nope"], "--cfg nope: must be followed by one of job, hydra, all."),
    (["--info", "nope"], "--info nope: must be followed by one of all, config"),
    (["--config-dir"], "--config-dir: must be followed by FOLDER."),
    (["--shell-completion"], "--shell-completion: needs install=SHELL"),
    (["--hydra-help", "steps=banana"], "steps=banana: --hydra-help stands alone"),
    (["--version", "steps=banana"], "steps=banana: --version stands alone; leave out the rest."),
    (["--help", "lr"], "lr: no such key; gan-cli calls it optimizer.lr."),
    (["--help", "--nope"], "--nope: no such flag"),
    (["--steps", "5"], "--steps: no such flag; keys are typed without dashes: steps=VALUE."),
    (["--batch-size=5"], "keys are typed without dashes: batch_size=5."),
    (["--lr=3"], "no such flag; gan-cli calls it optimizer.lr, without dashes: optimizer.lr=3."),
    (["--dataset", "mnist"], "no such flag; gan-cli calls it data, without dashes: data=VALUE."),
    (
        ["epochs=3"],
        "gan-cli calls it steps (in rounds; an epoch is as many rounds as batches are in the "
        "data).",
    ),
    (["workers=3"], "workers=3: no such key; there are no workers, for the data lies in memory;"),
    (["optimizer.learning_rate=3"], "has no such option (did you mean lr?)"),
]


@pytest.mark.parametrize(
    ("arguments", "said"),
    MISTAKES,
    ids=[ascii(" ".join(arguments))[:60] for arguments, _ in MISTAKES],
)
def test_a_mistake_is_one_sentence(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST", _no_network)
    code, printed = command("gan-train", *arguments)
    assert code == 2
    assert said in printed
    assert "Traceback" not in printed
    assert [
        line for line in printed.splitlines() if line.startswith("gan-train:")
    ] == printed.splitlines()[-1:]


def _no_network(*_: object, **__: object) -> None:
    raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\n<urlopen error no network>")


@pytest.mark.parametrize(("ours", "theirs", "_"), WORDS)
def test_another_tools_word_leads_to_a_key_that_there_is(ours: str, theirs: str, _: str) -> None:
    others = {item.name for schema in (SampleConfig, EvaluateConfig) for item in fields(schema)}
    roles = {f"network.{role}.width" for role in ("generator", "discriminator")}
    rates = {f"optimizer.players.{player}.lr" for player in ("generator", "discriminator")}
    turns = {f"model.repeat.{player}" for player in ("generator", "discriminator")}
    assert ours in {*settable()} | others | roles | rates | turns
    if ours not in others:
        told = [unknown_key(word) for word in theirs.split() if word not in known_keys()]
        assert all("gan-cli calls it" in said or "it is typed as" in said for said in told)


COMMANDS = ("train", "sample", "evaluate", "bench", "list", "explore", "export", "compare")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_version_which_stands_alone(command: Command, name: str) -> None:
    assert command(f"gan-{name}", "--version") == (0, f"gan-cli {gan_cli.__version__}\n")
    code, printed = command(f"gan-{name}", "--version", "steps=banana")
    assert code == 2 and printed == (
        f"gan-{name}: steps=banana: --version stands alone; leave out the rest.\n"
    )


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_nonsense_beside_help_is_refused(command: Command, name: str) -> None:
    assert command(f"gan-{name}", "--help")[0] == 0
    typed = "bench.banana=3" if name == "bench" else "banana=3"
    assert command(f"gan-{name}", "--help", typed)[0] == 2


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-", "1>/dev/full"])
@pytest.mark.parametrize(("typed", "code"), [("--help", 0), ("steps=banana", 2)])
def test_what_is_closed_is_no_traceback(closed: str, typed: str, code: int, tmp_path: Path) -> None:
    line = f"{sys.executable} -c 'from gan_cli.main import train; train()' {typed} {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    full = "full" in closed and not code
    assert done.returncode == (2 if full else code) and "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("\n") == (0 if "2>&-" in closed else int(full or code == 2))


def test_a_mistake_of_ours_is_not_hidden(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_cli.commands.train.check", lambda config: 1 / 0)
    with pytest.raises(Exception, match="division by zero"):
        command("gan-train")


def test_a_guard_may_be_told_to_warn(command: Command) -> None:
    code, printed = command(
        "gan-train", "model=dcgan", "regularizer=gradient_penalty", "guard=warn", *QUICK
    )
    assert code == 0
    assert "warning: network.critic_norm=batch" in printed
    with pytest.raises(UserError, match="critic_norm"):
        compose("model=dcgan", "regularizer=gradient_penalty")


def test_a_read_only_folder_is_one_sentence(command: Command, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file where the folder should be")
    code, printed = command("gan-train", *POINTS)
    assert code == 2 and "outputs" in printed and "Traceback" not in printed


# --- folders and sweeps ---------------------------------------------------------------------------


def test_a_run_folder_holds_what_the_readme_says(command: Command, tmp_path: Path) -> None:
    code, printed = command(
        "gan-train", *POINTS[:-2], "evaluate_every=1", "sample_every=1", "log_every=1"
    )
    assert code == 0, printed
    (folder,) = (tmp_path / "outputs" / "gan" / "points").iterdir()
    files = ("last.pt", "best.pt", "step_00000002.pt")
    for name in (
        *(f"checkpoints/{file}" for file in files),
        ".hydra/config.yaml",
        ".hydra/overrides.yaml",
        "samples/step_00000001.png",
        "metrics.jsonl",
        "train.log",
        "run.json",
    ):
        assert (folder / name).is_file(), name
    assert list((folder / "tensorboard").glob("events*"))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert {
        "discriminator/adversarial",
        "generator/adversarial",
        "discriminator/score_gap",
        "metrics/w1",
        "critic/gradient_norm_mean",
        "performance/steps_per_second",
    } <= rows[0].keys()
    assert "wasserstein/train" not in rows[0]


def test_the_same_command_after_a_finished_run_starts_a_new_one(
    command: Command, tmp_path: Path
) -> None:
    for _ in range(2):
        assert command("gan-train", *POINTS)[0] == 0
    assert len(list((tmp_path / "outputs" / "gan" / "points").iterdir())) == 2


def test_runs_of_one_second_each_have_a_folder(tmp_path: Path) -> None:
    """Five threads ask at once, again and again: no name is given twice, and each folder is
    there."""
    with ThreadPoolExecutor(5) as threads:
        found = list(threads.map(lambda _: rundir.new_folder(tmp_path / "runs"), range(50)))
    assert len(set(found)) == 50 and all(folder.is_dir() for folder in found)


@pytest.mark.slow
def test_seeds_that_start_together_all_play(tmp_path: Path) -> None:
    typed = [*POINTS, "hardware.threads=1"]
    runs = [start([*typed, f"seed={seed}"], tmp_path) for seed in (1, 2)]
    told = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert len(list((tmp_path / "outputs" / "gan" / "points").iterdir())) == 2


def test_of_two_that_look_for_a_run_to_go_on_with_one_gets_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    files.write_json(folder / rundir.CARD, {"fingerprint": "a", "step": 3})
    look = lambda: rundir.find(tmp_path, "a", 10, None)  # noqa: E731
    assert look() == folder and look() is None
    rundir.let_go()
    assert look() == folder
    with rundir.hold(folder):  # what was claimed is held, by the same process
        assert look() is None
    assert look() == folder
    rundir.let_go()


def test_what_is_shown_makes_no_folder(command: Command, tmp_path: Path) -> None:
    code, printed = command("gan-train", "--cfg", "all", "--resolve")
    assert code == 0 and "dir: outputs/wgan_gp/digits/" in printed
    assert command("gan-train", "--cfg", "hydra", "--resolve")[0] == 0
    assert not list(tmp_path.iterdir())


def test_signal_handlers_are_as_before(command: Command) -> None:
    """A multirun plays its cells in one process: each must leave Ctrl-C as it found it."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert command("gan-train", "-m", "seed=1,2", *POINTS)[0] == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_more_steps_go_on_with_the_run(command: Command, tmp_path: Path) -> None:
    command("gan-train", *POINTS)
    code, printed = command("gan-train", *POINTS, "steps=4")
    assert code == 0 and "going on at step 2" in printed
    assert len(list((tmp_path / "outputs" / "gan" / "points").iterdir())) == 1


def test_a_sweep_makes_readable_folders(command: Command, tmp_path: Path) -> None:
    line = (
        "gan-train",
        "-m",
        "model=gan,wgan,wgan_gp",
        "data=points",
        "seed=1,2",
        "model.warm_up=null",
        *QUICK,
    )
    code, printed = command(*line)
    assert code == 0, printed
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    cells = sorted(path.name for path in sweep.iterdir() if path.is_dir())
    assert cells == [
        f"model={model}+seed={seed}" for model in ("gan", "wgan", "wgan_gp") for seed in (1, 2)
    ]
    assert all((sweep / cell / "checkpoints" / "last.pt").is_file() for cell in cells)


def test_a_failing_cell_is_told_and_the_others_run_on(command: Command, tmp_path: Path) -> None:
    code, printed = command(
        "gan-train", "-m", "regularizer=none,gradient_penalty", "data=points", *QUICK
    )
    assert code == 2 and "regularizer=none: loss=wasserstein has no optimum" in printed
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert (sweep / "regularizer=gradient_penalty" / "checkpoints" / "last.pt").is_file()


def test_a_sweep_that_never_began_leaves_nothing(command: Command, tmp_path: Path) -> None:
    for typed, code in (
        (["stepss=1,2"], 2),
        (["loss=wassersten,hinge"], 2),
        (["seed=1,2", "--cfg", "job"], 2),
    ):
        found, printed = command("gan-train", "-m", *typed)
        assert found == code and "Traceback" not in printed
        assert not list(tmp_path.glob("outputs/sweeps/*"))


def test_cells_are_named_by_what_differs(command: Command, tmp_path: Path) -> None:
    assert command("gan-train", "-m", "optimizer.lr=1e-3,1e-4", "seed=0", *POINTS)[0] == 0
    cells = sorted(path.name for path in tmp_path.glob("outputs/sweeps/*/*") if path.is_dir())
    assert cells == ["optimizer.lr=0.0001", "optimizer.lr=0.001"]


def test_threads_are_for_one_cell_alone(command: Command) -> None:
    before = torch.get_num_threads()
    assert command("gan-train", "hardware.threads=3", *POINTS)[0] == 0
    assert torch.get_num_threads() == before


def test_a_checkpoint_in_a_sweep_can_be_named(command: Command, tmp_path: Path) -> None:
    command("gan-train", "-m", "seed=1,2", *POINTS)
    (path, _) = sorted(tmp_path.glob("outputs/sweeps/*/*/checkpoints/last.pt"))
    code, printed = command(
        "gan-train", *POINTS, f"init_from={path.relative_to(tmp_path)}", "seed=3"
    )
    assert code == 0 and "starting from the weights" in printed
    assert command("gan-sample", f"checkpoint={path.relative_to(tmp_path)}", "n=3")[0] == 0


def test_a_model_of_ones_own_folder(command: Command, tmp_path: Path) -> None:
    own = tmp_path / "own" / "model"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults: [wgan_gp, _self_]\nrepeat: {discriminator: 2}\n")
    code, printed = command(
        "gan-train", "--config-dir", str(tmp_path / "own"), "model=mine", "data=points", *QUICK
    )
    assert code == 0, printed
    assert (tmp_path / "outputs" / "mine" / "points").is_dir()


# --- start-up -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--cfg", "job"],
        ["stepss=2"],
        ["loss=wassersten"],
        ["regularizer.weigth=1"],
        ["model=dcgan", "regularizer=gradient_penalty"],
    ],
)
def test_an_answer_comes_before_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom gan_cli.main import train\n"
        "try:\n    train()\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr


@pytest.mark.parametrize(
    ("option", "extra"),
    [
        ("launcher/ray", "ray"),
        ("launcher/submitit_slurm", "submitit"),
        ("sweeper/optuna", "search"),
    ],
)
def test_a_plug_in_that_is_not_installed_is_named(option: str, extra: str) -> None:
    group, _, name = f"hydra/{option}".rpartition("/")
    told = explain(MissingConfigException("", f"{group}/{name}"), [])
    assert told == f"{group}={name}: no such option; it comes with: pip install 'gan-cli[{extra}]'."
