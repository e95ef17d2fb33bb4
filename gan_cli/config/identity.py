"""The identity of a run: the settings that decide what it learns."""

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
    "singular_values_every",
    "evaluate_samples",
    "keep_checkpoints",
    "keep_inputs",
    "max_rollbacks",
    "figures",
    "metrics",
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
"""Keys that do not change what a run learns, so that it may be resumed with other values.

A schedule that depends on `steps` has a copy of its value, and that copy counts. Of the processes
only the number of shards counts.
"""


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """A configuration as one entry a leaf, `{"optimizer.lr": 1e-4, ...}`; lists are leaves."""
    if not isinstance(config, Mapping):
        return {prefix: config}
    pairs = [
        flatten(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in config.items()
    ]
    return {path: leaf for pair in pairs for path, leaf in pair.items()}


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of these leaves. A node that has leaves is kept, a null of it is not."""
    config: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *names, key = path.split(".")
        node = config
        for name in names:
            if not isinstance(node.get(name), dict):
                node[name] = {}
            node = node[name]
        if not isinstance(node.get(key), dict):
            node[key] = leaf
    return config


def essence(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what is learnt, where they differ from the defaults.

    So a run keeps its identity when a later version adds a key or an option.
    """
    defaults = flatten(DEFAULTS) | _component_defaults(config)
    return {
        key: value
        for key, value in _decisive(config).items()
        if key not in defaults or value != defaults[key]
    }


def _component_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of all options of the components of a configuration."""
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


def _decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what is learnt."""
    leaves = {key: value for key, value in flatten(config).items() if key not in HARMLESS}
    # all of them are float32; they differ in how a device multiplies
    if leaves.get("hardware.precision") in ("auto", "tf32"):
        leaves["hardware.precision"] = "fp32"
    return leaves


def fingerprint(config: Mapping[str, Any]) -> str:
    """A short digest of the settings that decide what is learnt; runs that may continue each other
    have the same.
    """
    text = json.dumps(essence(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every setting that decides what is learnt and has changed."""
    before, after = _decisive(old), _decisive(new)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return [f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys]
