"""Toy distributions in one or two dimensions, with known modes and exact distances."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Dataset
from gan_cli.data.spec import Spec
from gan_cli.registry import Count, datasets

HELD_OUT = 20_000  # held-out points


@datasets.register("points")
class Points(Dataset):
    """Points of toy distributions, most of them as in the WGAN-GP authors' toy script.

    - eight_gaussians: centres on a circle of radius 2, standard deviation 0.02, all divided by
      1.414;
    - twenty_five_gaussians: a 5 x 5 grid of spacing 2, standard deviation 0.05, all divided by
      2.828;
    - swiss_roll: noise 0.25, first and third coordinate, divided by 7.5;
    - moons: noise 0.05, centred;
    - line: first coordinate 0, second uniform on [-1, 1) (Arjovsky et al., 2017, arXiv 1701.07875,
      example 1);
    - gaussian: N(0, 1) on the line; dirac: 0 alone (Mescheder et al., 2018, arXiv 1801.04406).

    Args:
        distribution: one of these.
        size: number of training points; 20,000 more are held out.
    """

    kind: ClassVar[str] = "points"
    metrics: ClassVar[tuple[str, ...]] = ("points",)
    numbers: ClassVar[int | None] = 2

    def __init__(
        self,
        distribution: Literal[
            "eight_gaussians",
            "twenty_five_gaussians",
            "swiss_roll",
            "moons",
            "line",
            "gaussian",
            "dirac",
        ] = "eight_gaussians",
        size: Count = 100_000,
    ) -> None:
        self.centres: Tensor | None = None  # of the modes of a mixture
        self.std = 0.0  # of each mode
        if distribution in MIXTURES:
            self.centres, self.std = MIXTURES[distribution]()

        self.train = {"x": self._draw(distribution, size, seed=1)}
        self.heldout = {"x": self._draw(distribution, HELD_OUT, seed=2)}
        extent = 4.0 if distribution == "gaussian" else 2.0
        self.spec = Spec("points", tuple(self.train["x"].shape[1:]), bounded=False, extent=extent)

    def _draw(self, distribution: str, n: int, seed: int) -> Tensor:
        """Points of a distribution, (n, dimensions)."""
        if self.centres is None:
            return CURVES[distribution](n, seed)
        random = noise.generator("points", seed)
        modes = torch.randint(len(self.centres), (n,), generator=random)
        return self.centres[modes] + self.std * torch.randn(n, 2, generator=random)


def _eight_gaussians() -> tuple[Tensor, float]:
    angle = torch.arange(8) * (2 * torch.pi / 8)
    return 2 * torch.stack([angle.cos(), angle.sin()], dim=1) / 1.414, 0.02 / 1.414


def _twenty_five_gaussians() -> tuple[Tensor, float]:
    axis = torch.arange(-4.0, 5.0, 2.0)
    return torch.cartesian_prod(axis, axis) / 2.828, 0.05 / 2.828


def _swiss_roll(n: int, seed: int) -> Tensor:
    from sklearn.datasets import make_swiss_roll

    return _points(make_swiss_roll(n, noise=0.25, random_state=seed)[0][:, [0, 2]] / 7.5)


def _moons(n: int, seed: int) -> Tensor:
    from sklearn.datasets import make_moons

    return _points(make_moons(n, noise=0.05, random_state=seed)[0] - np.array([0.5, 0.25]))


def _line(n: int, seed: int) -> Tensor:
    heights = 2 * torch.rand(n, 1, generator=noise.generator("points", seed)) - 1
    return torch.cat([torch.zeros(n, 1), heights], dim=1)


def _gaussian(n: int, seed: int) -> Tensor:
    return torch.randn(n, 1, generator=noise.generator("points", seed))


def _dirac(n: int, seed: int) -> Tensor:
    return torch.zeros(n, 1)


def _points(values: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


# centres of the modes, and their standard deviation
MIXTURES = {"eight_gaussians": _eight_gaussians, "twenty_five_gaussians": _twenty_five_gaussians}
CURVES: dict[str, Callable[[int, int], Tensor]] = {
    "swiss_roll": _swiss_roll, "moons": _moons, "line": _line, "gaussian": _gaussian,
    "dirac": _dirac,
}  # fmt: skip
