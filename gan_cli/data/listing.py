"""The images below a folder: their names, classes, and which are held out, in a few bytes each."""

import hashlib
import logging
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gan_cli.errors import UserError

log = logging.getLogger(__name__)

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
TRAIN, HELD_OUT = ("train", "training"), ("val", "valid", "validation", "test")  # the first that is there counts


@dataclass(frozen=True)
class Listing:
    """Image files in the order in which they are packed: those to learn from first.

    A million files are a few arrays here, not a million objects.

    Args:
        folder: where they are.
        classes: the names of the classes.
        labels: the class of each file, (n,) int64.
        heldout: whether it is held out, (n,) bool.
        mark: changes with every file that is added, changed or removed.
        names: paths below the folder, end to end, in the order in which they were found.
        ends: where each of them ends, (n + 1,), from 0.
        order: the place of each file among the names, (n,).
    """

    folder: Path
    classes: list[str]
    labels: Any
    heldout: Any
    mark: str
    names: bytes
    ends: Any
    order: Any

    def __len__(self) -> int:
        return len(self.order)

    def paths(self, first: int, last: int) -> list[Path]:
        """The files from `first` up to, not with, `last`."""
        return [self.folder / os.fsdecode(self.names[self.ends[i] : self.ends[i + 1]]) for i in self.order[first:last]]


def listing(folder: Path, classes: bool, share: float) -> Listing:
    """Every image below the folder.

    Args:
        classes: whether the folders right below are classes.
        share: of every class that is held out, where the folder has no split of its own.

    Raises:
        UserError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UserError(f"data.folder={folder}: no such folder.")
    folder = _inmost(folder)
    roots = _split(folder)
    names, ends, tops, held, digests, mark = bytearray(), array("q", [0]), array("i"), array("b"), array("Q"), _Mark()
    numbers: dict[str, int] = {}  # of the folders right below, in the order in which they were found
    for root in sorted(roots):
        for top, path in _images(root):
            name = os.fsencode(os.path.relpath(path, folder))
            names += name
            ends.append(len(names))
            tops.append(numbers.setdefault(top, len(numbers)))
            held.append(roots[root])
            digests.append(int.from_bytes(hashlib.sha256(name).digest()[:8]))
            mark.take(name, path)
    if not tops:
        raise UserError(f"data.folder={folder}: no images in it ({', '.join(sorted(SUFFIXES))}).")
    known, labels = _labels(numbers, np.array(tops), classes, folder)
    heldout = np.array(held, bool) if len(roots) > 1 else _held_out(labels, np.array(digests), share)
    order = np.argsort(heldout, kind="stable")
    return Listing(folder, known, labels[order], heldout[order], mark.hexdigest(), bytes(names), np.array(ends), order)


class _Mark:
    """A digest of names, sizes and times."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.hexdigest = self._digest.hexdigest

    def take(self, name: bytes, path: str) -> None:
        try:
            state = os.stat(path)  # noqa: PTH116 - a million times
        except OSError:  # a link to nowhere: it is left out when the images are read
            return
        self._digest.update(name + f" {state.st_size} {state.st_mtime_ns}\n".encode())


def _labels(numbers: dict[str, int], tops: Any, classes: bool, folder: Path) -> tuple[list[str], Any]:
    """The names of the classes, and that of each file; no classes where there are not two of them."""
    names = sorted(numbers)
    if classes and "" in names and len(names) > 1:
        loose = int((tops == numbers[""]).sum())
        log.warning("%d images lie beside the folders of %s, so these are not taken as classes", loose, folder)
    if not classes or len(names) < 2 or "" in names:
        return [], np.zeros(len(tops), np.int64)
    places = np.empty(len(names), np.int64)
    places[[numbers[name] for name in names]] = np.arange(len(names))
    return names, places[tops]


def _held_out(labels: Any, digests: Any, share: float) -> Any:
    """A share of every class, at least one image of each that has two, chosen by their names alone."""
    counts = [max(1, round(share * n)) if n > 1 else 0 for n in np.bincount(labels).tolist()]
    held = np.zeros(len(labels), bool)
    for label, count in enumerate(counts):
        (own,) = np.nonzero(labels == label)
        held[own[np.argsort(digests[own], kind="stable")[:count]]] = True
    return held


def _split(folder: Path) -> dict[Path, bool]:
    """The folders to look into, and whether their images are held out: `train` and `val` (or `test`), or all."""
    inside = {path.name.lower(): path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    train = next((inside[name] for name in TRAIN if name in inside), None)
    held_out = next((inside[name] for name in HELD_OUT if name in inside), None)
    if train is None:
        return {folder: False}
    others = sorted(set(inside) - {train.name.lower(), *([held_out.name.lower()] if held_out else [])})
    if others and not held_out:  # `train` is one class among others
        return {folder: False}
    if others:
        taken = f"{train.name} and {held_out.name if held_out else 'nothing'}"
        log.warning("%s: takes its folders %s; left out: %s", folder, taken, ", ".join(others))
    return {_inmost(train): False} | ({_inmost(held_out): True} if held_out else {})


def _inmost(folder: Path) -> Path:
    """Past folders that hold nothing but one folder, as archives unpack."""
    while len(inside := [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]) == 1:
        if not inside[0].is_dir():
            break
        folder = inside[0]
    return folder


def _images(root: Path) -> Iterator[tuple[str, str]]:
    """Image files below a folder, in the order of their names, each after the folder right below in which it lies, or
    nothing; hidden ones and what macOS puts into archives aside."""
    seen: set[str] = set()  # links may lead in circles
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        files = [] if real in seen else files
        seen.add(real)
        top = Path(place).relative_to(root).parts[:1]
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):  # noqa: PTH122
                yield (top[0] if top else ""), os.path.join(place, name)  # noqa: PTH118
