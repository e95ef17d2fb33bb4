"""Static analysis of the source of components; no code of it is executed or imported."""

import ast
import functools
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gan_cli import hints
from gan_cli.errors import UserError

REQUIRED = object()
"""Marker for an argument without a default."""
COMPUTED = object()
"""Marker for a default that is not a literal, whose value is unknown before the import."""

PLUGINS: dict[str, Path] = {}
"""Files of the plug-ins by module name; only the command line adds plug-ins."""


# --- files ----------------------------------------------------------------------------------------


def located(module: str) -> Path | None:
    """File of a module on the import path, or None.

    In contrast to `importlib.util.find_spec`, this does not import the parent packages.
    """
    places: Any = None
    for i, _ in enumerate(parts := module.split("."), 1):
        name = ".".join(parts[:i])
        finders = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
        spec = next((spec for finder in finders if (spec := finder.find_spec(name, places))), None)
        if spec is None:
            return None

        places = spec.submodule_search_locations
        if places is None and i < len(parts):
            return None

    return Path(spec.origin) if spec and spec.origin else None


@functools.cache
def origin(module: str) -> Path:
    """File of a module of this package, of a plug-in, or of a path to a file beside a plug-in."""
    if module in PLUGINS or module.endswith(".py"):
        return PLUGINS.get(module) or Path(module)
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"{module}: no such Python module.")
    return Path(spec.origin)


@functools.cache
def tree(module: str) -> ast.Module:
    """Syntax tree of a module."""
    path = origin(module)
    if module.split(".")[0] == "gan_cli":
        return ast.parse(path.read_bytes())
    from gan_cli import files  # not needed by --help

    return ast.parse(files.read_bytes(path, files.SMALL))


def modules(where: str) -> list[str]:
    """Names of the modules of a package, or the name of the module itself."""
    file = origin(where)
    if file.name != "__init__.py":
        return [where]
    return [f"{where}.{info.name}" for info in pkgutil.iter_modules([str(file.parent)])]


# --- registered classes and their bases -----------------------------------------------------------

Definition = ast.ClassDef | ast.FunctionDef
Class = tuple[str, ast.ClassDef]
"""Module of a class, and its definition."""
Seen = frozenset[tuple[str, str]]
"""Modules and names on the current path of a search, for the detection of cycles."""


def registered(module: str, variable: str) -> Iterator[tuple[str, Definition]]:
    """Names and definitions decorated with `@variable.register("name")` in a module.

    The form `@registry.variable.register("name")` is recognised too.
    """
    for node in tree(module).body:
        for call in node.decorator_list if isinstance(node, Definition) else []:
            match call:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id=known) | ast.Attribute(attr=known), attr="register"
                    ),
                    args=[ast.Constant(value=str(name))],
                ) if known == variable and isinstance(node, Definition):
                    yield name, node


def _imports(module: str) -> Iterator[tuple[str, str, str]]:
    """Imports of a module: local name, imported module, name in it (empty for a module)."""
    for node in tree(module).body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            where = "." * node.level + (node.module or "")
            for alias in node.names:
                yield alias.asname or alias.name, where, alias.name


def _local_module(module: str, named: str) -> str | None:
    """Imported module, if it belongs to this package, is a plug-in or is beside a plug-in.

    Other modules, such as those of torch, define no options of a configuration.
    """
    if named.split(".")[0] == "gan_cli" or named in PLUGINS:
        return named
    if module.split(".")[0] == "gan_cli":
        return None

    bare = named.lstrip(".")
    folder = origin(module).parent
    for _ in range(len(named) - len(bare) - 1):
        folder = folder.parent

    folders = [folder, *(path.parent for path in PLUGINS.values())]
    paths = [place / (bare.replace(".", "/") + ".py") for place in folders]
    plugins = {path: name for name, path in PLUGINS.items()}
    return next((plugins.get(path, str(path)) for path in paths if path.is_file()), None)


def _find_class(
    module: str, dotted: str, before: float = float("inf"), seen: Seen = frozenset()
) -> Class | None:
    """Class with a dotted name in a module, resolved through imports, or None.

    Args:
        before: line above which the class must be defined, if it is defined in the module itself.
        seen: modules and names that are being resolved.
    """
    if (module, dotted) in seen:  # circular imports
        return None

    seen |= {(module, dotted)}
    for node in tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == dotted and node.lineno < before:
            return module, node

    for target, name in _candidates(module, dotted):
        if (place := _parsable_module(module, target)) and (
            result := _find_class(place, name, seen=seen)
        ):
            return result
    return None


def _candidates(module: str, dotted: str) -> Iterator[tuple[str, str]]:
    """Candidates for a dotted name by the imports of a module: modules and names in them."""
    for name, where, which in _imports(module):
        if dotted != name and not dotted.startswith(f"{name}."):
            continue
        rest = dotted[len(name) + 1 :]
        if member := ".".join(filter(None, [which, rest])):
            yield where, member
        if rest and which:  # `from where import which`, where `which` is a module
            yield where + ("" if where.endswith(".") else ".") + which, rest


def _parsable_module(module: str, named: str) -> str | None:
    """Imported module as in `_local_module`, if it can be parsed, or None."""
    try:
        place = _local_module(module, named)
        return place if place and tree(place) else None
    except (UserError, OSError, SyntaxError, ValueError, ImportError, RecursionError, MemoryError):
        return None


def _bases(module: str, node: Definition, seen: Seen) -> list[Class]:
    """Base classes whose source is available, without those on the current path of the search."""
    if isinstance(node, ast.FunctionDef):
        return []
    names = [ast.unparse(base) for base in node.bases if isinstance(base, ast.Name | ast.Attribute)]
    bases = [base for name in names if (base := _find_class(module, name, node.lineno))]
    return [(place, base) for place, base in bases if (place, base.name) not in seen]


def lineage(module: str, node: Definition, seen: Seen = frozenset()) -> list[Class]:
    """A class and those it inherits from, in the order in which Python looks members up; none for a
    function."""
    if isinstance(node, ast.FunctionDef):
        return []
    seen |= {(module, node.name)}
    bases = _bases(module, node, seen)
    return [(module, node), *_merged([*(lineage(*base, seen) for base in bases), bases])]


def _merged(orders: list[list[Class]]) -> list[Class]:
    """One order that keeps all of them, by Python's rule: no class before one that inherits it.

    Where there is none, which Python refuses at the import, the first order comes first.
    """
    result: list[Class] = []
    while orders := [order for order in orders if order]:
        later = [item for order in orders for item in order[1:]]
        heads = [order[0] for order in orders]
        found = next((item for item in heads if item not in later), heads[0])
        result.append(found)
        orders = [[item for item in order if item != found] for order in orders]
    return result


# --- arguments and attributes ---------------------------------------------------------------------


def arguments(module: str, node: Definition) -> dict[str, tuple[Any, Any]]:
    """Type and default of each argument of a function or of the constructor of a class.

    A constructor with `**kwargs` inherits the arguments of the base classes.
    """
    if isinstance(node, ast.FunctionDef):
        return _signature(module, node)

    found: list[dict[str, tuple[Any, Any]]] = []
    for place, cls in lineage(module, node):
        methods = (item for item in cls.body if isinstance(item, ast.FunctionDef))
        init = next((item for item in methods if item.name == "__init__"), None)
        if init is None:
            continue
        found.append(_signature(place, init))
        if init.args.kwarg is None:
            break
    return {key: spec for signature in reversed(found) for key, spec in signature.items()}


def _signature(module: str, function: ast.FunctionDef) -> dict[str, tuple[Any, Any]]:
    """Type and default of each argument of a function, without `self`."""
    positional = [*function.args.posonlyargs, *function.args.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(function.args.defaults))
    defaults = [*missing, *function.args.defaults, *function.args.kw_defaults]

    pairs = zip([*positional, *function.args.kwonlyargs], defaults, strict=True)
    own = _assigned(module)
    return {
        argument.arg: (hints.meaning(argument.annotation, own), _literal(default))
        for argument, default in pairs
        if argument.arg != "self"
    }


@functools.cache
def _assigned(module: str) -> dict[str, ast.expr]:
    """Top-level assignments to single names in a module."""
    return {
        node.targets[0].id: node.value
        for node in tree(module).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def _literal(default: ast.expr | None) -> Any:
    """Value of a literal; REQUIRED if there is no expression, COMPUTED if it is not a literal."""
    try:
        return REQUIRED if default is None else ast.literal_eval(default)
    except (ValueError, TypeError, RecursionError):
        return COMPUTED


def _is_player(method: ast.FunctionDef) -> bool:
    """Whether a method is decorated with `@player(...)`."""
    calls = [item.func for item in method.decorator_list if isinstance(item, ast.Call)]
    return any(ast.unparse(function).split(".")[-1] == "player" for function in calls)


def attributes(module: str, node: Definition) -> dict[str, Any]:
    """Literal class attributes, including inherited ones.

    In addition, `players` lists the methods decorated with `@player(...)`, and `networks` the names
    in `roles`.
    """
    result: dict[str, Any] = {}
    for _, cls in reversed(lineage(module, node)):
        result["players"] = _players(cls, result.get("players", []))
        result |= _literals(cls)
        roles = [*result.get("networks", []), *result.get("roles", [])]  # inherited roles first
        result["networks"] = list(dict.fromkeys(roles))
    return result


def _players(node: ast.ClassDef, inherited: list[str]) -> list[str]:
    """Players of a game; overriding a method without `@player` removes an inherited player."""
    methods = {
        item.name: _is_player(item) for item in node.body if isinstance(item, ast.FunctionDef)
    }
    remaining = [name for name in inherited if methods.get(name, True)]
    return [*remaining, *(name for name, turn in methods.items() if turn and name not in remaining)]


def _literals(node: ast.ClassDef) -> dict[str, Any]:
    """Attributes assigned to literals in the body of a class."""
    result: dict[str, Any] = {}
    for item in node.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
        value = getattr(item, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            literal = _literal(value)
            if literal is not COMPUTED:
                result[target.id] = literal
    return result


# --- docstrings -----------------------------------------------------------------------------------


def summary(node: Definition) -> str:
    """First paragraph of a docstring."""
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def docs(module: str, node: Definition) -> dict[str, str]:
    """Description of each argument in the docstrings of a class and of its base classes."""
    if isinstance(node, ast.FunctionDef):
        return documented(node)
    result: dict[str, str] = {}
    for _, cls in reversed(lineage(module, node)):
        result |= documented(cls)
    return result


def documented(node: Definition) -> dict[str, str]:
    """Description of each argument in the section `Args:`; arguments may share a description."""
    section = re.search(r"^Args:\n((?: {4}.*\n?|\n)+)", ast.get_docstring(node) or "", re.MULTILINE)
    entries = re.split(r"^ {4}(?=\w)", section[1] if section else "", flags=re.MULTILINE)[1:]
    result: dict[str, str] = {}
    for entry in entries:
        names, _, sentence = entry.partition(":")
        result |= dict.fromkeys(re.split(r",\s*", names), " ".join(sentence.split()))
    return result
