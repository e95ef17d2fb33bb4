"""The sentences on keys, flags and base options that do not exist, with the closest one that does.

Nothing here imports torch.
"""

import re
from dataclasses import fields

from gan_cli.config import own_options as own
from gan_cli.config.options import groups, options
from gan_cli.config.schema import Hardware, TrainConfig
from gan_cli.errors import closest
from gan_cli.synonyms import NONE, bare, called

PATHS = ("init_from", "data.root", "data.folder", "data.file", "hydra.run.dir", "hydra.sweep.dir")
"""Keys whose values are names of files and folders."""
PARENT = re.compile(r"In '(\w+)/([^']+)': ")
"""Hydra's words for the file that names a missing option; its exception names the option alone."""


def known_keys() -> list[str]:
    """The keys that may stand left of `=`: groups, keys of the root, keys of the hardware."""
    root = [item.name for item in fields(TrainConfig)]
    hardware = [f"hardware.{item.name}" for item in fields(Hardware)]
    return [*dict.fromkeys([*groups(), *root]), *hardware]


def unknown_key(typed: str) -> str:
    """The sentence on a key that does not exist, with its name in gan-cli where others call it so.

    Args:
        typed: the key, or `key=value`.
    """
    key, _, value = typed.partition("=")
    if bare(key) in NONE:
        return f"{typed}: no such key; {NONE[bare(key)]}."

    keys = known_keys()
    ours = [(name, how) for name, how in called(key) if name in keys or "." in name]
    if not ours:
        guess = closest(key.lstrip("+~"), keys)
        return f"{typed}: no such key{guess}; gan-train --help lists the keys."

    name, how = ours[0]
    if name in keys and name == key:
        return f"{typed}: no such key here; it is typed as {name}={value or 'VALUE'}."
    return f"{typed}: no such key; gan-cli calls it {name}{f' ({how})' if how else ''}."


def unknown_flag(typed: str, known: list[str]) -> str:
    """The sentence on a flag that does not exist; keys are typed without dashes.

    Args:
        typed: the flag, or `--flag=value`.
        known: the flags that exist.
    """
    name, _, value = typed.partition("=")
    value = value or "VALUE"
    if name == "--experimental-rerun":
        return (
            f"{name}: is not supported, for it runs what a pickle holds; type the run's command "
            "again, which goes on."
        )

    keys = {bare(key): key for key in known_keys()}
    if bare(name) in keys:
        key = keys[bare(name)]
        return f"{typed}: no such flag; keys are typed without dashes: {key}={value}."
    if bare(name) in NONE:
        return f"{typed}: no such flag; {NONE[bare(name)]}."

    if ours := [(key, how) for key, how in called(name) if key in keys.values() or "." in key]:
        key, how = ours[0]
        called_so = f"{key} ({how})" if how else key
        return (
            f"{typed}: no such flag; gan-cli calls it {called_so}, without dashes: {key}={value}."
        )
    return f"{typed}: no such flag{closest(name, known)}; gan-train --help shows the usual ones."


def unknown_base(message: str, missing: str) -> str | None:
    """The sentence on a user's option file whose `defaults` name an option that does not exist.

    Args:
        message: Hydra's.
        missing: the group and the name of the option, `group/option`.
    """
    parent = PARENT.match(message)
    if parent is None or parent[2] not in own.options(parent[1]):
        return None

    file = own.options(parent[1])[parent[2]]
    group, _, option = missing.rpartition("/")
    known = options(group)
    return (
        f"{file}: {group}={option}: no such option{closest(option, known)}; the options are "
        f"{', '.join(known)}."
    )
