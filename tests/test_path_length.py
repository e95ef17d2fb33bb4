"""The perceptual path length: exact laws of generators that do nothing, and what it looks at."""

from typing import ClassVar

import pytest
import torch
from conftest import TINY, make_trainer
from torch import Tensor, nn

from gan_cli import noise, registry
from gan_cli.config.objectives import suitable
from gan_cli.data.dataset import Dataset
from gan_cli.game import Columns, Game
from gan_cli.metrics.lpips import Perceptual
from gan_cli.metrics.path_length import PathLength, trimmed_mean
from gan_cli.training.rendering import LatentWalks

CPU = torch.device("cpu")
THETA_SQUARED = {64: 2.486, 512: 2.469}
"""E theta^2 of two directions in so many dimensions: (pi / 2)^2 = 2.467 in many."""


class Identity(Game):
    """z on the sphere of radius 1, and w as it is."""

    spaces: ClassVar[tuple[str, ...]] = ("w", "z")

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.weight = width, nn.Parameter(torch.zeros(()))

    def columns(self) -> list[Columns]:
        def draw(n: int, source: torch.Generator | None) -> Tensor:
            return torch.randn(n, self.width, generator=source)

        return [Columns("z", self.width, "normal", draw)]

    def render_code(self, codes: Tensor, latents: Tensor, space: str) -> Tensor:
        return codes / codes.norm(dim=1, keepdim=True) if space == "z" else codes


@pytest.fixture(scope="module")
def points() -> Dataset:
    data: Dataset = registry.datasets.build({"name": "points"}, "data")
    return data


@pytest.fixture(autouse=True)
def by_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of these data are compared by their numbers, whatever is in torch's cache."""
    monkeypatch.setattr(Perceptual, "at_hand", staticmethod(lambda: False))


@pytest.mark.parametrize("width", THETA_SQUARED)
def test_the_identity_has_the_angle_in_z_and_the_distance_in_w(width: int, points: Dataset) -> None:
    found = PathLength(points, CPU, n=2000).compute_walks(LatentWalks(Identity(width)))
    # four deviations of the mean of theta^2, and of |w1 - w0|^2
    angle = 4 * 3.14 / width**0.5 / 2000**0.5
    assert found["path_length_z"] == pytest.approx(THETA_SQUARED[width], abs=angle)
    assert found["path_length_w"] == pytest.approx(2 * width, abs=4 * (8 * width / 2000) ** 0.5)


def test_the_step_does_not_matter_where_the_way_is_even(points: Dataset) -> None:
    walks = LatentWalks(Identity(16))
    small, large = (
        PathLength(points, CPU, n=200, epsilon=epsilon).compute_walks(walks)["path_length_w"]
        for epsilon in (1e-4, 1e-2)
    )
    assert small == pytest.approx(large, rel=1e-2)


def test_a_generator_of_one_picture_has_no_length(
    points: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Identity, "render_code", lambda self, codes, *_: torch.ones(len(codes), 2))
    found = PathLength(points, CPU, n=50).compute_walks(LatentWalks(Identity(4)))
    assert found == {"path_length_z": 0.0, "path_length_w": 0.0}


def test_a_hundredth_is_left_out_at_both_ends() -> None:
    values = torch.arange(1000.0, dtype=torch.double)
    values[0], values[-1] = -1e9, 1e9
    assert trimmed_mean(values) == pytest.approx(499.5)
    assert trimmed_mean(torch.full((7,), 3.0)) == 3


def test_ways_keep_the_class_and_do_not_depend_on_parts() -> None:
    game = make_trainer("model=cgan", "data=digits", *TINY).game
    seen: list[Tensor] = []
    usual = type(game).render_code

    def render_code(codes: Tensor, latents: Tensor, space: str) -> Tensor:
        seen.append(game.labels_of(latents))  # type: ignore[arg-type]
        return usual(game, codes, latents, space)

    vars(game)["render_code"] = render_code
    whole = torch.cat([before for before, _ in LatentWalks(game).steps("z", 5, 0.1)])
    assert torch.equal(seen[0], seen[1]) and len(seen) == 2
    game.chunk_size = 2
    parts = torch.cat([before for before, _ in LatentWalks(game).steps("z", 5, 0.1)])
    torch.testing.assert_close(whole, parts)
    assert len(whole) == 5 and len(next(LatentWalks(game, most=1).steps("z", 5, 0.1))[0]) == 1


def test_a_way_begins_and_ends_at_its_latents() -> None:
    game = make_trainer("model=stylegan", "data=digits", *TINY).game.eval()
    a, b = (game.latents(3, noise.generator("end", i)) for i in range(2))
    for space in game.spaces:
        for at, end in ((0.0, a), (1.0, b)):
            way = game.between(a, b, torch.full((3, 1), at), space)
            torch.testing.assert_close(way, game.to_code(end, space))


def test_it_is_of_games_with_latents_alone() -> None:
    assert suitable(["path_length", "prdc"], given=False) == ["path_length", "prdc"]
    assert suitable(["path_length", "prdc"], given=True) == ["prdc"]
    assert suitable(["path_length", "prdc"], given=False, folder=True) == ["prdc"]
