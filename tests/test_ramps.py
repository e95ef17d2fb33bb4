"""Numbers that change over a run: functions of the round, in every kind of component."""

import json
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, TINY_RUN, Command, compose, make_trainer

from gan_cli.config.ramps import Ramp
from gan_cli.errors import UserError


def half_cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + cos(pi * done)) / 2


@pytest.mark.parametrize("done", [0.0, 0.25, 0.5, 1.0])
def test_a_ramp_is_half_a_cosine_or_a_line(done: float) -> None:
    position = int(done * 500)
    ramp = Ramp("x", 2.0, 0.5, over=0.5)
    assert ramp.at(position, 1000) == pytest.approx(half_cosine(2.0, 0.5, done))
    line = Ramp("x", 2.0, 0.5, over=0.5, shape="linear")
    assert line.at(position, 1000) == pytest.approx(2.0 - 1.5 * done)
    assert ramp.at(900, 1000) == 0.5


def test_numbers_move_in_every_kind_of_component() -> None:
    trainer = make_trainer(
        "model=r3gan", "data=digits", "steps=4", *TINY, "augmentation=ada",
        "augmentation.target=null", "augmentation.p=0.1", "regularizer.weight=2",
        "model.ema_half_life=8", "ramps.regularizer.weight.to=1", "+ramps.augmentation.p.to=0.5",
        "ramps.model.ema_half_life.to=16", "+ramps.optimizer.betas.1.to=0.999",
        "optimizer.betas=[0.0,0.9]",
    )  # fmt: skip
    game: Any = trainer.game
    seen = []
    for _ in range(5):
        trainer.play_round()
        betas = {o.param_groups[0]["betas"] for o in trainer.optimizers.values()}
        assert len(betas) == 1
        seen.append(
            [
                float(game.regularizer.weight),
                float(game.T.p),
                game.averaging(10**9),
                betas.pop()[1],
            ]
        )
    ends = [(2.0, 1.0), (0.1, 0.5), (8, 16), (0.9, 0.999)]
    for i, row in enumerate(seen):
        wanted = [half_cosine(*pair, done=min(1, i / 4)) for pair in ends]
        wanted[2] = 0.5 ** (1 / wanted[2])
        assert row == pytest.approx(wanted)


def test_the_terms_follow_the_number() -> None:
    """As a run whose number is the one of that round."""
    ramped = make_trainer(
        "model=r3gan", "data=digits", "steps=2", *TINY, "ramps.regularizer.weight.to=3",
        "regularizer.weight=1", "ramps.regularizer.weight.shape=linear",
    )  # fmt: skip
    plain = make_trainer("model=r3gan", "data=digits", "steps=2", *TINY, "regularizer.weight=1")
    for trainer in (ramped, plain):
        trainer.play_round()
    assert ramped.terms["discriminator"]["penalty"] == plain.terms["discriminator"]["penalty"]
    for trainer in (ramped, plain):
        trainer.play_round()
    ratio = ramped.terms["discriminator"]["penalty"] / plain.terms["discriminator"]["penalty"]
    assert ratio.item() == pytest.approx(2.0, rel=1e-5)


def test_a_run_records_its_ramps(command: Command) -> None:
    ramp = ("ramps.regularizer.weight.to=1", "+ramps.optimizer.betas.1.to=0.999", "log_every=1")
    typed = ("gan-train", "model=dragan", *TINY_RUN[:1], *TINY_RUN[2:-1], "steps=4", *ramp)
    code, text = command(*typed, "hydra.run.dir=whole")
    assert code == 0, text
    rows = [json.loads(line) for line in Path("whole/metrics.jsonl").read_text().splitlines()]
    told = [row["ramps/regularizer.weight"] for row in rows if "ramps/regularizer.weight" in row]
    assert told[-1] == 1.0 and sorted(told, reverse=True) == told and told[0] > 1.0


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("ramps.regularizer.wait.to=1", "has no such option (did you mean weight?)"),
        ("ramps.regularizer.every.to=2", "ramps.regularizer.every"),
        ("ramps.regularizer.weight.to=-1", "ramps.regularizer.weight.to=-1"),
        ("ramps.regularizer.weight.to=x", "expected a number"),
        ("ramps.regularizer.weight.at=1", "expected where it goes"),
        ("ramps.regularizer.weight={to:1,until:3}", "has no such key"),
        ("ramps.regularizer.weight={to:1,over:2}", "a share of the run"),
        ("ramps.regularizer.weight={to:1,shape:sine}", "did you mean"),
        ("ramps.network.width.to=3", "numbers of network do not change"),
        ("ramps.optimizer.lr.to=1e-5", "follows schedule="),
        ("ramps.model.ema_half_life.to=3", "is no number"),
    ],
)
def test_what_cannot_change_is_said(typed: str, sentence: str) -> None:
    with pytest.raises(UserError) as said:
        make_trainer("model=r3gan", "data=digits", *TINY, typed)
    assert sentence in str(said.value), said.value


def test_what_is_used_where_it_is_built_cannot_change() -> None:
    with pytest.raises(UserError, match="used where"):
        make_trainer("model=dragan", "data=digits", *TINY, "ramps.model.latent.to=3")


def test_nested_and_dotted_paths_are_one() -> None:
    typed = compose("model=r3gan", "data=digits", "ramps={regularizer:{weight:{to:1}}}")
    assert typed == compose("model=r3gan", "data=digits", "ramps.regularizer.weight.to=1")
