"""The health report: each verdict on a run that was built to show it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import MODELS, Command, compose, fitting, make_trainer, mostly_slow

from gan_cli.runs import hooks
from gan_cli.runs.health import verdicts

QUICK = (
    "data=points",
    "batch_size=64",
    "network.width=32",
    "log_every=5",
    "sample_every=0",
    "evaluate_every=0",
    "hydra.run.dir=run",
)


SICK = {
    "weak critic": (
        "model=wgan_gp",
        "data=digits",
        "network=dcgan",
        "network.init=dcgan",
        "steps=10",
        "optimizer.players.discriminator.lr=1e-7",
    ),
    "weak penalty": ("model=wgan_gp", "steps=150", "regularizer.weight=0.001", "optimizer.lr=3e-3"),
    "lambda is small": ("model=wgan_gp", "steps=5", "regularizer.weight=0.1"),
    "overfitting critic": (
        "model=wgan_gp",
        "data=csv",
        "data.file=few.csv",
        "data.heldout=0.5",
        "steps=150",
        "optimizer.lr=2e-3",
        "network.width=128",
    ),
    "the discriminator wins": (
        "model=dcgan",
        "model.critic_norm=none",
        "data=digits",
        "network=dcgan",
        "steps=150",
        "optimizer.players.discriminator.lr=2e-3",
        "optimizer.players.generator.lr=1e-9",
    ),
    "the estimate is rising": (
        "model=wgan_gp",
        "regularizer.weight=10",
        "steps=150",
        "optimizer.players.generator.lr=1e-9",
        "optimizer.players.discriminator.lr=1e-4",
    ),
    "collapsed": (
        "model=wgan_gp",
        "steps=200",
        "network.generator.width=1",
        "network.generator.depth=3",
    ),
}


@pytest.mark.parametrize("said", mostly_slow(SICK, "lambda is small", "weak critic"))
def test_a_sick_run_is_told_what_to_do(command: Command, tmp_path: Path, said: str) -> None:
    values = np.random.default_rng(0).normal(size=(40, 24))
    # 20 points in 24 dimensions are learnt by heart
    np.savetxt(tmp_path / "few.csv", values, delimiter=",")
    code, printed = command("gan-train", *QUICK, *SICK[said])
    assert code == 0, printed
    card = json.loads((tmp_path / "run" / "run.json").read_text())
    told = card["health"]
    assert any(line.startswith(said) for line in told), told
    assert card["diversity"] > 0 and card["classes"] == 10 * ("data=digits" in SICK[said])
    assert f"health: {said}" in printed


@pytest.mark.slow
def test_a_healthy_run_is_told_so(command: Command, tmp_path: Path) -> None:
    better = (
        "seed=1",
        "steps=1000",
        "schedule=linear",
        "optimizer.lr=1e-3",
        "network.width=64",
        "model.latent=2",
    )
    code, printed = command("gan-train", "model=wgan_gp", *QUICK, *better)
    assert code == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["health"] == [
        "healthy: nothing that is known to go wrong shows in the curves"
    ], printed


@pytest.mark.parametrize(("estimate", "told"), [(0.1, False), (0.8, True)])
def test_a_small_weight_is_told_where_it_matters(estimate: float, told: bool) -> None:
    """The slope of the best critic is 1 + W / (2 lambda): 1.05 for 0.1 at lambda 1, 1.4 for 0.8."""
    config = {
        "loss": {"name": "wasserstein"},
        "regularizer": {"name": "gradient_penalty", "target": 1.0, "weight": 1.0},
    }
    rows = [{"step": i, "wasserstein/heldout": estimate} for i in range(8)]
    said = verdicts(rows, config)
    assert any(line.startswith("lambda is small") for line in said) is told


def test_a_rising_estimate_is_told() -> None:
    config = {
        "loss": {"name": "wasserstein"},
        "regularizer": {"name": "gradient_penalty", "target": 1.0, "weight": 10},
    }
    rising = [
        {"step": i, "wasserstein/train": 1 + 0.1 * i, "wasserstein/heldout": 1 + 0.1 * i}
        for i in range(40)
    ]
    (said,) = verdicts(rising, config)
    assert said.startswith("the estimate is rising (")
    falling = [
        {**row, "wasserstein/heldout": 5 - 0.1 * i, "wasserstein/train": 5 - 0.1 * i}
        for i, row in enumerate(rising)
    ]
    assert verdicts(falling, config)[0].startswith("healthy")
    assert verdicts([], config)[0].startswith("healthy")


@pytest.mark.parametrize(("w1", "told"), [((0.5, 0.4, 0.2), False), ((0.5, 0.2, 0.4), True)])
def test_an_estimate_that_rises_while_samples_get_better_is_not_told(
    w1: tuple[float, ...], told: bool
) -> None:
    rows: list[dict[str, float]] = [
        {"step": i, "wasserstein/train": 1 + 0.1 * i, "wasserstein/heldout": 1 + 0.1 * i}
        for i in range(1, 41)
    ]
    for step, value in zip((10, 20, 40), w1, strict=True):
        rows[step - 1]["metrics/w1"] = value
    said = verdicts(rows, CLIPPED, objective="w1")
    assert any(line.startswith("the estimate is rising (") for line in said) is told


CLIPPED = {"loss": {"name": "wasserstein"}, "regularizer": {"name": "weight_clip", "clip": 0.01}}


def test_an_estimate_that_rises_within_nothing_is_not_told() -> None:
    """Under clipping: 4e-4 at first, then rounding, which doubles now and then."""
    values = [4e-4] * 10 + [4e-6] * 20 + [9e-6] * 10
    rows = [
        {"step": i, "wasserstein/train": value, "wasserstein/heldout": value}
        for i, value in enumerate(values)
    ]
    assert verdicts(rows, CLIPPED) == [
        "healthy: nothing that is known to go wrong shows in the curves"
    ]


@pytest.mark.parametrize(
    ("row", "classes", "said"),
    [
        (
            {"metrics/modes": 3.0, "metrics/modes_of": 8.0},
            0,
            "modes are missing: samples are of 3 of 8",
        ),
        ({"metrics/classes_covered": 7.0}, 10, "classes are missing: samples are of 7 of 10"),
        ({"metrics/modes": 7.0, "metrics/modes_of": 8.0}, 0, "healthy"),
        ({"metrics/classes_covered": 9.0}, 10, "healthy"),
        ({"metrics/modes": 0.0, "metrics/modes_of": 0.0}, 0, "healthy"),
    ],
)
def test_modes_and_classes_that_are_missing_are_told(
    row: dict[str, float], classes: int, said: str
) -> None:
    rows = [{"step": 1, "metrics/modes": 0.0, "metrics/classes_covered": 0.0}, {"step": 2, **row}]
    assert verdicts(rows, CLIPPED, 1.0, classes)[0].startswith(said)


@pytest.mark.parametrize("model", mostly_slow(MODELS, "dcgan", "ebgan", "wgan_gp", "sgan"))
def test_what_is_advised_against_collapse_is_not_there_already_and_can_be_typed(model: str) -> None:
    usual = compose(*fitting(model, "data=digits"), "guard=warn")
    (said, *_) = verdicts([{"step": 1000}], usual, 0.1)
    typed = {
        key: value
        for key, value in re.findall(r"([\w.]+)=([\w.]+)", said)
        if key != "regularizer.weight"
    }
    above = re.search(r"regularizer\.weight above ([\d.e-]+)", said)
    taken = (
        [f"regularizer.weight={2 * float(above[1])}"]
        if above
        else [f"{k}={v}" for k, v in typed.items()]
    )
    changed = compose(*fitting(model, "data=digits"), *taken)
    assert changed["regularizer"] != usual["regularizer"], said
    named = re.search(r"a loss other than (\w+)", said)
    assert named is None or named[1] == usual["loss"]["name"] != "own"


@pytest.mark.parametrize(
    ("overrides", "holds", "lacks"),
    [
        (("data=points",), "more data", "flip"),
        (("data=digits",), "augmentation=diff_augment", "flip"),
        (("data=digits", "augmentation=diff_augment"), "more data", "diff_augment"),
        (("data=mnist",), "data.flip=true", "nothing"),
        (("data=mnist", "data.flip=true"), "more data", "flip"),
    ],
)
def test_advice_against_overfitting_fits_the_data(
    overrides: tuple[str, ...], holds: str, lacks: str
) -> None:
    rows = [{"step": i, "wasserstein/train": 1.0, "wasserstein/heldout": 0.1} for i in range(4)]
    (said,) = verdicts(rows, compose("model=wgan_gp", *overrides))
    assert said.startswith("overfitting critic") and holds in said and lacks not in said


def test_samples_that_are_far_from_the_data_are_not_healthy() -> None:
    row = {
        "step": 1000,
        "metrics/frechet_classifier_distance": 38.0,
        "metrics/frechet_classifier_distance_floor": 12.0,
    }
    (said,) = verdicts([row], {**CLIPPED, "minutes": None})
    assert said.startswith(
        "not there yet: frechet_classifier_distance is 38 where held-out samples have 12"
    )
    assert "train longer (steps=)" in said
    near = {**row, "metrics/frechet_classifier_distance": 30.0}
    assert verdicts([near], CLIPPED)[0].startswith("healthy")


@pytest.mark.parametrize(
    ("score", "value", "shuffled", "told"),
    [
        ("l1", 0.29, 0.26, True),
        ("l1", 0.25, 0.26, True),
        ("l1", 0.2, 0.26, False),
        ("all_right", 0.01, 0.01, True),
        ("all_right", 0.6, 0.01, False),
    ],
)
def test_samples_that_do_not_follow_their_inputs_are_not_healthy(
    score: str, value: float, shuffled: float, told: bool
) -> None:
    rows = [{"step": 900, f"metrics/{score}": value, f"metrics/{score}_shuffled": shuffled}]
    said = verdicts(rows, CLIPPED, objective=score)
    followed = f"not there yet: {score} is {value}, and {shuffled} with shuffled inputs"
    assert said[0].startswith(followed if told else "healthy")


def test_few_rounds_are_too_early_to_tell_and_one_sample_tells_nothing() -> None:
    assert verdicts([{"step": 93}], CLIPPED, 0.1)[0].startswith(
        "too early to tell: after 93 rounds"
    )
    assert verdicts([{"step": 1000}], CLIPPED, float("nan"))[0].startswith("healthy")


def test_samples_of_all_classes_are_alike_and_not_collapsed() -> None:
    row = {"step": 1000, "metrics/classes_covered": 9.0}
    assert verdicts([row], CLIPPED, 0.4, classes=10)[0].startswith("alike: two samples are only")
    assert verdicts([row], CLIPPED, 0.8, classes=10)[0].startswith("healthy")
    assert verdicts([row], CLIPPED, 0.7, classes=10)[0].startswith("alike")
    few = {**row, "metrics/classes_covered": 7.0}
    assert verdicts([few], CLIPPED, 0.4, classes=10)[0].startswith("collapsed: two samples")
    assert verdicts([row], CLIPPED, 0.4)[0].startswith("collapsed: two samples")


def test_a_discriminator_that_nobody_hears_does_not_win() -> None:
    rows = [
        {"step": i, "discriminator/adversarial": 0.001, "generator/adversarial": 20.0,
         "discriminator/score_gap": 30.0}
        for i in range(8)
    ]  # fmt: skip
    config = {"loss": {"name": "non_saturating"}, "regularizer": {"name": "none"}}
    assert verdicts(rows, config)[0].startswith("the discriminator wins")
    unheard = {**config, "model": {"name": "vae_gan", "adversarial": 0.0}}
    assert verdicts(rows, unheard)[0].startswith("healthy")


def test_samples_that_follow_an_input_are_not_called_collapsed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainer = make_trainer("data=points", "network.width=4", "batch_size=4")
    health = hooks.Health(None, trainer.batches.dataset, {}, tmp_path)  # type: ignore[arg-type]
    assert health._diversity(trainer) is not None
    monkeypatch.setattr(type(trainer.game), "diverse", False)
    assert health._diversity(trainer) is None


@pytest.mark.parametrize(
    ("score", "values", "told"),
    [
        ("l1", [0.5, 0.3, 0.31, 0.3, 0.36, 0.4, 0.41], "l1 was 0.3 at round 1 and is 0.41"),
        ("l1", [0.5, 0.3, 0.31, 0.3, 0.32, 0.33, 0.31], ""),
        ("l1", [0.3, 0.4, 0.5], ""),  # too few to tell
        ("l1", [0.3, 0.32, 0.6, 0.58], "l1 was 0.3 at round 0 and is 0.58"),
        ("l1", [0.6, 0.5, 0.3, 0.45], ""),  # one value that is worse is none
        ("l1", [0.8, 1.0, 1.9, 0.7], ""),  # the last one is the best
        ("classifier_score", [5, 8, 8.5, 8, 6, 5, 5], "classifier_score was 8.5 at round 2"),
        ("classifier_score", [5, 6, 6.5, 8, 8, 8.2, 8.1], ""),
    ],
)
def test_a_score_that_was_better_is_told(score: str, values: list[float], told: str) -> None:
    rows = [{"step": i, f"metrics/{score}": value} for i, value in enumerate(values)]
    said = verdicts(rows, CLIPPED, objective=score)
    assert said[0].startswith(f"past its best: {told}" if told else "healthy")


@pytest.mark.parametrize(("kept", "told"), [(0.3, True), (0.85, False)])
def test_classes_that_are_exchanged_are_told(kept: float, told: bool) -> None:
    rows = [{"step": 1, "metrics/class_kept": kept, "metrics/class_kept_most": 0.9}]
    assert verdicts(rows, CLIPPED)[0].startswith("classes are exchanged: 0.30") is told
