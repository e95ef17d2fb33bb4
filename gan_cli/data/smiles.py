"""Molecules, written as SMILES: a string a molecule."""

import csv
import io
import logging
from pathlib import Path
from random import Random
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.spec import Spec
from gan_cli.data.text import (
    MOST_LEFT_OUT,
    decoded,
    numbered,
    one_hot_characters,
    refuse_too_much,
    unread,
)
from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.files import read_unpacked
from gan_cli.registry import datasets

log = logging.getLogger(__name__)

END = " "  # fills a string up to the common length; no SMILES holds one
HELD_OUT = 10  # every tenth molecule, in random order
WRITTEN = 20_000  # molecules of the grammar
# characters: RDKit needs minutes for longer molecules, and the stack of the process for the longest
LONGEST = 1000


@datasets.register("smiles")
class Smiles(Dataset):
    """Molecules as one-hot characters, (V, length); shorter ones end in blanks.

    Reference: Weininger, 1988, "SMILES, a Chemical Language and Information System", J. Chem. Inf.
    Comput. Sci. 28. Their validity is scored by RDKit, an extra.

    Args:
        file: a CSV file with a column of SMILES, or a line a molecule (.smi); either may be
            compressed (.gz, .bz2). null writes small molecules by a grammar: chains, branches,
            rings, with the valences that chemistry wants.
        column: of a CSV file.
        length: longer strings are left out, with a warning where they are more than a tenth; null
            takes the longest.
    """

    kind: ClassVar[str] = "text"
    metrics: ClassVar[tuple[str, ...]] = ("molecules", "ngrams")

    def __init__(
        self,
        file: str | None = None,
        column: str = "smiles",
        length: Annotated[int, Ge(1), Le(LONGEST)] | None = None,
    ) -> None:
        every = list(
            dict.fromkeys(_read(Path(file).expanduser(), column) if file else _written(WRITTEN))
        )
        longest = length or _longest(every, file)
        strings = [string for string in every if len(string) <= longest]
        if len(strings) < 2 * HELD_OUT:
            raise UserError(
                f"data.file={file}: {len(strings)} molecules of at most {longest} characters are "
                f"too few; it takes {2 * HELD_OUT}{_longer(every, longest)}."
            )
        refuse_too_much(len(strings), longest, f"data.file={file}", "molecules")
        vocabulary = END + "".join(sorted(set("".join(strings))))
        codes = numbered("".join(string.ljust(longest) for string in strings), vocabulary).view(
            -1, longest
        )
        codes = codes[torch.randperm(len(codes), generator=noise.generator("smiles"))]
        held_out = torch.arange(len(codes)) % HELD_OUT == 0
        self.train, self.heldout = {"x": codes[~held_out]}, {"x": codes[held_out]}
        self.spec = Spec("text", (len(vocabulary), longest), bounded=False, vocabulary=vocabulary)
        self.note = self._said(every, len(codes), longest, bool(length))

    def _said(self, every: list[str], kept: int, longest: int, chosen: bool) -> str:
        """The note; a warning too, where much is left out."""
        left = len(every) - kept
        if left > MOST_LEFT_OUT * len(every):
            log.warning(
                "data.length=%d leaves out %d of %d molecules%s",
                longest,
                left,
                len(every),
                _longer(every, longest),
            )
        told = f"; {left} longer than data.length={longest} left out" if chosen else ""
        rdkit = "; RDKit would say which samples are molecules: pip install 'gan-cli[molecules]'"
        return (
            f"{kept} different molecules of at most {longest} characters{told}; a tenth is held out"
            f"{'' if 'molecules' in self.default_metrics else rdkit}"
        )

    def decode(self, stored: Fields) -> Fields:
        return {**stored, "x": one_hot_characters(stored["x"], self.spec.shape[0])}


def strings(rows: Tensor, vocabulary: str) -> list[str]:
    """Characters by number, (N, length), as strings up to their first blank."""
    return ["".join(vocabulary[i] for i in row).split(END, 1)[0] for row in rows.tolist()]


def _longest(every: list[str], file: str | None) -> int:
    longest = max(map(len, every), default=0)
    if longest > LONGEST:
        raise UserError(
            f"data.file={file}: one of its molecules has {longest} characters, and at most "
            f"{LONGEST} can be taken"
            f"{_longer(every, 0)}."
        )
    return longest


def _longer(every: list[str], length: int) -> str:
    """The remedy where strings are longer than `length`: one that keeps 99 in 100, and one that
    keeps all."""
    lengths = sorted(map(len, every))
    keeps = sorted({lengths[(len(lengths) - 1) * 99 // 100], lengths[-1]}) if lengths else []
    offers = [n for n in keeps if length < n <= LONGEST]
    return (
        "; data.length=" + " or ".join(f"{n} takes {sum(m <= n for m in lengths)}" for n in offers)
        if offers
        else ""
    )


def _read(path: Path, column: str) -> list[str]:
    try:
        text = decoded(read_unpacked(path))
    except OSError as error:
        raise UserError(f"data.file={path}: cannot be read as text: {unread(error)}.") from None
    except ValueError as error:
        raise UserError(
            f"data.file={path}: cannot be read as text in UTF-8 or UTF-16 ({error})."
        ) from None
    name = path.name.lower().removesuffix(".gz").removesuffix(".bz2")
    cells = (
        _column(path, text, column)
        if name.endswith((".csv", ".tsv"))
        else text.rstrip("\n").split("\n")
    )
    # what stands behind a blank is a name, or more
    found = [cell.split()[0] for cell in cells if cell.strip()]
    if odd := sorted(character for character in set("".join(found)) if not "!" <= character <= "~"):
        raise UserError(
            f"data.file={path}: holds more than SMILES, such as {on_one_line(ascii(odd[0]))}."
        )
    if len(cells) - len(found) > MOST_LEFT_OUT * len(cells):
        log.warning(
            "data.file=%s: %d of its %d lines hold no molecule",
            path,
            len(cells) - len(found),
            len(cells),
        )
    return found


def _column(path: Path, text: str, column: str) -> list[str]:
    """The cells of a column; an empty one for a row that is too short to have it."""
    separator = "\t" if ".tsv" in path.name.lower() else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = [name.strip() for name in next(rows, [])]
        place = next((i for i, name in enumerate(names) if name.lower() == column.lower()), None)
        if place is None:
            known = on_one_line(", ".join(names[:50]))[:500]
            raise UserError(
                f"data.column={column}: {path} has no such "
                f"column{on_one_line(closest(column, names))}; it has {known}."
            )
        return [row[place] if len(row) > place else "" for row in rows if row]
    except csv.Error as error:
        raise UserError(f"data.file={path}: line {rows.line_num} is not CSV ({error}).") from None


def _written(count: int) -> list[str]:
    """Molecules of a small grammar, always the same ones."""
    random = Random(0)
    found: dict[str, None] = {}
    while len(found) < count:
        found[_grown(random, random.randint(3, 9), 1)] = None
    return list(found)


def _grown(random: Random, size: int, ring: int) -> str:
    """A piece that has one bond free on its left, of about `size` atoms; `ring` is the first number
    free."""
    if size <= 1:
        return random.choice(("C", "C", "O", "N", "F", "Cl", "C#N"))
    kind = random.choice(
        ("chain", "chain", "chain", "hetero", "branch", "ketone", "double", "ring", "aromatic")
    )
    size -= 4 if kind in ("ring", "aromatic") else 2 if kind == "branch" else 1
    rest = _grown(random, size, ring + (kind == "aromatic"))
    if kind == "ring":
        return f"C{ring}CC{random.choice(('C', 'CC', 'O', 'N'))}C{ring}{rest}"
    if kind == "aromatic":
        return f"c{ring}cc{random.choice('cn')}c({rest})c{ring}"
    if kind == "branch":
        return f"C({random.choice(('C', 'O', 'N', 'F', 'CC'))}){rest}"
    return {"chain": "C", "hetero": random.choice("ON"), "ketone": "C(=O)", "double": "C=C"}[
        kind
    ] + rest
