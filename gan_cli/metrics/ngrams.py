"""Divergence of samples from held-out text, by short sequences of characters (n-grams)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Dataset
from gan_cli.data.text import characters
from gan_cli.errors import UserError
from gan_cli.metrics.scoring import Scoring
from gan_cli.registry import Count, metrics

ORDERS = (1, 2, 3, 4)  # lengths n of the n-grams
AT_ONCE = 100_000  # texts whose n-grams are counted at a time


@metrics.register("ngrams")
class NgramScores(Scoring):
    """Jensen-Shannon divergence between the n-grams of samples and of held-out text, in bits.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, section 5.3.

    - js_1 ... js_4: of samples decoded to their most likely characters; `_floor` is that of as many
      training windows, or of all there are.
    - js_4_shuffled: of the training windows with their characters in random order, which a model
      must beat.
    - distinct: share of the samples that differ from each other; distinct_of: number of samples.

    Args:
        n: samples to score.
    """

    scores = (
        "js_1", "js_2", "js_3", "js_4", "js_1_floor", "js_2_floor", "js_3_floor", "js_4_floor",
        "js_4_shuffled",
        "distinct", "distinct_of",
    )  # fmt: skip
    objectives = ("js_4", "js_3", "js_2", "js_1")
    objective = "js_4"
    lower_is_better = ("js_1", "js_2", "js_3", "js_4")
    split = "held-out text; _floor: training windows"

    def __init__(self, dataset: Dataset, n: Count = 4000) -> None:
        self.samples, self.size = n, dataset.spec.shape[0]
        if dataset.spec.shape[1] < max(ORDERS):
            raise UserError(
                f"data.length={dataset.spec.shape[1]}: the scores go by sequences of "
                f"{max(ORDERS)} characters; take a larger one, or evaluate_every=0."
            )

        heldout = dataset.heldout["x"].cpu()
        self.reference = {order: self._grams(heldout, order) for order in ORDERS}
        random = noise.generator("ngrams")
        windows = dataset.train["x"].cpu()
        real = windows[torch.randperm(len(windows), generator=random)[: self.samples]].long()
        self.n_floor, self.n_reference = len(real), len(heldout)
        shuffled = real.flatten()[torch.randperm(real.numel(), generator=random)].view_as(real)
        self.fixed = {f"js_{order}_floor": self._divergence(real, order) for order in ORDERS}
        self.fixed["js_4_shuffled"] = self._divergence(shuffled, 4)

    def extract(self, samples: Tensor, y: Tensor | None, start: int) -> Tensor:
        """The most likely characters of samples (n, V, length), (n, length)."""
        return characters(torch.nan_to_num(samples)).cpu()

    def compute(self, extracts: Sequence[Tensor]) -> dict[str, float]:
        rows = torch.cat([*extracts])
        scores = {f"js_{order}": self._divergence(rows, order) for order in ORDERS}
        distinct = {
            "distinct": len(rows.unique(dim=0)) / len(rows),
            "distinct_of": float(len(rows)),
        }
        return {**scores, **self.fixed, **distinct}

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        floors = ", ".join(f"{self.fixed[f'js_{order}_floor']:.3f}" for order in ORDERS)
        return (
            f"divergence of n-grams in bits, {self.samples} samples; {self.n_floor} real ones, n "
            f"= 1 to 4: {floors}; shuffled characters, n = 4: {self.fixed['js_4_shuffled']:.3f}"
        )

    def _grams(self, rows: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """The different n-grams of texts (N, length), each as one number, and their frequencies."""
        powers = self.size ** torch.arange(order)
        parts = (part.long().unfold(1, order, 1) for part in rows.split(AT_ONCE))
        counted = [(part * powers).sum(dim=2).unique(return_counts=True) for part in parts]

        grams, indices = torch.cat([part for part, _ in counted]).unique(return_inverse=True)
        counts = torch.zeros(len(grams), dtype=torch.double)
        counts.index_add_(0, indices, torch.cat([part for _, part in counted]).double())
        return grams, counts / counts.sum()

    def _divergence(self, rows: Tensor, order: int) -> float:
        """Jensen-Shannon divergence of texts (N, length) from the held-out text, in bits."""
        grams, frequencies = self._grams(rows, order)
        known_grams, known_frequencies = self.reference[order]
        every, indices = torch.cat([grams, known_grams]).unique(return_inverse=True)

        p, q = torch.zeros(2, len(every), dtype=torch.double).unbind()
        p[indices[: len(grams)]], q[indices[len(grams) :]] = frequencies, known_frequencies
        mixture = (p + q) / 2
        # the smallest ratio makes terms of probability 0 vanish
        bits = [(part * (part / mixture).clamp_min(1e-300).log2()).sum() for part in (p, q)]
        return float(0.5 * (bits[0] + bits[1]))
