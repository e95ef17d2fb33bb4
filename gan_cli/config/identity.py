"""What makes two runs the same: the leaves of a configuration that decide what is learnt."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from gan_cli import registry
from gan_cli.config.roles import SIMPLE
from gan_cli.config.schema import DEFAULTS

HARMLESS = {
    "steps",
    "minutes",
    "log_every",
    "sample_every",
    "checkpoint_every",
    "evaluate_every",
    "evaluate_samples",
    "keep_checkpoints",
    "max_rollbacks",
    "figures",
    "resume",
    "guard",
    "dry_run",
    "data.root",
    "hardware.device",
    "hardware.devices",
    "hardware.devices_per_job",
    "hardware.nodes",
    "hardware.rendezvous",
    "hardware.threads",
    "hardware.deterministic",
    "hardware.compile",
    "hardware.cuda_graph",
    "hardware.channels_last",
}
"""Keys that do not change what a run learns: a run may be resumed with others. (A schedule that
reads `steps` copies its value, and that copy counts. Of many processes the number of shards
counts.)"""


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """`{"optimizer.lr": 1e-4, ...}`: one entry a leaf; lists are leaves."""
    if not isinstance(config, Mapping):
        return {prefix: config}
    pairs = [
        flatten(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in config.items()
    ]
    return {path: leaf for pair in pairs for path, leaf in pair.items()}


def essence(config: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a configuration that decide what is learnt, where they are not the defaults.

    So a key or an option that a later version adds does not part old runs from their configuration.
    """
    usual = flatten(DEFAULTS) | _component_defaults(config)
    return {
        key: value
        for key, value in _telling(config).items()
        if key not in usual or value != usual[key]
    }


def _component_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the components of a configuration take where nothing is said."""
    nodes = {group: (known, config[group]["name"]) for group, known in SIMPLE.items()}
    for role, node in config["network"].items():
        if isinstance(node, Mapping):
            nodes[f"network.{role}"] = (
                registry.networks,
                f"{node.get('name', config['network']['name'])}.{role}",
            )
    return {
        key: value
        for path, (known, name) in nodes.items()
        for key, value in flatten(known.defaults(name), path).items()
    }


def _telling(config: Mapping[str, Any]) -> dict[str, Any]:
    leaves = {key: value for key, value in flatten(config).items() if key not in HARMLESS}
    # float32, and how the device multiplies it
    if leaves.get("hardware.precision") in ("auto", "tf32"):
        leaves["hardware.precision"] = "fp32"
    return leaves


def fingerprint(config: Mapping[str, Any]) -> str:
    """A short name for all that decides what is learnt: equal for runs that may continue each
    other."""
    text = json.dumps(essence(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every leaf that decides what is learnt and has changed."""
    before, after = _telling(old), _telling(new)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return [f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys]
