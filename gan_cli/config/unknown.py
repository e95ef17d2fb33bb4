"""Messages for unknown keys, flags and base options, with the closest match.

This module does not import torch.
"""

import re
from dataclasses import fields

from gan_cli.config import own_options as own
from gan_cli.config.options import groups, options
from gan_cli.config.schema import Hardware, TrainConfig
from gan_cli.errors import closest
from gan_cli.synonyms import NONE, bare, called

PATHS = ("init_from", "data.root", "data.folder", "data.file", "hydra.run.dir", "hydra.sweep.dir")
"""Keys whose values are paths."""
PARENT = re.compile(r"In '(\w+)/([^']+)': ")
"""Prefix of Hydra's message that contains the file with a missing option."""


def known_keys() -> list[str]:
    """Keys that can be set: groups, top-level keys and keys of `hardware`."""
    root = [item.name for item in fields(TrainConfig)]
    hardware = [f"hardware.{item.name}" for item in fields(Hardware)]
    return [*dict.fromkeys([*groups(), *root]), *hardware]


def unknown_key(typed: str) -> str:
    """Message for an unknown key, with its name in gan-cli if it is known from other programs.

    Args:
        typed: `key` or `key=value`.
    """
    key, _, value = typed.partition("=")
    if bare(key) in NONE:
        return f"{typed}: no such key; {NONE[bare(key)]}."

    keys = known_keys()
    synonyms = [(name, how) for name, how in called(key) if name in keys or "." in name]
    if not synonyms:
        guess = closest(key.lstrip("+~"), keys)
        return f"{typed}: no such key{guess}; gan-train --help lists the keys."

    name, how = synonyms[0]
    if name in keys and name == key:
        return f"{typed}: no such key here; it is typed as {name}={value or 'VALUE'}."
    return f"{typed}: no such key; gan-cli calls it {name}{f' ({how})' if how else ''}."


def unknown_flag(typed: str, known: list[str]) -> str:
    """Message for an unknown flag, which may be a key with leading dashes.

    Args:
        typed: `--flag` or `--flag=value`.
        known: existing flags.
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

    if synonyms := [(key, how) for key, how in called(name) if key in keys.values() or "." in key]:
        key, how = synonyms[0]
        called_so = f"{key} ({how})" if how else key
        return (
            f"{typed}: no such flag; gan-cli calls it {called_so}, without dashes: {key}={value}."
        )
    return f"{typed}: no such flag{closest(name, known)}; gan-train --help shows the usual ones."


def unknown_base(message: str, missing: str) -> str | None:
    """Message for an option file of the user with an unknown option in its `defaults`, or None.

    Args:
        message: Hydra's message.
        missing: the unknown option as `group/option`.
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
