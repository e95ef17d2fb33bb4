"""From a checked configuration to what is trained: the game, its optimizers, its trainer. And from
a file to a game."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gan_cli import noise, registry
from gan_cli.config.identity import flatten
from gan_cli.config.roles import players, role_networks
from gan_cli.config.schema import DEFAULTS
from gan_cli.data.batches import Batches
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.devices.hardware import keep_memory, resolve_auto, set_tf32, with_precision
from gan_cli.devices.processes import World
from gan_cli.errors import UserError
from gan_cli.files import memory
from gan_cli.game import Game
from gan_cli.optimizers import Rate
from gan_cli.training import contracts
from gan_cli.training.shards import Shards
from gan_cli.training.trainer import Trainer


def build_game(config: Mapping[str, Any], spec: Spec) -> Game:
    """The game that a checked configuration describes, for data of this kind and shape.

    Raises:
        UserError: an option does not fit, or the networks are larger than this machine's memory.
    """
    refuse_absurd_sizes(config, spec)
    parts = _networks(config, spec)
    rules = {group: _rule(group, config.get(group, DEFAULTS.get(group))) for group in RULES}
    return registry.games.build(config["model"], "model", spec=spec, **rules, **parts)


RULES = {
    "loss": (registry.losses, contracts.loss),
    "regularizer": (registry.regularizers, contracts.regularizer),
    "augmentation": (registry.augmentations, contracts.augmentation),
}
"""What a game plays by: where it is registered, and what holds a plug-in's to what it must give."""


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


def refuse_absurd_sizes(config: Mapping[str, Any], spec: Spec) -> None:
    """Raise UserError for networks or a batch that the memory cannot hold, before anything is
    allocated."""
    sizes = {
        f"network.{key}": value
        for key, value in flatten(config["network"]).items()
        if key.endswith("width")
    }
    if len({str(size) for size in sizes.values()}) == 1:
        sizes = {"network.width": next(iter(sizes.values()))}
    sizes["model.latent"] = config["model"].get("latent")
    named = ", ".join(f"{key}={value}" for key, value in sizes.items())
    needed: float
    try:
        with torch.device("meta"), _Unfilled():
            networks = _networks(config, spec)
        needed = BYTES * sum(
            weight.numel() for network in networks.values() for weight in network.parameters()
        )
    except (RuntimeError, OverflowError, TypeError) as error:
        if "overflow" not in str(error).lower() and "too large" not in str(error).lower():
            # a network that cannot be built without its numbers: what it needs is found out when it
            # is built
            return
        needed = math.inf
    if needed > memory():
        raise UserError(
            f"{named}: the weights need {_gib(needed)} of {_gib(memory())}; make one of them "
            "smaller."
        )
    batch = BYTES * config["batch_size"] * math.prod(spec.shape)
    if batch > memory():
        raise UserError(
            f"batch_size={config['batch_size']}: a batch needs {_gib(batch)} of {_gib(memory())}; "
            "make it smaller."
        )


class _Unfilled(TorchFunctionMode):
    """Weights are not drawn: where they have no memory, torch would load its compiler for that, for
    two seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


BYTES = 4  # of a float32


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB" if size < math.inf else "more memory than can be counted"


def keep_few_labels(dataset: Dataset, config: Mapping[str, Any]) -> None:
    """Keep the labels of a few samples, for a game that learns from those."""
    if (per_class := config["model"].get("labels_per_class")) and dataset.spec.classes:
        dataset.keep_labels(per_class, config["seed"])


def build_trainer(
    config: Mapping[str, Any], dataset: Dataset, device: torch.device, world: World | None = None
) -> Trainer:
    """The trainer of a checked configuration, before its first round."""
    noise.begin_turn("weights", config["seed"])
    hardware, choices = resolve_auto(config["hardware"], device)
    set_tf32(hardware["precision"])
    keep_memory()
    game = build_game(config, dataset.spec).to(device)
    if hardware["channels_last"]:
        game.to(memory_format=torch.channels_last)
    for name in game.roles:
        with_precision(game.get_submodule(name), device, hardware["precision"])
    moves = {
        name: [game.get_submodule(part) for part in player.moves]
        for name, player in game.players.items()
    }
    optimizers = {
        name: contracts.optimizer(
            registry.optimizers.build(node, "optimizer", parameters=_distinct(moves[name])),
            node["name"],
        )
        for name, node in players(config["optimizer"], game.players).items()
    }
    _refuse_missing_fields(game, dataset, config)
    batches = Batches(dataset, config["batch_size"], config["seed"], dataset.flip, device)
    rate = Rate(dict(config["schedule"]))
    if game.ema is not None and not game.averaged:
        raise UserError(
            f"model.ema={game.ema}: model={config['model']['name']} averages no network; set it "
            "to null."
        )
    shards = Shards(hardware["shards"], world, hardware["reduce"])
    shards.check(game)
    game.chunk_size = chunk_size(game, config)
    ema = None if game.ema is None else _averaged_copy(game)
    scaled = hardware["precision"] == "fp16"
    nan_check_every = [
        config[f"{what}_every"] for what in ("log", "sample", "evaluate", "checkpoint")
    ]
    trainer = Trainer(
        game, optimizers, rate, batches, config["seed"], config["steps"], config["minutes"], ema,
        shards, scaled, nan_check_every, _timed(config), hardware, choices,
    )  # fmt: skip
    _hasten(trainer)
    if registry.PLUGINS:
        _hold_to_contracts(trainer, dataset.spec, config)
    return trainer


def _timed(config: Mapping[str, Any]) -> list[str]:
    """What of a run spans all its rounds, and so follows the time where `minutes` ends it: see
    `Trainer.position`.

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
    return sorted({parts[part] for part, spanning in whole.items() if spanning})


def chunk_size(game: Game, config: Mapping[str, Any]) -> int:
    """How many samples to compute at a time beside the turns: no more than one of these does, in a
    run and after it."""
    shards = max(1, config["hardware"].get("shards", 1))
    return min(game.chunk_size, max(16, config["batch_size"] // shards))


def _hold_to_contracts(trainer: Trainer, spec: Spec, config: Mapping[str, Any]) -> None:
    """Let what plug-ins give be looked at: samples now, the terms of turns and the outputs of
    networks as they come."""
    game, name = trainer.game, config["model"]["name"]
    shapes = type(game).shapes(spec, config["model"])
    for attribute, (role, node) in role_networks(config).items():
        if contracts.is_foreign(registry.networks, node["name"]):
            said = f"network={node['name'].partition('.')[0]} ({role})"
            contracts.network(game.get_submodule(attribute), said, role, shapes[attribute])
    contracts.rendered(game, spec, f"model={name}")
    trainer.terms_fn = contracts.turns(trainer.terms_fn, f"model={name}")


def _hasten(trainer: Trainer) -> None:
    """Let turns be compiled and recorded, where the hardware says so."""
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
    """The data must give what the players look at."""
    given = {*dataset.train, *(f"{name}_labelled" for name in dataset.labelled or ())}
    missing = sorted({field for player in game.players.values() for field in player.fields} - given)
    if missing:
        needed = {field.removesuffix("_labelled") for field in missing}
        known = registry.datasets.components
        able = [
            name
            for name, found in known.items()
            if needed <= set(found.attributes.get("fields", ()))
        ]
        takes = f"take data={', data='.join(sorted(able))}" if able else "take data that has them"
        model, data = config["model"]["name"], config["data"]["name"]
        raise UserError(
            f"model={model}: its turns look at {', '.join(missing)}, which data={data} lacks; "
            f"{takes}."
        )


def _distinct(networks: Sequence[nn.Module]) -> list[nn.Parameter]:
    """The parameters of networks, those that they share once."""
    return list(dict.fromkeys(weight for network in networks for weight in network.parameters()))


def _averaged_copy(game: Game) -> Game:
    """A second game of its own averaged networks; it shares all the others."""
    shared = {id(part): part for name, part in game.named_children() if name not in game.averaged}
    return copy.deepcopy(game, shared).requires_grad_(False)
