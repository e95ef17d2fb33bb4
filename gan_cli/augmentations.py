"""Random changes to what the discriminator sees, real and fake alike, so that few samples cannot be
learnt by heart.

An augmentation is a differentiable map of a batch: the generator learns through it. In evaluation
it does nothing.

Class attributes, read by the guard rails before torch loads:
    kinds: the kinds of data that it can change.
    follows: the option that lets it follow D's scores of real samples, if it is not null.
"""

import functools
from math import pi
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.optimizers import Rate
from gan_cli.registry import Count, Positive, Share, augmentations


@augmentations.register("none")
class Augmentation(nn.Module):
    """No change. The base of the others."""

    kinds: ClassVar[tuple[str, ...]] = ("image", "points", "text")
    follows: ClassVar[str] = ""

    def forward(self, x: Tensor) -> Tensor:
        return self.changed(x) if self.training else x

    def begin_round(self, step: int) -> None:
        """Called before the turns of a round."""

    def judged(self, over: Tensor) -> None:
        """Called in each turn of D.

        Args:
            over: D's scores of real samples less the score in the middle, (N,).
        """

    def shown(self) -> dict[str, Tensor]:
        """Scalars to log, by their tags."""
        return {}

    def changed(self, x: Tensor) -> Tensor:
        """The batch as the discriminator sees it in training, in the shape of `x`."""
        return x


@augmentations.register("diff_augment")
class DiffAugment(Augmentation):
    """Colour, translation and cutout, drawn anew for every image.

    Reference: Zhao et al., 2020, "Differentiable Augmentation for Data-Efficient GAN Training",
    arXiv 2006.10738, equations 4 to 6 and the authors' ranges: brightness +-0.5, saturation times
    [0, 2), contrast times [0.5, 1.5); translation by up to an eighth of the side, over zeros; a
    square of half the side set to zero.

    Args:
        policy: which of the three, in this order.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self, policy: list[Literal["color", "translation", "cutout"]] | None = None
    ) -> None:
        super().__init__()
        self.policy = list(POLICIES) if policy is None else policy

    def changed(self, x: Tensor) -> Tensor:
        for name in self.policy:
            x = POLICIES[name](x)
        return x


def color(x: Tensor) -> Tensor:
    """Brightness, saturation (of colour images) and contrast of (N, C, H, W)."""
    x = x + noise.per_sample_uniform(x) - 0.5
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * 2 * noise.per_sample_uniform(x)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (noise.per_sample_uniform(x) + 0.5)


def translation(x: Tensor, share: float = 0.125) -> Tensor:
    """Every image moved by a whole number of pixels down and right (or up and left), at most
    `share` of its side."""
    rows, columns = (
        _index(size, _whole(x, -_reach(size, share), _reach(size, share))) for size in x.shape[2:]
    )
    padded = nn.functional.pad(x, [1, 1, 1, 1])  # index 0 and the last are outside
    moved = padded.gather(
        2, rows.view(-1, 1, x.shape[2], 1).expand(-1, x.shape[1], -1, padded.shape[3])
    )
    return moved.gather(
        3, columns.view(-1, 1, 1, x.shape[3]).expand(-1, x.shape[1], x.shape[2], -1)
    )


def cutout(x: Tensor, share: float = 0.5) -> Tensor:
    """A square of `share` of the side, centred anywhere in the image, set to zero."""
    inside = []
    for size in x.shape[2:]:
        side = _reach(size, share)
        first = _whole(x, 0, size - side % 2) - side // 2
        places = torch.arange(size, device=x.device)
        inside.append((places >= first[:, None]) & (places < first[:, None] + side))
    return x * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


def _reach(size: int, share: float) -> int:
    return int(size * share + 0.5)


def _whole(x: Tensor, lowest: int, highest: int) -> Tensor:
    """A whole number in [lowest, highest] for each sample, (N,)."""
    return (noise.per_sample_uniform(x).flatten() * (highest - lowest + 1)).floor().long() + lowest


def _index(size: int, shift: Tensor) -> Tensor:
    """Where in an axis with one more place at each end the values of a shifted axis lie, (N,
    size)."""
    return (torch.arange(size, device=shift.device) - shift[:, None] + 1).clamp(0, size + 1)


POLICIES = {"color": color, "translation": translation, "cutout": cutout}


@augmentations.register("instance_noise")
class InstanceNoise(Augmentation):
    """x + sigma * N(0, I), with sigma falling to zero over the run: real and fake samples share a
    support at last.

    Reference: Arjovsky and Bottou, 2017, arXiv 1701.04862, section 3; Sonderby et al., 2016, arXiv
    1610.04490, section 3.3. The critic's diagnostics are taken of noisy samples too.

    Args:
        sigma: deviation in the first round, in the units of the samples.
        schedule: how it falls: its factor as a function of the round, by the learning-rate schedule
            of that name.
        total: rounds until it is zero.
    """

    sigma: Tensor
    sharding: ClassVar[dict[str, str]] = {"sigma": "same"}  # see `gan_cli.training.shards`

    def __init__(
        self,
        total: Count,
        sigma: Positive = 0.1,
        schedule: Literal["linear", "cosine"] = "linear",
    ) -> None:
        super().__init__()
        self.first, self.rate = sigma, Rate({"name": schedule, "total": total})
        self.register_buffer("sigma", torch.tensor(float(sigma)))

    def begin_round(self, step: int) -> None:
        self.sigma.fill_(self.first * self.rate(step))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sigma * noise.rows(torch.randn, *x.shape, device=x.device)


# --- adaptive augmentation ------------------------------------------------------------------------


@augmentations.register("ada")
class AdaptiveAugment(Augmentation):
    """Whole pixels moved, geometry and colour, each of its steps with probability p; p follows how
    sure D is of real samples.

    Reference: Karras et al., 2020, "Training Generative Adversarial Networks with Limited Data",
    arXiv 2006.06676, section 3 and appendix B: the pipeline `bgc`. Every fourth batch p rises or
    falls by the sign of E sign(D(x)) - target. Images are interpolated bilinearly at one scale
    (there through a wavelet filter at twice the side), and reflected beyond their edges.

    Args:
        p: probability of each step, at first or, without a target, all the time.
        target: of E sign(D(x)) over real samples, where a score of 0 is in the middle between real
            and fake; 0.6 in the paper. Null keeps p.
        images: so many real images would bring p from 0 to 1; 500,000 in the paper.
        policy: which of the three.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    follows: ClassVar[str] = "target"
    p: Tensor
    # sums over the batches since p last moved: E sign(D(x)), images, batches
    signs: Tensor
    seen: Tensor
    batches: Tensor
    sharding: ClassVar[dict[str, str]] = {
        "p": "same", "signs": "averaged", "seen": "averaged", "batches": "averaged",
    }  # fmt: skip

    def __init__(
        self,
        p: Share = 0.0,
        target: Share | None = 0.6,
        images: Count = 50_000,
        policy: list[Literal["pixels", "geometry", "color"]] | None = None,
    ) -> None:
        super().__init__()
        self.target, self.images = target, images
        self.policy = ["pixels", "geometry", "color"] if policy is None else policy
        self.register_buffer("p", torch.tensor(float(p)))
        for name in ("signs", "seen", "batches"):
            self.register_buffer(name, torch.zeros(()))

    def judged(self, over: Tensor) -> None:
        if self.training and self.target is not None:
            with torch.no_grad():
                self.signs += over.sign().float().mean()
                self.seen += noise.whole(len(over))
                self.batches += 1

    def begin_round(self, step: int) -> None:
        if self.target is None:
            return
        # all on the device: the host never waits for p
        due = self.batches >= EVERY
        surer = self.signs / self.batches.clamp(min=1) - self.target
        moved = (self.p + surer.sign() * self.seen / self.images).clamp(0, 1)
        self.p.copy_(torch.where(due, moved, self.p))
        for total in (self.signs, self.seen, self.batches):
            total.mul_(~due)

    def shown(self) -> dict[str, Tensor]:
        return {"augmentation/p": self.p}

    def changed(self, x: Tensor) -> Tensor:
        moves = {"pixels": whole_pixels, "geometry": geometry}
        inverses = [moves[name](x, self.p) for name in moves if name in self.policy]
        if inverses:
            x = sampled(x, functools.reduce(torch.matmul, inverses))
        return recoloured(x, self.p) if "color" in self.policy else x


EVERY = 4  # batches from one change of p to the next


def sampled(x: Tensor, inverse: Tensor) -> Tensor:
    """Images where each pixel is taken from where `inverse` leads it, (N, 3, 3), in units of half
    a side from the middle."""
    grid = torch.nn.functional.affine_grid(inverse[:, :2], list(x.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(
        x.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return moved.to(x.dtype)


def whole_pixels(x: Tensor, p: Tensor) -> Tensor:
    """Inverse maps, (N, 3, 3): mirrored or not, turned by right angles, moved by at most an eighth
    of the side in whole pixels."""
    gates, drawn = _gates(x, 3, p), _uniform(x, 4)
    mirrored = torch.where(gates[:, 0], 1 - 2 * (2 * drawn[:, 0]).floor(), 1.0)
    turned = torch.where(gates[:, 1], (4 * drawn[:, 1]).floor() * pi / 2, 0.0)
    moved = []
    for i, side in ((2, x.shape[3]), (3, x.shape[2])):
        pixels = ((2 * drawn[:, i] - 1) * side / 8).round()
        moved.append(torch.where(gates[:, 2], 2 * pixels / side, 0.0))
    ones = torch.ones_like(mirrored)
    return _scaling(mirrored, ones) @ _rotation(turned) @ _shift(*moved)


def geometry(x: Tensor, p: Tensor) -> Tensor:
    """Inverse maps, (N, 3, 3): scaled, turned, stretched, turned again and moved by fractions of a
    pixel."""
    gates, drawn = _gates(x, 5, p), _uniform(x, 2)
    gates[:, 1::2] = _uniform(x, 2) < 1 - (1 - p).sqrt()  # turned at all with probability p
    normal = noise.rows(torch.randn, len(x), 4, device=x.device)
    scale = torch.where(gates[:, 0], (0.2 * normal[:, 0]).exp2(), 1.0)
    stretch = torch.where(gates[:, 2], (0.2 * normal[:, 1]).exp2(), 1.0)
    first, second = (
        torch.where(gates[:, i], (2 * drawn[:, j] - 1) * pi, 0.0) for j, i in enumerate((1, 3))
    )
    moved = [torch.where(gates[:, 4], 2 * 0.125 * normal[:, i], 0.0) for i in (2, 3)]
    turned = _rotation(first) @ _scaling(stretch, 1 / stretch) @ _rotation(second)
    return _scaling(scale, scale) @ turned @ _shift(*moved)


def recoloured(x: Tensor, p: Tensor) -> Tensor:
    """Brightness and contrast; of grey images also the negative, of three colours what is light
    becoming dark, hue and saturation."""
    n, channels = x.shape[:2]
    gates, drawn = _gates(x, 5, p), _uniform(x, 2)
    normal = noise.rows(torch.randn, n, 3, device=x.device)
    brightness = torch.where(gates[:, 0], 0.2 * normal[:, 0], 0.0)
    contrast = torch.where(gates[:, 1], (0.5 * normal[:, 1]).exp2(), 1.0)
    x = (x + brightness.to(x.dtype)[:, None, None, None]) * contrast.to(x.dtype)[
        :, None, None, None
    ]

    negative = torch.where(gates[:, 2], (2 * drawn[:, 0]).floor(), 0.0)
    if channels == 1:
        return x * (1 - 2 * negative).to(x.dtype)[:, None, None, None]
    if channels != 3:
        return x
    hue = torch.where(gates[:, 3], (2 * drawn[:, 1] - 1) * pi, 0.0)
    saturation = torch.where(gates[:, 4], normal[:, 2].exp2(), 1.0)
    matrix = _colours(negative, hue, saturation).to(x.dtype)
    return torch.einsum("nij,njhw->nihw", matrix, x)


def _colours(negative: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """Maps of colours, (N, 3, 3): a reflection along the axis of greys, a turn about it, a
    stretch away from it."""
    grey = torch.full((3, 3), 1 / 3, device=hue.device)  # projects on the axis
    plane = torch.eye(3, device=hue.device) - grey
    axis = 3**-0.5
    cross = torch.tensor(
        [[0.0, -axis, axis], [axis, 0.0, -axis], [-axis, axis, 0.0]], device=hue.device
    )
    negative, hue, saturation = (each[:, None, None] for each in (negative, hue, saturation))
    turned = hue.cos() * plane + hue.sin() * cross
    return (1 - 2 * negative) * grey + saturation * turned


def _gates(x: Tensor, steps: int, p: Tensor) -> Tensor:
    """Whether each step is taken, (N, steps)."""
    return _uniform(x, steps) < p


def _uniform(x: Tensor, count: int) -> Tensor:
    return noise.rows(torch.rand, len(x), count, device=x.device)


def _matrices(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    """The inverse of a scaling, (N, 3, 3)."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrices([[1 / x, zero, zero], [zero, 1 / y, zero], [zero, zero, one]])


def _rotation(angle: Tensor) -> Tensor:
    """The inverse of a turn, (N, 3, 3)."""
    zero, one, cos, sin = torch.zeros_like(angle), torch.ones_like(angle), angle.cos(), angle.sin()
    return _matrices([[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]])


def _shift(x: Tensor, y: Tensor) -> Tensor:
    """The inverse of a move, (N, 3, 3)."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrices([[one, zero, -x], [zero, one, -y], [zero, zero, one]])
