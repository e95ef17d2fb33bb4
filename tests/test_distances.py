"""The metrics of `gan-evaluate` against values known in closed form, constructed sets, and second
implementations."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import Image
from scipy.stats import wasserstein_distance
from torch import Tensor

from gan_cli import registry
from gan_cli.data.digits import Digits
from gan_cli.data.points import Points
from gan_cli.errors import UserError
from gan_cli.metrics.classifier import frechet_distance
from gan_cli.metrics.inception import InceptionScores
from gan_cli.metrics.kernels import KernelScores, mmd_squared, polynomial, rbf
from gan_cli.metrics.neighbours import MemorisationScores, NeighbourhoodScores, prdc
from gan_cli.metrics.patches import sorted_projections
from gan_cli.metrics.points import wasserstein_1

CPU = torch.device("cpu")
QUICK = (
    "steps=2",
    "batch_size=8",
    "network.width=8",
    "sample_every=0",
    "evaluate_every=2",
    "hydra.run.dir=run",
)


# --- Frechet distance -----------------------------------------------------------------------------


def exactly(mean: Tensor, covariance: Tensor, n: int) -> Tensor:
    """n points whose own mean and covariance are these, to rounding."""
    x = torch.randn(n, len(mean), dtype=torch.double)
    x = x - x.mean(dim=0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    return white @ torch.linalg.cholesky(covariance).T + mean


@pytest.mark.parametrize("n", [5, 50])
def test_the_frechet_distance_of_two_known_gaussians(n: int) -> None:
    """Covariances that commute: |m|^2 + sum (s_i - t_i)^2 over their common axes, whatever these
    are."""
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(3, 3, dtype=torch.double)).Q
    s, t = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 0.1, 0.5]).double()
    mean = torch.tensor([1.0, -2.0, 2.0]).double()
    a = exactly(torch.zeros(3).double(), axes @ torch.diag(s**2) @ axes.T, n)
    b = exactly(mean, axes @ torch.diag(t**2) @ axes.T, 2 * n)
    assert frechet_distance(a, b) == pytest.approx(9 + (s - t).square().sum().item(), rel=1e-9)


def test_the_frechet_distance_where_covariances_do_not_commute() -> None:
    """In the plane the trace of the root of a product P is sqrt(tr P + 2 sqrt(det P)); P = C_a
    C_b."""
    torch.manual_seed(1)
    c_a = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()
    c_b = torch.tensor([[1.0, -0.3], [-0.3, 3.0]]).double()
    product = c_a @ c_b
    root = (product.trace() + 2 * torch.linalg.det(product).sqrt()).sqrt()
    found = frechet_distance(
        exactly(torch.zeros(2).double(), c_a, 40), exactly(torch.ones(2).double(), c_b, 30)
    )
    assert found == pytest.approx((2 + c_a.trace() + c_b.trace() - 2 * root).item(), rel=1e-9)


def test_the_frechet_distance_of_fewer_samples_than_features() -> None:
    """Singular covariances, where the root by eigenvalues is blurred: against SciPy."""
    from scipy.linalg import sqrtm

    torch.manual_seed(2)
    a, b = torch.randn(6, 9, dtype=torch.double), torch.randn(40, 9, dtype=torch.double) + 0.5
    c_a, c_b = np.cov(a.numpy(), rowvar=False), np.cov(b.numpy(), rowvar=False)
    mean = (a.mean(dim=0) - b.mean(dim=0)).square().sum().item()
    expected = mean + np.trace(c_a + c_b - 2 * sqrtm(c_a @ c_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_agrees_with_torch_fidelity() -> None:
    from torch_fidelity.metric_fid import (
        KEY_METRIC_FID,
        fid_features_to_statistics,
        fid_statistics_to_metric,
    )

    random = torch.Generator().manual_seed(5)
    a = torch.randn(60, 9, generator=random).double()
    b = 2 * torch.randn(80, 9, generator=random).double() + 1
    theirs = fid_statistics_to_metric(*map(fid_features_to_statistics, (a, b)), verbose=False)[
        KEY_METRIC_FID
    ]
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-9)


# --- precision, recall, density, coverage ---------------------------------------------------------


def test_prdc_of_equal_sets() -> None:
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    found = prdc(x, x, k=5)
    assert found["precision"] == found["recall"] == found["coverage"] == 1
    assert found["density"] == pytest.approx(6 / 5)  # a ball holds its centre and five neighbours


def test_prdc_of_sets_far_apart() -> None:
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    assert set(prdc(x, x + 100, k=5).values()) == {0.0}


def test_prdc_of_a_generator_that_knows_one_of_two_modes() -> None:
    """Real: a line of 20 points here and one there. Samples: those here. All precise; half recalled
    and covered."""
    here = torch.arange(20.0)[:, None]
    found = prdc(torch.cat([here, here + 1000]), here, k=2)
    assert found["precision"] == 1 and found["recall"] == 0.5 and found["coverage"] == 0.5
    # 18 inner balls reach one step, and the two at the ends two steps: 3 samples in each, over k =
    # 2 and 20 samples
    assert found["density"] == pytest.approx(20 * 3 / 2 / 20)
    swapped = prdc(here, torch.cat([here, here + 1000]), k=2)
    assert swapped["precision"] == 0.5 and swapped["recall"] == 1 and swapped["coverage"] == 1


def test_an_outlier_fools_recall_but_not_coverage() -> None:
    """Naeem et al., 2020, section 3: one far sample makes a ball that holds everything."""
    real = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    collapsed = torch.cat([torch.full((1, 2), 50.0), torch.zeros(5, 2)])
    found = prdc(real, collapsed, k=5)
    assert found["recall"] > 0.9 and found["coverage"] < 0.3


def test_prdc_agrees_with_a_second_implementation() -> None:
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    random = torch.Generator().manual_seed(3)
    real = torch.randn(150, 6, generator=random).double()
    fake = torch.randn(120, 6, generator=random).double() * 0.8 + 0.3
    found = prdc(real, fake, k=3)
    assert (found["precision"], found["recall"]) == pytest.approx(
        calculate_precision_recall_full(fake, real, 3)
    )


# --- maximum mean discrepancy ---------------------------------------------------------------------


@pytest.mark.parametrize("law", [rbf, polynomial])
def test_mmd_is_unbiased_where_the_laws_are_equal(
    law: Callable[[Tensor], tuple[Callable, str]],
) -> None:
    random = torch.Generator().manual_seed(0)
    kernel, _ = law(torch.randn(200, 3, generator=random).double())
    found = []
    for _ in range(400):
        a = torch.randn(12, 3, generator=random).double()
        b = torch.randn(20, 3, generator=random).double()
        found.append(mmd_squared(a, b, kernel))
    values = torch.tensor(found)
    assert values.mean().abs() < 4 * values.std() / 400**0.5
    assert 50 < (values < 0).sum() < 350
    shifted = mmd_squared(
        torch.randn(300, 3, generator=random).double() + 1,
        torch.randn(300, 3, generator=random).double(),
        kernel,
    )
    assert shifted > 20 * values.std() * 12 / 300


def test_mmd_of_gaussians_in_closed_form() -> None:
    """For N(0, 1), N(m, 1) and width w: 2 w/sqrt(w^2 + 2) (1 - exp(-m^2 / (2 (w^2 + 2))))."""
    random = torch.Generator().manual_seed(0)
    a = torch.randn(3000, 1, generator=random).double()
    b = torch.randn(3000, 1, generator=random).double() + 2
    kernel, words = rbf(torch.tensor([[0.0], [1.5], [3.0]]).double())  # distances 1.5, 1.5, 3
    assert "1.5" in words
    expected = 2 * 1.5 / 4.25**0.5 * (1 - np.exp(-4 / (2 * 4.25)))
    assert mmd_squared(a, b, kernel) == pytest.approx(expected, rel=0.05)


def test_kid_agrees_with_a_second_implementation_and_is_unbiased() -> None:
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    random = torch.Generator().manual_seed(4)
    a = torch.randn(40, 8, generator=random).double()
    b = torch.randn(40, 8, generator=random).double() + 0.5
    theirs = kid_features_to_metric(a, b, kid_subsets=1, kid_subset_size=40, verbose=False)[
        KEY_METRIC_KID_MEAN
    ]
    assert mmd_squared(a, b, polynomial(a)[0]) == pytest.approx(theirs, rel=1e-9)
    same = [
        kid_features_to_metric(
            *torch.randn(2, 30, 8, generator=random),
            kid_subsets=1,
            kid_subset_size=30,
            verbose=False,
        )[KEY_METRIC_KID_MEAN]
        for _ in range(200)
    ]
    assert abs(np.mean(same)) < 4 * np.std(same) / 200**0.5 and min(same) < 0


# --- Wasserstein distances ------------------------------------------------------------------------


def test_exact_w1_on_the_line_is_that_of_the_sorted_points() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(300, 1), 2 * torch.randn(300, 1) + 1
    assert wasserstein_1(a, b) == pytest.approx(
        wasserstein_distance(a.flatten(), b.flatten()), rel=1e-6
    )


def test_sliced_w1_of_a_shift_is_the_mean_of_its_projections() -> None:
    """A shift v moves every projection by v.u; over directions u of the plane the mean of |v.u| is
    2 |v| / pi."""
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    gap = (sorted_projections(x) - sorted_projections(x + torch.tensor([3.0, 4.0]))).abs().mean()
    assert gap.item() == pytest.approx(2 * 5 / np.pi, rel=0.05)


# --- memorisation ---------------------------------------------------------------------------------


def test_copies_of_training_samples_and_new_ones() -> None:
    data = Points("swiss_roll", size=3000)
    scores = MemorisationScores(data)
    copies = scores(data.train["x"][:1000])
    assert copies["memorisation_ratio"] < 1e-6 and copies["copied"] == 1
    fresh = scores(Points("swiss_roll", size=4000).heldout["x"][-1000:])
    assert fresh["memorisation_ratio"] == pytest.approx(1, abs=0.1) and fresh["copied"] < 0.03
    assert (
        fresh["memorisation_ratio_floor"] == pytest.approx(1, abs=0.1)
        and fresh["copied_floor"] < 0.03
    )
    half = scores(torch.cat([data.train["x"][:500], data.heldout["x"][:500]]))
    assert half["memorisation_ratio"] == pytest.approx(0.5, abs=0.07) and half[
        "copied"
    ] == pytest.approx(0.5, abs=0.03)


def test_mirror_images_are_copies_where_training_sees_them() -> None:
    data = Digits()
    mirrored = data.decode(data.train)["x"][:100].flip(-1)
    assert MemorisationScores(data, n=100)(mirrored)["memorisation_ratio"] > 0.9
    data.flip = True
    assert MemorisationScores(data, n=100)(mirrored)["memorisation_ratio"] < 1e-6


def test_nearest_neighbours_agree_with_a_second_implementation() -> None:
    from sklearn.neighbors import NearestNeighbors

    data = Points("moons", size=2500)
    queries = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    theirs = (
        NearestNeighbors(n_neighbors=1)
        .fit(data.train["x"].numpy())
        .kneighbors(queries.numpy())[0][:, 0]
    )
    assert MemorisationScores(data, n=50)._distances(queries).numpy() == pytest.approx(
        theirs, rel=1e-5
    )


# --- the metrics on data --------------------------------------------------------------------------


@pytest.mark.slow
def test_real_digits_and_noise() -> None:
    data = Digits()
    neighbours, kernels = NeighbourhoodScores(data, CPU), KernelScores(data, CPU)
    heldout = data.sample_x(data.heldout, neighbours.samples)
    real = neighbours(heldout)
    for name in ("precision", "recall", "density", "coverage"):
        assert real[name] == real[f"{name}_real"] and real[name] > 0.7
    assert kernels(heldout)["mmd_squared"] == kernels.floor and abs(kernels.floor) < 0.01
    noise = torch.rand(450, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert neighbours(noise)["coverage"] < 0.2 and neighbours(noise)["precision"] < 0.5
    assert kernels(noise)["mmd_squared"] > 20 * abs(kernels.floor)
    diverged = torch.full((450, 1, 8, 8), float("nan"))
    assert all(
        np.isfinite(list(metric(diverged).values())).all() for metric in (neighbours, kernels)
    )


@pytest.mark.parametrize("name", ["prdc", "mmd", "memorisation", "patches"])
@pytest.mark.parametrize("data", ["digits", "points"])
def test_metrics_return_what_they_name_and_say_how(name: str, data: str) -> None:
    dataset = Digits() if data == "digits" else Points("eight_gaussians", size=2000)
    if name not in dataset.available_metrics:
        assert (name, data) == ("patches", "points")
        return
    metric = registry.metrics.build({"name": name, "n": 60}, name, dataset=dataset, device=CPU)
    scores = metric(dataset.sample_x(dataset.heldout, 60))
    assert tuple(scores) == registry.metrics.components[name].attributes["scores"]
    told = metric.provenance
    assert (
        told.n == metric.samples == 60 and "held-out" in told.split and "60 " in metric.describe()
    )
    assert ("classifier" in told.backbone) == (data == "digits" and name in ("prdc", "mmd"))


def test_runs_do_not_log_the_metrics_of_gan_evaluate() -> None:
    assert Digits().default_metrics == ["classifier"] and Points(size=100).default_metrics == [
        "points"
    ]
    assert {"prdc", "mmd", "memorisation", "patches"} < set(Digits().available_metrics)


# --- Inception ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_inception_with_random_weights(random_weights: Path) -> None:
    data = Digits()
    metric = InceptionScores(data, n=8, reference=10, weights_file=str(random_weights))
    scores = metric(data.sample_x(data.heldout, 8))
    assert tuple(scores) == registry.metrics.components["inception"].attributes["scores"]
    assert np.isfinite(list(scores.values())).all() and 1 < scores["inception_score"] < 8
    assert scores["fid"] == pytest.approx(scores["fid_floor"], rel=1e-4)
    assert scores["kid"] == pytest.approx(scores["kid_floor"], rel=1e-4, abs=1e-6)
    assert metric(torch.ones(8, 1, 8, 8))["fid"] > 2 * scores["fid_floor"] > 0
    told = metric.provenance
    assert (
        told.n == 8 and told.split.startswith("10 training images") and "299x299" in told.resizing
    )
    assert told.weights.startswith("random.pth, sha256 ") and "KID: 100 subsets of 8" in told.method


def test_without_a_network_one_sentence_says_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        UserError,
        match=r"no weights-inception.*\.pth in .*checkpoints and no download "
        r".*weights_file=",
    ):
        InceptionScores(Digits(), n=2)


class Malice:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path("malice").write_text, ("",)


def test_a_file_that_is_not_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("not weights")
    torch.save({"x": torch.zeros(1)}, "other.pth")
    torch.save(Malice(), "malice.pth")
    for name in ("notes.txt", "other.pth", "malice.pth"):
        with pytest.raises(
            UserError, match=f"weights_file={name}: not the weights of torch-fidelity's Inception"
        ):
            InceptionScores(Digits(), n=2, weights_file=name)
    assert not Path("malice").exists()
    with pytest.raises(UserError, match=r"inception.weights_file=nowhere: no such file"):
        InceptionScores(Digits(), n=2, weights_file="nowhere")


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_figure_says_how_it_came_about(command: Command, random_weights: Path) -> None:
    assert command("gan-train", *QUICK)[0] == 0
    code, printed = command(
        "gan-evaluate",
        "checkpoint=run",
        "metrics=[prdc,inception,mmd]",
        "n=10",
        "prdc.k=3",
        "inception.reference=10",
        f"inception.weights_file={random_weights}",
    )
    assert code == 0, printed
    result = json.loads(printed[printed.index("{") :])
    told = result["provenance"]
    assert result["weights"] in ("ema", "raw") and list(told) == ["prdc", "inception", "mmd"]
    assert set(result["scores"]) == {name for facts in told.values() for name in facts["scores"]}
    for facts in told.values():
        assert (
            facts["n"] == 10
            and {"split", "resizing", "backbone", "weights", "method"} < facts.keys()
        )
    assert (
        told["prdc"]["method"] == "k = 3 neighbours"
        and "random.pth" in told["inception"]["weights"]
    )


def pictures(folder: Path, images: Tensor) -> None:
    """Grey images in [-1, 1] as files."""
    folder.mkdir()
    for i, image in enumerate(((images + 1) * 127.5).round().to(torch.uint8)[:, 0].numpy()):
        Image.fromarray(image).save(folder / f"{i:04d}.png")


def test_two_folders(command: Command, tmp_path: Path) -> None:
    data = Digits()
    real = data.decode(data.train)["x"]
    pictures(tmp_path / "real", real[:600])
    pictures(tmp_path / "new", real[600:700])
    pictures(
        tmp_path / "noise",
        torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1,
    )
    results = {}
    for name in ("new", "noise"):
        code, printed = command("gan-evaluate", f"samples={name}", "real=real", "data.channels=1")
        assert code == 0, printed
        results[name] = json.loads(printed)
    new, noise = results["new"]["scores"], results["noise"]["scores"]
    assert new["coverage"] > 0.8 > 0.2 > noise["coverage"] and noise["mmd_squared"] > 10 * abs(
        new["mmd_squared"]
    )
    assert (
        new["memorisation_ratio"] == pytest.approx(1, abs=0.1) and new["sliced_wasserstein"] < 300
    )
    assert (
        results["new"]["data"]["image_size"] == 8
        and results["new"]["provenance"]["prdc"]["n"] == 100
    )
    noisy = results["noise"]["provenance"]["mmd"]
    assert noisy["n"] == noisy["n_reference"] == noisy["n_floor"] == 50  # there are no more samples
    copies = json.loads(
        command("gan-evaluate", "samples=real", "real=real", "metrics=[memorisation]")[1]
    )["scores"]
    assert copies["memorisation_ratio"] < 0.3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["n=3"],
            "checkpoint: missing; add checkpoint=FILE, or compare folders by samples=FOLDER "
            "real=FOLDER",
        ),
        (["samples=a"], "samples=a: compares two folders; add real=FOLDER"),
        (["real=a"], "real=a: compares two folders; add samples=FOLDER"),
        (["samples=a", "real=a", "checkpoint=c"], "checkpoint=c: not beside samples= and real="),
        (["samples=a", "real=a", "data=mnist"], "data=mnist: not beside samples= and real="),
        (["samples=a", "real=a", "weights=ema"], "weights=ema: folders have no average"),
        (["samples=nowhere", "real=a"], "samples=nowhere: no such folder"),
        (["samples=a", "real=nowhere"], "real=nowhere: no such folder"),
        (["samples=empty", "real=a"], "samples=empty: no images in it"),
        (["samples=a", "real=a", "data.folder=b"], "data.folder=b: the real images are in real=a"),
        (
            ["samples=a", "real=a", "metrics=[classifier]"],
            "metrics=[classifier]: not a metric of this data",
        ),
        (
            ["samples=a", "real=a", "prcd.k=3"],
            "prcd.k=3: prcd is neither data nor a metric that is computed (did you",
        ),
        (
            ["samples=a", "real=a", "prdc.neighbours=3"],
            "prdc.neighbours=3: metrics=prdc has no such option",
        ),
        (["samples=a", "real=a", "prdc.k=0"], "prdc.k=0: input should be greater"),
        (
            ["samples=a", "real=a", "mmd.kernel=linear"],
            "mmd.kernel=linear: input should be 'rbf' or 'polynomial'",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    command: Command, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    pictures(tmp_path / "a", torch.zeros(200, 1, 8, 8))
    code, printed = command("gan-evaluate", *arguments)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1


def test_a_package_that_is_not_there(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pictures(tmp_path / "a", torch.zeros(200, 1, 8, 8))
    monkeypatch.setattr("gan_cli.data.dataset.find_spec", lambda _: None)
    monkeypatch.setattr("gan_cli.commands.evaluate.find_spec", lambda _: None)
    code, printed = command("gan-evaluate", "samples=a", "real=a", "metrics=[inception]")
    assert (
        code == 2
        and ("metrics=[inception]: needs a package that is not there; pip install 'gan-cli[m")
        in printed
    )
