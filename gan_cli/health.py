"""A short report on the health of a run, in words that say what to do. Nothing here imports torch."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Rows = Sequence[Mapping[str, float]]

WEAK, STEEP = 0.7, 1.4  # times the penalty's target: below, the critic is weak; above, the penalty is
ALIKE = 0.5  # samples less than this part as far apart as real ones have collapsed
BY_HEART = 0.5  # the estimate on held-out data less than this part of that on training data
ENOUGH = 0.75  # of the modes or classes must be there
TREND = 0.1  # a change of the estimate by a tenth is one, of what it was at its largest


def verdicts(rows: Rows, config: Mapping[str, Any], diversity: float | None = None, classes: int = 0) -> list[str]:
    """What the logged rows say of the run: one sentence each, the worst first; one for a healthy run.

    Args:
        rows: of `metrics.jsonl`.
        config: of the run.
        diversity: mean distance of two samples over that of two real ones, if there are samples.
        classes: of the data, 0 if it has none.
    """
    found = [
        _collapsed(diversity),
        _missing(rows, classes),
        _slope(rows, config),
        _small_weight(config),
        _by_heart(rows),
        _one_sided(rows),
        _trend(rows),
    ]
    said = [sentence for sentence in found if sentence]
    return said or ["healthy: nothing that is known to go wrong shows in the curves"]


def _last(rows: Rows, tag: str) -> list[float]:
    """The values of the last quarter of the run."""
    values = [row[tag] for row in rows if tag in row]
    return values[-max(1, len(values) // 4) :] if values else []


def _collapsed(diversity: float | None) -> str | None:
    if diversity is None or diversity >= ALIKE:
        return None
    return (
        f"collapsed: two samples are only {diversity:.2f} times as far apart as two real ones; take a penalty "
        "(regularizer=gradient_penalty or r1), another loss, or a lower optimizer.players.generator.lr"
    )


def _missing(rows: Rows, classes: int) -> str | None:
    """Modes or classes that no sample is of, by the last scores."""
    last = {tag: value for row in rows for tag, value in row.items()}
    for what, covered, of in (
        ("modes", "modes", last.get("metrics/modes_of")),
        ("classes", "classes_covered", classes),
    ):
        found = last.get(f"metrics/{covered}")
        if found is not None and of and found <= ENOUGH * of:
            return (
                f"{what} are missing: samples are of {found:.0f} of {of:.0f}; train longer, or take a penalty "
                "(regularizer=gradient_penalty or r1)"
            )
    return None


def _slope(rows: Rows, config: Mapping[str, Any]) -> str | None:
    penalty, slopes = config["regularizer"], _last(rows, "critic/gradient_norm_mean")
    target = penalty.get("target")
    if not target or penalty.get("where", "line") != "line" or not slopes:
        return None
    slope = fmean(slopes) / target
    if slope < WEAK and penalty.get("sides", "two") == "two":
        return (
            f"weak critic: its gradient norm is {fmean(slopes):.2f} where the penalty asks for {target:g}; give it "
            "more turns (model.repeat.discriminator) or a higher optimizer.players.discriminator.lr"
        )
    if slope > STEEP:
        return (
            f"weak penalty: the critic's gradient norm is {fmean(slopes):.2f} where the penalty asks for {target:g}; "
            "raise regularizer.weight, or lower the learning rate"
        )
    return None


def _small_weight(config: Mapping[str, Any]) -> str | None:
    penalty = config["regularizer"]
    if config["loss"]["name"] != "wasserstein" or not penalty.get("target") or penalty.get("weight", 10) >= 5:
        return None
    return (
        f"lambda is small: at regularizer.weight={penalty['weight']:g} the estimate exceeds the distance by about "
        f"W^2/(2 lambda) and more; compare such estimates only with each other, or take regularizer.weight=10"
    )


def _by_heart(rows: Rows) -> str | None:
    train, heldout = _last(rows, "wasserstein/train"), _last(rows, "wasserstein/heldout")
    if not train or not heldout or fmean(train) <= 0 or fmean(heldout) >= BY_HEART * fmean(train):
        return None
    return (
        f"overfitting critic: its estimate is {fmean(train):.3g} on training data and {fmean(heldout):.3g} on held-out "
        "data; take more data, data.flip, augmentation=diff_augment or a smaller critic"
    )


def _one_sided(rows: Rows) -> str | None:
    losses, terms = _last(rows, "discriminator/adversarial"), _last(rows, "generator/adversarial")
    gap = _last(rows, "discriminator/score_gap")
    if not losses or not terms or not gap or fmean(gap) < 10 or abs(fmean(losses)) > 0.05:
        return None
    return (
        f"the discriminator wins: its loss is {fmean(losses):.3g} and the generator's {fmean(terms):.3g}; take a "
        "penalty (regularizer=r1), augmentation=instance_noise, or a lower optimizer.players.discriminator.lr"
    )


def _trend(rows: Rows) -> str | None:
    values = [row["wasserstein/heldout"] for row in rows if "wasserstein/heldout" in row]
    if len(values) < 8:
        return None
    middle, last = fmean(values[len(values) // 2 : -len(values) // 4]), fmean(values[-len(values) // 4 :])
    if last > (1 + TREND) * middle > 0 and last > TREND * max(values):
        return (
            f"the estimate is rising ({middle:.3g} to {last:.3g} over the second half): the critic finds more and more "
            "to tell real and fake samples apart; look at the samples, and lower the learning rate or let it fall "
            "(schedule=linear)"
        )
    return None
