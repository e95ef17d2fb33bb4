"""Ways through the latent space, neighbours in the training data, and what `gan-sample` makes of
them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, make_trainer
from PIL import Image

import gan_cli
from gan_cli import pictures
from gan_cli.data.digits import Digits
from gan_cli.errors import UserError
from gan_cli.games.two_player import batch_norms
from gan_cli.priors import slerp
from gan_cli.sampling import modes, truncation, walks
from gan_cli.sampling.generator import estimate_statistics
from gan_cli.sampling.options import SampleConfig, seed_ranges

QUICK = (
    "batch_size=8",
    "network.width=8",
    "evaluate_every=0",
    "sample_every=0",
    "hydra.run.dir=run",
)
TILE, EDGE = 40, 2  # pixels of a shown 8x8 digit, and between two of them


@pytest.fixture
def trained(command: Command) -> Command:
    """The command, in a folder with a run of three checkpoints on digits."""
    code, printed = command("gan-train", "model=dcgan", "steps=3", "checkpoint_every=1", *QUICK)
    assert code == 0, printed
    return command


def tiles(path: str) -> tuple[int, int]:
    """Columns and rows of a grid of digits."""
    width, height = Image.open(path).size
    return (width - EDGE) // (TILE + EDGE), (height - EDGE) // (TILE + EDGE)


# --- geometry -------------------------------------------------------------------------------------


def test_slerp_goes_along_the_circle() -> None:
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    way = slerp(a[None], b[None], torch.tensor([0.0, 1 / 3, 0.5, 1.0])[:, None])
    expected = [
        [2, 0],
        [2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)],
        [2**0.5, 2**0.5],
        [0, 2],
    ]
    torch.testing.assert_close(way, torch.tensor(expected))
    longer = slerp(a[None], 3 * b[None], torch.tensor([[0.5]]))
    assert longer.norm().item() == pytest.approx(4)  # lengths go evenly from 2 to 6


@pytest.mark.parametrize(
    "b", [torch.tensor([4.0, 2.0]), torch.tensor([-2.0, -1.0]), torch.zeros(2)]
)
def test_where_there_is_no_circle_it_is_a_line(b: torch.Tensor) -> None:
    a, shares = torch.tensor([2.0, 1.0]), torch.linspace(0, 1, 5)
    way = slerp(a[None], b[None], shares[:, None])
    assert way.isfinite().all() and torch.equal(way[0], a)
    torch.testing.assert_close(way[-1], b)


def test_walks_begin_and_end_where_they_should() -> None:
    latents = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    game = make_trainer("model=gan", "data=points", "network.width=4", "model.latent=4").game
    for path in ("slerp", "lerp"):
        way = walks.between(game, latents, 5, path)
        assert way.shape == (10, 4)
        torch.testing.assert_close(way[[0, 4, 5, 9]], latents[[0, 1, 1, 2]])
    inwards = truncation.sweep(game, latents, range(3), 3, 1.0)
    torch.testing.assert_close(
        inwards, torch.cat([torch.stack([0 * z, z / 2, z]) for z in latents])
    )
    along = walks.along(game, latents, 2, 3).unflatten(0, (3, 3))
    assert torch.equal(along[:, :, 2], torch.tensor([[-2.5, 0.0, 2.5]]).expand(3, 3))
    assert torch.equal(along[..., [0, 1, 3]], latents[:, None, [0, 1, 3]].expand(3, 3, 3))


def test_classes_are_neither_walked_through_nor_truncated() -> None:
    game = make_trainer("model=cgan", "data=digits", "network.width=4", "model.latent=2").game
    rows = torch.tensor([[2.0, 0.0, 7.0], [0.0, 2.0, 3.0]])
    way = walks.between(game, rows, 4, "slerp")
    assert way[:, 2].tolist() == [7, 7, 3, 3]
    torch.testing.assert_close(
        way[:, :2], slerp(rows[:1, :2], rows[1:2, :2], torch.linspace(0, 1, 4)[:, None])
    )
    assert game.truncated(rows, 0.5).tolist() == [[1, 0, 7], [0, 1, 3]]
    swept = truncation.sweep(game, rows, range(2), 3, 1.0)
    assert swept[:3].tolist() == [[0, 0, 7], [1, 0, 7], [2, 0, 7]]


def test_the_nearest_training_sample_of_a_training_sample_is_itself() -> None:
    data = Digits()
    samples = data.decode({"x": data.train["x"][[5, 900]]})["x"]
    found, distances = modes.nearest(samples, data)
    assert found.shape == (2, 5, 1, 8, 8) and torch.equal(found[:, 0], samples)
    assert distances[:, 0].abs().max() < 1e-2 and (distances.diff(dim=1) >= 0).all()
    moved = samples + 0.01
    _, near = modes.nearest(moved, data, 1)
    torch.testing.assert_close(near[:, 0], torch.full((2,), 0.01 * 8), rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("typed", "seeds"),
    [("0-3", [0, 1, 2, 3]), ("7", [7]), (["3", "1", "3"], [3, 1, 3]), ("4-4", [4]), (None, [2, 3]),
     (["0-2", "9"], [0, 1, 2, 9])],
)  # fmt: skip
def test_seeds(typed: str | list[str] | None, seeds: list[int]) -> None:
    spans = seed_ranges(SampleConfig(checkpoint="", n=2, seed=2, seeds=typed))
    assert [seed for span in spans for seed in span] == seeds


@pytest.mark.parametrize(
    "typed", ["a", "3-1", "", ["1", "b"], "-3", "1-2-3", ["5", "3-1"], [], "1" * 31, "٣"]
)
def test_odd_seeds_are_one_sentence(typed: str | list[str]) -> None:
    with pytest.raises(UserError, match="expected FIRST-LAST such as 0-63, or a list"):
        seed_ranges(SampleConfig(checkpoint="", seeds=typed))


# --- what is written ------------------------------------------------------------------------------


def test_interpolations_have_a_row_from_each_sample_to_the_next(trained: Command) -> None:
    for path in ("slerp", "lerp"):
        line = ("mode=interpolate", "seeds=[4,9,2]", "steps=6", f"path={path}", "output=a.png")
        assert trained("gan-sample", "checkpoint=run", *line)[0] == 0
        assert tiles("a.png") == (6, 2)
    trained("gan-sample", "checkpoint=run", "seeds=[4]", "output=one.png")
    walked, one = (np.asarray(Image.open(path)) for path in ("a.png", "one.png"))
    assert np.array_equal(walked[EDGE : EDGE + TILE, EDGE : EDGE + TILE], one)
    assert (
        trained(
            "gan-sample", "checkpoint=run", "mode=interpolate", "n=3", "steps=6", "output=a.gif"
        )[0]
        == 0
    )
    with Image.open("a.gif") as film:
        assert film.n_frames > 1 and film.info["loop"] == 0  # equal neighbours are one frame


def test_traversals_and_truncations_have_a_row_a_sample(trained: Command) -> None:
    for line in (("mode=truncate",), ("mode=traverse", "dimension=3")):
        assert (
            trained("gan-sample", "checkpoint=run", *line, "n=2", "steps=7", "output=a.png")[0] == 0
        )
        assert tiles("a.png") == (7, 2)


def test_neighbours_stand_beside_their_sample(trained: Command) -> None:
    code, printed = trained("gan-sample", "checkpoint=run", "mode=nearest", "n=3", "output=a.png")
    assert code == 0 and tiles("a.png") == (6, 3) and "nearest training sample at" in printed


def test_a_timeline_has_a_frame_for_each_checkpoint(trained: Command) -> None:
    code, printed = trained("gan-sample", "checkpoint=run", "mode=timeline", "n=4", "output=a.gif")
    assert code == 0 and "each of 3 checkpoints" in printed
    with Image.open("a.gif") as film:
        assert film.n_frames == 3
        plain = np.asarray(film.convert("RGB"))
    line = ("mode=timeline", "n=4", "shifts=[3]", "statistics=batch", "output=b.gif")
    assert trained("gan-sample", "checkpoint=run", *line)[0] == 0
    assert not np.array_equal(np.asarray(Image.open("b.gif").convert("RGB")), plain)


def test_truncation_of_nothing_is_one_sample(trained: Command) -> None:
    line = ("mode=npz", "n=3", "truncation=0", "output=a.npz")
    assert trained("gan-sample", "checkpoint=run", *line)[0] == 0
    samples = np.load("a.npz")["samples"]
    assert np.array_equal(samples[0], samples[1]) and np.array_equal(samples[0], samples[2])


def test_points_lie_over_the_critics_level_sets(command: Command) -> None:
    assert command("gan-train", "data=points", "steps=1", *QUICK)[0] == 0
    assert command("gan-sample", "checkpoint=run", "mode=points", "n=20", "output=a.png")[0] == 0
    assert Image.open("a.png").size == (500, 500)
    code, printed = command("gan-sample", "checkpoint=run", "mode=nearest")
    assert code == 2 and "mode=nearest: shows images; the checkpoint makes points" in printed


def test_statistics_are_those_of_fresh_batches(trained: Command) -> None:
    """Re-estimated, each batch norm has the mean and the variance of what reaches it in a large
    batch."""
    generator = gan_cli.load("run")
    saved = generator.sample(4)
    estimate_statistics(generator, batches=20)
    (layer, *_) = batch_norms(generator.game)
    seen: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    generator.game.render(generator.drawn(range(4000)))
    torch.testing.assert_close(seen[0].mean(dim=(0, 2, 3)), layer.running_mean, atol=0.05, rtol=0)
    torch.testing.assert_close(seen[0].var(dim=(0, 2, 3)), layer.running_var, atol=0, rtol=0.1)
    assert not layer.training and not torch.equal(generator.sample(4), saved)
    assert (
        trained("gan-sample", "checkpoint=run", "statistics=batch", "n=1", "output=a.png")[0] == 0
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["mode=interpolate", "n=1"],
            "n=1: mode=interpolate goes from one sample to the next; take n=2 or more",
        ),
        (
            ["mode=interpolate", "output=a.jpg"],
            "output=a.jpg: mode=interpolate writes a .png or .gif file",
        ),
        (
            ["mode=traverse", "dimension=100"],
            "dimension=100: the numbers of the latent are 0 to 99",
        ),
        (
            ["mode=traverse"],
            "mode=traverse: add code=NAME, a code of the model, or dimension=NUMBER",
        ),
        (["mode=traverse", "code=slant"], "code=slant: the checkpoint's model has no such code"),
        (["mode=timeline", "output=a.png"], "mode=timeline writes a .gif file"),
        (["mode=points"], "mode=points: draws points of two coordinates"),
        (["mode=encode", "seeds=0-3"], "seeds=0-3: mode=encode does not read it; all modes but"),
        (["steps=1"], "steps=1: must be at least 2"),
        (["path=zigzag"], "expected one of [slerp, lerp]"),
    ],
)
def test_a_mistake_is_one_sentence(trained: Command, arguments: list[str], said: str) -> None:
    code, printed = trained("gan-sample", "checkpoint=run", *arguments)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1
    assert not list(Path().glob("*.png")) and not list(Path().glob(".*.part"))


def test_a_film_that_no_gif_can_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a picture of 1x70000 is too large for a GIF; take fewer"):
        pictures.write_gif(tmp_path / "a.gif", [np.zeros((70_000, 1, 3), np.uint8)] * 2)
    assert not list(tmp_path.iterdir())


def test_a_timeline_of_a_single_checkpoint_is_one_sentence(trained: Command) -> None:
    code, printed = trained("gan-sample", "checkpoint=run/checkpoints/last.pt", "mode=timeline")
    assert (
        code == 2 and "mode=timeline needs a run's folder with two checkpoints or more" in printed
    )


def test_no_batch_norm_is_said(command: Command) -> None:
    assert command("gan-train", "network=mlp", "steps=1", *QUICK)[0] == 0
    code, printed = command("gan-sample", "checkpoint=run", "statistics=batch")
    assert code == 2 and "statistics=batch: the checkpoint's networks have no batch norm" in printed
