"""Weights that torchvision publishes, in torch's cache."""

from http.client import HTTPException
from pathlib import Path

import torch

from gan_cli.errors import UserError


def kept(network: str) -> tuple[Path, str]:
    """Where torch's cache keeps torchvision's weights of a network, and their address."""
    from torchvision import models

    url: str = models.get_model_weights(network).DEFAULT.url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2], url


def downloaded(network: str, setting: str, remedy: str) -> Path:
    """The file of torchvision's weights of a network in torch's cache.

    Raises:
        UserError: it is not there, and cannot be downloaded; what needs it, and the remedy.
    """
    path, url = kept(network)
    # torch.hub checks the digest that begins so
    return fetched(url, path, setting, remedy, path.stem.rpartition("-")[2])


def fetched(url: str, path: Path, setting: str, remedy: str, prefix: str | None = None) -> Path:
    """The file of weights, which is downloaded if it is not there.

    Args:
        prefix: of its SHA-256 digest; null checks nothing.

    Raises:
        UserError: it cannot be downloaded; what needs it, and the remedy.
    """
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), prefix, progress=False)
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(
            f"{setting}: no {path.name} in {path.parent} and no download ({error}); put the file "
            f"there, {remedy}."
        ) from None
    return path
