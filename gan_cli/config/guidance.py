"""Settings that follow the data: `${gan.by:FACT,{VALUE: SETTING}}` in a file of configs/.

They become numbers when the configuration is composed, before torch is imported, and are saved as
numbers. What is typed replaces them.

    lr: ${gan.by:numbers,{2:2e-3,other:5e-4}}

A VALUE that is a number is for facts up to it; the least that holds is taken. That of `other` may
be another `${gan.by:...}`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gan_cli import registry
from gan_cli.config.identity import flatten
from gan_cli.errors import UserError

MARK = "${gan.by:"
NAMES = {
    "kind": "the kind of the data",
    "start": "what the model makes samples from",
    "numbers": "how many numbers a sample has",
    "side": "the side of the images in pixels",
}
"""What each fact is, in words."""
UNITS = {"numbers": "numbers", "side": "pixels"}
"""What a fact that is a number counts."""


def by(fact: str, settings: Mapping[Any, Any], *, _root_: DictConfig) -> Any:
    """Resolver `${gan.by:FACT,{...}}`: the setting for this fact of the data.

    Args:
        fact: one of `NAMES`.
        settings: by the fact's value; that of `other` is for all others, and for an unknown fact.

    Raises:
        UserError: there is no such fact, or no setting for its value.
    """
    if fact not in NAMES:
        raise UserError(f"gan.by:{fact}: no such fact; expected one of {', '.join(NAMES)}.")
    known = facts(_root_)[fact]

    numbers = [key for key in settings if isinstance(key, int | float)]
    holding = [key for key in numbers if isinstance(known, int) and known <= key]
    key = known if known in settings else min(holding, default="other")
    if key not in settings:
        raise UserError(f"gan.by:{fact}: no setting for {known}; add `other`.")
    return settings[key]


def asked(path: str) -> Any:
    """Resolver `${gan.ask:PATH}`: a setting that only the user knows. Raises UserError."""
    raise UserError(f"{path}: missing; add {path}=VALUE.")


def facts(root: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the data of a configuration, which may not be resolved yet; None is unknown."""
    data = root.get("data")
    options = dict(data) if isinstance(data, Mapping) else {}
    name = str(options.get("name"))
    try:
        for plugin in root.get("plugins") or ():
            registry.add_plugin(plugin)
        attributes = registry.datasets.attributes(name, "data")
        options = {**registry.datasets.defaults(name), **options}
    except UserError:  # answered where the configuration is checked
        return dict.fromkeys(NAMES)

    return {
        "kind": attributes.get("kind"),
        "start": _start(root),
        "numbers": attributes.get("numbers"),
        "side": options.get("image_size"),
    }


def _start(root: Mapping[str, Any]) -> str | None:
    """`inputs` for a model whose samples start from other ones, such as images; else None."""
    model = root.get("model")
    name = str(model.get("name")) if isinstance(model, Mapping) else ""
    try:
        starting = registry.games.attributes(name, "model").get("from_inputs")
    except UserError:
        return None
    return "inputs" if starting else None


def in_words(written: str) -> str:
    """A setting as it stands in a file, for a page of help: `0.999 up to 2 numbers, else null`."""
    fact, _, rest = written.removeprefix(MARK).partition(",")
    first, _, other = rest.removeprefix("{").partition("other:")
    pairs = [pair.split(":") for pair in first.split(",") if pair]
    cases = [
        f"{setting} up to {value} {UNITS[fact]}" if fact in UNITS else f"{setting} for {value}"
        for value, setting in pairs
    ]
    nested = other.startswith(MARK)
    return ", ".join([*cases, in_words(other) if nested else f"else {other.rstrip('}')}"])


def sentences(node: DictConfig) -> list[str]:
    """What was chosen by the data in a composed configuration, a sentence for each setting."""
    written: Any = OmegaConf.to_container(
        OmegaConf.masked_copy(node, [str(key) for key in node if key != "hydra"]), resolve=False
    )
    return list(_sentences(node, flatten(written)))


def _sentences(node: DictConfig, written: Mapping[str, Any]) -> Iterator[str]:
    known = facts(node)
    for path, value in written.items():
        if not isinstance(value, str) or not value.startswith(MARK):
            continue
        facts_of_value = re.findall(r"gan\.by:(\w+)", value)
        fact = next((fact for fact in facts_of_value if known[fact] is not None), None)
        if fact is not None:
            setting = OmegaConf.select(node, path)
            yield f"{path}={json.dumps(setting)}: by {NAMES[fact]}, {known[fact]}"


OmegaConf.register_new_resolver("gan.by", by, replace=True)
OmegaConf.register_new_resolver("gan.ask", asked, replace=True)
