"""The only way to write or lock a file, and to read files from other people. No torch.

A file is written under a temporary name and then renamed: at any moment the old or the new content
is complete. Only regular files are read, and never more bytes than the caller allows. All errors
are OSErrors whose `filename` and `strerror` form a sentence.
"""

import bz2
import csv
import errno
import fcntl
import functools
import gzip
import hashlib
import json
import logging
import os
import re
import stat
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader, FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from platformdirs import user_cache_dir

log = logging.getLogger(__name__)

SMALL = 16 * 2**20  # bytes: more than any card, configuration or index that this package writes
LARGEST_DATA = 1 / 8  # fraction of the machine's memory that one file of data may unpack to
PART = re.compile(r"\..+\.\d+\.part")  # names of temporary files, see `replacing`
CRLF = "\r\n"
# cells that a spreadsheet runs as a formula; also with full-width signs
FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20].", re.DOTALL)
NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]*(e[+-]?[0-9]+)?|[+-]?(inf|nan)", re.IGNORECASE)
KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}
"""Names of everything that is no regular file, by its test."""


def cache_folder() -> Path:
    """The folder of downloaded data and trained classifiers: `$GAN_CACHE`, or the system's one."""
    return Path(os.environ.get("GAN_CACHE") or user_cache_dir("gan-cli"))


def memory() -> int:
    """Size of this machine's memory in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """A temporary file beside `path`, which replaces `path` at the end of the block.

    If the block raises an exception, the temporary file is removed. Temporary files of killed
    writers are removed first.

    Args:
        path: the file to write; its folder is created.
        durable: write the content and the folder's entry to the disk before this returns, so that
            a power failure afterwards cannot undo it.

    Raises:
        OSError: the folder cannot be written, the disk is full, or `path` is a folder, a device or
            a pipe.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _refuse_irregular(path.stat(), path)
    _remove_leftovers_once(path.parent.resolve())

    temporary = path.with_name(f".{path.name}.{threading.get_native_id()}.part")
    try:
        with locked(temporary):
            yield temporary
            if durable:
                _sync(temporary)
            temporary.replace(path)
        if durable:
            _sync(path.parent)
    except OSError as error:
        # `write` sets no file name, and libraries may set no errno
        if error.filename is None:
            raise OSError(
                error.errno or errno.EIO, error.strerror or str(error), str(path)
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; its folder is created."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a text in UTF-8 atomically; its folder is created."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file atomically."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV; an apostrophe before a formula keeps spreadsheets from running it."""
    lines: list[str] = []
    # the writer ends lines by CRLF; with another line end it would not put a CR within a cell in
    # quotes
    collector = SimpleNamespace(write=lines.append)
    csv.writer(collector).writerows([_inert(cell) for cell in row] for row in rows)
    return "".join(f"{line.removesuffix(CRLF)}\n" for line in lines)


def _inert(cell: object) -> object:
    """The cell, with an apostrophe before it if it is a formula."""
    if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, atomically; a copy if hard links are impossible."""
    with replacing(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            temporary.write_bytes(source.read_bytes())


def append_to(path: Path) -> FileIO:
    """A regular file opened for appending, created if it does not exist; links are not followed.

    Raises:
        OSError: it is a link, a pipe or a device, or it cannot be written.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(
                errno.ELOOP, "is a link, through which nothing is written", str(path)
            ) from None
        raise
    file = FileIO(handle, "ab")
    try:
        _refuse_irregular(os.fstat(handle), path)
    except OSError:
        file.close()
        raise
    return file


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path below a folder leads out of it, through a link."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers from a folder; those of live ones are locked."""
    with suppress(OSError):  # the folder cannot be listed, or another process was quicker
        for path in folder.iterdir():
            if PART.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                with path.open("ab") as file:
                    if lock(file, wait=False):
                        path.unlink(missing_ok=True)


@functools.cache  # a process may write ten thousand pictures into one folder
def _remove_leftovers_once(folder: Path) -> None:
    remove_leftovers(folder)


def lock(file: IO[Any], wait: bool = True) -> bool:
    """Lock an open file for this process, until it is closed or the process ends in any way.

    Args:
        wait: wait while another process has the lock.

    Returns:
        False if another process has the lock and `wait` is false.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A file that is created if need be, and locked in the block."""
    while True:
        with path.open("ab") as file:
            lock(file)
            # else another process took the file for a leftover and removed it: create it again
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield
                return


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def tolerated(name: str) -> Iterator[None]:
    """Log an OSError in the block instead of raising it, so that training continues.

    Args:
        name: description of the file that the block writes.
    """
    try:
        yield
    except OSError as error:
        log.error("%s could not be written (%s); training goes on", name, error.strerror or error)


# --- reading --------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file opened for reading; a pipe or a device is refused, as reading could block.

    Raises:
        OSError: it does not exist, is no regular file, or may not be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _refuse_irregular(os.fstat(handle), path)
    except OSError:
        os.close(handle)
        raise
    with os.fdopen(handle, "rb") as file:
        yield file


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        most: maximum number of bytes; None for a fraction of the machine's memory.

    Raises:
        OSError: see `opened`; or the file is longer.
    """
    most = _limit(most)
    with opened(path) as file:
        content = file.read(most + 1)
    return _refuse_longer(content, most, path)


def read_text(path: Path, most: int | None = None) -> str:
    """The content of a text file in UTF-8, with or without a byte order mark; see `read_bytes`.

    Raises:
        OSError: see `read_bytes`.
        UnicodeDecodeError: it is not in UTF-8.
    """
    return read_bytes(path, most).decode("utf-8-sig")


def read_unpacked(path: Path, most: int | None = None) -> bytes:
    """The content of a file, decompressed if it is .gz or .bz2; see `read_bytes`.

    Raises:
        OSError: see `read_bytes`; or it is damaged.
    """
    compression: Any = {".gz": gzip, ".bz2": bz2}.get(path.suffix.lower())
    if compression is None:
        return read_bytes(path, most)

    most = _limit(most)
    try:
        with opened(path) as file, compression.open(file) as unpacked:
            content = unpacked.read(most + 1)
    except (EOFError, zlib.error, OSError) as error:
        if getattr(error, "errno", None) is not None:  # an error of the system, not of the content
            raise
        raise OSError(errno.EIO, f"is damaged ({error})", str(path)) from None
    return _refuse_longer(content, most, path)


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a small JSON file; {} if there is no such file, or it is invalid."""
    try:
        content = json.loads(read_text(path, SMALL))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _limit(most: int | None) -> int:
    """The maximum number of bytes to read."""
    return int(LARGEST_DATA * memory()) if most is None else most


def _refuse_longer(content: bytes, most: int, path: Path) -> bytes:
    if len(content) > most:
        raise OSError(
            errno.EFBIG,
            f"holds more than the {most / 2**20:,.0f} MiB that are read of it here",
            str(path),
        )
    return content


def _refuse_irregular(state: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(state.st_mode):
        kind = next(
            (name for is_kind, name in KINDS.items() if is_kind(state.st_mode)), "something else"
        )
        raise OSError(errno.EINVAL, f"is {kind}, not a file", str(path))


# --- caches ---------------------------------------------------------------------------------------


def checksum(path: Path) -> str:
    """Digest of a regular file's content."""
    with opened(path) as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def seal(path: Path) -> None:
    """Write the checksum of a file of the cache beside it."""
    write_text(_seal_of(path), checksum(path) + "\n")


def intact(path: Path, otherwise: str) -> bool:
    """Whether a file of the cache is as it was written; if not, a warning.

    Args:
        otherwise: what the caller does about it, for the warning.
    """
    sealed = is_sealed(path)
    if not sealed:
        log.warning("%s is not what was written there, or of an older gan-cli; %s", path, otherwise)
    return sealed


def is_sealed(path: Path) -> bool:
    """Whether a file of the cache is as it was written, by its checksum."""
    try:
        return read_text(_seal_of(path), SMALL).strip() == checksum(path)
    except (OSError, ValueError):
        return False


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sum")
