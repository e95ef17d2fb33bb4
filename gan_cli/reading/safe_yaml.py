"""Safe reading of YAML from other people: values limited in number, depth and size. No torch.

A few lines of YAML, or a list that contains itself, may unfold to more than any memory; a number
may have more digits than Python prints.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

LONGEST = 1_000_000  # characters of a configuration
MOST = 200_000  # values of a configuration
DEEPEST = 50  # levels of nested mappings and lists
LARGEST = 10**100  # largest whole number: larger than any count, and still finite as a float


class _Loader(yaml.SafeLoader):
    """A loader of plain values; dates are loaded as texts, as no option is a date."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same, ten times as fast; but it refuses escapes of bytes that are not UTF-8."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def read_yaml(text: str, aliases: int = 0) -> Any:
    """The plain values in a YAML text. Code in it is never run.

    Args:
        text: the content of the file.
        aliases: number of aliases it may have; each repeats another part of the text.

    Raises:
        ValueError: it is no YAML, contains other values, or unfolds to too much; the message is one
            line.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text)} characters")
    try:
        if "&" in text and (count := _count_aliases(text)) > aliases:
            raise ValueError(f"it has {count} YAML aliases, more than gan-train writes")
        content = yaml.load(text, _Loader if "\\u" in text else _FastLoader)
    except Exception as error:  # the constructors of YAML raise many types
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from None
    refuse_excess(content, MOST)
    return content


def _count_aliases(text: str) -> int:
    if "*" not in text:
        return 0
    return sum(isinstance(token, yaml.AliasToken) for token in yaml.scan(text))


def refuse_excess(content: Any, most: int, others: tuple[type, ...] = ()) -> None:
    """Raise ValueError unless values are plain, few and not nested too deeply.

    Args:
        content: numbers, texts, lists and mappings of them.
        most: maximum number of values, repeated ones counted every time.
        others: further types that are allowed.
    """
    pending, visited = [(content, 0)], 0
    while pending:
        node, depth = pending.pop()
        visited += 1
        if isinstance(node, others):
            continue

        if isinstance(node, Mapping | list | tuple):
            if depth >= DEEPEST:
                raise ValueError(f"it is nested more than {DEEPEST} deep")
            if visited + len(pending) + len(node) > most:
                raise ValueError(f"it unfolds to more than {most} values")
            pending += [(child, depth + 1) for child in _children(node)]
        elif not isinstance(node, bool | float | str | None) and not _is_whole(node):
            raise ValueError(f"it holds {type(node).__name__}")


def _children(node: Any) -> Iterable[Any]:
    return [*node.keys(), *node.values()] if isinstance(node, Mapping) else node


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number; a ValueError if it is too large."""
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"it holds a whole number of more than {LARGEST:.0e}")
    return isinstance(value, int)
