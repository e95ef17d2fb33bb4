"""The scores that can be an objective, read from the source of metrics and games."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from gan_cli import registry
from gan_cli.errors import UserError


def objective(config: Mapping[str, Any]) -> str:
    """The score that decides best.pt and searches; an empty string where there is none.

    It is one with a direction, of the data's metrics or of the game.

    Raises:
        UserError: `objective` names another score.
    """
    game = registry.games.attributes(config["model"]["name"], "model")
    names = registry.datasets.attributes(config["data"]["name"], "data")["metrics"]
    names = suitable(names, bool(game.get("given")))
    metrics = [registry.metrics.attributes(name, "metrics") for name in names]
    known = [score for metric in metrics for score in metric["objectives"]]
    known = [*(known if game.get("renders", True) else []), *game.get("objectives", ())]

    named = config["objective"]
    if named is not None and named not in known:
        remedy = "leave it out, since this model is not scored"
        if known:
            remedy = f"take one of {', '.join(known)}"
        raise UserError(f"objective={named}: not an objective of this data; {remedy}.")
    return named or next(iter(known), "")


def suitable(metrics: Sequence[str], given: bool) -> list[str]:
    """The metrics that a game can be scored by.

    Args:
        given: whether it makes samples from inputs, which some metrics compare them with.
    """
    attributes = {name: registry.metrics.attributes(name, "metrics") for name in metrics}
    return [name for name in metrics if given or not attributes[name].get("needs_given")]


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
