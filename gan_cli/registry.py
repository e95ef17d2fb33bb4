"""Registries: a YAML node `{name: wasserstein, ...}` becomes the component registered under that name.

A registry *checks* a node before anything is *built*, and checks without importing torch: it reads the
`@losses.register("...")` decorators, the constructors' hints and the literal class attributes from the
source. So a typo answers at once, a component that is not registered can never be built, and a file that
a stranger wrote cannot name code to run.

Hints of registered constructors may use builtins, `typing`, `annotated_types` and the aliases below.
"""

import ast
import builtins
import functools
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import annotated_types
from annotated_types import Ge, Gt, Le, Len, Lt

from gan_cli.docstrings import arguments, first_paragraph
from gan_cli.errors import UserError, closest

Count = Annotated[int, Ge(1)]
Depth = Annotated[int, Ge(1), Le(1000)]
Widths = Count | Annotated[list[Count], Len(1, 1000)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Ge(0), Le(1)]

REQUIRED = object()
COMPUTED = object()  # a default that only the running program knows
HINTS = {
    **vars(builtins),
    **vars(typing),
    **vars(annotated_types),
    "Count": Count,
    "Depth": Depth,
    "Widths": Widths,
    "Positive": Positive,
    "NonNegative": NonNegative,
    "Fraction": Fraction,
    "Share": Share,
}

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Component:
    """What the source says of a registered class or function: its arguments and its literal class attributes."""

    name: str
    module: str
    arguments: dict[str, tuple[Any, Any]]  # name -> (hint, default or REQUIRED)
    facts: dict[str, Any] = field(default_factory=dict)
    told: str = ""  # what it is, in a paragraph
    docs: dict[str, str] = field(default_factory=dict)  # and its arguments, in a sentence each


class Registry:
    """Name -> component, for one group of the configuration.

    Args:
        group: the configuration group, used in messages.
        variable: the name this registry has in this module, as the decorators write it.
        where: the package or module whose source holds the components.
        offers: arguments that the program fills in by name; the configuration may not set them.
        law: the module whose `check(component, name)` refuses what is built and breaks the group's rules.
    """

    def __init__(
        self, group: str, variable: str, where: str, offers: tuple[str, ...] = (), law: str | None = None
    ) -> None:
        self.group, self.variable, self.where, self.offers, self.law = group, variable, where, offers, law
        self._built: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: make a class or function the component called `name`."""

        def remember(component: T) -> T:
            if name in self._built and self._built[name].__qualname__ != component.__qualname__:
                raise UserError(f"{self.group}: two components are registered as {name!r}; rename one.")
            self._built[name] = component
            return component

        return remember

    @property
    def components(self) -> dict[str, Component]:
        """Every component of this registry, plug-ins included, read from the source without importing it."""
        found: dict[str, Component] = {}
        for module in [*_modules(self.where), *PLUGINS]:
            found |= self._scan(module)
        return found

    @functools.cache  # noqa: B019 - registries live as long as the program
    def _scan(self, module: str) -> dict[str, Component]:
        found = {}
        for node in _source(module).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                for name in _registered_names(node, self.variable):
                    found[name] = Component(
                        name, module, _arguments(module, node), _facts(module, node), first_paragraph(node),
                        _docs(module, node),
                    )  # fmt: skip
        return found

    def component(self, name: str, path: str) -> Component:
        """The component called `name`. Raises UserError with the closest match for an unknown name."""
        if name not in self.components:
            known = ", ".join(sorted(self.components))
            raise UserError(f"{path}.name={name}: not registered{closest(name, self.components)}; known are {known}.")
        return self.components[name]

    def settable(self, name: str, path: str) -> dict[str, tuple[Any, Any]]:
        """The arguments of component `name` that the configuration may set."""
        component = self.component(name, path)
        offered = {*self.offers, *component.facts.get("networks", ())}
        return {key: spec for key, spec in component.arguments.items() if key not in offered}

    def check(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The node's arguments, converted to their hints. Raises UserError for anything unknown or out of range."""
        name = node.get("name")
        if not isinstance(name, str):
            raise UserError(f"{path}: needs `name:`, one of {', '.join(sorted(self.components))}.")
        settings = {key: value for key, value in node.items() if key != "name"}
        return validate(settings, self.settable(name, path), path, f"{self.group}={name}")

    def settle(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The checked node with every default written out: what is run and saved does not hang on this version."""
        checked = self.check(node, path)
        return {"name": node["name"], **self.usual(node["name"]), **_plain(checked)}

    def usual(self, name: str) -> dict[str, Any]:
        """The defaults of component `name`, where its options have one."""
        arguments = self.settable(name, self.group)
        return _plain({key: value for key, (_, value) in arguments.items() if value not in (REQUIRED, COMPUTED)})

    def build(self, node: Mapping[str, Any], path: str, **offered: Any) -> Any:
        """The component that `node` describes, built from its checked arguments and what the program offers."""
        arguments = self.check(node, path)
        component = self.component(node["name"], path)
        wanted = {key: value for key, value in offered.items() if key in component.arguments}
        built = self.loaded(component.name, path)(**arguments, **wanted)
        if self.law:
            importlib.import_module(self.law).check(built, component.name)
        return built

    def loaded(self, name: str, path: str) -> Any:
        """The registered class or function itself."""
        _load(self.component(name, path).module)
        return self._built[name]


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples as lists, as YAML has them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}


def validate(settings: Mapping[str, Any], arguments: Mapping[str, tuple[Any, Any]], path: str, owner: str) -> dict:
    """`settings` with the types that `arguments` ask for; defaults are left to the constructor."""
    from pydantic import ConfigDict, ValidationError, create_model

    for key in settings:
        if key not in arguments:
            known = ", ".join(sorted(arguments)) or "none"
            raise UserError(
                f"{path}.{key}={settings[key]}: {owner} has no such option"
                f"{closest(key, arguments)}; its options are {known}."
            )
        if isinstance(settings[key], bool) and not _takes_truth(arguments[key][0]):  # pydantic would read it as 1
            raise UserError(f"{path}.{key}={settings[key]}: not a truth value.")
    fields: dict[str, Any] = {
        key: (hint, ... if default is REQUIRED else default) for key, (hint, default) in arguments.items()
    }
    strictness = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)
    model = create_model("Settings", __config__=strictness, **fields)
    try:
        checked = model.model_validate(dict(settings))
    except ValidationError as error:
        first = max(error.errors(), key=lambda told: len(told["loc"]))  # of a union, the branch that came farthest
        place = ".".join([path, *_steps(first["loc"], settings)])
        if first["type"] == "missing":
            raise UserError(f"{place}: missing; add {place}=VALUE.") from None
        raise UserError(f"{place}={first['input']}: {_lower(first['msg'])}.") from None
    return {key: getattr(checked, key) for key in settings}


def _steps(location: tuple[int | str, ...], settings: Any) -> list[str]:
    """The way to a setting that pydantic complains of, without the branches of unions, which nobody has typed."""
    way: list[str] = []
    for part in location:
        try:
            settings = settings[part]
        except (KeyError, IndexError, TypeError):
            if way:
                continue
        way.append(str(part))
    return way


def _takes_truth(hint: Any) -> bool:
    return hint in (Any, bool) or any(_takes_truth(part) for part in typing.get_args(hint))


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


# --- plug-ins -------------------------------------------------------------------------------------------------------

PLUGINS: dict[str, Path] = {}
"""Modules outside the package whose components count, and their files. Only the command line puts one here."""


def add_plugin(named: str) -> None:
    """Let the components of a module on the path, or of a .py file, be found. It is imported when one is built.

    Raises:
        UserError: there is no such module or file, or it is not Python.
    """
    file = Path(named)
    try:
        spec = None if named.endswith(".py") else importlib.util.find_spec(named)
    except Exception:  # of a.b, the package a is imported to find b: whatever that raises
        spec = None
    path = file.resolve() if named.endswith(".py") else Path(spec.origin) if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError(f"plugins={named}: no such module on the path, and no such .py file.")
    known = hashlib.sha256(str(path).encode()).hexdigest()[:8]  # two files may have the same name
    module = f"gan_plugin_{file.stem}_{known}" if named.endswith(".py") else named
    if PLUGINS.get(module) == path:
        return
    PLUGINS[module] = path
    try:
        _source(module)
    except (SyntaxError, UnicodeDecodeError) as error:
        del PLUGINS[module]
        raise UserError(f"plugins={named}: not readable as Python ({error}).") from None


def _load(module: str) -> None:
    """Import the module of a component, so that it registers what it defines."""
    if module not in PLUGINS or module in sys.modules:
        importlib.import_module(module)
        return
    spec = importlib.util.spec_from_file_location(module, PLUGINS[module])
    assert spec is not None and spec.loader is not None
    sys.modules[module] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[module])
    except BaseException:
        del sys.modules[module]
        raise


# --- reading the source ---------------------------------------------------------------------------------------------


@functools.cache
def _origin(module: str) -> Path:
    if module in PLUGINS:
        return PLUGINS[module]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"{module}: no such Python module.")
    return Path(spec.origin)


@functools.cache
def _source(module: str) -> ast.Module:
    return ast.parse(_origin(module).read_text(encoding="utf-8"))


def _modules(where: str) -> list[str]:
    origin = _origin(where)
    if origin.name != "__init__.py":
        return [where]
    return [f"{where}.{info.name}" for info in pkgutil.iter_modules([str(origin.parent)])]


def _registered_names(node: ast.ClassDef | ast.FunctionDef, variable: str) -> list[str]:
    return [
        call.args[0].value
        for call in node.decorator_list
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "register"
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == variable
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    ]


def _find(module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """The class that `name` means in `module`, followed through `from gan_cli.x import name`."""
    for node in _source(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gan_cli"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(str(node.module), alias.name)
    return None


def _bases(module: str, node: ast.ClassDef) -> list[tuple[str, ast.ClassDef]]:
    names = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return [found for name in names if (found := _find(module, name))]


def _arguments(module: str, node: ast.ClassDef | ast.FunctionDef) -> dict[str, tuple[Any, Any]]:
    """Arguments of a function or of a class's constructor; `**kwargs` stands for those of the base class."""
    if isinstance(node, ast.FunctionDef):
        return _signature(node)
    init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    inherited: dict[str, tuple[Any, Any]] = {}
    if init is None or init.args.kwarg is not None:
        for base_module, base in _bases(module, node):
            inherited |= _arguments(base_module, base)
    return inherited | (_signature(init) if init else {})


def _docs(module: str, node: ast.ClassDef | ast.FunctionDef) -> dict[str, str]:
    """What the docstrings say of the arguments, those of the base classes included."""
    bases = _bases(module, node) if isinstance(node, ast.ClassDef) else []
    inherited = {name: said for base in bases for name, said in _docs(*base).items()}
    return inherited | arguments(node)


def _signature(function: ast.FunctionDef) -> dict[str, tuple[Any, Any]]:
    positional = [*function.args.posonlyargs, *function.args.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(function.args.defaults))
    defaults = [*missing, *function.args.defaults, *function.args.kw_defaults]
    pairs = zip([*positional, *function.args.kwonlyargs], defaults, strict=True)
    return {argument.arg: (_hint(argument), _literal(default)) for argument, default in pairs if argument.arg != "self"}


def _hint(argument: ast.arg) -> Any:
    if argument.annotation is None:
        return Any
    try:
        return eval(ast.unparse(argument.annotation), dict(HINTS))
    except (NameError, AttributeError):  # an offered object, such as a network: never read from a configuration
        return Any


def _literal(default: ast.expr | None) -> Any:
    try:
        return REQUIRED if default is None else ast.literal_eval(default)
    except ValueError:
        return COMPUTED


def _is_turn(method: ast.FunctionDef) -> bool:
    """Whether a method is a player's turn: decorated with `@player(...)`."""
    calls = [item.func for item in method.decorator_list if isinstance(item, ast.Call)]
    return any(isinstance(function, ast.Name) and function.id == "player" for function in calls)


def _facts(module: str, node: ast.ClassDef | ast.FunctionDef) -> dict[str, Any]:
    """Literal class attributes, inherited ones included: what guards and `auto` may know before torch loads."""
    if isinstance(node, ast.FunctionDef):
        return {}
    facts: dict[str, Any] = {}
    for base_module, base in _bases(module, node):
        facts |= _facts(base_module, base)
    methods = {item.name: _is_turn(item) for item in node.body if isinstance(item, ast.FunctionDef)}
    kept = [name for name in facts.get("players", []) if methods.get(name, True)]  # a plain method takes a turn out
    facts["players"] = [*kept, *(name for name, turn in methods.items() if turn and name not in kept)]
    for item in node.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
        value = getattr(item, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            try:
                facts[target.id] = ast.literal_eval(value)
            except ValueError:
                continue
    facts["networks"] = list(dict.fromkeys([*facts.get("networks", []), *facts.get("roles", [])]))  # bases' ones too
    return facts


# --- the groups -----------------------------------------------------------------------------------------------------
# What each group is offered is listed here and nowhere else.

games = Registry("model", "games", "gan_cli.games", offers=("loss", "regularizer", "augmentation", "spec"))
networks = Registry("network", "networks", "gan_cli.networks", offers=("shape", "latent", "bounded", "outputs"))
losses = Registry("loss", "losses", "gan_cli.losses")
regularizers = Registry("regularizer", "regularizers", "gan_cli.regularizers")
augmentations = Registry("augmentation", "augmentations", "gan_cli.augmentations")
datasets = Registry("data", "datasets", "gan_cli.data", law="gan_cli.data.law")
optimizers = Registry("optimizer", "optimizers", "gan_cli.optimizers", offers=("parameters",))
schedules = Registry("schedule", "schedules", "gan_cli.optimizers", offers=("optimizer",))
figures = Registry("figures", "figures", "gan_cli.figures", offers=("trainer", "dataset", "rows"))
metrics = Registry("metrics", "metrics", "gan_cli.metrics", offers=("dataset", "device"))
