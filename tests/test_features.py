"""Frozen networks whose features a game compares: they are nobody's weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, Command, make_trainer
from torchvision import models

from gan_cli import registry
from gan_cli.data.dataset import Dataset
from gan_cli.data.digits import Digits
from gan_cli.data.shapes import Shapes
from gan_cli.errors import UserError
from gan_cli.features.base import Features
from gan_cli.metrics.classifier import load_or_train
from gan_cli.metrics.lpips import LPIPS
from gan_cli.metrics.path_length import PathLength
from gan_cli.reading.weights import kept

CPU = torch.device("cpu")
PERCEPTUAL = ("model=pix2pix", "model.perceptual=1", "features=random", *TINY)


def loaded(dataset: Dataset, **node: Any) -> Features:
    features: Features = registry.features.build(node, "features")
    features.load(dataset, CPU)
    return features


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(size=40)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights, as torchvision would save its own."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18-01234567.pth"
    torch.save(models.resnet18(weights=None).state_dict(), path)
    return path


def test_a_distance_is_zero_to_itself_and_moves_samples_alone(shapes: Shapes) -> None:
    features = loaded(shapes, name="random", width=4)
    x = shapes.sample_x(shapes.heldout, 8).requires_grad_(True)
    targets = shapes.sample_x(shapes.train, 8).requires_grad_(True)
    assert features.distance(x, x).item() == 0
    features.distance(x, targets).backward()
    assert x.grad is not None and x.grad.abs().sum() > 0 and targets.grad is None
    assert not any(weight.requires_grad for weight in features.network.parameters())


def test_random_features_follow_their_own_seed(shapes: Shapes) -> None:
    x = shapes.sample_x(shapes.heldout, 4)
    first, again, other = (loaded(shapes, name="random", draw=draw)(x) for draw in (0, 0, 1))
    assert [tuple(layer.shape[1:]) for layer in first] == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_the_classifiers_features_are_those_that_scores_use() -> None:
    digits = Digits()
    x = digits.sample_x(digits.heldout, 5)
    *_, last = loaded(digits, name="classifier")(x)
    assert torch.equal(last, load_or_train(digits, CPU).features(x))


def test_torchvisions_network_sees_what_it_was_trained_on(shapes: Shapes, weights: Path) -> None:
    features = loaded(
        shapes, name="torchvision", network="resnet18", layers=["layer1"],
        weights_file=str(weights),
    )  # fmt: skip
    x = shapes.sample_x(shapes.heldout, 3)
    model = models.resnet18(weights=None)
    model.load_state_dict(torch.load(weights, weights_only=True))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    seen = ((x + 1) / 2 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with torch.no_grad():
        model.eval()
        expected = model.layer1(model.maxpool(model.relu(model.bn1(model.conv1(seen)))))
        torch.testing.assert_close(features(x)[0], expected)
    assert "resnet18-01234567.pth (SHA-256 " in features.describe()


@pytest.mark.parametrize(
    ("node", "sentence"),
    (
        ({"network": "resnet81"}, "features.network=resnet81: no network of torchvision"),
        ({"layers": ["layer9"]}, r"features.layers=\[layer9\]: resnet18 has no such module"),
        ({"weights_file": "nowhere.pth"}, "features.weights_file=nowhere.pth: no such file"),
        ({"network": "resnet34"}, "not the weights of torchvision's resnet34"),
        ({"layers": ["layer4.1.relu_9"]}, "has no such module"),
    ),
)
def test_what_is_not_there_is_one_sentence(
    shapes: Shapes, weights: Path, node: dict[str, Any], sentence: str
) -> None:
    usual = {"network": "resnet18", "layers": ["layer1"], "weights_file": str(weights)}
    with pytest.raises(UserError, match=sentence):
        loaded(shapes, name="torchvision", **usual | node)


def test_the_best_features_that_are_at_hand(
    shapes: Shapes, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are there, else the classes of the data, else random ones."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def chosen(data: Dataset, **options: Any) -> str:
        return loaded(data, name="auto", **options).describe()

    assert chosen(shapes).startswith("3 random convolutions")
    assert chosen(Digits()) == "the classifier of the scores, trained on this data"
    resnet = {"network": "resnet18", "layers": ["layer1"]}
    assert "resnet18-01234567.pth" in chosen(shapes, **resnet, weights_file=str(weights))
    url = models.get_model_weights("resnet18").DEFAULT.url
    kept = tmp_path / "checkpoints" / url.rpartition("/")[2]
    kept.parent.mkdir()
    kept.write_bytes(weights.read_bytes())
    assert kept.name in chosen(shapes, **resnet)
    with pytest.raises(UserError, match=r"features.weights_file=nowhere.pth: no such file"):
        chosen(shapes, weights_file="nowhere.pth")


def test_a_network_for_larger_images_says_so(shapes: Shapes) -> None:
    class Large(Features):
        def build(self, dataset: Dataset) -> torch.nn.Module:
            return torch.nn.Conv2d(3, 4, 64)

        def describe(self) -> str:
            return "a large kernel"

    with pytest.raises(UserError, match=r"a large kernel takes no samples of \(3, 32, 32\)"):
        Large().load(shapes, CPU)


def test_features_are_in_no_checkpoint_and_samples_need_none(
    command: Command, tmp_path: Path, weights: Path
) -> None:
    typed = (
        "model=pix2pix", "model.perceptual=1", "features=torchvision", "features.network=resnet18",
        "features.layers=[layer1]", f"features.weights_file={weights}", "network.width=4",
        "batch_size=4", "evaluate_every=0", "data.of=digits", "features.side=32",
    )  # fmt: skip
    code, printed = command("gan-train", *typed, "steps=2", "hydra.run.dir=run")
    assert code == 0 and "features: resnet18 of torchvision, resnet18-01234567.pth" in printed
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert {name.split(".")[0] for name in state["game"]} == {"G", "D"}
    moved = weights.rename(weights.with_suffix(".away"))
    try:
        code, printed = command("gan-sample", "checkpoint=run", "n=2", "output=two.png")
        assert code == 0 and (tmp_path / "two.png").stat().st_size > 100, printed
        assert command("gan-evaluate", "checkpoint=run", "n=8", "metrics=[pairs]")[0] == 0
    finally:
        moved.rename(weights)


def test_a_perceptual_term_stands_beside_the_others() -> None:
    trainer = make_trainer(*PERCEPTUAL)
    plain = make_trainer("model=pix2pix", *TINY)
    for each in (trainer, plain):
        each.play_round()
    terms = trainer.terms["generator"]
    assert terms["perceptual"] > 0 and "perceptual" not in plain.terms["generator"]
    assert trainer.game.features is trainer.eval_game.features
    assert trainer.game.state_dict().keys() == plain.game.state_dict().keys()


def test_a_distance_of_no_features_is_refused(command: Command) -> None:
    code, printed = command("gan-train", "model=pix2pix", "model.perceptual=1", "steps=2")
    assert code == 2 and "take features=random" in printed and "Traceback" not in printed
    code, printed = command("gan-train", "model=gan", "features=random", "steps=2")
    assert code == 2 and "model=two_player does not use any; set features=none" in printed


# --- a distance of known weights ------------------------------------------------------------------


def test_lpips_is_that_of_torchmetrics(
    shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By weights in torch's cache, here random ones; equal images are at 0, worse ones farther."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    with pytest.raises(UserError, match=r"metrics=\[lpips\]: no alexnet.* and no download"):
        LPIPS(shapes, CPU)
    path, _ = kept("alexnet")
    path.parent.mkdir(exist_ok=True)
    torch.manual_seed(0)
    torch.save(models.alexnet(weights=None).state_dict(), path)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: torch.load(path))

    metric = LPIPS(shapes, CPU)
    x = shapes.sample_x(shapes.heldout, 8)

    def score(samples: torch.Tensor) -> float:
        return metric.compute([metric.extract_pairs(samples, {"x": x})])["lpips"]

    assert score(x) == pytest.approx(0, abs=1e-6)
    assert torch.equal(
        metric.distance(x, x.roll(1, 0)), PathLength(shapes, CPU).distance(x, x.roll(1, 0))
    )
    assert PathLength(shapes, CPU).provenance.backbone == LPIPS.backbone
    worse = [score((x + size * torch.randn_like(x)).clamp(-1, 1)) for size in (0.1, 0.5)]
    assert 0 < worse[0] < worse[1]


def _no_network(*_: Any, **__: Any) -> None:
    raise OSError("no network")
