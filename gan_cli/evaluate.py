"""`gan-evaluate`: the scores of a checkpoint, or of a folder of images, and how each of them came about."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from gan_cli import registry
from gan_cli.config import option, options
from gan_cli.errors import UserError, closest
from gan_cli.sample import Weights

USAGE = """gan-evaluate checkpoint=FILE|RUN [key=value ...]
gan-evaluate samples=FOLDER real=FOLDER [key=value ...]

data.KEY=VALUE sets an option of the data, METRIC.KEY=VALUE one of a metric: prdc.k=3, inception.weights_file=FILE."""


@dataclass
class EvaluateConfig:
    """The keys of `gan-evaluate`."""

    checkpoint: str | None = field(
        default=None, metadata={"help": "FILE that gan-train wrote, or a run's folder (its last)"}
    )
    samples: str | None = field(default=None, metadata={"help": "FOLDER of images to score instead"})
    real: str | None = field(default=None, metadata={"help": "FOLDER of real images to compare them with"})
    n: int | None = field(
        default=None, metadata={"least": 2, "help": "samples to score; each metric has its own number"}
    )
    metrics: list[str] = field(
        default_factory=list,
        metadata={"help": "[names]; if not given, those that the data allows and need no download"},
    )
    data: str | None = field(default=None, metadata={"help": "another data set, with data.KEY=VALUE for its options"})
    weights: Weights = field(default=Weights.auto, metadata={"help": "ema, raw, or auto: the average if there is one"})
    plugins: list[str] = field(default_factory=list, metadata={"help": "plug-ins of the checkpoint that you trust"})


def run(config: EvaluateConfig, dotted: list[str]) -> None:
    """Score what the configuration names: a table on a terminal, JSON elsewhere.

    Args:
        dotted: `data.KEY=VALUE` and `METRIC.KEY=VALUE`.
    """
    _refuse_what_does_not_go_together(config)
    data_options = [item for item in dotted if item.startswith("data.")]
    settings = _settings([item for item in dotted if item not in data_options])
    _show((_of_folders if config.samples else _of_checkpoint)(config, data_options, settings))


def _refuse_what_does_not_go_together(config: EvaluateConfig) -> None:
    if not config.checkpoint and not config.samples and not config.real:
        raise UserError("checkpoint: missing; add checkpoint=FILE, or compare folders by samples=FOLDER real=FOLDER.")
    for key, other in (("samples", "real"), ("real", "samples")):
        if getattr(config, key) and not getattr(config, other):
            raise UserError(f"{key}={getattr(config, key)}: compares two folders; add {other}=FOLDER.")
    for key in ("checkpoint", "data"):
        if config.samples and getattr(config, key):
            raise UserError(f"{key}={getattr(config, key)}: not beside samples= and real=; leave it out, or those two.")
    if config.samples and config.weights is not Weights.auto:
        raise UserError(f"weights={config.weights.value}: folders have no average of weights; leave it out.")


def _settings(dotted: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The options of each metric that were typed."""
    return OmegaConf.to_container(OmegaConf.from_dotlist(list(dotted)))  # type: ignore[return-value]


# --- a checkpoint -----------------------------------------------------------------------------------------------------


def _of_checkpoint(config: EvaluateConfig, data_options: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    from gan_cli import hooks
    from gan_cli.build import load_game

    game, spec, state = load_game(Path(str(config.checkpoint)), config.weights.value, config.plugins)
    dataset = own_or_other_data(state["config"], spec, config.data, data_options)

    @cache
    def drawn(n: int) -> Any:
        latents = hooks.fixed_latents(game, n)
        return hooks.render(game, latents), game.labels_of(latents)

    found = _scores(_metrics(config, settings, dataset), drawn)
    found["scores"] |= game.scores(dataset.decode(dataset.heldout))
    node = _data_node(yaml.safe_load(state["config"])["data"], config.data, data_options)
    weights = "ema" if state.get("ema") and config.weights is not Weights.raw else "raw"
    return {"checkpoint": config.checkpoint, "step": state["step"], "weights": weights, "data": node, **found}


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
    return {**node, **_changes(changed)}


def _changes(typed: list[str]) -> dict[str, Any]:
    changes: Any = OmegaConf.to_container(OmegaConf.from_dotlist([item.removeprefix("data.") for item in typed]))
    return changes


# --- two folders ------------------------------------------------------------------------------------------------------


def _of_folders(config: EvaluateConfig, data_options: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    import torch

    from gan_cli.data import folder

    for plugin in config.plugins:
        registry.add_plugin(plugin)
    changes = _changes(data_options)
    if "folder" in changes:
        raise UserError(f"data.folder={changes['folder']}: the real images are in real={config.real}; leave it out.")
    with _named("samples"):
        size = {} if "image_size" in changes else {"image_size": folder.usual_size(Path(str(config.samples)))}
        node = {"name": "image_folder", **size, **changes}
        whole = {**node, "folder": config.samples, "classes": False, "heldout": 0.5}
        scored = registry.datasets.build(whole, "data")
    with _named("real"):
        node |= {"folder": config.real}
        dataset = registry.datasets.build(node, "data")
    fields = {"x": torch.cat([scored.train["x"], scored.heldout["x"]])}
    built = _metrics(config, settings, dataset, len(fields["x"]))
    found = _scores(built, lambda n: (scored.some(fields, n, "samples"), None))
    return {"samples": config.samples, "real": config.real, "data": node, **found}


@contextmanager
def _named(key: str) -> Iterator[None]:
    """What is wrong with a folder, by the name of the key that says where it is."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("data.folder=", f"{key}=", 1)) from None


# --- metrics ----------------------------------------------------------------------------------------------------------


def _metrics(config: EvaluateConfig, settings: dict[str, Any], dataset: Any, most: int | None = None) -> dict[str, Any]:
    """The metrics that were named, else all that need no download; each scores `most` samples at most."""
    import torch

    from gan_cli import contracts

    names = _named_metrics(config.metrics, dataset.measured_by)
    for name, changed in settings.items():
        if name not in names:
            key, value = next(iter(changed.items()))
            raise UserError(
                f"{name}.{key}={value}: {name} is neither data nor a metric that is computed{closest(name, names)}; "
                f"those are {', '.join(names)}."
            )
    built = {}
    for name in names:
        n = {"n": config.n} if config.n is not None else {}
        node = {**registry.metrics.usual(name), **n, **settings.get(name, {})}
        registry.metrics.check({"name": name, **node}, name)
        if most is not None and "n" in node:  # the floor is that of as many samples as there are
            node["n"] = min(int(node["n"]), most)
        built[name] = registry.metrics.build({"name": name, **node}, name, dataset=dataset, device=torch.device("cpu"))
        if contracts.is_foreign(registry.metrics, name):
            contracts.metric(built[name], name, dataset)
    return built


def _named_metrics(named: Sequence[str], known: Sequence[str]) -> list[str]:
    facts = {name: component.facts for name, component in registry.metrics.components.items()}
    for name in named:
        if name in known:
            continue
        if (package := facts.get(name, {}).get("needs_package")) and not find_spec(package):
            extra = facts[name].get("extra")  # a plug-in's package is in none
            remedy = f"pip install 'gan-cli[{extra}]'" if extra else f"install {package}"
            raise UserError(f"metrics=[{name}]: needs a package that is not there; {remedy}.")
        raise UserError(
            f"metrics=[{name}]: not a metric of this data{closest(name, known)}; its metrics are {', '.join(known)}."
        )
    return list(dict.fromkeys(named)) or [name for name in known if not facts[name].get("only_if_named")]


def _scores(metrics: Mapping[str, Any], drawn: Callable[[int], Any]) -> dict[str, Any]:
    """The scores of all metrics, and of each of them how its scores came about.

    Args:
        drawn: so many samples, and the classes that were asked for or None.
    """
    scores: dict[str, float] = {}
    provenance: dict[str, Any] = {}
    for name, metric in metrics.items():
        found = metric(*drawn(metric.samples))
        scores |= found
        if hasattr(metric, "provenance"):  # a plug-in's may have none
            provenance[name] = {"scores": list(found), **asdict(metric.provenance)}
    return {"scores": scores, "provenance": provenance}


def _show(result: dict[str, Any]) -> None:
    if not sys.stdout.isatty():
        print(json.dumps(result, indent=1))
        return
    if "checkpoint" in result:
        print(f"{result['checkpoint']}, step {result['step']}, {result['weights']} weights")
    else:
        print(f"{result['samples']} against {result['real']}")
    for name, value in result["scores"].items():
        print(f"  {name:<36}{value:.4g}")
    for name, facts in result["provenance"].items():
        told = [f"{key} {value}" for key, value in facts.items() if key != "scores" and value not in ("", "none")]
        print(f"  {name}: {'; '.join(told)}")
