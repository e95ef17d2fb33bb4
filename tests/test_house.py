"""The shape of the house: rooms stand in layers, arrows point downwards, functions fit a glance,
registries build only what is registered."""

import importlib

import house_map
import pytest
import yaml
from conftest import ROOT

from gan_cli import registry
from gan_cli.errors import UserError, closest

LAYERS = (
    ("errors", "files", "former_names", "noise", "synonyms"),
    ("reading", "hints", "source"),
    ("registry",),
    ("networks", "losses", "divergences", "regularizers", "augmentations", "priors", "codes",
     "pools", "worlds", "optimizers"),
    ("data", "pictures"),
    ("metrics", "order_of_play"),
    ("features",),
    ("game",),
    ("games",),
    ("devices",),
    ("config",),
    ("training",),
    ("runs", "benchmarks"),
    ("sampling", "reports"),
    ("sweeps",),
    ("commands",),
    ("main", ""),
)  # fmt: skip
"""The rooms, the ground first: a folder of the package, or a module beside the folders; `` is the
package itself. A room imports from its own layer and from those below it."""
TORCH_FREE = (
    "errors", "files", "former_names", "synonyms", "hints", "source", "registry", "config",
    "reports", "sweeps", "commands", "main",
)  # fmt: skip
"""Rooms that are loaded before torch: a mistake is answered, and help is shown, without it."""
MATHEMATICS = (
    "noise", "networks", "losses", "divergences", "regularizers", "augmentations", "priors",
    "codes", "pools", "worlds", "optimizers", "order_of_play", "game", "games",
)  # fmt: skip
"""Rooms that know nothing of configurations, devices, records or processes."""
PLUMBING = ("hydra", "omegaconf", "tensorboard", "torch.utils.tensorboard", "torch.distributed")

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
SOURCES = house_map.sources()


def room(module: str) -> str:
    """The room of a module, without the package's name."""
    return house_map.room(module).removeprefix("gan_cli").removeprefix(".")


def test_every_room_stands_in_a_layer() -> None:
    assert {room(module) for module in SOURCES} == LEVEL.keys()


def test_nobody_imports_upwards() -> None:
    upwards = [
        f"{module} imports {other}"
        for module, others in house_map.arrows().items()
        for other in others
        if LEVEL[room(other)] > LEVEL[room(module)]
    ]
    assert upwards == []


def test_there_is_no_circle() -> None:
    graph = house_map.arrows()
    assert house_map.circles(graph) == [] == house_map.circles(house_map.by_room(graph))


def test_what_answers_before_torch_needs_no_torch() -> None:
    graph = house_map.arrows(late=False)
    heavy = ("torch", "torchvision", "tensorboard")
    loading = {
        module
        for module, path in SOURCES.items()
        if any(name.split(".")[0] in heavy for name in house_map.imported(path, module, late=False))
    }
    for module in SOURCES:
        if room(module) in TORCH_FREE:
            assert not house_map.reach(graph, module) & loading, module


def test_the_mathematics_knows_nothing_of_the_plumbing() -> None:
    for module, path in SOURCES.items():
        if room(module) in MATHEMATICS:
            assert not [
                name for name in house_map.imported(path, module) if name.startswith(PLUMBING)
            ], module


def test_the_map_sees_circles_and_late_imports() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}
    assert house_map.circles(graph) == [["b", "c"]]
    assert house_map.reach(graph, "a") == {"a", "b", "c"}
    late = house_map.arrows()["gan_cli.main"] - house_map.arrows(late=False)["gan_cli.main"]
    assert late, "the commands are imported when they are called"


def test_functions_fit_a_glance() -> None:
    too_long = {name: lines for name, lines in house_map.functions().items() if lines >= 60}
    assert too_long == {}


def test_lines_fit_a_page() -> None:
    for module, path in SOURCES.items():
        widest = max(path.read_text(encoding="utf-8").splitlines(), key=len, default="")
        assert len(widest) <= 100 or "# noqa" in widest or "# type: ignore" in widest, module


def test_every_option_in_configs_names_something_registered() -> None:
    known = {
        "model": registry.games,
        "loss": registry.losses,
        "regularizer": registry.regularizers,
        "data": registry.datasets,
        "optimizer": registry.optimizers,
        "schedule": registry.schedules,
    }
    for group, components in known.items():
        nodes = [
            yaml.safe_load(path.read_text()) for path in (ROOT / "configs" / group).glob("*.yaml")
        ]
        names = [node["name"] for node in nodes if "name" in node]
        assert names and set(names) <= components.components.keys()


def test_the_scan_of_the_source_sees_what_the_modules_register() -> None:
    for known in (
        registry.games,
        registry.losses,
        registry.regularizers,
        registry.datasets,
        registry.optimizers,
        registry.schedules,
        registry.networks,
        registry.metrics,
    ):
        for component in known.components.values():
            importlib.import_module(component.module)
        assert known._built.keys() == known.components.keys()


def test_a_registry_builds_only_what_is_registered() -> None:
    with pytest.raises(UserError, match=r"loss.name=os.system: not registered"):
        registry.losses.build({"name": "os.system"}, "loss")
    with pytest.raises(UserError, match="needs `name:`"):
        registry.losses.build({}, "loss")


def test_arguments_of_base_classes_are_seen() -> None:
    arguments = registry.games.components["two_player"].arguments
    assert {"latent", "prior", "repeat", "warm_up", "fresh_batch", "ema"} <= arguments.keys()
    assert registry.games.components["two_player"].attributes["players"] == [
        "discriminator",
        "generator",
    ]


def test_closest() -> None:
    assert closest("wassersten", ["hinge", "wasserstein"]) == " (did you mean wasserstein?)"
    assert closest("xyz", ["hinge"]) == ""
