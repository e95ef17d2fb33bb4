"""Run folders: named, found again by the same command, held by one process. Nothing here imports torch."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from gan_cli.errors import UserError
from gan_cli.files import read_json

CARD = "run.json"
"""A small file beside the checkpoints: fingerprint, step, seconds, scores. It is how an unfinished run is found."""


def stamp() -> str:
    """Date and time, as folder names carry them."""
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def read_card(folder: Path) -> dict[str, Any]:
    """The run's card, or {} where there is none that can be read."""
    return read_json(folder / CARD)


def new_folder(parent: Path) -> Path:
    """A new folder below `parent`: named by the time, with a number if two runs start in one second.

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
    return card.get("step", 0) < steps and (minutes is None or card.get("seconds", 0.0) < 60 * minutes)


def find(parent: Path, fingerprint: str | None, steps: int, minutes: float | None) -> Path | None:
    """The newest unfinished run below `parent` with this fingerprint (None: any) that no process holds.

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


CLAIMED: dict[Path, IO[str]] = {}
"""Folders that this process has chosen and will hold, each by its locked file."""


def claim(folder: Path, lock: str = ".lock") -> bool:
    """Lock a folder until `hold` takes it over or it is `let_go`. False if a running process has it."""
    file = (folder / lock).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
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
        UserError: another process holds it, and this one is not to wait.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with CLAIMED.pop((folder / lock).resolve(), None) or (folder / lock).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(
                f"{folder}: another process is training in this folder; wait for it, or choose another."
            ) from None
        yield
