"""Registries: a YAML node `{name: wasserstein, ...}` becomes the component registered under that
name.

A registry *checks* a node before anything is *built*, and checks without importing torch: it reads
the `@losses.register("...")` decorators, the constructors' hints and the literal class attributes
from the source. So a typo answers at once, a component that is not registered can never be built,
and a file that a stranger wrote cannot name code to run.
"""

import functools
import hashlib
import importlib
import importlib.util
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any, TypeVar

from gan_cli import source
from gan_cli.errors import UserError, closest
from gan_cli.hints import Count, Depth, Fraction, NonNegative, Positive, Share, Widths
from gan_cli.source import COMPUTED, PLUGINS, REQUIRED

__all__ = [
    "COMPUTED", "PLUGINS", "REQUIRED", "Component", "Count", "Depth", "Fraction", "NonNegative",
    "Positive", "Registry",
    "Share", "Widths", "add_plugin", "augmentations", "datasets", "figures", "games", "losses",
    "metrics", "networks",
    "optimizers", "regularizers", "schedules", "validate",
]  # fmt: skip

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Component:
    """A registered class or function, as its source describes it."""

    name: str
    module: str
    arguments: dict[str, tuple[Any, Any]]  # name -> (hint, default or REQUIRED)
    attributes: dict[str, Any] = field(default_factory=dict)  # literal class attributes
    summary: str = ""  # the first paragraph of its docstring
    docs: dict[str, str] = field(default_factory=dict)  # a sentence for each argument


class Registry:
    """Name -> component, for one group of the configuration.

    Args:
        group: the configuration group, used in messages.
        variable: the name this registry has in this module, as the decorators write it.
        where: the package or module whose source holds the components.
        offers: arguments that the program fills in by name; the configuration may not set them.
        base: the class that components of the group are derived from.
        needs: class attributes that each must have as literals, and their types.
        law: the module whose `check(component, name)` refuses what is built and breaks the group's
            rules.
    """

    def __init__(
        self,
        group: str,
        variable: str,
        where: str,
        offers: tuple[str, ...] = (),
        base: str = "",
        needs: Mapping[str, Any] | None = None,
        law: str | None = None,
    ) -> None:
        self.group, self.variable, self.where, self.offers = group, variable, where, offers
        self.base, self.needs, self.law = base, needs or {}, law
        self._built: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: make a class or function the component called `name`."""

        def remember(component: T) -> T:
            if name in self._built and self._built[name].__qualname__ != component.__qualname__:
                raise UserError(
                    f"{self.group}: two components are registered as {name!r}; rename one."
                )
            self._built[name] = component
            return component

        return remember

    @property
    def components(self) -> dict[str, Component]:
        """Every component of this registry by name, plug-ins included.

        They are read from the source; nothing is imported.
        """
        return self._components(tuple(PLUGINS))

    @functools.cache  # noqa: B019 - registries live as long as the program
    def _components(self, plugins: tuple[str, ...]) -> dict[str, Component]:
        """The components under these plug-ins; a later plug-in may replace one of the package."""
        components: dict[str, Component] = {}
        for module in [*source.modules(self.where), *plugins]:
            components |= self._scan(module)
        return components

    @functools.cache  # noqa: B019 - registries live as long as the program
    def _scan(self, module: str) -> dict[str, Component]:
        return {
            name: Component(
                name,
                module,
                source.arguments(module, node),
                source.attributes(module, node),
                source.summary(node),
                source.docs(module, node),
            )
            for name, node in source.registered(module, self.variable)
        }

    def component(self, name: str, path: str) -> Component:
        """The component called `name`. Raises UserError with the closest match for another."""
        if name not in self.components:
            known = ", ".join(sorted(self.components))
            raise UserError(
                f"{path}.name={name}: not registered{closest(name, self.components)}; "
                f"known are {known}."
            )
        return self.components[name]

    def attributes(self, name: str, path: str) -> dict[str, Any]:
        """The literal class attributes of component `name`.

        Raises:
            UserError: one that the program reads is missing, or of another type.
        """
        attributes = self.component(name, path).attributes
        for key, kind in self.needs.items():
            if not isinstance(attributes.get(key), kind):
                actual = f"{key} = {attributes[key]!r}" if key in attributes else f"no {key}"
                raise UserError(
                    f"{path}={name}: its class says {actual}; it needs a literal "
                    f"{getattr(kind, '__name__', kind)}, of its own or of its base class "
                    f"({self.base})."
                )
        return attributes

    def options(self, name: str, path: str) -> dict[str, tuple[Any, Any]]:
        """The arguments of component `name` that the configuration may set."""
        component = self.component(name, path)
        offered = {*self.offers, *component.attributes.get("networks", ())}
        return {key: spec for key, spec in component.arguments.items() if key not in offered}

    def check(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The arguments of a node, converted to their hints.

        Raises:
            UserError: one is unknown, of another type, or out of range.
        """
        name = node.get("name")
        if not isinstance(name, str):
            raise UserError(f"{path}: needs `name:`, one of {', '.join(sorted(self.components))}.")
        settings = {key: value for key, value in node.items() if key != "name"}
        return validate(settings, self.options(name, path), path, f"{self.group}={name}")

    def with_defaults(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The checked node with all defaults, so that a saved one does not depend on a version."""
        checked = self.check(node, path)
        return {"name": node["name"], **self.defaults(node["name"]), **_plain(checked)}

    def defaults(self, name: str) -> dict[str, Any]:
        """The defaults of component `name`, where its options have one."""
        arguments = self.options(name, self.group)
        return _plain(
            {
                key: value
                for key, (_, value) in arguments.items()
                if value not in (REQUIRED, COMPUTED)
            }
        )

    def build(self, node: Mapping[str, Any], path: str, **offered: Any) -> Any:
        """The component that a node describes.

        Args:
            offered: arguments that the program fills in, where the component takes them.
        """
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
        if name not in self._built:
            raise UserError(
                f"{path}.name={name}: its source names it, but the module does not register it; "
                "start anew."
            )
        return self._built[name]


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples as lists, as YAML has them."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()
    }


def validate(
    settings: Mapping[str, Any], arguments: Mapping[str, tuple[Any, Any]], path: str, owner: str
) -> dict:
    """`settings` with the types that `arguments` ask for; defaults are left to the constructor."""
    from pydantic import ConfigDict, Field, ValidationError, create_model
    from pydantic.errors import PydanticUserError

    for key in settings:
        if key not in arguments:
            known = ", ".join(sorted(arguments)) or "none"
            raise UserError(
                f"{path}.{key}={settings[key]}: {owner} has no such option"
                f"{closest(key, arguments)}; its options are {known}."
            )
        # pydantic would read it as 1
        if isinstance(settings[key], bool) and not _takes_truth(arguments[key][0]):
            raise UserError(f"{path}.{key}={settings[key]}: not a truth value.")
    # under names of our own: some, such as `_a` or `schema`, cannot be a model's fields
    fields: dict[str, Any] = {
        f"option_{i}": (hint, Field(... if default is REQUIRED else default, alias=key))
        for i, (key, (hint, default)) in enumerate(arguments.items())
    }
    strictness = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)
    try:
        checked = create_model("Settings", __config__=strictness, **fields).model_validate(
            dict(settings)
        )
    except ValidationError as error:
        # of a union, the branch that came farthest
        first = max(error.errors(), key=lambda told: len(told["loc"]))
        place = ".".join([path, *_steps(first["loc"], settings)])
        if first["type"] == "missing":
            raise UserError(f"{place}: missing; add {place}=VALUE.") from None
        raise UserError(f"{place}={first['input']}: {_lower(first['msg'])}.") from None
    except (PydanticUserError, TypeError) as error:  # such as a length of a number
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path}: the hints of {owner} cannot be checked ({reason}); mend the plug-in."
        ) from None
    return {
        key: getattr(checked, f"option_{i}") for i, key in enumerate(arguments) if key in settings
    }


def _steps(location: tuple[int | str, ...], settings: Any) -> list[str]:
    """The way to a setting that pydantic complains of, without the branches of unions, which nobody
    has typed."""
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


# --- plug-ins -------------------------------------------------------------------------------------


def add_plugin(named: str) -> None:
    """Let the components of a module on the path, or of a .py file, be found. It is imported when
    one is built.

    Raises:
        UserError: there is no such module or file, or it is not Python.
    """
    file = Path(named)
    try:
        path = file.resolve() if named.endswith(".py") else source.found(named)
        missing = path is None or not path.is_file()
    except (OSError, ValueError, ImportError):
        missing = True
    if missing or path is None:
        raise UserError(f"plugins={named}: no such module on the path, and no such .py file.")
    known = hashlib.sha256(str(path).encode()).hexdigest()[:8]  # two files may have the same name
    module = f"gan_plugin_{file.stem}_{known}" if named.endswith(".py") else named
    if PLUGINS.get(module) == path:
        return
    PLUGINS[module] = path
    try:
        source.tree(module)
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
        del PLUGINS[module]
        raise UserError(f"plugins={named}: not readable as Python ({error}).") from None


def _load(module: str) -> None:
    """Import the module of a component, so that it registers what it defines.

    Raises:
        UserError: a plug-in's own code failed; it says in which line.
    """
    if module not in PLUGINS:
        importlib.import_module(module)
        return
    if module in sys.modules:
        return
    try:
        with _beside():
            _run(module)
    except Exception as error:
        lines = [
            frame.lineno
            for frame in extract_tb(error.__traceback__)
            if frame.filename == str(PLUGINS[module])
        ]
        where = f"in line {lines[-1]} " if lines else ""
        raise UserError(
            f"plugins={PLUGINS[module].name}: importing it failed {where}({type(error).__name__}: "
            f"{error})."
        ) from error


def _run(module: str) -> None:
    if not module.startswith("gan_plugin_"):
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


@contextmanager
def _beside() -> Iterator[None]:
    """Let plug-ins import the files beside them, as a script may."""
    before = list(sys.path)
    sys.path += list(dict.fromkeys(str(path.parent) for path in PLUGINS.values()))
    try:
        yield
    finally:
        sys.path[:] = before


# --- the groups -----------------------------------------------------------------------------------
# What each group is offered is listed here and nowhere else.

NAMES = tuple | list
games = Registry(
    "model", "games", "gan_cli.games", ("loss", "regularizer", "augmentation", "spec"),
    "gan_cli.game.Game", {"roles": dict, "averaged": NAMES, "renders": bool, "augments": bool,
    "needs_labels": bool, "needs_features": bool, "grows": bool},
)  # fmt: skip
networks = Registry(
    "network", "networks", "gan_cli.networks", ("shape", "latent", "bounded", "outputs")
)
losses = Registry(
    "loss", "losses", "gan_cli.losses", (),
    "gan_cli.losses.Loss", {"needs_unbounded_score": bool, "needs_lipschitz_critic": bool,
    "uses_real": bool},
)  # fmt: skip
regularizers = Registry(
    "regularizer", "regularizers", "gan_cli.regularizers", (),
    "gan_cli.regularizers.Regularizer", {"per_sample": bool, "lipschitz": bool},
)  # fmt: skip
augmentations = Registry(
    "augmentation", "augmentations", "gan_cli.augmentations", (),
    "gan_cli.augmentations.Augmentation", {"kinds": NAMES},
)  # fmt: skip
datasets = Registry(
    "data", "datasets", "gan_cli.data", (),
    "gan_cli.data.dataset.Dataset", {"kind": str, "metrics": NAMES}, "gan_cli.data.law",
)  # fmt: skip
optimizers = Registry("optimizer", "optimizers", "gan_cli.optimizers", ("parameters",))
schedules = Registry("schedule", "schedules", "gan_cli.optimizers", ("optimizer",))
figures = Registry("figures", "figures", "gan_cli.runs.figures", ("trainer", "dataset", "rows"))
metrics = Registry(
    "metrics",
    "metrics",
    "gan_cli.metrics",
    ("dataset", "device"),
    "none; see docs/your_own_gan.md",
    {"scores": NAMES, "objectives": NAMES, "lower_is_better": NAMES},
)
REGISTRIES = {
    known.group: known
    for known in (
        games, networks, losses, regularizers, augmentations, datasets, optimizers, schedules,
        figures, metrics,
    )
}  # fmt: skip
"""All registries by the groups of their components."""
