"""gan-cli: every GAN that mattered, one trainer, one line to run, one page to read.

In a notebook: `gan_cli.load("latest").sample(16, seed=0)`; a checkpoint or a run's folder in place
of `latest`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gan_cli.sampling.generator import Generator

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """`gan_cli.__version__`, as the package was installed; looked up when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("gan-cli")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    path: "str | Path", weights: str = "auto", plugins: "Sequence[str | Path]" = ()
) -> "Generator":
    """The trained generator in a checkpoint; see `gan_cli.sampling.generator.Generator`."""
    from gan_cli.sampling.generator import Generator

    return Generator(path, weights, plugins)
