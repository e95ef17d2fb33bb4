"""A sweep: its folder, which the same line takes again; its cells, none of which is trained twice;
the table of their states.

Nothing here imports torch. Cells report by files in their folders, because a launcher may run them
in other processes or on other machines.
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
from gan_cli.sweeps import stopping

LEDGER = "sweep.json"
"""Overrides of a sweep, in its folder, by which the same line recognises it."""
LOCK = ".sweep.lock"
CELL_LOCK = ".cell.lock"
FAILURE = "failure.json"
"""Why a cell failed, in its folder; removed once the cell has been trained."""
SHOWN = 3  # failed cells that the error names; the table has all


# --- the sweep ------------------------------------------------------------------------------------


@contextlib.contextmanager
def sweep(
    arguments: list[str], outputs: Path, chosen: Callable[[list[str]], Mapping[str, Any]]
) -> Iterator[list[str]]:
    """Arguments of a sweep, completed by its folder, short names of cells and a search's direction.

    The same line takes its earlier folder, unless `resume=never` is typed. A table of the cells is
    printed at the end, after errors and interrupts too. Without `--multirun` nothing is changed.

    Args:
        chosen: composes Hydra's own node from arguments.

    Raises:
        UserError: cells have failed, or another process runs this sweep.
    """
    if not {"-m", "--multirun"} & {argument.partition("=")[0] for argument in arguments}:
        yield arguments
        return
    if "RANK" in os.environ:
        raise UserError(
            "--multirun: torchrun starts one run; sweep without it, by hardware.devices=N."
        )

    typed = [item for item in arguments if _is_override(item)]
    hydra = chosen(arguments)
    complete = [*_name_cells(typed), *_complete_search(arguments, hydra["sweeper"]), *arguments]
    named = _find_named(arguments, hydra)
    if named is not None and "$" in named:  # an interpolation, which Hydra resolves
        yield complete
        return

    found = _find_earlier(typed, outputs) if named is None else Path(named)
    new = found is None or not found.exists()
    folder = found or rundir.new_folder(outputs)
    if not new and "resume=never" in typed:
        raise UserError(
            f"resume=never: {folder} already holds a sweep; choose another hydra.sweep.dir or "
            "resume=auto."
        )
    patience = stopping.patience() if pooled(hydra["launcher"]) else contextlib.nullcontext()
    with rundir.hold(folder, LOCK), _report_cells(folder, new), patience:
        files.write_json(folder / LEDGER, {"overrides": typed})
        yield [f"hydra.sweep.dir={folder}", *complete] if named is None else complete


def _is_override(argument: str) -> bool:
    """Whether an argument sets, or by `~` removes, a key that is not Hydra's own."""
    is_own = not argument.lstrip("+").startswith(("hydra", "-"))
    return is_own and ("=" in argument or argument.startswith("~"))


def _find_named(arguments: list[str], hydra: Mapping[str, Any]) -> str | None:
    """Folder that is typed, or else configured; None if there is none."""
    key = "hydra.sweep.dir="
    plain = [argument.lstrip("+") for argument in arguments]
    typed = [item.removeprefix(key).strip("'\"") for item in plain if item.startswith(key)]
    configured = str(hydra["sweep"]["dir"])
    return typed[-1] if typed else configured if configured != UNNAMED else None


UNNAMED = "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}"
"""Hydra's default of `hydra.sweep.dir`: no folder was named, so it is chosen here."""


def pooled(launcher: Mapping[str, Any]) -> bool:
    """Whether a launcher runs cells in a pool of processes on this machine."""
    return "joblib" in str(launcher.get("_target_"))


def _name_cells(typed: list[str]) -> list[str]:
    """Setting of Hydra by which only swept keys are in the names of cells."""
    parsed = OverridesParser.create().parse_overrides(typed)
    swept = {str(item.key_or_group) for item in parsed if item.is_sweep_override()}
    constant = ",".join(
        {str(item.key_or_group): "" for item in parsed if str(item.key_or_group) not in swept}
    )
    return [f"hydra.job.config.override_dirname.exclude_keys=[{constant}]"]


def _find_earlier(typed: list[str], outputs: Path) -> Path | None:
    """Newest folder of a sweep with the same overrides."""
    if "resume=never" in typed:
        return None
    folders = [path.parent for path in sorted(outputs.glob(f"*/{LEDGER}"), reverse=True)]
    return next(
        (path for path in folders if files.read_json(path / LEDGER).get("overrides") == typed), None
    )


@contextlib.contextmanager
def _report_cells(folder: Path, new: bool) -> Iterator[None]:
    """Print the table of the cells at the end, and raise UserError if one has failed.

    The folder of a new sweep without cells is removed.
    """
    before = _find_failures(folder)
    try:
        yield
    except BaseException as error:
        if cells(folder):
            print(summary(folder))
        elif new:
            _remove_unused(folder)

        if isinstance(error, Exception):
            _raise_if_failed(folder, before)
        if reason := LOST.get(type(error).__name__):
            raise UserError(f"{reason.format(folder)}; the same line goes on.") from None
        raise
    print(summary(folder))
    _raise_if_failed(folder, before)


def _remove_unused(folder: Path) -> None:
    """Remove the folder of a sweep whose launcher has submitted no job, and its empty parents."""
    if not {path.name for path in folder.iterdir()} <= {LEDGER, LOCK, "multirun.yaml"}:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents[:2] if folder.parent.name == "sweeps" else ():
        with contextlib.suppress(OSError):
            parent.rmdir()


LOST = {
    "TerminatedWorkerError": "a process that played a cell was killed (out of memory? play fewer "
    "at once, with "
    "hydra.launcher.n_jobs)",  # joblib
    "BrokenProcessPool": "a process that played a cell has ended",  # joblib, after Ctrl-C
    "WorkerCrashedError": "a process that played a cell was killed (out of memory?)",  # Ray
    "OutOfMemoryError": "the cells took too much memory; play fewer at once",  # Ray
    "UncompletedJobError": "a job ended without a result; look into {}/.submitit",  # submitit
    "FailedJobError": "a job failed; look into {}/.submitit",  # submitit
}
"""Explanations of a launcher's exceptions, by their names."""


def _find_failures(folder: Path) -> dict[str, int]:
    """Failed cells with the time of their failure."""
    return {
        str(path.parent.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob(FAILURE))
    }


def _raise_if_failed(folder: Path, before: Mapping[str, int]) -> None:
    """Raise UserError if cells have failed that had not before."""
    failed = [name for name, when in _find_failures(folder).items() if before.get(name) != when]
    if failed:
        named = ", ".join(failed[:SHOWN]) + (", ..." if len(failed) > SHOWN else "")
        raise UserError(
            f"{len(failed)} of {len(cells(folder))} cells failed: {named}; the same line tries "
            "them again."
        )


# --- searches -------------------------------------------------------------------------------------


def _complete_search(arguments: list[str], sweeper: Mapping[str, Any]) -> list[str]:
    """Overrides for a search by Optuna: direction of the objective, tolerance of failures, seed.

    A seeded sampler proposes the same cells again. Those that are finished return their objective
    at once, so that the same line continues the search. Settings that are typed or configured are
    not overridden.
    """
    if "Optuna" not in str(sweeper.get("_target_")):
        return []
    needed = {}
    # Hydra's default
    if str(getattr(sweeper["direction"], "name", sweeper["direction"])) == "minimize":
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


def direction(objective: str) -> str:
    """Direction of a score, in Optuna's terms. Raises UserError for data without a score."""
    if not objective:
        raise UserError(
            "hydra/sweeper=optuna: this data gives no score to search by; take other data."
        )
    return "minimize" if lower_is_better()[objective] else "maximize"


def check_search(sweeper: Mapping[str, Any], config: Mapping[str, Any], objective: str) -> None:
    """Raise UserError for a search in the wrong direction, or without scores.

    Args:
        sweeper: Hydra's node of that name, resolved as far as possible.
        objective: score that the run returns.
    """
    if "Optuna" not in str(sweeper.get("_target_")):
        return
    if not config["evaluate_every"]:
        raise UserError("evaluate_every=0: a search needs scores; set it to a number of rounds.")
    right = direction(objective)
    said = getattr(sweeper.get("direction"), "name", sweeper.get("direction"))
    if said != right and not str(said).startswith("${"):
        raise UserError(
            f"hydra.sweeper.direction={said}: {objective} gets better the other way; set it to "
            f"{right}."
        )


# --- cells ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """State of a cell: its card, and the reason of its failure, empty without one."""

    name: str
    card: dict[str, Any]
    failure: str

    @property
    def objective(self) -> tuple[str, float] | None:
        """Name and value of its objective; None before the first evaluation."""
        name = self.card.get("objective")
        value = self.card.get("scores", {}).get(name)
        return (str(name), float(value)) if isinstance(value, int | float) else None

    @property
    def state(self) -> str:
        """`finished`, `failed` or `not finished`."""
        if self.failure:
            return "failed"
        return "finished" if self.card.get("finished") else "not finished"


def cells(folder: Path) -> list[Cell]:
    """Cells of a sweep that have begun or failed, sorted by name."""
    places = {path.parent for name in (rundir.CARD, FAILURE) for path in folder.rglob(name)}
    return [
        Cell(
            on_one_line(str(place.relative_to(folder))),
            rundir.read_card(place),
            _read_failure(place),
        )
        for place in sorted(places)
    ]


def _read_failure(place: Path) -> str:
    """Reason of a cell's failure; empty without one."""
    return on_one_line(str(files.read_json(place / FAILURE).get("told", "")))


def finished(folder: Path, fingerprint: str, steps: int, minutes: float | None) -> bool:
    """Whether a cell was trained with this configuration and needs no more rounds."""
    card = rundir.read_card(folder)
    same = card.get("fingerprint") == fingerprint and (folder / "checkpoints" / "last.pt").is_file()
    return same and not rundir.unfinished(card, steps, minutes) and not (folder / FAILURE).exists()


def write_failure(folder: Path, reason: str) -> None:
    """Write the reason of a failure to a cell's folder. A full disk is ignored."""
    # a finished cell stays so: the error is about a line with another configuration
    if rundir.read_card(folder).get("finished"):
        return
    with contextlib.suppress(OSError):
        files.write_json(folder / FAILURE, {"told": on_one_line(reason.strip())})


def forget_failure(folder: Path) -> None:
    """Remove the reason of a failure, once the cell has been trained."""
    (folder / FAILURE).unlink(missing_ok=True)


def summary(folder: Path) -> str:
    """Table of all cells, the best first: state, rounds, time, objective; then why cells failed."""
    found = sorted(cells(folder), key=_rank_cell)
    names = dict.fromkeys(cell.objective[0] for cell in found if cell.objective)
    rows = [
        ["cell", "state", "rounds", "seconds", *names],
        *(_build_row(cell, list(names)) for cell in found),
    ]

    counts = Counter(cell.state for cell in found)
    counted = ", ".join(
        f"{counts[state]} {state}"
        for state in ("finished", "failed", "not finished")
        if counts[state]
    )
    reasons = [f"  {cell.name}: {cell.failure}" for cell in found if cell.failure]
    return "\n".join([align_columns(rows, 2), f"{on_one_line(str(folder))}: {counted}", *reasons])


def _build_row(cell: Cell, names: list[str]) -> list[str]:
    """Texts of a cell's row; `names` are those of all objectives."""
    scores = [
        f"{cell.objective[1]:.4g}" if cell.objective and cell.objective[0] == name else MISSING
        for name in names
    ]
    return [
        cell.name,
        cell.state,
        str(cell.card.get("step", 0)),
        f"{cell.card.get('seconds', 0.0):.0f}",
        *scores,
    ]


def _rank_cell(cell: Cell) -> tuple[bool, bool, str, float, str]:
    """Key to sort by: the best first, then cells without a score, then those that failed."""
    name, value = cell.objective or ("", math.inf)
    sign = 1 if lower_is_better().get(name, cell.card.get("lower_is_better") is not False) else -1
    return bool(cell.failure), cell.objective is None, name, sign * value, cell.name
