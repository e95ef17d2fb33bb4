"""Sweeps: their folders, which the same line uses again, and their cells, which are played once.

Nothing here imports torch. Cells report through files in their folders, because a launcher may play
them in other processes or on other machines.
"""

import contextlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from gan_cli import files
from gan_cli.config.objectives import lower_is_better
from gan_cli.errors import UserError, on_one_line
from gan_cli.reports.formats import MISSING, align_columns
from gan_cli.runs import rundir
from gan_cli.sweeps import launchers, stopping

LEDGER = "sweep.json"
"""The file of the overrides of a sweep, by which the same command line finds the folder again."""
LOCK = ".sweep.lock"
CELL_LOCK = ".cell.lock"
FAILURE = "failure.json"
"""The file of a cell's failure, in the cell's folder; removed once the cell has been played."""
UNNAMED = "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}"
"""Hydra's default of `hydra.sweep.dir`: neither the command line nor a file names a folder.

A default of ours in configs/train.yaml would replace what an experiment's file sets.
"""
NAMED = 3  # failed cells that are named at the end; all are in the table


# --- the sweep ------------------------------------------------------------------------------------


@contextlib.contextmanager
def sweep(
    arguments: list[str], outputs: Path, hydra_node: Callable[[list[str]], Mapping[str, Any]]
) -> Iterator[list[str]]:
    """Under `--multirun`: the arguments with a folder, short names of cells, a search's direction.

    The same line uses the same folder again, unless it says `resume=never`. At the end, however it
    comes, a table shows the state of the cells.

    Args:
        hydra_node: returns Hydra's own node, as arguments and the files that they name set it.

    Raises:
        UserError: cells have failed, or another process plays this sweep.
    """
    flags = {argument.partition("=")[0] for argument in arguments}
    if not {"-m", "--multirun"} & flags:
        yield arguments
        return
    if "RANK" in os.environ:
        raise UserError(
            "--multirun: torchrun starts one run; sweep without it, by hardware.devices=N."
        )

    hydra, typed = hydra_node(arguments), _overrides(arguments)
    complete = [*_short_names(typed), *_search(arguments, hydra["sweeper"]), *arguments]
    named = _named_folder(arguments, hydra)
    if named and "$" in named:  # Hydra resolves it later
        yield complete
        return

    folder, new = _folder(named, typed, outputs)
    pool = launchers.pool_in(hydra["launcher"])
    patience = stopping.patience(pool.trackers) if pool else contextlib.nullcontext()
    with rundir.hold(folder, LOCK), _accounted(folder, new), patience:
        files.write_json(folder / LEDGER, {"overrides": typed})
        yield complete if named else [f"hydra.sweep.dir={folder}", *complete]


def _folder(named: str | None, typed: list[str], outputs: Path) -> tuple[Path, bool]:
    """The folder of a sweep, and whether it is new.

    Raises:
        UserError: it holds a sweep, which `resume=never` must not go on with.
    """
    folder = Path(named) if named else _earlier(typed, outputs)
    if folder is None:
        return rundir.new_folder(outputs), True
    if folder.exists() and "resume=never" in typed:
        raise UserError(
            f"resume=never: {folder} already holds a sweep; choose another hydra.sweep.dir or "
            "resume=auto."
        )
    return folder, not folder.exists()


def _overrides(arguments: list[str]) -> list[str]:
    """The overrides of the program's own keys, without Hydra's and without flags."""
    return [
        item
        for item in arguments
        if ("=" in item or item.startswith("~")) and not item.lstrip("+").startswith(("hydra", "-"))
    ]


def _named_folder(arguments: list[str], hydra: Mapping[str, Any]) -> str | None:
    """The folder that the command line, or else a file, names for the sweep."""
    key = "hydra.sweep.dir="
    plain = [item.lstrip("+") for item in arguments]
    typed = [item.removeprefix(key).strip("'\"") for item in plain if item.startswith(key)]
    of_files = str(hydra["sweep"]["dir"])
    return typed[-1] if typed else (None if of_files == UNNAMED else of_files)


def _short_names(typed: list[str]) -> list[str]:
    """The override that names cells by the keys which differ between them, and no others."""
    parsed = OverridesParser.create().parse_overrides(typed)
    swept = {str(item.key_or_group) for item in parsed if item.is_sweep_override()}
    keys = dict.fromkeys(str(item.key_or_group) for item in parsed)
    constant = ",".join(key for key in keys if key not in swept)
    return [f"hydra.job.config.override_dirname.exclude_keys=[{constant}]"]


def _earlier(typed: list[str], outputs: Path) -> Path | None:
    """The newest folder of a sweep with the same overrides."""
    if "resume=never" in typed:
        return None
    folders = [path.parent for path in sorted(outputs.glob(f"*/{LEDGER}"), reverse=True)]
    return next(
        (path for path in folders if files.read_json(path / LEDGER).get("overrides") == typed), None
    )


@contextlib.contextmanager
def _accounted(folder: Path, new: bool) -> Iterator[None]:
    """Print the state of the cells at the end, and fail if one has failed.

    A new sweep that never began leaves no folder.
    """
    before = _failures(folder)
    try:
        yield
    except BaseException as error:
        if cells(folder):
            print(summary(folder))
        elif new:
            _remove_unused(folder)
        if isinstance(error, Exception):
            _refuse_failed(folder, before)
        if lost := launchers.meaning_of(error):
            raise UserError(f"{lost.format(folder)}; the same line goes on.") from None
        raise

    print(summary(folder))
    _refuse_failed(folder, before)


def _remove_unused(folder: Path) -> None:
    """Remove the folder of a sweep that started no job, and its parents if they are empty."""
    if not {path.name for path in folder.iterdir()} <= {LEDGER, LOCK, "multirun.yaml"}:
        return

    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents[:2] if folder.parent.name == "sweeps" else ():
        with contextlib.suppress(OSError):
            parent.rmdir()


def _failures(folder: Path) -> dict[str, int]:
    """The cells that have failed, and the time of each failure."""
    return {
        str(path.parent.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob(FAILURE))
    }


def _refuse_failed(folder: Path, before: Mapping[str, int]) -> None:
    """Raise UserError if a cell has failed since."""
    failed = [name for name, when in _failures(folder).items() if before.get(name) != when]
    if failed:
        named = ", ".join(failed[:NAMED]) + (", ..." if len(failed) > NAMED else "")
        raise UserError(
            f"{len(failed)} of {len(cells(folder))} cells failed: {named}; the same line tries "
            "them again."
        )


# --- searches -------------------------------------------------------------------------------------


def _search(arguments: list[str], sweeper: Mapping[str, Any]) -> list[str]:
    """Overrides that a search by Optuna needs, for keys that are neither typed nor set by a file.

    The direction is that of the objective. The sampler is seeded, so that the same line proposes
    the same cells again: those that were played return their objective at once, and the search goes
    on where it was. A cell that fails does not end it.
    """
    if not launchers.OPTUNA.chosen_in(sweeper):
        return []

    needed = {}
    if _name(sweeper["direction"]) == "minimize":  # the default
        needed["direction"] = "${gan.direction:}"
    if not sweeper["max_failure_rate"]:
        needed["max_failure_rate"] = "1.0"
    if "seed" in sweeper["sampler"] and sweeper["sampler"]["seed"] is None:
        needed["sampler.seed"] = "0"

    typed = {argument.partition("=")[0].lstrip("+") for argument in arguments}
    return [
        f"hydra.sweeper.{key}={value}"
        for key, value in needed.items()
        if f"hydra.sweeper.{key}" not in typed
    ]


def _name(choice: Any) -> str:
    """The name of an enum's member, or the word that stands for it in a file."""
    return str(getattr(choice, "name", choice))


def direction(objective: str) -> str:
    """The direction of an objective, in Optuna's terms. Raises UserError if there is none."""
    if not objective:
        raise UserError(
            "hydra/sweeper=optuna: this data gives no score to search by; take other data."
        )
    return "minimize" if lower_is_better()[objective] else "maximize"


def check_search(sweeper: Mapping[str, Any], config: Mapping[str, Any], objective: str) -> None:
    """Refuse a search in the wrong direction, or one without scores.

    Args:
        sweeper: Hydra's node of that name, resolved as far as it can be.
        objective: the score that the run will return.

    Raises:
        UserError: the search is refused.
    """
    if not launchers.OPTUNA.chosen_in(sweeper):
        return
    if not config["evaluate_every"]:
        raise UserError("evaluate_every=0: a search needs scores; set it to a number of rounds.")

    right, chosen = direction(objective), _name(sweeper.get("direction"))
    if chosen != right and not chosen.startswith("${"):
        raise UserError(
            f"hydra.sweeper.direction={chosen}: {objective} gets better the other way; set it to "
            f"{right}."
        )


# --- cells ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """The state of a cell: its card, and the reason of its failure, if it failed."""

    name: str
    card: dict[str, Any]
    failure: str

    @property
    def objective(self) -> tuple[str, float] | None:
        """Name and value of the score that a search optimises; None before an evaluation."""
        name = self.card.get("objective")
        value = self.card.get("scores", {}).get(name)
        return (str(name), float(value)) if isinstance(value, int | float) else None

    @property
    def state(self) -> str:
        """`failed`, `finished` or `not finished`."""
        if self.failure:
            return "failed"
        return "finished" if self.card.get("finished") else "not finished"


def cells(folder: Path) -> list[Cell]:
    """The cells of a sweep that have started or failed, sorted by name."""
    places = {path.parent for name in (rundir.CARD, FAILURE) for path in folder.rglob(name)}
    return [
        Cell(on_one_line(str(place.relative_to(folder))), rundir.read_card(place), _failure(place))
        for place in sorted(places)
    ]


def _failure(place: Path) -> str:
    """The reason of a cell's failure; empty if it has not failed."""
    return on_one_line(str(files.read_json(place / FAILURE).get("told", "")))


def finished(folder: Path, fingerprint: str, steps: int, minutes: float | None) -> bool:
    """Whether a cell needs no more rounds, so that its folder can stay as it is."""
    card = rundir.read_card(folder)
    same = card.get("fingerprint") == fingerprint and (folder / "checkpoints" / "last.pt").is_file()
    return same and not rundir.unfinished(card, steps, minutes) and not (folder / FAILURE).exists()


def write_failure(folder: Path, reason: str) -> None:
    """Write the reason of a failure into the cell's folder; a full disk loses it."""
    if rundir.read_card(folder).get("finished"):  # the failure is that of another command line
        return
    with contextlib.suppress(OSError):
        files.write_json(folder / FAILURE, {"told": on_one_line(reason.strip())})


def forget_failure(folder: Path) -> None:
    """Remove the reason of a failure, after the cell has been played."""
    (folder / FAILURE).unlink(missing_ok=True)


def summary(folder: Path) -> str:
    """The table of all cells, the best first: state, rounds, time, objective, failures."""
    ranked = sorted(cells(folder), key=_rank)
    names = list(dict.fromkeys(cell.objective[0] for cell in ranked if cell.objective))
    head = ["cell", "state", "rounds", "seconds", *names]
    rows = [head, *(_row(cell, names) for cell in ranked)]

    counts = Counter(cell.state for cell in ranked)
    states = [state for state in ("finished", "failed", "not finished") if counts[state]]
    counted = ", ".join(f"{counts[state]} {state}" for state in states)

    reasons = [f"  {cell.name}: {cell.failure}" for cell in ranked if cell.failure]
    return "\n".join([align_columns(rows, 2), f"{folder}: {counted}", *reasons])


def _row(cell: Cell, names: list[str]) -> list[str]:
    own, value = cell.objective or ("", 0.0)
    scores = [f"{value:.4g}" if name == own else MISSING for name in names]
    rounds, seconds = str(cell.card.get("step", 0)), f"{cell.card.get('seconds', 0.0):.0f}"
    return [cell.name, cell.state, rounds, seconds, *scores]


def _rank(cell: Cell) -> tuple[bool, bool, str, float, str]:
    """The sort key: the best first, then cells without an objective, then those that failed."""
    name, value = cell.objective or ("", math.inf)
    sign = 1 if lower_is_better().get(name, cell.card.get("lower_is_better") is not False) else -1
    return bool(cell.failure), cell.objective is None, name, sign * value, cell.name
