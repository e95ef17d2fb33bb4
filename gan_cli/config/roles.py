"""Nodes that are shared out: the network's to a game's roles, the optimizer's to its players."""

from collections.abc import Mapping
from typing import Any

from gan_cli import registry
from gan_cli.errors import UserError, closest

SIMPLE = {
    "model": registry.games,
    "loss": registry.losses,
    "regularizer": registry.regularizers,
    "augmentation": registry.augmentations,
    "features": registry.features,
    "data": registry.datasets,
    "schedule": registry.schedules,
}
"""The registry of each group whose node describes one component."""


def fitting(kind: str) -> str:
    """The family of networks that `network=auto` is for a kind of data."""
    return str(registry.kinds.attributes(kind, "data.kind")["network"])


def _family(config: Mapping[str, Any]) -> str:
    """The family of networks, `auto` resolved."""
    if config["network"].get("name") != "auto":
        return str(config["network"].get("name"))
    kind = registry.datasets.component(config["data"]["name"], "data").attributes["kind"]
    return fitting(kind)


def with_role_networks(config: Mapping[str, Any]) -> dict[str, Any]:
    """The node of the group `network`, `auto` resolved, with all options of each role."""
    roles = registry.games.attributes(config["model"]["name"], "model")["roles"]
    node = config["network"]
    if node.get("name") == "auto":  # null leaves an option to the family
        node = {key: value for key, value in node.items() if value is not None}
    family = {**node, "name": _family(config)}
    nodes = role_nodes(family, roles.values())
    return {"name": family["name"], **{role: _own(node, family) for role, node in nodes.items()}}


def role_networks(config: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Role and node of each network of a game, by its attribute.

    Args:
        config: its networks are those of `with_role_networks`.
    """
    network = config["network"]
    roles = registry.games.component(config["model"]["name"], "model").attributes["roles"]
    return {
        attribute: (
            role,
            {**network[role], "name": f"{network[role].get('name', network['name'])}.{role}"},
        )
        for attribute, role in roles.items()
    }


def _own(node: Mapping[str, Any], family: Mapping[str, Any]) -> dict[str, Any]:
    """The node of a role within that of the network; its family is named only if it differs."""
    name, _, _ = node["name"].rpartition(".")
    rest = {key: value for key, value in node.items() if key != "name"}
    return rest if name == family["name"] else {"name": name, **rest}


def role_nodes(network: Mapping[str, Any], roles: Any) -> dict[str, dict[str, Any]]:
    """The node of each role's network: the shared options, overlaid by the role's own.

    `{name: dcgan, width: 64, discriminator: {width: 32}}` is `dcgan.generator` at width 64 and
    `dcgan.discriminator` at width 32. A shared option must be one of some role's of the family; a
    role that names another family (`generator: {name: mlp}`) starts from that family's defaults.
    """
    roles = list(dict.fromkeys(roles))
    family = network.get("name")
    roles_of_other_games = [
        key for key in network if f"{family}.{key}" in registry.networks.components
    ]
    own = ("name", *roles, *roles_of_other_games)
    shared = {key: value for key, value in network.items() if key not in own}
    nodes = {role: _role_node(family, role, shared, network.get(role)) for role in roles}

    # a shared option may be one of a role that only other games have
    relatives = [name for name in registry.networks.components if name.startswith(f"{family}.")]
    known = sorted(
        {option for name in relatives for option in registry.networks.options(name, "network")}
    )
    for key in shared:
        if key not in known:
            raise UserError(
                f"network.{key}={shared[key]}: network={family} has no such "
                f"option{closest(key, known)}; its options are {', '.join(known)}."
            )
    return nodes


def _family_of_role(family: str, role: str) -> str:
    """The family itself, or the only one that has networks for the role.

    Raises:
        UserError: the family has networks, but none for the role, and several others do.
    """
    pairs = [name.split(".") for name in registry.networks.components]
    able = sorted({name for name, part in pairs if part == role})
    if family not in {name for name, _ in pairs} or family in able:
        return family
    if len(able) == 1:
        return able[0]
    raise UserError(f"network={family}: has no network for the {role}; {', '.join(able)} have one.")


def _role_node(family: Any, role: str, shared: Mapping[str, Any], own: Any) -> dict[str, Any]:
    """The node of one role, with its defaults. Raises UserError for what does not fit it."""
    own = _mapping(own, f"network.{role}")
    family_of_role = own.pop("name", family)
    if not isinstance(family_of_role, str):
        raise UserError(
            f"network.{role}.name={family_of_role}: expected the name of a family, such as mlp."
        )
    family_of_role = _family_of_role(family_of_role, role)
    name = f"{family_of_role}.{role}"
    options = registry.networks.options(name, f"network.{role}")
    inherited = {
        key: value for key, value in shared.items() if key in options and name == f"{family}.{role}"
    }
    registry.networks.check({"name": name, **own}, f"network.{role}")
    return registry.networks.with_defaults({"name": name, **inherited, **own}, "network")


def _mapping(value: Any, path: str) -> dict[str, Any]:
    """A node of options as a dict; None is an empty one."""
    if value is not None and not isinstance(value, Mapping):
        raise UserError(f"{path}={value}: expected options, such as {path}.KEY=VALUE.")
    return dict(value or {})


def players(optimizer: Mapping[str, Any], names: Any) -> dict[str, dict[str, Any]]:
    """The optimizer's node for each player: the shared options, overlaid by its own.

    A player's own options are those of `optimizer.players.PLAYER`.
    """
    shared = {key: value for key, value in optimizer.items() if key != "players"}
    own = _mapping(optimizer.get("players"), "optimizer.players")
    for player in own:
        if player not in names:
            raise UserError(
                f"optimizer.players.{player}: no such player{closest(player, names)}; the players "
                f"are {', '.join(names)}."
            )

    paths = {player: f"optimizer.players.{player}" for player in names}
    return {
        player: registry.optimizers.with_defaults(
            {**shared, **_mapping(own.get(player), path)}, path if own.get(player) else "optimizer"
        )
        for player, path in paths.items()
    }
