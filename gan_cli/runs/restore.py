"""From a checkpoint to a game that renders, and to the data that it was trained on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gan_cli import registry
from gan_cli.config.options import option, options
from gan_cli.config.roles import with_role_networks
from gan_cli.data.dataset import Spec
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.runs import checkpoint
from gan_cli.runs.places import checkpoint_file, expanded
from gan_cli.training.build import build_game, chunk_size


def load_game(
    path: str | Path, weights: str, plugins: Sequence[str] = (), renders: bool = True
) -> tuple[Game, Spec, dict[str, Any]]:
    """The game in a checkpoint, ready to render; needs nothing but the file.

    Args:
        path: see `places.checkpoint_file`.
        weights: `ema`, `raw`, or `auto`: the average if there is one.
        plugins: plug-ins that the caller trusts. A checkpoint never imports one by itself.
        renders: refuse a game that makes no samples.
    """
    path = checkpoint_file(path)
    state = checkpoint.load(path)
    averaged = state.get("ema") or {}
    if weights == "ema" and not averaged:
        raise UserError(
            f"weights=ema: {path} holds no average (model.ema was null); take weights=raw."
        )
    try:
        spec = Spec.restore(state["data"])
        with _as_large_as(state["game"]):
            game = rebuilt(state["config"], spec, plugins, renders)
        _fill(game, state["game"])
        for name, value in averaged.items() if weights != "raw" else ():
            _fill(game.get_submodule(name), value)
    except Exception as error:  # a stranger's configuration may fail anywhere in the networks
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"checkpoint={path}: does not describe a game that this gan-cli builds: {reason:.600}"
        ) from error
    _refuse_spoiled(game, path, bool(averaged) and weights != "raw")
    return game, spec, state


def rebuilt(text: str, spec: Spec, plugins: Sequence[str], renders: bool = True) -> Game:
    """The game of a configuration, ready to render but for its weights, which are drawn. Raises
    UserError if it makes no samples where it must, or needs other plug-ins."""
    config = yaml.safe_load(text)
    _trust(config.get("plugins") or [], plugins)
    game = build_game({**config, "network": with_role_networks(config)}, spec)
    game.chunk_size = chunk_size(game, config)
    if renders and not game.renders:
        raise UserError(f"model={config['model']['name']} makes no samples.")
    return game.eval().requires_grad_(False)


@contextmanager
def _as_large_as(weights: Mapping[str, Any]) -> Iterator[None]:
    """While this lasts, networks that are far larger than the weights for them are refused while
    they are built."""
    held = sum(weight.nbytes for weight in weights.values() if isinstance(weight, torch.Tensor))
    most, built = (SPARE * (len(weights) + 100), SPARE * (held + 2**20)), [0, 0]

    def count(module: nn.Module, name: str, weight: nn.Parameter | None) -> None:
        built[0], built[1] = built[0] + 1, built[1] + (0 if weight is None else weight.nbytes)
        if built[0] > most[0] or built[1] > most[1]:
            raise UserError("its networks are far larger than the weights that it holds.")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


SPARE = 8  # networks are built twice, and a weight may be replaced by others that it follows from


def _fill(module: nn.Module, weights: Mapping[str, Any]) -> None:
    """Load weights, none of them of another kind of number: torch would make real ones of complex
    ones."""
    for name, own in module.state_dict().items():
        found = weights.get(name)
        if isinstance(found, torch.Tensor) and found.is_floating_point() != own.is_floating_point():
            raise ValueError(f"{name} has numbers of {found.dtype}.")
    module.load_state_dict(weights)


def _refuse_spoiled(game: Game, path: Path, averaged: bool) -> None:
    """Weights that are not finite make no samples. (A buffer, such as a mask, may be infinite.)"""
    for name, network in game.named_children():
        weights, buffers = list(network.parameters()), list(network.buffers())
        spoiled = sum(not weight.isfinite().all() for weight in weights) + sum(
            map(_has_nan, buffers)
        )
        if spoiled:
            raise UserError(
                f"checkpoint={path}: {spoiled} of the {len(weights) + len(buffers)} tensors of "
                f"{name} are not finite numbers, so there is nothing to sample; take "
                f"{'weights=raw, or ' if averaged else ''}an older checkpoint of the run."
            )


def _has_nan(values: torch.Tensor) -> bool:
    return bool(values.isnan().any())


def _trust(needed: Sequence[str], named: Sequence[str]) -> None:
    """Let the named plug-ins be found; a plug-in that a checkpoint needs must be among them."""
    for plugin in named:
        registry.add_plugin(plugin)
    missing = [
        plugin for plugin in needed if Path(plugin).stem not in {Path(item).stem for item in named}
    ]
    if missing:
        raise UserError(
            "it needs plug-ins, which run code: if you trust them, add "
            f"plugins=[{','.join(missing)}]."
        )


def own_or_other_data(
    text: str,
    spec: Any,
    other: str | None,
    changes: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
) -> Any:
    """The data set of a checkpoint with this configuration, or another one of samples of the same
    shape.

    Args:
        changes: options of the data that were typed.
    """
    node = data_node(yaml.safe_load(text)["data"], other, dict(changes))
    if other is None:
        registry.datasets.check(node, "data")
        _refuse_moved(node, dict(changes))
    dataset = registry.datasets.build(node, "data")
    dataset.rescale_like(spec)
    if dataset.spec.shape != spec.shape:
        raise UserError(
            f"data={node['name']}: its samples are {dataset.spec.shape}, the checkpoint's "
            f"{spec.shape}."
        )
    return dataset


def _refuse_moved(node: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    for key in ("folder", "file"):
        place = node.get(key)
        if isinstance(place, str) and key not in typed and not expanded(place).exists():
            raise UserError(
                f"data.{key}={place}: the checkpoint's data are not there; add data.{key}= where "
                "they are."
            )


def data_node(
    own: Mapping[str, Any], other: str | None, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The data node of the checkpoint, or of the option named instead, with what was typed laid
    over it."""
    node = dict(own) if other is None else option("data", other)
    # where files lie is for this machine to say, not for the checkpoint
    if other is None and "root" in node:
        node["root"] = (
            option("data", node["name"]).get("root") if node["name"] in options("data") else None
        )
    return {**node, **changes}
