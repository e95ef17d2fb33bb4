"""`gan-evaluate`: the scores of a checkpoint, or of a folder of images, and how each of them came
about."""

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from gan_cli import registry
from gan_cli.commands.dotted import settings_of
from gan_cli.errors import UserError, closest
from gan_cli.runs.places import checkpoint_file
from gan_cli.sampling.generator import Weights
from gan_cli.sampling.keys import checkpoint_key, plugins_key, weights_key

USAGE = """gan-evaluate FILE|RUN|latest [key=value ...]
gan-evaluate samples=FOLDER real=FOLDER [key=value ...]

data.KEY=VALUE sets an option of the data, METRIC.KEY=VALUE one of a metric, such as
prdc.k=3 or inception.weights_file=FILE."""


@dataclass
class EvaluateConfig:
    """The keys of `gan-evaluate`."""

    checkpoint: str | None = checkpoint_key(default=None)
    samples: str | None = field(
        default=None, metadata={"help": "FOLDER of images to score instead"}
    )
    real: str | None = field(
        default=None, metadata={"help": "FOLDER of real images to compare them with"}
    )
    n: int | None = field(
        default=None,
        metadata={"least": 2, "help": "samples to score; each metric has its own number"},
    )
    metrics: list[str] = field(
        default_factory=list,
        metadata={
            "help": "[names] of metrics or scores; if not given, those that the data allows "
            "without a download"
        },
    )
    data: str | None = field(
        default=None, metadata={"help": "another data set, with data.KEY=VALUE for its options"}
    )
    weights: Weights = weights_key()
    plugins: list[str] = plugins_key()


def run(config: EvaluateConfig, dotted: list[str]) -> None:
    """Score what the configuration names: a table on a terminal, JSON elsewhere.

    Args:
        dotted: `data.KEY=VALUE` and `METRIC.KEY=VALUE`.
    """
    _refuse_what_does_not_go_together(config)
    settings = settings_of(dotted)
    changes = settings.pop("data", {})
    _show((_of_folders if config.samples else _of_checkpoint)(config, changes, settings))


def _refuse_what_does_not_go_together(config: EvaluateConfig) -> None:
    if not config.checkpoint and not config.samples and not config.real:
        raise UserError(
            "checkpoint: missing; add checkpoint=FILE, or compare folders by "
            "samples=FOLDER real=FOLDER."
        )
    for key, other in (("samples", "real"), ("real", "samples")):
        if getattr(config, key) and not getattr(config, other):
            raise UserError(
                f"{key}={getattr(config, key)}: compares two folders; add {other}=FOLDER."
            )
    for key in ("checkpoint", "data"):
        if config.samples and getattr(config, key):
            raise UserError(
                f"{key}={getattr(config, key)}: not beside samples= and real=; leave it out, or "
                "those two."
            )
    if config.samples and config.weights is not Weights.auto:
        raise UserError(
            f"weights={config.weights.value}: folders have no average of weights; leave it out."
        )


# --- a checkpoint ---------------------------------------------------------------------------------


def _of_checkpoint(
    config: EvaluateConfig, changes: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    from gan_cli.data.decoded import heldout_of
    from gan_cli.metrics.provenance import Provenance
    from gan_cli.runs.restore import data_node, load_game, own_or_other_data
    from gan_cli.training import rendering

    path = checkpoint_file(config.checkpoint)
    game, spec, state = load_game(path, config.weights.value, config.plugins, renders=False)
    dataset = own_or_other_data(state["config"], spec, config.data, changes)
    heldout = heldout_of(dataset)
    with _of_fields(heldout):
        own = rendering.own_scores(game, heldout)
    metrics = _metrics(
        config, settings, dataset, dataset.available_metrics if game.renders else [], own
    )
    if not metrics and not own:
        raise UserError(
            f"checkpoint={config.checkpoint}: its model makes no samples and has no scores of its "
            "own."
        )
    n = max((metric.samples for metric in metrics.values()), default=0)
    found = _scores(
        metrics,
        rendering.rendered_parts(game, rendering.fixed_latents(game, n), dataset.spec) if n else (),
    )
    node = yaml.safe_load(state["config"])
    if own:
        counted = int(own.get("scored_heldout", len(dataset.heldout["x"])))
        facts = asdict(
            Provenance(counted, "held-out samples, as the model itself sees them", dataset.resizing)
        )
        found["scores"] |= own
        found["provenance"][f"model.{node['model']['name']}"] = {"scores": list(own), **facts}
    weights = "ema" if state.get("ema") and config.weights is not Weights.raw else "raw"
    data = data_node(node["data"], config.data, changes)
    return {
        "checkpoint": str(path),
        "step": state["step"],
        "weights": weights,
        "data": data,
        **found,
    }


@contextmanager
def _of_fields(known: Collection[str]) -> Iterator[None]:
    """The scores of a model need what it was trained with, which other data may lack."""
    try:
        yield
    except KeyError as error:
        if error.args[0] in known:
            raise
        raise UserError(
            f"data: its samples have no {error.args[0]}, which the model's own scores look at; "
            "take data that has."
        ) from None


# --- two folders ----------------------------------------------------------------------------------


def _of_folders(
    config: EvaluateConfig, changes: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    import torch

    from gan_cli.data import folder
    from gan_cli.data.decoded import Decoded, part_of, parts

    for plugin in config.plugins:
        registry.add_plugin(plugin)
    if "folder" in changes:
        raise UserError(
            f"data.folder={changes['folder']}: the real images are in real={config.real}; leave "
            "it out."
        )
    with _named("samples"):
        size = (
            {}
            if "image_size" in changes
            else {"image_size": folder.usual_size(Path(str(config.samples)))}
        )
        node = {"name": "image_folder", **size, **changes}
        whole = {**node, "folder": config.samples, "classes": False, "heldout": 0.5}
        scored = registry.datasets.build(whole, "data")
    with _named("real"):
        node |= {"folder": config.real}
        dataset = registry.datasets.build(node, "data")
    folder.compare(scored, dataset)
    fields = {"x": torch.cat([scored.train["x"], scored.heldout["x"]])}
    metrics = _metrics(config, settings, dataset, dataset.available_metrics, most=len(fields["x"]))
    images = parts(Decoded(scored, fields, len(fields["x"]), "samples"), part_of(scored.spec))
    found = _scores(metrics, ((part["x"], None) for part in images))
    return {"samples": config.samples, "real": config.real, "data": node, **found}


@contextmanager
def _named(key: str) -> Iterator[None]:
    """What is wrong with a folder, by the name of the key that says where it is."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("data.folder=", f"{key}=", 1)) from None


# --- metrics --------------------------------------------------------------------------------------


def _metrics(
    config: EvaluateConfig,
    settings: dict[str, Any],
    dataset: Any,
    known: Sequence[str],
    own: Collection[str] = (),
    most: int | None = None,
) -> dict[str, Any]:
    """The metrics that were named, else all that are known and need no download.

    Args:
        own: scores that the model gives itself.
        most: samples that there are, if no more can be made.
    """
    import torch

    from gan_cli.training import contracts

    names = _named_metrics(config.metrics, known, own)
    for name, changed in settings.items():
        if name not in names:
            key, value = next(iter(changed.items()))
            raise UserError(
                f"{name}.{key}={value}: {name} is neither data nor a metric that is "
                f"computed{closest(name, names)}; those are {', '.join(names) or 'none'}."
            )
    built = {}
    for name in names:
        node = _node(name, config, settings.get(name, {}), most)
        built[name] = registry.metrics.build(
            {"name": name, **node}, name, dataset=dataset, device=torch.device("cpu")
        )
        if contracts.is_foreign(registry.metrics, name):
            built[name] = contracts.metric(built[name], name, dataset)
    return built


def _node(
    name: str, config: EvaluateConfig, typed: Mapping[str, Any], most: int | None
) -> dict[str, Any]:
    """The options of a metric. Raises UserError for a number of samples that cannot be had."""
    n = {"n": config.n} if config.n is not None else {}
    checked = registry.metrics.check({"name": name, **n, **typed}, name)
    node, key = {**registry.metrics.defaults(name), **checked}, f"{name}.n" if "n" in typed else "n"
    if "n" not in node:
        return node
    if node["n"] < 2:
        raise UserError(f"{key}={node['n']}: must be at least 2.")
    if most is not None and "n" in checked and node["n"] > most:
        raise UserError(
            f"{key}={node['n']}: samples={config.samples} has {most} images; ask for "
            f"{most} at most."
        )
    return node if most is None else {**node, "n": min(node["n"], most)}


def _named_metrics(named: Sequence[str], known: Sequence[str], own: Collection[str]) -> list[str]:
    """The metrics that are meant by names of metrics or of their scores; by no name, all that need
    no download."""
    facts = {name: component.attributes for name, component in registry.metrics.components.items()}
    given = {
        name: {score for kind in GIVEN for score in facts[name].get(kind, ())}
        for name in (*known, *facts)
    }
    if not named:
        return [name for name in known if not facts[name].get("only_if_named")]
    found = []
    for typed in named:
        meant = (
            typed
            if typed in facts
            else next((name for name, scores in given.items() if typed in scores), typed)
        )
        if meant in known:
            found.append(meant)
        elif typed not in own:
            raise _unknown(
                typed,
                facts.get(meant, {}),
                known,
                [*known, *own, *(s for name in known for s in given[name])],
            )
    return list(dict.fromkeys(found))


GIVEN = ("scores", "conditional", "objectives")
"""Attributes of a metric that say which scores it gives."""


def _unknown(
    typed: str, facts: Mapping[str, Any], known: Sequence[str], close: Sequence[str]
) -> UserError:
    """Why a metric cannot be computed, and what else can."""
    if (package := facts.get("needs_package")) and not find_spec(package):
        extra = facts.get("extra")  # a plug-in's package is in none
        remedy = f"pip install 'gan-cli[{extra}]'" if extra else f"install {package}"
        return UserError(f"metrics=[{typed}]: needs a package that is not there; {remedy}.")
    names = ", ".join(known) or "none, since its model makes no samples"
    return UserError(
        f"metrics=[{typed}]: not a metric of this data{closest(typed, close)}; its metrics are "
        f"{names}."
    )


def _scores(metrics: Mapping[str, Any], parts: Iterable[Any]) -> dict[str, Any]:
    """The scores of all metrics, and of each of them how its scores came about.

    Args:
        parts: of the samples, and of the classes that were asked for or None.
    """
    from gan_cli.metrics.scoring import scored

    scores: dict[str, float] = {}
    provenance: dict[str, Any] = {}
    for name, found in scored(metrics, parts).items():
        scores |= found
        if hasattr(metrics[name], "provenance"):  # a plug-in's may have none
            provenance[name] = {"scores": list(found), **asdict(metrics[name].provenance)}
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
        told = [
            f"{key} {value}"
            for key, value in facts.items()
            if key != "scores" and value not in ("", "none", None)
        ]
        print(f"  {name}: {'; '.join(told)}")
