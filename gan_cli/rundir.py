"""Run folders: named, found again by the same command, held by one process. Nothing here imports torch."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

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
    """A folder name below `parent` that nobody has: the time, and a number if two runs start in one second."""
    name = stamp()
    candidates = [parent / name, *(parent / f"{name}_{i}" for i in range(2, 1000))]
    return next(path for path in candidates if not path.exists())


def unfinished(card: Mapping[str, Any], steps: int, minutes: float | None) -> bool:
    """Whether a run has rounds and time left of what is asked for now."""
    return card.get("step", 0) < steps and (minutes is None or card.get("seconds", 0.0) < 60 * minutes)


def find(parent: Path, fingerprint: str | None, steps: int, minutes: float | None) -> Path | None:
    """The newest unfinished run below `parent` with this fingerprint (None: any) that no process holds."""
    cards = sorted(parent.glob(f"*/{CARD}"), key=lambda path: path.parent.name, reverse=True)
    for path in cards:
        card = read_card(path.parent)
        same = fingerprint in (None, card.get("fingerprint"))
        if same and unfinished(card, steps, minutes) and not is_held(path.parent):
            return path.parent
    return None


def is_held(folder: Path, lock: str = ".lock") -> bool:
    """Whether a running process holds the folder."""
    try:
        with hold(folder, lock):
            return False
    except UserError:
        return True


@contextmanager
def hold(folder: Path, lock: str = ".lock", wait: bool = False) -> Iterator[None]:
    """Hold a run folder for this process; the system lets go of it however the process ends.

    Raises:
        UserError: another process holds it, and this one is not to wait.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / lock).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(
                f"{folder}: another process is training in this folder; wait for it, or choose another."
            ) from None
        yield
