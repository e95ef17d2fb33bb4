"""Distances of a sample from the true image of its input."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.data.decoded import Decoded, part_of, parts
from gan_cli.data.kinds import kind_of
from gan_cli.metrics.scoring import PairedScoring
from gan_cli.registry import Count, metrics


@metrics.register("pairs")
class PairScores(PairedScoring):
    """How close samples are to the true images of their inputs, and how sharp.

    All values are of images in [-1, 1].

    - l1: mean absolute difference of a sample and the true image.
    - l1_copy: that of the input itself, in grey where it is grey, and of l1_mean, the mean of the
      training images: what no network is needed for.
    - l1_shuffled: that of a sample and the true image of the next input: as large as l1 where the
      input is not looked at.
    - psnr: peak signal-to-noise ratio in dB, the mean over the samples.
    - sharpness: mean absolute difference of neighbouring pixels, over that of the true images; 1 is
      as sharp as they are, and blurred samples are below.
    - scored_samples: number of samples.

    Args:
        n: samples to score; no more than there are held-out pairs.
    """

    kinds = ()  # a default metric of data with pairs; other images have none
    scores = (
        "l1", "l1_copy", "l1_mean", "l1_shuffled", "psnr", "sharpness", "scored_samples",
    )  # fmt: skip
    objectives = ("l1", "psnr")
    objective = "l1"
    lower_is_better = ("l1",)
    needs_given = True
    needs_truth = True
    split = "held-out pairs"
    n_reference: int

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        self.samples = min(n, len(dataset.heldout["x"]))
        self.resizing = dataset.resizing
        self.n_reference = len(dataset.train["x"])
        self.mean = _mean(dataset).to(device)
        self.inputs = dataset.spec.fields.get("x_a")

    def extract_pairs(self, samples: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The differences of each sample, (n,) by score, and the images that follow."""
        x, samples = fields["x"], samples.to(fields["x"])
        errors = samples - x
        kept = {
            "l1": mean_of(errors.abs()),
            "l1_copy": mean_of((self._as_image(fields["x_a"], x) - x).abs()),
            "l1_mean": mean_of((self.mean.to(x) - x).abs()),
            "l1_shuffled": mean_of((samples - x.roll(1, dims=0)).abs()),
            "psnr": psnr_of(errors),
        }
        return {**kept, "steps": steps(samples), "true_steps": steps(x)}

    def _as_image(self, x_a: Tensor, x: Tensor) -> Tensor:
        """Inputs in the shape of the images: label maps in their colours; of other channels, the
        mean."""
        if self.inputs is not None and x_a.shape[1:] == self.inputs.shape:
            x_a = kind_of(self.inputs).images(x_a, self.inputs)
        same = x_a if x_a.shape[1] == x.shape[1] else x_a.mean(dim=1, keepdim=True).expand_as(x)
        if same.shape != x.shape:
            same = torch.nn.functional.interpolate(same, size=x.shape[2:], mode="nearest")
        return same

    def compute(self, extracts: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        means = {
            name: float(torch.cat([part[name] for part in extracts]).mean()) for name in extracts[0]
        }
        sharpness = means.pop("steps") / max(means.pop("true_steps"), 1e-10)
        count = float(sum(len(part["l1"]) for part in extracts))
        return {**means, "sharpness": sharpness, "scored_samples": count}

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return f"L1 distance of {self.samples} held-out pairs, and sharpness over that of real ones"


def _mean(dataset: Dataset) -> Tensor:
    """The mean of the training images, (C, H, W)."""
    images = Decoded(dataset, {"x": dataset.train["x"]})
    total = sum(part["x"].double().sum(dim=0) for part in parts(images, part_of(dataset.spec)))
    return (torch.as_tensor(total) / images.samples).float()


def psnr_of(errors: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of images in [-1, 1] by their errors, in dB, (n,)."""
    return 10 * torch.log10(4 / mean_of(errors.square()).clamp(min=1e-10))


def mean_of(values: Tensor) -> Tensor:
    """Mean over all numbers of each sample, (n,)."""
    return values.flatten(1).mean(dim=1)


def steps(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels of each image, (n,)."""
    across, down = images.diff(dim=3).abs(), images.diff(dim=2).abs()
    return (mean_of(across) + mean_of(down)) / 2
