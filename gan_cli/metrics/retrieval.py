"""Whether samples are recognised by their captions."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from gan_cli import noise
from gan_cli.data.batches import Batches
from gan_cli.data.dataset import Dataset
from gan_cli.metrics.judges import kept_or_trained
from gan_cli.metrics.scoring import PairedScoring
from gan_cli.networks.words import TextEncoder
from gan_cli.registry import Count, metrics

CANDIDATES = 10  # captions, of which one is right
CODE, WIDTH = 64, 32
STEPS, BATCH, LEARNING_RATE = 1500, 64, 1e-3
WARMTH = 10.0  # what a cosine is multiplied by
PART = 200  # images that are looked at together


class Matcher(nn.Module):
    """Images and captions as codes of length 1, close where they belong together."""

    def __init__(self, shape: tuple[int, ...], words: tuple[int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, side = shape[0], min(shape[1:])
        for after in (WIDTH, 2 * WIDTH, 4 * WIDTH):
            layers += [nn.Conv2d(before, after, 3, stride=2 if side > 4 else 1, padding=1),
                       nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]  # fmt: skip
            before, side = after, (side + 1) // 2 if side > 4 else side
        self.image = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * before, CODE)
        )
        self.caption = TextEncoder(words, CODE)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Cosines of all images with all captions, (n, n)."""
        return normalize(self.image(x), dim=1) @ normalize(self.caption(t), dim=1).T


@metrics.register("retrieval")
class Retrieval(PairedScoring):
    """How often the caption of a sample is found among ten, by a network that learnt from the
    training images which captions belong to them.

    Reference: Xu et al., 2018, "AttnGAN", arXiv 1711.10485, section 4 (R-precision, there among a
    hundred). The other nine captions are those of other held-out images, drawn at random.

    - retrieved: share of the samples whose own caption is the nearest of the ten.
    - retrieved_real: that of the held-out images themselves; more cannot be expected.
    - retrieved_shuffled: that of the captions of other samples, half of all rows away.

    Args:
        n: samples to score; no more than there are held-out captions.
    """

    kinds = ()  # a default metric of captions of files
    scores = ("retrieved", "retrieved_real", "retrieved_shuffled")
    objectives = ("retrieved",)
    objective = "retrieved"
    lower_is_better = ()
    needs_given = True
    unless_judged = True
    split = "held-out captions"
    weights = "trained on the training images and their captions"

    def __init__(self, dataset: Dataset, device: torch.device, n: Count = 2000) -> None:
        self.samples, self.device = min(n, len(dataset.heldout["x"])), device
        self.resizing = dataset.resizing
        self.network = matcher(dataset, device)

    @torch.no_grad()
    def extract_pairs(self, samples: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Codes of samples, of the true images and of the captions, and the captions."""
        caption = self.network.caption(fields["t"].to(self.device))
        found = (self._image(samples), self._image(fields["x"]), normalize(caption, dim=1))
        return *(code.cpu() for code in found), fields["t"].cpu()

    def _image(self, x: Tensor) -> Tensor:
        x = torch.nan_to_num(x).to(self.device)
        return normalize(torch.cat([self.network.image(part) for part in x.split(PART)]), dim=1)

    def compute(self, extracts: Sequence[tuple[Tensor, ...]]) -> dict[str, float]:
        made, real, captions, t = (torch.cat(part) for part in zip(*extracts, strict=True))
        others = _others(t)
        return {
            "retrieved": _found(made, captions, others),
            "retrieved_real": _found(real, captions, others),
            "retrieved_shuffled": _found(made.roll(len(made) // 2, dims=0), captions, others),
        }

    def describe(self) -> str:
        """One line for the log: how the scores are computed."""
        return f"captions of {self.samples} samples, each among {CANDIDATES}"


def _others(t: Tensor) -> Tensor:
    """For each caption the rows of others, drawn at random, (n, CANDIDATES - 1); where fewer are
    different, some come twice."""
    same = (t[:, None] == t[None]).all(dim=2)
    drawn = torch.rand(same.shape, generator=noise.generator("candidates"))
    order = drawn.masked_fill(same, -1.0).argsort(dim=1, descending=True)
    count = (~same).sum(dim=1, keepdim=True).clamp(min=1)
    return order.gather(1, torch.arange(CANDIDATES - 1) % count)


def _found(images: Tensor, captions: Tensor, others: Tensor) -> float:
    """Share of the images that are nearer to their own caption than to all others."""
    right = (images * captions).sum(dim=1)
    wrong = (images[:, None] * captions[others]).sum(dim=2).amax(dim=1)
    return float((right > wrong).float().mean())


def matcher(dataset: Dataset, device: torch.device) -> Matcher:
    """The network of this data set from the cache, or a new one."""
    field = dataset.spec.fields["t"]
    digest = hashlib.sha256(f"{STEPS} {BATCH} {CODE} {WIDTH} {field.size}".encode())
    for name in ("x", "t"):
        digest.update(dataset.train[name].cpu().contiguous().numpy().tobytes())

    def fresh() -> Matcher:
        (length,) = field.shape
        return Matcher(dataset.spec.shape, (field.size, length))

    network = kept_or_trained(
        "matcher", digest.hexdigest()[:16], fresh, lambda: _train(fresh, dataset, device)
    )
    return network.to(device).eval().requires_grad_(False)


def _train(fresh: Callable[[], Matcher], dataset: Dataset, device: torch.device) -> Matcher:
    """Train by Adam: of all captions of a batch an image's own is the right one, and the other way
    round. Reproducible: its random numbers depend on the data set alone."""
    noise.begin_turn("matcher")
    network = fresh().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    batches = Batches(dataset, min(BATCH, len(dataset.train["x"])), seed=0)

    for _ in range(STEPS):
        batch = batches.next()
        x, t = batch["x"].to(device), batch["t"].to(device)
        cosines = WARMTH * network(x, t)
        # a caption that comes twice is right twice
        same = (t[:, None] == t[None]).all(dim=2).float()
        wanted = same / same.sum(dim=1, keepdim=True)
        loss = cross_entropy(cosines, wanted) + cross_entropy(cosines.T, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network
