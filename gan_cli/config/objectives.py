"""The scores that can be an objective, read from the source of metrics and games."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from gan_cli import registry
from gan_cli.errors import UserError, closest


def objective(config: Mapping[str, Any]) -> str:
    """The score that decides best.pt and searches; an empty string where there is none.

    Raises:
        UserError: `objective`, or what ends a phase, names a score without a direction.
    """
    known = _known(config)
    named = config["objective"]
    if named is not None and named not in known:
        remedy = "leave it out, since this model is not scored"
        if known:
            remedy = f"take one of {', '.join(known)}"
        raise UserError(f"objective={named}: not an objective of this data; {remedy}.")
    _check_ends(config, known)
    return named or next(iter(known), "")


def _check_ends(config: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise UserError for a phase whose end no score can reach.

    Args:
        known: scores that this model and data give.
    """
    for phase in config["model"].get("phases") or ():
        for score in phase.get("until") or ():
            path = f"model.phases: `until: {{{score}: ...}}` of {phase.get('name')}"
            if score not in known:
                raise UserError(
                    f"{path}: no score of this model and data{closest(score, known)}; they are "
                    f"{', '.join(known) or 'none'}."
                )
            if not config["evaluate_every"]:
                raise UserError(f"{path}: evaluate_every=0 never scores; set it above 0.")


def _known(config: Mapping[str, Any]) -> list[str]:
    """The scores with a direction, of the run's metrics and of the game."""
    game = registry.games.attributes(config["model"]["name"], "model")
    data = registry.datasets.attributes(config["data"]["name"], "data")
    for name in config.get("metrics") or ():
        _refuse_unsuitable(name, config, data, game)
    names = config.get("metrics") or suitable(data["metrics"], bool(game.get("given")))
    metrics = [registry.metrics.attributes(name, "metrics") for name in names]
    known = [score for metric in metrics for score in metric["objectives"]]
    return [*(known if game.get("renders", True) else []), *game.get("objectives", ())]


def _refuse_unsuitable(
    name: str, config: Mapping[str, Any], data: Mapping[str, Any], game: Mapping[str, Any]
) -> None:
    """Raise UserError for a metric that is unknown, or that cannot score this model on this data.

    Args:
        data, game: facts of both.
    """
    known = [
        metric
        for metric, component in registry.metrics.components.items()
        if metric in data["metrics"] or data["kind"] in component.attributes.get("kinds", ())
    ]
    known = suitable(known, bool(game.get("given"))) if game.get("renders", True) else []
    if name not in known:
        able = f"they are {', '.join(known)}" if known else "there is none"
        raise UserError(
            f"metrics=[{name}]: not a metric of model={config['model']['name']} on "
            f"data={config['data']['name']}{closest(name, known)}; {able}."
        )


def suitable(metrics: Sequence[str], given: bool, folder: bool = False) -> list[str]:
    """The metrics that a game can be scored by, or a folder of samples.

    Args:
        given: whether it makes samples from inputs, which some metrics compare them with.
        folder: whether there is no game, and so no way from one sample to another.
    """
    attributes = {name: registry.metrics.attributes(name, "metrics") for name in metrics}
    return [
        name
        for name in metrics
        if (given or not attributes[name].get("needs_given"))
        and not ((given or folder) and attributes[name].get("needs_latents"))
    ]


def lower_is_better() -> dict[str, bool]:
    """Whether lower is better, for every score that can be an objective."""
    return _directions(tuple(registry.PLUGINS))


@functools.cache
def _directions(plugins: tuple[str, ...]) -> dict[str, bool]:
    """As `lower_is_better`; the plug-ins are the key of the cache."""
    components = [*registry.metrics.components.values(), *registry.games.components.values()]
    attributes = [component.attributes for component in components]
    return {
        name: name in known["lower_is_better"]
        for known in attributes
        for name in known.get("objectives", ())
    }
