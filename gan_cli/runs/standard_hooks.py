"""What happens beside the rounds of every run: which hooks, in which order."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gan_cli import registry
from gan_cli.config.identity import flatten
from gan_cli.config.schema import GROUPS
from gan_cli.data.dataset import Dataset
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.runs import checkpoint, hooks
from gan_cli.runs.progress import Progress
from gan_cli.runs.recorder import Recorder
from gan_cli.runs.scores import Scores
from gan_cli.training import contracts
from gan_cli.training.ema import EMA
from gan_cli.training.trainer import Hook, Trainer


def hooks_of(
    config: Mapping[str, Any], folder: Path, trainer: Trainer, dataset: Dataset, introduction: str
) -> list[Hook]:
    """All that happens beside the rounds of a run, in order."""
    text, reading = yaml.safe_dump(dict(config), sort_keys=False), trainer.game.how_to_read()
    # refuses an objective that nobody gives, before a file is open
    table = _table(config, dataset, trainer.game)
    recorder = Recorder(folder, trainer.step)
    recorder.hparams(*table)
    texts = {"configuration": f"```yaml\n{text}\n```", "reading": reading}
    logs = hooks.Logs(recorder, dataset, config["log_every"], config["sample_every"], texts)
    notes = [*filter(None, [dataset.note]), reading, *trainer.choices, *_shard_notes(trainer)]
    scores = []
    if config["evaluate_every"] and (metric := _metric(config, dataset, trainer.game)):
        notes.append(f"scores: {metric.describe()}")
    if config["evaluate_every"] and (metric or type(trainer.game).scores is not Game.scores):
        scores = [Scores(recorder, metric, config["evaluate_every"], config["objective"], dataset)]
    frame = {
        "format": checkpoint.FORMAT,
        "config": text,
        "data": dataset.spec.plain(),
        "mark": dataset.digest,
    }
    every, keep = config["checkpoint_every"], config["keep_checkpoints"]
    shown = [hooks.Pictures(recorder, dataset, config["sample_every"], folder / "samples")]
    return [
        EMA(),
        logs,
        Progress(logs, introduction, notes),
        *(shown if trainer.game.renders else []),
        *scores,
        hooks.Figures(
            recorder, dataset, config["sample_every"], config["figures"], folder / "figures"
        ),
        hooks.Health(recorder, dataset, config, folder),
        hooks.Rows(recorder, config["batch_size"]),
        hooks.Checkpoints(folder, every, keep, frame),
    ]


def _table(
    config: Mapping[str, Any], dataset: Dataset, game: Game
) -> tuple[dict[str, Any], list[str]]:
    """What TensorBoard's table of runs shows: the settings that decide what is learnt, and the
    scores."""
    scored_by = _scored_by(config["objective"], dataset, game)
    names = [*registry.metrics.components[scored_by].attributes["scores"]] if scored_by else []
    leaves = {
        key: value
        for key, value in flatten(config).items()
        if key.split(".")[0] in (*GROUPS, *TABLE)
    }
    settings = {
        re.sub(rf"^({'|'.join(GROUPS)})\.name$", r"\1", key): value for key, value in leaves.items()
    }
    return settings, [f"metrics/{name}" for name in dict.fromkeys([*names, *type(game).objectives])]


TABLE = ("seed", "batch_size", "steps")  # the root's keys in the table, beside the groups


def _metric(config: Mapping[str, Any], dataset: Dataset, game: Game) -> Any:
    """The metric whose scores the run logs; None where there is none."""
    name, n = _scored_by(config["objective"], dataset, game), config["evaluate_samples"]
    if not name:
        return None
    node = {"name": name} | ({"n": n} if n else {})
    metric = registry.metrics.build(
        node, "metrics", dataset=dataset, device=dataset.heldout["x"].device
    )
    return (
        contracts.metric(metric, name, dataset)
        if contracts.is_foreign(registry.metrics, name)
        else metric
    )


def _scored_by(objective: str | None, dataset: Dataset, game: Game) -> str:
    """The metric that gives the objective; the data's first one if none is named, or the game gives
    it itself.

    Raises UserError where neither the data nor the game gives it.
    """
    names, own = dataset.default_metrics if game.renders else [], type(game).objectives
    given = {name: registry.metrics.components[name].attributes["objectives"] for name in names}
    for name, scores in given.items():
        if objective is None or objective in (*scores, *own):
            return name
    if objective is None or objective in own:
        return ""
    known = ", ".join([*(score for scores in given.values() for score in scores), *own])
    raise UserError(
        f"objective={objective}: this data gives no such score; take "
        f"{f'one of {known}' if known else 'none'}."
    )


def _shard_notes(trainer: Trainer) -> list[str]:
    """What a run whose batches are cut must say, if its game is not the same for it."""
    count, couplings = trainer.shards.count, trainer.game.batch_dependencies()
    if count == 1 or not couplings:
        return []
    rows = trainer.batches.batch_size // count
    return [
        f"{count} shards of {rows} samples learn differently from one of all: "
        f"{', '.join(couplings)}."
    ]
