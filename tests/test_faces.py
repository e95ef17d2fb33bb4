"""Drawn faces, the game that turns them to the front, its network, and its scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, make_trainer
from PIL import Image
from torch import Tensor

from gan_cli.data.faces import TRAITS, Faces, drawn, people
from gan_cli.data.pairs import Pairs
from gan_cli.errors import UserError
from gan_cli.main import train
from gan_cli.metrics import classifier
from gan_cli.metrics.identification import Identification
from gan_cli.networks.two_pathway import FACE, Generator, glimpses

SMALL = (
    "model=tp_gan", "data.identities=6", "data.unseen=4", "data.shots=1", "data.image_size=16",
    "network.width=4", "features=random", "batch_size=4",
)  # fmt: skip


def few(**options: int) -> Faces:
    return Faces(identities=12, unseen=20, shots=1, **options)


# --- data -----------------------------------------------------------------------------------------


def test_faces_are_symmetric_from_the_front_only() -> None:
    data = few()
    x, x_a = (data.decode(data.train)[name] for name in ("x", "x_a"))
    assert (x - x.flip(-1)).abs().max() <= 2 / 127.5  # rounding
    assert (x_a - x_a.flip(-1)).abs().mean(dim=(1, 2, 3)).min() > 0.02
    assert x.shape == x_a.shape == (12 * 8, 3, 32, 32)


def test_a_face_turned_the_other_way_is_its_mirror_image() -> None:
    traits = people(5, torch.Generator().manual_seed(0))
    left, right = (
        drawn(traits, torch.full((5,), side), torch.zeros(5, 3), 32) for side in (50.0, -50.0)
    )
    assert (left.float() - right.flip(-1).float()).abs().max() <= 1


def test_each_trait_is_seen() -> None:
    """Of a face from the front; so that those of two people differ."""
    least, most = torch.tensor(list(TRAITS.values())).unbind(dim=1)
    middle = (least + most) / 2
    for i, name in enumerate(TRAITS):
        traits = middle.repeat(2, 1)
        traits[:, i] = torch.stack([least[i], most[i]])
        one, other = drawn(traits, torch.zeros(2), torch.zeros(2, 3), 32).float()
        assert (one - other).abs().max() > 5, name


def test_those_held_out_are_others() -> None:
    data = few()
    assert not {*data.train["i"].tolist()} & {*data.heldout["i"].tolist()}
    fronts = {tuple(x.flatten().tolist()) for x in data.train["x"]}
    assert len(fronts) == 12
    assert not fronts & {tuple(x.flatten().tolist()) for x in data.heldout["x"]}
    scores, features = (data.judge(purpose) for purpose in ("scores", "features"))
    assert scores.spec.classes == 200 and not torch.equal(scores.train["x"], features.train["x"])


def test_files_say_whose_faces_they_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their names, or by their folders; the scores are those of data that know it."""
    data = few()
    for split, fields in (("train", data.train), ("val", data.heldout)):
        for k, (x, x_a, i) in enumerate(zip(fields["x"], fields["x_a"], fields["i"], strict=True)):
            path = tmp_path / "faces" / split / f"p{int(i)}" / f"{int(i)}_{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = torch.cat([x_a, x], dim=2).movedim(0, -1)
            Image.fromarray(beside.numpy()).save(path)
    by_name, by_folder = (
        Pairs(folder=str(tmp_path / "faces"), identities=told, image_size=32)
        for told in ("name", "folder")
    )
    for found in (by_name, by_folder):
        assert found.default_metrics[-1] == "identification"
        assert len(found.train["i"].unique()) == 12 and len(found.heldout["i"].unique()) == 20
        assert not {*found.train["i"].tolist()} & {*found.heldout["i"].tolist()}
    judge = by_name.judge()
    assert judge.spec.classes == 12 and len(judge.train["x"]) + len(judge.heldout["x"]) == 192

    monkeypatch.setattr(classifier, "STEPS", 50)
    metric = Identification(by_name, torch.device("cpu"))
    fields = by_name.decode(by_name.heldout)
    assert metric.compute([metric.extract_pairs(fields["x"], fields)])["rank1"] == 1
    with pytest.raises(UserError, match=r"data.identities=name: are told by files"):
        Pairs(identities="name")


# --- the network ----------------------------------------------------------------------------------


def test_a_glimpse_is_a_cut_of_the_image() -> None:
    x = torch.randn(2, 3, 8, 10)
    centres = torch.tensor([[[0.5, 0.5], [0.3, 0.25]]]).repeat(2, 1, 1)
    seen = glimpses(x, centres, 4)
    assert seen.shape == (2, 2, 3, 4, 4)
    torch.testing.assert_close(seen[:, 0], x[:, :, 2:6, 3:7])
    torch.testing.assert_close(seen[:, 1], x[:, :, 0:4, 1:5])
    # outside it is black
    assert (glimpses(x, torch.full((2, 1, 2), 5.0), 4) == 0).all()


def test_the_gradient_of_a_glimpse_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 6, dtype=torch.double, requires_grad=True)
    centres = torch.tensor([[[0.43, 0.61]]], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: glimpses(a, b, 4), (x, centres))


def test_a_landmark_is_put_to_its_place() -> None:
    """What its network says changes the image around its square, and nowhere else."""
    torch.manual_seed(0)
    network = Generator((3, 32, 32), (3, 32, 32), width=4, generator_norm="none").eval()
    x, z = torch.rand(1, 3, 32, 32), torch.zeros(1, 0)
    before = network(x, z)
    for k, (across, down) in enumerate(FACE):
        bias = network.local[k].layers[-2].bias
        with torch.no_grad():
            bias.add_(3.0)
            changed = (network(x, z) - before).abs().amax(dim=(0, 1)) > 0
            bias.sub_(3.0)
        rows, columns = changed.nonzero().unbind(dim=1)
        reach = network.size / 2 + 2  # two 3x3 convolutions follow
        assert changed.any()
        assert (columns - 32 * across).abs().max() <= reach + 1
        assert (rows - 32 * down).abs().max() <= reach + 1


def test_the_whole_image_alone() -> None:
    network = Generator((3, 16, 16), (3, 16, 16), width=4, landmarks=[])
    assert not len(network.local)
    assert network(torch.rand(2, 3, 16, 16), torch.zeros(2, 0)).shape == (2, 3, 16, 16)
    with pytest.raises(UserError, match="network=two_pathway: takes images whose sides are mult"):
        Generator((3, 4, 4), (3, 4, 4))


# --- the game -------------------------------------------------------------------------------------


def test_the_terms_of_known_images() -> None:
    trainer = make_trainer(
        *SMALL, "model.symmetric=2", "model.smooth=3", "model.perceptual=0", "model.l1=100"
    )
    game = trainer.game
    x = torch.rand(4, 3, 16, 16)
    ramp = torch.linspace(-0.75, 0.75, 16).expand(4, 3, 16, 16)  # steps of 0.1 to the right

    terms = game.distances(ramp, x)
    mirrored = (2 * torch.linspace(-0.75, 0.75, 16)).abs().mean()
    torch.testing.assert_close(terms["symmetric"], 2 * mirrored)
    torch.testing.assert_close(terms["smooth"], torch.tensor(3 * 0.1 / 2))
    torch.testing.assert_close(terms["l1"], 100 * (ramp - x).abs().mean())
    coarse = (ramp - x).unflatten(3, (4, 4)).unflatten(2, (4, 4)).mean(dim=(3, 5))
    torch.testing.assert_close(terms["l1_4"], 100 * coarse.abs().mean())
    assert {*terms} == {"l1", "l1_2", "l1_4", "symmetric", "smooth"}

    assert game.distances((x + x.flip(-1)) / 2, x)["symmetric"] < 1e-6


# --- scores, and use ------------------------------------------------------------------------------


@pytest.mark.slow
def test_identities_of_samples_whose_identity_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "STEPS", 300)
    data = few()
    metric = Identification(data, torch.device("cpu"))
    fields = data.decode(data.heldout)

    def scores(samples: Tensor) -> dict[str, float]:
        return metric.compute([metric.extract_pairs(samples, fields)])

    truth = scores(fields["x"])
    assert truth["rank1"] == 1 and truth["asymmetry"] < 0.01
    copied = scores(fields["x_a"])
    assert copied["rank1"] == copied["rank1_input"] < 0.9
    assert copied["asymmetry"] == copied["asymmetry_input"] > 0.05
    others = scores(fields["x"].roll(-8, dims=0))
    assert others["rank1"] == 0


def test_a_face_of_a_file_is_turned(command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        typed = (*SMALL, "steps=2", "evaluate_every=0", f"hydra.run.dir={run}")
        patch.setattr("sys.argv", ["gan-train", *typed])
        train()
    Image.fromarray(np.full((20, 16, 3), 90, np.uint8)).save("face.png")
    code, printed = command("gan-sample", str(run), "input=face.png", "mode=npz", "output=s.npz")
    assert code == 0, printed
    assert np.load("s.npz")["samples"].shape == (1, 3, 16, 16)
