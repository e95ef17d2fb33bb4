"""The hooks of a run, built from its configuration."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gan_cli import registry
from gan_cli.config.identity import flatten
from gan_cli.config.objectives import suitable
from gan_cli.config.schema import GROUPS
from gan_cli.data.dataset import Dataset, device_of
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.runs import checkpoint, hooks, inputs
from gan_cli.runs.progress import Progress
from gan_cli.runs.recorder import Recorder
from gan_cli.runs.scores import Scores
from gan_cli.training import contracts
from gan_cli.training.ema import EMA
from gan_cli.training.trainer import Hook, Trainer

TABLE_KEYS = ("seed", "batch_size", "steps")
"""Keys in TensorBoard's table of runs, besides the groups."""


def hooks_of(
    config: Mapping[str, Any],
    folder: Path,
    trainer: Trainer,
    dataset: Dataset,
    introduction: str,
    told: Sequence[str] = (),
) -> list[Hook]:
    """The hooks of a run, in the order in which they are called.

    Args:
        introduction: first line of the progress display.
        told: sentences on the settings, which follow it.

    Raises:
        UserError: neither the data nor the game has the objective. Then no file is opened.
    """
    config_text = yaml.safe_dump(dict(config), sort_keys=False)
    reading_guide = trainer.game.how_to_read()
    hyperparameters, score_tags = _hyperparameter_table(config, dataset, trainer.game)

    recorder = Recorder(folder, trainer.step)
    recorder.hparams(hyperparameters, score_tags)

    sample_every = config["sample_every"]
    texts = {"configuration": f"```yaml\n{config_text}\n```", "reading": reading_guide}
    logs = hooks.Logs(recorder, trainer.batches.dataset, config["log_every"], sample_every, texts)
    metrics = _metrics(config, dataset, trainer.game) if config["evaluate_every"] else {}

    notes = [dataset.note] if dataset.note else []
    notes += [*told, reading_guide, *trainer.choices, *_shard_notes(trainer)]
    notes += [f"scores: {metric.describe()}" for metric in metrics.values()]

    result: list[Hook] = [EMA(), logs, Progress(logs, introduction, notes)]
    if trainer.game.renders:
        result.append(hooks.Pictures(recorder, dataset, sample_every, folder / "samples"))
    result += _evaluation(config, recorder, metrics, trainer.game, dataset)
    result += [
        hooks.WeightSpectra(recorder, config["singular_values_every"]),
        hooks.Figures(recorder, dataset, sample_every, config["figures"], folder / "figures"),
        hooks.Health(recorder, dataset, config, folder),
        hooks.Rows(recorder, config["batch_size"]),
        _checkpoints(config, config_text, dataset, folder, trainer.game),
    ]
    return result


def _evaluation(
    config: Mapping[str, Any],
    recorder: Recorder,
    metrics: Mapping[str, Any],
    game: Game,
    dataset: Dataset,
) -> list[Hook]:
    """The hook that scores the run; none if scores are off, or nobody has any."""
    every = config["evaluate_every"]
    has_own_scores = type(game).scores is not Game.scores
    if not every or not (metrics or has_own_scores):
        return []
    return [Scores(recorder, metrics, every, config["objective"], dataset)]


def _checkpoints(
    config: Mapping[str, Any], config_text: str, dataset: Dataset, folder: Path, game: Game
) -> hooks.Checkpoints:
    """The hook that saves the run."""
    header = {
        "format": checkpoint.FORMAT,
        "config": config_text,
        "data": dataset.spec.plain(),
        "mark": dataset.digest,
        "inputs": inputs.kept(game, dataset, config["keep_inputs"]),
    }
    return hooks.Checkpoints(folder, config["checkpoint_every"], config["keep_checkpoints"], header)


def _hyperparameter_table(
    config: Mapping[str, Any], dataset: Dataset, game: Game
) -> tuple[dict[str, Any], list[str]]:
    """Content of TensorBoard's table of runs: settings that affect the result, tags of scores."""
    settings = {}
    for key, value in flatten(config).items():
        if key.split(".")[0] in (*GROUPS, *TABLE_KEYS):
            short_key = re.sub(rf"^({'|'.join(GROUPS)})\.name$", r"\1", key)  # not model.name
            settings[short_key] = value

    scores: list[str] = []
    for name in _metric_names(config, dataset, game):
        scores += registry.metrics.components[name].attributes["scores"]
    scores += type(game).objectives
    return settings, [f"metrics/{name}" for name in dict.fromkeys(scores)]


def _metrics(config: Mapping[str, Any], dataset: Dataset, game: Game) -> dict[str, Any]:
    """The metrics that score the run, by name.

    They have no common type: the metric of a plug-in need not derive from `Scoring`.
    """
    metrics = {}
    device = device_of(dataset.heldout)
    for name in _metric_names(config, dataset, game):
        node = {"name": name}
        if n := config["evaluate_samples"]:
            node["n"] = n
        metric = registry.metrics.build(node, "metrics", dataset=dataset, device=device)
        if contracts.is_foreign(registry.metrics, name):
            metric = contracts.metric(metric, name, dataset)
        metrics[name] = metric
    return metrics


def _metric_names(config: Mapping[str, Any], dataset: Dataset, game: Game) -> list[str]:
    """Names of the metrics that score the run: the typed ones, or that of the objective and those
    whose scores end a phase.

    Raises:
        UserError: a typed one cannot be computed here, or nobody has the objective.
    """
    typed = config["metrics"]
    if not typed:
        ends = [score for phase in game.order_of_play.phases for score in phase.until]
        names = [_metric_name(score, dataset, game) for score in (config["objective"], *ends)]
        return list(dict.fromkeys(filter(None, names)))
    if missing := [name for name in typed if name not in dataset.available_metrics]:
        raise UserError(
            f"metrics=[{missing[0]}]: this data does not allow it, or its package is not "
            f"installed; take one of {', '.join(dataset.available_metrics)}."
        )
    return list(dict.fromkeys(typed))


def _metric_name(objective: str | None, dataset: Dataset, game: Game) -> str:
    """Name of the data's first metric that has the objective, or of the first one without it.

    Empty if the game computes the objective itself, or if there is no metric.

    Raises:
        UserError: neither the data nor the game has the objective.
    """
    names = suitable(dataset.default_metrics, bool(game.given)) if game.renders else []
    game_objectives = type(game).objectives
    objectives_by_metric = {
        name: registry.metrics.components[name].attributes["objectives"] for name in names
    }
    for name, objectives in objectives_by_metric.items():
        if objective is None or objective in (*objectives, *game_objectives):
            return name
    if objective is None or objective in game_objectives:
        return ""

    known = [score for objectives in objectives_by_metric.values() for score in objectives]
    known += game_objectives
    remedy = f"one of {', '.join(known)}" if known else "none"
    raise UserError(f"objective={objective}: this data gives no such score; take {remedy}.")


def _shard_notes(trainer: Trainer) -> list[str]:
    """A warning for a batch split into shards, if the game's result depends on the whole batch."""
    count = trainer.shards.count
    dependencies = trainer.game.batch_dependencies()
    if count == 1 or not dependencies:
        return []

    rows = trainer.batches.batch_size // count
    return [
        f"{count} shards of {rows} samples learn differently from one of all: "
        f"{', '.join(dependencies)}."
    ]
