"""Whether samples show what their captions say, of drawn captions."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gan_cli.data.captions import COMBINATIONS, SAID, Captions
from gan_cli.metrics.classifier import accuracy, load_or_train
from gan_cli.metrics.pairs import steps
from gan_cli.metrics.scoring import PairedScoring
from gan_cli.registry import Count, metrics


@metrics.register("drawn_captions")
class DrawnCaptions(PairedScoring):
    """How many words of a caption a sample shows, by a classifier of all 72 drawn captions.

    - size_right, colour_right, shape_right, place_right: share of the samples that show the word;
      all_right: all four.
    - all_right_never: all four, of captions that were never learnt from.
    - all_right_shuffled: all four words of the next sample's caption; as large as all_right where
      captions are not read.
    - sharpness: mean absolute difference of neighbouring pixels, over that of the held-out images
      of the same captions.
    - judge_accuracy: all four, of real images.

    Args:
        n: samples to score; no more than there are held-out captions.
    """

    kinds = ()  # a default metric of drawn captions
    scores = (
        "size_right", "colour_right", "shape_right", "place_right", "all_right", "all_right_never",
        "all_right_shuffled", "sharpness", "judge_accuracy",
    )  # fmt: skip
    objectives = ("all_right",)
    objective = "all_right"
    lower_is_better = ()
    needs_given = True
    needs_judge = True
    split = "held-out captions"

    def __init__(self, dataset: Captions, device: torch.device, n: Count = 2000) -> None:
        self.samples, self.device = min(n, len(dataset.heldout["x"])), device
        self.never = torch.tensor(dataset.never, dtype=torch.long)
        self.captions = dataset.captions()
        judge = dataset.judge()
        self.network = load_or_train(judge, device)
        self.accuracy = accuracy(self.network, judge)
        self.resizing = dataset.resizing
        self.backbone = (
            f"small classifier of drawn captions, right on {self.accuracy:.4f} of real images"
        )

    @torch.no_grad()
    def extract_pairs(self, samples: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Captions that samples show, and those they were made of, by number, and the steps between
        pixels of samples and of true images, (n,) each."""
        found = self.network(torch.nan_to_num(samples).to(self.device)).argmax(dim=1)
        said = (fields["t"].cpu()[:, None] == self.captions[None]).all(dim=2)
        sharp = steps(samples).cpu(), steps(fields["x"]).cpu()
        return found.cpu(), said.int().argmax(dim=1), *sharp

    def compute(self, extracts: Sequence[tuple[Tensor, ...]]) -> dict[str, float]:
        found, wanted, made, true = (torch.cat(parts) for parts in zip(*extracts, strict=True))
        words = torch.tensor(COMBINATIONS)
        shown = words[found] == words[wanted]
        never = torch.isin(wanted, self.never)
        right = {f"{name}_right": float(shown[:, i].float().mean()) for i, name in enumerate(SAID)}
        return {
            **right,
            "all_right": float((found == wanted).float().mean()),
            **({"all_right_never": float((found == wanted)[never].float().mean())}
               if never.any() else {}),
            "all_right_shuffled": float((found == wanted.roll(1)).float().mean()),
            "sharpness": float(made.mean() / true.mean()),
            "judge_accuracy": self.accuracy,
        }  # fmt: skip

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return (
            f"words of {self.samples} captions, by a classifier that is right on "
            f"{self.accuracy:.4f} of real images"
        )
