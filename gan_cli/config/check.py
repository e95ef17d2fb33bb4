"""The check of a configuration, before anything is built. Nothing here imports torch: a mistake is
answered before it loads.
"""

import copy
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from gan_cli import registry
from gan_cli.config import sharing
from gan_cli.config.objectives import objective
from gan_cli.config.ramps import ramps_of
from gan_cli.config.roles import SIMPLE, players, with_role_networks
from gan_cli.config.schema import GROUPS, Hardware, TrainConfig
from gan_cli.errors import UserError, closest

LARGEST = 2**63  # integers that neither torch nor a file can hold begin here


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check every group of a plain (resolved) configuration, and write out all defaults.

    What it returns is run, saved and compared, and is trusted from then on. A configuration that
    was checked before in this process is not checked again.

    Raises:
        UserError: the first mistake.
    """
    for name in ("figures", "init_networks", "metrics", "plugins"):
        value = config.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UserError(f"{name}={value}: expected a list of names, such as {name}=[a,b].")
    for plugin in config["plugins"]:
        registry.add_plugin(plugin)

    text = json.dumps(config, default=repr)
    if json.loads(text) == config:
        checked = copy.deepcopy(_remembered(text, tuple(registry.PLUGINS)))
    else:  # a key or a value that JSON does not have
        checked = _checked(config)
    # asked each time: the environment and this machine's devices decide it
    world = sharing.resolve_world(config["hardware"], config["batch_size"])
    return {**checked, "hardware": world}


@functools.lru_cache(maxsize=64)
def _remembered(text: str, plugins: tuple[str, ...]) -> dict[str, Any]:
    """The checked configuration of this text, under these plug-ins."""
    return _checked(json.loads(text))


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    _check_root(config)
    groups = {group: known.with_defaults(config[group], group) for group, known in SIMPLE.items()}
    _check_kind(config)

    attributes = {
        group: known.attributes(config[group]["name"], group) for group, known in SIMPLE.items()
    }
    players(config["optimizer"], attributes["model"]["players"])
    objective(config)
    _check_phase(config)
    _check_init_networks(config, attributes["model"]["networks"])
    for figure in config["figures"]:
        registry.figures.component(figure, "figures")

    checked = {**config, **groups, "network": with_role_networks(config)}
    ramps_of(checked)
    return checked


def _check_phase(config: Mapping[str, Any]) -> None:
    """Raise UserError for a schedule that counts from a phase that the model does not have."""
    wanted = config["schedule"].get("phase")
    names = [str(phase.get("name")) for phase in config["model"].get("phases") or ()]
    if wanted is not None and wanted not in names:
        raise UserError(
            f"schedule.phase={wanted}: the model has no such phase{closest(wanted, names)}; its "
            f"phases are {', '.join(names) or 'none'} (model.phases)."
        )


def _check_init_networks(config: Mapping[str, Any], networks: Sequence[str]) -> None:
    """Raise UserError for a network that the game does not have, or if there is no `init_from`."""
    for name in config.get("init_networks", ()):
        if name not in networks:
            raise UserError(
                f"init_networks=[{name}]: model={config['model']['name']} has no such "
                f"network{closest(name, networks)}; its networks are {', '.join(networks)}."
            )
        if not config["init_from"]:
            raise UserError(
                f"init_networks=[{name}]: nothing to take it from; add init_from=RUN, or leave it "
                "out."
            )


def _check_root(config: Mapping[str, Any]) -> None:
    """The keys of the root: their names and ranges, and that each group is a node."""
    keys = [item.name for item in fields(TrainConfig)]
    for name in config:
        if name not in keys:
            raise UserError(
                f"{name}={config[name]}: no such key{closest(name, keys)}; gan-train --help lists "
                "the keys."
            )

    _check_ranges(TrainConfig, config, "")
    _check_ranges(Hardware, config["hardware"], "hardware.")

    for group in GROUPS:
        if not isinstance(config[group], Mapping):
            raise UserError(
                f"{group}={config[group]}: choose an option of the group, such as {group}=NAME."
            )


def _check_ranges(schema: type, config: Mapping[str, Any], prefix: str) -> None:
    for item in fields(schema):
        least, value = item.metadata.get("least"), config.get(item.name)
        if least is None or not isinstance(value, int | float):
            continue
        if not least <= value < float("inf"):
            raise UserError(f"{prefix}{item.name}={value}: must be at least {least}.")
        if value >= LARGEST:
            raise UserError(f"{prefix}{item.name}={value}: must be below 2**63.")


def _check_use(config: Mapping[str, Any], data: Mapping[str, Any], kind: Mapping[str, Any]) -> None:
    """Raise UserError for data without what the model needs most: samples, or a world.

    Args:
        data, kind: facts of both.
    """
    game = registry.games.attributes(config["model"]["name"], "model")
    lack = remedy = ""
    if game.get("renders", True) and not kind.get("sampled", True):
        lack, remedy = "makes samples", "has none to learn from; take other data"
    elif game.get("acts") and not data.get("has_world"):
        lack, remedy = "acts in a world", "has none; take data=environment, or other data with one"
    if lack:
        raise UserError(
            f"model={config['model']['name']}: {lack}, and data={config['data']['name']} {remedy}."
        )


def _check_kind(config: Mapping[str, Any]) -> None:
    """Pictures, scores and networks depend on the kind of data."""
    data = registry.datasets.attributes(config["data"]["name"], "data")
    kind, known = data["kind"], registry.kinds.components
    if kind not in known:
        raise UserError(
            f"data={config['data']['name']}: its class says kind = {kind!r}{closest(kind, known)}; "
            f"expected one of {', '.join(sorted(known))}."
        )
    _check_use(config, data, known[kind].attributes)
