"""The one way to write a file: old or new, never torn; and to read one: regular, bounded."""

import gzip
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gan_cli import files


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    files.write_text(path, "old")
    with pytest.raises(OSError, match="No space"), files.replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError(28, "No space left on device", str(temporary))
    assert path.read_text() == "old" and [*path.parent.iterdir()] == [path]
    files.write_text(path, "new")
    assert path.read_text() == "new"


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_stays(
    tmp_path: Path,
) -> None:
    code = (
        "import time; from pathlib import Path; from gan_cli import files\n"
        f"with files.replacing(Path({str(tmp_path)!r}) / 'a') as part: part.write_text('half'); "
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as writer:
        while not (parts := [*tmp_path.glob(".a.*.part")]) or not parts[0].stat().st_size:
            time.sleep(0.05)
        files.remove_leftovers(tmp_path)
        assert parts[0].exists()
        writer.send_signal(signal.SIGKILL)
    (tmp_path / ".mine.part").touch()  # not of this package
    files.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".mine.part"]


def test_only_regular_files_are_read_or_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for name, kind in (("pipe", "a named pipe"), (".", "a folder"), ("/dev/zero", "a device")):
        with pytest.raises(OSError, match=f"is {kind}, not a file"):
            files.read_bytes(tmp_path / name)
        with pytest.raises(OSError, match=f"is {kind}, not a file"):
            files.write_text(tmp_path / name, "x")
    with pytest.raises(OSError, match="is a socket"):
        files.write_text(tmp_path / "socket", "x")
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "none")


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert files.read_bytes(tmp_path / "a", 100) == b"x" * 100
    with pytest.raises(OSError, match="holds more than"):
        files.read_bytes(tmp_path / "a", 99)
    (tmp_path / "b.gz").write_bytes(gzip.compress(bytes(10**7)))
    assert len(files.read_unpacked(tmp_path / "b.gz")) == 10**7
    with pytest.raises(OSError, match="holds more than"):
        files.read_unpacked(tmp_path / "b.gz", 10**6)
    (tmp_path / "c.gz").write_bytes(gzip.compress(b"content")[:-9])
    with pytest.raises(OSError, match="is damaged"):
        files.read_unpacked(tmp_path / "c.gz")


def test_a_sealed_file_is_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"content")
    assert not files.is_sealed(path)
    files.seal(path)
    assert files.is_sealed(path)
    path.write_bytes(b"Content")
    assert not files.is_sealed(path)
