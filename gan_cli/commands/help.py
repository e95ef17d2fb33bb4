"""Pages of `gan-train --help`, generated from configs/ and the source of the components.

This module does not import torch.
"""

import itertools
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

import yaml

from gan_cli import registry
from gan_cli.config import guidance, papers
from gan_cli.config import own_options as own
from gan_cli.config.options import file_of, groups, options
from gan_cli.config.schema import Hardware, TrainConfig
from gan_cli.config.unknown import known_keys, unknown_key
from gan_cli.errors import UserError

EXAMPLES = """\
gan-train: train a GAN. Every group and key has a default; what you type wins.

  gan-train                                         WGAN-GP on real 8x8 digits
  gan-train model=wgan_gp data=mnist minutes=15     WGAN-GP on MNIST
  gan-train model=dcgan loss=hinge optimizer.lr=1e-4 network.width=32
  gan-train -m model=gan,wgan,wgan_gp data=points seed=1,2    a sweep: six runs
  gan-train dry_run=true model=dcgan data=cifar10   what it would be: size, memory, time

The same command typed again goes on with its unfinished run (resume=never starts anew);
a sweep plays no cell twice.

  gan-train --help loss                             the options of a group
  gan-train --help loss=f_gan                       what one of them is, and what can be set of it
"""
FLAGS = """\
Options of a component: regularizer.weight=10, network.width=64, optimizer.lr=1e-4,
  optimizer.players.generator.lr=1e-3, model.repeat.discriminator=5, data.image_size=28,
  data.root=FOLDER

Hydra's own flags work too: --multirun (-m), --config-dir FOLDER, --info, --cfg job,
--shell-completion, and hydra.run.dir=FOLDER, hydra.sweep.dir=FOLDER, hydra/launcher=joblib,
hydra/sweeper=optuna (docs/sweeps.md)."""
ABOUT = {
    "model": "which game is played: its players, their turns, and its paper's choice in the other "
    "groups",
    "network": "what the players' networks are made of",
    "loss": "what the discriminator and the generator minimise",
    "regularizer": "what holds the critic's slope",
    "augmentation": "what is done to real and fake samples before the discriminator sees them",
    "features": "the frozen network that a model compares samples by, if it does",
    "data": "what is learnt",
    "optimizer": "how weights follow gradients; optimizer.players.generator.lr sets it for one "
    "player",
    "schedule": "how the learning rate goes over the run",
    "hardware": "where it computes, and in which precision",
    "experiment": "whole runs and sweeps that show something; not for mixing",
}


def page(words: Sequence[str]) -> str:
    """Help page for the words after `--help`: an overview, a group, an option or some keys.

    Raises:
        UserError: a word is not a key, or names an unknown option.
    """
    known = known_keys()
    keys = [word.lstrip("+~").partition("=")[0] for word in words]
    for word, key in zip(words, keys, strict=True):
        if key not in known and re.split(r"[./@]", key)[0] not in (*groups(), "hydra"):
            raise UserError(unknown_key(word))

    for word in words:
        group, _, option = word.partition("=")
        if group in groups():
            return _option_page(group, option) if option else "\n".join(_group_lines(group))

    starts = tuple(f"  {key}=" for key in keys)
    if lines := [line for line in _keys() if line.startswith(starts)]:
        return "\n".join(lines)
    return "\n".join(
        [EXAMPLES, *_all_groups(), "Keys (key=value), with their defaults:", *_keys(), "", FLAGS]
    )


def _all_groups() -> Iterator[str]:
    """Lines on all groups, in the order of ABOUT."""
    order = [name for name in ABOUT if name in groups()]
    for group in [*order, *(name for name in groups() if name not in order)]:
        yield from [*_group_lines(group), ""]


def _group_lines(group: str) -> list[str]:
    """Heading of a group, and a line or two on each of its options."""
    names = options(group)
    width = max(map(len, names)) + 2
    lines = [line for name in names for line in _row(name, option_line(group, name), width)]
    return [f"{group}=  {ABOUT.get(group, '')}".rstrip(), *lines]


def _keys() -> list[str]:
    """Lines on the top-level keys and on those of `hardware`, with their defaults."""
    root = [(item, "") for item in fields(TrainConfig) if item.name not in groups()]
    hardware = [(item, "hardware.") for item in fields(Hardware)]
    lines = []
    for item, prefix in [*root, *hardware]:
        made = item.default_factory() if callable(item.default_factory) else item.default
        default = getattr(made, "value", made)
        name = f"{prefix}{item.name}={shown(default)}"
        lines += _row(name, item.metadata["help"], 32)
    return lines


def _row(name: str, text: str, width: int) -> list[str]:
    """Two columns with a name and a text, wrapped to the width of the terminal."""
    columns = max(width + 42, min(shutil.get_terminal_size().columns, 140))
    lines = textwrap.wrap(text, columns - width - 2) or [""]
    first = lines.pop(0) if len(name) < width else ""
    return [f"  {name:<{width}}{first}".rstrip(), *(" " * (width + 2) + line for line in lines)]


def shown(value: Any) -> str:
    """Value in the syntax of the command line; in words where it follows the data."""
    if isinstance(value, str) and value.startswith(guidance.MARK):
        return guidance.in_words(value)
    return yaml.safe_dump(value, default_flow_style=True).replace("\n...", "").strip()


# --- options --------------------------------------------------------------------------------------


def option_line(group: str, option: str) -> str:
    """One-line description of an option: the paper of a model, or the start of its comment."""
    if group == "model":
        entry = papers.entry(option)
        authors, _, number = entry.paper.partition(", ")
        return f"{', '.join(filter(None, [authors, entry.year, number]))}: {entry.shows}"
    return _sentence(papers.comment(group, option))


def _sentence(text: str) -> str:
    """First sentence of a text; abbreviations such as `et al.` do not end it."""
    return re.split(r"(?<=[\w)\]])\. (?=[A-Z])", text)[0].rstrip(".")


def _option_page(group: str, option: str) -> str:
    """Page on an option: its comment, the options it selects in other groups, its settings."""
    file = _file(group, option) or {}
    lines = [f"{group}={option}", "", *textwrap.wrap(papers.comment(group, option), 110), ""]
    lines += [f"  {command}" for command in papers.commands(group, option)]

    if chosen := _chosen(group, file):
        lines += ["", "It chooses, where you type nothing else:", *(f"  {item}" for item in chosen)]

    if group in registry.REGISTRIES:
        node = _inherited(group, option)
        lines += ["", *itertools.chain.from_iterable(_settings(group, node))]
    elif set_here := {key: value for key, value in file.items() if key != "defaults"}:
        lines += [
            "",
            "It sets:",
            *textwrap.indent(yaml.safe_dump(set_here, sort_keys=False), "  ").splitlines(),
        ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip()


def _file(group: str, option: str) -> Any:
    """Content of the file of an option."""
    return yaml.safe_load(own.read(file_of(group, option))[0])


def _chosen(group: str, file: Mapping[str, Any]) -> list[str]:
    """Options of other groups selected by a file or by its bases, as `group=option`."""
    chosen: dict[str, str] = {}
    for item in file.get("defaults", []):
        if isinstance(item, str) and item != "_self_":
            base = _file(group, item)
            chosen |= dict(pair.split("=", 1) for pair in _chosen(group, base))
        elif isinstance(item, Mapping):
            for key, value in item.items():
                name = str(key).removeprefix("override").strip().lstrip("/").partition("@")[0]
                chosen[name] = str(value)
    return [f"{name}={value}" for name, value in chosen.items()]


def _inherited(group: str, option: str) -> dict[str, Any]:
    """Settings of an option, including those inherited from its bases."""
    file = _file(group, option)
    words = [item for item in file.get("defaults", []) if isinstance(item, str)]
    bases = [item for item in words if item != "_self_"]

    node: dict[str, Any] = {}
    for base in bases:
        node |= _inherited(group, base)
    return node | {key: value for key, value in file.items() if key != "defaults"}


def _settings(group: str, node: Mapping[str, Any]) -> Iterator[list[str]]:
    """Lines on the settings of each component of a node; a network has a component per role."""
    known = registry.REGISTRIES[group]
    components = known.components
    name = str(node.get("name"))
    roles = [item for item in components if item.startswith(f"{name}.")]

    for item in [name] if name in components else roles:
        component, own = components[item], node
        if role := item.removeprefix(name).lstrip("."):
            own = {**node, **(node.get(role) or {})}
            yield [f"network.{role}: {component.summary}".rstrip(": ")]
        elif component.summary:
            yield textwrap.wrap(component.summary, 110)

        for key, (hint, default) in known.options(item, group).items():
            value = own.get(key, default)
            text = "" if value in registry.NO_DEFAULT else shown(value)
            meaning = _capital(known.docs(item).get(key, "")) + _choices(hint)
            yield _row(f"{group}.{key}={text}", meaning, 42)
        yield [""]


def _choices(hint: Any) -> str:
    """Sentence on the values allowed by a literal hint; empty for other hints."""
    if get_origin(hint) is not Literal:
        return ""
    return f" One of {', '.join(map(str, get_args(hint)))}."


def _capital(sentence: str) -> str:
    return sentence if sentence[:1] == "`" else sentence[:1].upper() + sentence[1:]
