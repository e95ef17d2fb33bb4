"""Games and data sets of checkpoints, rebuilt from the file alone."""

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
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.runs import checkpoint
from gan_cli.runs.places import checkpoint_file, expanded
from gan_cli.training.build import build_game, chunk_size


def load_game(
    path: str | Path, weights: str, plugins: Sequence[str] = (), renders: bool = True
) -> tuple[Game, Spec, dict[str, Any]]:
    """The game, the data's spec and the content of a checkpoint; only the file is needed.

    Args:
        path: see `places.checkpoint_file`.
        weights: `ema`, `raw`, or `auto`: the average if there is one.
        plugins: plug-ins that the caller trusts; no other one is imported.
        renders: refuse a game that makes no samples.

    Raises:
        UserError: no such checkpoint, no average for `ema`, a game that this gan-cli cannot build,
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


def rebuilt(config_text: str, spec: Spec, plugins: Sequence[str], renders: bool = True) -> Game:
    """The game of a configuration, in evaluation mode, with random weights.

    Args:
        config_text: the configuration, as YAML.
        plugins, renders: as in `load_game`.

    Raises:
        UserError: it needs plug-ins that are not trusted, or makes no samples.
    """
    config = yaml.safe_load(config_text)
    _add_trusted_plugins(config.get("plugins") or [], plugins)
    game = build_game({**config, "network": with_role_networks(config)}, spec)
    game.chunk_size = chunk_size(game, config)
    if renders and not game.renders:
        raise UserError(f"model={config['model']['name']} makes no samples.")
    return game.eval().requires_grad_(False)


MAX_SIZE_RATIO = 8  # built over saved size; networks are built twice, parametrizations add weights
SPARE_PARAMETERS = 100  # tensors that a small game may have beyond the saved tensors
SPARE_BYTES = 2**20  # bytes of these tensors


@contextmanager
def _size_limited_by(weights: Mapping[str, Any]) -> Iterator[None]:
    """While active, building networks far larger than their saved weights raises UserError.

    So a small file cannot fill the memory.
    """
    saved_bytes = sum(value.nbytes for value in weights.values() if isinstance(value, torch.Tensor))
    max_parameters = MAX_SIZE_RATIO * (len(weights) + SPARE_PARAMETERS)
    max_bytes = MAX_SIZE_RATIO * (saved_bytes + SPARE_BYTES)
    parameters = 0
    parameter_bytes = 0

    def count(module: nn.Module, name: str, weight: nn.Parameter | None) -> None:
        """Count a parameter that a network registers."""
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
    """Load weights into a module.

    Raises:
        ValueError: complex or integer numbers for real weights, which torch would convert.
    """
    for name, weight in module.state_dict().items():
        saved = weights.get(name)
        if not isinstance(saved, torch.Tensor):
            continue
        if saved.is_floating_point() != weight.is_floating_point():
            raise ValueError(f"{name} has numbers of {saved.dtype}.")
    module.load_state_dict(weights)


def _refuse_not_finite(game: Game, path: Path, averaged: bool) -> None:
    """Raise UserError for weights that are not finite, or buffers with NaN.

    Buffers may contain infinity, as masks do.
    """
    for name, network in game.named_children():
        weights = list(network.parameters())
        buffers = list(network.buffers())
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
    config_text: str, spec: Spec, other: str | None, changes: Mapping[str, Any]
) -> Dataset:
    """The data set of a checkpoint, or another one with samples of the same shape.

    Args:
        config_text: the checkpoint's configuration, as YAML.
        spec: of the checkpoint's data.
        other: name of the other data set; None for the checkpoint's own.
        changes: typed options of the data.

    Raises:
        UserError: the files are missing, or the samples have another shape.
    """
    node = data_node(yaml.safe_load(config_text)["data"], other, changes)
    if other is None:
        registry.datasets.check(node, "data")
        _refuse_moved_files(node, changes)

    dataset: Dataset = registry.datasets.build(node, "data")
    dataset.rescale_like(spec)
    if dataset.spec.shape != spec.shape:
        raise UserError(
            f"data={node['name']}: its samples are {dataset.spec.shape}, the checkpoint's "
            f"{spec.shape}."
        )
    return dataset


def _refuse_moved_files(node: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Raise UserError if the files of the checkpoint's configuration do not exist."""
    for key in ("folder", "file"):
        path = node.get(key)
        if isinstance(path, str) and key not in typed and not expanded(path).exists():
            raise UserError(
                f"data.{key}={path}: the checkpoint's data are not there; add data.{key}= where "
                "they are."
            )


def data_node(
    own: Mapping[str, Any], other: str | None, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The `data` node of the checkpoint or of another option, updated by the typed options.

    Args:
        own: the checkpoint's node.
        other: name of the other option; None for the checkpoint's own.
    """
    if other is not None:
        return {**option("data", other), **changes}

    node = dict(own)
    if "root" in node:  # the folder of downloads, which is that of this machine
        is_option = node["name"] in options("data")
        node["root"] = option("data", node["name"]).get("root") if is_option else None
    return {**node, **changes}
