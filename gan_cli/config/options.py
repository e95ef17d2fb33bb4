"""The configuration tree: its groups and their options, the user's included.

Nothing here imports torch.
"""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gan_cli.config import own_options as own
from gan_cli.errors import UserError, closest

PACKAGED = Path(__file__).parent.parent / "configs"


def configs() -> Path:
    """The folder of the configuration tree: in the package, or beside it in a source tree."""
    return PACKAGED if PACKAGED.is_dir() else PACKAGED.parent.parent / "configs"


def groups() -> list[str]:
    """The groups of the configuration: the folders of its tree."""
    folders = [path.name for path in configs().iterdir() if path.is_dir()]
    return sorted(name for name in folders if not name.startswith("_"))


def options(group: str) -> list[str]:
    """The options of a group: the YAML files in its folder, and the user's."""
    packaged = {path.stem for path in (configs() / group).glob("*.yaml")}
    return sorted(packaged | own.options(group).keys())


def file_of(group: str, name: str) -> Path:
    """The file of an option, of the package or else of the user.

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
    """The sentence on an option that a group does not have."""
    if file := own.misnamed(group, name):
        return f"{group}={name}: {file} is not seen, for its name does not end in .yaml; rename it."

    known = options(group)
    return (
        f"{group}={name}: no such option{closest(name, known)}; the options are {', '.join(known)}."
    )


def option(group: str, name: str) -> dict[str, Any]:
    """The content of an option's file, resolved. Raises UserError for an unknown option."""
    node: Any = OmegaConf.to_container(OmegaConf.load(file_of(group, name)), resolve=True)
    return node
