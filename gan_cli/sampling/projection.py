"""Projection: the code from which a generator makes a given picture as closely as it can."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.features.base import Features
from gan_cli.game import CHOICES, Game
from gan_cli.metrics.pairs import mean_of
from gan_cli.sampling.generator import Generator
from gan_cli.training.rendering import CHUNK

DRAWS = 128  # latents that a descent may start from; at least two of each class
PART = 16  # pictures that are projected at a time
FALL = 0.75  # share of the iterations in which the noise falls to 0
NOISE = 0.05  # its deviation in the first iteration, in deviations of the codes
RISE = 0.05  # share of the iterations in which the rate rises
PLAUSIBLE = 0.99  # share of the prior's draws that are no longer than a code may be
TINY = 1e-12  # least scale of a distance


@dataclass(frozen=True)
class Descent:
    """How codes are sought.

    Args:
        space: of the codes, one of the game's `spaces`.
        iterations: steps of Adam.
        rate: largest step, in deviations of the codes.
        starts: codes that are moved for each picture; the best one is kept.
        feature_weight: weight of the distance of features beside that of pixels.
        seed: of the draws and of the noise.
    """

    space: str
    iterations: int = 300
    rate: float = 0.1
    starts: int = 4
    feature_weight: float = 1.0
    seed: int = 0

    def rate_at(self, iteration: int) -> float:
        """The rate of an iteration: it rises linearly, and falls by a cosine."""
        done = (iteration + 1) / self.iterations
        return self.rate * min(1.0, done / RISE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def noise_at(self, iteration: int) -> float:
        """The deviation of the noise in an iteration, in deviations of the codes."""
        return NOISE * max(0.0, 1 - iteration / (FALL * self.iterations)) ** 2


@dataclass
class Projector:
    """Finds the codes of pictures by gradient descent on pixels and features.

    Reference: Karras et al., 2020, "Analyzing and Improving the Image Quality of StyleGAN", arXiv
    1912.04958, appendix D: Adam from the middle of w, with noise that falls. There the middle is
    the only start, the distance is LPIPS alone, and noise maps are moved too; here they are those
    of every picture of the generator. The start of a descent is the middle or one of `DRAWS`
    latents, whichever is near. Choices (a class, a category) are those of the start.

    Both distances are divided by what they are between two samples of the generator, so that a
    weight of 1 gives both the same say.

    Args:
        generator: makes images from latents.
        features: loaded, or `none`.
        labels: classes to choose from; empty for all.
    """

    generator: Generator
    features: Features
    descent: Descent
    labels: Sequence[int] = ()
    scales: tuple[float, float] = field(init=False, default=(1.0, 1.0))

    def __post_init__(self) -> None:
        game, space = self.game, self.descent.space
        labels = list(self.labels) or list(range(game.classes)) or [-1]
        seeds = range(max(DRAWS, 2 * len(labels)))
        latents = torch.stack(
            [game.draw(noise.generator("projection", self.descent.seed, i)) for i in seeds]
        )
        if game.classes:
            latents = game.of_class(latents, torch.tensor([labels[i % len(labels)] for i in seeds]))

        with torch.no_grad():
            codes, middle = game.to_code(latents, space), game.mean_code(latents, space)
            self.deviation = float((codes - middle).square().mean().sqrt().clamp_min(TINY))
            # the first draw of each class makes way for the middle
            is_middle = torch.arange(len(codes)).view(-1, *[1] * (codes.dim() - 1)) < len(labels)
            if space == "z":
                codes = plausible(game, codes)
            self.codes, self.latents = torch.where(is_middle, middle, codes), latents
        self.samples = self.generator.render_codes(self.codes, self.latents, space)
        first, second = self.samples[-CHUNK:], self.samples[-2 * CHUNK : -CHUNK]
        with torch.no_grad():
            pixels, features = self._parts(first, second, self._features(second))
        self.scales = max(TINY, float(pixels.mean())), max(TINY, float(features.mean()))

    @property
    def game(self) -> Game:
        """The game of the generator."""
        return self.generator.game

    def __call__(
        self, x: Tensor, first: int = 0, step: Callable[[], object] = lambda: None
    ) -> tuple[Tensor, Tensor]:
        """The codes of pictures, (n, ...), and the rows whose choices they have, (n, latent).

        Args:
            x: at most `PART` pictures, (n, *shape).
            first: number of the first one, which decides on its noise.
            step: called after each iteration.
        """
        n, starts = len(x), min(self.descent.starts, len(self.codes))
        wanted = x.repeat_interleave(starts, dim=0)
        with torch.no_grad():
            features = self._features(wanted)
        places, least = self._starts(x, starts)
        best, latents = self.codes[places], self.latents[places]
        sources = [noise.generator("descent", self.descent.seed, first + i) for i in range(n)]

        # in deviations of the codes, so that one rate suits all spaces
        middle = self.game.mean_code(latents, self.descent.space).detach()
        moved = ((best - middle) / self.deviation).requires_grad_(True)
        optimizer = torch.optim.Adam([moved], betas=(0.9, 0.999))
        for i in range(self.descent.iterations + 1):
            codes, deviation = middle + self.deviation * moved, self.descent.noise_at(i)
            if deviation:
                drawn = [torch.randn(starts, *codes.shape[1:], generator=item) for item in sources]
                codes = codes + deviation * self.deviation * torch.cat(drawn)
            losses = self._distance(codes, latents, wanted, features)
            if not deviation:
                better = (losses < least).detach()
                least = torch.where(better, losses.detach(), least)
                best[better] = codes.detach()[better]
            if i == self.descent.iterations:
                break

            (moved.grad,) = torch.autograd.grad(losses.sum(), moved)
            optimizer.param_groups[0]["lr"] = self.descent.rate_at(i)
            optimizer.step()
            self._keep_plausible(moved, middle)
            step()

        rows = torch.arange(n) * starts + least.view(n, starts).argmin(dim=1)
        return best[rows], latents[rows]

    def _starts(self, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Numbers of the codes whose samples are nearest to each picture, and their distances,
        (n * count,) each."""
        nearest = []
        with torch.no_grad():
            seen = [self._features(part) for part in self.samples.split(CHUNK)]
            for picture in x.split(1):
                wanted = self._features(picture)
                apart = [
                    self._weighted(*self._apart(part, features, picture, wanted))
                    for part, features in zip(self.samples.split(CHUNK), seen, strict=True)
                ]
                nearest.append(torch.cat(apart).topk(count, largest=False))
        return (
            torch.cat([found.indices for found in nearest]),
            torch.cat([found.values for found in nearest]),
        )

    def _distance(
        self, codes: Tensor, latents: Tensor, x: Tensor, wanted: Sequence[Tensor]
    ) -> Tensor:
        """Distances of the samples of codes from pictures, (n,)."""
        samples = self.game.render_code(codes, latents, self.descent.space)
        return self._weighted(*self._parts(samples, x, wanted))

    def _weighted(self, pixels: Tensor, features: Tensor) -> Tensor:
        return pixels / self.scales[0] + self.descent.feature_weight * features / self.scales[1]

    def _parts(self, samples: Tensor, x: Tensor, wanted: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean squared difference of pixels, and the distance of features, (n,) each."""
        return self._apart(samples, self._features(samples), x, wanted)

    def _apart(
        self, samples: Tensor, found: Sequence[Tensor], x: Tensor, wanted: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        pixels = mean_of((samples - x).square())
        return pixels, Features.distances(found, wanted) if found else torch.zeros_like(pixels)

    def _features(self, x: Tensor) -> list[Tensor]:
        return self.features(x) if self.features.used and self.descent.feature_weight else []

    @torch.no_grad()
    def _keep_plausible(self, moved: Tensor, middle: Tensor) -> None:
        """Draw codes of z back to where the prior's own draws lie; others stay."""
        if self.descent.space == "z":
            codes = plausible(self.game, middle + self.deviation * moved)
            moved.copy_((codes - middle) / self.deviation)


def plausible(game: Game, codes: Tensor) -> Tensor:
    """Codes of z within reach of the prior: normal numbers no longer than 99 in 100 draws are,
    uniform ones within [-1, 1]; those of other laws stay.

    Args:
        codes: (n, width), without choices.
    """
    from scipy.stats import chi

    columns = [part for part in game.columns() if part.law not in CHOICES]
    parts = []
    widths = [part.width for part in columns]
    for part, numbers in zip(columns, codes.split(widths, dim=1), strict=True):
        kept = numbers
        if part.law == "normal":
            longest = part.deviation * float(chi.ppf(PLAUSIBLE, part.width))
            kept = numbers * (longest / numbers.norm(dim=1, keepdim=True)).clamp(max=1)
        elif part.law == "uniform":
            kept = numbers.clamp(-part.deviation, part.deviation)
        parts.append(kept)
    return torch.cat(parts, dim=1)
