"""Networks and batches that the memory cannot hold are refused before anything is allocated."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gan_cli.config.identity import flatten
from gan_cli.data.dataset import Spec
from gan_cli.errors import UserError
from gan_cli.files import memory

FLOAT_BYTES = 4  # of a float32


def parameter_counts(game: nn.Module) -> dict[str, int]:
    """Number of parameters of each network of a game that has any, by name."""
    networks = {
        name: sum(weight.numel() for weight in network.parameters())
        for name, network in game.named_children()
    }
    return {name: count for name, count in networks.items() if count}


def check_sizes(
    config: Mapping[str, Any], spec: Spec, networks: Callable[[], Mapping[str, nn.Module]]
) -> None:
    """Raise UserError for networks, or a batch, larger than this machine's memory.

    Args:
        networks: builds the networks of the configuration; it is called on the meta device.
    """
    needed = _bytes_of_weights(networks)
    if needed > memory():
        raise UserError(
            f"{_size_settings(config)}: the weights need {_gib(needed)} of {_gib(memory())}; make "
            "one of them smaller."
        )

    batch = FLOAT_BYTES * config["batch_size"] * math.prod(spec.shape)
    if batch > memory():
        raise UserError(
            f"batch_size={config['batch_size']}: a batch needs {_gib(batch)} of {_gib(memory())}; "
            "make it smaller."
        )


def _bytes_of_weights(networks: Callable[[], Mapping[str, nn.Module]]) -> float:
    """Memory for the weights: infinite if they cannot even be counted, 0 where that is unknown."""
    try:
        with torch.device("meta"), _NoInitialisation():
            built = networks()
    except (RuntimeError, OverflowError, TypeError) as error:
        message = str(error).lower()
        if "overflow" in message or "too large" in message:
            return math.inf
        # it cannot be built without its numbers; whatever is wrong shows when it is built
        return 0.0
    return FLOAT_BYTES * sum(
        weight.numel() for network in built.values() for weight in network.parameters()
    )


def _size_settings(config: Mapping[str, Any]) -> str:
    """The settings that decide how large the networks are, as they are typed."""
    sizes = {
        f"network.{key}": value
        for key, value in flatten(config["network"]).items()
        if key.endswith("width")
    }
    if len({str(size) for size in sizes.values()}) == 1:
        sizes = {"network.width": next(iter(sizes.values()))}
    sizes["model.latent"] = config["model"].get("latent")
    return ", ".join(f"{key}={value}" for key, value in sizes.items())


class _NoInitialisation(TorchFunctionMode):
    """Leave weights as they are: on the meta device torch would load its compiler to draw them,
    which takes two seconds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB" if size < math.inf else "more memory than can be counted"
