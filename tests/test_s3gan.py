"""S3GAN: which labels it knows, what stands for the others, and what its heads learn."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from conftest import TINY, Command, compose, dataset_of, make_trainer, save_run, trainer_of
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.data.dataset import UNKNOWN, Dataset
from gan_cli.data.digits import Digits
from gan_cli.data.spec import Spec
from gan_cli.errors import UserError
from gan_cli.games.s3gan import S3GAN, turned_by_quarters
from gan_cli.training import build
from gan_cli.training.rendering import own_scores
from gan_cli.training.trainer import Trainer

MODEL = ("model=s3gan", "data=digits", *TINY)


def played(*more: str) -> Trainer:
    trainer = make_trainer(*MODEL, *more)
    trainer.play_round()
    return trainer


def game_of(*more: str) -> S3GAN:
    game = make_trainer(*MODEL, *more).game
    assert isinstance(game, S3GAN)
    return game


def constant(head: nn.Module, answer: int | None = None) -> None:
    """Let a head give the same logits for everything: all 0, or the largest one for an answer."""
    for weight in head.parameters():
        nn.init.zeros_(weight)
    if answer is not None:
        with torch.no_grad():
            head.get_parameter("bias")[answer] = 1


# --- the labels -----------------------------------------------------------------------------------


def kept(per_class: int, seed: int) -> Dataset:
    data = Digits()
    data.keep_labels(per_class, seed)
    return data


def test_so_many_labels_of_each_class_are_known_and_the_seed_says_which() -> None:
    known = [kept(3, seed).y_known for seed in (1, 1, 2)]
    y = Digits().train["y"]
    for y_known in known:
        assert y_known is not None
        there = y_known != UNKNOWN
        assert torch.equal(y_known[there], y[there])
        assert torch.bincount(y_known[there]).tolist() == [3] * 10
    assert torch.equal(known[0], known[1]) and not torch.equal(known[0], known[2])  # type: ignore
    assert torch.equal(kept(0, 1).y_known, y)  # type: ignore[arg-type]


def test_rows_of_a_batch_have_the_labels_that_are_known() -> None:
    trainer = make_trainer(*MODEL, "model.labels_per_class=2")
    rows = torch.arange(trainer.batches.samples)
    batch = trainer.batches.gather(rows)
    there = batch["y_known"] != UNKNOWN
    assert there.sum() == 20 and torch.equal(batch["y_known"][there], batch["y"][there])
    shown = {image.numpy().tobytes() for image in batch["x_labelled"]}
    assert shown == {image.numpy().tobytes() for image in batch["x"][there]}


def weights_after(y: Tensor) -> list[Tensor]:
    """Weights after two rounds of which the labels were known before they were replaced by `y`."""
    config = compose(*MODEL, "model.labels_per_class=2")
    dataset = dataset_of(config)
    build.keep_few_labels(dataset, config)
    dataset.train["y"] = y
    trainer = build.build_trainer(config, dataset, torch.device("cpu"))
    for _ in range(2):
        trainer.play_round()
    return list(trainer.game.parameters())


def test_labels_that_are_not_known_do_not_reach_the_game() -> None:
    y = Digits().train["y"]
    own, others = weights_after(y), weights_after(torch.zeros_like(y))
    assert all(torch.equal(a, b) for a, b in zip(own, others, strict=True))


def test_biggan_with_few_labels_sees_no_other_sample() -> None:
    few = make_trainer("model=biggan", "data=digits", "model.labels_per_class=2", "seed=5", *TINY)
    same = make_trainer(*MODEL, "model.labels_per_class=2", "seed=5").batches.dataset.labelled
    assert few.batches.samples == 20 and same is not None
    assert torch.equal(few.batches.dataset.train["x"], same["x"])
    assert "x_labelled" not in few.batches.gather(torch.arange(4))
    whole = make_trainer("model=biggan", "data=digits", "seed=5", *TINY)
    assert whole.batches.samples == len(Digits().train["y"])


# --- what stands for the others -------------------------------------------------------------------


def test_what_the_head_names_stands_for_unknown_labels_alone() -> None:
    game = game_of()
    y_known, logits = torch.tensor([3, UNKNOWN, 0, UNKNOWN]), torch.eye(10)[[7, 8, 9, 1]]
    assert game.completed(y_known, logits).tolist() == [3, 8, 0, 1]
    drawn = game_of("model.predictor=0").completed(torch.full((1000,), UNKNOWN), torch.eye(1000))
    assert (torch.bincount(drawn, minlength=10) > 50).all()


def gradients(game: S3GAN, fields: Mapping[str, Tensor], term: str) -> dict[str, Tensor | None]:
    """Gradients of one term of D's turn."""
    noise.begin_turn("turn", 1)
    weights = dict(game.named_parameters())
    loss = game.discriminator(**fields)[term]
    found = torch.autograd.grad(loss, [*weights.values()], allow_unused=True)
    return dict(zip(weights, found, strict=True))


def test_no_gradient_flows_through_what_is_named() -> None:
    """D learns from named classes as from given ones, and the head learns from labels alone."""
    game = game_of().eval().requires_grad_(True)
    x = torch.randn(6, 1, 8, 8)
    labelled = {"x_labelled": x, "y_labelled": torch.arange(6)}
    named = game.C(game._features(x)).argmax(dim=1)
    fields = {"x": x, "y_known": torch.full((6,), UNKNOWN), **labelled}
    adversarial = gradients(game, fields, "adversarial")
    given = gradients(game, {**fields, "y_known": named}, "adversarial")
    others = gradients(game, {**fields, "y_known": (named + 1) % 10}, "adversarial")

    heads = {name for name in adversarial if name.startswith(("C.", "R."))}
    assert heads and all(adversarial[name] is None for name in heads)
    told = [name for name, value in adversarial.items() if value is not None]
    assert all(torch.equal(adversarial[name], given[name]) for name in told)  # type: ignore
    assert not all(torch.equal(adversarial[name], others[name]) for name in told)  # type: ignore
    learnt = gradients(game, fields, "predictor")
    assert all(learnt[name] is not None for name in heads if name.startswith("C."))


# --- rotations ------------------------------------------------------------------------------------


def test_images_are_turned_by_the_quarters_that_are_told() -> None:
    x = torch.randn(400, 2, 4, 4)
    turned, quarters = turned_by_quarters(x)
    for image, was, quarter in zip(turned, x, quarters.tolist(), strict=True):
        assert torch.equal(image.rot90(-quarter, (1, 2)), was)
    assert (torch.bincount(quarters, minlength=4) > 60).all() and len(quarters.unique()) == 4


def test_heads_that_know_nothing_pay_the_logarithm_of_the_answers() -> None:
    trainer = make_trainer(*MODEL, "model.critic_norm=none")
    game = trainer.game
    for head in (game.C, game.R):
        constant(head)  # type: ignore[arg-type]
    game.train()
    discriminator, generator = game.turns(0)
    trainer.take_turn(generator, torch.arange(6))
    trainer.take_turn(discriminator, torch.arange(6))
    terms = trainer.terms
    assert terms["discriminator"]["rotation"].item() == pytest.approx(0.5 * math.log(4))
    assert terms["discriminator"]["predictor"].item() == pytest.approx(math.log(10))
    assert terms["generator"]["rotation"].item() == pytest.approx(0.2 * math.log(4))


def test_rotations_and_the_head_may_be_left_out() -> None:
    whole, bare = played().terms, played("model.rotation=0", "model.predictor=0").terms
    assert set(whole["discriminator"]) == {"adversarial", "predictor", "rotation"}
    assert set(whole["generator"]) == {"adversarial", "rotation", "orthogonal"}
    assert set(bare["discriminator"]) == {"adversarial"}
    assert set(bare["generator"]) == {"adversarial", "orthogonal"}


def test_samples_that_cannot_be_turned_get_a_sentence() -> None:
    wide = Spec(kind="image", shape=(1, 8, 6), classes=10)
    options = {"name": "s3gan", "latent": 8, "rotation": 0.5}
    with pytest.raises(UserError, match=r"model\.rotation=0\.5: turns square .* model\.rotation=0"):
        S3GAN.shapes(wide, options)
    assert S3GAN.shapes(wide, {**options, "rotation": 0.0})


@pytest.mark.parametrize("loss", ["hinge", "rpgan"])
def test_all_labels_and_losses_of_pairs(loss: str) -> None:
    trainer = played("model.labels_per_class=0", f"loss={loss}")
    assert trainer.terms["discriminator"]["adversarial"].isfinite()
    game = trainer.game
    assert isinstance(game, S3GAN) and game.unlabelled is None


# --- scores ---------------------------------------------------------------------------------------


def test_scores_of_heads_that_always_say_the_same() -> None:
    config = compose(*MODEL, "model.labels_per_class=4", "model.critic_norm=none")
    game, data = trainer_of(config).game, kept(4, config["seed"])
    constant(game.get_submodule("C"), 7)
    constant(game.get_submodule("R"), 2)
    scores = own_scores(game, data.decode(data.heldout))
    sevens = (data.train["y"] == 7).sum().item() - 4
    rest = len(data.train["y"]) - 40
    assert scores["scored_unlabelled"] == rest
    assert scores["unlabelled_accuracy"] == pytest.approx(sevens / rest)
    share = (data.heldout["y"] == 7).float().mean().item()
    assert scores["test_error"] == pytest.approx(1 - share)
    assert scores["rotation_accuracy"] == 0.25


def test_an_evaluation_scores_the_samples_that_the_run_did_not_know(
    command: Command, tmp_path: Path
) -> None:
    typed = (*MODEL, "model.labels_per_class=40", "seed=3")
    save_run(tmp_path / "run", *typed)
    trainer, data = played(*typed[len(MODEL) :]), Digits()
    own = own_scores(trainer.eval_game, data.decode(data.heldout))
    assert own["scored_unlabelled"] == len(data.train["y"]) - 400
    code, printed = command("gan-evaluate", "checkpoint=run", "metrics=[unlabelled_accuracy]")
    assert code == 0, printed
    assert json.loads(printed)["scores"]["unlabelled_accuracy"] == own["unlabelled_accuracy"]
