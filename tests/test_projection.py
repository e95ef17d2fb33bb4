"""Projection: what a generator made is found again, in every space; choices stay as they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Command, make_trainer, mostly_slow, save_run
from PIL import Image
from scipy.stats import chi

import gan_cli
from gan_cli import registry
from gan_cli.game import Columns
from gan_cli.games.style import Style
from gan_cli.sampling.projection import DRAWS, Descent, Projector, plausible

SMALL = ("data=digits", "network.width=8", "batch_size=6")
MADE = {
    "wgan_gp": ("model=wgan_gp", "model.latent=6", "model.repeat.discriminator=1", *SMALL),
    "stylegan": ("model=stylegan", *SMALL),
    "cgan": ("model=cgan", *SMALL),
    "aae": ("model=aae", *SMALL),
    "points": ("model=gan", "data=points", "network.width=4"),
    "pix2pix": ("model=pix2pix", "data.of=digits", "network.width=4", "batch_size=6"),
    "wgan_gp_text": (
        "model=wgan_gp_text", "data=text", "data.length=8", "network.width=4", "network.blocks=1",
        "model.repeat.discriminator=1",
    ),
}  # fmt: skip
QUICK = ("mode=project", "features=none", "iterations=4", "starts=1", "n=2")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`made("aae")`: the folder of a run of one round."""
    folder = tmp_path_factory.mktemp("projection")
    return lambda name: (
        folder / name if (folder / name).exists() else save_run(folder / name, *MADE[name])
    )


# --- finding --------------------------------------------------------------------------------------


def test_a_sample_is_found_again_and_its_code_renders_the_same_bytes(
    made: Callable[[str], Path], command: Command
) -> None:
    run = str(made("stylegan"))
    assert command("gan-sample", run, "mode=images", "n=2", "output=own")[0] == 0
    typed = (
        "gan-sample", run, "mode=project", "input=own", "features=random", "iterations=40",
        "starts=1",
    )  # fmt: skip
    code, printed = command(*typed, "output=found")
    assert code == 0 and "in w, compared by pixels and 3 random convolutions" in printed, printed
    with np.load("found/codes.npz") as codes:
        assert (codes["l1"] < 0.25 * codes["l1_start"]).all()
        assert codes["names"].tolist() == [f"seed_0000000{i}" for i in range(2)]
        shown = f"projection   L1 {codes['l1'].mean():.4f}   PSNR {codes['psnr'].mean():.2f} dB"
    assert shown in printed

    assert command(*typed, "output=again")[0] == 0
    found = contents(Path("found"))
    assert found == contents(Path("again"))

    rendered = command("gan-sample", run, "mode=images", "codes=found/codes.npz", "output=codes")
    assert rendered[0] == 0, rendered[1]
    found.pop("codes.npz")
    assert contents(Path("codes")) == found and len(found) == 2


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("space", mostly_slow(Style.spaces, "w_each_layer"))
def test_every_space_of_styles_finds_what_was_made(space: str, made: Callable[[str], Path]) -> None:
    generator = gan_cli.load(made("stylegan"))
    rows = generator.drawn(range(2))
    x = generator.render(rows)
    none = registry.features.build({"name": "none"}, "features")
    descent = Descent(space, iterations=60, starts=1)
    codes, latents = Projector(generator, none, descent)(x)
    error = (generator.render_codes(codes, latents, space) - x).square().mean()
    middle = generator.game.mean_code(latents, space)
    start = (generator.render_codes(middle, latents, space) - x).square().mean()
    assert error < 0.2 * start


@pytest.mark.parametrize("name", ["stylegan", "cgan"])
def test_the_code_of_a_latent_renders_its_sample(name: str, made: Callable[[str], Path]) -> None:
    generator = gan_cli.load(made(name))
    rows = generator.drawn(range(3))
    for space in generator.game.spaces:
        with torch.no_grad():
            codes = generator.game.to_code(rows, space)
        rendered = generator.render_codes(codes, rows, space)
        torch.testing.assert_close(rendered, generator.render(rows), atol=1e-4, rtol=1e-4)


def test_the_middle_of_styles_is_where_a_truncation_draws_them(
    made: Callable[[str], Path],
) -> None:
    generator = gan_cli.load(made("stylegan"))
    rows = generator.drawn(range(2))
    middle = generator.game.mean_code(rows, "w")
    expected = generator.render(generator.game.truncated(rows, 0.0))
    torch.testing.assert_close(generator.render_codes(middle, rows, "w"), expected)


def test_no_descent_ends_farther_than_it_began(made: Callable[[str], Path]) -> None:
    """However large the rate is, the nearest of the draws is kept if nothing better was seen."""
    generator = gan_cli.load(made("wgan_gp"))
    none = registry.features.build({"name": "none"}, "features")
    wild, other = (
        Projector(generator, none, Descent("z", iterations=5, rate=100.0, starts=2, seed=seed))
        for seed in (0, 1)
    )
    x = generator.render(generator.drawn([3]))
    assert not torch.equal(wild.latents, other.latents)
    codes, latents = wild(x)
    error = (generator.render_codes(codes, latents) - x).square().mean()
    assert error <= (wild.samples - x).square().flatten(1).mean(dim=1).min() + 1e-7


# --- what stays as it is --------------------------------------------------------------------------


def test_classes_are_chosen_and_never_moved(made: Callable[[str], Path], command: Command) -> None:
    run = str(made("cgan"))
    for typed, allowed in (("classes=[3]", {3}), ("classes=all", set(range(10)))):
        assert command("gan-sample", run, *QUICK, typed, "output=found")[0] == 0
        with np.load("found/codes.npz") as found:
            assert set(found["y"].tolist()) <= allowed
            assert np.array_equal(found["latents"][:, -1], found["y"])
            assert found["codes"].shape[1] == found["latents"].shape[1] - 1


def test_each_class_has_its_middle_and_as_many_draws(made: Callable[[str], Path]) -> None:
    generator = gan_cli.load(made("cgan"))
    none = registry.features.build({"name": "none"}, "features")
    projector = Projector(generator, none, Descent("z"), labels=[2, 7])
    assert len(projector.codes) == DRAWS and not projector.codes[:2].any()
    labels = projector.latents[:, -1].tolist()
    assert labels[:4] == [2, 7, 2, 7] and labels.count(2) == labels.count(7)


def test_codes_stay_where_the_prior_draws() -> None:
    game = make_trainer("model=infogan", "model.prior=normal", "data=digits", *TINY).game
    normal = game.columns()[0].width
    longest = float(chi.ppf(0.99, normal))
    codes = plausible(game, 5 * torch.randn(200, normal + 2))
    assert codes[:, :normal].norm(dim=1).max() <= longest * 1.0001
    assert codes[:, normal:].abs().max() == 1
    drawn = game.to_code(game.latents(2000, torch.Generator().manual_seed(0)), "z")
    kept = (plausible(game, drawn) - drawn).abs().amax(dim=1) < 1e-6
    assert 0.98 < kept.double().mean() < 0.997


def test_a_deviation_scales_what_is_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    game = make_trainer("model=gan", *TINY).game
    (part,) = game.columns()
    wide = Columns("z", part.width, "normal", part.draw, 3.0)
    monkeypatch.setattr(type(game), "columns", lambda self: [wide])
    codes = plausible(game, torch.full((1, part.width), 100.0))
    assert codes.norm().item() == pytest.approx(3 * chi.ppf(0.99, part.width), rel=1e-4)


def test_the_rate_rises_and_falls_and_the_noise_ends() -> None:
    descent = Descent("z", iterations=100, rate=0.2)
    rates = [descent.rate_at(i) for i in range(100)]
    assert rates[0] < 0.05 and max(rates) == max(rates[3:6]) <= 0.2
    assert rates[5:] == sorted(rates[5:], reverse=True) and rates[-1] == pytest.approx(0)
    noises = [descent.noise_at(i) for i in range(101)]
    assert noises == sorted(noises, reverse=True) and noises[0] == 0.05
    assert noises[74] > 0 == noises[75] == noises[100]


# --- beside the encoder, and refusals -------------------------------------------------------------


def test_an_encoder_is_compared(made: Callable[[str], Path], command: Command) -> None:
    run = made("aae")
    code, printed = command("gan-sample", str(run), *QUICK, "output=found")
    assert code == 0, printed
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["projection", "mean", "encoder"]
    Path("one").mkdir()
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save("one/grey.png")
    assert command("gan-sample", str(run), *QUICK, "input=one", "output=found")[0] == 0
    generator = gan_cli.load(run)
    x = torch.full((1, 1, 8, 8), 90 / 127.5 - 1)
    with torch.no_grad():
        expected = (generator.game.reconstruct(x) - x).abs().mean().item()
    with np.load("found/codes.npz") as found:
        assert found["l1_encoder"].tolist() == pytest.approx([expected], rel=1e-4)
        assert found["names"].tolist() == ["grey"]
    assert Path("found/grey.png").is_file()


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("points", [], "mode=project: finds the codes of images; the checkpoint makes points."),
        pytest.param(
            "wgan_gp_text",
            [],
            "mode=project: the checkpoint makes text; take mode=text or",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "pix2pix",
            [],
            "mode=project: the checkpoint's model makes samples from inputs; take",
            marks=pytest.mark.slow,
        ),
        ("wgan_gp", ["space=w"], "space=w: the checkpoint's model has no such space; take one of"),
        ("stylegan", ["space=w_each"], "did you mean w_each_layer?); take one of w, w_each_layer"),
        ("wgan_gp", ["features=vgg"], "features=vgg: expected one of auto, classifier, none, ran"),
        ("wgan_gp", ["input=nowhere"], "input=nowhere: no such file or folder."),
        ("wgan_gp", ["iterations=0"], "iterations=0: must be at least 1"),
        ("wgan_gp", ["rate=nan"], "rate=nan: must be at least 0"),
        ("wgan_gp", ["classes=all"], "classes=all: the checkpoint's model is not conditional"),
        ("wgan_gp", ["output=own", "input=own"], "output=own: holds the inputs, which pictures"),
    ],
)
def test_what_cannot_be_projected_is_one_sentence(
    name: str, typed: list[str], said: str, made: Callable[[str], Path], command: Command
) -> None:
    Path("own").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("own/a.png")
    code, printed = command("gan-sample", str(made(name)), *QUICK, *typed)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed


def test_codes_of_another_model_are_refused(made: Callable[[str], Path], command: Command) -> None:
    run = str(made("wgan_gp"))
    assert command("gan-sample", run, *QUICK, "output=found")[0] == 0
    np.savez("other.npz", codes=np.zeros((2, 3)))
    for typed, said in (
        (["codes=found/codes.npz"], "codes=found/codes.npz: codes: expected rows of latents of 1"),
        (["codes=other.npz"], "codes=other.npz: holds no codes; name a file that mode=project"),
        (["codes=none.npz"], "codes=none.npz: no such file."),
        (["codes=other.npz", "seeds=1"], "seeds=1: not beside codes=other.npz; leave one out."),
    ):
        code, printed = command("gan-sample", str(made("stylegan")), *typed)
        assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed
