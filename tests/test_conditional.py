"""Labels and codes: what networks are told, what they tell back, and what a user may ask for."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Command, make_trainer
from PIL import Image
from torch import nn

import gan_cli
from gan_cli import codes, noise, priors
from gan_cli.data.digits import Digits
from gan_cli.data.two_domains import MAPS, TwoDomains
from gan_cli.errors import UserError
from gan_cli.games.encoders import posterior
from gan_cli.networks.conditional import Concatenated, Projected, told_shape
from gan_cli.sampling import walks
from gan_cli.training import rendering
from gan_cli.training.ema import EMA


class Echo(nn.Module):
    """A discriminator that gives back what it is given, and three features."""

    feature_size = 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3]

    def score(self, features: torch.Tensor) -> torch.Tensor:
        return features.sum(dim=1)


# --- what networks are told -----------------------------------------------------------------------


def test_a_class_becomes_columns_or_planes() -> None:
    rows = Concatenated(Echo(), 4)(torch.zeros(2, 3), torch.tensor([1, 3]))
    assert rows.tolist() == [[0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1]]
    planes = Concatenated(Echo(), 4)(torch.zeros(1, 2, 5, 5), torch.tensor([2]))
    assert planes.shape == (1, *told_shape((2, 5, 5), 4)) and planes[0].sum(
        dim=(1, 2)
    ).tolist() == [0, 0, 0, 0, 25, 0]


def test_projection_adds_the_product_of_features_and_the_vector_of_the_class() -> None:
    network = Projected(Echo(), 2)
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
    expected = x.sum(dim=1) + (network.embedding.weight[y] * x).sum(dim=1)
    torch.testing.assert_close(network(x, y), expected)


@pytest.mark.parametrize("model", ["cgan", "dcgan_conditional", "wgan_gp_conditional"])
@pytest.mark.parametrize("network", ["mlp", "dcgan", "resnet"])
def test_the_class_reaches_both_networks(model: str, network: str) -> None:
    game = make_trainer(f"model={model}", f"network={network}", "data=digits", *TINY).game.eval()
    z, x = torch.randn(4, game.prior.latent), torch.randn(4, 1, 8, 8)  # type: ignore[union-attr]
    zeros, ones = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
    assert not torch.allclose(game.G(z, zeros), game.G(z, ones))
    assert not torch.allclose(game.value(x, zeros), game.value(x, ones))  # type: ignore[operator]


def test_data_without_labels_is_refused() -> None:
    for model, data in (("cgan", "points"), ("sgan", "points"), ("cogan", "digits")):
        with pytest.raises(UserError, match=r"needs labelled data|look at x_b"):
            make_trainer(f"model={model}", f"data={data}", *TINY)


# --- what they tell back --------------------------------------------------------------------------


def test_a_classifier_that_knows_nothing_pays_log_k() -> None:
    trainer = make_trainer("model=acgan", "data=digits", *TINY)
    for weight in trainer.game.C.parameters():
        nn.init.zeros_(weight)
    trainer.game.train()
    trainer.take_turn(trainer.game.turns(0)[0], torch.arange(6))
    for term in ("class_real", "class_fake"):
        assert trainer.terms["discriminator"][term].item() == pytest.approx(math.log(10))


def test_information_is_zero_for_no_answer_and_the_entropy_for_the_right_one() -> None:
    category, number = torch.eye(10)[torch.arange(10)], torch.linspace(-1, 1, 1001)[:, None]
    assert codes._information(torch.zeros(10, 10), category).item() == pytest.approx(0, abs=1e-6)
    assert codes._information(100 * category, category).item() == pytest.approx(math.log(10))
    assert codes._information(torch.zeros(1001, 1), number).item() == pytest.approx(0)
    assert codes._information(number, number).item() == pytest.approx(1 / 6, rel=0.01)


def test_without_information_only_q_hears_of_the_codes() -> None:
    game = make_trainer(
        "model=infogan", "data=digits", "model.information=0", *TINY
    ).game.requires_grad_(True)
    game.discriminator(torch.zeros(6, 1, 8, 8))["information"].backward()  # type: ignore[operator]
    assert all(not weight.grad.any() for weight in game.D.parameters() if weight.grad is not None)
    assert all(weight.grad is not None and weight.grad.any() for weight in game.Q.parameters())
    assert game.generator(torch.zeros(6, 1, 8, 8))["information"].item() == 0  # type: ignore[operator]


def test_a_traversal_changes_one_code_alone() -> None:
    game = make_trainer("model=infogan", "data=digits", *TINY).game
    latents = rendering.fixed_latents(game, 2)
    rows = game.traverse(latents, "category")  # type: ignore[operator]
    assert rows.shape == (20, 62 + 12) and torch.equal(rows[3:4, 62:72], torch.eye(10)[3:4])
    assert torch.equal(rows[:10, :62], latents[:1, :62].expand(10, -1)) and torch.equal(
        rows[0, 72:], latents[0, 72:]
    )
    assert game.traverse(latents, "second")[:10, 73].tolist() == pytest.approx(
        np.linspace(-2, 2, 10).tolist()
    )  # type: ignore[operator]


def test_the_fixed_logit_of_fakes() -> None:
    game = make_trainer("model=sgan", "data=digits", *TINY).game.eval()
    x = torch.randn(7, 1, 8, 8)
    probabilities = torch.cat([game.D(x), torch.zeros(7, 1)], dim=1).softmax(dim=1)
    torch.testing.assert_close(probabilities[:, -1], 1 - game.value(x).sigmoid(), rtol=0, atol=1e-6)  # type: ignore[operator]


def test_a_split_is_the_same_for_the_same_seed() -> None:
    splits = []
    for seed in (1, 1, 2):
        data = Digits()
        data.keep_labels(3, seed)
        assert data.labelled is not None
        splits.append(data.labelled)
        assert torch.bincount(data.labelled["y"]).tolist() == [3] * 10
    assert torch.equal(splits[0]["x"], splits[1]["x"]) and not torch.equal(
        splits[0]["x"], splits[2]["x"]
    )
    trainer = make_trainer("model=sgan", "data=digits", "model.labels_per_class=1", "seed=5", *TINY)
    batch = trainer.batches.gather(torch.arange(50))
    assert len(batch["x_labelled"].unique(dim=0)) == 10 and len(batch["y_labelled"].unique()) == 10
    with pytest.raises(
        UserError,
        match=r"model\.labels_per_class=200: class \d has \d+ training "
        r"samples only",
    ):
        Digits().keep_labels(200, 0)


# --- encoders -------------------------------------------------------------------------------------


def test_both_sides_of_bigan() -> None:
    """Labels swapped for both: softplus(-D(fake)) + softplus(D(real))."""
    game = make_trainer("model=bigan", "data=digits", *TINY).game.eval()
    x = torch.randn(6, 1, 8, 8)
    noise.begin_turn("turn", 1)
    loss = game.generator(x)["adversarial"]  # type: ignore[operator]
    noise.begin_turn("turn", 1)
    real, fake = (game.D(pair) for pair in game.pairs(x))  # type: ignore[operator]
    torch.testing.assert_close(
        loss, nn.functional.softplus(-fake).mean() + nn.functional.softplus(real).mean()
    )


def test_an_encoder_that_tells_nothing_has_ratio_one() -> None:
    game = make_trainer("model=bigan", "data=digits", *TINY).game.eval()
    nn.init.zeros_(game.E.layers[-1].weight)  # type: ignore[union-attr, index]
    data = Digits()
    scores = game.scores(data.decode(data.heldout))
    assert (
        scores["reconstruction_ratio"] == pytest.approx(1, abs=1e-4)
        and scores["neighbour_accuracy_raw"] > 0.95
    )


def test_the_divergence_from_the_prior_is_that_of_gaussians() -> None:
    game = make_trainer("model=vae_gan", "data=digits", *TINY).game.eval()
    x = torch.randn(6, 1, 8, 8)
    mean, logvar = posterior(game.get_submodule("E"), x)
    law = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(law, prior).sum(dim=1).mean()
    torch.testing.assert_close(game.encoder(x)["kl"], expected)  # type: ignore[operator]


def test_no_player_of_vae_gan_hears_what_is_not_meant_for_it() -> None:
    game = make_trainer("model=vae_gan", "data=digits", *TINY).game
    assert list(game.players) == ["encoder", "generator", "discriminator"]
    x = torch.randn(6, 1, 8, 8)
    terms = {name: getattr(game, name)(x) for name in game.players}
    assert {name: set(value) for name, value in terms.items()} == {
        "encoder": {"kl", "likeness"},
        "generator": {"likeness", "adversarial"},
        "discriminator": {"adversarial"},
    }


def test_an_adversarial_autoencoder_reconstructs_first() -> None:
    game = make_trainer("model=aae", "data=digits", *TINY).game
    assert [turn.player.name for turn in game.turns(0)] == [
        "reconstruction",
        "discriminator",
        "encoder",
    ]


def test_a_prior_is_stretched(command: Command) -> None:
    """By `model.prior_deviation`: in the draws and along a walk."""
    game = make_trainer("model=aae", "model.prior_deviation=5", "network.width=4").game
    usual = make_trainer("model=aae", "network.width=4").game
    by = (8, torch.Generator().manual_seed(0)), (8, torch.Generator().manual_seed(0))
    assert torch.equal(game.latents(*by[0]), 5 * usual.latents(*by[1]))
    assert [part.deviation for part in game.columns()] == [5.0]
    assert walks.along(game, torch.zeros(1, 8), 0, 3)[:, 0].tolist() == [-12.5, 0, 12.5]

    code, printed = command("gan-train", "model=aae", "model.prior_deviation=0", "steps=1")
    assert code == 2 and "model.prior_deviation=0: input should be greater than 0" in printed


def test_priors_in_the_plane() -> None:
    petals = priors.Prior(3, "petals")(4000)
    angle = torch.atan2(petals[:, 1], petals[:, 0]) / (2 * math.pi / 10)
    # 0.25 for no petals at all
    assert petals.shape == (4000, 3) and (angle - angle.round()).abs().mean() < 0.15
    assert len(angle.round().remainder(10).unique()) == 10
    roll = priors.Prior(2, "swiss_roll")(4000, torch.Generator().manual_seed(0))
    assert 0.8 < roll.norm(dim=1).min() < 1.0 and 2.7 < roll.norm(dim=1).max() < 3.1
    with pytest.raises(UserError, match=r"model\.prior=petals: lies in the plane"):
        priors.Prior(1, "petals")


# --- coupled games --------------------------------------------------------------------------------


def test_coupled_networks_share_all_but_an_end_and_learn_it_once() -> None:
    trainer = make_trainer("model=cogan", "++model.ema=0.5", "++model.ema_ramp=0", *TINY)
    game = trainer.game
    for name, apart in (("G", 1), ("D", 1)):
        one, other = (
            {id(p) for p in game.get_submodule(part).parameters()} for part in (name, f"{name}_b")
        )
        # a weight and a bias
        assert len(one & other) > len(one - other) > 0 and len(one - other) == 2 * apart
    learnt = trainer.optimizers["generator"].param_groups[0]["params"]
    assert len(learnt) == len({id(weight) for weight in learnt})
    assert trainer.ema is not None
    shared = next(trainer.ema.get_submodule("G").parameters())
    before, trained = shared.clone(), next(game.get_submodule("G").parameters())
    nn.init.zeros_(trained)
    EMA().after_round(trainer)
    torch.testing.assert_close(shared, 0.5 * before)  # once, though two networks hold it
    alone = make_trainer("model=cogan", "model.share=false", *TINY).game
    assert not {id(p) for p in alone.G.parameters()} & {id(p) for p in alone.G_b.parameters()}


@pytest.mark.parametrize("domain", sorted(MAPS))
def test_two_domains_have_no_image_in_common(domain: str) -> None:
    data, digits = TwoDomains("digits", domain), Digits()  # type: ignore[arg-type]
    shown = {MAPS[domain](image[None]).numpy().tobytes() for image in data.train["x"]}
    common = shown & {image[None].numpy().tobytes() for image in data.train["x_b"]}
    assert (
        len(data.train["x"]) == len(data.train["x_b"]) == len(digits.train["x"]) // 2
        and len(common) < 5
    )
    decoded = data.decode(data.heldout)  # held-out images are shown in both domains
    torch.testing.assert_close(MAPS[domain](decoded["x"]), decoded["x_b"], atol=0.01, rtol=0)
    assert data.spec.domain == domain


# --- what a user may ask for ----------------------------------------------------------------------


@pytest.fixture
def conditional(command: Command) -> str:
    typed = (
        "model=cgan",
        "data=digits",
        "batch_size=8",
        "network.width=8",
        "steps=2",
        "hydra.run.dir=run",
    )
    code, printed = command("gan-train", *typed)
    assert code == 0, printed
    return "run"


@pytest.mark.slow
def test_samples_of_a_class(command: Command, conditional: str, tmp_path: Path) -> None:
    for classes, name in (("all", "all"), ("3", "three"), ("[3,5]", "two")):
        code, printed = command(
            "gan-sample",
            f"checkpoint={conditional}",
            "n=20",
            "mode=npz",
            f"classes={classes}",
            f"output={name}.npz",
        )
        assert code == 0, printed
    every, three, two = (
        np.load(tmp_path / f"{name}.npz")["samples"] for name in ("all", "three", "two")
    )
    # the same z, the same class
    assert np.array_equal(every[3], three[0]) and np.array_equal(every[13], three[1])
    assert np.array_equal(two[0], three[0]) and np.array_equal(two[1], every[5])
    assert not np.array_equal(every[3], every[4])
    command("gan-sample", f"checkpoint={conditional}", "n=20", "classes=all", "output=grid.png")
    assert Image.open("grid.png").size == (10 * 42 + 2, 2 * 42 + 2)  # a column for each class
    code, printed = command("gan-sample", f"checkpoint={conditional}", "classes=10")
    assert code == 2 and "classes=10: expected all, or some of 0 to 9" in printed
    for line in (["mode=reconstruct"], ["mode=traverse", "code=slant"]):
        code, printed = command("gan-sample", conditional, *line)
        assert code == 2 and "the checkpoint's model has no" in printed


@pytest.mark.slow
def test_conditional_scores_are_logged_and_evaluated_alike(
    command: Command, conditional: str
) -> None:
    logged = json.loads(Path(conditional, "run.json").read_text())["scores"]
    code, printed = command("gan-evaluate", f"checkpoint={conditional}")
    assert code == 0
    told = json.loads(printed)["scores"]
    for name in ("conditional_accuracy", "intra_class_diversity"):
        assert told[name] == pytest.approx(logged[name]) and 0 <= told[name] < 2


def _encode_files(command: Command, folder: Path) -> None:
    """A user's own files have the codes of the samples that they show, and their names."""
    x = Digits().heldout["x"][:3]
    folder.mkdir()
    for name, image in zip("cab", x, strict=True):
        Image.fromarray(image[0].numpy()).save(folder / f"{name}.png")
    own = ("gan-sample", "checkpoint=aae", f"input={folder}")
    assert command(*own, "mode=encode", "output=own.npz")[0] == 0
    found = np.load("own.npz")
    assert found["names"].tolist() == ["a", "b", "c"]
    expected = gan_cli.load("aae").game.encode(x[[1, 2, 0]].float() / 127.5 - 1)
    np.testing.assert_allclose(found["codes"], expected.numpy(), atol=1e-6)
    assert command(*own, "mode=reconstruct", "output=own.png")[0] == 0
    assert Image.open("own.png").size == (16 * 42 + 2, 2 * 42 + 2)
    code, printed = command("gan-sample", "aae", "mode=encode", "input=nowhere")
    assert code == 2 and "input=nowhere: no such file or folder" in printed


def test_codes_and_reconstructions(command: Command, tmp_path: Path) -> None:
    typed = (
        "data=digits",
        "batch_size=8",
        "network.width=8",
        "steps=2",
        "sample_every=2",
        "evaluate_every=0",
    )
    figures = "figures=[reconstructions,latent_space]"
    assert command("gan-train", "model=aae", *typed, figures, "hydra.run.dir=aae")[0] == 0
    assert len(list((tmp_path / "aae" / "figures").glob("*.png"))) == 2
    assert command("gan-sample", "checkpoint=aae", "mode=encode", "n=5", "output=codes.npz")[0] == 0
    codes = np.load("codes.npz")
    assert codes["codes"].shape == (5, 8) and codes["y"].shape == (5,)
    assert (
        command("gan-sample", "checkpoint=aae", "mode=reconstruct", "n=20", "output=pairs.png")[0]
        == 0
    )
    assert Image.open("pairs.png").size == (16 * 42 + 2, 4 * 42 + 2)
    _encode_files(command, tmp_path / "mine")
    assert command("gan-train", "model=infogan", *typed, "hydra.run.dir=info")[0] == 0
    assert (
        command(
            "gan-sample", "checkpoint=info", "mode=traverse", "code=category", "n=2", "output=t.png"
        )[0]
        == 0
    )
    assert Image.open("t.png").size == (10 * 42 + 2, 2 * 42 + 2)
    code, printed = command("gan-sample", "checkpoint=info", "mode=traverse", "code=slant")
    assert code == 2 and "its codes are category, first, second" in printed
    assert (
        command("gan-train", "model=cogan", *typed[1:], "figures=[pairs]", "hydra.run.dir=pairs")[0]
        == 0
    )
