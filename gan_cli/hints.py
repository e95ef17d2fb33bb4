"""Types of the hints of registered constructors, from the source: no code of it is run.

All names come from closed tables: builtins, `typing`, `annotated_types`, the aliases below, and
names that the module itself assigns to such. A hint with another name means `Any`.
"""

import ast
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import annotated_types
from annotated_types import Ge, Gt, Le, Len, Lt

Count = Annotated[int, Ge(1)]
Depth = Annotated[int, Ge(1), Le(1000)]
Widths = Count | Annotated[list[Count], Len(1, 1000)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Ge(0), Le(1)]

TYPES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (bool, bytes, dict, float, frozenset, int, list, object, set,
    str, tuple)},
    **{name: getattr(typing, name) for name in typing.__all__},
    "Count": Count, "Depth": Depth, "Widths": Widths, "Positive": Positive,
    "NonNegative": NonNegative,
    "Fraction": Fraction, "Share": Share,
}  # fmt: skip
LIMITS = {
    name: getattr(annotated_types, name)
    for name in ("Ge", "Gt", "Interval", "Le", "Len", "Lt", "MaxLen", "MinLen", "MultipleOf")
}
"""Constraints, which a hint may call with literal arguments."""


class _UnknownError(Exception):
    """A hint that is not made of the tables: that of an offered object, such as a network."""


def meaning(hint: ast.expr | None, own: Mapping[str, ast.expr]) -> Any:
    """The type of a hint; `Any` where it is none that a configuration can set.

    Args:
        own: the assignments at the top level of the module.
    """
    try:
        return Any if hint is None else _Reader(own).type(hint)
    except (_UnknownError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return Any


class _Reader:
    """A reader of hints, which knows the names that it is resolving."""

    def __init__(self, own: Mapping[str, ast.expr]) -> None:
        self.own, self.inside = own, set[str]()

    def type(self, node: ast.expr) -> Any:
        """The type of an expression. Raises _UnknownError."""
        match node:
            case ast.Constant(value=str(text)):
                return self.type(ast.parse(text, mode="eval").body)
            case ast.Constant(value=value) if value is None or value is ...:
                return value
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self.type(left) | self.type(right)
            case ast.Subscript(value=value, slice=inside):
                return self._subscripted(self.type(value), inside)
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return self._named(name)
        raise _UnknownError

    def _named(self, name: str) -> Any:
        """The type of a name: the module's own, unless that refers to itself, or the table's."""
        if name in self.own and name not in self.inside:
            self.inside.add(name)
            own = self.type(self.own[name])
            self.inside.remove(name)
            return own

        if name not in TYPES:
            raise _UnknownError
        return TYPES[name]

    def _subscripted(self, kind: Any, inside: ast.expr) -> Any:
        """The type `kind[inside]`."""
        parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
        if kind is Literal:
            return Literal[tuple(map(ast.literal_eval, parts))]
        if kind is Annotated:
            limits = [limit for part in parts[1:] if (limit := self._limit(part)) is not None]
            return Annotated[(self.type(parts[0]), *limits)] if limits else self.type(parts[0])
        return kind[
            tuple(map(self.type, parts)) if isinstance(inside, ast.Tuple) else self.type(inside)
        ]

    def _limit(self, node: ast.expr) -> Any:
        """The constraint of a call such as `Ge(1)`, or None."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
            return None
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        if name not in LIMITS:
            return None
        named = {item.arg: ast.literal_eval(item.value) for item in node.keywords if item.arg}
        return LIMITS[name](*map(ast.literal_eval, node.args), **named)
