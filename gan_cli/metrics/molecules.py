"""Scores of SMILES strings: whether they are valid, different and new molecules."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.data.smiles import LONGEST, strings
from gan_cli.data.text import MOST_LEFT_OUT, characters
from gan_cli.files import cache_folder, intact, read_text, seal, tolerated, write_json
from gan_cli.metrics.scoring import Scoring
from gan_cli.registry import Count, metrics

log = logging.getLogger(__name__)


@metrics.register("molecules")
class MoleculeScores(Scoring):
    """Shares of valid, of different and of new molecules among the samples, by RDKit.

    Reference: Polykovskiy et al., 2020, "Molecular Sets (MOSES)", arXiv 1811.12823, section 3.

    - valid: share of the samples that are molecules, with a structure that chemistry allows;
    - unique: share of the valid ones that are different molecules;
    - novel: share of the different ones that are not in the training split;
    - valid_of, unique_of, novel_of: numbers of samples, of valid ones and of different ones that
      these are shares of;
    - usable: the product of the three, a share of the samples, which neither copies nor one good
      molecule can raise;
    - valid_random, valid_shuffled: validity of random characters, and of the characters of real
      molecules in random order, both of the lengths of real ones.

    Args:
        n: samples to score.
    """

    scores = (
        "usable", "valid", "unique", "novel", "valid_of", "unique_of", "novel_of", "valid_random",
        "valid_shuffled",
    )  # fmt: skip
    needs_package = "rdkit"
    extra = "molecules"
    objectives = ("usable", "valid", "unique", "novel")
    objective = "usable"
    lower_is_better = ()
    split = "training molecules; valid_random, valid_shuffled: made from held-out ones"

    def __init__(self, dataset: Dataset, n: Count = 2000) -> None:
        self.samples, self.vocabulary = n, dataset.spec.vocabulary
        self.known = _training_molecules(dataset)
        self.n_reference = len(self.known)
        real = strings(dataset.heldout["x"][: self.samples], self.vocabulary)
        self.n_floor = len(real)

        random, letters = Random(0), self.vocabulary[1:]  # all characters but the end sign
        noise = ["".join(random.choices(letters, k=len(string))) for string in real]
        shuffled = ["".join(random.sample(string, len(string))) for string in real]
        self.fixed = {
            "valid_random": _share_valid(noise),
            "valid_shuffled": _share_valid(shuffled),
        }

    def extract(self, samples: Tensor, y: Tensor | None, start: int) -> list[str | None]:
        """The canonical form of each sample, (n, V, length); None if it is no molecule."""
        return [*map(canonical, strings(characters(samples), self.vocabulary))]

    def compute(self, extracts: Sequence[list[str | None]]) -> dict[str, float]:
        every = [molecule for part in extracts for molecule in part]
        molecules = [molecule for molecule in every if molecule]
        different = set(molecules)

        valid = len(molecules) / len(every)
        unique = len(different) / max(len(molecules), 1)
        novel = len(different - self.known) / max(len(different), 1)
        return {
            "usable": valid * unique * novel,
            "valid": valid,
            "unique": unique,
            "novel": novel,
            "valid_of": float(len(every)),
            "unique_of": float(len(molecules)),
            "novel_of": float(len(different)),
            **self.fixed,
        }

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return (
            f"molecules by RDKit, {self.samples} samples against {len(self.known)} known ones; "
            f"valid by chance: random characters {self.fixed['valid_random']:.4f}, shuffled "
            f"molecules {self.fixed['valid_shuffled']:.4f}"
        )


def canonical(string: str) -> str | None:
    """RDKit's canonical SMILES of a molecule; None if it is invalid, or longer than data may be."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(string) if 0 < len(string) <= LONGEST else None
        return Chem.MolToSmiles(molecule) if molecule else None


def _share_valid(candidates: list[str]) -> float:
    return sum(canonical(string) is not None for string in candidates) / len(candidates)


def _training_molecules(dataset: Dataset) -> set[str]:
    """The training split in canonical form, from the cache if it was computed before."""
    from rdkit import rdBase

    every = strings(dataset.train["x"], dataset.spec.vocabulary)
    digest = hashlib.sha256("\n".join([rdBase.rdkitVersion, *every]).encode()).hexdigest()[:16]
    path = cache_folder() / "molecules" / f"{digest}.json"
    content = _cached(path)
    if content is None:
        valid = [molecule for molecule in map(canonical, every) if molecule]
        content = {"molecules": sorted(set(valid)), "unread": len(every) - len(valid)}
        with tolerated(f"the cache of molecules {path}"):
            write_json(path, content)
            seal(path)

    if content["unread"] > MOST_LEFT_OUT * len(every):
        log.warning(
            "RDKit takes %d of the %d training strings for no molecules: what samples are "
            "compared with lacks them",
            content["unread"],
            len(every),
        )
    return set(content["molecules"])


def _cached(path: Path) -> dict[str, Any] | None:
    """The content of the cache; None if there is none, or it is damaged."""
    if not path.exists() or not intact(path, otherwise="reading the molecules again"):
        return None
    content: dict[str, Any] = json.loads(read_text(path))
    return content
