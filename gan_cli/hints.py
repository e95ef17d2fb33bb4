"""Evaluation of type hints from their syntax trees, without executing code.

Names are resolved only from closed tables: builtins, `typing`, `annotated_types`, the aliases
below, and top-level assignments of the module itself. A hint with any other name becomes `Any`.
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
"""Constraints that a hint may contain, with literal arguments."""


class _UnknownError(Exception):
    """Name or expression outside the tables, such as the class of a network."""


def meaning(hint: ast.expr | None, own: Mapping[str, ast.expr]) -> Any:
    """Type of a hint, or `Any` if it cannot be resolved from the tables.

    Args:
        own: top-level assignments of the module, by name.
    """
    try:
        return Any if hint is None else _Evaluator(own).type(hint)
    except (_UnknownError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return Any


class _Evaluator:
    """Evaluator of a hint.

    Args:
        own: top-level assignments of the module, by name.
    """

    def __init__(self, own: Mapping[str, ast.expr]) -> None:
        self.own = own
        self.resolving = set[str]()

    def type(self, node: ast.expr) -> Any:
        """Type of an expression.

        Raises:
            _UnknownError: a name is not in the tables.
        """
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
        """Type of a name, from the module (unless the name is defined by itself) or the table."""
        if name in self.own and name not in self.resolving:
            self.resolving.add(name)
            own = self.type(self.own[name])
            self.resolving.remove(name)
            return own

        if name not in TYPES:
            raise _UnknownError
        return TYPES[name]

    def _subscripted(self, kind: Any, inside: ast.expr) -> Any:
        """Type `kind[inside]`."""
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
        """Constraint for a call such as `Ge(1)`, or None for any other metadata."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
            return None
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        if name not in LIMITS:
            return None
        named = {item.arg: ast.literal_eval(item.value) for item in node.keywords if item.arg}
        return LIMITS[name](*map(ast.literal_eval, node.args), **named)
