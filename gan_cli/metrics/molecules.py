"""Whether strings are molecules, and new ones."""

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
from gan_cli.files import cache_folder, is_sealed, read_text, seal, tolerated, write_json
from gan_cli.metrics.provenance import Provenance
from gan_cli.metrics.scoring import Scoring
from gan_cli.registry import Count, metrics

log = logging.getLogger(__name__)


@metrics.register("molecules")
class MoleculeScores(Scoring):
    """How many of the samples RDKit reads as molecules, how many of those differ, how many of those
    are new.

    Reference: Polykovskiy et al., 2020, "Molecular Sets (MOSES)", arXiv 1811.12823, section 3.

    - valid: share of the samples that are molecules, with a structure that chemistry allows;
    - unique: share of the valid ones that are different molecules;
    - novel: share of these that are not in the training split;
    - valid_of, unique_of, novel_of: how many samples, valid ones and different ones these are
      shares of;
    - usable: the product of the three, a share of the samples, which neither a copy nor one good
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

    def __init__(self, dataset: Dataset, n: Count = 2000) -> None:
        self.samples, self.vocabulary = n, dataset.spec.vocabulary
        self.known = _known(dataset)
        real = strings(dataset.heldout["x"][: self.samples], self.vocabulary)
        self.heldout, random = len(real), Random(0)
        letters = self.vocabulary[1:]
        noise = ["".join(random.choices(letters, k=len(string))) for string in real]
        shuffled = ["".join(random.sample(string, len(string))) for string in real]
        self.fixed = {"valid_random": _valid(noise), "valid_shuffled": _valid(shuffled)}

    def seen(self, samples: Tensor, y: Tensor | None, start: int) -> list[str | None]:
        return [*map(canonical, strings(characters(samples), self.vocabulary))]

    def judged(self, kept: Sequence[list[str | None]]) -> dict[str, float]:
        """Scores of samples, (n, V, length)."""
        written = [name for part in kept for name in part]
        found = [name for name in written if name]
        different = set(found)
        valid, unique = len(found) / len(written), len(different) / max(len(found), 1)
        novel = len(different - self.known) / max(len(different), 1)
        counts = {"valid_of": len(written), "unique_of": len(found), "novel_of": len(different)}
        shares = {
            "usable": valid * unique * novel,
            "valid": valid,
            "unique": unique,
            "novel": novel,
        }
        return {**shares, **{name: float(count) for name, count in counts.items()}, **self.fixed}

    def describe(self) -> str:
        """One line on how the figures are made."""
        return (
            f"molecules by RDKit, {self.samples} samples against {len(self.known)} known ones; "
            f"valid by chance: random characters {self.fixed['valid_random']:.4f}, shuffled "
            f"molecules {self.fixed['valid_shuffled']:.4f}"
        )

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        split = "training molecules; valid_random, valid_shuffled: made from held-out ones"
        return Provenance(self.samples, split, n_reference=len(self.known), n_floor=self.heldout)


def canonical(string: str) -> str | None:
    """The one way in which RDKit writes the molecule, or None if it is none, or longer than data
    may be."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(string) if 0 < len(string) <= LONGEST else None
        return Chem.MolToSmiles(molecule) if molecule else None


def _valid(found: list[str]) -> float:
    return sum(canonical(string) is not None for string in found) / len(found)


def _known(dataset: Dataset) -> set[str]:
    """The training split in RDKit's writing, from the cache if it was written before."""
    from rdkit import rdBase

    written = strings(dataset.train["x"], dataset.spec.vocabulary)
    digest = hashlib.sha256("\n".join([rdBase.rdkitVersion, *written]).encode()).hexdigest()[:16]
    path = cache_folder() / "molecules" / f"{digest}.json"
    kept = _kept(path)
    if kept is None:
        read = [name for name in map(canonical, written) if name]
        kept = {"molecules": sorted(set(read)), "unread": len(written) - len(read)}
        with tolerated(f"the cache of molecules {path}"):
            write_json(path, kept)
            seal(path)
    if kept["unread"] > MOST_LEFT_OUT * len(written):
        log.warning(
            "RDKit takes %d of the %d training strings for no molecules: what samples are "
            "compared with lacks them",
            kept["unread"],
            len(written),
        )
    return set(kept["molecules"])


def _kept(path: Path) -> dict[str, Any] | None:
    """What the cache holds, if it is what was written there."""
    if not path.exists():
        return None
    if not is_sealed(path):
        log.warning(
            "%s is not what was written there, or of an older gan-cli; reading the molecules again",
            path,
        )
        return None
    found: dict[str, Any] = json.loads(read_text(path))
    return found
