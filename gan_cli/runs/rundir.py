"""Run folders: named, found again by the same command, held by one process. Nothing here imports
torch."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any

from gan_cli import files
from gan_cli.errors import UserError, on_one_line

CARD = "run.json"
"""A small file beside the checkpoints: fingerprint, step, seconds, scores. It is how an unfinished
run is found."""


def stamp() -> str:
    """Date and time, as folder names carry them."""
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def read_card(folder: Path) -> dict[str, Any]:
    """The run's card, or {} where there is none that can be read."""
    return {} if files.leads_out(folder / CARD, folder) else checked(files.read_json(folder / CARD))


def checked(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card without what cannot be, as a stranger may have written it; its words are fit for a
    terminal."""
    pairs = [(key, KNOWN[key](value) if key in KNOWN else value) for key, value in card.items()]
    return {key: value for key, value in pairs if value is not None or key not in KNOWN}


def _number(value: Any) -> int | float | None:
    """One that can be counted with: JSON has whole numbers that no float can hold."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return value if known and (isinstance(value, float) or abs(value) < 10**300) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and _number(value) is not None and value >= 0 else None


def _seconds(value: Any) -> float | None:
    return value if _number(value) is not None and 0 <= value < math.inf else None


def _words(value: Any) -> str | None:
    return on_one_line(value) if isinstance(value, str) else None


def _sentences(value: Any) -> list[str] | None:
    return [on_one_line(str(sentence)) for sentence in value] if isinstance(value, list) else None


def _scores(value: Any) -> dict[str, float] | None:
    pairs = value.items() if isinstance(value, dict) else ()
    return {
        on_one_line(name): number for name, score in pairs if (number := _number(score)) is not None
    }


KNOWN: dict[str, Callable[[Any], Any]] = {
    "step": _count, "rollbacks": _count, "seconds": _seconds, "scores": _scores,
    "objective": _words,
    "fingerprint": _words, "health": _sentences,
    **dict.fromkeys(("finished", "lower_is_better"), lambda value: value if isinstance(value,
    bool) else None),
}  # fmt: skip
"""What may stand under the keys of a card; None where it cannot be."""


def new_folder(parent: Path) -> Path:
    """A new folder below `parent`: named by the time, with a number if two runs start in one
    second.

    It is made here, for of two processes that ask at once only one can make it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    name, number = stamp(), 1
    while True:
        folder = parent / (name if number == 1 else f"{name}_{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
        number += 1


def unfinished(card: Mapping[str, Any], steps: int, minutes: float | None) -> bool:
    """Whether a run has rounds and time left of what is asked for now."""
    return card.get("step", 0) < steps and (
        minutes is None or card.get("seconds", 0.0) < 60 * minutes
    )


def find(parent: Path, fingerprint: str | None, steps: int, minutes: float | None) -> Path | None:
    """The newest unfinished run below `parent` with this fingerprint (None: any) that no process
    holds.

    It is claimed for this process: of two that look at once one goes on with it.
    """

    def fits(folder: Path) -> bool:
        card = read_card(folder)
        return fingerprint in (None, card.get("fingerprint")) and unfinished(card, steps, minutes)

    for path in sorted(parent.glob(f"*/{CARD}"), key=lambda path: path.parent.name, reverse=True):
        folder = path.parent
        if fits(folder) and claim(folder):
            if fits(folder):  # still: another process may have played it to its end since
                return folder
            let_go(folder)
    return None


CLAIMED: dict[Path, FileIO] = {}
"""Folders that this process has chosen and will hold, each by its locked file."""


def claim(folder: Path, lock: str = ".lock") -> bool:
    """Lock a folder until `hold` takes it over or it is `let_go`. False if a running process has
    it, or nothing can be written there."""
    try:
        file = files.append_to(folder / lock)
    except OSError:
        return False
    if not files.lock(file, wait=False):
        file.close()
        return False
    CLAIMED[(folder / lock).resolve()] = file
    return True


def let_go(folder: Path | None = None, lock: str = ".lock") -> None:
    """Give up the claim on a folder, or on all."""
    for path in [*CLAIMED] if folder is None else [(folder / lock).resolve()]:
        if file := CLAIMED.pop(path, None):
            file.close()


@contextmanager
def hold(folder: Path, lock: str = ".lock", wait: bool = False) -> Iterator[None]:
    """Hold a run folder for this process; the system lets go of it however the process ends.

    Raises:
        UserError: another process holds it, and this one is not to wait; or it has a link to
            somewhere else.
        OSError: it cannot be written.
    """
    if str(folder).encode(errors="replace") != os.fsencode(folder):
        raise UserError(
            f"{folder}: its name is not UTF-8, which TensorBoard's files need; choose "
            "another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_links(folder)
    with CLAIMED.pop((folder / lock).resolve(), None) or files.append_to(folder / lock) as file:
        if not files.lock(file, wait):
            raise UserError(
                f"{folder}: another process is training in this folder; wait for it, or choose "
                "another."
            )
        yield


def _refuse_links(folder: Path) -> None:
    """Raise UserError for a link by which a run would write elsewhere; the folder itself may be
    one."""
    for path in folder.iterdir():
        if path.is_symlink() and files.leads_out(path, folder):
            raise UserError(
                f"{path}: is a link that leads out of the run's folder, and nothing is written "
                "through it; remove it, or link the whole folder."
            )
