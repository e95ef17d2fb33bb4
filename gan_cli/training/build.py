"""From a checked configuration to its data set, its game, its optimizers and its trainer."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from gan_cli import noise, registry
from gan_cli.config.objectives import lower_is_better
from gan_cli.config.ramps import ramps_of
from gan_cli.config.roles import players, role_networks
from gan_cli.config.schema import DEFAULTS
from gan_cli.data.batches import Batches
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.data.decoded import heldout_of
from gan_cli.devices.hardware import resolve_auto
from gan_cli.devices.precision import halve, set_tf32
from gan_cli.devices.process import keep_memory
from gan_cli.devices.processes import World
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.optimizers import Rate
from gan_cli.training import contracts, rendering
from gan_cli.training.ramps import Ramps
from gan_cli.training.shards import Shards
from gan_cli.training.size_check import check_sizes
from gan_cli.training.trainer import Trainer


def build_dataset(config: Mapping[str, Any], device: torch.device) -> Dataset:
    """The data set of a checked configuration, on a device if it fits there; a semi-supervised
    game sees the labels of a few samples only.
    """
    dataset: Dataset = registry.datasets.build(config["data"], "data").to(device)
    keep_few_labels(dataset, config)
    return dataset


def keep_few_labels(dataset: Dataset, config: Mapping[str, Any]) -> None:
    """Keep the labels of `model.labels_per_class` samples, for a game that learns from few."""
    per_class = config["model"].get("labels_per_class")
    if per_class is not None and dataset.spec.classes and "y" in dataset.train:
        dataset.keep_labels(per_class, config["seed"])


def build_game(config: Mapping[str, Any], spec: Spec) -> Game:
    """The game that a checked configuration describes, for data of this kind and shape.

    Raises:
        UserError: an option does not fit, or the networks are larger than this machine's memory.
    """
    refuse_absurd_sizes(config, spec)
    networks = _networks(config, spec)
    rules = {group: _rule(group, config.get(group, DEFAULTS.get(group))) for group in RULES}
    return registry.games.build(config["model"], "model", spec=spec, **rules, **networks)


def refuse_absurd_sizes(config: Mapping[str, Any], spec: Spec) -> None:
    """Raise UserError for networks, or a batch, larger than this machine's memory."""
    # before networks are built on the meta device: what a plug-in's module computes when it is
    # imported would lie there, too
    registry.games.loaded(config["model"]["name"], "model")
    for role, node in role_networks(config).values():
        registry.networks.loaded(node["name"], f"network.{role}")
    check_sizes(config, spec, lambda: _networks(config, spec))


RULES = {
    "loss": (registry.losses, contracts.loss),
    "regularizer": (registry.regularizers, contracts.regularizer),
    "augmentation": (registry.augmentations, contracts.augmentation),
    "features": (registry.features, contracts.features),
}
"""Components that a game plays by: the registry, and the contract that a plug-in's must keep."""


def _rule(group: str, node: Any) -> Any:
    known, contract = RULES[group]
    rule = known.build(node, group)
    return contract(rule, node["name"]) if contracts.is_foreign(known, node["name"]) else rule


def _networks(config: Mapping[str, Any], spec: Spec) -> dict[str, nn.Module]:
    """The networks of a game, by attribute."""
    shapes = registry.games.loaded(config["model"]["name"], "model").shapes(spec, config["model"])
    return {
        name: registry.networks.build(node, f"network.{role}", **shapes[name])
        for name, (role, node) in role_networks(config).items()
    }


def build_trainer(
    config: Mapping[str, Any], dataset: Dataset, device: torch.device, world: World | None = None
) -> Trainer:
    """The trainer of a checked configuration, before its first round."""
    noise.begin_turn("weights", config["seed"])
    hardware, choices = resolve_auto(config["hardware"], device)
    set_tf32(hardware["precision"])
    keep_memory()

    game = _placed_game(config, dataset, device, hardware, choices)
    shards = Shards(hardware["shards"], world, hardware["reduce"])
    shards.check(game)
    optimizer_nodes = _optimizer_nodes(config, game)
    optimizers = _optimizers(optimizer_nodes, game)
    seen = dataset if game.learns_unlabelled else dataset.only_labelled()
    trainer = Trainer(
        game,
        optimizers,
        Rate(dict(config["schedule"])),
        Batches(seen, config["batch_size"], config["seed"], seen.flip, device),
        config["seed"],
        config["steps"],
        config["minutes"],
        None if game.ema is None else _averaged_copy(game),
        shards,
        scaled=hardware["precision"] == "fp16",
        nan_check_every=[
            config[f"{what}_every"]
            for what in ("log", "sample", "evaluate", "checkpoint", "singular_values")
        ],
        timed=_timed(config),
        hardware=hardware,
        choices=choices,
        clip_norms={name: node["clip_norm"] for name, node in optimizer_nodes.items()},
        lower_is_better=lower_is_better(),
        fresh_game=lambda: build_game(config, dataset.spec),
        ramps=Ramps(ramps_of(config), config["steps"], game, optimizers),
    )

    _accelerate(trainer)
    if registry.PLUGINS:
        _hold_to_contracts(trainer, dataset, config)
    return trainer


def _placed_game(
    config: Mapping[str, Any],
    dataset: Dataset,
    device: torch.device,
    hardware: Mapping[str, Any],
    choices: list[str],
) -> Game:
    """The game on its device, in its precision. Raises UserError where the data do not fit it."""
    game = build_game(config, dataset.spec).to(device)
    if hardware["channels_last"]:
        game.to(memory_format=torch.channels_last)
    for name in game.roles:
        halve(game.get_submodule(name), device, hardware["precision"])

    game.attach(dataset, device)
    if game.features.used:
        choices.append(f"features: {game.features.describe()}")
    _refuse_missing_fields(game, dataset, config)
    if game.ema is not None and not game.averaged:
        raise UserError(
            f"model.ema={game.ema}: model={config['model']['name']} averages no network; set it "
            "to null."
        )
    game.chunk_size = chunk_size(game, config)
    return game


def _optimizer_nodes(config: Mapping[str, Any], game: Game) -> dict[str, dict[str, Any]]:
    """The optimizer's node for each player that moves a network."""
    nodes = players(config["optimizer"], game.players)
    return {name: node for name, node in nodes.items() if game.players[name].moves}


def _optimizers(nodes: Mapping[str, dict[str, Any]], game: Game) -> dict[str, Optimizer]:
    """An optimizer for each player, over the networks that it moves."""
    optimizers = {}
    for name, node in nodes.items():
        networks = [game.get_submodule(part) for part in game.players[name].moves]
        optimizer = registry.optimizers.build(node, "optimizer", parameters=_distinct(networks))
        optimizers[name] = contracts.optimizer(optimizer, node["name"])
    return optimizers


def _timed(config: Mapping[str, Any]) -> list[str]:
    """The parts of a run that span all its rounds, and so follow the time where `minutes` ends it.

    See `Trainer.position`.

    Raises:
        UserError: the game and its augmentation count differently.
    """
    spans = {
        part: config.get(part, {}).get("total") for part in ("schedule", "model", "augmentation")
    }
    whole = {part: total == config["steps"] for part, total in spans.items() if total is not None}
    if (
        config["minutes"] is not None
        and len({whole[part] for part in ("model", "augmentation") if part in whole}) > 1
    ):
        raise UserError(
            f"model.total={spans['model']}, augmentation.total={spans['augmentation']}: under "
            "minutes= both follow the time or neither does; type both, or none."
        )
    parts = {"schedule": "schedule", "model": "game", "augmentation": "game"}
    return sorted({"ramps", *(parts[part] for part, spanning in whole.items() if spanning)})


def chunk_size(game: Game, config: Mapping[str, Any]) -> int:
    """Samples that are computed at a time beside the turns: no more than a turn computes."""
    shards = max(1, config["hardware"].get("shards", 1))
    return min(game.chunk_size, max(16, config["batch_size"] // shards))


def _hold_to_contracts(trainer: Trainer, dataset: Dataset, config: Mapping[str, Any]) -> None:
    """Check what plug-ins return: samples now, terms of turns and outputs of networks always."""
    game, name, spec = trainer.game, config["model"]["name"], dataset.spec
    shapes = type(game).shapes(spec, config["model"])
    for attribute, (role, node) in role_networks(config).items():
        if contracts.is_foreign(registry.networks, node["name"]):
            said = f"network={node['name'].partition('.')[0]} ({role})"
            contracts.network(game.get_submodule(attribute), said, role, shapes[attribute])
    given = rendering.given_by(game, heldout_of(dataset), 2)
    contracts.rendered(game, spec, f"model={name}", given)
    trainer.terms_fn = contracts.turns(trainer.terms_fn, game, f"model={name}")


def _accelerate(trainer: Trainer) -> None:
    """Compile turns, or record them as CUDA graphs, where the hardware is to."""
    if trainer.hardware["compile"]:
        from gan_cli.training.compiled import Compiled

        trainer.terms_fn = Compiled(trainer.game, trainer.hardware["precision"])
    wanted = trainer.hardware["cuda_graph"]
    if not wanted or (wanted == "auto" and next(trainer.game.parameters()).device.type != "cuda"):
        trainer.hardware["cuda_graph"] = False
        return
    from gan_cli.training import cuda_graphs as capture

    if obstacle := capture.obstacle(trainer):
        if wanted is True:
            raise UserError(f"hardware.cuda_graph=true: {obstacle}; set it to auto or false.")
        trainer.choices.append(f"hardware.cuda_graph=false: {obstacle}")
    else:
        trainer.turn_fn = capture.Recorded(trainer)
        trainer.choices += (
            [] if wanted is True else ["hardware.cuda_graph=true: a turn is one launch"]
        )
    trainer.hardware["cuda_graph"] = not obstacle


def _refuse_missing_fields(game: Game, dataset: Dataset, config: Mapping[str, Any]) -> None:
    """Raise UserError where the data lack a field that a player takes."""
    few = () if dataset.labelled is None else ("y_known",)
    given = {*dataset.train, *(f"{name}_labelled" for name in dataset.labelled or ()), *few}
    missing = sorted({field for player in game.players.values() for field in player.fields} - given)
    if not missing:
        return

    needed = {field.removesuffix("_labelled").removesuffix("_known") for field in missing}
    able = sorted(
        name
        for name, component in registry.datasets.components.items()
        if needed <= set(component.attributes.get("fields", ()))
    )
    remedy = f"take data={', data='.join(able)}" if able else "take data that has them"
    model, data = config["model"]["name"], config["data"]["name"]
    raise UserError(
        f"model={model}: its turns look at {', '.join(missing)}, which data={data} lacks; {remedy}."
    )


def _distinct(networks: Sequence[nn.Module]) -> list[nn.Parameter]:
    """The parameters of networks; shared ones only once."""
    return list(dict.fromkeys(weight for network in networks for weight in network.parameters()))


def _averaged_copy(game: Game) -> Game:
    """A second game with averaged networks of its own; it shares all other networks."""
    shared = {id(part): part for name, part in game.named_children() if name not in game.averaged}
    return copy.deepcopy(game, shared).requires_grad_(False)
