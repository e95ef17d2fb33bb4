"""Games and data sets restored from checkpoints."""

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
    """The game, the data's spec and the content of a checkpoint; needs nothing but the file.

    Args:
        path: see `places.checkpoint_file`.
        weights: `ema`, `raw`, or `auto`: the average if there is one.
        plugins: plug-ins that the caller trusts. A checkpoint never imports one by itself.
        renders: refuse a game that makes no samples.

    Raises:
        UserError: no such checkpoint, no average for `ema`, no game that this gan-cli can build,
            or weights that are not finite.
    """
    path = checkpoint_file(path)
    state = checkpoint.load(path)
    averaged = state.get("ema") or {}
    if weights == "ema" and not averaged:
        raise UserError(
            f"weights=ema: {path} holds no average (model.ema was null); take weights=raw."
        )
    use_average = bool(averaged) and weights != "raw"

    try:
        spec = Spec.restore(state["data"])
        with _size_limited_by(state["game"]):
            game = rebuilt(state["config"], spec, plugins, renders)
        _load_weights(game, state["game"])
        if use_average:
            for name, network_state in averaged.items():
                _load_weights(game.get_submodule(name), network_state)
    except Exception as error:  # an untrusted configuration may fail anywhere in the networks
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"checkpoint={path}: does not describe a game that this gan-cli builds: {reason:.600}"
        ) from error

    _refuse_not_finite(game, path, use_average)
    return game, spec, state


def rebuilt(text: str, spec: Spec, plugins: Sequence[str], renders: bool = True) -> Game:
    """The game of a configuration, in evaluation mode, with random weights.

    Args:
        text: the configuration, as YAML.

    Raises:
        UserError: it needs plug-ins that are not trusted, or makes no samples where it must.
    """
    config = yaml.safe_load(text)
    _add_trusted_plugins(config.get("plugins") or [], plugins)
    game = build_game({**config, "network": with_role_networks(config)}, spec)
    game.chunk_size = chunk_size(game, config)
    if renders and not game.renders:
        raise UserError(f"model={config['model']['name']} makes no samples.")
    return game.eval().requires_grad_(False)


MAX_SIZE_RATIO = 8  # networks are built twice, and a parametrized weight replaces several others
SPARE_PARAMETERS = 100  # that a small game may have beyond its saved weights
SPARE_BYTES = 2**20  # the same


@contextmanager
def _size_limited_by(weights: Mapping[str, Any]) -> Iterator[None]:
    """While active, building networks far larger than their saved weights raises UserError."""
    saved_bytes = sum(value.nbytes for value in weights.values() if isinstance(value, torch.Tensor))
    max_parameters = MAX_SIZE_RATIO * (len(weights) + SPARE_PARAMETERS)
    max_bytes = MAX_SIZE_RATIO * (saved_bytes + SPARE_BYTES)
    parameters = 0
    parameter_bytes = 0

    def count(module: nn.Module, name: str, weight: nn.Parameter | None) -> None:
        nonlocal parameters, parameter_bytes
        parameters += 1
        parameter_bytes += 0 if weight is None else weight.nbytes
        if parameters > max_parameters or parameter_bytes > max_bytes:
            raise UserError("its networks are far larger than the weights that it holds.")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _load_weights(module: nn.Module, weights: Mapping[str, Any]) -> None:
    """Load weights, each of the same kind of number as the module's own.

    The check is needed since torch would convert complex numbers to real ones.
    """
    for name, own in module.state_dict().items():
        saved = weights.get(name)
        if isinstance(saved, torch.Tensor) and saved.is_floating_point() != own.is_floating_point():
            raise ValueError(f"{name} has numbers of {saved.dtype}.")
    module.load_state_dict(weights)


def _refuse_not_finite(game: Game, path: Path, averaged: bool) -> None:
    """Raise UserError for weights that are not finite, or buffers with NaN.

    A buffer may hold infinity, as a mask does.
    """
    for name, network in game.named_children():
        weights, buffers = list(network.parameters()), list(network.buffers())
        bad_weights = sum(not weight.isfinite().all() for weight in weights)
        bad_buffers = sum(bool(buffer.isnan().any()) for buffer in buffers)
        if bad_weights + bad_buffers:
            raise UserError(
                f"checkpoint={path}: {bad_weights + bad_buffers} of the "
                f"{len(weights) + len(buffers)} tensors of {name} are not finite numbers, so there "
                f"is nothing to sample; take {'weights=raw, or ' if averaged else ''}an older "
                "checkpoint of the run."
            )


def _add_trusted_plugins(needed: Sequence[str], trusted: Sequence[str]) -> None:
    """Register the trusted plug-ins. Raise UserError if the checkpoint needs another one."""
    for plugin in trusted:
        registry.add_plugin(plugin)

    trusted_names = {Path(plugin).stem for plugin in trusted}
    missing = [plugin for plugin in needed if Path(plugin).stem not in trusted_names]
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
    """The data set of a checkpoint, or another one with samples of the same shape.

    Args:
        text: the checkpoint's configuration, as YAML.
        other: name of the other data set; None for the checkpoint's own.
        changes: typed options of the data.

    Raises:
        UserError: the files are gone, or the samples have another shape.
    """
    node = data_node(yaml.safe_load(text)["data"], other, dict(changes))
    if other is None:
        registry.datasets.check(node, "data")
        _refuse_moved_files(node, dict(changes))

    dataset = registry.datasets.build(node, "data")
    dataset.rescale_like(spec)
    if dataset.spec.shape != spec.shape:
        raise UserError(
            f"data={node['name']}: its samples are {dataset.spec.shape}, the checkpoint's "
            f"{spec.shape}."
        )
    return dataset


def _refuse_moved_files(node: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Raise UserError if the data are no longer where the checkpoint's configuration says."""
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
    """The data node of the checkpoint or of another option, updated by the typed options."""
    if other is not None:
        return {**option("data", other), **changes}

    node = dict(own)
    if "root" in node:  # the folder of downloads is this machine's, not the checkpoint's
        is_option = node["name"] in options("data")
        node["root"] = option("data", node["name"]).get("root") if is_option else None
    return {**node, **changes}
