"""The configuration of `gan-train`: its typed root, and the check of every group before anything is
built.

Nothing here imports torch: a mistake is answered before it loads.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from typing import Any

from omegaconf import ListConfig, OmegaConf

from gan_cli import registry
from gan_cli.config import sharing
from gan_cli.config.options import configs, file_of, groups, option, options, unknown_option
from gan_cli.errors import UserError, closest

__all__ = [
    "DEFAULTS", "FITS", "GROUPS", "HARMLESS", "SIMPLE", "Hardware", "TrainConfig", "check",
    "configs", "differences",
    "file_of", "fingerprint", "flatten", "groups", "objective", "option", "options", "players",
    "role_nodes",
    "unknown_option",
]  # fmt: skip
GROUPS = (
    "model",
    "network",
    "loss",
    "regularizer",
    "augmentation",
    "data",
    "optimizer",
    "schedule",
)
"""The groups whose nodes a registry builds."""

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


def pick(key: str, seed: int, choices: ListConfig) -> Any:
    """Resolver `${gan.pick:KEY,${seed},[a,b,c]}`: one of the choices, by the seed; what random
    architectures are of."""
    digest = hashlib.sha256(f"{key} {seed}".encode()).digest()
    return choices[int.from_bytes(digest[:8], "big") % len(choices)]


OmegaConf.register_new_resolver("gan.pick", pick, replace=True)


class Resume(Enum):
    """What to do about an earlier, unfinished run of the same configuration."""

    auto = "auto"  # find it and go on
    never = "never"  # start anew
    force = "force"  # go on although the configuration has changed


class Guard(Enum):
    """What to do about a configuration whose mathematics is void."""

    error = "error"
    warn = "warn"


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"
    mps = "mps"


class Precision(Enum):
    auto = "auto"
    fp32 = "fp32"
    tf32 = "tf32"
    bf16 = "bf16"
    fp16 = "fp16"


def key(default: Any, help: str, least: float = 0) -> Any:
    """A key of the configuration: its default, one line of help, the smallest value it may have. 0
    `every` is never."""
    return field(
        default=default,
        metadata={"help": help, "least": None if isinstance(default, Enum) else least},
    )


@dataclass
class Hardware:
    """Where a run computes, and in which precision."""

    device: Device = key(Device.auto, help="auto, cpu or gpu")
    precision: Precision = key(
        Precision.fp32, help="fp32, tf32 (GPU), bf16 or fp16; auto is tf32 where there is one"
    )
    devices: int | str = key(
        1, least=1, help="processes on this machine, each with a GPU; `all` of them"
    )
    devices_per_job: float | None = key(
        None,
        help="devices that a job of a sweep has for itself, or a share such as 0.5; it "
        "waits for them",
    )
    nodes: int = key(
        1, least=1, help="machines; on each the same command, with hydra.run.dir on a common disk"
    )
    rendezvous: str | None = key(None, help="HOST:PORT of the first machine, where the nodes meet")
    shards: int = key(
        1, least=1, help="equal parts of a batch, at least one a process; more need less memory"
    )
    compile: bool = key(False, help="compile what a turn computes; the first turns take longer")
    cuda_graph: bool | str = key(
        "auto", help="GPU: record a turn once and play it back; auto: where that is possible"
    )
    channels_last: bool | str = key(
        "auto", help="images with their channels side by side; auto: in half precision"
    )
    reduce: Precision = key(
        Precision.fp32, help="fp32 or bf16: how gradients travel between processes"
    )
    deterministic: bool = key(
        False, help="GPU: only operations that give the same bits each time; the CPU's always do"
    )
    threads: int | None = key(None, least=1, help="CPU threads; null leaves it to torch")


@dataclass
class TrainConfig:
    """The root of the configuration. (`every`: 0 is never.)"""

    model: Any = None
    network: Any = None
    loss: Any = None
    regularizer: Any = None
    augmentation: Any = None
    data: Any = None
    optimizer: Any = None
    schedule: Any = None
    hardware: Hardware = field(default_factory=Hardware)

    steps: int = key(100_000, least=1, help="rounds to play")
    minutes: float | None = key(
        None, least=0.001, help="time to train in all, restarts included; whichever ends first"
    )
    seed: int = key(0, least=0, help="of everything random")
    batch_size: int = key(64, least=1, help="samples a turn, over all devices")
    log_every: int = key(50, help="rounds between rows of metrics.jsonl and TensorBoard")
    sample_every: int = key(500, help="rounds between pictures and histograms")
    checkpoint_every: int = key(
        500, help="rounds between checkpoints; there is always one at the end"
    )
    evaluate_every: int = key(500, help="rounds between scores")
    evaluate_samples: int | None = key(
        None, least=2, help="samples to score; null takes the metric's own number"
    )
    keep_checkpoints: int = key(3, least=1, help="checkpoints kept, beside best.pt")
    resume: Resume = key(
        Resume.auto, help="auto, never (start anew), force (go on with a changed configuration)"
    )
    init_from: str | None = key(
        None, help="checkpoint, or run, whose weights to start from, with fresh optimizers"
    )
    max_rollbacks: int = key(
        2, help="times that a run goes back to its last checkpoint after something was not finite"
    )
    guard: Guard = key(
        Guard.error, help="error or warn, for configurations whose mathematics is void"
    )
    plugins: list[str] = field(
        default_factory=list,
        metadata={"help": "modules or .py files whose components may be named", "least": None},
    )
    figures: list[str] = field(
        default_factory=list,
        metadata={
            "help": "explaining figures, such as level_sets or estimate; see docs/wgan.md",
            "least": None,
        },
    )
    dry_run: bool = key(
        False, help="tell what would be run, its size, memory and time; writes nothing"
    )
    objective: str | None = key(
        None, help="the score that best.pt and searches go by; null takes the data's own"
    )


def _defaults(schema: type) -> dict[str, Any]:
    """The keys of a dataclass with their defaults, enums by name."""
    known = {item.name: [] if item.default is MISSING else item.default for item in fields(schema)}
    return {
        name: getattr(value, "value", value)
        for name, value in known.items()
        if name not in (*GROUPS, "hardware")
    }


DEFAULTS: dict[str, Any] = {
    **_defaults(TrainConfig),
    "hardware": _defaults(Hardware),
    "augmentation": {"name": "none"},
}
"""The root's keys with their defaults, and the groups that the first versions did not have."""


def check(config: dict[str, Any]) -> dict[str, Any]:
    """Check every group of a plain (resolved) configuration and settle `network=auto`.

    Returns the configuration that is run, saved and compared. Raises UserError for the first
    mistake.
    """
    for name in ("figures", "plugins"):
        value = config.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UserError(f"{name}={value}: expected a list of names, such as {name}=[a,b].")
    for plugin in config["plugins"]:
        registry.add_plugin(plugin)
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
    settled = {group: known.with_defaults(config[group], group) for group, known in SIMPLE.items()}
    _check_kind(config)
    facts = {
        group: known.attributes(config[group]["name"], group) for group, known in SIMPLE.items()
    }["model"]
    players(config["optimizer"], facts["players"])
    family = {**config["network"], "name": _family(config)}
    networks = role_nodes(family, facts["roles"].values())
    settled["network"] = {
        "name": family["name"],
        **{role: _own(node, family) for role, node in networks.items()},
    }
    objective(config)
    for figure in config["figures"]:
        registry.figures.component(figure, "figures")
    return {
        **config,
        **settled,
        "hardware": sharing.resolve_world(config["hardware"], config["batch_size"]),
    }


SIMPLE = {
    "model": registry.games,
    "loss": registry.losses,
    "regularizer": registry.regularizers,
    "augmentation": registry.augmentations,
    "data": registry.datasets,
    "schedule": registry.schedules,
}


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


def _check_ranges(schema: type, config: Mapping[str, Any], prefix: str) -> None:
    for item in fields(schema):
        least, value = item.metadata.get("least"), config.get(item.name)
        if least is None or not isinstance(value, int | float):
            continue
        if not least <= value < float("inf"):
            raise UserError(f"{prefix}{item.name}={value}: must be at least {least}.")
        if value >= LARGEST:
            raise UserError(f"{prefix}{item.name}={value}: must be below 2**63.")


LARGEST = 2**63  # what neither torch nor a file can hold as a whole number


def _family(config: Mapping[str, Any]) -> str:
    """The family of networks; `auto` is the one that fits the data's kind."""
    if config["network"].get("name") != "auto":
        return str(config["network"].get("name"))
    kind = registry.datasets.component(config["data"]["name"], "data").attributes["kind"]
    return FITS[kind]


def _check_kind(config: Mapping[str, Any]) -> None:
    """Pictures, scores and networks go by the kind of data."""
    kind = registry.datasets.attributes(config["data"]["name"], "data")["kind"]
    if kind not in FITS:
        raise UserError(
            f"data={config['data']['name']}: its class says kind = {kind!r}{closest(kind, FITS)}; "
            f"expected one of {', '.join(FITS)}."
        )


FITS = {"points": "mlp", "image": "dcgan", "text": "text_resnet"}


def _own(node: Mapping[str, Any], family: Mapping[str, Any]) -> dict[str, Any]:
    """A role's node as it stands inside the network's: its family is named where it is another
    one."""
    name, _, _ = node["name"].rpartition(".")
    rest = {key: value for key, value in node.items() if key != "name"}
    return rest if name == family["name"] else {"name": name, **rest}


def role_nodes(network: Mapping[str, Any], roles: Any) -> dict[str, dict[str, Any]]:
    """The node of each role's network: the options they share, overlaid by the role's own.

    `{name: dcgan, width: 64, discriminator: {width: 32}}` is `dcgan.generator` at width 64 and
    `dcgan.discriminator` at width 32. A shared option must be one of some role's of the family; a
    role that names another family (`generator: {name: mlp}`) starts from that family's defaults.
    """
    roles = list(dict.fromkeys(roles))
    family = network.get("name")
    # roles of other games
    others = [key for key in network if f"{family}.{key}" in registry.networks.components]
    shared = {key: value for key, value in network.items() if key not in ("name", *roles, *others)}
    nodes = {role: _role_node(family, role, shared, network.get(role)) for role in roles}
    # for any game's role
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


def _check_role(family: str, role: str) -> None:
    """A family must have a network for the role, if it is one that has networks at all."""
    pairs = [name.split(".") for name in registry.networks.components]
    able = sorted({name for name, part in pairs if part == role})
    if family in {name for name, _ in pairs} and family not in able:
        raise UserError(
            f"network={family}: has no network for the {role}; {', '.join(able)} have one."
        )


def _role_node(family: Any, role: str, shared: Mapping[str, Any], own: Any) -> dict[str, Any]:
    """One role's node, settled."""
    own = _mapping(own, f"network.{role}")
    family_of_role = own.pop("name", family)
    if not isinstance(family_of_role, str):
        raise UserError(
            f"network.{role}.name={family_of_role}: expected the name of a family, such as mlp."
        )
    _check_role(family_of_role, role)
    name = f"{family_of_role}.{role}"
    options = registry.networks.options(name, f"network.{role}")
    inherited = {
        key: value for key, value in shared.items() if key in options and name == f"{family}.{role}"
    }
    registry.networks.check({"name": name, **own}, f"network.{role}")
    return registry.networks.with_defaults({"name": name, **inherited, **own}, "network")


def _mapping(value: Any, path: str) -> dict[str, Any]:
    """A node of options; nothing is an empty one."""
    if value is not None and not isinstance(value, Mapping):
        raise UserError(f"{path}={value}: expected options, such as {path}.KEY=VALUE.")
    return dict(value or {})


def players(optimizer: Mapping[str, Any], names: Any) -> dict[str, dict[str, Any]]:
    """The optimizer node of each player: the shared settings, overlaid by
    `optimizer.players.<player>`."""
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


# --- what makes two runs the same -----------------------------------------------------------------


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
