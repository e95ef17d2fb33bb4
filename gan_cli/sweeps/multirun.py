"""A sweep: its folder, found again by the same line; its cells, of which none is played twice; what
they came to.

Nothing here imports torch. Cells tell of themselves through files in their folders, because a
launcher may play them in other processes or on other machines.
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
"""What was typed for a sweep, in its folder. It is how the same line finds the folder again."""
LOCK = ".sweep.lock"
CELL_LOCK = ".cell.lock"
FAILURE = "failure.json"
"""Why a cell failed, in the cell's folder; gone when it has been played after all."""
SHOWN = 3  # failed cells that are named at the end; all are in the table


# --- the sweep ------------------------------------------------------------------------------------


@contextlib.contextmanager
def sweep(
    arguments: list[str], outputs: Path, chosen: Callable[[list[str]], Mapping[str, Any]]
) -> Iterator[list[str]]:
    """Under `--multirun`: the arguments with a folder, short names for the cells, and a search's
    direction.

    The same line takes the folder that it took before, unless it says `resume=never`. At the end,
    however it comes, a table says what has become of the cells.

    Args:
        chosen: Hydra's own node, as these arguments and the files that they name make it.

    Raises:
        UserError: cells have failed; or another process plays this sweep.
    """
    flags = {argument.partition("=")[0] for argument in arguments}
    if not {"-m", "--multirun"} & flags:
        yield arguments
        return
    if "RANK" in os.environ:
        raise UserError(
            "--multirun: torchrun starts one run; sweep without it, by hardware.devices=N."
        )
    plain = [argument.lstrip("+") for argument in arguments]
    typed = [
        item for item, name in zip(arguments, plain, strict=True)
        if ("=" in item or item.startswith("~")) and not name.startswith(("hydra", "-"))
    ]  # fmt: skip
    hydra = chosen(arguments)
    complete = [*_short_names(typed), *_search(arguments, hydra["sweeper"]), *arguments]
    named = [
        item.partition("=")[2].strip("'\"") for item in plain if item.startswith("hydra.sweep.dir=")
    ]
    named = named or [str(folder) for folder in (hydra["sweep"]["dir"],) if folder != UNNAMED]
    if any("$" in name for name in named):  # which Hydra will fill in
        yield complete
        return
    found = Path(named[-1]) if named else _earlier(typed, outputs)
    new = found is None or not found.exists()
    folder = found or rundir.new_folder(outputs)
    patience = stopping.patience() if pooled(hydra["launcher"]) else contextlib.nullcontext()
    if not new and "resume=never" in typed:
        raise UserError(
            f"resume=never: {folder} already holds a sweep; choose another hydra.sweep.dir or "
            "resume=auto."
        )
    with rundir.hold(folder, LOCK), _accounted(folder, new), patience:
        files.write_json(folder / LEDGER, {"overrides": typed})
        yield complete if named else [f"hydra.sweep.dir={folder}", *complete]


UNNAMED = "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}"
"""What `hydra.sweep.dir` is by Hydra's default: nobody has named a folder, so one is found or made
here."""


def pooled(launcher: Mapping[str, Any]) -> bool:
    """Whether this launcher plays the cells in processes of this machine that play one after the
    other."""
    return "joblib" in str(launcher.get("_target_"))


def _short_names(typed: list[str]) -> list[str]:
    """Cells are named by what differs between them alone."""
    parsed = OverridesParser.create().parse_overrides(typed)
    swept = {str(item.key_or_group) for item in parsed if item.is_sweep_override()}
    constant = ",".join(
        {str(item.key_or_group): "" for item in parsed if str(item.key_or_group) not in swept}
    )
    return [f"hydra.job.config.override_dirname.exclude_keys=[{constant}]"]


def _earlier(typed: list[str], outputs: Path) -> Path | None:
    """The newest folder of a sweep for which the same was typed."""
    if "resume=never" in typed:
        return None
    folders = [path.parent for path in sorted(outputs.glob(f"*/{LEDGER}"), reverse=True)]
    return next(
        (path for path in folders if files.read_json(path / LEDGER).get("overrides") == typed), None
    )


@contextlib.contextmanager
def _accounted(folder: Path, new: bool) -> Iterator[None]:
    """Tell what has become of the cells, and fail if one has failed. A new one that never began
    leaves no folder."""
    before = _failures(folder)
    try:
        yield
    except BaseException as error:
        lost = LOST.get(type(error).__name__)
        if cells(folder):
            print(summary(folder))
        elif new and {path.name for path in folder.iterdir()} <= {LEDGER, LOCK, "multirun.yaml"}:
            # no job is out
            shutil.rmtree(folder, ignore_errors=True)
            # made for it, if they are empty
            for above in folder.parents[:2] if folder.parent.name == "sweeps" else ():
                with contextlib.suppress(OSError):
                    above.rmdir()
        if isinstance(error, Exception):
            _refuse_failed(folder, before)
        if lost:
            raise UserError(f"{lost.format(folder)}; the same line goes on.") from None
        raise
    print(summary(folder))
    _refuse_failed(folder, before)


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
"""What launchers raise when a cell is gone, by the name of the exception."""


def _failures(folder: Path) -> dict[str, int]:
    """The cells that have failed, and when."""
    return {
        str(path.parent.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob(FAILURE))
    }


def _refuse_failed(folder: Path, before: Mapping[str, int]) -> None:
    """Raise UserError if a cell has failed since."""
    failed = [name for name, when in _failures(folder).items() if before.get(name) != when]
    if failed:
        named = ", ".join(failed[:SHOWN]) + (", ..." if len(failed) > SHOWN else "")
        raise UserError(
            f"{len(failed)} of {len(cells(folder))} cells failed: {named}; the same line tries "
            "them again."
        )


# --- searches -------------------------------------------------------------------------------------


def _search(arguments: list[str], sweeper: Mapping[str, Any]) -> list[str]:
    """What a search by Optuna needs beside what was typed.

    Its direction is that of the objective. Its sampler is seeded, so that the same line asks for
    the same cells again: those that were played give their objective at once, and the search goes
    on where it was. A cell that fails does not end it. What is typed or stands in a file is left
    alone.
    """
    if "Optuna" not in str(sweeper.get("_target_")):
        return []
    needed = {}
    # which is what it is unsaid
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
    """Which way a score gets better, as Optuna calls it. Raises UserError for data that gives no
    score."""
    if not objective:
        raise UserError(
            "hydra/sweeper=optuna: this data gives no score to search by; take other data."
        )
    return "minimize" if lower_is_better()[objective] else "maximize"


def check_search(sweeper: Mapping[str, Any], config: Mapping[str, Any], objective: str) -> None:
    """Refuse a search that goes the wrong way, or one without scores.

    Args:
        sweeper: Hydra's node of that name, resolved where it can be.
        objective: the score that the run will return.
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
    """What has become of a cell: its card, and why it failed, if it did."""

    name: str
    card: dict[str, Any]
    failure: str

    @property
    def objective(self) -> tuple[str, float] | None:
        """Name and value of the score that searches go by; None before the first evaluation."""
        name = self.card.get("objective")
        value = self.card.get("scores", {}).get(name)
        return (str(name), float(value)) if isinstance(value, int | float) else None

    @property
    def state(self) -> str:
        if self.failure:
            return "failed"
        return "finished" if self.card.get("finished") else "not finished"


def cells(folder: Path) -> list[Cell]:
    """The cells of a sweep that have begun or failed, by name."""
    places = {path.parent for name in (rundir.CARD, FAILURE) for path in folder.rglob(name)}
    return [
        Cell(on_one_line(str(place.relative_to(folder))), rundir.read_card(place), _told(place))
        for place in sorted(places)
    ]


def _told(place: Path) -> str:
    """Why a cell failed, if it did."""
    return on_one_line(str(files.read_json(place / FAILURE).get("told", "")))


def finished(folder: Path, fingerprint: str, steps: int, minutes: float | None) -> bool:
    """Whether a cell needs no more rounds, and its folder can be left alone."""
    card = rundir.read_card(folder)
    same = card.get("fingerprint") == fingerprint and (folder / "checkpoints" / "last.pt").is_file()
    return same and not rundir.unfinished(card, steps, minutes) and not (folder / FAILURE).exists()


def write_failure(folder: Path, told: str) -> None:
    """Say in a cell's folder why it failed. A disk that is full costs the table its sentence."""
    # it is another line that does not fit what was played
    if rundir.read_card(folder).get("finished"):
        return
    with contextlib.suppress(OSError):
        files.write_json(folder / FAILURE, {"told": on_one_line(told.strip())})


def forget_failure(folder: Path) -> None:
    """The cell has been played after all."""
    (folder / FAILURE).unlink(missing_ok=True)


def summary(folder: Path) -> str:
    """All cells, the best first: state, rounds, time, the score that searches go by; and why some
    failed."""
    found = sorted(cells(folder), key=_rank)
    names = dict.fromkeys(cell.objective[0] for cell in found if cell.objective)
    rows = [
        ["cell", "state", "rounds", "seconds", *names],
        *(_row(cell, list(names)) for cell in found),
    ]
    counts = Counter(cell.state for cell in found)
    counted = ", ".join(
        f"{counts[state]} {state}"
        for state in ("finished", "failed", "not finished")
        if counts[state]
    )
    reasons = [f"  {cell.name}: {cell.failure}" for cell in found if cell.failure]
    return "\n".join([align_columns(rows, 2), f"{folder}: {counted}", *reasons])


def _row(cell: Cell, names: list[str]) -> list[str]:
    scores = [
        f"{cell.objective[1]:.4g}" if cell.objective and cell.objective[0] == n else MISSING
        for n in names
    ]
    return [
        cell.name,
        cell.state,
        str(cell.card.get("step", 0)),
        f"{cell.card.get('seconds', 0.0):.0f}",
        *scores,
    ]


def _rank(cell: Cell) -> tuple[bool, bool, str, float, str]:
    """The best first; then those without a score, then those that failed."""
    name, value = cell.objective or ("", math.inf)
    sign = 1 if lower_is_better().get(name, cell.card.get("lower_is_better") is not False) else -1
    return bool(cell.failure), cell.objective is None, name, sign * value, cell.name
