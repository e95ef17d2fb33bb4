"""The images below a folder: their names, classes, and which are held out, in a few bytes each."""

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
# the first that is there counts
TRAIN, HELD_OUT = ("train", "training"), ("val", "valid", "validation", "test")


@dataclass(frozen=True)
class Listing:
    """Image files in the order in which they are packed: those to learn from first.

    A million files are a few arrays here, not a million objects.

    Args:
        folder: where they are.
        classes: the names of the classes.
        labels: the class of each file, (n,) int64.
        heldout: whether it is held out, (n,) bool.
        digest: changes with every file that is added, changed or removed.
        names: paths below the folder, end to end, in the order in which they were found.
        ends: where each of them ends, (n + 1,), from 0.
        order: the place of each file among the names, (n,).
        passed: what else is there and is not taken, such as ` .heic`, and how often.
    """

    folder: Path
    classes: list[str]
    labels: Any
    heldout: Any
    digest: str
    names: bytes
    ends: Any
    order: Any
    passed: "Counter[str]"

    def __len__(self) -> int:
        return len(self.order)

    def paths(self, first: int, last: int) -> list[Path]:
        """The files from `first` up to, not with, `last`."""
        return [
            self.folder / os.fsdecode(self.names[self.ends[i] : self.ends[i + 1]])
            for i in self.order[first:last]
        ]


def listing(folder: Path, classes: bool, share: float) -> Listing:
    """Every image below the folder.

    Args:
        classes: whether the folders right below are classes.
        share: of every class that is held out, where the folder has no split of its own.

    Raises:
        UserError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        found = (
            "is a file or a pipe, not a folder; name the folder that the images are in"
            if folder.exists()
            else ""
        )
        raise UserError(f"data.folder={folder}: {found or 'no such folder'}.")
    folder = _inmost(folder)
    roots, files = _split(folder), _Files(folder)
    for root in sorted(roots):
        for top, path in _images(root, files.passed):
            files.take(top, path, roots[root])
    if not files.tops:
        there = f"; there are {told(files.passed)}" if files.passed else ""
        raise UserError(
            f"data.folder={folder}: no images in it ({', '.join(sorted(SUFFIXES))}){there}."
        )
    known, labels = _labels(files.numbers, np.array(files.tops), classes, folder)
    heldout = (
        np.array(files.held, bool)
        if len(roots) > 1
        else _held_out(labels, np.array(files.digests), share)
    )
    order = np.argsort(heldout, kind="stable")
    names, ends = bytes(files.names), np.array(files.ends)
    return Listing(
        folder,
        known,
        labels[order],
        heldout[order],
        files.digest(),
        names,
        ends,
        order,
        files.passed,
    )


def told(passed: "Counter[str]") -> str:
    """What was passed over, in words: the five most frequent kinds."""
    kinds = [f"{kind} ({count})" for kind, count in passed.most_common(5)]
    others = passed.total() - sum(count for _, count in passed.most_common(5))
    return on_one_line(", ".join([*kinds, *([f"others ({others})"] if others else [])]))


@dataclass
class _Files:
    """The files found so far; a digest of their names, sizes and times."""

    folder: Path
    names: bytearray = field(default_factory=bytearray)
    ends: Any = field(default_factory=lambda: array("q", [0]))
    tops: Any = field(default_factory=lambda: array("i"))
    held: Any = field(default_factory=lambda: array("b"))
    digests: Any = field(default_factory=lambda: array("Q"))
    # of the folders right below, in the order they were found
    numbers: dict[str, int] = field(default_factory=dict)
    passed: "Counter[str]" = field(default_factory=Counter)
    _digest: Any = field(default_factory=hashlib.sha256)

    def take(self, top: str, path: str, held: bool) -> None:
        name = os.fsencode(os.path.relpath(path, self.folder))
        try:
            state = os.stat(path)  # noqa: PTH116 - a million times
        except OSError:  # a link to nowhere: it is left out when the images are read
            pass
        else:
            if not stat.S_ISREG(state.st_mode):
                self.passed["pipes or devices"] += 1
                return
            self._digest.update(name + f" {state.st_size} {state.st_mtime_ns}\n".encode())
        self.names += name
        self.ends.append(len(self.names))
        self.tops.append(self.numbers.setdefault(top, len(self.numbers)))
        self.held.append(held)
        self.digests.append(int.from_bytes(hashlib.sha256(name).digest()[:8]))

    def digest(self) -> str:
        return self._digest.hexdigest()


def _labels(
    numbers: dict[str, int], tops: Any, classes: bool, folder: Path
) -> tuple[list[str], Any]:
    """The names of the classes, and that of each file; no classes where there are not two of
    them."""
    names = sorted(numbers, key=_natural)
    if classes and "" in names and len(names) > 1:
        loose = int((tops == numbers[""]).sum())
        log.warning(
            "%d images lie beside the folders of %s, so these are not taken as classes",
            loose,
            folder,
        )
    if not classes or len(names) < 2 or "" in names:
        return [], np.zeros(len(tops), np.int64)
    places = np.empty(len(names), np.int64)
    places[[numbers[name] for name in names]] = np.arange(len(names))
    return names, places[tops]


def _natural(name: str) -> tuple[list[str | int], str]:
    """Orders names as people do, 2 before 10."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _held_out(labels: Any, digests: Any, share: float) -> Any:
    """A share of every class, at least one image of each that has two, chosen by their names
    alone."""
    counts = [max(1, round(share * n)) if n > 1 else 0 for n in np.bincount(labels).tolist()]
    held = np.zeros(len(labels), bool)
    for label, count in enumerate(counts):
        (own,) = np.nonzero(labels == label)
        held[own[np.argsort(digests[own], kind="stable")[:count]]] = True
    return held


def _split(folder: Path) -> dict[Path, bool]:
    """The folders to look into, and whether their images are held out: `train` and `val` (or
    `test`), or all."""
    inside = {
        path.name.lower(): path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    }
    train = next((inside[name] for name in TRAIN if name in inside), None)
    held_out = next((inside[name] for name in HELD_OUT if name in inside), None)
    if train is None:
        return {folder: False}
    others = sorted(
        set(inside) - {train.name.lower(), *([held_out.name.lower()] if held_out else [])}
    )
    if others and not held_out:  # `train` is one class among others
        return {folder: False}
    if others:
        taken = f"{train.name} and {held_out.name if held_out else 'nothing'}"
        log.warning("%s: takes its folders %s; left out: %s", folder, taken, ", ".join(others))
    return {_inmost(train): False} | ({_inmost(held_out): True} if held_out else {})


def _inmost(folder: Path) -> Path:
    """Past folders that hold nothing but one folder, as archives unpack."""
    while (
        len(
            inside := [
                path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))
            ]
        )
        == 1
    ):
        if not inside[0].is_dir():
            break
        folder = inside[0]
    return folder


def _images(root: Path, passed: "Counter[str]") -> Iterator[tuple[str, str]]:
    """Image files below a folder, in the order of their names, each after the folder right below in
    which it lies, or nothing; hidden ones and what macOS puts into archives aside. What is passed
    over is counted."""
    seen: set[str] = set()  # links may lead in circles
    empty: set[str] = set()  # folders right below in which no image is found
    for place, folders, files in os.walk(
        root, followlinks=True, onerror=lambda _: passed.update([CLOSED])
    ):
        real = os.path.realpath(place)
        folders[:] = (
            []
            if real in seen
            else sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        )
        files = [] if real in seen else files
        seen.add(real)
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
                passed[suffix[:10] or "no suffix"] += 1
    passed.update({"folders without images": len(empty)} if empty else {})
