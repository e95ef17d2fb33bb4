"""The drawn world shows what its truth says."""

import numpy as np
import pytest
import torch

from gan_cli.data.shapes import COLOURS, SHAPES, SIZES, Shapes, coverage


def test_a_picture_shows_its_truth() -> None:
    data = Shapes(size=200, objects=2, look="recoloured")
    world, x = data.truth[0], data.train["x"]
    palette = torch.tensor(list(COLOURS.values()))
    near = (coverage(world, 1, 32) == 1)[:, None].expand_as(x)
    for shift, picture in ((0, x), (1, data.train["x_a"])):
        index = (world.colour[:, 1] + shift) % len(COLOURS)
        expected = palette[index][:, :, None, None].expand_as(x)
        assert torch.equal(picture[near].long(), expected[near])
    assert torch.equal(data.train["y"], world.shape[:, 1]) and data.spec.names == SHAPES

    # where there is no object, both looks show the same ground
    empty = (coverage(world, 0, 32) == 0) & (coverage(world, 1, 32) == 0)
    ground = empty[:, None].expand_as(x)
    assert ground.float().mean() > 0.5
    assert torch.equal(x[ground], data.train["x_a"][ground])


def test_it_is_the_same_each_time_and_no_training_scene_is_held_out() -> None:
    first, second = Shapes(size=300), Shapes(size=300)
    assert torch.equal(first.train["x"], second.train["x"]) and first.digest == second.digest
    seen = {image.numpy().tobytes() for image in first.train["x"]}
    assert len(seen) == 300
    assert not seen & {image.numpy().tobytes() for image in first.heldout["x"]}


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_the_area_of_a_shape_is_that_of_its_formula(shape: int) -> None:
    world = Shapes(size=100).truth[0]
    rows = (world.shape[:, 0] == shape) & (world.size[:, 0] == 1)
    area = coverage(world, 0, 64)[rows].mean(dim=(1, 2))
    radius = SIZES["large"]
    exact = {
        "disc": np.pi * radius**2,
        "square": (2 * 0.85 * radius) ** 2,
        "triangle": 3 * 3**0.5 / 4 * radius**2,
        "cross": 2 * 4 * radius**2 / 3 - (2 * radius / 3) ** 2,
    }[SHAPES[shape]]
    assert rows.sum() > 5 and area.numpy() == pytest.approx(exact, rel=0.04)


@pytest.mark.parametrize("look", ["edges", "noise", "recoloured"])
def test_a_second_look_is_a_pair(look: str) -> None:
    data = Shapes(size=30, look=look)  # type: ignore[arg-type]
    x_a = data.train["x_a"]
    assert tuple(x_a.shape[1:]) == data.spec.fields["x_a"].shape and len(x_a) == 30
    if look == "edges":  # an outline lies around the object, not in it
        inside = coverage(data.truth[0], 0, 32) == 1
        assert not x_a[:, 0][inside].any() and x_a.flatten(1).any(dim=1).all()
    if look == "noise":
        difference = x_a.float() - data.train["x"].float()
        assert 30 < difference.std() < 41 and difference.mean().abs() < 3
