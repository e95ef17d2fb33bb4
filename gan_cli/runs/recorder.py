"""What a run writes of itself: rows of scalars, and TensorBoard's files. A full disk stops none of
it for good."""

import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BufferedWriter, TextIOWrapper
from pathlib import Path
from typing import Any

from gan_cli.errors import UserError, explain_os, on_one_line
from gan_cli.files import append_to, opened, tolerated, write_bytes

log = logging.getLogger(__name__)


class Recorder:
    """Scalars of a round to `metrics.jsonl` and TensorBoard alike; pictures, histograms and text to
    TensorBoard.

    Rows after `step` are cut off: a resumed run writes them again. Rows that cannot be written wait
    for the next one.

    Raises:
        OSError: at the start, if the folder cannot be written at all.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "metrics.jsonl"
        self._cut(step)
        with append_to(self.path) as file:
            self._size, self._waiting = file.seek(0, os.SEEK_END), ""
        self._board = _Board(folder / "tensorboard", step)
        self.row: dict[str, float] = {}

    def _cut(self, step: int) -> None:
        if self.path.exists():
            append_to(self.path).close()  # refuses a link: what it leads to is not ours to cut
            with opened(self.path) as file:
                kept = [line for line in file.read().splitlines() if _step_of(line) <= step]
            write_bytes(self.path, b"".join(line + b"\n" for line in kept))

    def hparams(self, settings: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """The row of TensorBoard's table of runs: settings, and the last values of these
        scalars."""
        from torch.utils.tensorboard.summary import hparams

        plain: dict[str, Any] = {
            key: value for key, value in settings.items() if isinstance(value, bool | int | float)
        }
        # UTF-8
        plain |= {
            key: on_one_line(value) for key, value in settings.items() if isinstance(value, str)
        }
        for summary in hparams(plain, dict.fromkeys(metrics, 0)):
            self._board.say(
                "_get_file_writer", then=lambda writer, summary=summary: writer.add_summary(summary)
            )

    def board(self, method: str, *arguments: Any, **options: Any) -> None:
        """Call a method of TensorBoard's writer, such as `add_image`."""
        self._board.say(method, *arguments, **options)

    def scalars(self, values: Mapping[str, float]) -> None:
        """Values of the current round, under their complete tags."""
        self.row |= values

    def flush(self, step: int, seconds: float) -> None:
        """Write what the round has recorded, in one row."""
        if not self.row:
            return
        self._waiting += json.dumps({"step": step, "seconds": round(seconds, 2), **self.row}) + "\n"
        self._append()
        for tag, value in self.row.items():
            self.board("add_scalar", tag, value, step)
        self.board("flush")
        self.row = {}

    def _append(self) -> None:
        """Rows that wait, behind those that are there; what a failed write left is cut off
        first."""
        content = self._waiting.encode()
        with tolerated(self.path.name), append_to(self.path) as file:
            self._size = min(self._size, file.seek(0, os.SEEK_END))
            try:
                file.truncate(self._size)
                written = 0
                while written < len(content):
                    written += file.write(content[written:])
            except OSError:
                file.truncate(self._size)  # which needs no room
                raise
            self._size, self._waiting = self._size + len(content), ""

    def rows(self, step: int) -> list[dict[str, Any]]:
        """All rows so far, that of this step included as far as it has come."""
        lines = self._waiting.encode().splitlines()
        with suppress(FileNotFoundError), opened(self.path) as file:
            lines = file.read().splitlines() + lines
        return [*map(json.loads, filter(_is_row, lines)), {"step": step, **self.row}]

    def close(self) -> None:
        if self._waiting:
            self._append()
        self._board.close()
        self._board.leave()


class _Board:
    """TensorBoard's writer; one that has failed is given up, and another one is opened when there
    is more to say."""

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._purge: int | None = step + 1  # a resumed run writes later steps again
        self._writer: Any = self._opened()
        self._others, threading.excepthook = threading.excepthook, self._heard

    def _heard(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread prints a traceback when the disk is full; the next call to its
        writer tells of it."""
        if type(failure.thread).__name__ != "_AsyncWriterThread" or not isinstance(
            failure.exc_value, OSError
        ):
            self._others(failure)

    def _opened(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self._folder), purge_step=self._purge)

    def say(self, method: str, *arguments: Any, then: Any = None, **options: Any) -> None:
        """Call a method of the writer, and `then` with what it gives."""
        try:
            self._writer = self._writer or self._opened()
            value = getattr(self._writer, method)(*arguments, **options)
            if then:
                then(value)
        except OSError as error:
            if self._writer:
                log.error(
                    "TensorBoard's file could not be written (%s); training goes on",
                    error.strerror or error,
                )
            self.close()
            self._writer = self._purge = None

    def close(self) -> None:
        with suppress(OSError):
            if self._writer:
                self._writer.close()

    def leave(self) -> None:
        """Put back who hears of threads that fail."""
        if threading.excepthook == self._heard:
            threading.excepthook = self._others


class LogFile(logging.FileHandler):
    """The log of a run, through which no link leads to another file."""

    def _open(self) -> Any:
        try:
            return TextIOWrapper(
                BufferedWriter(append_to(Path(self.baseFilename))), "utf-8", "backslashreplace"
            )
        except OSError as error:
            raise UserError(explain_os(error)) from None


def _is_row(line: bytes) -> bool:
    return _step_of(line) < float("inf")


def _step_of(line: bytes) -> float:
    """The step of a row; a row that is torn, or none of ours, belongs to no step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")
