"""Folders of runs: names, cards, locks, search for an unfinished run. Nothing imports torch."""

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
"""Name of the card, a small file in a run's folder: fingerprint, step, seconds, scores, health.

It identifies an unfinished run.
"""
MAX_INTEGER = 10**300  # exclusive; JSON's integers have no bound, and must fit into a float


def stamp() -> str:
    """Date and time in the form of a folder's name."""
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def read_card(folder: Path) -> dict[str, Any]:
    """The run's card; empty if it is missing or unreadable."""
    path = folder / CARD
    if files.leads_out(path, folder):
        return {}
    return checked(files.read_json(path))


def checked(card: Mapping[str, Any]) -> dict[str, Any]:
    """An untrusted card without its invalid values; texts are safe to print on a terminal."""
    result = {}
    for key, value in card.items():
        if key not in VALIDATORS:
            result[key] = value
        elif (valid := VALIDATORS[key](value)) is not None:
            result[key] = valid
    return result


def _number(value: Any) -> int | float | None:
    """A number that converts to float; NaN and infinity are allowed."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < MAX_INTEGER):
        return value
    return None


def _count(value: Any) -> int | None:
    """An integer, at least 0."""
    is_integer = isinstance(value, int) and _number(value) is not None
    return value if is_integer and value >= 0 else None


def _seconds(value: Any) -> float | None:
    """A finite duration, at least 0."""
    return value if _number(value) is not None and 0 <= value < math.inf else None


def _text(value: Any) -> str | None:
    """A text on one line."""
    return on_one_line(value) if isinstance(value, str) else None


def _sentences(value: Any) -> list[str] | None:
    """A list of texts, each on one line."""
    return [on_one_line(str(sentence)) for sentence in value] if isinstance(value, list) else None


def _flag(value: Any) -> bool | None:
    """A truth value."""
    return value if isinstance(value, bool) else None


def _scores(value: Any) -> dict[str, float]:
    """Scores by name; entries that are no numbers are left out."""
    scores = {}
    for name, score in value.items() if isinstance(value, dict) else ():
        number = _number(score)
        if number is not None:
            scores[on_one_line(name)] = number
    return scores


def _counts(value: Any) -> dict[str, int]:
    """Counts by name; entries that are no counts are left out."""
    entries = value.items() if isinstance(value, dict) else ()
    return {on_one_line(name): count for name, count in entries if _count(count) is not None}


VALIDATORS: dict[str, Callable[[Any], Any]] = {
    "step": _count,
    "rollbacks": _count,
    "seconds": _seconds,
    "scores": _scores,
    "objective": _text,
    "fingerprint": _text,
    "health": _sentences,
    "diversity": _number,
    "classes": _count,
    "finished": _flag,
    "lower_is_better": _flag,
    "parameters": _counts,
}
"""Functions that return a valid value of a card, or None for an invalid one, by key."""


def new_folder(parent: Path) -> Path:
    """A new folder below `parent`, named by the time, with a number if that name is taken.

    Creating the folder reserves the name: if two processes try at once, only one succeeds.
    """
    parent.mkdir(parents=True, exist_ok=True)
    name = stamp()
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}_{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
        number += 1


def unfinished(card: Mapping[str, Any], steps: int, minutes: float | None) -> bool:
    """Whether a run has rounds and time left, by the length that the current command sets."""
    has_time = minutes is None or card.get("seconds", 0.0) < 60 * minutes
    return card.get("step", 0) < steps and has_time


def find(parent: Path, fingerprint: str | None, steps: int, minutes: float | None) -> Path | None:
    """The newest unfinished run below `parent`, claimed for this process; None if there is none.

    Args:
        fingerprint: of the run's configuration; None for any.
        steps, minutes: length of the run that the current command sets.
    """

    def fits(folder: Path) -> bool:
        """Whether a folder's run is the searched one."""
        card = read_card(folder)
        return fingerprint in (None, card.get("fingerprint")) and unfinished(card, steps, minutes)

    for path in sorted(parent.glob(f"*/{CARD}"), key=lambda path: path.parent.name, reverse=True):
        folder = path.parent
        if fits(folder) and claim(folder):
            if fits(folder):  # again: another process may have finished it before the claim
                return folder
            let_go(folder)
    return None


CLAIMED: dict[Path, FileIO] = {}
"""Open lock files of the folders that this process has claimed but not yet held, by their path."""


def claim(folder: Path, lock: str = ".lock") -> bool:
    """Lock a folder until `hold` takes the lock over or `let_go` releases it.

    Returns:
        False if a running process has the lock, or if the folder cannot be written to.
    """
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
    """Release the claim on a folder, or all claims of this process."""
    paths = [*CLAIMED] if folder is None else [(folder / lock).resolve()]
    for path in paths:
        if file := CLAIMED.pop(path, None):
            file.close()


@contextmanager
def hold(folder: Path, lock: str = ".lock", wait: bool = False) -> Iterator[None]:
    """Lock a run's folder for this process; the lock ends with the process at the latest.

    Args:
        wait: wait while another process has the lock.

    Raises:
        UserError: another process has the lock, the folder contains a link that leads out of it,
            or its name is not UTF-8.
        OSError: the folder cannot be written to.
    """
    if str(folder).encode(errors="replace") != os.fsencode(folder):
        raise UserError(
            f"{folder}: its name is not UTF-8, which TensorBoard's files need; choose "
            "another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_links(folder)

    claimed = CLAIMED.pop((folder / lock).resolve(), None)
    with claimed or files.append_to(folder / lock) as file:
        if not files.lock(file, wait):
            raise UserError(
                f"{folder}: another process is training in this folder; wait for it, or choose "
                "another."
            )
        yield


def _refuse_links(folder: Path) -> None:
    """Raise UserError for a link through which a run would write outside its folder.

    The folder itself may be a link.
    """
    for path in folder.iterdir():
        if path.is_symlink() and files.leads_out(path, folder):
            raise UserError(
                f"{path}: is a link that leads out of the run's folder, and nothing is written "
                "through it; remove it, or link the whole folder."
            )
