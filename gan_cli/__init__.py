"""gan-cli: every GAN that mattered, one trainer, one line to run, one page to read.

In a notebook: `gan_cli.load("latest").sample(16, seed=0)`; instead of `latest`, the path of a
checkpoint or of a run's folder.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gan_cli.sampling.generator import Generator

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """`gan_cli.__version__` of the installed package, looked up at its first use."""
    if name == "__version__":
        from importlib.metadata import version

        return version("gan-cli")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    path: "str | Path",
    weights: str = "auto",
    plugins: "Sequence[str | Path]" = (),
    direction: str | None = None,
) -> "Generator":
    """The trained generator of a checkpoint; see `gan_cli.sampling.generator.Generator`."""
    from gan_cli.sampling.generator import Generator

    return Generator(path, weights, plugins, direction)
