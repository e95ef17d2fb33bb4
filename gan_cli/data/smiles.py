"""Molecules as SMILES strings."""

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
    indices_of,
    one_hot_characters,
    refuse_beyond_memory,
    unreadable,
)
from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.files import read_unpacked
from gan_cli.registry import datasets

log = logging.getLogger(__name__)

END = " "  # pads strings to the common length; no SMILES contains it
HELD_OUT = 10  # one molecule in so many is held out, in random order
GENERATED = 20_000  # molecules that the grammar generates if there is no file
# characters of a molecule: for longer ones RDKit needs minutes, or overflows the stack
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
        molecules = _read(Path(file).expanduser(), column) if file else _generated(GENERATED)
        every = list(dict.fromkeys(molecules))
        longest = length or _longest(every, file)
        strings = [string for string in every if len(string) <= longest]
        if len(strings) < 2 * HELD_OUT:
            raise UserError(
                f"data.file={file}: {len(strings)} molecules of at most {longest} characters are "
                f"too few; it takes {2 * HELD_OUT}{_remedy(every, longest)}."
            )
        refuse_beyond_memory(len(strings), longest, f"data.file={file}", "molecules")

        vocabulary = END + "".join(sorted(set("".join(strings))))
        padded = "".join(string.ljust(longest) for string in strings)
        codes = indices_of(padded, vocabulary).view(-1, longest)
        codes = codes[torch.randperm(len(codes), generator=noise.generator("smiles"))]
        held_out = torch.arange(len(codes)) % HELD_OUT == 0
        self.train, self.heldout = {"x": codes[~held_out]}, {"x": codes[held_out]}
        self.spec = Spec("text", (len(vocabulary), longest), bounded=False, vocabulary=vocabulary)
        self.note = self._description(every, len(codes), longest, bool(length))

    def _description(self, every: list[str], used: int, longest: int, chosen: bool) -> str:
        """The note of the data set; logs a warning too if many molecules are left out."""
        left_out = len(every) - used
        if left_out > MOST_LEFT_OUT * len(every):
            log.warning(
                "data.length=%d leaves out %d of %d molecules%s",
                longest,
                left_out,
                len(every),
                _remedy(every, longest),
            )
        longer = f"; {left_out} longer than data.length={longest} left out" if chosen else ""
        rdkit = "; RDKit would say which samples are molecules: pip install 'gan-cli[molecules]'"
        return (
            f"{used} different molecules of at most {longest} characters{longer}; a tenth is held "
            f"out{'' if 'molecules' in self.default_metrics else rdkit}"
        )

    def decode(self, stored: Fields) -> Fields:
        return {**stored, "x": one_hot_characters(stored["x"], self.spec.shape[0])}


def strings(rows: Tensor, vocabulary: str) -> list[str]:
    """Strings up to their first blank, from indices of characters, (N, length)."""
    return ["".join(vocabulary[i] for i in row).split(END, 1)[0] for row in rows.tolist()]


def _longest(every: list[str], file: str | None) -> int:
    """Length of the longest molecule.

    Raises:
        UserError: it is too long.
    """
    longest = max(map(len, every), default=0)
    if longest > LONGEST:
        raise UserError(
            f"data.file={file}: one of its molecules has {longest} characters, and at most "
            f"{LONGEST} can be taken{_remedy(every, 0)}."
        )
    return longest


def _remedy(every: list[str], length: int) -> str:
    """Proposal of larger values of `data.length`: for 99 in 100 molecules, and for all of them."""
    lengths = sorted(map(len, every))
    larger = sorted({lengths[(len(lengths) - 1) * 99 // 100], lengths[-1]}) if lengths else []
    offers = [n for n in larger if length < n <= LONGEST]
    if not offers:
        return ""
    return "; data.length=" + " or ".join(
        f"{n} takes {sum(other <= n for other in lengths)}" for n in offers
    )


def _read(path: Path, column: str) -> list[str]:
    """The molecules in a file.

    Raises:
        UserError: it cannot be read, or contains more than SMILES.
    """
    try:
        text = decoded(read_unpacked(path))
    except OSError as error:
        raise UserError(f"data.file={path}: cannot be read as text: {unreadable(error)}.") from None
    except ValueError as error:
        raise UserError(
            f"data.file={path}: cannot be read as text in UTF-8 or UTF-16 ({error})."
        ) from None

    name = path.name.lower().removesuffix(".gz").removesuffix(".bz2")
    if name.endswith((".csv", ".tsv")):
        cells = _column(path, text, column)
    else:
        cells = text.rstrip("\n").split("\n")
    # a blank ends the SMILES; names and other data may follow it
    molecules = [cell.split()[0] for cell in cells if cell.strip()]

    if invalid := sorted(c for c in set("".join(molecules)) if not "!" <= c <= "~"):
        raise UserError(
            f"data.file={path}: holds more than SMILES, such as {on_one_line(ascii(invalid[0]))}."
        )
    empty = len(cells) - len(molecules)
    if empty > MOST_LEFT_OUT * len(cells):
        log.warning("data.file=%s: %d of its %d lines hold no molecule", path, empty, len(cells))
    return molecules


def _column(path: Path, text: str, column: str) -> list[str]:
    """The cells of a column of a CSV file; an empty one for a row that is too short.

    Raises:
        UserError: there is no such column, or the file is no CSV.
    """
    separator = "\t" if ".tsv" in path.name.lower() else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = [name.strip() for name in next(rows, [])]
        index = next((i for i, name in enumerate(names) if name.lower() == column.lower()), None)
        if index is None:
            known = on_one_line(", ".join(names[:50]))[:500]
            raise UserError(
                f"data.column={column}: {path} has no such "
                f"column{on_one_line(closest(column, names))}; it has {known}."
            )
        return [row[index] if len(row) > index else "" for row in rows if row]
    except csv.Error as error:
        raise UserError(f"data.file={path}: line {rows.line_num} is not CSV ({error}).") from None


def _generated(count: int) -> list[str]:
    """Different molecules of a small grammar, always the same ones."""
    random = Random(0)
    molecules: dict[str, None] = {}
    while len(molecules) < count:
        molecules[_fragment(random, random.randint(3, 9), 1)] = None
    return list(molecules)


def _fragment(random: Random, size: int, ring: int) -> str:
    """A fragment of about `size` atoms with one free bond on its left.

    Args:
        ring: the smallest number that is not used for an open ring.
    """
    if size <= 1:
        return random.choice(("C", "C", "O", "N", "F", "Cl", "C#N"))
    kind = random.choice(
        ("chain", "chain", "chain", "hetero", "branch", "ketone", "double", "ring", "aromatic")
    )
    size -= 4 if kind in ("ring", "aromatic") else 2 if kind == "branch" else 1
    rest = _fragment(random, size, ring + (kind == "aromatic"))

    if kind == "ring":
        return f"C{ring}CC{random.choice(('C', 'CC', 'O', 'N'))}C{ring}{rest}"
    if kind == "aromatic":
        return f"c{ring}cc{random.choice('cn')}c({rest})c{ring}"
    if kind == "branch":
        return f"C({random.choice(('C', 'O', 'N', 'F', 'CC'))}){rest}"
    atoms = {"chain": "C", "hetero": random.choice("ON"), "ketone": "C(=O)", "double": "C=C"}
    return atoms[kind] + rest
