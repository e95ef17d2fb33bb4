"""Records of a run: rows of scalars, TensorBoard's event files, the log.

A full disk stops none of them for good.
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
    """Writer of `metrics.jsonl`, with the scalars of each round, and of TensorBoard's event files.

    Rows after `step` are removed: a resumed run writes them again. Rows that cannot be written wait
    for the next one.

    Raises:
        OSError: at the start, if the folder cannot be written at all.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "metrics.jsonl"
        self._remove_after(step)
        with append_to(self.path) as file:
            self._size, self._waiting = file.seek(0, os.SEEK_END), ""
        self._board = _Board(folder / "tensorboard", step)
        self.row: dict[str, float] = {}

    def _remove_after(self, step: int) -> None:
        """Remove the rows of later steps, and those that are torn."""
        if self.path.exists():
            append_to(self.path).close()  # refuses a link: another file must stay as it is
            with opened(self.path) as file:
                rows = [line for line in file.read().splitlines() if _step_of(line) <= step]
            write_bytes(self.path, b"".join(line + b"\n" for line in rows))

    def hparams(self, settings: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Write the row of TensorBoard's table of runs: settings, and scalars for its columns."""
        plain = {
            key: on_one_line(value) if isinstance(value, str) else value
            for key, value in settings.items()
            if isinstance(value, bool | int | float | str)
        }
        self.board("add_hparams", plain, metrics)

    def board(self, method: str, *arguments: Any, **options: Any) -> None:
        """Call a method of TensorBoard's event file, such as `add_image`."""
        self._board.call(method, *arguments, **options)

    def scalars(self, values: Mapping[str, float]) -> None:
        """Add values of the current round, under their complete tags."""
        self.row |= values

    def flush(self, step: int, seconds: float) -> None:
        """Write the values of the round in one row."""
        if not self.row:
            return

        self._waiting += json.dumps({"step": step, "seconds": round(seconds, 2), **self.row}) + "\n"
        self._append()

        for tag, value in self.row.items():
            self.board("add_scalar", tag, value, step)
        self.board("flush")
        self.row = {}

    def _append(self) -> None:
        """Append the rows that wait, after removing what a failed write left."""
        content = self._waiting.encode()
        with tolerated(self.path.name), append_to(self.path) as file:
            self._size = min(self._size, file.seek(0, os.SEEK_END))
            try:
                file.truncate(self._size)
                written = 0
                while written < len(content):
                    written += file.write(content[written:])
            except OSError:
                file.truncate(self._size)  # needs no space
                raise

            self._size, self._waiting = self._size + len(content), ""

    def rows(self, step: int) -> list[dict[str, Any]]:
        """All rows so far, and the values of this step as far as there are any."""
        lines = self._waiting.encode().splitlines()
        with suppress(FileNotFoundError), opened(self.path) as file:
            lines = file.read().splitlines() + lines
        return [*map(json.loads, filter(_is_row, lines)), {"step": step, **self.row}]

    def close(self) -> None:
        """Write what waits, and close the files."""
        if self._waiting:
            self._append()
        self._board.close()


class _Board:
    """TensorBoard's event files of a run; after a failed write the next event opens another."""

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._file: _EventFile | None = _EventFile(folder, step + 1)

    def call(self, method: str, *arguments: Any, **options: Any) -> None:
        """Call a method of the event file; an OSError is logged once for each file."""
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
    """An event file of TensorBoard, written in the calling thread.

    TensorBoard's own EventFileWriter, which torch's SummaryWriter wraps, writes in a thread, whose
    OSError Python prints as a traceback; its RecordWriter leaves the file to the caller.

    Args:
        purge_step: TensorBoard shall hide this and later steps of the folder's earlier files.

    Raises:
        OSError: from any method, the file cannot be written.
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
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **fields).SerializeToString())

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add a number."""
        from torch.utils.tensorboard.summary import scalar

        self._add(step=step, summary=scalar(tag, value))

    def add_text(self, tag: str, text: str, step: int) -> None:
        """Add text in Markdown."""
        from torch.utils.tensorboard import summary

        self._add(step=step, summary=summary.text(tag, text))

    def add_image(self, tag: str, pixels: Any, step: int, dataformats: str = "CHW") -> None:
        """Add an image; `dataformats` names its axes."""
        from torch.utils.tensorboard.summary import image

        self._add(step=step, summary=image(tag, pixels, dataformats=dataformats))

    def add_histogram(self, tag: str, values: "Tensor", step: int) -> None:
        """Add a histogram of numbers."""
        from torch.utils.tensorboard.summary import histogram

        self._add(step=step, summary=histogram(tag, values, _bins()))

    def add_hparams(self, settings: dict[str, Any], metrics: Sequence[str]) -> None:
        """Add the row of the table of runs."""
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(settings, dict.fromkeys(metrics, 0)):
            self._add(summary=summary)

    def flush(self) -> None:
        """Hand all events to the system."""
        self._records.flush()

    def close(self) -> None:
        """Flush, and close the file."""
        self._records.close()


def _new_event_path(folder: Path) -> Path:
    """A path that does not exist yet, named as TensorBoard names its event files."""
    start = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
    paths = (folder / f"{start}.{number}" for number in itertools.count())
    return next(path for path in paths if not path.exists())


def _bins() -> list[float]:
    """The bins of TensorBoard's histograms: their widths grow by a tenth from 0 outwards."""
    positive = [1e-12]
    while positive[-1] < 1e20 / 1.1:
        positive.append(positive[-1] * 1.1)
    return [*(-edge for edge in reversed(positive)), 0, *positive]


class LogFile(logging.FileHandler):
    """The log of a run, which follows no link to another file."""

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
    """The step of a row; infinite for a line that is torn or no row."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")
