"""Scores against values that are known exactly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from gan_cli import registry
from gan_cli.data.digits import Digits
from gan_cli.data.points import Points
from gan_cli.metrics.classifier import Classifier, ClassifierScores, frechet_distance, load_or_train
from gan_cli.metrics.points import PointScores, wasserstein_1


def test_w1_equals_the_linear_programme() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(8, 2), torch.randn(8, 2) + 1
    cost = torch.cdist(a.double(), b.double()).numpy()
    rows, columns = np.kron(np.eye(8), np.ones(8)), np.kron(np.ones(8), np.eye(8))
    plan = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.full(16, 1 / 8))
    assert wasserstein_1(a, b) == pytest.approx(plan.fun, rel=1e-6)


def test_w1_of_a_shift_and_of_a_diverged_generator() -> None:
    x = torch.randn(200, 2)
    assert wasserstein_1(x, x + torch.tensor([3.0, 4.0])) == pytest.approx(5, rel=1e-5)
    assert wasserstein_1(torch.full((50, 2), float("nan")), x) > 1e5


def test_the_floor_is_at_the_same_n() -> None:
    few = PointScores(Points(size=300), n=100)
    assert few.floor == pytest.approx(wasserstein_1(Points(size=300).train["x"][:100], few.heldout))
    assert len(few.heldout) == 100 and "100 samples" in few.describe()


@pytest.mark.slow
def test_scores_of_mixtures() -> None:
    data = Points("eight_gaussians")
    scores = PointScores(data)
    real = scores(data.train["x"][5000:15000])
    assert real["modes"] == 8 and real["high_quality"] > 0.999
    # of a Gaussian in the plane
    assert real["high_quality_3_std"] == pytest.approx(1 - np.exp(-4.5), abs=0.01)
    assert 0.02 < real["w1"] < 0.1 and 0.02 < real["w1_floor"] < 0.1
    assert data.centres is not None
    collapsed = scores(data.centres[:1].expand(10_000, 2))
    assert collapsed["modes"] == 1
    assert collapsed["w1"] == pytest.approx(1.777, abs=0.03)  # the mean chord
    assert scores(torch.zeros(10_000, 2))["high_quality"] == 0
    assert scores(torch.zeros(10_000, 2))["w1"] == pytest.approx(2 / 1.414, abs=0.01)


def test_the_frechet_distance_of_gaussians() -> None:
    torch.manual_seed(1)
    x = torch.randn(4000, 3, dtype=torch.double)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x + 2) == pytest.approx(12, rel=1e-6)
    # |m|^2 terms aside: sum of (s_i - 3 s_i)^2 over the principal deviations
    scaled = frechet_distance(x, 3 * x)
    expected = 4 * torch.cov(x.T).trace() + 4 * x.mean(dim=0).square().sum()
    assert scaled == pytest.approx(expected.item(), rel=1e-6)


@pytest.fixture(scope="module")
def digits() -> ClassifierScores:
    return ClassifierScores(Digits(), torch.device("cpu"))


def test_real_digits_score_near_the_top_and_noise_near_the_bottom(digits: ClassifierScores) -> None:
    assert digits.accuracy > 0.96
    data = Digits()
    real = digits(data.decode(data.heldout)["x"])
    assert real["classifier_score"] == pytest.approx(real["classifier_score_real"], rel=1e-6)
    assert real["frechet_classifier_distance"] == pytest.approx(digits.floor, rel=1e-5)
    assert real["classifier_score"] > 9 and real["classes_covered"] == 10
    torch.manual_seed(0)
    noise = digits(torch.rand(450, 1, 8, 8) * 2 - 1)
    assert noise["classifier_score"] < 6
    assert noise["frechet_classifier_distance"] > 20 * digits.floor
    one = data.decode({"x": data.train["x"][data.train["y"] == 3]})["x"]
    collapsed = digits(one)
    assert collapsed["classes_covered"] == 1 and collapsed["classifier_score"] < 1.3
    assert digits(torch.full((450, 1, 8, 8), float("nan")))["classifier_score"] == pytest.approx(
        1, abs=1e-6
    )


@pytest.mark.slow
def test_the_classifier_is_trained_once_and_the_same_each_time(
    digits: ClassifierScores,
    tmp_path: object,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    again = load_or_train(Digits(), torch.device("cpu"))
    assert "training" not in caplog.text
    monkeypatch.setenv("GAN_CACHE", str(tmp_path))
    torch.rand(3)
    state = torch.random.get_rng_state()
    anew = load_or_train(Digits(), torch.device("cpu"))
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b, c in zip(
        digits.network.parameters(), again.parameters(), anew.parameters(), strict=True
    ):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_a_changed_cache_of_a_classifier_is_not_believed(
    digits: ClassifierScores,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("gan_cli.metrics.classifier.STEPS", 60)
    monkeypatch.setenv("GAN_CACHE", str(tmp_path))
    cpu = torch.device("cpu")
    first = load_or_train(Digits(), cpu)
    (file,) = (tmp_path / "classifiers").glob("*.pt")
    good = file.read_bytes()
    zeros = {name: torch.zeros_like(value) for name, value in first.state_dict().items()}
    torch.save(zeros, file)  # a whole file, of another's weights
    for bad in (file.read_bytes(), good[:-100], b""):
        file.write_bytes(bad)
        caplog.clear()
        again = load_or_train(Digits(), cpu)
        assert "training the classifier again" in caplog.text
        assert all(
            torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
        )
    caplog.clear()
    load_or_train(Digits(), cpu)
    assert not caplog.text


def test_a_classifier_no_better_than_chance_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gan_cli.metrics.classifier.STEPS", 20)
    monkeypatch.setenv("GAN_CACHE", str(tmp_path))
    data = Digits()
    data.heldout["y"] = data.heldout["y"].roll(1)  # labels that say nothing of the images
    load_or_train(data, torch.device("cpu"))
    assert "no more than by chance (0.10" in caplog.text


def test_a_classifier_of_images_that_are_not_square() -> None:
    for shape in ((1, 8, 8), (3, 7, 12), (1, 28, 5), (2, 1, 33)):
        assert Classifier(shape, 3)(torch.zeros(2, *shape)).shape == (2, 3)


def test_every_metric_returns_the_scores_it_names(digits: ClassifierScores) -> None:
    points = PointScores(Points())
    assert (
        tuple(points(Points().heldout["x"][:2000]))
        == registry.metrics.components["points"].attributes["scores"]
    )
    assert (
        tuple(digits(torch.zeros(20, 1, 8, 8)))
        == registry.metrics.components["classifier"].attributes["scores"]
    )
