"""What `checkpoint=` may name: a file, a run's folder, or the newest run. Nothing here imports
torch."""

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
NAMED = 6  # runs, or checkpoints, that a sentence lists
DEPTH = 6  # folders deep that runs are looked for
LOOKED_THROUGH = 20_000  # folders at most: one may have named the whole disk


def expanded(typed: str | Path) -> Path:
    """A path whose `~` is the user's home, as a shell would have it."""
    try:
        return Path(typed).expanduser()
    except RuntimeError:  # nobody has that home: a name like any other
        return Path(typed)


def checkpoint_file(typed: Any) -> Path:
    """The file that `checkpoint=` means.

    Args:
        typed: a checkpoint, a run's folder (its last checkpoint), or `latest`: the newest run below
            outputs/.

    Raises:
        UserError: there is none, or the folder is not that of one run; then the sentence lists what
            is there.
    """
    place = run_or_file(typed)
    if not place.is_dir():
        return place
    found = [path for path in (place / LAST, place / LAST.name) if path.is_file()]
    if found:
        return found[0]
    others = _checkpoints(place)
    which = (
        f"checkpoint={typed}: {place}, the newest run,"
        if str(typed) == LATEST
        else f"checkpoint={typed}:"
    )
    if others:
        raise UserError(
            f"{which} has no {LAST.name}; name one of its checkpoints: {_listed(others)}."
        )
    raise UserError(
        f"{which} has no checkpoint yet; gan-train writes one every checkpoint_every= rounds, and "
        "one when it ends."
    )


def run_or_file(typed: Any) -> Path:
    """As `checkpoint_file`, but the folder of a run as it is."""
    if not isinstance(typed, str | Path) or not str(typed):
        shown = on_one_line(repr(typed))[:50] if typed != "" else ""
        raise UserError(
            f"checkpoint={shown}: expected the path of a checkpoint or of a run's folder."
        )
    place = expanded(typed)
    mode = _mode(place, typed)
    if mode is None and str(typed) == LATEST:
        return _newest()
    if mode is None:
        raise UserError(f"checkpoint={typed}: no such file{_near(place)}.")
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise UserError(f"checkpoint={typed}: is a device or a pipe, not a checkpoint.")
    if stat.S_ISDIR(mode) and not _is_run(place) and not _checkpoints(place):
        raise UserError(f"checkpoint={typed}: {_instead(place)}.")
    return place


def runs_below(folder: Path) -> list[Path]:
    """The folders of the runs in a folder, at some depth, those last written to first; not what
    lies in a run."""
    found: list[Path] = []
    for place, names, _ in islice(os.walk(folder), LOOKED_THROUGH):
        runs = [name for name in names if _is_run(Path(place, name))]
        found += [Path(place, name) for name in runs]
        deep = len(Path(place).relative_to(folder).parts) + 1 >= DEPTH
        names[:] = (
            []
            if deep
            else sorted(name for name in names if name not in runs and not name.startswith("."))
        )
    return sorted(found, key=_written, reverse=True)


def _newest() -> Path:
    from gan_cli.config.commandline import OUTPUTS

    found = runs_below(OUTPUTS)
    if not found:
        raise UserError(
            f"checkpoint={LATEST}: no run below {OUTPUTS.resolve()}; name a checkpoint or a run's "
            "folder."
        )
    return found[0]


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CARD, LAST))


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in the folder of a run, or in that of its checkpoints."""
    return sorted([*folder.glob("checkpoints/*.pt"), *folder.glob("*.pt")])


def _written(run: Path) -> tuple[int, str]:
    """When a run was last written to; runs of one moment in the order of their names."""
    files = [path for path in (run / CARD, run / LAST) if path.is_file()]
    return max((path.stat().st_mtime_ns for path in files), default=0), str(run)


def _mode(place: Path, typed: str | Path) -> int | None:
    """What kind of file is there; None if there is none."""
    try:
        return place.stat().st_mode
    except ValueError:  # a name that no file can have
        return None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise UserError(f"checkpoint={typed}: {error.strerror}.") from None


def _near(place: Path) -> str:
    """The name nearest to one that is not there, of the same kind."""
    try:
        beside = [
            path.name
            for path in islice(place.parent.iterdir(), LOOKED_THROUGH)
            if path.suffix == place.suffix
        ]
        return closest(
            place.name,
            [name for name in beside if name.startswith(".") == place.name.startswith(".")],
        )
    except (OSError, ValueError):
        return ""


def _instead(folder: Path) -> str:
    """What to name in place of a folder that is not a run's."""
    if not (runs := runs_below(folder)):
        return "no run in that folder, which would hold checkpoints, as gan-train writes them"
    return (
        f"a folder with {len(runs)} run{'s' * (len(runs) > 1)} in it; name one, the newest "
        f"first: {_listed(runs)}"
    )


def _listed(paths: Sequence[Path]) -> str:
    more = f", and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(map(str, paths[:NAMED])) + more
