"""Units of a generator: the channels of the maps of a layer.

Reference: Bau et al., 2019, "GAN Dissection: Visualizing and Understanding Generative Adversarial
Networks", arXiv 1811.10597, section 3.

Forward hooks read them, so any generator of images will do; layers are named as torch names
modules.
"""

import functools
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gan_cli.data.kinds import kind_of
from gan_cli.errors import UserError, closest
from gan_cli.sampling.generator import Generator, shown, whole
from gan_cli.sampling.interventions import Intervention
from gan_cli.training.rendering import CHUNK


@dataclass(frozen=True)
class Layer:
    """A layer whose output are maps.

    Args:
        name: of the module within the game, such as `G.layers.6`.
        units: number of maps.
        height, width: of a map in pixels.
    """

    name: str
    units: int
    height: int
    width: int

    @property
    def side(self) -> str:
        """Side of its maps, `8`, or `8x16` where they are no squares."""
        square = self.height == self.width
        return str(self.height) if square else f"{self.height}x{self.width}"

    def __str__(self) -> str:
        return f"{self.name}: {self.units} units of {self.height}x{self.width}"


@functools.lru_cache(maxsize=4)
def layers_of(generator: Generator) -> tuple[Layer, ...]:
    """Layers whose units can be dissected, in the order in which they compute.

    Those are the modules that are called once for a sample and return maps of other channels than
    those of the image. Parts of a module that maps maps to maps, such as a residual block, are left
    out: the path around them would hide an intervention.

    Raises:
        UserError: it makes no images, makes them from inputs, or has no maps.
    """
    refuse_without_units(generator)
    calls, enclosing = _calls_of(generator)
    often = Counter(name for name, _ in calls)
    found = tuple(
        Layer(name, shape[1], shape[2], shape[3])
        for name, shape in calls
        if often[name] == 1
        and len(shape) == 4
        and shape[1] != generator.spec.shape[0]
        and shape[2] * shape[3] > 1
        and not any(name.startswith(f"{other}.") for other in enclosing)
    )
    if not found:
        raise UserError(
            f"checkpoint={generator.path}: its generator has no maps, and units are channels of "
            "maps; take a model of convolutions, such as network=dcgan."
        )
    return found


def refuse_without_units(generator: Generator) -> None:
    """Raise UserError for a checkpoint that makes no images, or makes them from inputs."""
    if not kind_of(generator.spec).tiles:
        raise UserError(
            f"checkpoint={generator.path}: makes {generator.spec.kind}; units are dissected in "
            "generators of images."
        )
    if generator.game.sampling.given:
        raise UserError(
            f"checkpoint={generator.path}: makes samples from inputs; units are dissected in "
            "generators that start from noise alone."
        )


def _calls_of(generator: Generator) -> tuple[list[tuple[str, tuple[int, ...]]], set[str]]:
    """Calls of modules while one chunk is rendered, in the order in which they end, each with the
    shape of its output; and the modules that map maps to maps."""
    calls: list[tuple[str, tuple[int, ...]]] = []
    enclosing: set[str] = set()

    def watch(name: str, module: nn.Module) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            is_map = isinstance(output, Tensor) and output.ndim == 4
            calls.append((name, tuple(output.shape) if is_map else ()))
            if is_map and inputs and isinstance(inputs[0], Tensor) and inputs[0].ndim == 4:
                enclosing.add(name)

        return module.register_forward_hook(hook)

    handles = [watch(name, module) for name, module in generator.game.named_modules() if name]
    try:
        generator.render(generator.drawn(range(CHUNK)))
    finally:
        for handle in handles:
            handle.remove()
    return calls, enclosing


def layer_of(generator: Generator, typed: str | None) -> Layer:
    """The layer of a name, or the last one of a side; None is a layer of the middle side.

    Raises:
        UserError: there is no such layer; see also `layers_of`.
    """
    layers = layers_of(generator)
    last = {layer.side: layer for layer in layers}  # later ones replace earlier ones
    if typed is None:
        return list(last.values())[len(last) // 2]
    named = {layer.name: layer for layer in layers}
    found = last.get(typed) or named.get(typed)
    if found is None:
        raise UserError(
            f"layer={typed}: no such layer{closest(typed, [*named, *last])}; expected a side "
            f"({', '.join(last)}) or a name ({', '.join(named)})."
        )
    return found


def chosen_units(layer: Layer, typed: Sequence[Any]) -> tuple[int, ...]:
    """Numbers of units, each once.

    Raises:
        UserError: there are none, or the layer has no such unit.
    """
    units = [whole("units", item, 0) for item in typed]
    if not units:
        raise UserError(f"units: missing; add units=[0] or others of 0 to {layer.units - 1}.")
    if max(units) >= layer.units:
        raise UserError(
            f"units={max(units)}: layer {layer.name} has the units 0 to {layer.units - 1}."
        )
    return tuple(dict.fromkeys(units))


def intervention_of(
    generator: Generator, layer: str | None, units: Sequence[int], strength: float
) -> Intervention | None:
    """The intervention that keys of a command describe; None if there are none.

    Args:
        layer, units: see `layer_of` and `chosen_units`.
        strength: what the units are multiplied by.

    Raises:
        UserError: there is no such layer or unit, or one of the keys is missing.
    """
    if layer is None:
        for key, value, given in (
            ("units", list(units), bool(units)),
            ("strength", strength, strength != 0),
        ):
            if given:
                raise UserError(
                    f"{key}={shown(value)}: is of the units of a layer; add layer= and units=."
                )
        return None
    where = layer_of(generator, layer)
    return Intervention(where.name, chosen_units(where, units), strength)


def read_maps(generator: Generator, layer: Layer, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Samples of latents, (n, *shape), and the maps of a layer, (n, units, height, width)."""
    maps: list[Tensor] = []
    this_thread = threading.get_ident()

    def append(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if threading.get_ident() == this_thread:
            maps.append(output.detach())

    handle = generator.game.get_submodule(layer.name).register_forward_hook(append)
    try:
        samples = generator.render(latents)
    finally:
        handle.remove()
    return samples, torch.cat(maps)[: len(latents)]  # without the padding of the last chunk
