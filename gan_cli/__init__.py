"""gan-cli: every GAN that mattered, one trainer, one line to run, one page to read.

In a notebook: `gan_cli.load("outputs/.../checkpoints/last.pt").sample(16, seed=0)`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gan_cli.sample import Generator

__all__ = ["load"]


def load(path: str, weights: str = "auto", plugins: "Sequence[str]" = ()) -> "Generator":
    """The trained generator in a checkpoint; see `gan_cli.sample.Generator`."""
    from gan_cli.sample import Generator

    return Generator(path, weights, plugins)
