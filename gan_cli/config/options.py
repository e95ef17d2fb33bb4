"""The configuration tree: its groups, and the options of each, with those of the user. Nothing here
imports torch."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gan_cli.config import own_options as own
from gan_cli.errors import UserError, closest

PACKAGED = Path(__file__).parent.parent / "configs"


def configs() -> Path:
    """Where the configuration tree lies: in the package when installed, at the top of a source
    tree."""
    return PACKAGED if PACKAGED.is_dir() else PACKAGED.parent.parent / "configs"


def groups() -> list[str]:
    """The groups of the configuration: the folders of its tree."""
    return sorted(
        path.name for path in configs().iterdir() if path.is_dir() and not path.name.startswith("_")
    )


def options(group: str) -> list[str]:
    """The options of a group: the YAML files in its folder, and those of the user's own."""
    return sorted(
        {path.stem for path in (configs() / group).glob("*.yaml")} | own.options(group).keys()
    )


def file_of(group: str, name: str) -> Path:
    """The file of an option: the package's, or else the user's own. Raises UserError for an unknown
    one."""
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
    """One option of a group by itself, resolved. Raises UserError for an unknown one."""
    node: Any = OmegaConf.to_container(OmegaConf.load(file_of(group, name)), resolve=True)
    return node
