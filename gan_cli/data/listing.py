"""List of the images below a folder: names, classes and split, in a few bytes each."""

import hashlib
import logging
import os
import re
import stat
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gan_cli.errors import UserError, on_one_line
from gan_cli.reading.images import SUFFIXES, is_image

log = logging.getLogger(__name__)

CLOSED = "folders that cannot be opened"
HIDDEN = (".", "__MACOSX")  # beginnings of the names of ignored folders
# names of the folders of a split; of several, the first in this order is used
TRAIN, HELD_OUT = ("train", "training"), ("val", "valid", "validation", "test")
FREQUENT = 5  # kinds of skipped files that a message names


@dataclass(frozen=True)
class Listing:
    """Image files in the order in which they are packed: the training split first.

    A million files are a few arrays here, not a million objects.

    Args:
        folder: the folder that contains them.
        classes: names of the classes.
        labels: class of each file, (n,) int64.
        heldout: whether each file is held out, (n,) bool.
        digest: digest of all names, sizes and times; it differs if a file is added, changed or
            removed.
        names: concatenated paths relative to the folder, in the order of the search.
        ends: the offset in `names` at which each path ends, (n + 1,), beginning with 0.
        order: index in `names` of each file, (n,).
        skipped: kinds of files that are not used, such as `.heic`, and their numbers.
    """

    folder: Path
    classes: list[str]
    labels: Any
    heldout: Any
    digest: str
    names: bytes
    ends: Any
    order: Any
    skipped: "Counter[str]"

    def __len__(self) -> int:
        return len(self.order)

    def paths(self, first: int, last: int) -> list[Path]:
        """Paths of the files `first` to `last` - 1."""
        return [
            self.folder / os.fsdecode(self.names[self.ends[i] : self.ends[i + 1]])
            for i in self.order[first:last]
        ]


def listing(folder: Path, classes: bool, share: float) -> Listing:
    """All images below a folder.

    Args:
        folder: the folder to search.
        classes: whether its direct subfolders are classes.
        share: fraction of every class to hold out if the folder has no split of its own.

    Raises:
        UserError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UserError(
            f"data.folder={folder}: is a file or a pipe, not a folder; name the folder that the "
            "images are in."
            if folder.exists()
            else f"data.folder={folder}: no such folder."
        )
    folder = _innermost(folder)
    roots, files = _split(folder), _Files(folder)
    for root in sorted(roots):
        for top, path in _images(root, files.skipped):
            files.add(top, path, roots[root])
    if not files.tops:
        others = f"; there are {skipped_files(files.skipped)}" if files.skipped else ""
        raise UserError(
            f"data.folder={folder}: no images in it ({', '.join(sorted(SUFFIXES))}){others}."
        )

    names, labels = _labels(files.numbers, np.array(files.tops), classes, folder)
    if len(roots) > 1:
        heldout = np.array(files.heldout, bool)
    else:
        heldout = _choose_heldout(labels, np.array(files.hashes), share)
    order = np.argsort(heldout, kind="stable")
    return Listing(
        folder=folder,
        classes=names,
        labels=labels[order],
        heldout=heldout[order],
        digest=files.digest(),
        names=bytes(files.names),
        ends=np.array(files.ends),
        order=order,
        skipped=files.skipped,
    )


def skipped_files(skipped: "Counter[str]") -> str:
    """Description of the skipped files: the most frequent kinds, and the number of others."""
    frequent = skipped.most_common(FREQUENT)
    kinds = [f"{kind} ({count})" for kind, count in frequent]
    others = skipped.total() - sum(count for _, count in frequent)
    return on_one_line(", ".join([*kinds, *([f"others ({others})"] if others else [])]))


@dataclass
class _Files:
    """The files collected so far, with a digest of their names, sizes and times.

    Args:
        folder: the folder that is searched.
        names: see `Listing`.
        ends: see `Listing`.
        tops: for each file, the number of the direct subfolder that contains it.
        heldout: for each file, whether its folder is held out.
        hashes: for each file, a hash of its name.
        numbers: numbers of the direct subfolders, in the order of the search.
        skipped: see `Listing`.
    """

    folder: Path
    names: bytearray = field(default_factory=bytearray)
    ends: Any = field(default_factory=lambda: array("q", [0]))
    tops: Any = field(default_factory=lambda: array("i"))
    heldout: Any = field(default_factory=lambda: array("b"))
    hashes: Any = field(default_factory=lambda: array("Q"))
    numbers: dict[str, int] = field(default_factory=dict)
    skipped: "Counter[str]" = field(default_factory=Counter)
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, top: str, path: str, heldout: bool) -> None:
        """Add a file from the direct subfolder `top`, unless it is a pipe or a device."""
        name = os.fsencode(os.path.relpath(path, self.folder))
        try:
            state = os.stat(path)  # noqa: PTH116 - a million times, `Path` is slow
        except OSError:  # a broken link: it is left out when the images are read
            pass
        else:
            if not stat.S_ISREG(state.st_mode):
                self.skipped["pipes or devices"] += 1
                return
            self._digest.update(name + f" {state.st_size} {state.st_mtime_ns}\n".encode())

        self.names += name
        self.ends.append(len(self.names))
        self.tops.append(self.numbers.setdefault(top, len(self.numbers)))
        self.heldout.append(heldout)
        self.hashes.append(int.from_bytes(hashlib.sha256(name).digest()[:8]))

    def digest(self) -> str:
        return self._digest.hexdigest()


def _labels(
    numbers: dict[str, int], tops: Any, classes: bool, folder: Path
) -> tuple[list[str], Any]:
    """Names of the classes, and the label of each file; no classes if there are fewer than two."""
    names = sorted(numbers, key=_natural_key)
    if classes and "" in names and len(names) > 1:
        log.warning(
            "%d images lie beside the folders of %s, so these are not taken as classes",
            int((tops == numbers[""]).sum()),
            folder,
        )
    if not classes or len(names) < 2 or "" in names:
        return [], np.zeros(len(tops), np.int64)

    label_of = np.empty(len(names), np.int64)  # of each direct subfolder, by its number
    label_of[[numbers[name] for name in names]] = np.arange(len(names))
    return names, label_of[tops]


def _natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key by which 2 comes before 10."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _choose_heldout(labels: Any, hashes: Any, share: float) -> Any:
    """Mask of the held-out files, (n,) bool: a fraction of every class, chosen by hashes of names.

    Each class of two or more images has at least one held-out image.
    """
    counts = [max(1, round(share * n)) if n > 1 else 0 for n in np.bincount(labels).tolist()]
    heldout = np.zeros(len(labels), bool)
    for label, count in enumerate(counts):
        (members,) = np.nonzero(labels == label)
        heldout[members[np.argsort(hashes[members], kind="stable")[:count]]] = True
    return heldout


def _split(folder: Path) -> dict[Path, bool]:
    """Folders to search, and whether each is held out: `train` and `val` (or `test`), or all."""
    subfolders = {
        path.name.lower(): path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    }
    train = next((subfolders[name] for name in TRAIN if name in subfolders), None)
    heldout = next((subfolders[name] for name in HELD_OUT if name in subfolders), None)
    if train is None:
        return {folder: False}

    split = {path.name.lower() for path in (train, heldout) if path}
    others = sorted(set(subfolders) - split)
    if others and not heldout:  # `train` is one class among others
        return {folder: False}
    if others:
        used = f"{train.name} and {heldout.name if heldout else 'nothing'}"
        log.warning("%s: takes its folders %s; left out: %s", folder, used, ", ".join(others))
    return {_innermost(train): False} | ({_innermost(heldout): True} if heldout else {})


def _innermost(folder: Path) -> Path:
    """The first folder that contains more than one folder; archives often nest theirs."""
    while True:
        content = [path for path in folder.iterdir() if not path.name.startswith(HIDDEN)]
        if len(content) != 1 or not content[0].is_dir():
            return folder
        folder = content[0]


def _images(root: Path, skipped: "Counter[str]") -> Iterator[tuple[str, str]]:
    """Image files below a folder, in the order of their names; other files are counted.

    Hidden files and those that macOS adds to archives are ignored.

    Yields:
        The direct subfolder that contains the file (empty if there is none), and its path.
    """
    visited: set[str] = set()  # links may form a cycle
    empty: set[str] = set()  # direct subfolders without an image so far
    for place, folders, files in os.walk(
        root, followlinks=True, onerror=lambda _: skipped.update([CLOSED])
    ):
        real = os.path.realpath(place)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        top = "".join(Path(place).relative_to(root).parts[:1])
        empty.update(folders if place == str(root) else ())

        for name in sorted(files):
            if name.startswith("."):
                continue
            # a million names: `Path` would take most of the time
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
            path = os.path.join(place, name)  # noqa: PTH118
            if suffix in SUFFIXES or (not suffix and is_image(Path(path))):
                empty.discard(top)
                yield top, path
            else:
                skipped[suffix[:10] or "no suffix"] += 1

    skipped.update({"folders without images": len(empty)} if empty else {})
