"""The scores that a run can be judged by. Read from the source of metrics and games."""

import functools
from collections.abc import Mapping
from typing import Any

from gan_cli import registry
from gan_cli.errors import UserError


def objective(config: Mapping[str, Any]) -> str:
    """The score that best.pt and searches go by: one that the data's metrics or the game give, and
    that can get better.

    Nothing where there is none. Raises UserError for another one.
    """
    game = registry.games.attributes(config["model"]["name"], "model")
    names = registry.datasets.attributes(config["data"]["name"], "data")["metrics"]
    found = [
        registry.metrics.attributes(name, "metrics") for name in names if game.get("renders", True)
    ]
    known = [
        *(score for facts in found for score in facts["objectives"]),
        *game.get("objectives", ()),
    ]
    named = config["objective"]
    if named is not None and named not in known:
        remedy = (
            f"take one of {', '.join(known)}"
            if known
            else ("leave it out, since this model is not scored")
        )
        raise UserError(f"objective={named}: not an objective of this data; {remedy}.")
    return named or next(iter(known), "")


def lower_is_better() -> dict[str, bool]:
    """Of every score that can get better, whether lower is better. Read from the source of metrics
    and games."""
    return _directions(tuple(registry.PLUGINS))


@functools.cache
def _directions(plugins: tuple[str, ...]) -> dict[str, bool]:
    """As `lower_is_better`, with these plug-ins."""
    components = [*registry.metrics.components.values(), *registry.games.components.values()]
    facts = [component.attributes for component in components]
    return {
        name: name in known["lower_is_better"]
        for known in facts
        for name in known.get("objectives", ())
    }
