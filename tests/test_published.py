"""The published configurations of large images, built of tensors without numbers: as large as their
authors say, and their turns fit together."""

from typing import Any

import pytest
import torch
from conftest import compose, mostly_slow
from torch._subclasses.fake_tensor import FakeTensorMode

from gan_cli.data.spec import Spec
from gan_cli.game import Game
from gan_cli.training import build

PUBLISHED = {
    # side, classes; weights of G and D where the authors print them (BigGAN's PyTorch code,
    # StyleGAN2's), millions to what they round
    "biggan_128": (128, 1000, 70.43, 87.98),
    "stylegan2_ffhq_256": (256, 0, 24.77, 24.00),
    "stylegan2_ffhq_1024": (1024, 0, 30.37, 29.01),
    "r3gan_cifar10": (32, 0, None, None),
    "r3gan_ffhq_256": (256, 0, 23.06, None),
}


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "check_sizes", lambda *arguments: None)


def built(experiment: str) -> tuple[Game, dict[str, Any]]:
    side, classes, *_ = PUBLISHED[experiment]
    folder = () if experiment == "r3gan_cifar10" else ("data.folder=FOLDER",)
    config = compose(f"experiment={experiment}", *folder)
    spec = Spec(kind="image", shape=(3, side, side), classes=classes)
    batch = {"x": torch.randn(4, *spec.shape), "y": torch.zeros(4, dtype=torch.long)}
    return build.build_game(config, spec).train(), batch


@pytest.mark.parametrize("experiment", mostly_slow(PUBLISHED, *list(PUBLISHED)[1:]))
def test_it_is_as_large_as_its_authors_say(experiment: str, unlimited: None) -> None:
    with FakeTensorMode():
        game, _ = built(experiment)
    for name, wanted in zip("GD", PUBLISHED[experiment][2:], strict=True):
        found = sum(weight.numel() for weight in game.get_submodule(name).parameters()) / 1e6
        assert wanted is None or found == pytest.approx(wanted, rel=0.02), f"{name}: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", PUBLISHED)
def test_its_turns_fit_together(experiment: str, unlimited: None) -> None:
    with FakeTensorMode():
        game, batch = built(experiment)
        for turn in game.turns(0):
            terms = game.play(turn, batch)
            sum(terms.values(), torch.zeros(())).backward()
            assert all(term.shape == () for term in terms.values())
