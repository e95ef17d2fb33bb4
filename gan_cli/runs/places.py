"""Resolution of `checkpoint=`: a file, a run's folder, or the newest run.

Nothing here imports torch.
"""

import errno
import os
import stat
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.runs.rundir import CARD

LATEST = "latest"
LAST = Path("checkpoints", "last.pt")
MAX_LISTED = 6  # runs or checkpoints that a message lists
MAX_DEPTH = 6  # levels of folders that are searched for runs
MAX_ENTRIES = 20_000  # searched folders, or names in a folder: the user may name a whole disk


def expanded(typed: str | Path) -> Path:
    """The path with `~` replaced by the user's home, as in a shell."""
    try:
        return Path(typed).expanduser()
    except RuntimeError:  # no such user: then `~name` is an ordinary file name
        return Path(typed)


def checkpoint_file(typed: Any) -> Path:
    """The file that `checkpoint=` names.

    Args:
        typed: a checkpoint, a run's folder (its last checkpoint), or `latest`: the newest run below
            outputs/.

    Raises:
        UserError: no such file, or a folder without a last checkpoint; the message lists
            alternatives.
    """
    path = run_or_file(typed)
    if not path.is_dir():
        return path
    for last in (path / LAST, path / LAST.name):
        if last.is_file():
            return last

    subject = f"checkpoint={typed}:"
    if str(typed) == LATEST:
        subject += f" {path}, the newest run,"
    if others := _checkpoints(path):
        raise UserError(
            f"{subject} has no {LAST.name}; name one of its checkpoints: {_listed(others)}."
        )
    raise UserError(
        f"{subject} has no checkpoint yet; gan-train writes one every checkpoint_every= rounds, "
        "and one when it ends."
    )


def run_or_file(typed: Any) -> Path:
    """The path that `checkpoint=` names: a file, or the folder of a run.

    Raises:
        UserError: no such path, neither a file nor a folder, or a folder without checkpoints.
    """
    if not isinstance(typed, str | Path) or not str(typed):
        shown = on_one_line(repr(typed))[:50] if typed != "" else ""
        raise UserError(
            f"checkpoint={shown}: expected the path of a checkpoint or of a run's folder."
        )

    path = expanded(typed)
    file_mode = _file_mode(path, typed)
    if file_mode is None and str(typed) == LATEST:
        return _newest_run()
    if file_mode is None:
        raise UserError(f"checkpoint={typed}: no such file{_similar_name(path)}.")

    if not stat.S_ISDIR(file_mode) and not stat.S_ISREG(file_mode):
        raise UserError(f"checkpoint={typed}: is a device or a pipe, not a checkpoint.")
    if stat.S_ISDIR(file_mode) and not _is_run(path) and not _checkpoints(path):
        raise UserError(f"checkpoint={typed}: {_runs_or_none(path)}.")
    return path


def runs_below(folder: Path) -> list[Path]:
    """Folders of runs at any depth below a folder, the most recently written one first.

    Neither hidden folders nor the folders inside a run are searched.
    """
    runs: list[Path] = []
    for parent, names, _ in islice(os.walk(folder), MAX_ENTRIES):
        run_names = [name for name in names if _is_run(Path(parent, name))]
        runs += [Path(parent, name) for name in run_names]

        # os.walk descends into the names that remain in the list
        depth = len(Path(parent).relative_to(folder).parts) + 1
        if depth >= MAX_DEPTH:
            names.clear()
        else:
            names[:] = sorted(
                name for name in names if name not in run_names and not name.startswith(".")
            )
    return sorted(runs, key=_last_written, reverse=True)


def _newest_run() -> Path:
    """The folder of the newest run below outputs/. Raise UserError if there is none."""
    from gan_cli.config.commandline import OUTPUTS

    runs = runs_below(OUTPUTS)
    if not runs:
        raise UserError(
            f"checkpoint={LATEST}: no run below {OUTPUTS.resolve()}; name a checkpoint or a run's "
            "folder."
        )
    return runs[0]


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of a run: it contains a card or a last checkpoint."""
    return any((folder / name).is_file() for name in (CARD, LAST))


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run, whose folder or subfolder `checkpoints` is given."""
    return sorted([*folder.glob("checkpoints/*.pt"), *folder.glob("*.pt")])


def _last_written(run: Path) -> tuple[int, str]:
    """Sort key of a run: time of its last write in nanoseconds, then its name."""
    files = [path for path in (run / CARD, run / LAST) if path.is_file()]
    return max((path.stat().st_mtime_ns for path in files), default=0), str(run)


def _file_mode(path: Path, typed: str | Path) -> int | None:
    """Type and permissions of a file, as in `os.stat`; None if there is no such file."""
    try:
        return path.stat().st_mode
    except ValueError:  # an impossible file name, such as one with a null byte
        return None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise UserError(f"checkpoint={typed}: {error.strerror}.") from None


def _similar_name(missing: Path) -> str:
    """A suggestion for a missing path: a similar name in its folder, with the same suffix."""
    is_hidden = missing.name.startswith(".")
    try:
        names = [
            path.name
            for path in islice(missing.parent.iterdir(), MAX_ENTRIES)
            if path.suffix == missing.suffix and path.name.startswith(".") == is_hidden
        ]
        return closest(missing.name, names)
    except (OSError, ValueError):
        return ""


def _runs_or_none(folder: Path) -> str:
    """A message on the runs inside a folder that is not a run itself."""
    if not (runs := runs_below(folder)):
        return "no run in that folder, which would hold checkpoints, as gan-train writes them"
    return (
        f"a folder with {len(runs)} run{'s' * (len(runs) > 1)} in it; name one, the newest "
        f"first: {_listed(runs)}"
    )


def _listed(paths: Sequence[Path]) -> str:
    """The first few paths, and the number of the others."""
    more = f", and {len(paths) - MAX_LISTED} more" if len(paths) > MAX_LISTED else ""
    return ", ".join(map(str, paths[:MAX_LISTED])) + more
