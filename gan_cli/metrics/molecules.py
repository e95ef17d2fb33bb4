"""Whether strings are molecules, and new ones."""

import hashlib
from collections.abc import Sequence
from random import Random

from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.data.smiles import strings
from gan_cli.data.text import characters
from gan_cli.files import cache_folder, read_json, tolerated, write_json
from gan_cli.metrics.provenance import Provenance
from gan_cli.metrics.scoring import Scoring
from gan_cli.registry import Count, metrics


@metrics.register("molecules")
class MoleculeScores(Scoring):
    """How many of the samples RDKit reads as molecules, how many of those differ, how many of those are new.

    Reference: Polykovskiy et al., 2020, "Molecular Sets (MOSES)", arXiv 1811.12823, section 3.

    - valid: share of the samples that are molecules, with a structure that chemistry allows;
    - unique: share of the valid ones that are different molecules;
    - novel: share of these that are not in the training split;
    - usable: the product of the three, which neither a copy nor one good molecule can raise;
    - valid_random, valid_shuffled: validity of random characters, and of the characters of real molecules in random
      order, both of the lengths of real ones.

    Args:
        n: samples to score.
    """

    scores = ("usable", "valid", "unique", "novel", "valid_random", "valid_shuffled")
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
        return {"usable": valid * unique * novel, "valid": valid, "unique": unique, "novel": novel, **self.fixed}

    def describe(self) -> str:
        """One line on how the figures are made."""
        return (
            f"molecules by RDKit, {self.samples} samples against {len(self.known)} known ones; valid by chance: random "
            f"characters {self.fixed['valid_random']:.4f}, shuffled molecules {self.fixed['valid_shuffled']:.4f}"
        )

    @property
    def provenance(self) -> Provenance:
        """What must be known of the figures."""
        split = "training molecules; valid_random, valid_shuffled: made from held-out ones"
        return Provenance(self.samples, split, n_reference=len(self.known), n_floor=self.heldout)


def canonical(string: str) -> str | None:
    """The one way in which RDKit writes the molecule, or None if it is none."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(string) if string else None
        return Chem.MolToSmiles(molecule) if molecule else None


def _valid(found: list[str]) -> float:
    return sum(canonical(string) is not None for string in found) / len(found)


def _known(dataset: Dataset) -> set[str]:
    """The training split in RDKit's writing, from the cache if it was written before."""
    from rdkit import rdBase

    written = strings(dataset.train["x"], dataset.spec.vocabulary)
    digest = hashlib.sha256("\n".join([rdBase.rdkitVersion, *written]).encode()).hexdigest()[:16]
    path = cache_folder() / "molecules" / f"{digest}.json"
    kept = read_json(path).get("molecules")
    if kept is None:
        kept = sorted(filter(None, set(map(canonical, written))))
        with tolerated(f"the cache of molecules {path}"):
            write_json(path, {"molecules": kept})
    return set(kept)
