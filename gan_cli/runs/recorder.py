"""Records of a run: rows of scalars, event files of TensorBoard, and the log.

All of them continue after a temporary failure such as a full disk.
"""

import itertools
import json
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BufferedWriter, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_cli.errors import UserError, explain_os, on_one_line
from gan_cli.files import append_to, opened, tolerated, write_bytes

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


class Recorder:
    """Writer of `metrics.jsonl`, with the scalars of each round, and of event files of TensorBoard.

    A row that cannot be written is written together with the next one.

    Args:
        folder: folder of the run.
        step: step at which the run starts. Rows of later steps are removed, because a resumed run
            writes them again.

    Raises:
        OSError: the folder is not writable.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "metrics.jsonl"
        self._remove_after(step)
        with append_to(self.path) as file:
            self._size, self._pending = file.seek(0, os.SEEK_END), ""
        self._board = _Board(folder / "tensorboard", step)
        self.row: dict[str, float] = {}

    def _remove_after(self, step: int) -> None:
        """Remove rows of later steps and incomplete rows."""
        if self.path.exists():
            append_to(self.path).close()  # raises OSError for a link
            with opened(self.path) as file:
                rows = [line for line in file.read().splitlines() if _step_of(line) <= step]
            write_bytes(self.path, b"".join(line + b"\n" for line in rows))

    def hparams(self, settings: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Add the run to TensorBoard's table of hyperparameters, with these metrics as columns."""
        plain = {
            key: on_one_line(value) if isinstance(value, str) else value
            for key, value in settings.items()
            if isinstance(value, bool | int | float | str)
        }
        self.board("add_hparams", plain, metrics)

    def board(self, method: str, *arguments: Any, **options: Any) -> None:
        """Call a method of the event file, such as `add_image`."""
        self._board.call(method, *arguments, **options)

    def scalars(self, values: Mapping[str, float]) -> None:
        """Add values of the current round by their complete tags."""
        self.row |= values

    def flush(self, step: int, seconds: float) -> None:
        """Write the values of the current round as one row."""
        if not self.row:
            return

        self._pending += json.dumps({"step": step, "seconds": round(seconds, 2), **self.row}) + "\n"
        self._append()

        for tag, value in self.row.items():
            self.board("add_scalar", tag, value, step)
        self.board("flush")
        self.row = {}

    def _append(self) -> None:
        """Append pending rows, after removal of the remains of a failed write."""
        content = self._pending.encode()
        with tolerated(self.path.name), append_to(self.path) as file:
            self._size = min(self._size, file.seek(0, os.SEEK_END))
            try:
                file.truncate(self._size)
                written = 0
                while written < len(content):
                    written += file.write(content[written:])
            except OSError:
                file.truncate(self._size)  # succeeds on a full disk
                raise

            self._size, self._pending = self._size + len(content), ""

    def rows(self, step: int) -> list[dict[str, Any]]:
        """All previous rows, followed by the values of this step."""
        lines = self._pending.encode().splitlines()
        with suppress(FileNotFoundError), opened(self.path) as file:
            lines = file.read().splitlines() + lines
        return [*map(json.loads, filter(_is_row, lines)), {"step": step, **self.row}]

    def close(self) -> None:
        """Write pending rows and close the files."""
        if self._pending:
            self._append()
        self._board.close()


class _Board:
    """Event files of a run for TensorBoard; after a failed write, a new file is opened."""

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._file: _EventFile | None = _EventFile(folder, step + 1)

    def call(self, method: str, *arguments: Any, **options: Any) -> None:
        """Call a method of the event file. An OSError is logged once for each file."""
        try:
            self._file = self._file or _EventFile(self._folder)
            getattr(self._file, method)(*arguments, **options)

        except OSError as error:
            if self._file:
                log.error(
                    "TensorBoard's file could not be written (%s); training goes on",
                    error.strerror or error,
                )
            self.close()
            self._file = None

    def close(self) -> None:
        with suppress(OSError):
            if self._file:
                self._file.close()


class _EventFile:
    """Event file of TensorBoard, written in the calling thread.

    TensorBoard's EventFileWriter, which torch's SummaryWriter uses, writes in a separate thread,
    where an OSError is printed as a traceback and cannot be handled.

    Args:
        purge_step: step from which TensorBoard ignores the earlier files of the folder.

    Raises:
        OSError: the file cannot be written; all methods raise it.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        path = _new_event_path(folder)
        self._records = RecordWriter(BufferedWriter(append_to(path)))
        try:
            self._add(file_version="brain.Event:2")
            if purge_step is not None:
                self._add(step=purge_step, session_log=SessionLog(status=SessionLog.START))
            self.flush()

        except OSError:
            with suppress(OSError):
                self.close()
            path.unlink(missing_ok=True)
            raise

    def _add(self, **fields: Any) -> None:
        """Write an event with these fields."""
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **fields).SerializeToString())

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add a scalar."""
        from torch.utils.tensorboard.summary import scalar

        self._add(step=step, summary=scalar(tag, value))

    def add_text(self, tag: str, text: str, step: int) -> None:
        """Add a text in Markdown."""
        from torch.utils.tensorboard import summary

        self._add(step=step, summary=summary.text(tag, text))

    def add_image(self, tag: str, pixels: Any, step: int, dataformats: str = "CHW") -> None:
        """Add an image, whose axes are named in `dataformats`."""
        from torch.utils.tensorboard.summary import image

        self._add(step=step, summary=image(tag, pixels, dataformats=dataformats))

    def add_histogram(self, tag: str, values: "Tensor", step: int) -> None:
        """Add a histogram of values."""
        from torch.utils.tensorboard.summary import histogram

        self._add(step=step, summary=histogram(tag, values, _bins()))

    def add_hparams(self, settings: dict[str, Any], metrics: Sequence[str]) -> None:
        """Add hyperparameters, and metrics as columns of their table."""
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(settings, dict.fromkeys(metrics, 0)):
            self._add(summary=summary)

    def flush(self) -> None:
        """Pass all events to the operating system."""
        self._records.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._records.close()


def _new_event_path(folder: Path) -> Path:
    """New path of an event file, named as in TensorBoard."""
    start = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
    paths = (folder / f"{start}.{number}" for number in itertools.count())
    return next(path for path in paths if not path.exists())


def _bins() -> list[float]:
    """Edges of the bins of TensorBoard's histograms, which grow by a factor of 1.1."""
    positive = [1e-12]
    while positive[-1] < 1e20 / 1.1:
        positive.append(positive[-1] * 1.1)
    return [*(-edge for edge in reversed(positive)), 0, *positive]


class LogFile(logging.FileHandler):
    """Handler for the log of a run, which does not follow symbolic links."""

    def _open(self) -> Any:
        try:
            return TextIOWrapper(
                BufferedWriter(append_to(Path(self.baseFilename))), "utf-8", "backslashreplace"
            )
        except OSError as error:
            raise UserError(explain_os(error)) from None


def _is_row(line: bytes) -> bool:
    """Whether a line is a complete row."""
    return _step_of(line) < float("inf")


def _step_of(line: bytes) -> float:
    """Step of a row, or infinity for an incomplete or invalid line."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")
