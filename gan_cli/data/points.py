"""Two-dimensional toys: laws whose modes can be counted and whose distances can be computed exactly."""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.registry import Count, datasets


@datasets.register("points")
class Points(Dataset):
    """Points in the plane, as the WGAN-GP authors' toy script defines them (moons by scikit-learn's).

    - eight_gaussians: centres on a circle of radius 2, deviation 0.02, all divided by 1.414;
    - twenty_five_gaussians: a 5 x 5 grid of spacing 2, deviation 0.05, all divided by 2.828;
    - swiss_roll: noise 0.25, first and third coordinate, divided by 7.5;
    - moons: noise 0.05, centred.

    Args:
        distribution: one of these.
        size: number of training points; 20,000 more are held out.
    """

    kind: ClassVar[str] = "points"
    metrics: ClassVar[tuple[str, ...]] = ("points",)

    def __init__(
        self,
        distribution: Literal["eight_gaussians", "twenty_five_gaussians", "swiss_roll", "moons"] = "eight_gaussians",
        size: Count = 100_000,
    ) -> None:
        self.spec = Spec("points", (2,), bounded=False, extent=2.0)
        self.centres: Tensor | None = None
        self.deviation = 0.0
        if distribution in MIXTURES:
            self.centres, self.deviation = MIXTURES[distribution]()
        self.train = {"x": self._draw(distribution, size, seed=1)}
        self.heldout = {"x": self._draw(distribution, 20_000, seed=2)}

    def _draw(self, distribution: str, n: int, seed: int) -> Tensor:
        if self.centres is None:
            return CURVES[distribution](n, seed)
        random = noise.generator("points", seed)
        which = torch.randint(len(self.centres), (n,), generator=random)
        return self.centres[which] + self.deviation * torch.randn(n, 2, generator=random)


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


def _points(values: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


MIXTURES = {"eight_gaussians": _eight_gaussians, "twenty_five_gaussians": _twenty_five_gaussians}
CURVES = {"swiss_roll": _swiss_roll, "moons": _moons}
