"""A short report on the health of a run, in words that say what to do. Nothing here imports torch.

Advice reads the configuration: nothing is advised that the run has already, or that a guard rail
refuses.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from gan_cli import registry

Rows = Sequence[Mapping[str, float]]

# times the penalty's target: below, the critic is weak; above, the penalty is
WEAK, STEEP = 0.7, 1.4
ALIKE = 0.5  # samples less than this part as far apart as real ones have collapsed
BY_HEART = 0.5  # the estimate on held-out data less than this part of that on training data
ENOUGH = 0.75  # of the modes or classes must be there
# times the distance of held-out samples: samples that are farther away are not yet like the data
FAR = 3.0
EARLY = 200  # rounds before which samples may still be alike because nothing was learnt
TREND = 0.1  # a change of the estimate by a tenth is one, of what it was at its largest


def verdicts(
    rows: Rows, config: Mapping[str, Any], diversity: float | None = None, classes: int = 0
) -> list[str]:
    """What the logged rows say of the run: one sentence each, the worst first; one for a healthy
    run.

    Args:
        rows: of `metrics.jsonl`.
        config: of the run.
        diversity: mean distance of two samples over that of two real ones, if there are samples.
        classes: of the data, 0 if it has none.
    """
    found = [
        _collapsed(diversity, rows, config),
        _missing(rows, classes, config),
        _slope(rows, config),
        _small_weight(config),
        _by_heart(rows, config),
        _one_sided(rows, config),
        _trend(rows, config),
        _far(rows, config),
    ]
    said = [sentence for sentence in found if sentence]
    return said or ["healthy: nothing that is known to go wrong shows in the curves"]


def _last(rows: Rows, tag: str) -> list[float]:
    """The values of the last quarter of the run."""
    values = [row[tag] for row in rows if tag in row]
    return values[-max(1, len(values) // 4) :] if values else []


# --- advice ---------------------------------------------------------------------------------------


def _name(config: Mapping[str, Any], group: str) -> str:
    return str(config.get(group, {}).get("name", ""))


def _penalty(config: Mapping[str, Any]) -> str:
    """A penalty, or more of the one that there is."""
    node = config.get("regularizer", {})
    if "weight" in node:
        return f"more of the penalty (regularizer.weight above {node['weight']:g})"
    coupled = config.get("network", {}).get("discriminator", {}).get("critic_norm") == "batch"
    return "a penalty (regularizer=gradient_penalty or r1" + (
        " with model.critic_norm=layer)" if coupled else ")"
    )


def _loss(config: Mapping[str, Any]) -> list[str]:
    return (
        []
        if _name(config, "loss") in ("", "own")
        else [f"a loss other than {_name(config, 'loss')}"]
    )


def _slower(config: Mapping[str, Any], player: str) -> list[str]:
    """A lower rate for a player that has an optimizer."""
    node = config.get("optimizer", {})
    rate = {**node, **((node.get("players") or {}).get(player) or {})}.get("lr")
    return [] if rate is None else [f"optimizer.players.{player}.lr below {rate:g}"]


def _more_data(config: Mapping[str, Any]) -> list[str]:
    """Ways to more samples that this data has and that are not used."""
    data, kind = config.get("data", {}), _kind(_name(config, "data"))
    flip = ["data.flip=true"] if data.get("flip") is False else []
    plain = kind == "image" and _name(config, "augmentation") in ("", "none")
    return ["more data", *flip, *(["augmentation=diff_augment"] if plain else [])]


def _kind(data: str) -> str:
    return (
        str(registry.datasets.components[data].attributes.get("kind"))
        if data in registry.datasets.components
        else ""
    )


def _any_of(ways: Sequence[str]) -> str:
    return ", ".join(ways[:-1]) + (" or " if ways[1:] else "") + ways[-1]


# --- verdicts -------------------------------------------------------------------------------------


def _collapsed(diversity: float | None, rows: Rows, config: Mapping[str, Any]) -> str | None:
    if diversity is None or not diversity < ALIKE:  # nor where it is not a number
        return None
    rounds = int(max((row.get("step", EARLY) for row in rows), default=EARLY))
    alike = f"two samples are only {diversity:.2f} times as far apart as two real ones"
    if rounds < EARLY:
        return f"too early to tell: after {rounds} rounds {alike}; train longer"
    ways = [_penalty(config), *_loss(config), *_slower(config, "generator")]
    return f"collapsed: {alike}; take {_any_of(ways)}"


def _missing(rows: Rows, classes: int, config: Mapping[str, Any]) -> str | None:
    """Modes or classes that no sample is of, by the last scores."""
    last = {tag: value for row in rows for tag, value in row.items()}
    for what, covered, of in (
        ("modes", "modes", last.get("metrics/modes_of")),
        ("classes", "classes_covered", classes),
    ):
        found = last.get(f"metrics/{covered}")
        if found is not None and of and found <= ENOUGH * of:
            return (
                f"{what} are missing: samples are of {found:.0f} of {of:.0f}; train longer, or "
                f"take {_penalty(config)}"
            )
    return None


def _far(rows: Rows, config: Mapping[str, Any]) -> str | None:
    """A distance that is several times what held-out samples of the data have."""
    last = {tag: value for row in rows for tag, value in row.items()}
    for tag, floor in last.items():
        name = tag.removesuffix("_floor")
        if tag != name and name in last and last[name] > FAR * floor > 0:
            longer = "minutes" if config.get("minutes") is not None else "steps"
            return (
                f"not there yet: {name.removeprefix('metrics/')} is {last[name]:.3g} where "
                f"held-out samples have {floor:.3g}; look at the samples, train longer "
                f"({longer}=) or take larger networks (network.width=)"
            )
    return None


def _slope(rows: Rows, config: Mapping[str, Any]) -> str | None:
    penalty, slopes = config.get("regularizer", {}), _last(rows, "critic/gradient_norm_mean")
    target = penalty.get("target")
    if not target or penalty.get("where", "line") != "line" or not slopes:
        return None
    slope = fmean(slopes) / target
    if slope < WEAK and penalty.get("sides", "two") == "two":
        return (
            f"weak critic: its gradient norm is {fmean(slopes):.2f} where the penalty asks for "
            f"{target:g}; give it more turns (model.repeat.discriminator) or a higher "
            "optimizer.players.discriminator.lr"
        )
    if slope > STEEP:
        return (
            f"weak penalty: the critic's gradient norm is {fmean(slopes):.2f} where the penalty "
            f"asks for {target:g}; raise regularizer.weight, or lower the learning rate"
        )
    return None


def _small_weight(config: Mapping[str, Any]) -> str | None:
    penalty = config["regularizer"]
    if (
        config["loss"]["name"] != "wasserstein"
        or not penalty.get("target")
        or penalty.get("weight", 10) >= 5
    ):
        return None
    return (
        f"lambda is small: at regularizer.weight={penalty['weight']:g} the estimate exceeds the "
        "distance by about W^2/(2 lambda) and more; compare such estimates only with each other, "
        "or take regularizer.weight=10"
    )


def _by_heart(rows: Rows, config: Mapping[str, Any]) -> str | None:
    train, heldout = _last(rows, "wasserstein/train"), _last(rows, "wasserstein/heldout")
    if not train or not heldout or fmean(train) <= 0 or fmean(heldout) >= BY_HEART * fmean(train):
        return None
    return (
        f"overfitting critic: its estimate is {fmean(train):.3g} on training data and "
        f"{fmean(heldout):.3g} on held-out data; take "
        f"{_any_of([*_more_data(config), 'a smaller critic (network.discriminator.width=)'])}"
    )


def _one_sided(rows: Rows, config: Mapping[str, Any]) -> str | None:
    losses, terms = _last(rows, "discriminator/adversarial"), _last(rows, "generator/adversarial")
    gap = _last(rows, "discriminator/score_gap")
    if not losses or not terms or not gap or fmean(gap) < 10 or abs(fmean(losses)) > 0.05:
        return None
    noise = (
        [] if _name(config, "augmentation") == "instance_noise" else ["augmentation=instance_noise"]
    )
    return (
        f"the discriminator wins: its loss is {fmean(losses):.3g} and the generator's "
        f"{fmean(terms):.3g}; take "
        f"{_any_of([_penalty(config), *noise, *_slower(config, 'discriminator')])}"
    )


def _trend(rows: Rows, config: Mapping[str, Any]) -> str | None:
    values = [row["wasserstein/heldout"] for row in rows if "wasserstein/heldout" in row]
    if len(values) < 8:
        return None
    middle = fmean(values[len(values) // 2 : -len(values) // 4])
    last = fmean(values[-len(values) // 4 :])
    if last > (1 + TREND) * middle > 0 and last > TREND * max(values):
        fall = (
            " or let it fall (schedule=linear)"
            if _name(config, "schedule") in ("", "constant")
            else ""
        )
        return (
            f"the estimate is rising ({middle:.3g} to {last:.3g} over the second half): the "
            "critic finds more and more to tell real and fake samples apart; look at the "
            f"samples, and lower the learning rate{fall}"
        )
    return None
