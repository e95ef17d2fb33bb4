"""Scores of enlarged images, as the literature on super-resolution gives them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli.data.dataset import Dataset
from gan_cli.metrics.pairs import mean_of, steps
from gan_cli.metrics.scoring import PairedScoring
from gan_cli.registry import Count, metrics

LUMA = (65.481, 128.553, 24.966)  # of red, green and blue in [0, 1], as in ITU-R BT.601
BLACK, PEAK = 16.0, 255.0  # the luma of black, and the range that the ratio is of
WINDOW = 11  # side of the window of SSIM in pixels
PART = 200  # images that SSIM compares at a time


@metrics.register("super_resolution")
class SuperResolution(PairedScoring):
    """PSNR and SSIM of the luma Y, beside those of the input enlarged by bicubic interpolation.

    As many pixels as the input is enlarged times are left out at every border, and values are
    rounded to bytes first, as is usual (Ledig et al., 2017, arXiv 1609.04802, section 3.1).

    - psnr_y, psnr_y_bicubic: peak signal-to-noise ratio in dB, the mean over the images.
    - ssim_y, ssim_y_bicubic: structural similarity (Wang et al., 2004) by torchmetrics, a Gaussian
      window of 11x11 and 1.5; left out for images smaller than it.
    - sharpness_y, sharpness_y_bicubic: mean absolute difference of neighbouring pixels, over that
      of the true images.
    - scored_samples: number of images.

    Args:
        n: samples to score; no more than there are held-out images.
    """

    kinds = ()  # a default metric of data whose inputs may be smaller images
    scores = (
        "psnr_y", "psnr_y_bicubic", "ssim_y", "ssim_y_bicubic", "sharpness_y",
        "sharpness_y_bicubic", "scored_samples",
    )  # fmt: skip
    objectives = ("psnr_y", "ssim_y")
    objective = "psnr_y"
    lower_is_better = ()
    needs_given = True
    needs_truth = True
    needs_package = "torchmetrics"
    split = "held-out pairs"

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        self.samples = min(n, len(dataset.heldout["x"]))
        self.resizing = dataset.resizing

    def extract_pairs(self, samples: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The scores of each sample, (n,) by name."""
        x, small = fields["x"], fields["x_a"]
        ratio = max(1, x.shape[-1] // small.shape[-1])
        bicubic = interpolate(small, size=x.shape[2:], mode="bicubic", align_corners=False)
        truth, *shown = (
            luma(images)[..., ratio:-ratio, ratio:-ratio] for images in (x, samples, bicubic)
        )
        kept = {"steps": steps(truth)}
        for tail, images in zip(("", "_bicubic"), shown, strict=True):
            error = mean_of((images - truth).square())
            kept[f"psnr_y{tail}"] = 10 * torch.log10(PEAK**2 / error.clamp(min=1e-10))
            kept[f"sharpness_y{tail}"] = steps(images)
            if min(truth.shape[2:]) >= WINDOW:
                kept[f"ssim_y{tail}"] = _ssim(images, truth)
        return kept

    def compute(self, extracts: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        means = {
            name: float(torch.cat([part[name] for part in extracts]).mean()) for name in extracts[0]
        }
        true_steps = max(means.pop("steps"), 1e-10)
        told = {
            name: value / true_steps if name.startswith("sharpness") else value
            for name, value in means.items()
        }
        return {**told, "scored_samples": float(sum(len(part["steps"]) for part in extracts))}

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return f"PSNR and SSIM of the luma of {self.samples} held-out images"


def luma(images: Tensor) -> Tensor:
    """Y of images in [-1, 1], (N, C, H, W) -> (N, 1, H, W) in bytes; grey images count as RGB."""
    unit = ((images.float() + 1) * 127.5).round().clamp(0, 255) / 255
    weights = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
    return BLACK + (unit.expand(-1, 3, -1, -1) * weights).sum(dim=1, keepdim=True)


def _ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each image, (n,)."""
    from torchmetrics.functional.image import structural_similarity_index_measure as similarity

    parts = zip(images.split(PART), truth.split(PART), strict=True)
    return torch.cat(
        [torch.as_tensor(similarity(a, b, data_range=PEAK, reduction="none")) for a, b in parts]
    )
