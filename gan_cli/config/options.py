"""Groups and options of the configuration, including options of the user.

This module does not import torch.
"""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gan_cli.config import own_options as own
from gan_cli.errors import UserError, closest

PACKAGED = Path(__file__).parent.parent / "configs"


def configs() -> Path:
    """Folder of the configuration: inside the package, or in the repository root."""
    return PACKAGED if PACKAGED.is_dir() else PACKAGED.parent.parent / "configs"


def groups() -> list[str]:
    """Names of the groups, which are the folders of the configuration."""
    folders = [path.name for path in configs().iterdir() if path.is_dir()]
    return sorted(name for name in folders if not name.startswith("_"))


def options(group: str) -> list[str]:
    """Names of the options of a group, which are the YAML files of this package and the user."""
    packaged = {path.stem for path in (configs() / group).glob("*.yaml")}
    return sorted(packaged | own.options(group).keys())


def file_of(group: str, name: str) -> Path:
    """File of an option; options of this package have precedence over those of the user.

    Raises:
        UserError: the group has no such option.
    """
    path = configs() / group / f"{name}.yaml"
    if path.is_file():
        return path
    if name in own.options(group):
        return own.options(group)[name]
    raise UserError(unknown_option(group, name))


def unknown_option(group: str, name: str) -> str:
    """Message for an unknown option."""
    if file := own.misnamed(group, name):
        return f"{group}={name}: {file} is not seen, for its name does not end in .yaml; rename it."

    known = options(group)
    return (
        f"{group}={name}: no such option{closest(name, known)}; the options are {', '.join(known)}."
    )


def option(group: str, name: str) -> dict[str, Any]:
    """Resolved content of the file of an option. Raises UserError for an unknown option."""
    node: Any = OmegaConf.to_container(OmegaConf.load(file_of(group, name)), resolve=True)
    return node
