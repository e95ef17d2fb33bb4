"""Molecules, written as SMILES: a string a molecule."""

import csv
import gzip
import io
import zlib
from pathlib import Path
from random import Random
from typing import ClassVar

import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Fields, Spec
from gan_cli.data.text import OTHER, one_hot_characters
from gan_cli.errors import UserError, closest
from gan_cli.registry import Count, datasets

END = " "  # fills a string up to the common length; no SMILES holds one
HELD_OUT = 10  # every tenth molecule, in random order
WRITTEN = 20_000  # molecules of the grammar


@datasets.register("smiles")
class Smiles(Dataset):
    """Molecules as one-hot characters, (V, length); shorter ones end in blanks.

    Reference: Weininger, 1988, "SMILES, a Chemical Language and Information System", J. Chem. Inf. Comput. Sci. 28.
    Their validity is scored by RDKit, an extra.

    Args:
        file: a CSV file with a column of SMILES, or a line a molecule (.smi); either may be compressed (.gz). null
            writes small molecules by a grammar: chains, branches, rings, with the valences that chemistry wants.
        column: of a CSV file.
        length: longer strings are left out; null takes the longest.
    """

    kind: ClassVar[str] = "text"
    metrics: ClassVar[tuple[str, ...]] = ("molecules", "ngrams")

    def __init__(self, file: str | None = None, column: str = "smiles", length: Count | None = None) -> None:
        every = list(dict.fromkeys(_read(Path(file).expanduser(), column) if file else _written(WRITTEN)))
        longest = length or max(map(len, every), default=0)
        strings = [string for string in every if len(string) <= longest]
        if len(strings) < 2 * HELD_OUT:
            raise UserError(f"data.file={file}: {len(strings)} molecules of at most {longest} characters are too few.")
        vocabulary = END + "".join(sorted(set("".join(strings))))
        codes = torch.tensor([[vocabulary.index(c) for c in string.ljust(longest)] for string in strings])
        codes = codes[torch.randperm(len(codes), generator=noise.generator("smiles"))].to(torch.uint8)
        held_out = torch.arange(len(codes)) % HELD_OUT == 0
        self.train, self.heldout = {"x": codes[~held_out]}, {"x": codes[held_out]}
        self.spec = Spec("text", (len(vocabulary), longest), bounded=False, vocabulary=vocabulary)
        left = f"; {len(every) - len(strings)} longer than data.length={length} left out" if length else ""
        self.note = f"{len(codes)} different molecules of at most {longest} characters{left}; a tenth is held out"
        if "molecules" not in self.scored_by:
            self.note += "; RDKit would say which samples are molecules: pip install 'gan-cli[molecules]'"

    def decode(self, stored: Fields) -> Fields:
        return {**stored, "x": one_hot_characters(stored["x"], self.spec.shape[0])}


def strings(rows: Tensor, vocabulary: str) -> list[str]:
    """Characters by number, (N, length), as strings up to their first blank."""
    return ["".join(vocabulary[i] for i in row).split(END, 1)[0] for row in rows.tolist()]


def _read(path: Path, column: str) -> list[str]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"data.file={path}: {error.strerror}.") from None
    except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"data.file={path}: cannot be read as text ({error}).") from None
    table = path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv"))
    cells = _column(path, text, column) if table else text.splitlines()
    found = [cell.split()[0] for cell in cells if cell.strip()]  # what stands behind a blank is a name, or more
    if OTHER in "".join(found) or len(set("".join(found))) > 255:
        raise UserError(f"data.file={path}: holds more than SMILES.")
    return found


def _column(path: Path, text: str, column: str) -> list[str]:
    separator = "\t" if ".tsv" in path.name.lower() else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = [name.strip() for name in next(rows, [])]
        place = next((i for i, name in enumerate(names) if name.lower() == column.lower()), None)
        if place is None:
            raise UserError(
                f"data.column={column}: {path} has no such column{closest(column, names)}; it has {', '.join(names)}."
            )
        return [row[place] for row in rows if len(row) > place]
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
    """A piece that has one bond free on its left, of about `size` atoms; `ring` is the first number free."""
    if size <= 1:
        return random.choice(("C", "C", "O", "N", "F", "Cl", "C#N"))
    kind = random.choice(("chain", "chain", "chain", "hetero", "branch", "ketone", "double", "ring", "aromatic"))
    size -= 4 if kind in ("ring", "aromatic") else 2 if kind == "branch" else 1
    rest = _grown(random, size, ring + (kind == "aromatic"))
    if kind == "ring":
        return f"C{ring}CC{random.choice(('C', 'CC', 'O', 'N'))}C{ring}{rest}"
    if kind == "aromatic":
        return f"c{ring}cc{random.choice('cn')}c({rest})c{ring}"
    if kind == "branch":
        return f"C({random.choice(('C', 'O', 'N', 'F', 'CC'))}){rest}"
    return {"chain": "C", "hetero": random.choice("ON"), "ketone": "C(=O)", "double": "C=C"}[kind] + rest
