"""`gan-evaluate`: scores of a checkpoint or of a folder of images, with their provenance."""

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gan_cli import registry
from gan_cli.commands.dotted import settings_of
from gan_cli.config.objectives import suitable
from gan_cli.errors import UserError, closest
from gan_cli.runs.places import checkpoint_file
from gan_cli.sampling.generator import Statistics, Weights, load_generator
from gan_cli.sampling.keys import (
    checkpoint_key,
    direction_key,
    plugins_key,
    statistics_key,
    weights_key,
)

if TYPE_CHECKING:
    from gan_cli.data.dataset import Dataset
    from gan_cli.data.decoded import Decoded
    from gan_cli.game import Game
    from gan_cli.metrics.scoring import Part, Walks

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
    truncation: Any = field(
        default=None,
        metadata={
            "help": "of gan-sample; or [several]: the scores at each, as a table and a picture"
        },
    )
    statistics: Statistics = statistics_key()
    output: str | None = field(
        default=None,
        metadata={
            "help": "PATH of the picture of several truncations, .png or .svg, with its table as "
            ".csv beside it; truncation.png if not given"
        },
    )
    direction: str | None = direction_key()
    weights: Weights = weights_key()
    plugins: list[str] = plugins_key()


def run(config: EvaluateConfig, dotted: list[str]) -> None:
    """Print the scores of the checkpoint or folder: a table on a terminal, JSON elsewhere.

    Args:
        dotted: typed `data.KEY=VALUE` and `METRIC.KEY=VALUE`.
    """
    _print(evaluated(config, dotted))


def evaluated(config: EvaluateConfig, dotted: list[str]) -> dict[str, Any]:
    """The scores of a checkpoint or of a folder of images, and their provenance."""
    _refuse_contradictions(config)
    metric_options = settings_of(dotted)
    data_options = metric_options.pop("data", {})

    evaluate = _evaluate_folders if config.samples else _evaluate_checkpoint
    return evaluate(config, data_options, metric_options)


def _refuse_contradictions(config: EvaluateConfig) -> None:
    """Raise UserError for keys that are missing or contradict each other."""
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
    for key in ("checkpoint", "data", "truncation"):
        if config.samples and getattr(config, key):
            raise UserError(
                f"{key}={getattr(config, key)}: not beside samples= and real=; leave it out, or "
                "those two."
            )

    if config.output is not None and not isinstance(config.truncation, list):
        raise UserError(
            f"output={config.output}: is of several truncations; add truncation=[0.5,1,2] or so."
        )
    if config.samples and config.statistics is not Statistics.saved:
        raise UserError(
            f"statistics={config.statistics.value}: folders have no batch norm; leave it out."
        )
    if config.samples and config.weights is not Weights.auto:
        raise UserError(
            f"weights={config.weights.value}: folders have no average of weights; leave it out."
        )


# --- a checkpoint ---------------------------------------------------------------------------------


def _evaluate_checkpoint(
    config: EvaluateConfig, data_options: dict[str, Any], metric_options: dict[str, Any]
) -> dict[str, Any]:
    """Scores of a checkpoint, by metrics and by its game."""
    import torch

    from gan_cli.commands import truncation_curve
    from gan_cli.data.decoded import heldout_of
    from gan_cli.game import Game
    from gan_cli.runs.restore import data_node, load_game, own_or_other_data
    from gan_cli.training import rendering
    from gan_cli.training.build import keep_few_labels

    thresholds = truncation_curve.thresholds(config.truncation)
    several = isinstance(config.truncation, list)
    output = truncation_curve.output_of(config.output) if several else Path()
    path = checkpoint_file(config.checkpoint)
    game, spec, state = load_game(path, config.weights.value, config.plugins, renders=False)
    game.direction = game.direction_named(config.direction)
    dataset = own_or_other_data(state["config"], spec, config.data, data_options)
    heldout = heldout_of(dataset)
    if type(game).scores is not Game.scores:
        if config.data is None:
            keep_few_labels(dataset, yaml.safe_load(state["config"]))
        game.attach(dataset, torch.device("cpu"))
    with _missing_fields_explained(heldout):
        game_scores = rendering.own_scores(game, heldout)

    seen, given = dataset.seen_as(game.sampling.output), bool(game.sampling.given)
    available = suitable(seen.available_metrics, given) if game.renders else []
    metrics = _metrics(config, metric_options, seen, available, game_scores)
    if not metrics and not game_scores:
        raise _nothing_to_score(config, game)
    if thresholds:
        truncation_curve.refuse_walks(metrics, config.truncation)
    if not thresholds and config.statistics is Statistics.saved:
        result = score_samples(metrics, game, heldout)
    else:
        generator = load_generator(path, config.weights, config.plugins, direction=config.direction)
        evaluate = partial(score_samples, metrics, generator.game, heldout)
        result = truncation_curve.scores_at(
            thresholds, evaluate, generator, config.truncation, config.statistics
        )
        if several:
            result |= truncation_curve.written(result, thresholds, output)

    saved_config = yaml.safe_load(state["config"])
    if game_scores:
        _add_game_scores(result, game_scores, saved_config["model"]["name"], dataset)
    uses_average = state.get("ema") and config.weights is not Weights.raw
    return {
        "checkpoint": str(path),
        "step": state["step"],
        "weights": "ema" if uses_average else "raw",
        **({"direction": game.direction} if game.direction else {}),
        "data": data_node(saved_config["data"], config.data, data_options),
        **result,
    }


def _nothing_to_score(config: EvaluateConfig, game: "Game") -> UserError:
    """The error for a checkpoint without metrics and without scores of its own."""
    reason = "makes no samples that a metric could score"
    if game.renders:
        reason = "there is no metric for its data"
    return UserError(
        f"checkpoint={config.checkpoint}: its model has no scores of its own, and {reason}."
    )


def score_samples(
    metrics: Mapping[str, Any], game: "Game", heldout: "Decoded", bound: float | None = None
) -> dict[str, Any]:
    """Scores of the samples of a game, and their provenance.

    Args:
        bound: truncation of their latents; None leaves them.
    """
    from gan_cli.metrics.scoring import samples_to_score
    from gan_cli.sampling.truncation import truncated
    from gan_cli.training import rendering

    parts: Iterable[Part] = ()
    if n := samples_to_score(metrics):
        latents = rendering.fixed_latents(game, rendering.scored_samples(game, n, heldout))
        latents = truncated(game, latents, range(len(latents)), bound)
        parts = rendering.rendered_parts(game, latents, heldout)
    return _scores(metrics, parts, rendering.LatentWalks(game))


def _add_game_scores(
    result: dict[str, Any], scores: Mapping[str, float], model: str, dataset: "Dataset"
) -> None:
    """Add the scores that a game computes itself to a result, with their provenance."""
    from gan_cli.data.dataset import count
    from gan_cli.metrics.provenance import Provenance

    scored = int(scores.get("scored_heldout", count(dataset.heldout)))
    provenance = Provenance(
        scored, "held-out samples, as the model itself sees them", dataset.resizing
    )
    result["scores"] |= scores
    result["provenance"][f"model.{model}"] = {"scores": list(scores), **asdict(provenance)}


@contextmanager
def _missing_fields_explained(known: Collection[str]) -> Iterator[None]:
    """Explain a missing field: the game's scores may need one that other data lack.

    Args:
        known: fields of the data; a KeyError for one of them has another cause.
    """
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


def _evaluate_folders(
    config: EvaluateConfig, data_options: dict[str, Any], metric_options: dict[str, Any]
) -> dict[str, Any]:
    """Scores of a folder of images, compared with a folder of real images."""
    import torch

    from gan_cli.data.decoded import Decoded, part_of, parts

    for plugin in config.plugins:
        registry.add_plugin(plugin)
    if "folder" in data_options:
        raise UserError(
            f"data.folder={data_options['folder']}: the real images are in real={config.real}; "
            "leave it out."
        )

    samples, real, real_node = _folders(config, data_options)
    x = torch.cat([samples.train["x"], samples.heldout["x"]])
    available = suitable(real.available_metrics, False, folder=True)
    metrics = _metrics(config, metric_options, real, available, max_samples=len(x))
    images = parts(Decoded(samples, {"x": x}, len(x), "samples"), part_of(samples.spec))
    result = _scores(metrics, ((part["x"], None, {}) for part in images))
    return {"samples": config.samples, "real": config.real, "data": real_node, **result}


def _folders(
    config: EvaluateConfig, data_options: Mapping[str, Any]
) -> tuple["Dataset", "Dataset", dict[str, Any]]:
    """The samples and the real images as data sets, and the `data` node of the real images.

    Raises:
        UserError: a folder without images, or images of different shapes.
    """
    from gan_cli.data import folder

    with _errors_about("samples"):
        node: dict[str, Any] = {"name": "image_folder"}
        if "image_size" not in data_options:
            node["image_size"] = folder.usual_size(Path(str(config.samples)))
        node |= data_options
        samples_node = {**node, "folder": config.samples, "classes": False, "heldout": 0.5}
        samples = registry.datasets.build(samples_node, "data")

    with _errors_about("real"):
        node["folder"] = config.real
        real = registry.datasets.build(node, "data")

    folder.compare(samples, real)
    return samples, real, node


@contextmanager
def _errors_about(key: str) -> Iterator[None]:
    """While active, errors about `data.folder` become errors about the key of the folder."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("data.folder=", f"{key}=", 1)) from None


# --- metrics --------------------------------------------------------------------------------------


def _metrics(
    config: EvaluateConfig,
    options: Mapping[str, Mapping[str, Any]],
    dataset: "Dataset",
    available: Sequence[str],
    game_scores: Collection[str] = (),
    max_samples: int | None = None,
) -> dict[str, Any]:
    """The named metrics, or else all available ones that need no download.

    They have no common type: a plug-in's metric need not derive from `Scoring`.

    Args:
        options: typed options, by metric.
        available: metrics that the data allow.
        game_scores: names of the scores that the game computes itself.
        max_samples: number of existing samples; None if more can be generated.

    Raises:
        UserError: unknown metrics, or wrong options.
    """
    import torch

    from gan_cli.training import contracts

    names = _metric_names(config.metrics, available, game_scores)
    _refuse_other_owners(options, names)

    metrics = {}
    for name in names:
        metric_options = _metric_options(name, config, options.get(name, {}), max_samples)
        node = {"name": name, **metric_options}
        metric = registry.metrics.build(node, name, dataset=dataset, device=torch.device("cpu"))
        if contracts.is_foreign(registry.metrics, name):
            metric = contracts.metric(metric, name, dataset)
        metrics[name] = metric
    return metrics


def _refuse_other_owners(options: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> None:
    """Raise UserError for a typed option of something that is not computed.

    Args:
        options: typed options, by metric.
        names: the metrics that are computed.
    """
    for name, typed in options.items():
        if name not in names:
            key, value = next(iter(typed.items()))
            raise UserError(
                f"{name}.{key}={value}: {name} is neither data nor a metric that is "
                f"computed{closest(name, names)}; those are {', '.join(names) or 'none'}."
            )


def _metric_options(
    name: str, config: EvaluateConfig, typed: Mapping[str, Any], max_samples: int | None
) -> dict[str, Any]:
    """Options of a metric: the typed ones, else the configured number of samples and defaults.

    Raises:
        UserError: fewer than two samples, or more samples than exist.
    """
    n = {"n": config.n} if config.n is not None else {}
    checked = registry.metrics.check({"name": name, **n, **typed}, name)
    node = {**registry.metrics.defaults(name), **checked}
    if "n" not in node:
        return node

    key = f"{name}.n" if "n" in typed else "n"
    if node["n"] < 2:
        raise UserError(f"{key}={node['n']}: must be at least 2.")
    if max_samples is None:
        return node
    if "n" in checked and node["n"] > max_samples:
        raise UserError(
            f"{key}={node['n']}: samples={config.samples} has {max_samples} images; ask for "
            f"{max_samples} at most."
        )
    return {**node, "n": min(node["n"], max_samples)}


SCORE_ATTRIBUTES = ("scores", "conditional", "objectives")
"""Attributes of a metric that list its scores."""


def _metric_names(
    typed: Sequence[str], available: Sequence[str], game_scores: Collection[str]
) -> list[str]:
    """Metrics by the typed names, each that of a metric or of one of its scores.

    Without a typed name, all available metrics that need no download.

    Raises:
        UserError: a name of no available metric and of no score.
    """
    attributes = {name: part.attributes for name, part in registry.metrics.components.items()}
    if not typed:
        return [name for name in available if not attributes[name].get("only_if_named")]

    scores_of = {
        name: {score for kind in SCORE_ATTRIBUTES for score in attributes[name].get(kind, ())}
        for name in (*available, *attributes)  # available ones first: several may have a score
    }
    names = []
    for word in typed:
        name = word
        if word not in attributes:
            name = next((name for name, scores in scores_of.items() if word in scores), word)
        if name in available:
            names.append(name)
        elif word not in game_scores:
            scores = [score for name in available for score in scores_of[name]]
            candidates = [*available, *game_scores, *scores]
            raise _unknown_metric(word, attributes.get(name, {}), available, candidates)
    return list(dict.fromkeys(names))


def _unknown_metric(
    typed: str, attributes: Mapping[str, Any], available: Sequence[str], candidates: Sequence[str]
) -> UserError:
    """The error for a metric that cannot be computed: a missing package, or an unknown name.

    Args:
        attributes: of the metric; empty if it is unknown.
        candidates: names of which the closest one is suggested.
    """
    if (package := attributes.get("needs_package")) and not find_spec(package):
        extra = attributes.get("extra")  # None for a plug-in's metric
        remedy = f"pip install 'gan-cli[{extra}]'" if extra else f"install {package}"
        return UserError(f"metrics=[{typed}]: needs a package that is not there; {remedy}.")

    names = ", ".join(available) or "none, since its model makes no samples"
    return UserError(
        f"metrics=[{typed}]: not a metric of this data{closest(typed, candidates)}; its metrics "
        f"are {names}."
    )


def _scores(
    metrics: Mapping[str, Any], parts: Iterable["Part"], walks: "Walks | None" = None
) -> dict[str, Any]:
    """Scores by all metrics, and the provenance of each metric's scores.

    Args:
        parts: parts of the samples, each with its classes or None.
        walks: ways through the latent space, for metrics that look at them.
    """
    from gan_cli.metrics.scoring import scored

    scores: dict[str, float] = {}
    provenance: dict[str, Any] = {}
    for name, metric_scores in scored(metrics, parts, walks).items():
        scores |= metric_scores
        if hasattr(metrics[name], "provenance"):  # optional in plug-ins
            facts = asdict(metrics[name].provenance)
            provenance[name] = {"scores": list(metric_scores), **facts}

    return {"scores": scores, "provenance": provenance}


def _print(result: dict[str, Any]) -> None:
    """Print a result: a table on a terminal, JSON elsewhere."""
    if not sys.stdout.isatty():
        print(json.dumps(result, indent=1))
        return

    if "checkpoint" in result:
        print(f"{result['checkpoint']}, step {result['step']}, {result['weights']} weights")
    else:
        print(f"{result['samples']} against {result['real']}")

    if isinstance(thresholds := result.get("truncation"), list):
        print(f"  {'truncation':<36}" + "".join(f"{value:>10g}" for value in thresholds))
    for name, value in result["scores"].items():
        values = value if isinstance(value, list) else [value]
        print(f"  {name:<36}" + "".join(f"{value:>10.4g}" for value in values))
    for name in ("table", "picture"):
        if name in result:
            print(f"  {name} in {result[name]}")

    for name, facts in result["provenance"].items():
        texts = [
            f"{key} {value}"
            for key, value in facts.items()
            if key != "scores" and value not in ("", "none", None)
        ]
        print(f"  {name}: {'; '.join(texts)}")
