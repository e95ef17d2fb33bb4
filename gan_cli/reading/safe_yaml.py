"""Plain values that strangers wrote: bounded in number, depth and size before anything goes through
them. No torch.

A few lines of YAML, or a list that holds itself, can stand for more than any memory holds; a number
can have more digits than Python prints.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

LONGEST = 1_000_000  # characters of a configuration
MOST = 200_000  # values of a configuration
DEEPEST = 50  # of nested mappings and lists
LARGEST = 10**100  # of a whole number: far beyond what is ever counted, and as a float still finite


class _Loader(yaml.SafeLoader):
    """Plain values only: what looks like a date is a text, as nothing here is dated."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Fast(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same, ten times as fast; but it reads no name that is not UTF-8."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def read_yaml(text: str, aliases: int = 0) -> Any:
    """What YAML says, in plain values. No code of it is ever run.

    Args:
        aliases: how many it may have; each stands for what is written elsewhere.

    Raises:
        ValueError: it is no YAML, it holds something else, or it unfolds to too much. One line says
            which.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text)} characters")
    try:
        if "&" in text and (found := _aliases(text)) > aliases:
            raise ValueError(f"it has {found} YAML aliases, more than gan-train writes")
        content = yaml.load(text, _Loader if "\\u" in text else _Fast)
    except Exception as error:  # the constructors of YAML raise whatever they like
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from None
    refuse_odd(content, MOST)
    return content


def _aliases(text: str) -> int:
    return (
        sum(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)) if "*" in text else 0
    )


def refuse_odd(content: Any, most: int, others: tuple[type, ...] = ()) -> None:
    """Raise ValueError unless all is numbers, words, lists and mappings, or `others`: at most so
    many, not too deep."""
    waiting, seen = [(content, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if isinstance(node, others):
            continue
        if isinstance(node, Mapping | list | tuple):
            if depth >= DEEPEST:
                raise ValueError(f"it is nested more than {DEEPEST} deep")
            if seen + len(waiting) + len(node) > most:
                raise ValueError(f"it unfolds to more than {most} values")
            waiting += [(child, depth + 1) for child in _children(node)]
        elif not isinstance(node, bool | float | str | None) and not _is_whole(node):
            raise ValueError(f"it holds {type(node).__name__}")


def _children(node: Any) -> Iterable[Any]:
    return [*node.keys(), *node.values()] if isinstance(node, Mapping) else node


def _is_whole(value: Any) -> bool:
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"it holds a whole number of more than {LARGEST:.0e}")
    return isinstance(value, int)
