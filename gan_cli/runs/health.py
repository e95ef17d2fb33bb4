"""Verdicts on the health of a run, each with advice. Nothing here imports torch.

Advice depends on the configuration: it never names a setting that the run has already, or that a
check refuses.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from gan_cli import registry
from gan_cli.config.objectives import lower_is_better

Rows = Sequence[Mapping[str, float]]

MIN_SLOPE = 0.7  # critic's gradient norm over the penalty's target; below it the critic is weak
MAX_SLOPE = 1.4  # the same ratio; above it the penalty is weak
MIN_DIVERSITY = 0.75  # mean pairwise distance, samples over real; below it the run has collapsed
MIN_ROUNDS = 200  # before this round, low diversity may only mean that nothing is learnt yet
MIN_COVERAGE = 0.75  # fraction of modes or classes with samples; up to it some are missing
MAX_SCORE_RATIO = 3.0  # score, samples over held-out data; above it training is unfinished
MIN_HELDOUT_RATIO = 0.5  # estimate, held-out over training data; below it the critic overfits
MIN_RISE = 0.1  # growth of the estimate relative to its past value; below it there is no trend
MIN_PENALTY_WEIGHT = 5  # below it the estimate visibly exceeds the distance
MAX_EXCESS = 0.2  # of the estimate over the distance; above it a small weight is named
DEFAULT_PENALTY_WEIGHT = 10  # of a gradient penalty
MIN_SCORE_GAP = 10  # critic's score, real minus fake; below it the discriminator has not won
MAX_WON_LOSS = 0.05  # discriminator's loss; above it the discriminator has not won
MIN_ESTIMATES = 8  # logged values of the estimate; fewer show no trend
WINDOW = 3  # evaluations whose mean is compared; two where there are few
MIN_SCORES = 4  # evaluations; fewer show no decline
MAX_DECLINE = 0.15  # of the objective from its best mean to the last one; above it it has declined
MIN_GAIN = 0.05  # of a score over that with shuffled inputs; below it inputs are not followed
MIN_EXCHANGED = 0.2  # of class_kept below class_kept_most; above it classes were exchanged


def verdicts(
    rows: Rows,
    config: Mapping[str, Any],
    diversity: float | None = None,
    classes: int = 0,
    objective: str | None = None,
) -> list[str]:
    """Verdicts on a run, one sentence each, the worst first; a single one for a healthy run.

    Args:
        rows: of `metrics.jsonl`.
        config: of the run.
        diversity: mean pairwise distance of samples, divided by that of held-out data; None if it
            is unknown.
        classes: number of classes of the data; 0 if they have none.
        objective: the score that decides best.pt; None if the run is not scored.
    """
    candidates = [
        _collapsed(diversity, rows, config, classes),
        _missing_modes(rows, classes, config),
        _critic_slope(rows, config),
        _small_penalty_weight(rows, config),
        _overfitting_critic(rows, config),
        _winning_discriminator(rows, config),
        _rising_estimate(rows, config, objective),
        _exchanged_classes(rows),
        _past_its_best(rows, objective),
        _unfinished_training(rows, config, objective),
    ]
    sentences = [sentence for sentence in candidates if sentence]
    return sentences or ["healthy: nothing that is known to go wrong shows in the curves"]


def _last_quarter(rows: Rows, tag: str) -> list[float]:
    """Values of a tag in the last quarter of the run; at least one, if there is any at all."""
    values = [row[tag] for row in rows if tag in row]
    return values[-max(1, len(values) // 4) :] if values else []


def _latest(rows: Rows) -> dict[str, float]:
    """Last value of each tag."""
    return {tag: value for row in rows for tag, value in row.items()}


# --- advice ---------------------------------------------------------------------------------------


def _name(config: Mapping[str, Any], group: str) -> str:
    """Name of the option of a group, such as wasserstein for the loss; empty if there is none."""
    return str(config.get(group, {}).get("name", ""))


def _penalty(config: Mapping[str, Any]) -> str:
    """Advice to add a penalty, or to raise the weight of the present one."""
    node = config.get("regularizer", {})
    if "weight" in node:
        return f"more of the penalty (regularizer.weight above {node['weight']:g})"

    critic = config.get("network", {}).get("discriminator", {})
    if critic.get("critic_norm") == "batch":  # these penalties do not work with batch norm
        return "a penalty (regularizer=gradient_penalty or r1 with model.critic_norm=layer)"
    return "a penalty (regularizer=gradient_penalty or r1)"


def _other_loss(config: Mapping[str, Any]) -> list[str]:
    """Advice to take another loss; empty if the model has a fixed one."""
    name = _name(config, "loss")
    return [] if name in ("", "own") else [f"a loss other than {name}"]


def _lower_rate(config: Mapping[str, Any], player: str) -> list[str]:
    """Advice to lower a player's learning rate; empty if the optimizer has none."""
    optimizer = config.get("optimizer", {})
    player_options = (optimizer.get("players") or {}).get(player) or {}
    rate = {**optimizer, **player_options}.get("lr")
    return [] if rate is None else [f"optimizer.players.{player}.lr below {rate:g}"]


def _more_data(config: Mapping[str, Any]) -> list[str]:
    """Advice to take more data, and augmentations that suit the data and are not in use."""
    advice = ["more data"]
    if config.get("data", {}).get("flip") is False:
        advice.append("data.flip=true")
    is_image = _data_kind(_name(config, "data")) == "image"
    if is_image and _name(config, "augmentation") in ("", "none"):
        advice.append("augmentation=diff_augment")
    return advice


def _data_kind(name: str) -> str:
    """Kind of sample of a data set, such as image; empty if it is not registered."""
    component = registry.datasets.components.get(name)
    return str(component.attributes.get("kind")) if component else ""


def _any_of(advice: Sequence[str]) -> str:
    """A list in words: a, b or c."""
    if len(advice) == 1:
        return advice[0]
    return f"{', '.join(advice[:-1])} or {advice[-1]}"


# --- verdicts -------------------------------------------------------------------------------------


def _collapsed(
    diversity: float | None, rows: Rows, config: Mapping[str, Any], classes: int
) -> str | None:
    """Mode collapse: samples differ from each other much less than real samples do.

    Where samples are of nearly all classes, they are blurred, or a few of each class.
    """
    if diversity is None or not diversity < MIN_DIVERSITY:  # `not <`: NaN is no collapse
        return None

    rounds = int(max((row.get("step", MIN_ROUNDS) for row in rows), default=MIN_ROUNDS))
    observation = f"two samples are only {diversity:.2f} times as far apart as two real ones"
    if rounds < MIN_ROUNDS:
        return f"too early to tell: after {rounds} rounds {observation}; train longer"

    if classes and _latest(rows).get("metrics/classes_covered", 0) > MIN_COVERAGE * classes:
        return f"alike: {observation}, of nearly all classes: blurred, or few of each; look at them"

    advice = [_penalty(config), *_other_loss(config), *_lower_rate(config, "generator")]
    return f"collapsed: {observation}; take {_any_of(advice)}"


def _missing_modes(rows: Rows, classes: int, config: Mapping[str, Any]) -> str | None:
    """Modes or classes without any sample, according to the last scores."""
    latest = _latest(rows)
    for group, tag, total in (
        ("modes", "metrics/modes", latest.get("metrics/modes_of")),
        ("classes", "metrics/classes_covered", classes),
    ):
        covered = latest.get(tag)
        if covered is not None and total and covered <= MIN_COVERAGE * total:
            return (
                f"{group} are missing: samples are of {covered:.0f} of {total:.0f}; train longer, "
                f"or take {_penalty(config)}"
            )
    return None


def _unfinished_training(rows: Rows, config: Mapping[str, Any], score: str | None) -> str | None:
    """A score several times that of held-out data, or as bad as with shuffled inputs."""
    latest = _latest(rows)
    longer = "minutes" if config.get("minutes") is not None else "steps"
    remedy = f"train longer ({longer}=) or take larger networks (network.width=)"
    for tag, floor in latest.items():
        scored = tag.removesuffix("_floor")  # the floor of a score is that of held-out data
        if scored == tag or scored not in latest:
            continue
        if latest[scored] > MAX_SCORE_RATIO * floor > 0:
            return (
                f"not there yet: {scored.removeprefix('metrics/')} is {latest[scored]:.3g} where "
                f"held-out samples have {floor:.3g}; look at the samples, {remedy}"
            )

    scores = {tag.removeprefix("metrics/"): value for tag, value in latest.items()}
    if not is_by_chance(scores, score):
        return None
    value, shuffled = scores[str(score)], scores[f"{score}_shuffled"]
    return (
        f"not there yet: {score} is {value:.3g}, and {shuffled:.3g} with shuffled inputs, so "
        f"samples do not follow theirs; look at them, {remedy}"
    )


def decline(rows: Rows, score: str | None) -> float | None:
    """How much worse a score is at the end than halfway; None where that is unknown."""
    found = [
        (row.get("step", 0), row[f"metrics/{score}"]) for row in rows if f"metrics/{score}" in row
    ]
    lower = lower_is_better().get(score or "")
    if len(found) < 2 or lower is None:
        return None
    end, last = found[-1]
    _, halfway = min(found, key=lambda pair: abs(pair[0] - end / 2))
    return last - halfway if lower else halfway - last


def is_by_chance(scores: Mapping[str, float], objective: str | None) -> bool | None:
    """Whether a score is no better than with shuffled inputs; None where that is unknown."""
    value, shuffled = (scores.get(f"{objective}{tail}") for tail in ("", "_shuffled"))
    lower = lower_is_better().get(objective or "")
    if value is None or shuffled is None or lower is None:
        return None
    gain = shuffled - value if lower else value - shuffled
    return gain < MIN_GAIN * shuffled


def _exchanged_classes(rows: Rows) -> str | None:
    """Classes of inputs that become other classes, always the same ones."""
    latest = _latest(rows)
    kept, most = (latest.get(f"metrics/class_kept{tail}") for tail in ("", "_most"))
    if kept is None or most is None or most - kept < MIN_EXCHANGED:
        return None
    return (
        f"classes are exchanged: {kept:.2f} of the samples have the class of their input, and "
        f"under another naming of the classes {most:.2f} would; larger images, another seed or a "
        "larger model.cycle may help, or pairs (model=pix2pix)"
    )


def _past_its_best(rows: Rows, score: str | None) -> str | None:
    """A score that was best long before the end, and has declined since."""
    found = [(row["step"], row[f"metrics/{score}"]) for row in rows if f"metrics/{score}" in row]
    if len(found) < MIN_SCORES:
        return None
    sign = -1 if lower_is_better().get(score or "") else 1
    width = min(WINDOW, len(found) // 2)  # of windows that do not overlap
    means = [
        fmean(value for _, value in found[i : i + width]) for i in range(len(found) - width + 1)
    ]
    best = max(means, key=lambda mean: sign * mean)
    step, value = max(found, key=lambda pair: sign * pair[1])
    declines = (sign * (best - means[-1]), sign * (value - found[-1][1]))  # on average, at the end
    if min(declines) <= MAX_DECLINE * abs(best):
        return None
    return (
        f"past its best: {score} was {value:.3g} at round {step:.0f} and is {found[-1][1]:.3g} at "
        "the end; checkpoints/best.pt has the better one, and a shorter run, or a rate that falls "
        "(schedule=linear), would end near it"
    )


def _critic_slope(rows: Rows, config: Mapping[str, Any]) -> str | None:
    """A gradient norm of the critic far from the target of its penalty."""
    penalty = config.get("regularizer", {})
    target = penalty.get("target")
    norms = _last_quarter(rows, "critic/gradient_norm_mean")
    if not target or penalty.get("where", "line") != "line" or not norms:
        return None

    norm = fmean(norms)
    if norm / target < MIN_SLOPE and penalty.get("sides", "two") == "two":
        return (
            f"weak critic: its gradient norm is {norm:.2f} where the penalty asks for "
            f"{target:g}; give it more turns (model.repeat.discriminator) or a higher "
            "optimizer.players.discriminator.lr"
        )
    if norm / target > MAX_SLOPE:
        return (
            f"weak penalty: the critic's gradient norm is {norm:.2f} where the penalty "
            f"asks for {target:g}; raise regularizer.weight, or lower the learning rate"
        )
    return None


def _small_penalty_weight(rows: Rows, config: Mapping[str, Any]) -> str | None:
    """A weight of the gradient penalty that biases the estimate of the Wasserstein distance.

    The best critic of samples that lie W apart has the slope 1 + W / (2 weight).
    """
    penalty = config.get("regularizer", {})
    if _name(config, "loss") != "wasserstein" or not penalty.get("target"):
        return None
    if penalty.get("weight", DEFAULT_PENALTY_WEIGHT) >= MIN_PENALTY_WEIGHT:
        return None
    estimates = _last_quarter(rows, "wasserstein/heldout")
    if estimates and fmean(estimates) <= 2 * penalty["weight"] * MAX_EXCESS:
        return None
    return (
        f"lambda is small: at regularizer.weight={penalty['weight']:g} the estimate exceeds the "
        "distance by about W^2/(2 lambda) and more; compare such estimates only with each other, "
        "or take regularizer.weight=10"
    )


def _overfitting_critic(rows: Rows, config: Mapping[str, Any]) -> str | None:
    """An estimate much larger on training data than on held-out data."""
    train_values = _last_quarter(rows, "wasserstein/train")
    heldout_values = _last_quarter(rows, "wasserstein/heldout")
    if not train_values or not heldout_values:
        return None

    train = fmean(train_values)
    heldout = fmean(heldout_values)
    if train <= 0 or heldout >= MIN_HELDOUT_RATIO * train:
        return None
    advice = [*_more_data(config), "a smaller critic (network.discriminator.width=)"]
    return (
        f"overfitting critic: its estimate is {train:.3g} on training data and "
        f"{heldout:.3g} on held-out data; take {_any_of(advice)}"
    )


def _winning_discriminator(rows: Rows, config: Mapping[str, Any]) -> str | None:
    """A discriminator that separates real from fake samples almost without loss.

    That of a game whose adversarial term weighs nothing may do so.
    """
    if config.get("model", {}).get("adversarial") == 0:
        return None
    losses = _last_quarter(rows, "discriminator/adversarial")
    generator_losses = _last_quarter(rows, "generator/adversarial")
    gaps = _last_quarter(rows, "discriminator/score_gap")
    if not losses or not generator_losses or not gaps:
        return None

    loss = fmean(losses)
    if fmean(gaps) < MIN_SCORE_GAP or abs(loss) > MAX_WON_LOSS:
        return None

    advice = [_penalty(config)]
    if _name(config, "augmentation") != "instance_noise":
        advice.append("augmentation=instance_noise")
    advice += _lower_rate(config, "discriminator")
    return (
        f"the discriminator wins: its loss is {loss:.3g} and the generator's "
        f"{fmean(generator_losses):.3g}; take {_any_of(advice)}"
    )


def _rising_estimate(rows: Rows, config: Mapping[str, Any], score: str | None) -> str | None:
    """An estimate of the distance that grows over the second half of the run.

    Where samples get better meanwhile, it is that of a critic that still learns.
    """
    change = decline(rows, score)
    if change is not None and change < 0:
        return None
    values = [row["wasserstein/heldout"] for row in rows if "wasserstein/heldout" in row]
    if len(values) < MIN_ESTIMATES:
        return None

    third_quarter = fmean(values[len(values) // 2 : -len(values) // 4])
    last_quarter = fmean(values[-len(values) // 4 :])
    rises = last_quarter > (1 + MIN_RISE) * third_quarter > 0
    is_large = last_quarter > MIN_RISE * max(values)
    if not (rises and is_large):
        return None

    has_constant_rate = _name(config, "schedule") in ("", "constant")
    decay = " or let it fall (schedule=linear)" if has_constant_rate else ""
    return (
        f"the estimate is rising ({third_quarter:.3g} to {last_quarter:.3g} over the second half): "
        "the critic finds more and more to tell real and fake samples apart; look at the "
        f"samples, and lower the learning rate{decay}"
    )
