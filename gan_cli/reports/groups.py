"""Runs grouped by configuration: the seeds of one setting are one group. Nothing here imports
torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from gan_cli.config.identity import HARMLESS
from gan_cli.errors import UserError, closest
from gan_cli.runs.finished import Run

SEED = "seed"
IGNORED = {SEED} | HARMLESS - {"steps", "minutes", "evaluate_samples"}
"""Keys that may differ within a group. Other budgets and numbers of samples are other settings."""


@dataclass(frozen=True)
class Group:
    """Runs of one setting: by default those whose configurations differ in the seed alone."""

    runs: list[Run]

    def setting(self, key: str) -> str:
        """Value of a key in these runs."""
        return next(filter(None, (run.setting(key) for run in self.runs)), "")


def group_runs(runs: Sequence[Run], by: Sequence[str] = ()) -> list[Group]:
    """Groups of runs, in the order of their first runs.

    Args:
        by: options whose settings are the same in a group; by default runs of a group differ in the
            seed alone.

    Raises:
        UserError: no run has a named option.
    """
    for key in by:
        check_option(runs, f"by=[{key}]", key)
    groups: dict[object, list[Run]] = {}
    for run in runs:
        named = tuple(run.setting(key) for key in by)
        groups.setdefault(named or _identify_setting(run), []).append(run)
    return [Group(members) for members in groups.values()]


def _identify_setting(run: Run) -> str:
    """Text that is the same for runs that differ in the seed alone."""
    relevant = {key: value for key, value in run.config.items() if key not in IGNORED}
    return repr(sorted(relevant.items()))


def check_option(runs: Sequence[Run], argument: str, key: str) -> None:
    """Raise UserError for an option that no run has, by the argument that names it."""
    if not any(run.setting(key) for run in runs):
        known = dict.fromkeys(known for run in runs for known in (*run.typed, *run.config))
        raise UserError(
            f"{argument}: no run has such a key{closest(key, known)}; name what differs between "
            "them."
        )


def differing_keys(groups: Sequence[Group]) -> list[str]:
    """Keys that distinguish groups: overrides first, then leaves that do not follow from them.

    `model=wgan` against `model=wgan_gp` is one difference, although many leaves follow from it. All
    leaves that differ are named if the overrides of some run are unknown.
    """
    runs = [run for group in groups for run in group.runs]
    typed = dict.fromkeys(key for run in runs for key in run.typed)
    named = [key for key in typed if _is_relevant(key) and _differs(key, groups)]

    leaves = [key for key in differing_leaves(groups) if key not in named]
    if all(run.overrides is not None for run in runs):
        leaves = [key for key in leaves if not _follows(key, named, groups)]
    return named + leaves


def differing_leaves(groups: Sequence[Group]) -> list[str]:
    """Leaves of the configurations that differ between groups."""
    keys = dict.fromkeys(key for group in groups for run in group.runs for key in run.config)
    return [key for key in keys if _is_relevant(key) and _differs(key, groups)]


def _is_relevant(key: str) -> bool:
    return key not in IGNORED and not key.startswith("hydra.")


def _differs(key: str, groups: Sequence[Group]) -> bool:
    return len({group.setting(key) for group in groups}) > 1


def _follows(key: str, named: Sequence[str], groups: Sequence[Group]) -> bool:
    """Whether the named keys determine the value of a leaf."""
    settings = {tuple(group.setting(name) for name in named) for group in groups}
    extended = {tuple(group.setting(name) for name in [*named, key]) for group in groups}
    return len(extended) == len(settings)
