"""The root of the configuration of `gan-train`: keys with types, defaults and least values."""

import hashlib
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from omegaconf import ListConfig, OmegaConf

GROUPS = (
    "model",
    "network",
    "loss",
    "regularizer",
    "augmentation",
    "features",
    "data",
    "optimizer",
    "schedule",
)
"""The groups whose nodes a registry builds."""


def pick(key: str, seed: int, choices: ListConfig) -> Any:
    """Resolver `${gan.pick:KEY,${seed},[a,b,c]}`: one of the choices, drawn by the seed.

    Random architectures are made of it.
    """
    digest = hashlib.sha256(f"{key} {seed}".encode()).digest()
    return choices[int.from_bytes(digest[:8], "big") % len(choices)]


OmegaConf.register_new_resolver("gan.pick", pick, replace=True)


class Resume(Enum):
    """How to treat an earlier, unfinished run of the same configuration."""

    auto = "auto"  # find it and go on
    never = "never"  # start anew
    force = "force"  # go on although the configuration has changed


class Guard(Enum):
    """How to treat a configuration that composes but cannot work."""

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
    """A key of the configuration, with one line of help and the smallest value it may have."""
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
    """The root of the configuration. An interval (`..._every`) of 0 rounds is never."""

    model: Any = None
    network: Any = None
    loss: Any = None
    regularizer: Any = None
    augmentation: Any = None
    features: Any = None
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
    singular_values_every: int = key(
        0, help="rounds between the first singular values of every weight, a sign of collapse"
    )
    evaluate_samples: int | None = key(
        None, least=2, help="samples to score; null takes the metric's own number"
    )
    keep_checkpoints: int = key(3, least=1, help="checkpoints kept, beside best.pt")
    keep_inputs: int = key(
        64,
        help="held-out inputs in a checkpoint of a model that makes samples from inputs, so that "
        "gan-sample needs its file alone; 0 where the data are private",
    )
    resume: Resume = key(
        Resume.auto, help="auto, never (start anew), force (go on with a changed configuration)"
    )
    init_from: str | None = key(
        None, help="checkpoint, or run, whose weights to start from, with fresh optimizers"
    )
    init_networks: list[str] = field(
        default_factory=list,
        metadata={
            "help": "networks that init_from gives their weights, such as [G]; [] means all",
            "least": None,
        },
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
    metrics: list[str] = field(
        default_factory=list,
        metadata={
            "help": "metrics that score the run, such as [pairs,patches]; [] takes the data's own",
            "least": None,
        },
    )
    figures: list[str] = field(
        default_factory=list,
        metadata={
            "help": "explaining figures, such as level_sets or estimate; see docs/wgan.md",
            "least": None,
        },
    )
    ramps: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "numbers that change over the run, such as ramps.regularizer.weight.to=0.5",
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
    """The defaults of a dataclass by key; of enums their names."""
    known = {
        item.name: item.default_factory() if callable(item.default_factory) else item.default
        for item in fields(schema)
    }
    return {
        name: getattr(value, "value", value)
        for name, value in known.items()
        if name not in (*GROUPS, "hardware")
    }


DEFAULTS: dict[str, Any] = {
    **_defaults(TrainConfig),
    "hardware": _defaults(Hardware),
    "augmentation": {"name": "none"},
    "features": {"name": "none"},
}
"""The root's keys with their defaults, and the groups that the first versions did not have."""
