"""Registries: the component of a YAML node `{name: wasserstein, ...}`.

A registry validates a node without importing torch or building anything: it reads the
`@losses.register("...")` decorators, the type hints of constructors and the literal class
attributes from the source. A typing error is therefore reported at once, only registered components
can be built, and an untrusted file cannot name code to execute.
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
from typing import TYPE_CHECKING, Any, TypeVar

from gan_cli import source
from gan_cli.errors import UserError, closest
from gan_cli.hints import Count, Depth, Fraction, NonNegative, Positive, Share, Widths
from gan_cli.source import COMPUTED, PLUGINS, REQUIRED

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "COMPUTED", "PLUGINS", "REGISTRIES", "REQUIRED", "Component", "Count", "Depth", "Fraction",
    "NonNegative", "Positive", "Registry", "Share",
    "Widths", "add_plugin", "augmentations", "datasets", "features", "figures", "games", "losses",
    "metrics", "networks",
    "optimizers", "regularizers", "schedules", "validate",
]  # fmt: skip

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Component:
    """Static description of a registered class or function, parsed from its source.

    Args:
        arguments: type and default (or REQUIRED, COMPUTED) of each argument of the constructor.
        attributes: literal class attributes.
        summary: first paragraph of the docstring.
        docs: description of each argument.
    """

    name: str
    module: str
    arguments: dict[str, tuple[Any, Any]]
    attributes: dict[str, Any] = field(default_factory=dict)
    summary: str = ""
    docs: dict[str, str] = field(default_factory=dict)


@functools.cache
def _scanned(module: str, variable: str) -> dict[str, Component]:
    """Components registered in a module with `@variable.register("name")`."""

    def scan(name: str, node: source.Definition) -> Component:
        return Component(
            name,
            module,
            source.arguments(module, node),
            source.attributes(module, node),
            source.summary(node),
            source.docs(module, node),
        )

    return {name: scan(name, node) for name, node in source.registered(module, variable)}


class Registry:
    """Registry of the components of one configuration group.

    Args:
        group: name of the group in error messages.
        variable: name of this registry in this module, as used in decorators.
        where: package or module that defines the components.
        offers: arguments passed by the program, which the configuration may not set.
        base: qualified name of the base class of the components.
        needs: required literal class attributes and their types.
        common: options of all components of the group, which the program reads itself: type,
            default and description of each.
        law: module whose function `check(component, name)` validates a component that was built.
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
        common: Mapping[str, tuple[Any, Any, str]] | None = None,
    ) -> None:
        self.group, self.variable, self.where, self.offers = group, variable, where, offers
        self.base, self.needs, self.law = base, needs or {}, law
        self.common = common or {}
        self._built: dict[str, Callable[..., Any]] = {}
        self._components: dict[str, Component] = {}
        self._plugins: dict[str, Path] | None = None  # plug-ins at the time of the last scan

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers a class or a function under `name`."""

        def add(component: T) -> T:
            if name in self._built and self._built[name].__qualname__ != component.__qualname__:
                raise UserError(
                    f"{self.group}: two components are registered as {name!r}; rename one."
                )
            self._built[name] = component
            return component

        return add

    @property
    def components(self) -> Mapping[str, Component]:
        """All components, including those of plug-ins; their modules are not imported."""
        if self._plugins != PLUGINS:  # first access, or the plug-ins have changed
            modules = [*source.modules(self.where), *PLUGINS]
            scans = [_scanned(module, self.variable) for module in modules]
            self._components = {name: item for scan in scans for name, item in scan.items()}
            self._plugins = dict(PLUGINS)
        return self._components

    def component(self, name: str, path: str) -> Component:
        """Component with this name.

        Raises:
            UserError: the name is unknown; the message contains the closest match.
        """
        components = self.components
        if name not in components:
            known = ", ".join(sorted(components))
            raise UserError(
                f"{path}.name={name}: not registered{closest(name, components)}; known are {known}."
            )
        return components[name]

    def attributes(self, name: str, path: str) -> dict[str, Any]:
        """Literal class attributes of a component.

        Raises:
            UserError: an attribute required by the group is missing or has the wrong type.
        """
        facts = self.component(name, path).attributes
        for fact, kind in self.needs.items():
            if not isinstance(facts.get(fact), kind):
                said = f"{fact} = {facts[fact]!r}" if fact in facts else f"no {fact}"
                raise UserError(
                    f"{path}={name}: its class says {said}; it needs a literal "
                    f"{getattr(kind, '__name__', kind)}, of its own or of its base class "
                    f"({self.base})."
                )
        return facts

    def options(self, name: str, path: str) -> dict[str, tuple[Any, Any]]:
        """Type and default of each argument of a component that the configuration may set."""
        component = self.component(name, path)
        facts = component.attributes
        offered = {*self.offers, *facts.get("networks", ())}
        offered |= {"classes"} if facts.get("takes_classes", False) else set()
        own = {key: spec for key, spec in component.arguments.items() if key not in offered}
        return own | {key: (hint, default) for key, (hint, default, _) in self.common.items()}

    def docs(self, name: str) -> dict[str, str]:
        """Description of each argument of a component."""
        common = {key: description for key, (_, _, description) in self.common.items()}
        return common | self.components[name].docs

    def check(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Arguments of a node, validated and converted to the types of their hints.

        Raises:
            UserError: an argument is unknown, has the wrong type or is out of range.
        """
        name = node.get("name")
        if not isinstance(name, str):
            raise UserError(f"{path}: needs `name:`, one of {', '.join(sorted(self.components))}.")
        settings = {key: value for key, value in node.items() if key != "name"}
        return validate(settings, self.options(name, path), path, f"{self.group}={name}")

    def with_defaults(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Validated node with all defaults, so that saved nodes are independent of the version."""
        checked = self.check(node, path)
        return {"name": node["name"], **self.defaults(node["name"]), **_plain(checked)}

    def defaults(self, name: str) -> dict[str, Any]:
        """Defaults of a component's options; options without a default are omitted."""
        options = self.options(name, self.group).items()
        return _plain({key: value for key, (_, value) in options if value not in NO_DEFAULT})

    def build(self, node: Mapping[str, Any], path: str, **offered: Any) -> Any:
        """Component built from the arguments of a node and from those offered by the program."""
        checked = self.check(node, path)
        arguments = {key: value for key, value in checked.items() if key not in self.common}
        component = self.component(node["name"], path)
        wanted = {key: value for key, value in offered.items() if key in component.arguments}
        built = self.loaded(component.name, path)(**arguments, **wanted)
        if self.law:
            importlib.import_module(self.law).check(built, component.name)
        return built

    def loaded(self, name: str, path: str) -> Any:
        """Registered class or function; this imports its module."""
        _load(self.component(name, path).module)
        if name not in self._built:
            raise UserError(
                f"{path}.name={name}: its source names it, but the module does not register it; "
                "start anew."
            )
        return self._built[name]


NO_DEFAULT = (REQUIRED, COMPUTED)


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Copy with tuples replaced by lists, for YAML."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()
    }


# --- validation of arguments ----------------------------------------------------------------------


def validate(
    settings: Mapping[str, Any], arguments: Mapping[str, tuple[Any, Any]], path: str, owner: str
) -> dict:
    """Settings converted to the types of `arguments`; defaults are left to the constructor.

    Args:
        settings: values by key.
        arguments: type and default of each key.
        path: path of the settings in the configuration, for error messages.
        owner: name of the component, for error messages.

    Raises:
        UserError: a setting is unknown, missing, of the wrong type or out of range.
    """
    from pydantic import ConfigDict, Field, ValidationError, create_model
    from pydantic.errors import PydanticUserError

    _refuse_unknown(settings, arguments, path, owner)
    # pydantic reserves some names of arguments, such as `_a` or `schema`
    names = {key: f"option_{i}" for i, key in enumerate(arguments)}
    fields: dict[str, Any] = {
        names[key]: (hint, Field(... if default is REQUIRED else default, alias=key))
        for key, (hint, default) in arguments.items()
    }
    strictness = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    try:
        model = create_model("Settings", __config__=strictness, **fields)
        checked = model.model_validate(dict(settings))
    except ValidationError as error:
        raise UserError(_error_message(error, settings, path)) from None
    except (PydanticUserError, TypeError) as error:  # for example, a length constraint on an int
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path}: the hints of {owner} cannot be checked ({reason}); mend the plug-in."
        ) from None
    return {key: getattr(checked, names[key]) for key in arguments if key in settings}


def _refuse_unknown(
    settings: Mapping[str, Any], arguments: Mapping[str, tuple[Any, Any]], path: str, owner: str
) -> None:
    """Raise UserError for an unknown setting or an unexpected boolean."""
    for key, value in settings.items():
        if key not in arguments:
            known = ", ".join(sorted(arguments)) or "none"
            raise UserError(
                f"{path}.{key}={value}: {owner} has no such option"
                f"{closest(key, arguments)}; its options are {known}."
            )
        if isinstance(value, bool) and not _accepts_bool(arguments[key][0]):  # pydantic reads 1
            raise UserError(f"{path}.{key}={value}: not a truth value.")


def _error_message(error: "ValidationError", settings: Mapping[str, Any], path: str) -> str:
    """Message for a validation error; for a union, that of the branch that matched deepest."""
    deepest = max(error.errors(), key=lambda item: len(item["loc"]))
    place = ".".join([path, *_key_path(deepest["loc"], settings)])
    if deepest["type"] == "missing":
        return f"{place}: missing; add {place}=VALUE."
    return f"{place}={deepest['input']}: {_lower(deepest['msg'])}."


def _key_path(location: tuple[int | str, ...], settings: Any) -> list[str]:
    """Keys of an error location of pydantic, without the names of branches of unions."""
    steps: list[str] = []
    for part in location:
        try:
            settings = settings[part]
        except (KeyError, IndexError, TypeError):
            if steps:
                continue
        steps.append(str(part))
    return steps


def _accepts_bool(hint: Any) -> bool:
    """Whether a type, or one of its type arguments, accepts booleans."""
    return hint in (Any, bool) or any(_accepts_bool(part) for part in typing.get_args(hint))


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


# --- plug-ins -------------------------------------------------------------------------------------


def add_plugin(named: str) -> None:
    """Register a plug-in, an importable module or a .py file, without importing it.

    Raises:
        UserError: the module or file does not exist or is not valid Python.
    """
    file = Path(named)
    try:
        path = file.resolve() if named.endswith(".py") else source.located(named)
        missing = path is None or not path.is_file()
    except (OSError, ValueError, ImportError):
        missing = True
    if missing or path is None:
        raise UserError(f"plugins={named}: no such module on the path, and no such .py file.")

    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]  # file names may coincide
    module = f"gan_plugin_{file.stem}_{digest}" if named.endswith(".py") else named
    if PLUGINS.get(module) == path:
        return

    PLUGINS[module] = path
    try:
        source.tree(module)
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
        del PLUGINS[module]
        raise UserError(f"plugins={named}: not readable as Python ({error}).") from None


def _load(module: str) -> None:
    """Import the module of a component, which registers its components.

    Raises:
        UserError: the code of a plug-in failed; the message contains the line.
    """
    if module not in PLUGINS:
        importlib.import_module(module)
        return
    if module in sys.modules:
        return

    try:
        with _plugins_on_path():
            _import_plugin(module)
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


def _import_plugin(module: str) -> None:
    """Import a plug-in, an importable module or a file."""
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
def _plugins_on_path() -> Iterator[None]:
    """Context in which plug-ins can import modules from their own folders, as scripts can."""
    before = list(sys.path)
    sys.path += list(dict.fromkeys(str(path.parent) for path in PLUGINS.values()))
    try:
        yield
    finally:
        sys.path[:] = before


# --- groups ---------------------------------------------------------------------------------------
# The arguments offered to each group are defined only here.

NAMES = tuple | list
games = Registry(
    "model", "games", "gan_cli.games", ("loss", "regularizer", "augmentation", "features", "spec"),
    "gan_cli.game.Game", {"roles": dict, "averaged": NAMES, "renders": bool, "augments": bool,
    "needs_labels": bool, "needs_features": bool, "grows": bool, "acts": bool},
)  # fmt: skip
networks = Registry(
    "network", "networks", "gan_cli.networks", ("shape", "latent", "bounded", "outputs", "inputs")
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
features = Registry(
    "features", "features", "gan_cli.features", (),
    "gan_cli.features.base.Features", {"kinds": NAMES, "used": bool},
)  # fmt: skip
datasets = Registry(
    "data", "datasets", "gan_cli.data", (),
    "gan_cli.data.dataset.Dataset", {"kind": str, "metrics": NAMES, "has_world": bool},
    "gan_cli.data.law",
)  # fmt: skip
kinds = Registry(
    "data.kind",
    "kinds",
    "gan_cli.data",
    (),
    "gan_cli.data.kinds.Kind",
    {"network": str, "sampled": bool},
)
optimizers = Registry(
    "optimizer", "optimizers", "gan_cli.optimizers", ("parameters",),
    common={
        "clip_norm": (
            Positive | None, None,
            "largest norm of a player's gradients together, to which longer ones are scaled; null "
            "leaves them",
        )
    },
)  # fmt: skip
schedules = Registry(
    "schedule", "schedules", "gan_cli.optimizers", ("optimizer",),
    common={
        "phase": (
            str | None, None,
            "phase of the model from whose first round on the schedule counts; until then its rate "
            "is that of round 0; null counts from the start of the run",
        )
    },
)  # fmt: skip
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
        games, networks, losses, regularizers, augmentations, features, datasets, optimizers,
        schedules, figures, metrics,
    )
}  # fmt: skip
"""Registries by group."""
