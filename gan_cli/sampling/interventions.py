"""Interventions: units of a generator are scaled, switched off or on while it renders.

Reference: Bau et al., 2019, "GAN Dissection: Visualizing and Understanding Generative Adversarial
Networks", arXiv 1811.10597, section 3.2.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from gan_cli.game import Game


@dataclass(frozen=True)
class Intervention:
    """What is done to some units of a layer wherever samples are rendered.

    Args:
        layer: name of the module.
        units: numbers of its channels, from 0.
        strength: what they are multiplied by: 0 switches them off, 1 leaves them as they are.
        levels: values to set them to, (units,), in place of the multiplication; None sets none.
        region: rows and columns of the maps that are set to `levels`; without any, whole maps.
    """

    layer: str
    units: tuple[int, ...]
    strength: float = 0.0
    levels: Tensor | None = None
    region: tuple[slice, slice] = (slice(None), slice(None))

    def applied(self, maps: Tensor) -> Tensor:
        """The maps, (N, C, H, W), after the intervention; those of other units are the same."""
        units = list(self.units)
        changed = maps.clone()
        if self.levels is None:
            changed[:, units] = self.strength * maps[:, units]
        else:
            rows, columns = self.region
            set_to = self.levels.to(maps)[:, None, None]
            part = maps[:, units].clone()
            part[:, :, rows, columns] = set_to.expand_as(part[:, :, rows, columns])
            changed[:, units] = part
        return changed


@contextmanager
def intervening(game: Game, change: Intervention | None) -> Iterator[None]:
    """While this lasts, what this thread renders is changed; other threads may render as usual."""
    if change is None:
        yield
        return
    this_thread = threading.get_ident()

    def hook(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
        return change.applied(output) if threading.get_ident() == this_thread else None

    handle = game.get_submodule(change.layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
