"""The components that a module registers, read from its source; nothing is run or imported."""

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
COMPUTED = object()  # a default that only the running program knows

PLUGINS: dict[str, Path] = {}
"""Modules outside the package whose components are known, and their files. Only a user adds one."""


# --- files ----------------------------------------------------------------------------------------


def found(module: str) -> Path | None:
    """The file of a module on the path.

    Its packages are looked up without being imported, as `importlib.util.find_spec` would.
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
    """The file of a module: the package's, a plug-in, or one beside it, named by its path."""
    if module in PLUGINS or module.endswith(".py"):
        return PLUGINS.get(module) or Path(module)
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"{module}: no such Python module.")
    return Path(spec.origin)


@functools.cache
def tree(module: str) -> ast.Module:
    """The module's source as a tree."""
    path = origin(module)
    if module.split(".")[0] == "gan_cli":
        return ast.parse(path.read_bytes())
    from gan_cli import files  # which --help need not wait for

    return ast.parse(files.read_bytes(path, files.SMALL))


def modules(where: str) -> list[str]:
    """A package's modules; or the module itself."""
    file = origin(where)
    if file.name != "__init__.py":
        return [where]
    return [f"{where}.{info.name}" for info in pkgutil.iter_modules([str(file.parent)])]


# --- what is registered ---------------------------------------------------------------------------

Definition = ast.ClassDef | ast.FunctionDef
Class = tuple[str, ast.ClassDef]  # and the module that it stands in
Seen = frozenset[tuple[str, str]]


def registered(module: str, variable: str) -> Iterator[tuple[str, Definition]]:
    """Names and definitions of all that a module registers in a registry.

    They are decorated by `@variable.register("name")` or `@registry.variable.register("name")`.
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
    """The imports of a module: local name, module, and name there (empty for a whole module)."""
    for node in tree(module).body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            where = "." * node.level + (node.module or "")
            for alias in node.names:
                yield alias.asname or alias.name, where, alias.name


def _readable(module: str, named: str) -> str | None:
    """The module that a name means within another one, if its source may be read.

    It may for the package's modules, plug-ins and files beside these. Others, such as torch's, have
    nothing that a configuration sets.
    """
    if named.split(".")[0] == "gan_cli" or named in PLUGINS:
        return named
    if module.split(".")[0] == "gan_cli":
        return None
    bare = named.lstrip(".")
    folder = origin(module).parent
    for _ in range(len(named) - len(bare) - 1):
        folder = folder.parent
    beside = [folder, *(path.parent for path in PLUGINS.values())]
    file = "/".join(bare.split(".")) + ".py"
    plugins = {path: name for name, path in PLUGINS.items()}
    return next(
        (plugins.get(at / file, str(at / file)) for at in beside if (at / file).is_file()), None
    )


def _find(
    module: str, dotted: str, before: float = float("inf"), seen: Seen = frozenset()
) -> Class | None:
    """The class that a name means in a module before a line; imports are followed."""
    if (module, dotted) in seen:  # modules that import each other
        return None
    seen |= {(module, dotted)}
    for node in tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == dotted and node.lineno < before:
            return module, node
    for name, where, which in _imports(module):
        if dotted == name or dotted.startswith(f"{name}."):
            rest = dotted[len(name) + 1 :]
            inner = where + ("" if where.endswith(".") else ".") + which if which else where
            for target, wanted in ((where, ".".join(filter(None, [which, rest]))), (inner, rest)):
                if (
                    wanted
                    and (place := _read(module, target))
                    and (result := _find(place, wanted, seen=seen))
                ):
                    return result
    return None


def _read(module: str, named: str) -> str | None:
    """As `_readable`, if its source can be parsed."""
    try:
        place = _readable(module, named)
        return place if place and tree(place) else None
    except (UserError, OSError, SyntaxError, ValueError, ImportError, RecursionError, MemoryError):
        return None


def _bases(module: str, node: Definition, seen: Seen) -> list[Class]:
    """The base classes whose source may be read, without those that led here."""
    if isinstance(node, ast.FunctionDef):
        return []
    names = [ast.unparse(base) for base in node.bases if isinstance(base, ast.Name | ast.Attribute)]
    found = [base for name in names if (base := _find(module, name, node.lineno))]
    return [(place, base) for place, base in found if (place, base.name) not in seen]


# --- what is said of it ---------------------------------------------------------------------------


def arguments(
    module: str, node: Definition, seen: Seen = frozenset()
) -> dict[str, tuple[Any, Any]]:
    """Hints and defaults of the arguments of a function or of a class's constructor.

    Under `**kwargs` those of the base classes count too.
    """
    if isinstance(node, ast.FunctionDef):
        return _signature(module, node)
    seen |= {(module, node.name)}
    init = next(
        (
            item
            for item in node.body
            if isinstance(item, ast.FunctionDef) and item.name == "__init__"
        ),
        None,
    )
    inherited: dict[str, tuple[Any, Any]] = {}
    if init is None or init.args.kwarg is not None:
        for base_module, base in _bases(module, node, seen):
            inherited |= arguments(base_module, base, seen)
    return inherited | (_signature(module, init) if init else {})


def docs(module: str, node: Definition, seen: Seen = frozenset()) -> dict[str, str]:
    """A sentence for each argument, from the docstrings of the class and of its bases."""
    seen |= {(module, node.name)}
    inherited = {
        name: sentence
        for base in _bases(module, node, seen)
        for name, sentence in docs(*base, seen).items()
    }
    return inherited | _described(node)


def summary(node: Definition) -> str:
    """The first paragraph of the docstring."""
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def _described(node: Definition) -> dict[str, str]:
    """A sentence for each argument in the section `Args:`; several arguments may share one."""
    text = ast.get_docstring(node) or ""
    section = re.search(r"^Args:\n((?: {4}.*\n?|\n)+)", text, re.MULTILINE)
    described: dict[str, str] = {}
    for entry in re.split(r"^ {4}(?=\w)", section[1] if section else "", flags=re.MULTILINE)[1:]:
        names, _, sentence = entry.partition(":")
        described |= dict.fromkeys(re.split(r",\s*", names), " ".join(sentence.split()))
    return described


def _signature(module: str, function: ast.FunctionDef) -> dict[str, tuple[Any, Any]]:
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
    """Names that a module assigns at its top level, with their values."""
    return {
        node.targets[0].id: node.value
        for node in tree(module).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def _literal(default: ast.expr | None) -> Any:
    try:
        return REQUIRED if default is None else ast.literal_eval(default)
    except (ValueError, TypeError, RecursionError):
        return COMPUTED


def _is_turn(method: ast.FunctionDef) -> bool:
    """Whether a method is a player's turn: decorated with `@player(...)`."""
    calls = [item.func for item in method.decorator_list if isinstance(item, ast.Call)]
    return any(ast.unparse(function).split(".")[-1] == "player" for function in calls)


def attributes(module: str, node: Definition, seen: Seen = frozenset()) -> dict[str, Any]:
    """Literal class attributes, inherited ones included, for what is decided before torch loads.

    `players` and `networks` are added: methods that are turns, and attributes that hold networks.
    """
    if isinstance(node, ast.FunctionDef):
        return {}
    seen |= {(module, node.name)}
    found: dict[str, Any] = {}
    for base_module, base in _bases(module, node, seen):
        found |= attributes(base_module, base, seen)
    methods = {item.name: _is_turn(item) for item in node.body if isinstance(item, ast.FunctionDef)}
    # a plain method of that name removes an inherited turn
    kept = [name for name in found.get("players", []) if methods.get(name, True)]
    found["players"] = [
        *kept,
        *(name for name, turn in methods.items() if turn and name not in kept),
    ]
    for item in node.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
        value = getattr(item, "value", None)
        if (
            isinstance(target, ast.Name)
            and isinstance(value, ast.expr)
            and (literal := _literal(value)) is not COMPUTED
        ):
            found[target.id] = literal
    # those of the bases too
    found["networks"] = list(dict.fromkeys([*found.get("networks", []), *found.get("roles", [])]))
    return found
