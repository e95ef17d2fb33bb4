"""Hydra's launchers and sweepers that gan-cli knows: their packages, and their exceptions in words.

Nothing here imports one: each is installed by an extra of gan-cli.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Plugin:
    """A plug-in of Hydra.

    Args:
        package: the package of its classes, by which Hydra's `_target_` is recognised.
        options: the options of `hydra/launcher` or `hydra/sweeper` that it brings, or the first
            word of their names.
        extra: the extra of gan-cli that installs it.
    """

    package: str
    options: str
    extra: str

    def chosen_in(self, node: Mapping[str, Any]) -> bool:
        """Whether Hydra's node of the launcher or the sweeper names this plug-in."""
        return str(node.get("_target_")).startswith(f"{self.package}.")


@dataclass(frozen=True)
class Launcher(Plugin):
    """A launcher, which plays the cells of a sweep in other processes or on other machines.

    Args:
        pooled: whether it plays them in processes of this machine, each several cells.
        failures: what its exceptions mean, by module and name; {} stands for the sweep's folder.
        trackers: modules whose `resource_tracker` process the pool starts.
    """

    pooled: bool = False
    failures: Mapping[str, str] = field(default_factory=dict)
    trackers: tuple[str, ...] = ()


LAUNCHERS = (
    Launcher(
        package="hydra_plugins.hydra_joblib_launcher",
        options="joblib",
        extra="joblib",
        pooled=True,
        failures={
            "joblib.externals.loky.process_executor.TerminatedWorkerError": (
                "a process that played a cell was killed (out of memory? play fewer at once, with "
                "hydra.launcher.n_jobs)"
            ),
            # after Ctrl-C
            "joblib.externals.loky.process_executor.BrokenProcessPool": (
                "a process that played a cell has ended"
            ),
        },
        trackers=("multiprocessing", "joblib.externals.loky.backend"),
    ),
    Launcher(
        package="hydra_plugins.hydra_submitit_launcher",
        options="submitit",
        extra="submitit",
        failures={
            "submitit.core.utils.UncompletedJobError": (
                "a job ended without a result; look into {}/.submitit"
            ),
            "submitit.core.utils.FailedJobError": "a job failed; look into {}/.submitit",
        },
    ),
    Launcher(
        package="hydra_plugins.hydra_ray_launcher",
        options="ray",
        extra="ray",
        failures={
            "ray.exceptions.WorkerCrashedError": (
                "a process that played a cell was killed (out of memory?)"
            ),
            "ray.exceptions.OutOfMemoryError": (
                "the cells took too much memory; play fewer at once"
            ),
        },
    ),
)
OPTUNA = Plugin(package="hydra_plugins.hydra_optuna_sweeper", options="optuna", extra="search")


def pool_in(node: Mapping[str, Any]) -> Launcher | None:
    """The launcher that Hydra's node names, if it plays cells in a pool of processes."""
    return next((item for item in LAUNCHERS if item.pooled and item.chosen_in(node)), None)


def extra_for(option: str) -> str | None:
    """The extra of gan-cli that brings an option of `hydra/launcher` or `hydra/sweeper`."""
    first_word = option.partition("_")[0]
    known = {item.options: item.extra for item in (*LAUNCHERS, OPTUNA)}
    return known.get(first_word)


def meaning_of(error: BaseException) -> str | None:
    """What a launcher's exception means for the cells; the first of its classes that is known."""
    meanings = {name: words for item in LAUNCHERS for name, words in item.failures.items()}
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    return next((meanings[name] for name in names if name in meanings), None)
