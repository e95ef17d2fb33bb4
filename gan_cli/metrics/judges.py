"""Networks that judge samples: trained once on a data set, and kept in the cache."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from gan_cli.files import cache_folder, intact, seal
from gan_cli.reading import torch_files

log = logging.getLogger(__name__)
Network = TypeVar("Network", bound=nn.Module)


def kept_or_trained(
    what: str, digest: str, fresh: Callable[[], Network], trained: Callable[[], Network]
) -> Network:
    """The network from the cache, or a new one, which is kept there.

    Torch's random numbers are left as they were.

    Args:
        what: it is called, as `classifier`.
        digest: of everything that decides its weights.
        fresh: makes one, whose weights do not matter.
        trained: makes one and trains it.
    """
    path = cache_folder() / f"{what}s" / f"{digest}.pt"
    with torch.random.fork_rng():
        network = _kept(what, path, fresh)
        if network is None:
            network = trained()
            _keep(what, path, network)
    return network


def _kept(what: str, path: Path, fresh: Callable[[], Network]) -> Network | None:
    """The network in the cache; None if there is none, or its file is damaged."""
    if not path.exists():
        log.info("training the %s for the scores (once; kept in %s)", what, path)
        return None
    if not intact(path, otherwise=f"training the {what} again"):
        return None

    network = fresh()
    try:
        network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:
        log.warning("%s is damaged (%s); training the %s again", path, type(error).__name__, what)
        return None
    return network


def _keep(what: str, path: Path, network: nn.Module) -> None:
    weights: dict[str, Any] = {name: value.cpu() for name, value in network.state_dict().items()}
    try:
        torch_files.save(weights, path)
        seal(path)
    except OSError as error:
        log.warning("the %s could not be kept in %s (%s)", what, path, error.strerror)
