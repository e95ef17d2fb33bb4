"""`gan-evaluate`: the scores of a checkpoint, the same figures that its run logged."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from gan_cli import registry
from gan_cli.config import option, options
from gan_cli.errors import UserError
from gan_cli.sample import Weights


@dataclass
class EvaluateConfig:
    """The keys of `gan-evaluate`."""

    checkpoint: str = field(default="???", metadata={"help": "FILE that gan-train wrote, or a run's folder (its last)"})
    n: int | None = field(
        default=None, metadata={"least": 2, "help": "samples to score; each metric has its own number"}
    )
    metrics: list[str] = field(default_factory=list, metadata={"help": "[names]; those of the data if not given"})
    data: str | None = field(default=None, metadata={"help": "another data set, with data.KEY=VALUE for its options"})
    weights: Weights = field(default=Weights.auto, metadata={"help": "ema, raw, or auto: the average if there is one"})
    plugins: list[str] = field(default_factory=list, metadata={"help": "plug-ins of the checkpoint that you trust"})


def run(config: EvaluateConfig, data_options: list[str]) -> None:
    """Score the checkpoint: a table on a terminal, JSON elsewhere."""
    from gan_cli import hooks
    from gan_cli.build import load_game

    game, spec, state = load_game(Path(config.checkpoint), config.weights.value, config.plugins)
    dataset = own_or_other_data(state["config"], spec, config.data, data_options)
    scores: dict[str, float] = {}
    for metric in _metrics(config, dataset):
        latents = hooks.fixed_latents(game, metric.samples)
        scores |= metric(hooks.render(game, latents), game.labels_of(latents))
    scores |= game.scores(dataset.decode(dataset.heldout))
    node = _data_node(yaml.safe_load(state["config"])["data"], config.data, data_options)
    _show({"checkpoint": config.checkpoint, "step": state["step"], "data": node, "scores": scores})


def own_or_other_data(text: str, spec: Any, other: str | None, changed: list[str]) -> Any:
    """The data set of a checkpoint with this configuration, or another one of samples of the same shape."""
    node = _data_node(yaml.safe_load(text)["data"], other, changed)
    dataset = registry.datasets.build(node, "data")
    dataset.in_terms_of(spec)
    if dataset.spec.shape != spec.shape:
        raise UserError(f"data={node['name']}: its samples are {dataset.spec.shape}, the checkpoint's {spec.shape}.")
    return dataset


def _data_node(own: Mapping[str, Any], other: str | None, changed: list[str]) -> dict[str, Any]:
    """The data node of the checkpoint, or of the option named instead, with `data.KEY=VALUE` laid over it."""
    node = dict(own) if other is None else option("data", other)
    if other is None and "root" in node:  # where files lie is for this machine to say, not for the checkpoint
        node["root"] = option("data", node["name"]).get("root") if node["name"] in options("data") else None
    changes: Any = OmegaConf.to_container(OmegaConf.from_dotlist([item.removeprefix("data.") for item in changed]))
    return {**node, **changes}


def _metrics(config: EvaluateConfig, dataset: Any) -> list[Any]:
    import torch

    known = dataset.scored_by
    for name in config.metrics:
        if name not in known:
            raise UserError(f"metrics=[{name}]: not a metric of this data; its metrics are {', '.join(known)}.")
    options = {} if config.n is None else {"n": config.n}
    return [
        registry.metrics.build({"name": name, **options}, "metrics", dataset=dataset, device=torch.device("cpu"))
        for name in config.metrics or known
    ]


def _show(result: dict[str, Any]) -> None:
    if not sys.stdout.isatty():
        print(json.dumps(result, indent=1))
        return
    print(f"{result['checkpoint']}, step {result['step']}")
    for name, value in result["scores"].items():
        print(f"  {name:<36}{value:.4g}")
