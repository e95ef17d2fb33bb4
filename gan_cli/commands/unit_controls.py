"""Controls of `gan-explore` for the units of a layer: switch them off, or make them stronger."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from gan_cli.errors import UserError

if TYPE_CHECKING:
    from nicegui.events import ValueChangeEventArguments

    from gan_cli.sampling.dissection_files import Ranking
    from gan_cli.sampling.generator import Generator
    from gan_cli.sampling.units import Layer

STRONGEST = 3.0  # end of the slider
SHARE = 8  # a concept chooses one in so many units


class Units(Protocol):
    """The part of a view that these controls change."""

    layer: str
    units: list[int]
    strength: float


def layers_if_any(generator: "Generator") -> Sequence["Layer"]:
    """Layers of the generator; none if it has no maps."""
    from gan_cli.sampling.units import layers_of

    try:
        return layers_of(generator)
    except UserError:
        return ()


def saved_rankings(generator: "Generator", layers: Sequence["Layer"]) -> "list[Ranking]":
    """What `gan-dissect` has saved of the run."""
    from gan_cli.sampling.dissection_files import rankings

    return rankings(generator, layers)


def presets(rankings: "Sequence[Ranking]") -> dict[str, tuple[str, list[int]]]:
    """A layer and its first units, by a concept's name and the layer's."""
    return {
        f"{name} ({ranking.layer}, step {ranking.step})": (
            ranking.layer.name,
            list(units[: max(1, ranking.layer.units // SHARE)]),
        )
        for ranking in rankings
        for name, units in ranking.concepts.items()
    }


def add(
    ui: ModuleType,
    layers: Sequence["Layer"],
    rankings: "Sequence[Ranking]",
    view: Units,
    show: Callable[[], None],
) -> None:
    """Add the controls to the page; each change calls `show`.

    Args:
        ui: the module `nicegui.ui`, which is imported late.
    """
    counts = {layer.name: layer.units for layer in layers}
    known = presets(rankings)

    def choose_layer(event: "ValueChangeEventArguments[Any]") -> None:
        """Show the units of the layer; none of them is chosen."""
        if event.value == view.layer:
            return
        view.layer = event.value or ""
        units.set_options(list(range(counts.get(view.layer, 0))), value=[])

    def choose_units(event: "ValueChangeEventArguments[Any]") -> None:
        """Change the sample by the chosen units."""
        view.units = event.value or []
        show()

    def set_strength(event: "ValueChangeEventArguments[Any]") -> None:
        """Scale the units."""
        view.strength = event.value
        show()

    def choose_concept(event: "ValueChangeEventArguments[Any]") -> None:
        """Switch the units of a concept off."""
        if event.value not in known:
            return
        view.layer, chosen = known[event.value]
        layer.set_value(view.layer)
        units.set_options(list(range(counts[view.layer])), value=chosen)
        strength.set_value(0.0)

    ui.label("units of a layer")
    if known:
        concept = ui.select(list(known), label="concept, by gan-dissect").classes("w-full concept")
        concept.on_value_change(choose_concept)
    layer = ui.select({item.name: str(item) for item in layers}, label="layer")
    layer.classes("w-full layer").on_value_change(choose_layer)
    units = ui.select([], label="units", multiple=True).props("use-chips")
    units.classes("w-full units").on_value_change(choose_units)
    strength = ui.slider(min=0, max=STRONGEST, step=0.05, value=1.0)
    strength.props("label").classes("strength").on_value_change(set_strength)
